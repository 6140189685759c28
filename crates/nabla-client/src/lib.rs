//! Ask, pay, and check the answer without trusting who gave it.
//!
//! | part | what it does |
//! |---|---|
//! | [`LedgerClient`] | reads the ledger and submits transactions |
//! | [`BlobClient`] | puts blobs on storage nodes and gets them back, checking every shard |
//! | [`GatewayClient`] | runs a model or talks with it: quote, payment, answer, receipt, all checked here |
//! | [`publish`] | registers what was uploaded under a repository's name |
//!
//! # Rules
//! - Nothing that arrives is believed: shards are checked against the layout on the ledger, receipts
//!   against what was sent and what came back, prices against what the caller allows.
//! - Every body has a size limit, every call a time limit.
//! - The library reads no environment and no clock; times come in as arguments.
//!
//! # When things go wrong
//! A payment that was sent is either settled, reserved until it expires, or released. After
//! [`Error::Unreachable`] on a paid call its state is unknown: ask the ledger, or repeat the call with the
//! same payment, which pays once.

mod blobs;
mod chat;
mod error;
mod gateway;
mod http;
mod ledger;
pub mod publish;

pub use blobs::{BlobClient, Fetched, Progress, RejectedShard};
pub use chat::{ChatAnswer, EmbedAnswer, new_nonce};
pub use error::Error;
pub use gateway::{Answer, GatewayClient, Spending};
pub use http::{Http, body, send};
pub use ledger::LedgerClient;
