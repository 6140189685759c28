//! The engine against the world: ONNX's node tests, exported models and their recorded answers, the bundled
//! models, and the same bits on every instruction set, thread count and batch.
#![expect(clippy::unwrap_used, reason = "a test that panics is a test that fails")]
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "what to run and to bless is said by the environment; tables are printed"
)]

mod cases;
mod conformance;
mod dynamic;
mod files;
mod flow;
mod gguf;
mod hostile;
mod images;
mod language;
mod models;
mod oracle;
mod rows;
mod threads;
mod zoo;
