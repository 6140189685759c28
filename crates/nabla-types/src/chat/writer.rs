//! From tokens to the bytes of an answer, whole or in events.
//!
//! # Rules
//! - One chunk for each token that brought text. A token without text of its own (half a character, or held
//!   back because a stop text may have begun) rides on the next chunk, or on the one that ends the answer.
//! - After the last text come a chunk with the finish, one with the usage; then the receipt's event, which is not
//!   part of the answer that the receipt commits to, and `[DONE]`.
//! - The same tokens, texts and head give the same bytes.

use base64::{Engine, prelude::BASE64_STANDARD_NO_PAD};
use serde::Serialize;

use super::{
    ChatChunk, ChatCompletion, ChatUsage, Choice, ChunkChoice, Delta, Extra, FinishReason, Logprob, Logprobs,
    Reply, Role,
};
use crate::{
    api::{ErrorBody, ErrorInfo},
    id::ModelId,
    name::RepoName,
    payment::Nonce,
    receipt::{Receipt, Salt},
};

/// What all chunks of an answer have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerHead {
    /// The client's nonce.
    pub nonce: Nonce,
    /// When work began, Unix milliseconds.
    pub started_ms: u64,
    /// The repository's name.
    pub model: RepoName,
    /// The model that runs.
    pub model_id: ModelId,
    /// Whether the answer comes in events.
    pub stream: bool,
    /// Whether probabilities were asked for.
    pub logprobs: bool,
}

impl AnswerHead {
    /// That of the call with this receipt.
    #[must_use]
    pub fn of(claims: &Receipt, stream: bool, logprobs: bool) -> Self {
        Self {
            nonce: claims.nonce,
            started_ms: claims.started_ms,
            model: claims.model_name.clone(),
            model_id: claims.model,
            stream,
            logprobs,
        }
    }

    /// `chatcmpl-` and the first 16 bytes of the nonce in hex.
    #[must_use]
    pub fn id(&self) -> String {
        format!("chatcmpl-{}", hex::encode(&self.nonce.0[..16]))
    }

    /// When work began, Unix seconds.
    #[must_use]
    pub fn created(&self) -> u64 {
        self.started_ms / 1000
    }
}

/// A token, and what it adds to the answer.
#[derive(Clone, PartialEq)]
pub struct WrittenToken {
    /// The token.
    pub token: u32,
    /// The text that it brought, perhaps none.
    pub text: String,
    /// If probabilities were asked for.
    pub logprob: Option<Logprob>,
}

/// Writes one answer.
pub struct ChatWriter {
    head: AnswerHead,
    /// Not yet written: everything in an answer that comes whole.
    text: String,
    tokens: Vec<u32>,
    logprobs: Vec<Logprob>,
    tokens_out: u64,
    has_begun: bool,
}

impl std::fmt::Debug for WrittenToken {
    /// Nothing of what is said.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WrittenToken({} bytes)", self.text.len())
    }
}

impl std::fmt::Debug for ChatWriter {
    /// Nothing of what is said.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ChatWriter({} tokens)", self.tokens_out)
    }
}

impl ChatWriter {
    /// An answer with this head.
    #[must_use]
    pub fn new(head: AnswerHead) -> Self {
        let (text, tokens, logprobs) = (String::new(), Vec::new(), Vec::new());
        Self { head, text, tokens, logprobs, tokens_out: 0, has_begun: false }
    }

    /// Tokens so far.
    #[must_use]
    pub fn tokens_out(&self) -> u64 {
        self.tokens_out
    }

    /// One more token: the bytes that go out now, perhaps none.
    pub fn token(&mut self, written: WrittenToken) -> Vec<u8> {
        self.tokens_out += 1;
        self.tokens.push(written.token);
        self.text.push_str(&written.text);
        self.logprobs.extend(written.logprob);
        if self.head.stream && !self.text.is_empty() { self.text_chunk() } else { Vec::new() }
    }

    /// The end: what was held back and is text after all, why it ends, and the prompt's tokens.
    pub fn finish(&mut self, rest: &str, finish: FinishReason, tokens_in: u64) -> Vec<u8> {
        self.text.push_str(rest);
        let usage = ChatUsage::of(tokens_in, self.tokens_out);
        if !self.head.stream {
            return self.completion(finish, usage);
        }
        let mut bytes = if self.text.is_empty() { Vec::new() } else { self.text_chunk() };
        bytes.extend(self.chunk(None, Some(finish)));
        let extra = Extra { model_id: Some(self.head.model_id), ..Extra::default() };
        bytes.extend(event(&self.bare_chunk(Vec::new(), Some(usage), extra)));
        bytes
    }

    fn completion(&mut self, finish_reason: FinishReason, usage: ChatUsage) -> Vec<u8> {
        let message = Reply { role: Role::Assistant, content: std::mem::take(&mut self.text) };
        let logprobs = self.take_logprobs();
        let tokens = std::mem::take(&mut self.tokens);
        json(&ChatCompletion {
            id: self.head.id(),
            object: "chat.completion".to_owned(),
            created: self.head.created(),
            model: self.head.model.clone(),
            choices: vec![Choice { index: 0, message, logprobs, finish_reason }],
            usage,
            nabla: Extra { model_id: Some(self.head.model_id), tokens, ..Extra::default() },
        })
    }

    fn text_chunk(&mut self) -> Vec<u8> {
        let text = std::mem::take(&mut self.text);
        self.chunk(Some(text), None)
    }

    fn chunk(&mut self, content: Option<String>, finish_reason: Option<FinishReason>) -> Vec<u8> {
        let role = (!std::mem::replace(&mut self.has_begun, true)).then_some(Role::Assistant);
        let logprobs = self.take_logprobs();
        let choice = ChunkChoice { index: 0, delta: Delta { role, content }, logprobs, finish_reason };
        let extra = Extra { tokens: std::mem::take(&mut self.tokens), ..Extra::default() };
        event(&self.bare_chunk(vec![choice], None, extra))
    }

    fn bare_chunk(&self, choices: Vec<ChunkChoice>, usage: Option<ChatUsage>, nabla: Extra) -> ChatChunk {
        ChatChunk {
            id: self.head.id(),
            object: "chat.completion.chunk".to_owned(),
            created: self.head.created(),
            model: self.head.model.clone(),
            choices,
            usage,
            nabla,
        }
    }

    fn take_logprobs(&mut self) -> Option<Logprobs> {
        let content = std::mem::take(&mut self.logprobs);
        self.head.logprobs.then_some(Logprobs { content })
    }

    /// The event that brings the receipt of a stream.
    #[must_use]
    pub fn receipt(&self, receipt: &[u8], salt: Salt) -> Vec<u8> {
        receipt_event(&self.head, receipt, salt)
    }
}

/// The event that brings the receipt of a stream, after the answer.
#[must_use]
pub fn receipt_event(head: &AnswerHead, receipt: &[u8], salt: Salt) -> Vec<u8> {
    let receipt = Some(BASE64_STANDARD_NO_PAD.encode(receipt));
    event(&ChatChunk {
        id: head.id(),
        object: "chat.completion.chunk".to_owned(),
        created: head.created(),
        model: head.model.clone(),
        choices: Vec::new(),
        usage: None,
        nabla: Extra { receipt, salt: Some(salt), ..Extra::default() },
    })
}

/// The event that ends a stream which cannot go on.
#[must_use]
pub fn failed_event(error: ErrorInfo) -> Vec<u8> {
    event(&ErrorBody { error })
}

/// The event that ends every whole stream.
#[must_use]
pub fn done_event() -> Vec<u8> {
    b"data: [DONE]\n\n".to_vec()
}

fn json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("an answer is plain data")
}

fn event<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = b"data: ".to_vec();
    bytes.extend(json(value));
    bytes.extend(b"\n\n");
    bytes
}
