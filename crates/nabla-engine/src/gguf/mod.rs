//! GGUF files: a hostile-proof reader of the format in which language models travel.
//!
//! | module | what it holds |
//! |---|---|
//! | `limits` | how large the parts of a header may be, and why |
//! | `wire` | the numbers and texts of a header, read in order |
//! | `metadata` | [`Metadata`]: keys and values, with typed getters |
//! | `tensors` | [`Tensors`]: what each tensor is and where its bytes lie |
//! | `format` | [`WeightFormat`]: the types of weights, those taken and those refused by name |
//! | `canonical` | [`Canonical`]: the form that a model's identity hashes |
//! | `blocks` | what the bytes of each format mean, to the bit: [`dequantise`], [`quantise_q8_0`] |
//!
//! # Rules
//! - [`Gguf::open`] reads the header only, in pieces of 64 KiB; a tensor's bytes are read when they are asked for.
//! - Versions 2 and 3, little endian. Version 1 and big endian are refused by name, so are split files.
//! - Every count, length, offset and product is checked, with overflow in mind, before memory is taken for it: a
//!   header takes no more memory than a few times its own bytes, whatever it claims.
//! - Keys and names of tensors are unique. Tensors are aligned, lie inside of the file and do not overlap. Order
//!   and gaps are free.
//! - Arrays are of numbers, truth values or texts; arrays of arrays are refused, as ggml does.
//! - Weights are finite: [`TensorInfo::read`] refuses a tensor with an infinity or a NaN among its elements or scales.
//!
//! # When things go wrong
//! Every failure is an [`Error`] that names the key or the tensor, what was expected and what was got. Foreign bytes
//! never cause a panic.
//!
//! # Example
//! ```no_run
//! use nabla_engine::{FileSource, Limits, gguf::Gguf};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # #[expect(clippy::disallowed_methods, reason = "an example")]
//! let file = FileSource::new(std::fs::File::open("model.gguf")?)?;
//! let gguf = Gguf::open(&file)?;
//! let layers = gguf.metadata.u32("llama.block_count")?;
//! let weights = gguf.tensors.require("token_embd.weight")?.read(&file, &Limits::default())?;
//! # Ok(()) }
//! ```

mod blocks;
mod canonical;
mod format;
mod limits;
mod metadata;
mod tensors;
#[cfg(test)]
pub(crate) mod tests;
mod wire;

pub use blocks::{dequantise, find_not_finite, quantise_q8_0};
pub use canonical::{Canonical, Joined};
pub(crate) use canonical::{Row, header, padded};
pub use format::WeightFormat;
pub use limits::{
    ALIGNMENT_MAX, ARRAY_LENGTH_MAX, HEADER_BYTES_MAX, KEY_BYTES_MAX, KEYS_MAX, NAME_BYTES_MAX, TENSORS_MAX,
    TEXT_BYTES_MAX, TOKENIZER_BYTES_MAX, TOKENIZER_JSON,
};
pub use metadata::Metadata;
pub(crate) use metadata::Values;
pub use tensors::{Shape, TensorInfo, Tensors};

use crate::{Error, ReadAt};
use wire::Reader;

const MAGIC: [u8; 4] = *b"GGUF";

/// The header of a GGUF file.
#[derive(Debug, Clone, PartialEq)]
pub struct Gguf {
    /// Version of the format: 2 or 3, which differ in nothing that is read here.
    pub version: u32,
    /// Keys and values.
    pub metadata: Metadata,
    /// The tensors.
    pub tensors: Tensors,
}

impl Gguf {
    /// Read the header.
    ///
    /// # Errors
    /// [`Error::Gguf`] if it is not a header or contradicts itself or the file, [`Error::Unsupported`] for what is
    /// valid and not taken, [`Error::Limit`] for more than the limits of this module, [`Error::Read`] if bytes
    /// cannot be read.
    pub fn open(source: &dyn ReadAt) -> Result<Self, Error> {
        let mut reader = Reader::new(source);
        let version = read_version(&mut reader)?;
        let tensors = reader.count("tensors of a GGUF file", TENSORS_MAX)?;
        let keys = reader.count("keys of a GGUF file", KEYS_MAX)?;
        let entries = metadata::read_entries(&mut reader, keys)?;
        let metadata_end = reader.at();
        let drafts = tensors::read_drafts(&mut reader, tensors)?;
        let (header, header_end, file_end) = reader.finish();
        let metadata = Metadata::new(header, metadata_end, entries);
        refuse_split(&metadata)?;
        let data = tensors::data_range(&metadata, header_end, file_end, drafts.is_empty())?;
        Ok(Self { version, metadata, tensors: Tensors::place(drafts, &data)? })
    }
}

fn read_version(reader: &mut Reader<'_>) -> Result<u32, Error> {
    let magic = reader.bytes::<4>()?;
    if magic != MAGIC {
        return Err(reader.error("the first bytes \"GGUF\"", format!("\"{}\"", magic.escape_ascii())));
    }
    let hint = "convert it again with a current llama.cpp";
    match reader.u32()? {
        version @ 2..=3 => Ok(version),
        1 => Err(Error::Unsupported { what: "GGUF version", got: "1".to_owned(), hint }),
        // Versions are small: one whose low half is empty was written in the other order of bytes.
        other if other & 0xffff == 0 && other != 0 => Err(Error::Unsupported {
            what: "order of bytes of a GGUF file:",
            got: "big endian".to_owned(),
            hint,
        }),
        other => Err(reader.error("GGUF version 2 or 3", other.to_string())),
    }
}

/// Parts of a split file have the tensors of the others missing.
fn refuse_split(metadata: &Metadata) -> Result<(), Error> {
    match metadata.optional("split.count", Metadata::u32)? {
        None | Some(0 | 1) => Ok(()),
        Some(parts) => Err(Error::Unsupported {
            what: "GGUF file in parts:",
            got: format!("{parts} of them"),
            hint: "merge them with llama-gguf-split --merge",
        }),
    }
}

/// A foreign name as errors show it: escaped and not too long.
pub(crate) fn shown(name: &str) -> String {
    let head: String = name.chars().take(120).collect();
    format!("{head:?}")
}
