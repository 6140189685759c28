//! What each tensor of a GGUF file is, and where its bytes lie.
//!
//! ggml writes the sizes of a tensor from the innermost one: a matrix that maps 2048 numbers to 512 is written
//! as `[2048, 512]`, and its 2048 numbers of one output lie side by side. Here it has 512 [`Shape::rows`] and 2048
//! [`Shape::columns`]; nothing behind this module sees the other order.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

use super::limits::{ALIGNMENT_MAX, NAME_BYTES_MAX};
use super::{Metadata, WeightFormat, blocks, shown, wire::Reader};
use crate::{Error, Limits, ReadAt};

/// Alignment of a file that does not say.
const ALIGNMENT: u64 = 32;
/// ggml has up to four dimensions; what is taken here has one or two that are not 1.
const RANK_MAX: u32 = 4;

/// Sizes of a matrix. A vector is one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Rows: outputs of a projection, tokens of an embedding.
    pub rows: u64,
    /// Elements of a row, side by side in the file.
    pub columns: u64,
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} rows of {}", self.rows, self.columns)
    }
}

/// One tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name.
    pub name: String,
    /// Its sizes.
    pub shape: Shape,
    /// How its elements are written.
    pub format: WeightFormat,
    /// Where its bytes lie in the file.
    pub range: Range<u64>,
}

impl TensorInfo {
    /// Read its bytes, as many as weights may have, and see that every weight in them is finite.
    ///
    /// # Errors
    /// [`Error::Limit`] for too many, [`Error::Read`] if they cannot be read, [`Error::Gguf`] for an infinity or a NaN.
    pub fn read(&self, source: &dyn ReadAt, limits: &Limits) -> Result<Vec<u8>, Error> {
        let (offset, size_bytes) = (self.range.start, self.range.end - self.range.start);
        Limits::check("bytes of a tensor", size_bytes, limits.weight_bytes_max)?;
        let failed = |kind: io::ErrorKind| Error::Read { offset, size_bytes, source: kind.into() };
        // Nothing is taken for bytes that a source does not have.
        if self.range.end > source.size_bytes() {
            return Err(failed(io::ErrorKind::UnexpectedEof));
        }
        let length = usize::try_from(size_bytes).map_err(|_| failed(io::ErrorKind::OutOfMemory))?;
        let mut bytes = vec![0; length];
        let read = source.read_at(offset, &mut bytes);
        read.map_err(|source| Error::Read { offset, size_bytes, source })?;
        self.check_finite(&bytes)?;
        Ok(bytes)
    }

    /// See that every weight in these bytes of the tensor is finite.
    ///
    /// # Errors
    /// [`Error::Gguf`] for an infinity or a NaN.
    pub fn check_finite(&self, bytes: &[u8]) -> Result<(), Error> {
        let Some(block) = blocks::find_not_finite(self.format, bytes) else { return Ok(()) };
        let what = if self.format.is_plain() { "element" } else { "scale of block" };
        let place = format!("tensor {}", shown(&self.name));
        Err(Error::Gguf {
            place,
            expected: "finite weights".to_owned(),
            got: format!("an infinity or a NaN as {what} {block}"),
        })
    }
}

/// A tensor as the header has it: its offset is not yet a place.
pub(super) struct Draft {
    name: String,
    shape: Shape,
    format: WeightFormat,
    offset: u64,
}

/// Read this many rows of the table.
pub(super) fn read_drafts(reader: &mut Reader<'_>, count: u64) -> Result<Vec<Draft>, Error> {
    let mut drafts = Vec::new();
    for index in 0..count {
        reader.enter(format!("tensor {index}"));
        let name = reader.name("a name", NAME_BYTES_MAX)?;
        let place = format!("tensor {}", shown(&name));
        reader.enter(place.clone());
        let shape = read_shape(reader)?;
        let format = WeightFormat::of(reader.u32()?, &place)?;
        drafts.push(Draft { name, shape, format, offset: reader.u64()? });
    }
    Ok(drafts)
}

fn read_shape(reader: &mut Reader<'_>) -> Result<Shape, Error> {
    let rank = reader.u32()?;
    if !(1..=RANK_MAX).contains(&rank) {
        return Err(reader.error(format!("1 to {RANK_MAX} dimensions"), rank.to_string()));
    }
    let mut sizes = [1; RANK_MAX as usize];
    for size in sizes.iter_mut().take(rank as usize) {
        *size = reader.u64()?;
        if *size == 0 {
            return Err(reader.error("no dimension of size 0", "one"));
        }
    }
    match sizes {
        [columns, rows, 1, 1] => Ok(Shape { rows, columns }),
        _ => {
            Err(reader.error("a vector or a matrix", format!("{rank} dimensions, innermost first {sizes:?}")))
        }
    }
}

/// Where the bytes of tensors lie: behind the header, from the next multiple of the alignment to the file's end.
pub(super) fn data_range(
    metadata: &Metadata,
    header_end: u64,
    file_end: u64,
    empty: bool,
) -> Result<(Range<u64>, u64), Error> {
    let key = "general.alignment";
    let alignment = metadata.optional(key, Metadata::u64)?.unwrap_or(ALIGNMENT);
    if !alignment.is_power_of_two() || !(8..=ALIGNMENT_MAX).contains(&alignment) {
        return Err(Error::Gguf {
            place: format!("key {key:?}"),
            expected: format!("a power of two from 8 to {ALIGNMENT_MAX}"),
            got: alignment.to_string(),
        });
    }
    // The header has at most 64 MiB: no overflow here.
    let start = header_end.next_multiple_of(alignment);
    if start > file_end && !empty {
        let expected = format!("data of tensors from byte {start} on");
        let got = format!("a file of {file_end} bytes");
        return Err(Error::Gguf { place: "header".to_owned(), expected, got });
    }
    Ok((start..file_end.max(start), alignment))
}

/// The tensors of a GGUF file, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tensors {
    by_name: BTreeMap<String, TensorInfo>,
}

impl Tensors {
    /// Put each where it belongs in `data`, and see that no two share a byte.
    pub(super) fn place(drafts: Vec<Draft>, data: &(Range<u64>, u64)) -> Result<Self, Error> {
        let mut by_name = BTreeMap::new();
        for draft in drafts {
            let tensor = place_one(draft, data)?;
            if let Some(twice) = by_name.insert(tensor.name.clone(), tensor) {
                return Err(wrong(&twice.name, "each name once", "it again"));
            }
        }
        let tensors = Self { by_name };
        tensors.refuse_overlap()?;
        Ok(tensors)
    }

    fn refuse_overlap(&self) -> Result<(), Error> {
        let mut order: Vec<&TensorInfo> = self.iter().collect();
        order.sort_by_key(|tensor| tensor.range.start);
        for pair in order.windows(2) {
            let [first, second] = pair else { continue };
            if second.range.start < first.range.end {
                let expected = format!("bytes behind those of tensor {}", shown(&first.name));
                let got = format!("bytes {:?}, where the other has {:?}", second.range, first.range);
                return Err(wrong(&second.name, &expected, got));
            }
        }
        Ok(())
    }

    /// The tensor of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&TensorInfo> {
        self.by_name.get(name)
    }

    /// The tensor of this name, which must be there.
    ///
    /// # Errors
    /// [`Error::Gguf`] if it is not.
    pub fn require(&self, name: &str) -> Result<&TensorInfo, Error> {
        self.get(name).ok_or_else(|| wrong(name, "a tensor of this name", "none"))
    }

    /// All tensors, by name.
    pub fn iter(&self) -> impl Iterator<Item = &TensorInfo> {
        self.by_name.values()
    }

    /// Bytes of all of them. They lie apart in one file, so the sum has no overflow.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.iter().map(|tensor| tensor.range.end - tensor.range.start).fold(0, u64::saturating_add)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }
}

impl FromIterator<TensorInfo> for Tensors {
    /// Of tensors of the same name the last stays.
    fn from_iter<I: IntoIterator<Item = TensorInfo>>(tensors: I) -> Self {
        Self { by_name: tensors.into_iter().map(|tensor| (tensor.name.clone(), tensor)).collect() }
    }
}

fn place_one(draft: Draft, (data, alignment): &(Range<u64>, u64)) -> Result<TensorInfo, Error> {
    let Draft { name, shape, format, offset } = draft;
    if !offset.is_multiple_of(*alignment) {
        return Err(wrong(&name, &format!("an offset that {alignment} divides"), offset.to_string()));
    }
    let size = size_bytes(&name, shape, format)?;
    let length = data.end - data.start;
    match offset.checked_add(size) {
        Some(end) if end <= length => {
            Ok(TensorInfo { name, shape, format, range: data.start + offset..data.start + end })
        }
        _ => {
            let got = format!("{size} bytes from {offset} on ({format}, {shape})");
            Err(wrong(&name, &format!("bytes inside of the {length} bytes of data"), got))
        }
    }
}

fn size_bytes(name: &str, shape: Shape, format: WeightFormat) -> Result<u64, Error> {
    let elements = format.block_elements() as u64;
    if !shape.columns.is_multiple_of(elements) {
        let expected = format!("rows of whole blocks of {elements} elements ({format})");
        return Err(wrong(name, &expected, format!("{} elements", shape.columns)));
    }
    let row = (shape.columns / elements).checked_mul(format.block_bytes() as u64);
    let all = row.and_then(|row| row.checked_mul(shape.rows));
    all.ok_or_else(|| wrong(name, "fewer than 2^64 bytes", shape.to_string()))
}

fn wrong(name: &str, expected: &str, got: impl Into<String>) -> Error {
    Error::Gguf { place: format!("tensor {}", shown(name)), expected: expected.to_owned(), got: got.into() }
}
