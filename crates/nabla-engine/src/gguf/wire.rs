//! The numbers and texts of a GGUF header, read in order, little endian, without trust.
//!
//! The reader keeps what it has read: values are ranges of those bytes, so that no claim of a header takes memory
//! before its bytes have been seen.

use std::ops::Range;

use super::limits::{HEADER_BYTES_MAX, READ_BYTES};
use crate::{Error, ReadAt};

/// A place in a header, and all bytes before it.
pub(super) struct Reader<'s> {
    source: &'s dyn ReadAt,
    file_bytes: u64,
    bytes: Vec<u8>,
    at: usize,
    place: String,
}

impl<'s> Reader<'s> {
    pub(super) fn new(source: &'s dyn ReadAt) -> Self {
        let place = "header".to_owned();
        Self { source, file_bytes: source.size_bytes(), bytes: Vec::new(), at: 0, place }
    }

    /// What is being read, for errors.
    pub(super) fn enter(&mut self, place: String) {
        self.place = place;
    }

    pub(super) fn error(&self, expected: impl Into<String>, got: impl Into<String>) -> Error {
        Error::Gguf { place: self.place.clone(), expected: expected.into(), got: got.into() }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The bytes read so far, where the header ends and where the file ends.
    pub(super) fn finish(self) -> (Vec<u8>, u64, u64) {
        (self.bytes, self.at as u64, self.file_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Error> {
        Ok(u32::from_le_bytes(self.bytes()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, Error> {
        Ok(u64::from_le_bytes(self.bytes()?))
    }

    /// A number of things of which there may be `max`.
    pub(super) fn count(&mut self, what: &'static str, max: u64) -> Result<u64, Error> {
        let got = self.u64()?;
        if got > max { Err(Error::Limit { what, got, max }) } else { Ok(got) }
    }

    /// A text of at most `max` bytes, which need not be UTF-8 yet.
    pub(super) fn text(&mut self, what: &str, max: u64) -> Result<Range<usize>, Error> {
        let length = self.u64()?;
        if length > max {
            return Err(self.error(format!("{what} of at most {max} bytes"), format!("{length} bytes")));
        }
        self.take(length)
    }

    /// A text that names something: UTF-8, and not empty.
    pub(super) fn name(&mut self, what: &str, max: u64) -> Result<String, Error> {
        let range = self.text(what, max)?;
        match std::str::from_utf8(&self.bytes[range]) {
            Ok("") => Err(self.error(what, "an empty text")),
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(self.error(format!("{what} in UTF-8"), "other bytes")),
        }
    }

    pub(super) fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let range = self.take(N as u64)?;
        let mut bytes = [0; N];
        bytes.copy_from_slice(&self.bytes[range]);
        Ok(bytes)
    }

    /// Pass over the next bytes: they have been read and lie there.
    pub(super) fn take(&mut self, count: u64) -> Result<Range<usize>, Error> {
        let start = self.at as u64;
        let left = self.file_bytes.saturating_sub(start);
        if count > left {
            return Err(self.error(format!("{count} bytes"), format!("{left} up to the end of the file")));
        }
        // `count` is at most `left`, so the sum is at most the length of the file.
        let end = start + count;
        let max = HEADER_BYTES_MAX;
        match usize::try_from(end) {
            Ok(end) if end as u64 <= max => {
                self.fill(end)?;
                let range = self.at..end;
                self.at = end;
                Ok(range)
            }
            _ => Err(Error::Limit { what: "bytes of the header of a GGUF file", got: end, max }),
        }
    }

    /// Read on until `end` bytes are there; `end` lies inside of the file.
    fn fill(&mut self, end: usize) -> Result<(), Error> {
        while self.bytes.len() < end {
            let start = self.bytes.len();
            let left = usize::try_from(self.file_bytes - start as u64).unwrap_or(usize::MAX);
            self.bytes.resize(start + left.min(READ_BYTES), 0);
            let into = &mut self.bytes[start..];
            let (offset, size_bytes) = (start as u64, into.len() as u64);
            let read = self.source.read_at(offset, into);
            read.map_err(|source| Error::Read { offset, size_bytes, source })?;
        }
        Ok(())
    }
}
