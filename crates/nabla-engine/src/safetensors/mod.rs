//! Safetensors files: a hostile-proof reader of the format in which Hugging Face keeps weights.
//!
//! A file is the length of its header, the header, which is JSON, and the bytes of the tensors.
//!
//! # Rules
//! - [`Safetensors::open`] reads the header only; a tensor's bytes are read when they are asked for.
//! - As the format has it, the bytes behind the header belong to the tensors, all of them and to one each: offsets
//!   begin at 0, go on without a gap and without overlap, and end with the file. A name stands there once.
//! - The length of a tensor is what its shape and type make it, with overflow in mind.
//! - Types are F32, F16 and BF16; a file with any other is refused by its name.
//!
//! # When things go wrong
//! Every failure is an [`Error`] that names the file and the tensor, what was expected and what was got.

use std::collections::{BTreeMap, btree_map::Entry};
use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};

use crate::gguf::{TENSORS_MAX, WeightFormat, shown};
use crate::{Error, Limits, ReadAt};

/// Longest header, in bytes: [`TENSORS_MAX`] rows of 256. The reference takes 100 MB; published models of 400 billion
/// weights need less than 1 MB.
pub const HEADER_BYTES_MAX: u64 = 16 << 20;

/// What is not a tensor, but said about all of them.
const METADATA: &str = "__metadata__";

/// The header of a safetensors file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Safetensors {
    tensors: BTreeMap<String, Tensor>,
}

/// One tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// How its elements are written.
    pub format: WeightFormat,
    /// Its sizes, the outermost first.
    pub shape: Vec<u64>,
    /// Where its bytes lie in the file.
    pub range: Range<u64>,
}

impl Safetensors {
    /// Read the header of the file that errors call `name`.
    ///
    /// # Errors
    /// [`Error::Folder`] if it is not a header or contradicts itself or the file, [`Error::Unsupported`] for other
    /// types, [`Error::Limit`] for more than the limits of this module, [`Error::Read`] if bytes cannot be read.
    pub fn open(name: &str, source: &dyn ReadAt) -> Result<Self, Error> {
        let mut length = [0; 8];
        let size_bytes = source.size_bytes();
        if size_bytes < length.len() as u64 {
            let got = format!("a file of {size_bytes} bytes");
            return Err(wrong(name, "the 8 bytes of the header's length", got));
        }
        read(source, 0, &mut length)?;
        let length = u64::from_le_bytes(length);
        Limits::check("bytes of the header of a safetensors file", length, HEADER_BYTES_MAX)?;
        let start = 8 + length;
        if start > size_bytes {
            let got = format!("a file of {size_bytes} bytes");
            return Err(wrong(name, format!("a header of {length} bytes"), got));
        }
        // At most HEADER_BYTES_MAX, and in the file.
        let mut header = vec![0; usize::try_from(length).unwrap_or(0)];
        read(source, 8, &mut header)?;
        if header.first() != Some(&b'{') {
            return Err(wrong(name, "a header that begins with \"{\"", "another byte"));
        }
        let rows: Rows = serde_json::from_slice(&header)
            .map_err(|error| wrong(name, "a header of tensors in JSON", shown(&error.to_string())))?;
        place(name, rows, start, size_bytes - start)
    }

    /// All tensors, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// The tensor of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }
}

fn read(source: &dyn ReadAt, offset: u64, into: &mut [u8]) -> Result<(), Error> {
    let size_bytes = into.len() as u64;
    source.read_at(offset, into).map_err(|source| Error::Read { offset, size_bytes, source })
}

fn wrong(place: &str, expected: impl Into<String>, got: impl Into<String>) -> Error {
    Error::Folder { place: place.to_owned(), expected: expected.into(), got: got.into() }
}

/// A tensor as the header has it.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

/// All of them. A map would keep the last one of a name, and say nothing.
struct Rows(BTreeMap<String, Row>);

impl<'de> Deserialize<'de> for Rows {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(RowsVisitor)
    }
}

struct RowsVisitor;

impl<'de> Visitor<'de> for RowsVisitor {
    type Value = Rows;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Rows, A::Error> {
        let mut rows = BTreeMap::new();
        let mut has_metadata = false;
        while let Some(name) = map.next_key::<String>()? {
            if name == METADATA {
                map.next_value::<BTreeMap<String, String>>()?;
                if std::mem::replace(&mut has_metadata, true) {
                    return Err(A::Error::custom("its metadata stand there twice"));
                }
                continue;
            }
            if rows.len() as u64 >= TENSORS_MAX {
                return Err(A::Error::custom(format!("more than {TENSORS_MAX} tensors")));
            }
            match rows.entry(name) {
                Entry::Occupied(twice) => {
                    return Err(A::Error::custom(format!(
                        "tensor {} stands there twice",
                        shown(twice.key())
                    )));
                }
                Entry::Vacant(place) => place.insert(map.next_value()?),
            };
        }
        Ok(Rows(rows))
    }
}

/// See that tensors fill the `length` bytes from `start` on, and put each where it belongs.
fn place(file: &str, Rows(rows): Rows, start: u64, length: u64) -> Result<Safetensors, Error> {
    let mut order: Vec<(String, Row)> = rows.into_iter().collect();
    // Those of no bytes stand before what begins at the same place.
    order.sort_by_key(|(_, row)| row.data_offsets);
    let mut tensors = BTreeMap::new();
    let mut reached = 0;
    for (name, row) in order {
        let place = format!("{file}, tensor {}", shown(&name));
        let [begin, end] = row.data_offsets;
        if begin != reached {
            let got = format!("bytes from {begin} on");
            return Err(wrong(&place, format!("bytes from {reached} on, where the one before ends"), got));
        }
        let format = format_of(&row.dtype, &place)?;
        let size = size_bytes(&row.shape, format);
        let size = size.ok_or_else(|| wrong(&place, "fewer than 2^64 bytes", shape(&row.shape)))?;
        if begin.checked_add(size) != Some(end) {
            let expected = format!("{size} bytes for {format} of shape {}", shape(&row.shape));
            return Err(wrong(&place, expected, format!("bytes {begin} to {end}")));
        }
        if end > length {
            let got = format!("bytes {begin} to {end}");
            return Err(wrong(&place, format!("bytes inside of the {length} of the file"), got));
        }
        reached = end;
        // The header has at most HEADER_BYTES_MAX, and `end` lies in the file: no overflow.
        let range = start + begin..start + end;
        tensors.insert(name, Tensor { format, shape: row.shape, range });
    }
    if reached != length {
        return Err(wrong(file, format!("tensors of {length} bytes, up to its end"), format!("{reached}")));
    }
    Ok(Safetensors { tensors })
}

fn format_of(dtype: &str, place: &str) -> Result<WeightFormat, Error> {
    let taken = [WeightFormat::F32, WeightFormat::F16, WeightFormat::BF16];
    taken.into_iter().find(|format| format.name() == dtype).ok_or_else(|| Error::Unsupported {
        what: "weights of type",
        got: format!("{} in {place}", shown(dtype)),
        hint: "save the model as F32, F16 or BF16, or convert it to GGUF",
    })
}

fn size_bytes(shape: &[u64], format: WeightFormat) -> Option<u64> {
    shape.iter().try_fold(format.block_bytes() as u64, |size, count| size.checked_mul(*count))
}

/// A shape as errors show it.
fn shape(shape: &[u64]) -> String {
    let head: Vec<String> = shape.iter().take(8).map(u64::to_string).collect();
    format!("[{}{}]", head.join(", "), if shape.len() > 8 { ", ..." } else { "" })
}

#[cfg(test)]
mod tests;
