//! Files under their hash in a [`DataFolder`]: what [`ShardStore`](crate::ShardStore) and
//! [`FolderStore`](crate::FolderStore) have in common.
//!
//! A file's name carries the hash of its bytes, and stands in the folder of its name's first two hex
//! digits (256 of them, made on open). The list of files is read once, on open, and then kept in memory;
//! it is what quota and `has` go by. Reading goes by the bytes alone.
//!
//! # Rules
//! - Lock order: `commits`, then `index`. File contents are read and written outside of both, but for
//!   the second look at a damaged file; renaming and removing are done under `commits`, so that a name
//!   never disappears beneath a `put` that was told it is there.
//! - Files with other names are not ours: they are left alone and not counted.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use nabla_types::NetworkId;

use crate::{
    DataFolder, Error,
    data_folder::{entries, sync_folder},
};

/// Where a store keeps its files, and how much it may keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderConfig {
    /// The folder. Made if it is not there.
    pub path: PathBuf,
    /// The network that this node is on. A folder of another network is refused.
    pub network: NetworkId,
    /// Most bytes of content kept, file system overhead not counted. `None`: as much as the disk holds.
    pub bytes_max: Option<u64>,
}

/// What a `put` did. Either way the bytes are durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// They were written.
    Written,
    /// They were here already, read again and found good.
    Held,
}

/// What a file is kept under.
pub(crate) trait Key: Copy + Ord + Debug {
    /// The file's name; its first two characters are hex digits.
    fn file_name(&self) -> String;
    /// The key of a file's name, if it is one of ours.
    fn from_file_name(name: &str) -> Option<Self>;
    /// The hash that the bytes must have.
    fn hash(&self) -> [u8; 32];
    /// The error that says that they have another.
    fn damaged(&self, got: [u8; 32]) -> Error;
}

#[derive(Debug)]
pub(crate) struct Shelf<K> {
    folder: DataFolder,
    bytes_max: Option<u64>,
    commits: Mutex<()>,
    index: Mutex<Index<K>>,
}

#[derive(Debug)]
struct Index<K> {
    /// Length in bytes of every file.
    held: BTreeMap<K, u64>,
    /// Sum of the lengths held and of those being written.
    used_bytes: u64,
}

impl<K> Index<K> {
    fn release(&mut self, size_bytes: u64) {
        self.used_bytes = self.used_bytes.saturating_sub(size_bytes);
    }
}

impl<K: Key> Shelf<K> {
    pub(crate) fn open(config: FolderConfig, kind: &str) -> Result<Self, Error> {
        let folder = DataFolder::open(config.path, kind, config.network)?;
        let held: BTreeMap<K, u64> = scan(&create_folders(folder.path())?)?;
        let used_bytes = held.values().fold(0, |sum: u64, size| sum.saturating_add(*size));
        let index = Mutex::new(Index { held, used_bytes });
        Ok(Self { folder, bytes_max: config.bytes_max, commits: Mutex::new(()), index })
    }

    /// Keep `bytes`, whose hash the caller has compared with the key's.
    pub(crate) fn put(&self, key: K, bytes: &[u8]) -> Result<Put, Error> {
        if self.is_held_whole(&key)? {
            return Ok(Put::Held);
        }
        let size_bytes = bytes.len() as u64;
        self.reserve(size_bytes)?;
        let put = self.folder.stage(bytes).and_then(|staged| {
            let _commit = lock(&self.commits);
            if self.index().held.contains_key(&key) {
                return Ok(Put::Held); // Another thread was faster.
            }
            staged.commit(&self.path_of(&key))?;
            self.index().held.insert(key, size_bytes);
            Ok(Put::Written)
        });
        if !matches!(put, Ok(Put::Written)) {
            self.index().release(size_bytes);
        }
        put
    }

    /// The checked bytes, or `None` if there are none. Damaged ones are removed.
    pub(crate) fn get(&self, key: &K) -> Result<Option<Vec<u8>>, Error> {
        self.checked(key, &read_whole)
    }

    /// The open file, whose bytes were checked piece by piece, or `None`. A damaged one is removed.
    pub(crate) fn open_file(&self, key: &K) -> Result<Option<File>, Error> {
        self.checked(key, &read_through)
    }

    fn checked<T>(&self, key: &K, read: &Reading<T>) -> Result<Option<T>, Error> {
        let Some(size_bytes) = self.size_bytes(key) else {
            return Ok(None);
        };
        match self.read(key, size_bytes, read)? {
            Some((content, hash)) if hash == key.hash() => Ok(Some(content)),
            _ => self.look_again(key, read),
        }
    }

    /// Remove a file. Returns whether there was one.
    pub(crate) fn remove(&self, key: &K) -> Result<bool, Error> {
        let _commit = lock(&self.commits);
        self.remove_committed(key)
    }

    pub(crate) fn size_bytes(&self, key: &K) -> Option<u64> {
        self.index().held.get(key).copied()
    }

    /// The first key from `key` on.
    pub(crate) fn first_from(&self, key: &K) -> Option<K> {
        self.index().held.range(key..).next().map(|(key, _)| *key)
    }

    /// All keys, in order.
    pub(crate) fn keys(&self) -> Vec<K> {
        self.index().held.keys().copied().collect()
    }

    pub(crate) fn used_bytes(&self) -> u64 {
        self.index().used_bytes
    }

    /// Whether the file is here and good. A damaged one is removed, and is then not here.
    fn is_held_whole(&self, key: &K) -> Result<bool, Error> {
        match self.get(key) {
            Ok(bytes) => Ok(bytes.is_some()),
            Err(Error::DamagedShard { .. } | Error::DamagedBlob { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The file was gone or damaged. Look once more while nobody writes or removes; then it is final.
    fn look_again<T>(&self, key: &K, read: &Reading<T>) -> Result<Option<T>, Error> {
        let _commit = lock(&self.commits);
        let Some(size_bytes) = self.size_bytes(key) else {
            return Ok(None);
        };
        let got = match self.read(key, size_bytes, read)? {
            Some((content, hash)) if hash == key.hash() => return Ok(Some(content)),
            other => other.map(|(_, hash)| hash),
        };
        self.remove_committed(key)?;
        got.map_or(Ok(None), |got| Err(key.damaged(got)))
    }

    fn remove_committed(&self, key: &K) -> Result<bool, Error> {
        let path = self.path_of(key);
        match fs::remove_file(&path) {
            Err(source) if source.kind() == io::ErrorKind::NotFound => {}
            result => result.map_err(Error::io("remove", &path))?,
        }
        let removed = {
            let mut index = self.index();
            let removed = index.held.remove(key);
            index.release(removed.unwrap_or(0));
            removed.is_some()
        };
        sync_folder(path.parent().unwrap_or(self.folder.path()))?;
        Ok(removed)
    }

    /// What `read` makes of a file, and its hash: of one byte more than it should have at most, which is
    /// enough to see that it grew.
    fn read<T>(&self, key: &K, size_bytes: u64, read: &Reading<T>) -> Result<Option<(T, [u8; 32])>, Error> {
        let path = self.path_of(key);
        match File::open(&path).and_then(|file| read(file, size_bytes.saturating_add(1))) {
            Ok(read) => Ok(Some(read)),
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::io("read", path)(source)),
        }
    }

    fn reserve(&self, needed_bytes: u64) -> Result<(), Error> {
        let mut index = self.index();
        let used_bytes = index.used_bytes;
        let sum = used_bytes.saturating_add(needed_bytes);
        if let Some(bytes_max) = self.bytes_max.filter(|max| sum > *max) {
            return Err(Error::Quota { needed_bytes, used_bytes, bytes_max });
        }
        index.used_bytes = sum;
        Ok(())
    }

    fn path_of(&self, key: &K) -> PathBuf {
        let name = key.file_name();
        self.folder.path().join(&name[..2]).join(name)
    }

    fn index(&self) -> MutexGuard<'_, Index<K>> {
        lock(&self.index)
    }
}

/// A way to read so many bytes of a file at most; what it gives, and the hash of what was read.
type Reading<T> = dyn Fn(File, u64) -> io::Result<(T, [u8; 32])>;

fn read_whole(file: File, bytes_max: u64) -> io::Result<(Vec<u8>, [u8; 32])> {
    let mut bytes = Vec::new();
    file.take(bytes_max).read_to_end(&mut bytes)?;
    let hash = blake3::hash(&bytes);
    Ok((bytes, *hash.as_bytes()))
}

/// Nothing is kept, so that the file may be larger than memory.
fn read_through(file: File, bytes_max: u64) -> io::Result<(File, [u8; 32])> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader((&file).take(bytes_max))?;
    Ok((file, *hasher.finalize().as_bytes()))
}

/// Every section under a lock leaves its data valid, so a panic elsewhere is no reason to stop.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Make the 256 folders of which a file's name chooses one.
fn create_folders(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let folders: Vec<_> = (0..=u8::MAX).map(|prefix| path.join(format!("{prefix:02x}"))).collect();
    for folder in folders.iter().filter(|folder| !folder.is_dir()) {
        fs::create_dir(folder).map_err(Error::io("create the folder", folder))?;
    }
    sync_folder(path)?;
    Ok(folders)
}

/// List our files with their length in bytes.
fn scan<K: Key>(folders: &[PathBuf]) -> Result<BTreeMap<K, u64>, Error> {
    let mut held = BTreeMap::new();
    for folder in folders {
        for entry in entries(folder)? {
            let metadata = entry.metadata().map_err(Error::io("examine", entry.path()))?;
            let key = entry.file_name().to_str().and_then(K::from_file_name);
            if let Some(key) = key.filter(|_| metadata.is_file()) {
                held.insert(key, metadata.len());
            }
        }
    }
    Ok(held)
}
