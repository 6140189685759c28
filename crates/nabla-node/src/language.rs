//! Language models as the network knows them: a manifest and two blobs, a request, an answer's bytes.
//!
//! | module | what it holds |
//! |---|---|
//! | `terms` | [`manifest_of_gguf`], [`terms_of`]: what a manifest says of a model, and whether it is true |
//! | `asked` | [`generation_of`], [`written`]: a request as the engine takes it, a token as an answer shows it |
//! | `vectors` | [`vectors_of`]: texts as vectors |
//! | `talker` | [`Talker`]: the thread in which one model answers everyone |
//!
//! # Rules
//! - What a request means and how an answer is written is decided here once, for who answers and for who replays.
//! - Nothing that is asked or answered is logged, or shown by `Debug`.

mod asked;
mod talker;
mod terms;
mod vectors;

pub use asked::{generation_of, prompt_of, written};
pub use talker::{Ask, Talker, TalkerEvent};
pub use terms::{check_manifest, load_language, manifest_of_gguf, terms_of};
pub use vectors::{Vectors, prompt_commitments, vectors_of};
