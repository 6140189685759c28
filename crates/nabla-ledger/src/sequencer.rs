//! The seam behind which order and durability come about.
//!
//! A [`Sequencer`] takes transactions from anyone, puts them in one order, makes blocks of them and keeps
//! the [`State`] that follows. Today one validator does (`nabla-node`); a committee comes behind the same
//! three methods.

use std::{future::Future, pin::Pin, sync::RwLockReadGuard};

use nabla_types::{api::Included, chain::Tx};

use crate::{Reject, State};

/// Resolves once the transaction is durable in a block, or will never be.
pub type Ticket = Pin<Box<dyn Future<Output = Result<Included, SubmitError>> + Send>>;

/// Resolves to the height that was reached.
pub type Wait = Pin<Box<dyn Future<Output = Result<u64, SubmitError>> + Send>>;

/// Orders transactions and answers for the state.
///
/// # Rules
/// - A ticket resolves to `Included` only after the block is durable: no crash can take it back.
/// - Submitting a transaction that is already in a block answers with that block, so a caller who lost an
///   answer may submit the same bytes again.
/// - [`Sequencer::state`] never shows what is not durable.
/// - Dropping a ticket does not withdraw the transaction.
pub trait Sequencer: Send + Sync {
    /// Hand in a transaction. It is taken at once; the ticket may be awaited anywhere, or nowhere.
    fn submit(&self, tx: Tx) -> Ticket;

    /// Read the newest durable state. Hold the guard briefly: the next block waits for it.
    fn state(&self) -> RwLockReadGuard<'_, State>;

    /// Wait until the chain has at least this many blocks, and learn how many it has.
    fn wait_for_height(&self, height: u64) -> Wait;
}

/// Why a transaction is not in a block.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// It breaks a rule; it is in no block. The same bytes may be good later (funds may come).
    #[error(transparent)]
    Rejected(#[from] Reject),
    /// Too many wait; this one was not taken. Try again shortly.
    #[error("the ledger is busy: {waiting} transactions wait")]
    Busy {
        /// How many wait.
        waiting: usize,
    },
    /// The sequencer has stopped. Whether the transaction is in a block is **unknown**: submit the same
    /// bytes again after a restart, which is safe.
    #[error("the ledger takes no transactions: {reason}")]
    Stopped {
        /// Why.
        reason: String,
    },
}

impl SubmitError {
    /// Stable, for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Rejected(reject) => reject.code(),
            Self::Busy { .. } => "ledger_busy",
            Self::Stopped { .. } => "ledger_stopped",
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Rejected(reject) => reject.hint(),
            Self::Busy { .. } => Some("try again shortly"),
            Self::Stopped { .. } => Some("restart the validator, then submit the same transaction again"),
        }
    }
}
