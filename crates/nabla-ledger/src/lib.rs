//! Apply ordered transactions the same way everywhere.
//!
//! A pure state machine: [`State::genesis`] begins it, [`State::apply`] moves it by one block. Equal blocks
//! give equal states on every machine, today and on replay.
//!
//! | module | what it holds |
//! |---|---|
//! | [`state`] | [`State`]: what the ledger knows, and every question it answers |
//! | [`block`] | a block proposed, checked and applied |
//! | [`reject`] | [`Reject`]: why a transaction is refused, with a stable code |
//! | [`sequencer`] | [`Sequencer`]: the seam behind which order and durability come about |
//! | `rules` | one file for each family of transactions |
//! | `bank`, `money` | the only code that moves OPG |
//! | `table` | a block's changes over the state before it |
//!
//! # Rules
//! - No clock, no I/O, no randomness, no floats, no hash maps: time is the block's, order is the block's.
//! - A block is applied whole or not at all; a refused transaction leaves no trace.
//! - OPG is never made or lost. All accounts (escrow and stake are two of them) and what was burned add up
//!   to the genesis' supply: kept as a running total that is compared after each block, and recounted from
//!   nothing by [`State::recount`].
//! - Money keeps its class. Granted OPG is spent first and arrives as granted; whatever leaves the faucet's
//!   account is granted.
//!
//! # When things go wrong
//! A transaction that breaks a rule is a [`Reject`], which names what was expected and what was got. A block
//! that holds one, or that does not follow its parent, is a [`BlockError`] and changes nothing.
//!
//! # What is deliberately absent
//! Consensus (behind [`Sequencer`]), storage (the journal of `nabla-node`), fees for transactions other than
//! settled calls and stored bytes, and the way out of stake: a later release adds unbonding and slashing.

#![deny(clippy::float_arithmetic)]

mod bank;
pub mod block;
mod genesis;
mod money;
pub mod reject;
mod rules;
pub mod sequencer;
pub mod state;
mod table;

pub use block::{BlockError, Changes, Proposal, Sealed};
pub use genesis::GenesisError;
pub use reject::{Field, Reject};
pub use sequencer::{Sequencer, SubmitError, Ticket, Wait};
pub use state::{Settled, State, Totals};
