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
    /// Multiply-accumulates of one row, by the graph's static cost. What is asked for it follows from this.
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
}

impl ModelManifest {
    /// The only format known.
    pub const FORMAT: &str = "nabla model 1";

    /// What a call with inputs of these shapes consumes, or `None` past 2^64. Both sides of a quote
    /// reckon with this, so it needs nothing but the manifest.
    pub fn usage<'a>(&self, shapes: impl IntoIterator<Item = &'a [u64]>) -> Option<Usage> {
        let leading = shapes.into_iter().filter_map(|shape| shape.first().copied());
        let rows = if self.batched { leading.max().unwrap_or(1) } else { 1 };
        let macs = self.macs_per_row.checked_mul(rows)?;
        Some(Usage { rows, macs, tokens_in: 0, tokens_out: 0 })
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
        let manifest =
            ModelManifest { format, kernel_spec: 1, macs_per_row: 5, batched: true, graph, weights };
        assert_eq!(manifest.model_id().manifest_blob(), BlobId::of(&manifest.to_bytes()));
        assert_eq!(ModelManifest::from_bytes(&manifest.to_bytes()), Ok(manifest.clone()));
        let other = ModelManifest { kernel_spec: 2, ..manifest.clone() };
        assert_ne!(other.model_id(), manifest.model_id());
        let usage = |shape: &[u64]| manifest.usage([shape]).map(|usage| (usage.rows, usage.macs));
        assert_eq!(usage(&[3, 8]), Some((3, 15)));
        assert_eq!(usage(&[u64::MAX]), None);
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
