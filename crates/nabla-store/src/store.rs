//! The seam for people who put and get whole blobs: [`Store`], and its simplest form [`MemoryStore`].
//!
//! Behind it stands memory, a folder, or (in the crates above) a network of storage nodes. How a blob is
//! coded, placed and repaired can change without any of its users noticing.
//!
//! # Rules
//! - What `get` returns has the hash that was asked for, or it is an error. No implementation trusts a
//!   disk or a peer.
//! - Blobs never change, so there is nothing to lock and everything may be repeated.
//! - Every implementation passes [`conformance::run`](crate::conformance::run).
//!
//! # Why it is not async
//! What stands behind it is hashing, coding and fsync: work that blocks a thread. An async caller has to
//! move it off its executor in any case (tokio: `spawn_blocking`), so an async trait would promise what a
//! local store cannot keep, would not be usable as `dyn Store`, and would need a runtime in every test.
//! A store over a network keeps a handle of its runtime and waits inside (`Handle::block_on`), while its
//! fetches run concurrently below; it must then not be called from an executor's thread.
//!
//! # Deliberately absent
//! `remove`: in a network a blob goes when its lease ends, and nobody can take it back before. Local
//! stores have a `remove` of their own. Listing: a network has no end.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    ops::Range,
    sync::{Mutex, MutexGuard, PoisonError},
};

use nabla_types::{BlobId, manifest::BlobRef};

use crate::Error;

/// Keeps whole blobs under their hash.
///
/// Calls may block: on a disk, or on a network. `&self`, so one store serves many threads.
pub trait Store: Debug + Send + Sync {
    /// Keep `bytes`. Returns when they are durable by this store's measure; putting again is harmless.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Quota`], [`Error::Io`], [`Error::Remote`]. Then the blob may be there or
    /// not (if it is, it is whole): ask [`Store::has`], or put again.
    fn put(&self, bytes: &[u8]) -> Result<BlobRef, Error>;

    /// All bytes of a blob, checked against its hash. With a [`BlobRef`], `bytes_max` is its size.
    ///
    /// # Errors
    /// [`Error::MissingBlob`]; [`Error::TooLarge`] if it has more than `bytes_max` bytes, before they are
    /// read; [`Error::DamagedBlob`] and the errors of [`code`](crate::code) if what is left is not
    /// it; [`Error::Io`], [`Error::Remote`].
    fn get(&self, blob: BlobId, bytes_max: u64) -> Result<Vec<u8>, Error>;

    /// Some bytes of a blob, checked just as much.
    ///
    /// # Errors
    /// [`Error::Range`] if the blob ends before `range`, or `range` before it starts; else as
    /// [`Store::get`].
    fn get_range(&self, blob: BlobId, range: Range<u64>) -> Result<Vec<u8>, Error>;

    /// The length of a blob in bytes, or `None` if it is not here. A promise, not a proof: only reading
    /// proves that the bytes are good.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Remote`].
    fn size_bytes(&self, blob: BlobId) -> Result<Option<u64>, Error>;

    /// Whether a blob is here.
    ///
    /// # Errors
    /// As [`Store::size_bytes`].
    fn has(&self, blob: BlobId) -> Result<bool, Error> {
        Ok(self.size_bytes(blob)?.is_some())
    }
}

/// Check the length of a blob against what the caller accepts.
///
/// # Errors
/// [`Error::TooLarge`].
pub fn check_size(blob: BlobId, size_bytes: u64, max: u64) -> Result<(), Error> {
    if size_bytes > max {
        return Err(Error::TooLarge { blob, got: size_bytes, max });
    }
    Ok(())
}

/// Cut `range` out of a blob's checked bytes.
///
/// # Errors
/// [`Error::Range`].
pub fn slice(blob: BlobId, bytes: &[u8], range: Range<u64>) -> Result<Vec<u8>, Error> {
    let Range { start, end } = range;
    let part = usize::try_from(start)
        .ok()
        .zip(usize::try_from(end).ok())
        .and_then(|(from, to)| bytes.get(from..to))
        .ok_or(Error::Range { blob, start, end, size_bytes: bytes.len() as u64 })?;
    Ok(part.to_vec())
}

/// Blobs in memory: for tests, and for what need not outlive the process.
#[derive(Debug, Default)]
pub struct MemoryStore {
    blobs: Mutex<BTreeMap<BlobId, Vec<u8>>>,
}

impl MemoryStore {
    /// Forget a blob. Returns whether it was here.
    pub fn remove(&self, blob: BlobId) -> bool {
        self.blobs().remove(&blob).is_some()
    }

    fn blobs(&self) -> MutexGuard<'_, BTreeMap<BlobId, Vec<u8>>> {
        // A map of whole blobs is valid at every moment, also where another thread panicked.
        self.blobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn put(&self, bytes: &[u8]) -> Result<BlobRef, Error> {
        let reference = BlobRef::of(bytes);
        self.blobs().entry(reference.blob).or_insert_with(|| bytes.to_vec());
        Ok(reference)
    }

    fn get(&self, blob: BlobId, bytes_max: u64) -> Result<Vec<u8>, Error> {
        let blobs = self.blobs();
        let bytes = blobs.get(&blob).ok_or(Error::MissingBlob { blob })?;
        check_size(blob, bytes.len() as u64, bytes_max)?;
        Ok(bytes.clone())
    }

    fn get_range(&self, blob: BlobId, range: Range<u64>) -> Result<Vec<u8>, Error> {
        let blobs = self.blobs();
        slice(blob, blobs.get(&blob).ok_or(Error::MissingBlob { blob })?, range)
    }

    fn size_bytes(&self, blob: BlobId) -> Result<Option<u64>, Error> {
        Ok(self.blobs().get(&blob).map(|bytes| bytes.len() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_conforms() {
        crate::conformance::run(&MemoryStore::default());
    }

    #[test]
    fn memory_forgets() {
        let store = MemoryStore::default();
        let blob = store.put(b"x").unwrap().blob;
        assert!(store.remove(blob));
        assert!(!store.remove(blob));
        assert!(!store.has(blob).unwrap());
    }
}
