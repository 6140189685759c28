//! The blobs of models: from the cache folder, else from storage into the cache folder. Always checked.
//!
//! # Rules
//! - Every read from the folder is hashed whole, and so is all that comes from storage.
//! - A blob that the folder has room for is read from its file, not kept in memory.
//!
//! # When things go wrong
//! A damaged file is removed and fetched again. A folder that is full or cannot be written is reported, and
//! the blob used from memory.

use nabla_client::{BlobClient, Error, Fetched};
use nabla_engine::{FileSource, ReadAt};
use nabla_store::{FolderConfig, FolderStore, Store};
use nabla_types::{BlobId, manifest::BlobRef};
use tokio::runtime::Handle;

#[derive(Debug)]
pub(super) struct Blobs {
    storage: BlobClient,
    folder: FolderStore,
}

impl Blobs {
    pub(super) fn open(storage: BlobClient, folder: FolderConfig) -> Result<Self, nabla_store::Error> {
        Ok(Self { storage, folder: FolderStore::open(folder)? })
    }

    /// A small blob whose length is not known.
    pub(super) async fn small(&self, blob: BlobId, bytes_max: u64) -> Result<Vec<u8>, Error> {
        if let Some(bytes) = held(blob, self.folder.get(blob, bytes_max)) {
            return Ok(bytes);
        }
        let fetched = self.storage.get_small(blob, bytes_max).await?;
        self.keep(&fetched);
        Ok(fetched.bytes)
    }

    /// A blob in memory. For a thread that may wait; `io` is where it waits for the network.
    pub(super) fn bytes(&self, blob: BlobRef, io: &Handle) -> Result<Vec<u8>, Error> {
        match held(blob.blob, self.folder.get(blob.blob, blob.size_bytes)) {
            Some(bytes) => Ok(bytes),
            None => self.fetch(blob, io),
        }
    }

    /// A blob to be read in parts. For a thread that may wait, too.
    pub(super) fn parts(&self, blob: BlobRef, io: &Handle) -> Result<Box<dyn ReadAt>, Error> {
        if let Some(file) = self.file(blob) {
            return Ok(Box::new(file));
        }
        let bytes = self.fetch(blob, io)?;
        Ok(match self.file(blob) {
            Some(file) => Box::new(file),
            None => Box::new(bytes),
        })
    }

    fn file(&self, blob: BlobRef) -> Option<FileSource> {
        let file = held(blob.blob, self.folder.open_file(blob.blob, blob.size_bytes))?;
        FileSource::new(file).ok()
    }

    fn fetch(&self, blob: BlobRef, io: &Handle) -> Result<Vec<u8>, Error> {
        let fetched = io.block_on(self.storage.get(blob))?;
        self.keep(&fetched);
        Ok(fetched.bytes)
    }

    fn keep(&self, fetched: &Fetched) {
        for shard in &fetched.rejected {
            tracing::warn!(node = %shard.node, index = shard.index, reason = %shard.reason, "shard rejected");
        }
        if let Err(error) = self.folder.put(&fetched.bytes) {
            tracing::warn!(%error, "blob not kept in the cache folder");
        }
    }
}

/// What the folder has, if it has it.
fn held<T>(blob: BlobId, read: Result<T, nabla_store::Error>) -> Option<T> {
    match read {
        Ok(content) => Some(content),
        Err(nabla_store::Error::MissingBlob { .. }) => None,
        Err(error) => {
            tracing::warn!(%blob, %error, "cached blob is fetched again");
            None
        }
    }
}
