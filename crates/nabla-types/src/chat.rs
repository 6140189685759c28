//! Chats with language models: what is asked, what is answered, and the answer's bytes.
//!
//! Requests and answers have the shape of OpenAI's chat completions, so that programs that know those can
//! read them; what is ours stands in members of their own (`nonce`, `model_id`, `nabla`). `spec/chat.md` has
//! all of it in prose.
//!
//! | module | what it holds |
//! |---|---|
//! | `request` | [`ChatRequest`]: the question, with every number in the unit that a receipt states |
//! | `number` | [`Micros`]: a decimal number as a whole count of millionths |
//! | `answer` | the JSON of an answer, whole or in chunks |
//! | `writer` | [`ChatWriter`]: tokens in, the answer's bytes out |
//! | `reader` | [`ChatContent`] and [`EventReader`]: the answer's bytes in, what it says out |
//!
//! # Rules
//! - An answer's bytes are a function of request, model, tokens and the time at which work began: who replays
//!   the tokens builds the same bytes, down to the last brace.
//! - Everything is bounded while it is read: messages, stops, biases, the nodes of a schema, an event of a stream.
//! - Unknown members are refused, on both sides: nothing is asked for or said that the other side overlooks.
//!
//! # When things go wrong
//! A [`ChatError`] names the member, what was expected and what was got, and says what to do. Neither errors nor
//! `Debug` of the error show what was asked or answered beyond the offending member's name and number.

mod answer;
mod number;
mod reader;
mod request;
mod writer;

pub use answer::{
    CHAT_RESPONSE_BYTES_MAX, ChatChunk, ChatCompletion, ChatUsage, Choice, ChunkChoice, Delta, Extra,
    FinishReason, Logprob, Logprobs, Reply, TopLogprob,
};
pub use number::Micros;
pub use reader::{ChatContent, EVENT_BYTES_MAX, EventReader, StreamItem};
pub use request::{
    BIASES_MAX, CHAT_REQUEST_BYTES_MAX, ChatMessage, ChatRequest, FormatKind, JsonSchema, LOGPROBS_MAX,
    MAX_TOKENS_DEFAULT, MESSAGES_MAX, ResponseFormat, Role, SCHEMA_NODES_MAX, STOP_BYTES_MAX, STOPS_MAX,
    Schema, Stops, StreamOptions, is_chat, is_completion,
};
pub use writer::{AnswerHead, ChatWriter, WrittenToken, done_event, failed_event, receipt_event};

/// Name of the receipt's commitment to the prompt's tokens.
pub const PROMPT_TOKENS: &str = "prompt_tokens";
/// Name of the receipt's commitment to the answer's tokens.
pub const TOKENS: &str = "tokens";

/// Why a request or an answer was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChatError {
    /// Larger than accepted.
    #[error("{what} has {got} bytes, at most {max} are accepted")]
    TooLong {
        /// What it is.
        what: &'static str,
        /// Its bytes.
        got: usize,
        /// Bytes accepted.
        max: usize,
    },
    /// Not JSON of this shape.
    #[error("the body is no {what}: {reason}")]
    Malformed {
        /// What it should be.
        what: &'static str,
        /// What is wrong, and where.
        reason: String,
    },
    /// A member out of its bounds, or one that does not go with another.
    #[error("{member}: expected {expected}, got {got}")]
    Member {
        /// Which one.
        member: &'static str,
        /// What it may be.
        expected: String,
        /// What it is.
        got: String,
    },
}

impl ChatError {
    /// What a person can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Malformed { reason, .. } if reason.contains("unknown field") => Some(
                "leave the member out: spec/chat.md lists all that may be asked for; there is one answer to a \
                 request, and there are no tools",
            ),
            Self::TooLong { .. } => Some("send a shorter conversation"),
            _ => None,
        }
    }
}

pub(crate) use request::{bounded, has_member, read_object};

pub(crate) fn member(member: &'static str, expected: impl Into<String>, got: impl ToString) -> ChatError {
    ChatError::Member { member, expected: expected.into(), got: got.to_string() }
}

/// The tokens as a receipt commits to them: one dimension of `INT64`.
///
/// # Panics
/// For more tokens than any tensor may have, which no request can reach.
#[must_use]
pub fn tokens_tensor(tokens: &[u32]) -> crate::tensor::Tensor {
    let ids = tokens.iter().map(|token| i64::from(*token)).collect();
    crate::tensor::Tensor::i64(&[tokens.len() as u64], ids)
        .expect("a context is shorter than any tensor may be")
}

#[cfg(test)]
mod tests;
