//! Whole blobs in a folder, one file each: an inference node's cache of what it serves.
//!
//! # Rules
//! - Every read is hashed. A damaged file is reported ([`Error::DamagedBlob`]) and removed, so that the
//!   next fetch brings it anew.
//! - Writes are atomic and durable, and the folder is one process's ([`DataFolder`](crate::DataFolder)).
//! - [`FolderConfig::bytes_max`] is a wall, not a rule for what goes: the owner decides, by
//!   [`FolderStore::list`] and [`FolderStore::remove`].
//!
//! # Deliberately absent
//! A range is read by reading and hashing the whole blob. Hash trees beside the files, which make a range
//! as cheap as it is long, come with the store's own issue. Who reads many ranges of one blob opens it once
//! ([`FolderStore::open_file`]).

use std::{fs::File, ops::Range};

use nabla_types::{BlobId, manifest::BlobRef};

use crate::{
    Error, Store,
    shelf::{FolderConfig, Key, Shelf},
    store::{check_size, slice},
};

impl Key for BlobId {
    fn file_name(&self) -> String {
        self.to_string()
    }

    fn from_file_name(name: &str) -> Option<Self> {
        name.parse::<Self>().ok().filter(|blob| blob.to_string() == name)
    }

    fn hash(&self) -> [u8; 32] {
        self.0
    }

    fn damaged(&self, got: [u8; 32]) -> Error {
        Error::DamagedBlob { expected: *self, got: Self(got) }
    }
}

/// Blobs on disk. One process at a time; any number of threads.
#[derive(Debug)]
pub struct FolderStore {
    shelf: Shelf<BlobId>,
}

impl FolderStore {
    /// Open the folder or make it, and remove what was left half-written.
    ///
    /// # Errors
    /// Those of [`DataFolder::open`](crate::DataFolder::open).
    pub fn open(config: FolderConfig) -> Result<Self, Error> {
        Ok(Self { shelf: Shelf::open(config, "blobs")? })
    }

    /// Every blob here, ordered by id.
    #[must_use]
    pub fn list(&self) -> Vec<BlobId> {
        self.shelf.keys()
    }

    /// Bytes of all blobs here and being written.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.shelf.used_bytes()
    }

    /// A blob as an open file, for reading it in parts: it has been read and hashed once, without being kept
    /// in memory. A file is never written again under its name, and stays readable when it is removed.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub fn open_file(&self, blob: BlobId, bytes_max: u64) -> Result<File, Error> {
        check_size(blob, self.shelf.size_bytes(&blob).unwrap_or(0), bytes_max)?;
        self.shelf.open_file(&blob)?.ok_or(Error::MissingBlob { blob })
    }

    /// Remove a blob. Returns whether it was here.
    ///
    /// # Errors
    /// [`Error::Io`]; then it may be here or not.
    pub fn remove(&self, blob: BlobId) -> Result<bool, Error> {
        self.shelf.remove(&blob)
    }
}

impl Store for FolderStore {
    fn put(&self, bytes: &[u8]) -> Result<BlobRef, Error> {
        let reference = BlobRef::of(bytes);
        self.shelf.put(reference.blob, bytes)?;
        Ok(reference)
    }

    fn get(&self, blob: BlobId, bytes_max: u64) -> Result<Vec<u8>, Error> {
        check_size(blob, self.shelf.size_bytes(&blob).unwrap_or(0), bytes_max)?;
        self.shelf.get(&blob)?.ok_or(Error::MissingBlob { blob })
    }

    fn get_range(&self, blob: BlobId, range: Range<u64>) -> Result<Vec<u8>, Error> {
        slice(blob, &self.get(blob, u64::MAX)?, range)
    }

    fn size_bytes(&self, blob: BlobId) -> Result<Option<u64>, Error> {
        Ok(self.shelf.size_bytes(&blob))
    }
}

#[cfg(test)]
mod tests;
