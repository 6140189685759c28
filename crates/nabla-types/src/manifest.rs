//! What a model and a revision are made of.
//!
//! A [`ModelManifest`] names the canonical graph and the weights; its blob id *is* the [`ModelId`], so
//! whoever knows the id can fetch the manifest and check everything below it. How the bytes are coded,
//! who stores them and what they are called do not enter into it. A [`Revision`] is what a person
//! published: the files as uploaded, and the model they were imported to.

use minicbor::{Decode, Encode};

use crate::{
    cbor::{self, CborError},
    id::{BlobId, ModelId},
    receipt::Usage,
};

/// Largest encoded manifest or revision, in bytes.
pub const MANIFEST_BYTES_MAX: usize = 1 << 20;
/// Most files in a revision.
pub const FILES_MAX: usize = 1024;
/// Longest path of a file, in bytes.
pub const PATH_BYTES_MAX: usize = 255;

/// Bytes by content and length, wherever they are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, serde::Serialize, serde::Deserialize)]
#[cbor(map)]
pub struct BlobRef {
    /// The content address.
    #[n(0)]
    pub blob: BlobId,
    /// Length in bytes.
    #[n(1)]
    pub size_bytes: u64,
}

impl BlobRef {
    /// The reference to `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self { blob: BlobId::of(bytes), size_bytes: bytes.len() as u64 }
    }
}

/// A model: canonical graph and weights under one kernel spec.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, serde::Serialize, serde::Deserialize)]
#[cbor(map)]
pub struct ModelManifest {
    /// Always [`ModelManifest::FORMAT`]; keeps manifests apart from other blobs.
    #[n(0)]
    pub format: String,
    /// The rules that define every operator's bits.
    #[n(1)]
    pub kernel_spec: u32,
    /// Multiply-accumulates of one row at the greatest sizes of the other open dimensions, by the graph's
    /// static cost. What is asked for a call follows from this.
    #[n(2)]
    pub macs_per_row: u64,
    /// Whether the leading dimension of the inputs is a batch of rows.
    #[n(3)]
    pub batched: bool,
    /// The canonical graph.
    #[n(4)]
    pub graph: BlobRef,
    /// All weights, concatenated as the graph says.
    #[n(5)]
    pub weights: BlobRef,
    /// Elements of all inputs of one row, at the same sizes: what a call's inputs are measured by.
    #[n(6)]
    pub row_elements: u64,
    /// Only for a language model, whose row is a token.
    #[n(7)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<LanguageTerms>,
}

/// What must be known of a language model to say what a conversation can cost at most.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode, serde::Serialize, serde::Deserialize,
)]
#[cbor(map)]
pub struct LanguageTerms {
    /// Most tokens of a prompt and its answer together.
    #[n(0)]
    pub context_length: u32,
    /// Most bytes that its chat template puts round each message, and round the answer.
    #[n(1)]
    pub template_bytes: u32,
}

impl ModelManifest {
    /// The only format known.
    pub const FORMAT: &str = "nabla model 1";

    /// What a call with inputs of these shapes consumes, or `None` past 2^64. Both sides of a quote
    /// reckon with this, so it needs nothing but the manifest.
    ///
    /// Work grows with the elements given: a short sentence costs less than the longest one, and where
    /// every size but the batch is fixed this is so much per row. Shapes are taken at their word; whether
    /// the model bears them is for the engine to say, before it runs.
    pub fn usage<'a>(&self, shapes: impl IntoIterator<Item = &'a [u64]>) -> Option<Usage> {
        let (mut leading, mut elements) = (None, 0_u128);
        for shape in shapes {
            leading = leading.max(shape.first().copied());
            elements = elements.checked_add(elements_of(shape)?)?;
        }
        let rows = if self.batched { leading.unwrap_or(1) } else { 1 };
        let macs = match u128::from(self.row_elements) {
            // Nothing to measure by: a model without inputs, or whose inputs are empty.
            0 => u128::from(self.macs_per_row).checked_mul(rows.into())?,
            of_one_row => u128::from(self.macs_per_row).checked_mul(elements)?.div_ceil(of_one_row),
        };
        Some(Usage { rows, macs: u64::try_from(macs).ok()?, tokens_in: 0, tokens_out: 0 })
    }

    /// What a language model consumes that reads and makes so many tokens, or `None` past 2^64.
    #[must_use]
    pub fn usage_of_tokens(&self, tokens_in: u64, tokens_out: u64) -> Option<Usage> {
        let macs = self.macs_per_row.checked_mul(tokens_in.checked_add(tokens_out)?)?;
        Some(Usage { rows: 1, macs, tokens_in, tokens_out })
    }

    /// The bytes that the model id hashes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// The identity of the model.
    #[must_use]
    pub fn model_id(&self) -> ModelId {
        ModelId(BlobId::of(&self.to_bytes()).0)
    }

    /// Decode, and check the format.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ManifestError> {
        let manifest: Self = cbor::decode("model manifest", bytes, MANIFEST_BYTES_MAX)?;
        check_format(&manifest.format, Self::FORMAT)?;
        Ok(manifest)
    }
}

/// Elements of a tensor of this shape, or `None` past 2^128.
fn elements_of(shape: &[u64]) -> Option<u128> {
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(1_u128, |count, size| count.checked_mul((*size).into()))
}

/// One published file.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, serde::Serialize, serde::Deserialize)]
#[cbor(map)]
pub struct FileEntry {
    /// Relative path with `/`, safe on every system: see [`path_is_safe`].
    #[n(0)]
    pub path: String,
    /// Its content.
    #[n(1)]
    pub content: BlobRef,
}

/// What a person published under a repository's name. Immutable; its blob id names it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, serde::Serialize, serde::Deserialize)]
#[cbor(map)]
pub struct Revision {
    /// Always [`Revision::FORMAT`].
    #[n(0)]
    pub format: String,
    /// The model that the files were imported to.
    #[n(1)]
    pub model: ModelId,
    /// The files, sorted by path.
    #[n(2)]
    pub files: Vec<FileEntry>,
}

impl Revision {
    /// The only format known.
    pub const FORMAT: &str = "nabla revision 1";

    /// Decode, and check format, number, order and safety of the paths.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ManifestError> {
        let revision: Self = cbor::decode("revision", bytes, MANIFEST_BYTES_MAX)?;
        check_format(&revision.format, Self::FORMAT)?;
        revision.check_files()?;
        Ok(revision)
    }

    fn check_files(&self) -> Result<(), ManifestError> {
        if self.files.len() > FILES_MAX {
            return Err(ManifestError::TooManyFiles { got: self.files.len() });
        }
        if let Some(file) = self.files.iter().find(|file| !path_is_safe(&file.path)) {
            return Err(ManifestError::UnsafePath { path: file.path.clone() });
        }
        match self.files.windows(2).find(|pair| pair[0].path >= pair[1].path) {
            Some(pair) => Err(ManifestError::Unsorted { path: pair[1].path.clone() }),
            None => Ok(()),
        }
    }
}

/// Why a manifest or revision was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Not the bytes of one.
    #[error(transparent)]
    Cbor(#[from] CborError),
    /// Another format, perhaps of a later version.
    #[error("expected the format {expected:?}, got {got:?}; a newer nabla may read it")]
    Format {
        /// The format this version reads.
        expected: &'static str,
        /// What the bytes say.
        got: String,
    },
    /// Over [`FILES_MAX`].
    #[error("revision of {got} files, at most {FILES_MAX} are accepted")]
    TooManyFiles {
        /// Files named.
        got: usize,
    },
    /// A path that could leave the folder or is not portable.
    #[error("file path {path:?} is not a plain relative path")]
    UnsafePath {
        /// The path.
        path: String,
    },
    /// Out of order, or twice.
    #[error("file path {path:?} is out of order or named twice")]
    Unsorted {
        /// The path.
        path: String,
    },
}

fn check_format(got: &str, expected: &'static str) -> Result<(), ManifestError> {
    if got == expected {
        return Ok(());
    }
    Err(ManifestError::Format { expected, got: got.chars().take(80).collect() })
}

/// Whether a path stays inside its folder on every system: parts of letters, digits and ` ._-+@`,
/// separated by `/`, none empty or starting with a dot, at most [`PATH_BYTES_MAX`] bytes.
#[must_use]
pub fn path_is_safe(path: &str) -> bool {
    let part_is_safe = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b" ._-+@".contains(&b))
    };
    path.len() <= PATH_BYTES_MAX && path.split('/').all(part_is_safe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_id_is_its_manifests_blob_id() {
        let (graph, weights) = (BlobRef::of(b"graph"), BlobRef::of(b"weights"));
        let format = ModelManifest::FORMAT.to_owned();
        let manifest = ModelManifest {
            format,
            kernel_spec: 1,
            macs_per_row: 5,
            batched: true,
            graph,
            weights,
            row_elements: 8,
            language: None,
        };
        assert_eq!(manifest.model_id().manifest_blob(), BlobId::of(&manifest.to_bytes()));
        assert_eq!(ModelManifest::from_bytes(&manifest.to_bytes()), Ok(manifest.clone()));
        let other = ModelManifest { kernel_spec: 2, ..manifest.clone() };
        assert_ne!(other.model_id(), manifest.model_id());
        let other = ModelManifest { row_elements: 9, ..manifest.clone() };
        assert_ne!(other.model_id(), manifest.model_id());
        let language = Some(LanguageTerms { context_length: 512, template_bytes: 16 });
        let other = ModelManifest { language, ..manifest.clone() };
        assert_ne!(other.model_id(), manifest.model_id());
        assert_eq!(ModelManifest::from_bytes(&other.to_bytes()), Ok(other));
    }

    /// Shapes, and the rows and multiply-adds that they cost.
    #[track_caller]
    fn check_usage(manifest: &ModelManifest, shapes: &[&[u64]], expect: Option<(u64, u64)>) {
        let usage = manifest.usage(shapes.iter().copied());
        assert_eq!(usage.map(|usage| (usage.rows, usage.macs)), expect, "{shapes:?}");
    }

    fn costing(macs_per_row: u64, row_elements: u64, batched: bool) -> ModelManifest {
        let format = ModelManifest::FORMAT.to_owned();
        let (graph, weights) = (BlobRef::of(b"graph"), BlobRef::of(b"weights"));
        ModelManifest {
            format,
            kernel_spec: 1,
            macs_per_row,
            batched,
            graph,
            weights,
            row_elements,
            language: None,
        }
    }

    #[test]
    fn a_call_costs_what_its_inputs_weigh() {
        let image = costing(1000, 64, true);
        check_usage(&image, &[&[1, 1, 8, 8]], Some((1, 1000)));
        check_usage(&image, &[&[3, 1, 8, 8]], Some((3, 3000)));
        // Ids and mask of at most 512 tokens each.
        let text = costing(1_000_000, 1024, true);
        check_usage(&text, &[&[1, 512], &[1, 512]], Some((1, 1_000_000)));
        check_usage(&text, &[&[1, 3], &[1, 3]], Some((1, 5860)));
        check_usage(&text, &[&[4, 512], &[4, 512]], Some((4, 4_000_000)));
        let one = costing(1000, 64, false);
        check_usage(&one, &[&[64]], Some((1, 1000)));
        check_usage(&one, &[&[32, 2], &[]], Some((1, 1016)));
    }

    /// Neither a liar's shapes nor a liar's manifest make a price that wraps, panics, or differs between
    /// two sides.
    #[test]
    fn lies_about_sizes_do_not_wrap() {
        const MAX: u64 = u64::MAX;
        let image = costing(1000, 64, true);
        // More than any bound: paid for in full, or past what can be counted.
        check_usage(&image, &[&[1, 1, 8, 8000]], Some((1, 1_000_000)));
        check_usage(&image, &[&[MAX]], None);
        check_usage(&image, &[&[MAX; 8]], None);
        check_usage(&image, &[&[MAX, MAX], &[MAX, MAX]], None);
        // Nothing given: nothing to pay, and nothing that an engine would run.
        check_usage(&image, &[], Some((1, 0)));
        check_usage(&image, &[&[0]], Some((0, 0)));
        check_usage(&image, &[&[MAX, MAX, MAX, 0]], Some((MAX, 0)));
        // One element more is one multiply-add more, however large the model.
        check_usage(&costing(MAX, 64, true), &[&[1, 64]], Some((1, MAX)));
        check_usage(&costing(MAX, 64, true), &[&[1, 65]], None);
        check_usage(&costing(MAX, MAX, true), &[&[MAX]], Some((MAX, MAX)));
        check_usage(&costing(1, MAX, true), &[&[1]], Some((1, 1)));
        check_usage(&costing(0, 64, true), &[&[1, 64]], Some((1, 0)));
        // Nothing to measure by: so much per row, as if every size were fixed.
        check_usage(&costing(1000, 0, false), &[&[7]], Some((1, 1000)));
        check_usage(&costing(1000, 0, true), &[&[7, 0]], Some((7, 7000)));
        check_usage(&costing(1000, 0, true), &[], Some((1, 1000)));
        check_usage(&costing(MAX, 0, true), &[&[2, 0]], None);
    }

    #[test]
    fn tokens_cost_alike_whether_read_or_made() {
        let usage = |tokens_in, tokens_out| costing(1000, 1, false).usage_of_tokens(tokens_in, tokens_out);
        assert_eq!(usage(3, 4), Some(Usage { rows: 1, macs: 7000, tokens_in: 3, tokens_out: 4 }));
        assert_eq!(usage(u64::MAX, 1), None);
        assert_eq!(usage(u64::MAX / 1000, u64::MAX / 1000), None);
    }

    #[test]
    fn a_revision_cannot_write_outside_its_folder() {
        let with = |paths: &[&str]| {
            let files = paths
                .iter()
                .map(|path| FileEntry { path: (*path).to_owned(), content: BlobRef::of(b"") })
                .collect();
            let format = Revision::FORMAT.to_owned();
            Revision::from_bytes(&cbor::encode(&Revision { format, model: ModelId([0; 32]), files }))
        };
        assert!(with(&["README.md", "onnx/model.onnx"]).is_ok());
        for bad in ["../x", "/etc/passwd", "a//b", "a/../b", "", ".ssh/key", "a\\b", "c:x"] {
            assert!(matches!(with(&[bad]), Err(ManifestError::UnsafePath { .. })), "{bad}");
        }
        assert!(matches!(with(&["b", "a"]), Err(ManifestError::Unsorted { .. })));
        assert!(matches!(with(&["a", "a"]), Err(ManifestError::Unsorted { .. })));
    }
}
