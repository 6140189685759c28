//! What the ledger knows of each thing, as it answers queries (JSON).

use crate::{
    amount::Opg,
    chain::{NodeAnnouncement, Outcome},
    id::{Address, BlobId, ModelId, NodeId, PaymentId, ReceiptId},
    layout::Layout,
    name::RepoName,
    receipt::Price,
};

/// An account's balances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Account {
    /// OPG that was bought or earned from what was bought.
    pub purchased: Opg,
    /// OPG that a faucet gave, or that was earned from such. Spent first.
    pub granted: Opg,
}

/// A registered node.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct NodeRecord {
    /// Its own words.
    pub announcement: NodeAnnouncement,
    /// What it has at stake.
    pub stake: Opg,
    /// Settled receipts.
    pub receipts: u64,
    /// Verdicts on its receipts: replayed and equal.
    pub replayed_equal: u64,
    /// Verdicts on its receipts: replayed and different.
    pub replayed_different: u64,
}

/// One published revision.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RevisionRecord {
    /// The model.
    pub model: ModelId,
    /// Its files.
    pub revision: BlobId,
    /// Paid to the owner for each call.
    pub royalty: Opg,
    /// What storing it cost.
    pub storage_fee: Opg,
    /// The block that registered it.
    pub height: u64,
    /// The owner's line about it.
    pub summary: String,
}

/// A repository and its revisions, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RepoRecord {
    /// Its name.
    pub name: RepoName,
    /// Whose it is.
    pub owner: Address,
    /// Never empty.
    pub revisions: Vec<RevisionRecord>,
    /// Calls settled for any revision.
    pub calls: u64,
}

impl RepoRecord {
    /// The newest revision.
    ///
    /// # Panics
    /// Never on a record from a ledger: a name exists from its first revision.
    #[must_use]
    pub fn latest(&self) -> &RevisionRecord {
        self.revisions.last().expect("a repository has a revision")
    }
}

/// A blob that the ledger vouches for.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StoredBlob {
    /// How it is coded.
    pub layout: Layout,
    /// Who acknowledged each shard, in the order of the shards.
    pub holders: Vec<NodeId>,
}

/// Where a payment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase", tag = "state")]
pub enum PaymentStatus {
    /// Set aside for the provider's job until the given time.
    Reserved {
        /// Unix milliseconds.
        expires_ms: u64,
    },
    /// Paid out by this receipt.
    Settled {
        /// The receipt.
        receipt: ReceiptId,
    },
    /// Given back to the payer.
    Released,
}

/// A payment for a call.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Payment {
    /// Its identity.
    pub payment: PaymentId,
    /// Who pays.
    pub payer: Address,
    /// How much at most.
    pub amount: Opg,
    /// The part of it that is granted OPG.
    pub granted: Opg,
    /// The repository that was asked for.
    pub name: RepoName,
    /// Its revision.
    pub revision: BlobId,
    /// What is to run.
    pub model: ModelId,
    /// What the provider asked, and the royalty, when the payment was reserved for that provider: the
    /// receipt's price.
    pub price: Price,
    /// Who runs it.
    pub provider: NodeId,
    /// Who reserved it.
    pub gateway: NodeId,
    /// Where it stands.
    pub status: PaymentStatus,
}

/// A verdict as the ledger keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct VerdictRecord {
    /// Who replayed.
    pub verifier: NodeId,
    /// What came out.
    pub outcome: Outcome,
    /// The block that holds it.
    pub height: u64,
}
