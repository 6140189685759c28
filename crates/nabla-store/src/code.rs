//! Bytes to shards and back: systematic Reed-Solomon, every shard under its hash.
//!
//! # Rules
//! - Shards `0..k` are the blob itself, cut in equal parts and padded with zeros; shards `k..n` are
//!   parity. With `k == n` there is no parity, with `k == 1` all shards are copies.
//! - The code works on columns of 64 bytes (the format of `reed-solomon-simd` 3), each for itself. So
//!   shards are computed in cells and the cell's length changes no byte; a golden test pins them.
//! - [`encode`] is a function: same bytes and code, same [`Layout`]. Whoever holds the blob can check a
//!   layout by encoding again and comparing.
//! - A shard enters a [`Rebuilder`] only if length and hash are the layout's, and the blob leaves it only
//!   if its hash is. Memory is taken for bytes that are here, never for a size that is claimed.
//!
//! # When things go wrong
//! A wrong shard is refused with its blob, index, expected and got, and changes nothing: ask another
//! holder. If `k` good shards make another blob, the layout's maker lied ([`Error::WrongBlob`]).

use std::{borrow::Cow, collections::BTreeMap, iter::zip};

use nabla_types::{
    BlobId, ShardId,
    layout::{self, BLOB_BYTES_MAX, Layout, LayoutError, SHARDS_MAX},
};
use reed_solomon_simd::{ReedSolomonDecoder, ReedSolomonEncoder};

use crate::Error;

/// The code's unit: each column of this many bytes of all shards is coded for itself.
const COLUMN_BYTES: usize = 64;
/// Bytes of each shard that are encoded in one step: a stripe of all of them stays in the CPU's cache.
const ENCODE_CELL_BYTES: usize = 1 << 14;
/// Bytes of all `k` shards that are restored in one step. Larger, as each step has a fixed cost (0.5 ms).
const DECODE_STRIPE_BYTES: usize = 1 << 21;

/// A code: any `k` of `n` shards suffice. `1 <= k <= n <= 256`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    k: u16,
    n: u16,
}

impl Code {
    /// The code in which any `k` of `n` shards suffice.
    ///
    /// # Errors
    /// [`Error::Code`] unless `1 <= k <= n <= 256`.
    pub const fn new(k: u16, n: u16) -> Result<Self, Error> {
        if k == 0 || k > n || n > SHARDS_MAX {
            return Err(Error::Code { k, n });
        }
        Ok(Self { k, n })
    }

    /// Shards needed to rebuild.
    #[must_use]
    pub const fn k(self) -> u16 {
        self.k
    }

    /// Shards made.
    #[must_use]
    pub const fn n(self) -> u16 {
        self.n
    }

    /// Shards that may be lost.
    #[must_use]
    pub const fn parity(self) -> u16 {
        self.n - self.k
    }
}

/// A blob in shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded<'a> {
    /// What they are, for the ledger and for every reader.
    pub layout: Layout,
    /// All `n` shards by index. Those that are whole parts of the blob are borrowed from it.
    pub shards: Vec<Cow<'a, [u8]>>,
}

/// Cut `bytes` into `code.n()` shards of equal length, of which any `code.k()` rebuild it.
///
/// # Errors
/// [`Error::Layout`] if the blob is over [`BLOB_BYTES_MAX`].
pub fn encode(bytes: &[u8], code: Code) -> Result<Encoded<'_>, Error> {
    let (blob, size_bytes) = (BlobId::of(bytes), bytes.len() as u64);
    if size_bytes > BLOB_BYTES_MAX {
        return Err(LayoutError::Size { blob, size_bytes }.into());
    }
    let shard_bytes = in_memory(blob, layout::shard_bytes(size_bytes, code.k))?;
    let mut shards = cut(bytes, shard_bytes, code.k);
    if code.k == 1 {
        shards.resize(usize::from(code.n), shards[0].clone());
    } else if code.parity() > 0 {
        shards.extend(parity_of(&shards, shard_bytes, code)?.into_iter().map(Cow::Owned));
    }
    let ids = shards.iter().map(|shard| shard_id(shard)).collect();
    Ok(Encoded { layout: Layout { blob, size_bytes, k: code.k, shards: ids }, shards })
}

/// The content address of a shard: `BLAKE3(bytes)`.
#[must_use]
pub fn shard_id(bytes: &[u8]) -> ShardId {
    ShardId(*blake3::hash(bytes).as_bytes())
}

/// Check that `bytes` are shard `index` of `layout`: what everyone does with a shard on its arrival.
///
/// # Errors
/// [`Error::Layout`], [`Error::ShardIndex`], [`Error::ShardLength`], [`Error::ShardHash`].
pub fn check_shard(layout: &Layout, index: u16, bytes: &[u8]) -> Result<(), Error> {
    layout.check()?;
    let blob = layout.blob;
    let expected =
        *layout.shards.get(usize::from(index)).ok_or(Error::ShardIndex { blob, index, n: layout.n() })?;
    let (length, got) = (layout.shard_bytes(), bytes.len() as u64);
    if got != length {
        return Err(Error::ShardLength { blob, index, expected: length, got });
    }
    let got = shard_id(bytes);
    if got != expected {
        return Err(Error::ShardHash { blob, index, expected, got });
    }
    Ok(())
}

/// Rebuild a blob from shards in any order, each checked. See [`Rebuilder`] to check them as they come.
///
/// # Errors
/// Those of [`check_shard`] and [`Rebuilder::finish`].
pub fn rebuild(layout: &Layout, shards: impl IntoIterator<Item = (u16, Vec<u8>)>) -> Result<Vec<u8>, Error> {
    let mut rebuilder = Rebuilder::new(layout.clone())?;
    for (index, bytes) in shards {
        rebuilder.add(index, bytes)?;
    }
    rebuilder.finish()
}

/// Collects checked shards of one blob until they suffice.
#[derive(Debug)]
pub struct Rebuilder {
    layout: Layout,
    shards: BTreeMap<u16, Vec<u8>>,
}

impl Rebuilder {
    /// Start with no shards.
    ///
    /// # Errors
    /// [`Error::Layout`] if the layout makes no sense.
    pub fn new(layout: Layout) -> Result<Self, Error> {
        layout.check()?;
        Ok(Self { layout, shards: BTreeMap::new() })
    }

    /// Check a shard and keep it. One that is here already counts once. Returns how many more are needed.
    ///
    /// # Errors
    /// Those of [`check_shard`]; the shards already here stay.
    pub fn add(&mut self, index: u16, bytes: Vec<u8>) -> Result<u16, Error> {
        check_shard(&self.layout, index, &bytes)?;
        self.shards.insert(index, bytes);
        Ok(self.needed())
    }

    /// How many more shards are needed; 0 if the blob can be rebuilt.
    #[must_use]
    pub fn needed(&self) -> u16 {
        self.layout.k.saturating_sub(self.found())
    }

    /// The layout that the shards are checked against.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The blob. If shards `0..k` are all here, this is copying and one hash.
    ///
    /// # Errors
    /// [`Error::TooFewShards`] with fewer than `k` shards; [`Error::WrongBlob`] if the layout lies.
    pub fn finish(mut self) -> Result<Vec<u8>, Error> {
        let (blob, k) = (self.layout.blob, self.layout.k);
        if self.needed() > 0 {
            return Err(Error::TooFewShards { blob, needed: k, found: self.found(), n: self.layout.n() });
        }
        self.restore_data()?;
        let bytes = self.join()?;
        let got = BlobId::of(&bytes);
        if got != blob {
            return Err(Error::WrongBlob { expected: blob, got });
        }
        Ok(bytes)
    }

    fn found(&self) -> u16 {
        // At most `n` indices pass the check, and `n` is at most 256.
        u16::try_from(self.shards.len()).unwrap_or(u16::MAX)
    }

    /// Make shards `0..k` complete.
    fn restore_data(&mut self) -> Result<(), Error> {
        let k = self.layout.k;
        let missing: Vec<u16> = (0..k).filter(|index| !self.shards.contains_key(index)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        if k == 1 {
            let copy = self.shards.pop_first().map(|(_, bytes)| bytes);
            self.shards.extend(copy.map(|bytes| (0, bytes)));
            return Ok(());
        }
        let restored = self.restore(&missing)?;
        self.shards.extend(zip(missing, restored));
        Ok(())
    }

    /// The data shards named by `missing`, from the first `k` shards at hand.
    fn restore(&self, missing: &[u16]) -> Result<Vec<Vec<u8>>, Error> {
        let (k, n) = (usize::from(self.layout.k), self.layout.shards.len());
        let shard_bytes = in_memory(self.layout.blob, self.layout.shard_bytes())?;
        let cell_bytes = (DECODE_STRIPE_BYTES / k).next_multiple_of(COLUMN_BYTES);
        let mut decoder = ReedSolomonDecoder::new(k, n - k, shard_bytes.min(cell_bytes))?;
        let mut restored = vec![Vec::with_capacity(shard_bytes); missing.len()];
        for cell in cells(shard_bytes, cell_bytes) {
            decoder.reset(k, n - k, cell.len())?;
            for (&index, shard) in self.shards.iter().take(k) {
                match usize::from(index) {
                    index if index < k => decoder.add_original_shard(index, &shard[cell.clone()])?,
                    index => decoder.add_recovery_shard(index - k, &shard[cell.clone()])?,
                }
            }
            let result = decoder.decode()?;
            for (whole, part) in zip(&mut restored, result.restored_original_iter()) {
                whole.extend_from_slice(part.1);
            }
        }
        Ok(restored)
    }

    /// Shards `0..k` in a row, without the padding.
    fn join(self) -> Result<Vec<u8>, Error> {
        let size = in_memory(self.layout.blob, self.layout.size_bytes)?;
        let mut bytes = Vec::with_capacity(size);
        for (_, shard) in self.shards.into_iter().take(usize::from(self.layout.k)) {
            let part = shard.len().min(size - bytes.len());
            bytes.extend_from_slice(&shard[..part]);
        }
        Ok(bytes)
    }
}

/// A length as this machine counts memory.
fn in_memory(blob: BlobId, bytes: u64) -> Result<usize, Error> {
    usize::try_from(bytes).map_err(|_| Error::TooLarge { blob, got: bytes, max: usize::MAX as u64 })
}

/// The `k` data shards: parts of `bytes`, only what needs padding is copied.
fn cut(bytes: &[u8], shard_bytes: usize, k: u16) -> Vec<Cow<'_, [u8]>> {
    let mut rest = bytes;
    let mut next = || {
        let (part, after) = rest.split_at(rest.len().min(shard_bytes));
        rest = after;
        if part.len() == shard_bytes {
            return Cow::Borrowed(part);
        }
        let mut padded = part.to_vec();
        padded.resize(shard_bytes, 0);
        Cow::Owned(padded)
    };
    (0..k).map(|_| next()).collect()
}

fn parity_of(data: &[Cow<'_, [u8]>], shard_bytes: usize, code: Code) -> Result<Vec<Vec<u8>>, Error> {
    let (k, parity) = (usize::from(code.k), usize::from(code.parity()));
    let mut encoder = ReedSolomonEncoder::new(k, parity, shard_bytes.min(ENCODE_CELL_BYTES))?;
    let mut shards = vec![Vec::with_capacity(shard_bytes); parity];
    for cell in cells(shard_bytes, ENCODE_CELL_BYTES) {
        encoder.reset(k, parity, cell.len())?;
        for shard in data {
            encoder.add_original_shard(&shard[cell.clone()])?;
        }
        let result = encoder.encode()?;
        for (whole, part) in zip(&mut shards, result.recovery_iter()) {
            whole.extend_from_slice(part);
        }
    }
    Ok(shards)
}

/// `0..length` in steps of at most `cell_bytes`.
fn cells(length: usize, cell_bytes: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    (0..length).step_by(cell_bytes).map(move |start| start..length.min(start + cell_bytes))
}

#[cfg(test)]
mod tests;
