//! The record of one answered call: a COSE_Sign1 over deterministic CBOR claims.
//!
//! # What it binds
//! Network and format, the client's nonce, model, runtime and kernel spec, salted commitments to the
//! exact request and response bytes and to every input and output tensor, sampling, usage, price, amount,
//! payer commitment, payment id, provider, times, and the class of evidence. `spec/receipt.md` says it in
//! prose with golden vectors; the claim keys below -65537..=-65546 are those of the AIR draft
//! (`draft-tsyrulnikov-rats-attested-inference-receipt`), ours start at -70001.
//!
//! # Rules
//! - One encoding: tag 18, protected header exactly `{1: -8, 3: 61}`, empty unprotected header, claims in
//!   bytewise key order, none unknown, none missing. Decoding refuses everything else.
//! - `receipt_id = SHA-256(payload)`; the signature is strict ed25519 by the provider named in the claims.
//! - Commitments are salted: a receipt reveals nothing about prompt, answer or payer to who lacks the salt.

mod claims;
mod commitment;
mod cose;

pub use claims::{Evidence, Price, Receipt, Sampling, TensorCommitment, Usage};
pub use commitment::{Commitment, CommitmentLabel, Salt};
pub use cose::{RECEIPT_BYTES_MAX, ReceiptError, SignedReceipt};

#[cfg(test)]
mod tests;
