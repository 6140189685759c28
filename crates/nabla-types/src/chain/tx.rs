//! Transactions: everything that can change the ledger's state.

use minicbor::{Decode, Encode};
use sha2::{Digest, Sha256};

use crate::{
    amount::Opg,
    cbor,
    id::{Address, BlobId, ModelId, NetworkId, NodeId, PaymentId, ReceiptId, TxId},
    layout::{HolderAck, Layout},
    name::RepoName,
    payment::{AccountSignature, CallTerms, SignedAuthorization},
    signature::Signature,
};

/// Largest encoded transaction, in bytes.
pub const TX_BYTES_MAX: usize = 4 << 20;
/// Longest endpoint URL, in bytes.
pub const ENDPOINT_BYTES_MAX: usize = 255;

/// What a node does for the network.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Encode,
    Decode,
    serde::Serialize,
    serde::Deserialize,
)]
#[cbor(index_only)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Orders transactions and signs blocks.
    #[n(0)]
    Validator,
    /// Keeps shards.
    #[n(1)]
    Storage,
    /// Runs models.
    #[n(2)]
    Inference,
    /// Replays receipts and posts verdicts.
    #[n(3)]
    Verifier,
    /// Takes calls from clients.
    #[n(4)]
    Gateway,
}

/// A node's entry in the ledger, as the node states it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, serde::Serialize, serde::Deserialize)]
#[cbor(map)]
pub struct NodeAnnouncement {
    /// Who.
    #[n(0)]
    pub node: NodeId,
    /// 1 for the first announcement, one more for each that replaces it.
    #[n(1)]
    pub sequence: u64,
    /// What it does, sorted, each once.
    #[n(2)]
    pub roles: Vec<Role>,
    /// Base URL of its HTTP listener.
    #[n(3)]
    pub endpoint: String,
    /// Where its earnings go.
    #[n(4)]
    pub payout: Address,
    /// What an inference node asks for each call, without the model owner's royalty.
    #[n(5)]
    pub per_call: Opg,
    /// What it asks for each 10^9 multiply-accumulates begun.
    #[n(6)]
    pub per_gigamac: Opg,
}

/// A blob that a registration makes known, with the word of its holders.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct BlobRegistration {
    /// How it is coded.
    #[n(0)]
    pub layout: Layout,
    /// One for each shard, in the order of the shards.
    #[n(1)]
    pub acks: Vec<HolderAck>,
}

/// A new revision of a repository. Its EIP-712 form, which the owner signs, stands in `nabla-pay`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ModelRegistration {
    /// Under which name.
    #[n(0)]
    pub name: RepoName,
    /// Who owns the name, pays the storage fee and earns the royalty.
    #[n(1)]
    pub owner: Address,
    /// 1 for the first revision of this name, one more for each later one.
    #[n(2)]
    pub sequence: u64,
    /// The model.
    #[n(3)]
    pub model: ModelId,
    /// The files and the model, as a stored [`Revision`](crate::manifest::Revision).
    #[n(4)]
    pub revision: BlobId,
    /// Paid to the owner for each call.
    #[n(5)]
    pub royalty: Opg,
    /// Paid by the owner to the holders of what is newly stored.
    #[n(6)]
    pub storage_fee: Opg,
    /// One line about it, for search: at most 200 bytes.
    #[n(7)]
    pub summary: String,
}

/// Money set aside for one job, by the gateway that took the call.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Reservation {
    /// The payer's authorisation to the payee of these [terms](crate::payment::CallTerms).
    #[n(0)]
    pub payment: SignedAuthorization,
    /// The model that is to run.
    #[n(1)]
    pub model: ModelId,
    /// Who is to run it and be paid.
    #[n(2)]
    pub provider: NodeId,
    /// Who reserves and signs.
    #[n(3)]
    pub gateway: NodeId,
    /// The repository that the client asked for, whose owner earns the royalty: two may hold one model.
    #[n(4)]
    pub name: RepoName,
    /// Its revision that is to run; the receipt must name the same.
    #[n(5)]
    pub revision: BlobId,
}

impl Reservation {
    /// What the payment must have been signed for, on `network`.
    #[must_use]
    pub fn terms(&self, network: NetworkId) -> CallTerms<'_> {
        let Self { model, gateway, name, revision, .. } = self;
        CallTerms { network, gateway: *gateway, name, revision: *revision, model: *model }
    }
}

/// A reserved payment moves to another provider, because the first did not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Reassignment {
    /// Which payment.
    #[n(0)]
    pub payment: PaymentId,
    /// Who was to run it.
    #[n(1)]
    pub from: NodeId,
    /// Who is to run it now.
    #[n(2)]
    pub to: NodeId,
}

/// A reserved payment goes back to its payer, for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Release {
    /// Which payment.
    #[n(0)]
    pub payment: PaymentId,
    /// Its gateway, who signs.
    #[n(1)]
    pub node: NodeId,
}

/// What a replay showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, serde::Serialize, serde::Deserialize)]
#[cbor(index_only)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Every output is equal, bit for bit.
    #[n(0)]
    Equal,
    /// The replay gives other outputs than the receipt commits to.
    #[n(1)]
    Different,
}

/// A verifier's word on a receipt.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, serde::Serialize, serde::Deserialize)]
#[cbor(map)]
pub struct Verdict {
    /// Which receipt.
    #[n(0)]
    pub receipt: ReceiptId,
    /// Who replayed and signs.
    #[n(1)]
    pub verifier: NodeId,
    /// What came out.
    #[n(2)]
    pub outcome: Outcome,
}

/// A transaction. Each variant carries its own authority: the payer's, owner's, node's or provider's signature.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Tx {
    /// Move OPG between accounts.
    #[n(0)]
    Transfer(#[n(0)] SignedAuthorization),
    /// The faucet gives OPG; it arrives as granted.
    #[n(1)]
    Grant(#[n(0)] SignedAuthorization),
    /// A node appears or changes its entry; the stake is an authorisation to [`Address::STAKE`].
    #[n(2)]
    RegisterNode(#[n(0)] NodeAnnouncement, #[n(1)] Option<SignedAuthorization>, #[n(2)] Signature),
    /// A model is published.
    #[n(3)]
    RegisterModel(#[n(0)] ModelRegistration, #[n(1)] Vec<BlobRegistration>, #[n(2)] AccountSignature),
    /// Money is set aside; signed by the gateway.
    #[n(4)]
    Reserve(#[n(0)] Reservation, #[n(1)] Signature),
    /// Another provider takes over; signed by the payment's gateway.
    #[n(5)]
    Reassign(#[n(0)] Reassignment, #[n(1)] Signature),
    /// A COSE receipt, which carries its provider's signature, is settled from its payment's reservation.
    #[n(6)]
    Settle(
        #[n(0)]
        #[cbor(with = "minicbor::bytes")]
        Vec<u8>,
    ),
    /// Money goes back.
    #[n(7)]
    Release(#[n(0)] Release, #[n(1)] Signature),
    /// A replay's outcome.
    #[n(8)]
    Verdict(#[n(0)] Verdict, #[n(1)] Signature),
}

impl Tx {
    /// The transaction's identity.
    #[must_use]
    pub fn id(&self) -> TxId {
        TxId(Sha256::digest(cbor::encode(self)).into())
    }

    /// The variant, in the words of the glossary, for logs and counters.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Transfer(..) => "transfer",
            Self::Grant(..) => "grant",
            Self::RegisterNode(..) => "register-node",
            Self::RegisterModel(..) => "register-model",
            Self::Reserve(..) => "reserve",
            Self::Reassign(..) => "reassign",
            Self::Settle(..) => "settle",
            Self::Release(..) => "release",
            Self::Verdict(..) => "verdict",
        }
    }
}
