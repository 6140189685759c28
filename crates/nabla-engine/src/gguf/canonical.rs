//! The canonical form of a GGUF file: a header and a data section of which every byte follows from the model.
//!
//! # Rules
//! - Only what results depend on is kept: the architecture's name, its own keys, and the tokenizer's. Names, authors,
//!   licences and the like are not the model.
//! - Keys are sorted, tensors are sorted by name; the data of each begins at a multiple of 32, filled with zeros. A
//!   vector has one dimension, a matrix two. The version is 3.
//! - Header and data section are two blobs; joined they are a GGUF file again, for any program.
//! - The canonical form of a canonical form is itself.
//!
//! # When things go wrong
//! Whatever [`Gguf::open`] has read has a canonical form; reading the data can fail as a source can.

use std::ops::Range;

use super::{Gguf, MAGIC, Shape, TensorInfo, WeightFormat};
use crate::{Error, Limits, ReadAt};

/// Where data begins is a multiple of this.
const ALIGNMENT: u64 = 32;

/// A header, and where its data section comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canonical {
    header: Vec<u8>,
    /// Ranges of the source, in order.
    tensors: Vec<Range<u64>>,
}

impl Canonical {
    /// Of this file.
    ///
    /// # Errors
    /// [`Error::Gguf`] if it does not name its architecture.
    pub fn of(gguf: &Gguf) -> Result<Self, Error> {
        let metadata = &gguf.metadata;
        let architecture = metadata.str("general.architecture")?;
        let own = format!("{architecture}.");
        let is_kept = |key: &&str| {
            *key == "general.architecture" || key.starts_with(&own) || key.starts_with("tokenizer.")
        };
        let keys: Vec<&str> = metadata.keys().map(|(key, _)| key).filter(is_kept).collect();
        let mut tensors: Vec<&TensorInfo> = gguf.tensors.iter().collect();
        tensors.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let mut key_bytes = Vec::new();
        keys.iter().for_each(|key| metadata.write(key, &mut key_bytes));
        let rows: Vec<Row<'_>> = tensors.iter().map(|tensor| Row::of(tensor)).collect();
        let header = header(keys.len(), &key_bytes, &rows);
        let tensors = tensors.into_iter().map(|tensor| tensor.range.clone()).collect();
        Ok(Self { header, tensors })
    }

    /// The header.
    #[must_use]
    pub fn header(&self) -> &[u8] {
        &self.header
    }

    /// Bytes of the data section.
    #[must_use]
    pub fn data_bytes(&self) -> u64 {
        self.tensors.iter().map(|range| padded(size_bytes(range))).sum()
    }

    /// Read the data section from the file that this was made of.
    ///
    /// # Errors
    /// [`Error::Limit`] for more bytes than weights may have; [`Error::Read`].
    pub fn data(&self, source: &dyn ReadAt, limits: &Limits) -> Result<Vec<u8>, Error> {
        let size_bytes = self.data_bytes();
        Limits::check("bytes of all weights", size_bytes, limits.weight_bytes_max)?;
        let failed = |offset, source| Error::Read { offset, size_bytes, source };
        let length =
            usize::try_from(size_bytes).map_err(|_| failed(0, std::io::ErrorKind::OutOfMemory.into()))?;
        let mut data = Vec::with_capacity(length);
        for range in &self.tensors {
            let start = data.len();
            // What was opened lies within the file, and all of it within the limit.
            let size = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
            data.resize(start + size, 0);
            source.read_at(range.start, &mut data[start..]).map_err(|source| failed(range.start, source))?;
            data.resize(data.len().next_multiple_of(32), 0);
        }
        Ok(data)
    }
}

fn size_bytes(range: &Range<u64>) -> u64 {
    range.end - range.start
}

/// Bytes that a tensor takes in the data section. No more than a little above those of a file, which are far from 2^64.
pub(crate) fn padded(size_bytes: u64) -> u64 {
    size_bytes.checked_next_multiple_of(ALIGNMENT).unwrap_or(u64::MAX)
}

/// A tensor of a header in the making.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row<'a> {
    pub(crate) name: &'a str,
    pub(crate) shape: Shape,
    pub(crate) format: WeightFormat,
    pub(crate) size_bytes: u64,
}

impl<'a> Row<'a> {
    fn of(tensor: &'a TensorInfo) -> Self {
        let TensorInfo { name, shape, format, range } = tensor;
        Self { name, shape: *shape, format: *format, size_bytes: size_bytes(range) }
    }
}

/// The header of these keys, sorted and written, and of these tensors, sorted by name.
pub(crate) fn header(keys: usize, key_bytes: &[u8], tensors: &[Row<'_>]) -> Vec<u8> {
    let mut header = MAGIC.to_vec();
    header.extend(3_u32.to_le_bytes());
    header.extend((tensors.len() as u64).to_le_bytes());
    header.extend((keys as u64).to_le_bytes());
    header.extend(key_bytes);
    let mut offset = 0;
    for tensor in tensors {
        write_tensor(tensor, offset, &mut header);
        offset += padded(tensor.size_bytes);
    }
    while !(header.len() as u64).is_multiple_of(ALIGNMENT) {
        header.push(0);
    }
    header
}

fn write_tensor(tensor: &Row<'_>, offset: u64, header: &mut Vec<u8>) {
    header.extend((tensor.name.len() as u64).to_le_bytes());
    header.extend(tensor.name.as_bytes());
    let is_vector = tensor.shape.rows == 1;
    header.extend(if is_vector { 1_u32 } else { 2 }.to_le_bytes());
    header.extend(tensor.shape.columns.to_le_bytes());
    if !is_vector {
        header.extend(tensor.shape.rows.to_le_bytes());
    }
    header.extend(tensor.format.code().to_le_bytes());
    header.extend(offset.to_le_bytes());
}

/// Two sources, one behind the other.
#[derive(Debug, Clone)]
pub struct Joined<A, B>(pub A, pub B);

impl<A: ReadAt, B: ReadAt> ReadAt for Joined<A, B> {
    fn size_bytes(&self) -> u64 {
        self.0.size_bytes().saturating_add(self.1.size_bytes())
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> std::io::Result<()> {
        let first = self.0.size_bytes();
        let split = first.saturating_sub(offset).min(into.len() as u64);
        let (head, tail) = into.split_at_mut(usize::try_from(split).unwrap_or(usize::MAX));
        if !head.is_empty() {
            self.0.read_at(offset, head)?;
        }
        if tail.is_empty() { Ok(()) } else { self.1.read_at(offset.saturating_sub(first), tail) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::tests::WRITTEN;

    #[test]
    fn it_is_the_same_model_and_its_own_canonical_form() {
        for (name, bytes) in WRITTEN.into_iter().enumerate() {
            let source = bytes.to_vec();
            let gguf = Gguf::open(&source).unwrap();
            let canonical = Canonical::of(&gguf).unwrap();
            let data = canonical.data(&source, &Limits::default()).unwrap();
            assert_eq!(data.len() as u64, canonical.data_bytes(), "{name}");
            let joined = Joined(canonical.header().to_vec(), data.clone());
            let again = Gguf::open(&joined).unwrap();
            assert!(!again.metadata.contains("general.name"), "{name}");
            for tensor in gguf.tensors.iter() {
                let other = again.tensors.require(&tensor.name).unwrap();
                assert_eq!((other.shape, other.format), (tensor.shape, tensor.format));
                let limits = Limits::default();
                assert_eq!(other.read(&joined, &limits).unwrap(), tensor.read(&source, &limits).unwrap());
            }
            let second = Canonical::of(&again).unwrap();
            assert_eq!(second.header(), canonical.header(), "{name}");
            assert_eq!(second.data(&joined, &Limits::default()).unwrap(), data, "{name}");
        }
    }

    #[test]
    fn two_sources_are_read_as_one() {
        let joined = Joined(vec![0_u8, 1, 2], vec![3_u8, 4, 5, 6]);
        assert_eq!(joined.size_bytes(), 7);
        let read = |offset, length| {
            let mut into = vec![0; length];
            joined.read_at(offset, &mut into).map(|()| into)
        };
        assert_eq!(read(0, 7).unwrap(), [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(read(1, 1).unwrap(), [1]);
        assert_eq!(read(2, 3).unwrap(), [2, 3, 4]);
        assert_eq!(read(3, 4).unwrap(), [3, 4, 5, 6]);
        assert!(read(7, 0).unwrap().is_empty());
        assert!(read(5, 3).is_err() && read(8, 1).is_err() && read(2, 6).is_err());
    }
}
