//! What the ledger knows.
//!
//! [`State`] is moved by blocks only ([`State::apply`], in [`block`](crate::block)) and answers questions
//! ([`State::account`] and the other queries). A query never fails: what is unknown is `None` or empty.

mod queries;

use nabla_types::{
    Address, BlockId, NetworkId, NodeId, Opg, ReceiptId,
    chain::{Account, Genesis, NodeAnnouncement, Payment, PaymentStatus, RevisionRecord, SignedHeader},
};

use crate::{
    genesis::{self, GenesisError},
    money,
    table::Tables,
};

/// The ledger after some block.
///
/// Two states after equal blocks are equal ([`PartialEq`] compares everything).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    pub(crate) genesis: Genesis,
    pub(crate) network: NetworkId,
    pub(crate) supply: Opg,
    pub(crate) tables: Tables,
    pub(crate) sums: Sums,
    pub(crate) blocks: Vec<BlockRecord>,
}

/// Where the whole supply is. The four parts add up to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// In accounts that people and nodes dispose of.
    pub held: Opg,
    /// Set aside for running jobs: the escrow account.
    pub reserved: Opg,
    /// At stake: the stake account.
    pub staked: Opg,
    /// Burned by fees.
    pub burned: Opg,
}

/// Sums that follow each movement of money.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sums {
    /// All accounts, escrow and stake included.
    pub(crate) accounts: Opg,
    /// Burned by fees.
    pub(crate) burned: Opg,
}

/// A receipt that the ledger has settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled<'a> {
    /// The COSE bytes.
    pub cose: &'a [u8],
    /// The block that settled it.
    pub height: u64,
    /// Its place among that block's receipts.
    pub index: u64,
    /// Who ran the model.
    pub provider: NodeId,
}

/// The newest block, as the next one builds on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tip {
    pub(crate) height: u64,
    pub(crate) id: BlockId,
    pub(crate) time_ms: u64,
}

/// What stays of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BlockRecord {
    pub(crate) header: SignedHeader,
    pub(crate) id: BlockId,
    pub(crate) receipts: Vec<ReceiptId>,
}

/// A node's entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodeEntry {
    pub(crate) announcement: NodeAnnouncement,
    pub(crate) stake: Opg,
}

/// What came of a node's receipts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct NodeCounts {
    pub(crate) receipts: u64,
    pub(crate) replayed_equal: u64,
    pub(crate) replayed_different: u64,
}

/// A repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Repo {
    pub(crate) owner: Address,
    /// Never empty.
    pub(crate) revisions: Vec<RevisionRecord>,
}

/// A payment for a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PaymentEntry {
    pub(crate) payment: Payment,
    /// Providers it was taken from.
    pub(crate) left: Vec<NodeId>,
}

/// A settled receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReceiptEntry {
    pub(crate) cose: Vec<u8>,
    pub(crate) height: u64,
    pub(crate) index: u64,
    pub(crate) provider: NodeId,
}

impl State {
    /// The state before the first block.
    ///
    /// # Errors
    /// [`GenesisError`] if a constant is out of its limits.
    pub fn genesis(genesis: Genesis) -> Result<Self, GenesisError> {
        let supply = genesis::check(&genesis)?;
        let mut tables = Tables::default();
        for allocation in &genesis.allocations {
            let account = Account { purchased: allocation.amount, granted: Opg::ZERO };
            tables.accounts.insert(allocation.account, account);
        }
        let sums = Sums { accounts: supply, burned: Opg::ZERO };
        Ok(Self { network: genesis.network(), genesis, supply, tables, sums, blocks: Vec::new() })
    }

    /// Where the supply is, counted afresh from every account, payment and node. `None` if money was made
    /// or lost anywhere. Slow: for tests, and for people who doubt.
    #[must_use]
    pub fn recount(&self) -> Option<Totals> {
        let reserved =
            || self.tables.payments.values().map(|entry| &entry.payment).filter(|p| is_reserved(p));
        let accounts = sum(self.tables.accounts.values().map(money::balance))?;
        let escrow = Account {
            purchased: sum(reserved().map(|payment| payment.amount.checked_sub(payment.granted)))?,
            granted: sum(reserved().map(|payment| Some(payment.granted)))?,
        };
        let staked = sum(self.tables.nodes.values().map(|node| Some(node.stake)))?;
        let whole = accounts.checked_add(self.sums.burned)? == self.supply && accounts == self.sums.accounts;
        let in_place = self.account(&Address::ESCROW) == escrow
            && money::balance(&self.account(&Address::STAKE))? == staked;
        let totals = self.totals();
        (whole && in_place && totals.staked == staked).then_some(totals)
    }

    pub(crate) fn tip(&self) -> Tip {
        let height = self.blocks.len() as u64;
        match self.blocks.last() {
            Some(block) => Tip { height, id: block.id, time_ms: block.header.header.time_ms },
            None => Tip { height, id: BlockId([0; 32]), time_ms: 0 },
        }
    }
}

/// Whether a payment waits for its receipt.
pub(crate) fn is_reserved(payment: &Payment) -> bool {
    matches!(payment.status, PaymentStatus::Reserved { .. })
}

fn sum(mut amounts: impl Iterator<Item = Option<Opg>>) -> Option<Opg> {
    amounts.try_fold(Opg::ZERO, |sum, amount| sum.checked_add(amount?))
}
