//! Feed every decoder of foreign bytes with hostile ones, and check what must hold.
//!
//! Each body is a plain function of bytes: it decodes, and asserts that nothing panics, that what is accepted
//! has one encoding only and decodes to the same again, and that limits hold. `cargo test -p nabla-fuzz` runs
//! all of them briefly on stable, over [`seeds`] with seeded [`mutate`]d inputs; `cargo fuzz` runs one of them
//! for as long as you like (README).
//!
//! | module | bodies for |
//! |---|---|
//! | [`mod@types`] | deterministic CBOR: receipts, layouts, manifests, the chain, tensors |
//! | [`mod@text`] | text and JSON: amounts, ids, names, requests, payments, terms |
//! | [`mod@engine`] | ONNX files and canonical models, which are also run; GGUF files |
//! | [`mod@language`] | folders of models, vocabularies, templates, grammars, and models that answer |
//! | [`mod@store`] | shards and codes |
//! | [`mod@verify`] | a receipt with everything its reader holds |
//! | [`mod@files`] | the journal and configurations |
//!
//! # What is deliberately absent
//! Decoders that no other crate can call: the gateway's reading of requests and headers, a node's transcripts
//! and shard frames. They are fuzzed through the types that they decode.

mod check;
pub mod engine;
pub mod files;
pub mod language;
pub mod mutate;
pub mod sections;
pub mod seeds;
pub mod store;
pub mod text;
pub mod types;
pub mod verify;

pub use engine::{gguf, model, onnx};
pub use files::{config, journal, journal_block};
pub use language::{folder, grammar, safetensors, talk, template, vocabulary};
pub use store::{code, shards};
pub use text::{api, chat, infer, payment, tensor_json, terms, text};
pub use types::{
    block, genesis, holder_ack, inclusion_proof, layout, manifest, receipt, revision, tensor, transaction,
};
pub use verify::verify;

/// One body, and what a brief run of it is.
#[derive(Debug, Clone, Copy)]
pub struct Body {
    /// Its name, also that of its `cargo fuzz` target.
    pub name: &'static str,
    /// The body.
    pub run: fn(&[u8]),
    /// Valid inputs to begin from.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Mutated inputs in a brief run.
    pub rounds: u32,
}

const fn body(name: &'static str, run: fn(&[u8]), seeds: fn() -> Vec<Vec<u8>>, rounds: u32) -> Body {
    Body { name, run, seeds, rounds }
}

/// All of them.
pub const BODIES: [Body; 32] = [
    body("receipt", receipt, seeds::receipts, 5000),
    body("layout", layout, seeds::layouts, 5000),
    body("manifest", manifest, seeds::manifests, 5000),
    body("revision", revision, seeds::revisions, 5000),
    body("genesis", genesis, seeds::geneses, 5000),
    body("transaction", transaction, seeds::transactions, 2000),
    body("block", block, seeds::blocks, 1000),
    body("inclusion_proof", inclusion_proof, seeds::proofs, 3000),
    body("holder_ack", holder_ack, seeds::acks, 3000),
    body("tensor", tensor, seeds::tensors, 5000),
    body("text", text, seeds::texts, 5000),
    body("tensor_json", tensor_json, seeds::tensors_json, 5000),
    body("infer", infer, seeds::calls, 3000),
    body("chat", chat, seeds::chats, 5000),
    body("api", api, seeds::bodies, 3000),
    body("payment", payment, seeds::payments, 3000),
    body("terms", terms, seeds::terms, 3000),
    body("onnx", onnx, seeds::onnx, 3000),
    body("gguf", gguf, seeds::gguf, 5000),
    body("model", model, seeds::models, 3000),
    body("safetensors", safetensors, seeds::safetensors, 5000),
    body("folder", folder, seeds::folders, 500),
    body("talk", talk, seeds::talkers, 500),
    body("vocabulary", vocabulary, seeds::vocabularies, 2000),
    body("template", template, seeds::templates, 1000),
    body("grammar", grammar, seeds::grammars, 500),
    body("shards", shards, seeds::shards, 3000),
    body("code", code, seeds::codes, 300),
    body("verify", verify, seeds::readers, 2000),
    body("journal", journal, seeds::journals, 500),
    body("journal_block", journal_block, seeds::ledger_blocks, 500),
    body("config", config, seeds::configs, 2000),
];
