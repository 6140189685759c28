//! Decide whether a claim and its evidence hold.
//!
//! No I/O, no clock, no async, no floats: everything is decided from the bytes that are handed in, so that
//! the same answer comes out in a node, on a laptop without a network, and in a browser.
//!
//! - [`verify_receipt`] checks a receipt against whatever context the caller has, and answers with a
//!   [`Report`] of named [`Check`]s: passed, failed (with what was expected and what was got), or skipped
//!   (with what is missing). A skipped check is never counted as passed.
//! - [`merkle`] is the tree that blocks commit to their transactions and receipts with.

mod chat;
pub mod merkle;
mod receipt;
mod report;

pub use receipt::{Context, verify_receipt};
pub use report::{Check, CheckName, Outcome, Report};
