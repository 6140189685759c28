//! Bytes of tensors that an ONNX file keeps in other files.

use std::fmt::Debug;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use crate::Error;

/// Where external data comes from.
pub trait ExternalData: Debug {
    /// `length` bytes of the file `location` from `offset` on, or all from there without a length.
    ///
    /// # Errors
    /// [`Error::External`] if the location is not allowed, not there, or too short.
    fn read(&self, location: &str, offset: u64, length: Option<u64>) -> Result<Vec<u8>, Error>;
}

/// Refuses all external data.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoExternalData;

impl ExternalData for NoExternalData {
    fn read(&self, location: &str, _offset: u64, _length: Option<u64>) -> Result<Vec<u8>, Error> {
        Err(Error::External { location: shown(location), problem: "no folder was given for it".to_owned() })
    }
}

/// Files inside one folder. A location is a relative path of plain names; absolute paths, `..`, and links
/// that lead out of the folder are refused.
#[derive(Debug, Clone)]
pub struct Folder {
    root: PathBuf,
}

impl Folder {
    /// The folder at `root`, which must exist.
    ///
    /// # Errors
    /// [`Error::External`] if it cannot be opened.
    pub fn new(root: impl AsRef<Path>) -> Result<Self, Error> {
        let location = root.as_ref().display().to_string();
        let canonical = root.as_ref().canonicalize();
        let root = canonical.map_err(|error| Error::External { location, problem: error.to_string() })?;
        Ok(Self { root })
    }

    /// The file behind a location, open; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::External`] if the location is not allowed or the file cannot be opened.
    pub(crate) fn open_file(&self, location: &str) -> Result<Option<File>, Error> {
        let open = || {
            let path = self.root.join(plain(location)?);
            if path.symlink_metadata().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
                return Ok(None);
            }
            File::open(self.resolve(location)?).map(Some).map_err(|error| error.to_string())
        };
        open().map_err(|problem| Error::External { location: shown(location), problem })
    }

    /// The file behind a location, all links resolved, inside the folder.
    fn resolve(&self, location: &str) -> Result<PathBuf, String> {
        let resolved = self.root.join(plain(location)?).canonicalize().map_err(|error| error.to_string())?;
        if !resolved.starts_with(&self.root) {
            return Err("it leads out of the folder".to_owned());
        }
        if !resolved.is_file() {
            return Err("it is not a file".to_owned());
        }
        Ok(resolved)
    }

    fn read_range(&self, location: &str, offset: u64, length: Option<u64>) -> Result<Vec<u8>, String> {
        let text = |error: std::io::Error| error.to_string();
        let mut file = File::open(self.resolve(location)?).map_err(text)?;
        let size = file.metadata().map_err(text)?.len();
        let left = size
            .checked_sub(offset)
            .ok_or_else(|| format!("offset {offset} lies behind its {size} bytes"))?;
        let length = length.unwrap_or(left);
        if length > left {
            return Err(format!("expected {length} bytes from offset {offset}, it has {left}"));
        }
        file.seek(SeekFrom::Start(offset)).map_err(text)?;
        let mut bytes = Vec::new();
        file.take(length).read_to_end(&mut bytes).map_err(text)?;
        Ok(bytes)
    }
}

impl ExternalData for Folder {
    fn read(&self, location: &str, offset: u64, length: Option<u64>) -> Result<Vec<u8>, Error> {
        self.read_range(location, offset, length)
            .map_err(|problem| Error::External { location: shown(location), problem })
    }
}

/// A relative path of plain names.
fn plain(location: &str) -> Result<&Path, String> {
    let path = Path::new(location);
    let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    if location.is_empty() || !plain || location.contains(['\\', '\0', ':', '#']) {
        return Err("it is not a relative path of plain names".to_owned());
    }
    Ok(path)
}

fn shown(location: &str) -> String {
    location.chars().take(120).collect()
}
