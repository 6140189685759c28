//! The real binary, as people and programs meet it: every test starts `nabla` in an empty home of its own.
//!
//! `NABLA_BLESS=1` writes the snapshots anew; read the difference before you commit it.

mod bad_input;
mod chat;
mod demo;
mod dev;
mod docs;
mod model;
mod onnx;
mod processes;
mod program;
mod snapshots;
mod text;
