//! What a network starts from. Its hash is the network's id.

use minicbor::{Decode, Encode};
use sha2::{Digest, Sha256};

use crate::{
    amount::Opg,
    cbor,
    id::{Address, NetworkId, NodeId},
};

/// An account's balance at the start.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, serde::Serialize, serde::Deserialize)]
pub struct Allocation {
    /// Whose.
    #[n(0)]
    pub account: Address,
    /// How much, as purchased OPG.
    #[n(1)]
    pub amount: Opg,
}

/// The first state and the constants of a network.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, serde::Serialize, serde::Deserialize)]
#[cbor(map)]
pub struct Genesis {
    /// Always [`Genesis::FORMAT`].
    #[n(0)]
    pub format: String,
    /// A name for people, and what makes two networks of equal constants different.
    #[n(1)]
    pub name: String,
    /// EIP-155 chain id, in every payer's signature.
    #[n(2)]
    pub chain_id: u64,
    /// Who orders and signs the blocks.
    #[n(3)]
    pub validator: NodeId,
    /// Whose transfers arrive as granted OPG; none on a network without a faucet.
    #[n(4)]
    pub faucet: Option<Address>,
    /// The whole supply.
    #[n(5)]
    pub allocations: Vec<Allocation>,
    /// Burned from each settled call, in 1/10 000.
    #[n(6)]
    pub fee_basis_points: u32,
    /// Least stake of an inference node.
    #[n(7)]
    pub inference_stake_min: Opg,
    /// Paid once by who registers a blob, for each 1024 bytes stored (all shards), to the holders.
    #[n(8)]
    pub storage_price_per_kib: Opg,
    /// How long a reservation lasts before it is released, in milliseconds.
    #[n(9)]
    pub reservation_ttl_ms: u64,
    /// The only nodes that may be verifiers, sorted: providers hand them requests and answers.
    #[n(10)]
    pub verifiers: Vec<NodeId>,
}

impl Genesis {
    /// The only format known.
    pub const FORMAT: &str = "nabla genesis 1";
    /// Largest encoded genesis, in bytes.
    pub const BYTES_MAX: usize = 1 << 20;

    /// The network this genesis begins.
    #[must_use]
    pub fn network(&self) -> NetworkId {
        NetworkId(Sha256::digest(cbor::encode(self)).into())
    }
}
