//! The ledger's blocks on disk: one file that only grows.
//!
//! ```text
//! <folder>/MARKER, LOCK   of which network; one process at a time (nabla-store's data folder)
//! <folder>/journal        records, one for each block, from block 1 without a gap
//!
//! record = "nblk" || height (8 bytes) || length (4 bytes) || BLAKE3 of these 16 bytes (32 bytes)
//!          || block (deterministic CBOR, `length` bytes) || BLAKE3 of the block's bytes (32 bytes)
//! ```
//! Numbers are big-endian.
//!
//! # Rules
//! - [`Journal::append`] returns after the block is durable (`fdatasync`). Nothing is answered before.
//! - On opening, every block is decoded and applied again from the genesis: signatures, roots and every
//!   rule are checked as when it was made, so a changed journal cannot pass.
//! - Only a last record of which the end is missing is cut off: it was being written when the process was
//!   killed, and nobody has an answer about it. The head of a record has a checksum of its own, so that a
//!   damaged length is not taken for a missing end.
//!
//! # When things go wrong
//! - A write that fails ends the journal: the file is cut back to the last whole record, and every later
//!   [`Journal::append`] is refused. Whether the failed block survives is **unknown** if the machine loses
//!   power just then; opening again tells.
//! - Damage anywhere else is an error that names the byte and the block. Nothing is repaired silently.
//!
//! # What is deliberately absent
//! Snapshots and pruning: opening takes time in proportion to the number of blocks.

use std::{
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use nabla_ledger::{BlockError, GenesisError, State};
use nabla_store::DataFolder;
use nabla_types::{
    cbor::{self, CborError},
    chain::{BLOCK_BYTES_MAX, Block, Genesis},
};

const FILE: &str = "journal";
const KIND: &str = "ledger";
const MAGIC: [u8; 4] = *b"nblk";
const HASH_BYTES: usize = 32;
const HEAD_BYTES: usize = 16 + HASH_BYTES;

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The folder is in use, of another network, or cannot be made.
    #[error(transparent)]
    Folder(#[from] nabla_store::Error),
    /// The genesis makes no sense.
    #[error(transparent)]
    Genesis(#[from] GenesisError),
    /// The file system.
    #[error("cannot {deed} the journal {}", path.display())]
    Io {
        /// What was attempted.
        deed: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A record was changed after it was written.
    #[error(
        "journal {}: block {height} at byte {offset} is damaged: expected {expected}; restore the file from a copy",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the record begins.
        offset: u64,
        /// The block that should be there.
        height: u64,
        /// What should be there.
        expected: &'static str,
    },
    /// A record is whole, but its block is not one.
    #[error("journal {}: block {height} at byte {offset} cannot be read", path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// Where the record begins.
        offset: u64,
        /// The block that should be there.
        height: u64,
        /// Why not.
        #[source]
        source: CborError,
    },
    /// A block breaks the ledger's rules.
    #[error("journal {}: block {height} at byte {offset} does not follow from those before it", path.display())]
    Apply {
        /// The file.
        path: PathBuf,
        /// Where the record begins.
        offset: u64,
        /// The block.
        height: u64,
        /// Why not.
        #[source]
        source: Box<BlockError>,
    },
    /// An earlier write failed.
    #[error("the journal {} has ended: an earlier write failed; restart after the disk is in order", path.display())]
    Ended {
        /// The file.
        path: PathBuf,
    },
}

/// The open journal of one validator.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
    /// Where the last whole record ends, in bytes.
    end: u64,
    ended: bool,
    /// Keeps other processes out until the journal is dropped.
    _folder: DataFolder,
}

impl Journal {
    /// Open the journal in `folder`, or begin one, and apply every block in it.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn open(folder: &Path, genesis: Genesis) -> Result<(Self, State), JournalError> {
        let folder = DataFolder::open(folder, KIND, genesis.network())?;
        let mut state = State::genesis(genesis)?;
        let path = folder.path().join(FILE);
        let file = open_file(&path).map_err(failed("open", &path))?;
        let length = file.metadata().map_err(failed("read", &path))?.len();
        let mut reader = Reader { input: BufReader::new(&file), path: &path, offset: 0, length };
        while let Some(block) = reader.next(state.height() + 1)? {
            let (offset, height) = (block.offset, state.height() + 1);
            let error =
                |source| JournalError::Apply { path: path.clone(), offset, height, source: Box::new(source) };
            state.apply(&block.block).map_err(error)?;
        }
        let end = reader.offset;
        let mut journal = Self { file, path, end, ended: false, _folder: folder };
        journal.cut_back(length).map_err(failed("cut the torn end off", &journal.path))?;
        Ok((journal, state))
    }

    /// Add the next block, and return when it is durable.
    ///
    /// # Errors
    /// [`JournalError::Io`]; then, and on every later call, [`JournalError::Ended`].
    pub fn append(&mut self, block: &Block) -> Result<(), JournalError> {
        if self.ended {
            return Err(JournalError::Ended { path: self.path.clone() });
        }
        let record = record(block);
        let written = self.file.write_all(&record).and_then(|()| self.file.sync_data());
        if let Err(source) = written {
            self.ended = true;
            // What cannot be cut now is cut on the next opening.
            let _ = self.cut_back(u64::MAX);
            return Err(failed("write", &self.path)(source));
        }
        self.end += record.len() as u64;
        Ok(())
    }

    /// From now on the disk is full.
    #[cfg(all(test, target_os = "linux"))]
    pub(super) fn fill_disk(&mut self) {
        self.file = File::options().write(true).open("/dev/full").expect("Linux has it");
    }

    /// Cut the file of this `length` back to the last whole record, and stand at its end.
    fn cut_back(&mut self, length: u64) -> io::Result<()> {
        if length > self.end {
            self.file.set_len(self.end)?;
            self.file.sync_all()?;
        }
        self.file.seek(SeekFrom::Start(self.end)).map(drop)
    }
}

struct Reader<'a> {
    input: BufReader<&'a File>,
    path: &'a Path,
    /// Where the next record begins.
    offset: u64,
    /// Of the file, in bytes.
    length: u64,
}

struct ReadBlock {
    block: Block,
    /// Where its record begins.
    offset: u64,
}

impl Reader<'_> {
    /// The next whole record, which must be of this height; `None` at the end or where only a torn record is
    /// left.
    fn next(&mut self, height: u64) -> Result<Option<ReadBlock>, JournalError> {
        let left = self.length - self.offset;
        if left < HEAD_BYTES as u64 {
            return Ok(None);
        }
        let mut head = [0; HEAD_BYTES];
        self.read(&mut head)?;
        let length = parse_head(&head, height).map_err(|expected| self.damaged(height, expected))?;
        let whole = HEAD_BYTES + length + HASH_BYTES;
        if left < whole as u64 {
            return Ok(None);
        }
        let (mut body, mut hash) = (vec![0; length], [0; HASH_BYTES]);
        self.read(&mut body)?;
        self.read(&mut hash)?;
        if hash != *blake3::hash(&body).as_bytes() {
            return Err(self.damaged(height, "the bytes that its checksum was made of"));
        }
        let (path, offset) = (self.path.to_owned(), self.offset);
        let block = cbor::decode("block", &body, BLOCK_BYTES_MAX).map_err(|source| JournalError::Decode {
            path,
            offset,
            height,
            source,
        })?;
        self.offset += whole as u64;
        Ok(Some(ReadBlock { block, offset }))
    }

    fn read(&mut self, bytes: &mut [u8]) -> Result<(), JournalError> {
        self.input.read_exact(bytes).map_err(failed("read", self.path))
    }

    fn damaged(&self, height: u64, expected: &'static str) -> JournalError {
        JournalError::Damaged { path: self.path.to_owned(), offset: self.offset, height, expected }
    }
}

/// The length of the block that follows, or what should stand in the head instead.
fn parse_head(head: &[u8; HEAD_BYTES], height: u64) -> Result<usize, &'static str> {
    let (fields, hash) = head.split_at(HEAD_BYTES - HASH_BYTES);
    if hash != blake3::hash(fields).as_bytes() {
        return Err("the head that its checksum was made of");
    }
    if fields[..4] != MAGIC || fields[4..12] != height.to_be_bytes() {
        return Err("the head of the next block");
    }
    let length = fields[12..].iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
    match length <= BLOCK_BYTES_MAX {
        true => Ok(length),
        false => Err("a block of an accepted length"),
    }
}

fn record(block: &Block) -> Vec<u8> {
    let body = cbor::encode(block);
    let length = u32::try_from(body.len()).expect("the ledger keeps blocks below 16 MiB");
    let mut record = MAGIC.to_vec();
    record.extend_from_slice(&block.header.header.height.to_be_bytes());
    record.extend_from_slice(&length.to_be_bytes());
    record.extend_from_slice(blake3::hash(&record).as_bytes());
    record.extend_from_slice(&body);
    record.extend_from_slice(blake3::hash(&body).as_bytes());
    record
}

fn open_file(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).create(true).truncate(false).open(path)
}

fn failed(deed: &'static str, path: &Path) -> impl FnOnce(io::Error) -> JournalError {
    let path = path.to_owned();
    move |source| JournalError::Io { deed, path, source }
}

#[cfg(test)]
mod tests;
