//! Turn text into tokens and tokens into text.
//!
//! What a language model needs beside its tensors, and nothing that touches a tensor: a client can count
//! the tokens of a prompt without an engine, and a kernel never sees a character.
//!
//! | module | what it holds |
//! |---|---|
//! | [`vocabulary`] | [`Vocabulary`]: byte-level BPE and SentencePiece, from plain parts or a `tokenizer.json` |
//! | [`decoder`] | [`Decoder`]: tokens to text, one at a time |
//! | [`template`] | [`ChatTemplate`]: messages to a prompt, by the model's own Jinja template |
//! | [`stop`] | [`StopStrings`]: where an answer ends |
//! | [`grammar`] | [`Grammar`]: which tokens may come next, by a JSON schema, a regular expression or a grammar |
//!
//! # Rules
//! - Equal inputs give equal tokens, text and masks on every machine: no clock, no randomness, no I/O.
//! - Everything here comes from strangers: a publisher's vocabulary and template, a caller's text, schema
//!   and stop strings. Sizes are checked before anything is allocated, and effort has bounds.
//! - A caller's text never becomes a control token: not by [`Special::AsText`], and not as a message, which
//!   [`ChatTemplate::prompt`] guards before the template puts it among control tokens.
//!
//! # When things go wrong
//! Every refusal is an [`Error`] that says what was expected and what was got. A vocabulary, a template or a
//! grammar that was refused leaves nothing behind.
//!
//! # Example
//! ```
//! use nabla_text::{ChatTemplate, Message, Render, StopStrings};
//!
//! let template = ChatTemplate::chat_ml();
//! let messages = [Message::new("user", "Hello")];
//! let prompt = template.render(&Render { add_generation_prompt: true, ..Render::of(&messages) })?;
//! assert_eq!(prompt, "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n");
//!
//! let mut stop = StopStrings::new(&["END"])?.matcher();
//! assert_eq!(stop.push("to the E"), "to the ");
//! assert_eq!(stop.push("nd, the END."), "End, the ");
//! assert!(stop.is_stopped());
//! # Ok::<(), nabla_text::Error>(())
//! ```

pub mod decoder;
pub mod error;
pub mod grammar;
mod merge;
pub mod stop;
pub mod template;
pub mod vocabulary;

pub use decoder::{Control, Decoder};
pub use error::Error;
pub use grammar::{Grammar, GrammarSource, GrammarVocabulary, Mask};
pub use stop::{StopMatcher, StopStrings};
pub use template::{ChatTemplate, Message, Render};
pub use vocabulary::{Kind, Parts, PreTokenizer, Special, SpecialIds, TokenType, Vocabulary};
