//! How a blob is cut into shards, and who holds them.
//!
//! A blob of `size` bytes becomes `n` shards of equal length, of which any `k` rebuild it (systematic
//! Reed-Solomon: shards `0..k` are the blob itself, zero-padded). The layout names every shard's hash,
//! and the ledger keeps the layout, so a reader checks each shard on arrival, whoever sent it.

use minicbor::{Decode, Encode};

use crate::{
    cbor,
    id::{BlobId, LayoutId, NodeId, ShardId},
    signature::{self, BadSignature, Domain, NodeKey, Signature},
};

/// Most shards of one blob.
pub const SHARDS_MAX: u16 = 256;
/// Largest blob, in bytes (a model's files are separate blobs).
pub const BLOB_BYTES_MAX: u64 = 1 << 38;
/// Shards are a multiple of this many bytes.
pub const SHARD_ALIGN_BYTES: u64 = 64;
/// Largest encoded [`Layout`].
pub const LAYOUT_BYTES_MAX: usize = 128 + 34 * SHARDS_MAX as usize;

/// A blob's coding: any `k` of `n` shards suffice.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, serde::Serialize, serde::Deserialize)]
#[cbor(map)]
pub struct Layout {
    /// The blob that is coded.
    #[n(0)]
    pub blob: BlobId,
    /// Its length in bytes.
    #[n(1)]
    pub size_bytes: u64,
    /// Shards needed to rebuild it.
    #[n(2)]
    pub k: u16,
    /// The hash of every shard; their number is `n`.
    #[n(3)]
    pub shards: Vec<ShardId>,
}

/// Why a layout makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// `1 <= k <= n <= 256` does not hold.
    #[error("layout of blob {}: expected 1 <= k <= n <= {SHARDS_MAX}, got k={k} n={n}", blob.short())]
    Code {
        /// The blob.
        blob: BlobId,
        /// Shards needed.
        k: u16,
        /// Shards named.
        n: usize,
    },
    /// The blob is larger than any blob may be.
    #[error("layout of blob {}: {size_bytes} bytes, at most {BLOB_BYTES_MAX} are accepted", blob.short())]
    Size {
        /// The blob.
        blob: BlobId,
        /// Its stated length.
        size_bytes: u64,
    },
}

impl Layout {
    /// The number of shards.
    #[must_use]
    pub fn n(&self) -> u16 {
        u16::try_from(self.shards.len()).unwrap_or(u16::MAX)
    }

    /// The identity of this coding.
    #[must_use]
    pub fn id(&self) -> LayoutId {
        LayoutId(blake3::derive_key("nabla layout v1", &cbor::encode(self)))
    }

    /// The length of each shard: `ceil(size / k)` rounded up to [`SHARD_ALIGN_BYTES`], at least one unit.
    #[must_use]
    pub fn shard_bytes(&self) -> u64 {
        shard_bytes(self.size_bytes, self.k)
    }

    /// Bytes kept by all holders together.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.shard_bytes() * self.shards.len() as u64
    }

    /// Check that `k`, `n` and the size are within what is accepted.
    ///
    /// # Errors
    /// [`LayoutError`].
    pub fn check(&self) -> Result<(), LayoutError> {
        let (blob, k, n) = (self.blob, self.k, self.shards.len());
        if k == 0 || usize::from(k) > n || n > usize::from(SHARDS_MAX) {
            return Err(LayoutError::Code { blob, k, n });
        }
        if self.size_bytes > BLOB_BYTES_MAX {
            return Err(LayoutError::Size { blob, size_bytes: self.size_bytes });
        }
        Ok(())
    }
}

/// The length of each of the shards of which `k` carry `size_bytes`.
///
/// # Panics
/// If `k` is 0.
#[must_use]
pub fn shard_bytes(size_bytes: u64, k: u16) -> u64 {
    size_bytes.div_ceil(u64::from(k)).next_multiple_of(SHARD_ALIGN_BYTES).max(SHARD_ALIGN_BYTES)
}

/// A storage node's signed word that it has checked one shard and made it durable.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, serde::Serialize, serde::Deserialize)]
#[cbor(map)]
pub struct HolderAck {
    /// The coding the shard belongs to.
    #[n(0)]
    pub layout: LayoutId,
    /// Which shard.
    #[n(1)]
    pub index: u16,
    /// Who holds it.
    #[n(2)]
    pub node: NodeId,
    /// Over the fields above, in [`Domain::HOLDER`].
    #[n(3)]
    pub signature: Signature,
}

impl HolderAck {
    /// Sign for a shard that is checked and durable.
    #[must_use]
    pub fn sign(key: &NodeKey, network: crate::NetworkId, layout: LayoutId, index: u16) -> Self {
        let node = key.id();
        let signature = key.sign(Domain::HOLDER, network, &cbor::encode(&(layout, index, node)));
        Self { layout, index, node, signature }
    }

    /// Check the signature.
    ///
    /// # Errors
    /// [`BadSignature`].
    pub fn verify(&self, network: crate::NetworkId) -> Result<(), BadSignature> {
        let bytes = cbor::encode(&(self.layout, self.index, self.node));
        signature::verify(self.node, Domain::HOLDER, network, &bytes, &self.signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_cover_the_blob() {
        for (size, k, expect) in [(0, 3, 64), (1, 3, 64), (192, 3, 64), (193, 3, 128), (1 << 20, 3, 349_568)]
        {
            assert_eq!(shard_bytes(size, k), expect, "{size} / {k}");
            assert!(shard_bytes(size, k) * u64::from(k) >= size);
        }
    }

    #[test]
    fn an_ack_is_bound_to_its_shard() {
        let (key, net) = (NodeKey::from_seed(&[1; 32]), crate::NetworkId([9; 32]));
        let ack = HolderAck::sign(&key, net, LayoutId([2; 32]), 3);
        assert!(ack.verify(net).is_ok());
        assert!(HolderAck { index: 4, ..ack.clone() }.verify(net).is_err());
        assert!(HolderAck { layout: LayoutId([3; 32]), ..ack }.verify(net).is_err());
    }
}
