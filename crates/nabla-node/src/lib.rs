//! Wire the roles named in one config into a running, stoppable process.
//!
//! | module | what it holds |
//! |---|---|
//! | [`config`] | the file that says what one process does |
//! | [`network`] | laying out a new network |
//! | [`node`] | a running node |
//! | [`validator`] | the ledger's journal, order and HTTP interface |
//! | [`models`] | models fetched, checked, and kept in the engine's cache, in memory and packed on disk |
//! | [`replay`] | running a call again and comparing |
//! | `storage`, `inference`, `verifier`, `backend` | the other roles |
//!
//! This is the only crate that spawns tasks and reads clocks. It has no rules of its own: what a
//! transaction may do stands in `nabla-ledger`, what a paid call goes through in `nabla-gateway`, what a
//! receipt must hold in `nabla-verify`.

mod announce;
mod backend;
pub mod clock;
pub mod config;
mod error;
mod files;
mod http;
mod inference;
pub mod language;
pub mod models;
pub mod network;
pub mod node;
pub mod replay;
mod storage;
mod transcripts;
mod turns;
pub mod validator;
mod verifier;

pub use config::Config;
pub use error::Error;
pub use files::{account_key, node_key, read_genesis};
pub use node::Node;
