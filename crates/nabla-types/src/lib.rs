//! Say what crosses a wire or a disk, and its one encoding.
//!
//! Everything here is data: no I/O, no clock, no async. A type that is signed, hashed or stored has
//! exactly one encoding ([`cbor`]), and a decoder that refuses every other one.
//!
//! | module | what it holds |
//! |---|---|
//! | [`id`] | one newtype per identity: model, blob, layout, account, node, receipt, payment |
//! | [`amount`] | [`Opg`], money in the smallest unit |
//! | [`cbor`] | deterministic CBOR with limits |
//! | [`signature`] | domain-separated ed25519 keys and signatures of nodes |
//! | [`name`] | `owner/name` of a repository |
//! | [`tensor`] | typed, shaped values and their JSON form |
//! | [`manifest`] | what a model and a revision are made of |
//! | [`layout`] | how a blob is cut into shards, and who holds them |
//! | [`receipt`] | the COSE-signed record of one answered call |
//! | [`payment`] | transfer authorisations (EIP-3009 fields) |
//! | [`chain`] | genesis, transactions, blocks and proofs |
//! | [`api`] | JSON bodies of the HTTP interface |
//! | [`chat`] | chats with language models, and the bytes of their answers |
//! | [`embed`] | texts as vectors |
//!
//! # When things go wrong
//! Decoders check sizes before they allocate, use up their input and answer with an error that says
//! what was expected and what was got. None of them panics on foreign bytes.

pub mod amount;
pub mod api;
pub mod cbor;
pub mod chain;
pub mod chat;
pub mod embed;
pub mod id;
pub mod layout;
pub mod manifest;
pub mod name;
pub mod payment;
pub mod receipt;
pub mod signature;
pub mod tensor;

pub use amount::Opg;
pub use id::{
    Address, BlobId, BlockId, LayoutId, ModelId, NetworkId, NodeId, PaymentId, ReceiptId, ShardId, TreeHash,
    TxId,
};
pub use name::RepoName;
