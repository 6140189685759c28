//! The shards that one storage node holds on disk.
//!
//! One file per shard, named `<layout>.<index>.<hash>`: so the file alone says what it must contain, one
//! rename is the whole transaction, and nothing but the files themselves has to be kept in step.
//!
//! # Rules
//! - [`ShardStore::put`] checks the shard against its layout first and returns when it is durable; only
//!   then may a node sign that it holds it. Again is harmless: what is here is read and compared.
//! - [`ShardStore::get`] checks what it read. A damaged file is removed and reported, so that the shard
//!   counts as missing and can be repaired by an ordinary `put`.
//! - `kill -9` at any moment leaves each shard whole or absent ([`DataFolder`](crate::DataFolder)).
//!
//! # When things go wrong
//! A failed `put` fails for itself: the store stays usable, other shards are untouched, temporary files
//! are removed. What is unknown then is written at [`data_folder`](crate::data_folder). [`Error::Full`]
//! and [`Error::Quota`] are no reason to stop: reads and removals still work.
//!
//! # Example
//! ```
//! # use nabla_store::*;
//! # let folder = tempfile::tempdir()?;
//! let network = nabla_types::NetworkId([7; 32]);
//! let config = FolderConfig { path: folder.path().join("shards"), network, bytes_max: None };
//! let store = ShardStore::open(config)?;
//!
//! let encoded = encode(b"some weights", Code::new(3, 5)?)?;
//! let layout = &encoded.layout;
//! store.put(layout, 4, &encoded.shards[4])?;
//! assert_eq!(store.get(layout.id(), 4)?, *encoded.shards[4]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use nabla_types::{LayoutId, ShardId, layout::Layout};

use crate::{
    Error, check_shard,
    shelf::{FolderConfig, Key, Put, Shelf},
};

/// A shard that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HeldShard {
    /// The coding it belongs to.
    pub layout: LayoutId,
    /// Which shard.
    pub index: u16,
    /// The hash of its bytes.
    pub shard: ShardId,
}

impl Key for HeldShard {
    fn file_name(&self) -> String {
        format!("{}.{}.{}", self.layout, self.index, self.shard)
    }

    fn from_file_name(name: &str) -> Option<Self> {
        let mut parts = name.split('.');
        let key = Self {
            layout: parts.next()?.parse().ok()?,
            index: parts.next()?.parse().ok()?,
            shard: parts.next()?.parse().ok()?,
        };
        // Only the one spelling that we write: one file per key.
        (key.file_name() == name).then_some(key)
    }

    fn hash(&self) -> [u8; 32] {
        self.shard.0
    }

    fn damaged(&self, got: [u8; 32]) -> Error {
        let Self { layout, index, shard } = *self;
        Error::DamagedShard { layout, index, expected: shard, got: ShardId(got) }
    }
}

/// What a walk over all shards found.
#[derive(Debug, Default)]
pub struct ScrubReport {
    /// Shards that were read and are good.
    pub good: u64,
    /// Shards that are not: damaged ones are removed, unreadable ones stay.
    pub bad: Vec<(HeldShard, Error)>,
}

/// Shards on disk. One process at a time; any number of threads.
#[derive(Debug)]
pub struct ShardStore {
    shelf: Shelf<HeldShard>,
}

impl ShardStore {
    /// Open the folder or make it, remove what was left half-written, and list what is held.
    ///
    /// # Errors
    /// Those of [`DataFolder::open`](crate::DataFolder::open).
    pub fn open(config: FolderConfig) -> Result<Self, Error> {
        Ok(Self { shelf: Shelf::open(config, "shards")? })
    }

    /// Check a shard and keep it. Returns when it is durable.
    ///
    /// # Errors
    /// Those of [`check_shard`]; [`Error::Quota`], [`Error::Full`], [`Error::Io`].
    pub fn put(&self, layout: &Layout, index: u16, bytes: &[u8]) -> Result<Put, Error> {
        check_shard(layout, index, bytes)?;
        let shard = layout.shards[usize::from(index)];
        self.shelf.put(HeldShard { layout: layout.id(), index, shard }, bytes)
    }

    /// The bytes of a shard, checked.
    ///
    /// # Errors
    /// [`Error::MissingShard`], [`Error::DamagedShard`], [`Error::Io`].
    pub fn get(&self, layout: LayoutId, index: u16) -> Result<Vec<u8>, Error> {
        let bytes = self.find(layout, index).and_then(|held| self.shelf.get(&held).transpose());
        bytes.unwrap_or(Err(Error::MissingShard { layout, index }))
    }

    /// Whether a shard is held. Only [`ShardStore::get`] shows that it is good.
    #[must_use]
    pub fn has(&self, layout: LayoutId, index: u16) -> bool {
        self.find(layout, index).is_some()
    }

    /// Every shard held, ordered by layout and index.
    #[must_use]
    pub fn list(&self) -> Vec<HeldShard> {
        self.shelf.keys()
    }

    /// Bytes of all shards held and being written.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.shelf.used_bytes()
    }

    /// Remove a shard. Returns whether it was held.
    ///
    /// # Errors
    /// [`Error::Io`]; then it may be held or not.
    pub fn remove(&self, layout: LayoutId, index: u16) -> Result<bool, Error> {
        self.find(layout, index).map_or(Ok(false), |held| self.shelf.remove(&held))
    }

    /// Read and check every shard. Long: a caller that must stay responsive walks [`ShardStore::list`]
    /// at its own pace with [`ShardStore::get`], which is all that this does.
    #[must_use]
    pub fn scrub(&self) -> ScrubReport {
        let mut report = ScrubReport::default();
        for held in self.list() {
            match self.shelf.get(&held) {
                Ok(Some(_)) => report.good += 1,
                Ok(None) => {} // Removed in the meantime.
                Err(error) => report.bad.push((held, error)),
            }
        }
        report
    }

    fn find(&self, layout: LayoutId, index: u16) -> Option<HeldShard> {
        // A layout's id fixes the hashes, so there is one key at most.
        let first = self.shelf.first_from(&HeldShard { layout, index, shard: ShardId([0; 32]) })?;
        (first.layout == layout && first.index == index).then_some(first)
    }
}

#[cfg(test)]
mod tests;
