//! The JSON of an answer: whole (`chat.completion`), or chunk by chunk (`chat.completion.chunk`).

use serde::{Deserialize, Serialize};

use crate::{id::ModelId, name::RepoName, receipt::Salt};

use super::Role;

/// Largest answer, in bytes, the events of a stream included.
pub const CHAT_RESPONSE_BYTES_MAX: usize = 16 << 20;

/// An answer in one piece.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChatCompletion {
    /// `chatcmpl-` and the first 16 bytes of the nonce in hex.
    pub id: String,
    /// Always `chat.completion`.
    pub object: String,
    /// When work began, Unix seconds by the provider's clock.
    pub created: u64,
    /// The repository's name.
    pub model: RepoName,
    /// Always one.
    pub choices: Vec<Choice>,
    /// Tokens read and made.
    pub usage: ChatUsage,
    /// The model and the tokens.
    pub nabla: Extra,
}

/// The answer of a [`ChatCompletion`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    /// Always 0.
    pub index: u32,
    /// What is said.
    pub message: Reply,
    /// If they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<Logprobs>,
    /// Why it ends.
    pub finish_reason: FinishReason,
}

/// What the model says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reply {
    /// Always the assistant.
    pub role: Role,
    /// The text.
    pub content: String,
}

/// A part of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChatChunk {
    /// As in [`ChatCompletion::id`].
    pub id: String,
    /// Always `chat.completion.chunk`.
    pub object: String,
    /// As in [`ChatCompletion::created`].
    pub created: u64,
    /// The repository's name.
    pub model: RepoName,
    /// One, or none in the chunk that tells usage.
    pub choices: Vec<ChunkChoice>,
    /// Only in the chunk that comes after the finish.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<ChatUsage>,
    /// Tokens, model and receipt.
    #[serde(default, skip_serializing_if = "Extra::is_empty")]
    pub nabla: Extra,
}

/// What a [`ChatChunk`] adds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChunkChoice {
    /// Always 0.
    pub index: u32,
    /// What is added.
    pub delta: Delta,
    /// Of this chunk's tokens, if they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<Logprobs>,
    /// Why the answer ends; null before.
    pub finish_reason: Option<FinishReason>,
}

/// What is added to an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delta {
    /// The assistant, in the first chunk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
}

/// Why an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FinishReason {
    /// The model ended it, or one of the texts that were to end it came up.
    Stop,
    /// As many tokens as were asked for, or as the context holds.
    Length,
    /// The client went away, or time was over: this is what was made until then.
    Cancelled,
}

/// Tokens read and made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChatUsage {
    /// Of the prompt.
    pub prompt_tokens: u64,
    /// Of the answer.
    pub completion_tokens: u64,
    /// Both.
    pub total_tokens: u64,
}

impl ChatUsage {
    /// So many read and made.
    #[must_use]
    pub fn of(prompt_tokens: u64, completion_tokens: u64) -> Self {
        Self {
            prompt_tokens,
            completion_tokens,
            total_tokens: prompt_tokens.saturating_add(completion_tokens),
        }
    }
}

/// What is ours in an answer. Programs that know OpenAI's answers leave it aside.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extra {
    /// The model that ran: in a [`ChatCompletion`], and in the chunk that tells usage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_id: Option<ModelId>,
    /// The tokens behind the text, which a replay needs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<u32>,
    /// The COSE receipt, base64 without padding: in the event after the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<String>,
    /// What opens its commitments, again: a stream tells it at its start, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt: Option<Salt>,
}

impl Extra {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Probabilities of tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Logprobs {
    /// One for each token.
    pub content: Vec<Logprob>,
}

/// Of one token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Logprob {
    /// Its text, with a replacement character for bytes that are no text.
    pub token: String,
    /// Natural logarithm of its probability before anything but the temperature's absence: of the plain logits.
    pub logprob: f64,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The likeliest tokens in its place.
    pub top_logprobs: Vec<TopLogprob>,
}

/// Of a token that could have been.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopLogprob {
    /// As in [`Logprob::token`].
    pub token: String,
    /// As in [`Logprob::logprob`].
    pub logprob: f64,
    /// Its bytes.
    pub bytes: Vec<u8>,
}
