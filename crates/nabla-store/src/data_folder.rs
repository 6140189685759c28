//! A folder that one process owns, for one purpose on one network, and in which files appear whole.
//!
//! ```text
//! <path>/MARKER   two lines: "nabla <kind> 1" and "network <hex>"
//! <path>/LOCK     locked while a process has the folder open
//! <path>/tmp/     files being written; emptied on open
//! ```
//!
//! # Rules
//! - A folder is used only if its marker names the same kind and network. A folder without one is taken
//!   only if it is empty, so a mistyped path cannot mix our files among a person's own.
//! - The lock is the kernel's (`flock`): it ends with the process, however that ends. On network file
//!   systems it is only as good as theirs; do not share one folder between machines.
//! - A file is written to `tmp/`, synced, renamed into place, and the folder it is in is synced: after a
//!   `kill -9` or a power loss at any moment it is there whole or not at all.
//!
//! # When things go wrong
//! A write that fails before the rename leaves nothing. If the sync *after* the rename fails, the file is
//! taken away again and the write reported as failed; should the machine lose power just then, the file
//! may come back. It is whole, so it does no harm: whoever needs to know asks after opening again.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use nabla_types::NetworkId;

use crate::Error;

const MARKER: &str = "MARKER";
const LOCK: &str = "LOCK";
const TEMPORARY: &str = "tmp";
/// Longest marker that is read, in bytes.
const MARKER_BYTES_MAX: u64 = 256;

/// A folder that this process owns until the value is dropped.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    next_temporary: AtomicU64,
    lock: File,
}

impl DataFolder {
    /// Open the folder, or make it. `kind` says what is kept there ("shards", "blobs", "ledger").
    ///
    /// # Errors
    /// [`Error::InUse`], [`Error::WrongNetwork`], [`Error::WrongFolder`]; [`Error::Full`], [`Error::Io`].
    pub fn open(path: impl Into<PathBuf>, kind: &str, network: NetworkId) -> Result<Self, Error> {
        let path = path.into();
        create_folder(&path)?;
        // Before the lock, so that a folder of somebody else's is not touched at all.
        check_marker(&path, kind, network)?;
        let folder = Self { lock: lock(&path)?, path, next_temporary: AtomicU64::new(0) };
        folder.empty_temporary()?;
        if !check_marker(&folder.path, kind, network)? {
            let marker = folder.stage(format!("nabla {kind} 1\nnetwork {network}\n").as_bytes())?;
            marker.commit(&folder.path.join(MARKER))?;
        }
        Ok(folder)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Write `bytes` to a temporary file and sync it.
    pub(crate) fn stage(&self, bytes: &[u8]) -> Result<Staged, Error> {
        let number = self.next_temporary.fetch_add(1, Ordering::Relaxed);
        let staged = Staged { path: self.path.join(TEMPORARY).join(number.to_string()) };
        let file = File::create_new(&staged.path).map_err(Error::io("create", &staged.path))?;
        write_synced(file, bytes).map_err(Error::io("write", &staged.path))?;
        Ok(staged)
    }

    fn empty_temporary(&self) -> Result<(), Error> {
        let path = self.path.join(TEMPORARY);
        create_folder(&path)?;
        for entry in entries(&path)? {
            fs::remove_file(entry.path()).map_err(Error::io("remove", entry.path()))?;
        }
        Ok(())
    }
}

impl Drop for DataFolder {
    fn drop(&mut self) {
        // Closing alone would leave the folder locked if a child process has inherited the file just now.
        let _ = fs4::FileExt::unlock(&self.lock);
    }
}

/// A temporary file, whole and synced. Dropped without [`Staged::commit`], it is removed.
#[derive(Debug)]
pub(crate) struct Staged {
    path: PathBuf,
}

impl Staged {
    /// Move it to `target` and return when that is durable.
    pub(crate) fn commit(self, target: &Path) -> Result<(), Error> {
        fs::rename(&self.path, target).map_err(Error::io("rename a new file to", target))?;
        let folder = target.parent().unwrap_or(target);
        sync_folder(folder).inspect_err(|_| {
            // Not durable, so it must not be found: the caller is told that it is not there.
            let _ = fs::remove_file(target);
        })
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // After a commit there is nothing here; after a failure, what stays is removed on the next open.
        let _ = fs::remove_file(&self.path);
    }
}

/// Make a folder and those above it, durably.
pub(crate) fn create_folder(path: &Path) -> Result<(), Error> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    create_folder(parent)?;
    match fs::create_dir(path) {
        Err(source) if source.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        result => result.map_err(Error::io("create the folder", path))?,
    }
    sync_folder(parent)
}

/// Make the names in a folder durable.
pub(crate) fn sync_folder(path: &Path) -> Result<(), Error> {
    if cfg!(windows) {
        return Ok(()); // Windows has no such call; its file systems journal names by themselves.
    }
    File::open(path).and_then(|folder| folder.sync_all()).map_err(Error::io("sync the folder", path))
}

/// What a folder holds.
pub(crate) fn entries(path: &Path) -> Result<Vec<fs::DirEntry>, Error> {
    fs::read_dir(path).and_then(Iterator::collect).map_err(Error::io("list", path))
}

fn write_synced(mut file: File, bytes: &[u8]) -> io::Result<()> {
    file.write_all(bytes)?;
    file.sync_all()
}

fn lock(folder: &Path) -> Result<File, Error> {
    let path = folder.join(LOCK);
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(Error::io("open", &path))?;
    match fs4::FileExt::try_lock(&file) {
        Ok(()) => Ok(file),
        Err(fs4::TryLockError::WouldBlock) => Err(Error::InUse { path: folder.to_owned() }),
        Err(fs4::TryLockError::Error(source)) => Err(Error::io("lock", path)(source)),
    }
}

/// Whether the folder has a marker, which is then the right one. Without one it must be empty.
fn check_marker(folder: &Path, kind: &str, network: NetworkId) -> Result<bool, Error> {
    let path = folder.join(MARKER);
    let mut bytes = Vec::new();
    match File::open(&path) {
        Ok(file) => file.take(MARKER_BYTES_MAX).read_to_end(&mut bytes).map_err(Error::io("read", &path))?,
        Err(source) if source.kind() == io::ErrorKind::NotFound => {
            return check_empty(folder, kind).map(|()| false);
        }
        Err(source) => return Err(Error::io("open", &path)(source)),
    };
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    let found = lines.next().and_then(|line| line.strip_prefix("network ")?.parse().ok());
    match found {
        Some(got) if first == format!("nabla {kind} 1") => {
            if got != network {
                return Err(Error::WrongNetwork { path: folder.to_owned(), expected: network, got });
            }
            Ok(true)
        }
        _ => Err(wrong_folder(folder, kind, first)),
    }
}

fn check_empty(folder: &Path, kind: &str) -> Result<(), Error> {
    let names = entries(folder)?.into_iter().map(|entry| entry.file_name());
    match names.into_iter().find(|name| name != LOCK && name != TEMPORARY) {
        Some(foreign) => Err(wrong_folder(folder, kind, &foreign.to_string_lossy())),
        None => Ok(()),
    }
}

fn wrong_folder(folder: &Path, kind: &str, got: &str) -> Error {
    Error::WrongFolder {
        path: folder.to_owned(),
        expected: kind.to_owned(),
        got: got.chars().take(80).collect(),
    }
}

#[cfg(test)]
mod tests;
