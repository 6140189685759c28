//! Where the files of a model come from.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{Error, FileSource, Folder, ReadAt};

/// The files of one folder, by name.
pub trait Files {
    /// The file of this name; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::External`] if the name is not allowed or the file cannot be opened.
    fn open(&self, name: &str) -> Result<Option<Box<dyn ReadAt>>, Error>;
}

impl Files for Folder {
    fn open(&self, name: &str) -> Result<Option<Box<dyn ReadAt>>, Error> {
        let Some(file) = self.open_file(name)? else { return Ok(None) };
        let source = FileSource::new(file)
            .map_err(|error| Error::External { location: name.to_owned(), problem: error.to_string() })?;
        Ok(Some(Box::new(source)))
    }
}

/// Files in memory.
impl Files for BTreeMap<String, Arc<[u8]>> {
    fn open(&self, name: &str) -> Result<Option<Box<dyn ReadAt>>, Error> {
        Ok(self.get(name).map(|bytes| Box::new(Arc::clone(bytes)) as Box<dyn ReadAt>))
    }
}

/// All bytes of a file that has at most `max`.
pub(super) fn read(
    files: &dyn Files,
    name: &str,
    what: &'static str,
    max: u64,
) -> Result<Option<Vec<u8>>, Error> {
    let Some(source) = files.open(name)? else { return Ok(None) };
    let size_bytes = source.size_bytes();
    crate::Limits::check(what, size_bytes, max)?;
    let mut bytes = vec![0; usize::try_from(size_bytes).unwrap_or(usize::MAX)];
    source.read_at(0, &mut bytes).map_err(|source| Error::Read { offset: 0, size_bytes, source })?;
    Ok(Some(bytes))
}
