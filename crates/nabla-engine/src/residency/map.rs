//! A packed model, seen through the system's file cache: the one place that maps a file.

#![expect(unsafe_code, reason = "mapping a file is unsafe; see `Map::open`")]

use std::fs::File;
use std::io;
use std::sync::Arc;

/// A whole file, mapped for reading.
#[derive(Debug, Clone)]
pub(super) struct Map(Arc<memmap2::Mmap>);

impl Map {
    /// Map a packed model. The file must be one that this cache has written and renamed.
    pub(super) fn open(file: &File) -> io::Result<Self> {
        // SAFETY: the bytes must not change while they are mapped. Files of this name in the cache's folder
        // are written once under another name, renamed, and only ever removed, never written again; the
        // folder's lock keeps other caches out. A person who overwrites them by hand breaks that promise.
        let map = unsafe { memmap2::Mmap::map(file)? };
        Ok(Self(Arc::new(map)))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// A part that keeps the whole mapped.
    pub(super) fn part(&self, start: usize, end: usize) -> Option<Part> {
        self.0.get(start..end)?;
        Some(Part { map: self.clone(), start, end })
    }
}

/// Some bytes of a map.
#[derive(Debug)]
pub(super) struct Part {
    map: Map,
    start: usize,
    end: usize,
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.map.bytes()[self.start..self.end]
    }
}
