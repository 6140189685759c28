//! A block: proposed, checked, applied.
//!
//! - [`State::propose`] puts waiting transactions into a block that follows this state, and says why others
//!   are refused. [`Proposal::seal`] signs it.
//! - [`State::execute`] checks a block that someone else made, and [`State::commit`] takes its changes over;
//!   [`State::apply`] is both. Between the two a validator makes the block durable.
//!
//! # Rules
//! - Network, height (one more), parent, time (never back), the validator's signature, both roots and the
//!   number of receipts must be right, and every transaction must be good, or nothing happens.
//! - Before the transactions, reserved payments that expire at or before the block's time go back.
//! - After them, accounts and burned OPG must add up to the supply.
//! - A block is at most [`BLOCK_BYTES_MAX`] long; a transaction at most [`TX_BYTES_MAX`].

use nabla_types::{
    NetworkId, Opg, ReceiptId, TxId, cbor,
    chain::{BLOCK_BYTES_MAX, Block, Genesis, Header, SignedHeader, TX_BYTES_MAX, Tx},
    signature::{BadSignature, NodeKey},
};
use nabla_verify::merkle::Tree;

use crate::{
    Reject, State,
    state::{BlockRecord, Sums, Tip},
    table::{Overlays, TableChanges},
};

/// Room in a block for its header and the framing of its transactions, in bytes.
const HEADER_BYTES_MAX: usize = 1024;

/// Why a block is refused. The state is as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// A header field is not what it must be after this state.
    #[error("block {height}: expected {field} {expected}, got {got}")]
    Header {
        /// The block's height as it says.
        height: u64,
        /// Which field.
        field: &'static str,
        /// What it must be.
        expected: String,
        /// What it is.
        got: String,
    },
    /// The network's validator has not signed it.
    #[error("block {height}: not signed by the network's validator")]
    Signature {
        /// The block's height.
        height: u64,
        /// The check that failed.
        #[source]
        source: BadSignature,
    },
    /// It is too long.
    #[error("block {height}: {got} bytes, at most {BLOCK_BYTES_MAX} are accepted")]
    TooLarge {
        /// The block's height.
        height: u64,
        /// Its encoded length.
        got: usize,
    },
    /// One of its transactions is refused.
    #[error("block {height}: transaction {index} ({tx}) is refused")]
    Transaction {
        /// The block's height.
        height: u64,
        /// The transaction's place in the block.
        index: usize,
        /// The transaction.
        tx: TxId,
        /// Why.
        #[source]
        source: Box<Reject>,
    },
    /// Money would be made or lost. No block can bring this about; it means a fault in this program.
    #[error("block {height}: expected {expected} OPG in all, got {got}")]
    Conservation {
        /// The block's height.
        height: u64,
        /// The supply.
        expected: Opg,
        /// Accounts and burned together.
        got: String,
    },
}

/// What a block changes. Good for the state that it was computed on, and no other.
#[derive(Debug)]
pub struct Changes {
    tables: TableChanges,
    sums: Sums,
    record: BlockRecord,
}

/// A block that is not signed yet.
#[derive(Debug)]
pub struct Proposal {
    /// What is to be signed.
    pub header: Header,
    /// The transactions in it, in their order.
    pub accepted: Vec<Tx>,
    /// Those that break a rule now, and why.
    pub rejected: Vec<(TxId, Reject)>,
    /// Those that found no room: for the next block.
    pub deferred: Vec<Tx>,
    drafted: Drafted,
}

/// A signed block, and what it changes.
#[derive(Debug)]
pub struct Sealed {
    /// To be made durable before the changes are committed.
    pub block: Block,
    /// For [`State::commit`].
    pub changes: Changes,
}

/// What is left of a draft when it is done.
#[derive(Debug)]
struct Drafted {
    tables: TableChanges,
    sums: Sums,
    receipts: Vec<ReceiptId>,
}

/// A block in the making.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    pub(crate) genesis: &'a Genesis,
    pub(crate) network: NetworkId,
    pub(crate) height: u64,
    pub(crate) time_ms: u64,
    pub(crate) tables: Overlays<'a>,
    pub(crate) sums: Sums,
    /// Settled in this block, in order.
    pub(crate) receipts: Vec<ReceiptId>,
}

impl State {
    /// Check a block and work out what it changes. Nothing changes yet.
    ///
    /// # Errors
    /// [`BlockError`].
    pub fn execute(&self, block: &Block) -> Result<Changes, BlockError> {
        let header = &block.header.header;
        let height = header.height;
        self.check_header(&block.header)?;
        let leaves: Vec<Vec<u8>> = block.txs.iter().map(cbor::encode).collect();
        let got = HEADER_BYTES_MAX + leaves.iter().map(Vec::len).sum::<usize>();
        if got > BLOCK_BYTES_MAX {
            return Err(BlockError::TooLarge { height, got });
        }
        check(height, "transactions root", Tree::Transactions.root(&leaves), header.tx_root)?;
        let mut draft = self.draft(header.time_ms);
        draft.release_expired().map_err(|_| self.unbalanced(height, draft.sums))?;
        for (index, tx) in block.txs.iter().enumerate() {
            let refused =
                |reject| BlockError::Transaction { height, index, tx: tx.id(), source: Box::new(reject) };
            draft.apply(tx, leaves[index].len()).map_err(refused)?;
        }
        let receipts = receipt_leaves(&block.txs);
        check(height, "number of receipts", receipts.len() as u64, header.receipt_count)?;
        check(height, "receipts root", Tree::Receipts.root(&receipts), header.receipts_root)?;
        self.check_conservation(height, draft.sums)?;
        Ok(draft.finish().with(block.header.clone()))
    }

    /// Take over the changes of a block that is durable.
    ///
    /// # Errors
    /// [`BlockError::Header`] if they were computed on another state. Nothing is changed then.
    pub fn commit(&mut self, changes: Changes) -> Result<(), BlockError> {
        let header = &changes.record.header.header;
        check(header.height, "parent", self.tip().id, header.parent)?;
        self.tables.commit(changes.tables);
        self.sums = changes.sums;
        self.blocks.push(changes.record);
        Ok(())
    }

    /// [`State::execute`] and [`State::commit`].
    ///
    /// # Errors
    /// [`BlockError`]. The state is as it was.
    pub fn apply(&mut self, block: &Block) -> Result<(), BlockError> {
        let changes = self.execute(block)?;
        self.commit(changes)
    }

    /// Whether `tx` would be accepted as the only transaction of a block at `time_ms` (Unix milliseconds).
    ///
    /// # Errors
    /// [`Reject`].
    pub fn check_tx(&self, tx: &Tx, time_ms: u64) -> Result<(), Reject> {
        let mut draft = self.draft(time_ms.max(self.time_ms()));
        draft.release_expired()?;
        draft.apply(tx, cbor::encode(tx).len())
    }

    /// Put `txs` into the next block, in their order, at `time_ms` (Unix milliseconds; the parent's time if
    /// that is later). Those that break a rule are left out; those that find no room are handed back.
    ///
    /// # Errors
    /// [`BlockError::Conservation`], which is a fault in this program.
    pub fn propose(&self, txs: Vec<Tx>, time_ms: u64) -> Result<Proposal, BlockError> {
        self.propose_within(txs, time_ms, BLOCK_BYTES_MAX - HEADER_BYTES_MAX)
    }

    /// [`State::propose`] with `room` bytes for the transactions.
    fn propose_within(&self, txs: Vec<Tx>, time_ms: u64, room: usize) -> Result<Proposal, BlockError> {
        let (tip, time_ms) = (self.tip(), time_ms.max(self.time_ms()));
        let height = tip.height + 1;
        let mut draft = self.draft(time_ms);
        draft.release_expired().map_err(|_| self.unbalanced(height, draft.sums))?;
        let filled = draft.fill(txs, room);
        self.check_conservation(height, draft.sums)?;
        let Filled { accepted, leaves, rejected, deferred } = filled;
        let receipts = receipt_leaves(&accepted);
        let header = Header {
            network: self.network,
            height,
            parent: tip.id,
            time_ms,
            tx_root: Tree::Transactions.root(&leaves),
            receipts_root: Tree::Receipts.root(&receipts),
            receipt_count: receipts.len() as u64,
        };
        Ok(Proposal { header, accepted, rejected, deferred, drafted: draft.finish() })
    }

    fn draft(&self, time_ms: u64) -> Draft<'_> {
        Draft {
            genesis: &self.genesis,
            network: self.network,
            height: self.tip().height + 1,
            time_ms,
            tables: self.tables.overlays(),
            sums: self.sums,
            receipts: Vec::new(),
        }
    }

    fn check_header(&self, signed: &SignedHeader) -> Result<(), BlockError> {
        let Tip { height, id, time_ms } = self.tip();
        let header = &signed.header;
        check(header.height, "network", self.network, header.network)?;
        check(header.height, "height", height + 1, header.height)?;
        check(header.height, "parent", id, header.parent)?;
        if header.time_ms < time_ms {
            let (expected, got) = (format!("{time_ms} or later"), header.time_ms.to_string());
            return Err(BlockError::Header { height: header.height, field: "time", expected, got });
        }
        signed.verify(&self.genesis).map_err(|source| BlockError::Signature { height: header.height, source })
    }

    fn check_conservation(&self, height: u64, sums: Sums) -> Result<(), BlockError> {
        match sums.accounts.checked_add(sums.burned) {
            Some(all) if all == self.supply => Ok(()),
            _ => Err(self.unbalanced(height, sums)),
        }
    }

    fn unbalanced(&self, height: u64, sums: Sums) -> BlockError {
        let got = format!("{} in accounts and {} burned", sums.accounts, sums.burned);
        BlockError::Conservation { height, expected: self.supply, got }
    }
}

impl Proposal {
    /// Sign the block. `key` must be the validator's: others refuse the block otherwise.
    #[must_use]
    pub fn seal(self, key: &NodeKey) -> Sealed {
        let header = SignedHeader::sign(key, self.header);
        let changes = self.drafted.with(header.clone());
        Sealed { block: Block { header, txs: self.accepted }, changes }
    }
}

/// What came of the transactions that were to be put into a block.
#[derive(Default)]
struct Filled {
    accepted: Vec<Tx>,
    /// The encodings of those accepted.
    leaves: Vec<Vec<u8>>,
    rejected: Vec<(TxId, Reject)>,
    deferred: Vec<Tx>,
}

impl Draft<'_> {
    /// Apply transactions in their order until `room` bytes are full. From the first that finds no room, all
    /// are deferred: their order stays.
    fn fill(&mut self, txs: Vec<Tx>, mut room: usize) -> Filled {
        let mut filled = Filled::default();
        for tx in txs {
            let leaf = cbor::encode(&tx);
            let fits = leaf.len() <= room || leaf.len() > TX_BYTES_MAX;
            if !fits || !filled.deferred.is_empty() {
                filled.deferred.push(tx);
                continue;
            }
            match self.apply(&tx, leaf.len()) {
                Ok(()) => {
                    room -= leaf.len();
                    filled.leaves.push(leaf);
                    filled.accepted.push(tx);
                }
                Err(reject) => filled.rejected.push((tx.id(), reject)),
            }
        }
        filled
    }

    /// Apply one transaction, or leave no trace of it.
    fn apply(&mut self, tx: &Tx, size_bytes: usize) -> Result<(), Reject> {
        let before = (self.sums, self.receipts.len());
        let result = self.check_and_apply(tx, size_bytes);
        match result {
            Ok(()) => self.tables.keep(),
            Err(_) => {
                self.tables.roll_back();
                self.sums = before.0;
                self.receipts.truncate(before.1);
            }
        }
        result
    }

    fn check_and_apply(&mut self, tx: &Tx, size_bytes: usize) -> Result<(), Reject> {
        if size_bytes > TX_BYTES_MAX {
            return Err(Reject::TooLarge { got: size_bytes });
        }
        let id = tx.id();
        if let Some(height) = self.tables.txs.get(&id) {
            return Err(Reject::Included { tx: id, height: *height });
        }
        self.tables.txs.put(id, self.height);
        self.dispatch(id, tx)
    }

    fn finish(self) -> Drafted {
        Drafted { tables: self.tables.into_changes(), sums: self.sums, receipts: self.receipts }
    }
}

impl Drafted {
    fn with(self, header: SignedHeader) -> Changes {
        let record = BlockRecord { id: header.header.id(), header, receipts: self.receipts };
        Changes { tables: self.tables, sums: self.sums, record }
    }
}

/// The receipts that these transactions settle: the leaves of the block's tree.
fn receipt_leaves(txs: &[Tx]) -> Vec<&[u8]> {
    let settled = txs.iter().filter_map(|tx| match tx {
        Tx::Settle(cose) => Some(cose.as_slice()),
        _ => None,
    });
    settled.collect()
}

fn check<T: PartialEq + std::fmt::Display>(
    height: u64,
    field: &'static str,
    expected: T,
    got: T,
) -> Result<(), BlockError> {
    if expected == got {
        return Ok(());
    }
    Err(BlockError::Header { height, field, expected: expected.to_string(), got: got.to_string() })
}

#[cfg(test)]
mod tests {
    use nabla_pay::{AccountKey, eip712::sign_authorization};
    use nabla_types::{
        Address,
        chain::Allocation,
        payment::{Authorization, Nonce},
    };

    use super::*;

    /// What finds no room is handed back in its order, and fits the next block.
    #[test]
    fn a_full_block_defers_the_rest() {
        let (payer, validator) =
            (AccountKey::from_secret(&[1; 32]).expect("a key"), NodeKey::from_seed(&[2; 32]));
        let genesis = Genesis {
            format: Genesis::FORMAT.to_owned(),
            name: "room".to_owned(),
            chain_id: 1,
            validator: validator.id(),
            faucet: None,
            allocations: vec![Allocation { account: payer.address(), amount: Opg::whole(1) }],
            fee_basis_points: 0,
            inference_stake_min: Opg::ZERO,
            storage_price_per_kib: Opg::ZERO,
            reservation_ttl_ms: 1,
            verifiers: Vec::new(),
        };
        let mut state = State::genesis(genesis).expect("sound");
        let pay = |(number, value)| {
            let (from, to, nonce) = (payer.address(), Address([3; 20]), Nonce([number; 32]));
            let authorization =
                Authorization { from, to, value, valid_after: 0, valid_before: u64::MAX, nonce };
            Tx::Transfer(sign_authorization(&payer, 1, authorization))
        };
        // The third costs more than there is: refused, and takes no room.
        let amounts = [1, 1, u128::MAX, 1, 1, 1].map(Opg::from_units);
        let txs: Vec<Tx> = (0..).zip(amounts).map(pay).collect();
        let size = cbor::encode(&txs[0]).len();
        let proposal = state.propose_within(txs.clone(), 1000, 3 * size + size / 2).expect("conserves");
        assert_eq!(proposal.accepted, [txs[0].clone(), txs[1].clone(), txs[3].clone()]);
        assert_eq!(proposal.deferred, txs[4..]);
        assert_eq!(proposal.rejected.len(), 1);
        let deferred = proposal.deferred.clone();
        let sealed = proposal.seal(&validator);
        state.execute(&sealed.block).expect("a good block");
        state.commit(sealed.changes).expect("made on this state");
        assert_eq!(state.propose(deferred, 1000).expect("conserves").accepted, txs[4..]);
    }
}
