//! Blocks, and the proof that a receipt is in one.

use minicbor::{Decode, Encode};
use sha2::{Digest, Sha256};

use super::{Genesis, Tx};
use crate::{
    cbor,
    id::{BlockId, NetworkId, TreeHash},
    signature::{self, BadSignature, Domain, NodeKey, Signature},
};

/// Largest encoded block, in bytes.
pub const BLOCK_BYTES_MAX: usize = 16 << 20;

/// What a block's validator signs.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, serde::Serialize, serde::Deserialize)]
#[cbor(map)]
pub struct Header {
    /// The network.
    #[n(0)]
    pub network: NetworkId,
    /// 1 for the first block after genesis.
    #[n(1)]
    pub height: u64,
    /// The block before; all zero for the first.
    #[n(2)]
    pub parent: BlockId,
    /// Unix milliseconds by the validator's clock, never before the parent's.
    #[n(3)]
    pub time_ms: u64,
    /// Root of the tree of encoded transactions.
    #[n(4)]
    pub tx_root: TreeHash,
    /// Root of the tree of the receipts settled in this block.
    #[n(5)]
    pub receipts_root: TreeHash,
    /// How many receipts that tree holds.
    #[n(6)]
    pub receipt_count: u64,
}

impl Header {
    /// The block's identity.
    #[must_use]
    pub fn id(&self) -> BlockId {
        BlockId(Sha256::digest(cbor::encode(self)).into())
    }
}

/// A header and its validator's signature.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, serde::Serialize, serde::Deserialize)]
#[cbor(map)]
pub struct SignedHeader {
    /// The header.
    #[n(0)]
    pub header: Header,
    /// By the genesis' validator, in [`Domain::BLOCK`].
    #[n(1)]
    pub signature: Signature,
}

impl SignedHeader {
    /// Sign a header.
    #[must_use]
    pub fn sign(key: &NodeKey, header: Header) -> Self {
        let signature = key.sign(Domain::BLOCK, header.network, &cbor::encode(&header));
        Self { header, signature }
    }

    /// Check the signature against the validator of `genesis`.
    ///
    /// # Errors
    /// [`BadSignature`].
    pub fn verify(&self, genesis: &Genesis) -> Result<(), BadSignature> {
        let bytes = cbor::encode(&self.header);
        signature::verify(genesis.validator, Domain::BLOCK, genesis.network(), &bytes, &self.signature)
    }
}

/// Ordered transactions under a signed header.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Block {
    /// What is signed.
    #[n(0)]
    pub header: SignedHeader,
    /// In the order in which they are applied.
    #[n(1)]
    pub txs: Vec<Tx>,
}

/// That one receipt stands in one block: everything an offline reader needs besides the receipt.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct InclusionProof {
    /// Names the validator; its hash is the network id that the receipt names.
    #[n(0)]
    pub genesis: Genesis,
    /// The block's header.
    #[n(1)]
    pub header: SignedHeader,
    /// The receipt's place among the block's receipts.
    #[n(2)]
    pub leaf_index: u64,
    /// The audit path of RFC 9162 section 2.1.3, from the leaf upwards.
    #[n(3)]
    pub path: Vec<TreeHash>,
}

impl InclusionProof {
    /// Largest encoded proof, in bytes.
    pub const BYTES_MAX: usize = Genesis::BYTES_MAX + (16 << 10);
}
