//! Where a model's bytes come from.

use std::fs::File;
use std::io;
use std::sync::Arc;

/// Bytes that can be read at any place, by several threads at once.
///
/// The cache trusts neither the length nor the bytes: it checks that they are the weights of the graph, not
/// that they are the right ones. Whoever opens a model checks its hashes.
pub trait ReadAt: Send + Sync {
    /// How many bytes there are; the same at every call.
    fn size_bytes(&self) -> u64;

    /// Fill `into` from `offset` on.
    ///
    /// # Errors
    /// If not all of it can be filled.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()>;
}

impl ReadAt for [u8] {
    fn size_bytes(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).ok();
        let end = start.and_then(|start| start.checked_add(into.len()));
        let bytes = start.zip(end).and_then(|(start, end)| self.get(start..end));
        into.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

impl ReadAt for Vec<u8> {
    fn size_bytes(&self) -> u64 {
        self.as_slice().size_bytes()
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.as_slice().read_at(offset, into)
    }
}

impl<T: ReadAt + ?Sized> ReadAt for Arc<T> {
    fn size_bytes(&self) -> u64 {
        (**self).size_bytes()
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        (**self).read_at(offset, into)
    }
}

/// A file that stays as it is while a model is read from it.
#[derive(Debug)]
pub struct FileSource {
    file: File,
    size_bytes: u64,
}

impl FileSource {
    /// An open file.
    ///
    /// # Errors
    /// If its length cannot be found.
    pub fn new(file: File) -> io::Result<Self> {
        let size_bytes = file.metadata()?.len();
        Ok(Self { file, size_bytes })
    }
}

impl ReadAt for FileSource {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        read_file(&self.file, offset, into)
    }
}

#[cfg(unix)]
fn read_file(file: &File, offset: u64, into: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, into, offset)
}

#[cfg(windows)]
fn read_file(file: &File, mut offset: u64, mut into: &mut [u8]) -> io::Result<()> {
    while !into.is_empty() {
        let count = std::os::windows::fs::FileExt::seek_read(file, into, offset)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        offset += count as u64;
        into = &mut into[count..];
    }
    Ok(())
}

/// The two parts of a model: what [`crate::Model::graph_bytes`] and [`crate::Model::weights_bytes`] wrote.
pub struct Parts {
    /// The canonical graph.
    pub graph: Vec<u8>,
    /// The weights.
    pub weights: Box<dyn ReadAt>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Parts({} bytes of graph, {} of weights)", self.graph.len(), self.weights.size_bytes())
    }
}
