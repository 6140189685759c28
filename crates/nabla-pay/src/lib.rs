//! Price, meter and vouch for work: arithmetic and signatures only.
//!
//! | module | what it holds |
//! |---|---|
//! | [`account`] | [`AccountKey`], and the account behind a signature |
//! | [`eip712`] | the digests that wallets sign: payments (EIP-3009) and model registrations |
//! | [`quote`] | storage fees, and who gets what of a settled amount |
//! | [`x402`] | from the terms of a 402 to a signed payment, and back |
//!
//! # Rules
//! - Amounts are integers; every operation is checked. No floats, no I/O, no clock, no randomness: times
//!   and nonces are handed in.
//! - Digests are byte for byte those of EIP-712, so a standard wallet can sign everything that an account
//!   signs here. `spec/vectors/eip712.json` holds vectors that the `eth-account` library made.
//! - A signature has one form: 65 bytes, `s` in the lower half, `v` 27 or 28. Every other one is refused, so
//!   nobody can make a second signature out of the first.
//!
//! # What is deliberately absent
//! Balances, nonces that were used, and the present time: the ledger knows those. A good signature says
//! that the payer agreed, not that the payer has the money.

#![deny(clippy::float_arithmetic)]

pub mod account;
pub mod eip712;
pub mod quote;
pub mod x402;

pub use account::{AccountKey, SecretError, SignatureError};
pub use eip712::OPG_ADDRESS;
