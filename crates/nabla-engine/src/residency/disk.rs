//! The folder of packed models.
//!
//! # Rules
//! - A file appears whole or not at all: it is written under a temporary name, synced, renamed, and the
//!   folder synced. It never changes afterwards.
//! - One cache owns the folder, by a lock that ends with its process. Temporary files that it finds when it
//!   takes the lock are of the dead, and are removed.
//! - All files together stay within the configured bytes; the oldest goes first.
//!
//! # When things go wrong
//! A file that is not what it should be is removed. A write that fails leaves nothing, and the cache goes on.
#![expect(clippy::disallowed_methods, reason = "the one module of the engine that writes files: its cache")]

use std::fs::{self, File, Metadata};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use super::layout::{self, Key, Source};
use super::map::Map;
use super::{CacheError, Stage};
use crate::runtime::{EngineSession, KERNEL_SPEC};

const LOCK: &str = "lock";
const PACKED: &str = "packed";
const TEMPORARY: &str = "writing";

/// A folder that this cache owns.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    lock: File,
    bytes_max: u64,
}

/// Why a folder is not used.
#[derive(Debug)]
pub(super) enum Unusable {
    Owned(CacheError),
    Problem(io::Error),
}

impl From<io::Error> for Unusable {
    fn from(error: io::Error) -> Self {
        Self::Problem(error)
    }
}

impl Folder {
    /// Own the folder, made if it is not there, and clean it.
    pub(super) fn open(path: &Path, bytes_max: u64) -> Result<Self, Unusable> {
        fs::create_dir_all(path)?;
        let lock = File::options().create(true).truncate(false).write(true).open(path.join(LOCK))?;
        match fs4::FileExt::try_lock(&lock) {
            Ok(()) => {}
            Err(fs4::TryLockError::WouldBlock) => {
                return Err(Unusable::Owned(CacheError::InUse { folder: path.to_owned() }));
            }
            Err(fs4::TryLockError::Error(source)) => return Err(Unusable::Problem(source)),
        }
        let folder = Self { path: path.to_owned(), lock, bytes_max };
        for (stale, _) in folder.files(TEMPORARY)? {
            fs::remove_file(stale)?;
        }
        Ok(folder)
    }

    /// The session of a packed model. `None`: there is no file, or none that can be used any more.
    pub(super) fn load(&self, key: &Key<'_>, fits: &dyn Fn(&EngineSession) -> bool) -> Option<EngineSession> {
        let path = self.path_of(key);
        let file = File::open(&path).ok()?;
        let map = Map::open(&file).map_err(|error| error.to_string());
        let session = map.and_then(|map| layout::read(key, &map)).ok().filter(fits);
        if session.is_none() {
            // Whatever is wrong with it, a new one is better. If it cannot be removed, it is found broken again.
            let _ = fs::remove_file(&path);
        }
        session
    }

    /// Length of the file of a packed model, if there is one.
    pub(super) fn size_bytes(&self, key: &Key<'_>) -> Option<u64> {
        fs::metadata(self.path_of(key)).ok().map(|found| found.len())
    }

    /// Keep a session as a file.
    pub(super) fn store(&self, key: &Key<'_>, source: Source<'_>, at: &dyn Fn(Stage)) -> io::Result<()> {
        let target = self.path_of(key);
        let staged = Staged { path: target.with_extension(TEMPORARY) };
        let file = File::create(&staged.path)?;
        at(Stage::DiskBegun);
        let sink = BufWriter::with_capacity(1 << 20, &file);
        let bytes = layout::write(key, source, sink, &|| at(Stage::DiskGrown))?;
        file.sync_all()?;
        at(Stage::DiskSynced);
        self.make_room(bytes, &target)?;
        fs::rename(&staged.path, &target)?;
        at(Stage::DiskRenamed);
        sync_folder(&self.path)
    }

    fn path_of(&self, key: &Key<'_>) -> PathBuf {
        let (kernels, version) = (key.cpu.isa().name(), layout::VERSION);
        self.path.join(format!("{}-spec{KERNEL_SPEC}-{kernels}-v{version}.{PACKED}", key.model))
    }

    /// Remove the oldest files until `bytes` more fit.
    fn make_room(&self, bytes: u64, target: &Path) -> io::Result<()> {
        let mut files = self.files(PACKED)?;
        files.retain(|(path, _)| path != target);
        files.sort_by_cached_key(|(_, found)| found.modified().ok());
        let mut total = files.iter().map(|(_, found)| found.len()).fold(bytes, u64::saturating_add);
        for (path, found) in files {
            if total <= self.bytes_max {
                break;
            }
            fs::remove_file(path)?;
            total = total.saturating_sub(found.len());
        }
        if total > self.bytes_max {
            return Err(io::Error::other("a packed model is larger than the folder may be"));
        }
        Ok(())
    }

    /// Files of this ending, with what the system says of them.
    fn files(&self, ending: &str) -> io::Result<Vec<(PathBuf, Metadata)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let path = entry?.path();
            if path.extension().is_some_and(|found| found == ending) {
                let found = fs::metadata(&path)?;
                files.push((path, found));
            }
        }
        Ok(files)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Closing alone would leave the folder locked if a child process has inherited the file just now.
        let _ = fs4::FileExt::unlock(&self.lock);
    }
}

/// A temporary file: gone when this is dropped, unless it has its name by then.
struct Staged {
    path: PathBuf,
}

impl Drop for Staged {
    fn drop(&mut self) {
        // What stays after a failure is removed when the folder is opened again.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(unix)]
fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Elsewhere a folder cannot be synced; the rename is as durable as the system makes it.
#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}
