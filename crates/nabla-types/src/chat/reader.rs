//! From the bytes of an answer to what it says.
//!
//! # Rules
//! - Events have one form: `data: `, one line, an empty line. Comments, other fields and other ends of line are
//!   refused: they would be bytes that say nothing.
//! - A stream is chunks, then the finish, then the usage; nothing is missing and nothing follows. What comes after
//!   (the receipt, `[DONE]`) is no part of the answer.

use base64::{Engine, prelude::BASE64_STANDARD_NO_PAD};

use super::{CHAT_RESPONSE_BYTES_MAX, ChatChunk, ChatCompletion, ChatError, ChatUsage, FinishReason, Role};
use crate::{
    api::{ErrorBody, ErrorInfo},
    id::ModelId,
    name::RepoName,
    receipt::{RECEIPT_BYTES_MAX, Salt},
};

/// Largest event of a stream, in bytes.
pub const EVENT_BYTES_MAX: usize = 1 << 20;

/// What an answer says.
#[derive(Clone, PartialEq, Eq)]
pub struct ChatContent {
    /// Its id.
    pub id: String,
    /// When work began, Unix seconds.
    pub created: u64,
    /// The repository's name.
    pub model: RepoName,
    /// The model that ran.
    pub model_id: ModelId,
    /// The text.
    pub text: String,
    /// Its tokens.
    pub tokens: Vec<u32>,
    /// Why it ends.
    pub finish: FinishReason,
    /// Tokens read and made.
    pub usage: ChatUsage,
}

impl std::fmt::Debug for ChatContent {
    /// Nothing of what is said.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ChatContent({} tokens, {:?})", self.tokens.len(), self.finish)
    }
}

impl ChatContent {
    /// Read a whole answer: one JSON document, or the events of a stream without those of its receipt.
    ///
    /// # Errors
    /// [`ChatError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ChatError> {
        let max = CHAT_RESPONSE_BYTES_MAX;
        if bytes.len() > max {
            return Err(ChatError::TooLong { what: "chat answer", got: bytes.len(), max });
        }
        if bytes.starts_with(b"data:") { Self::of_stream(bytes) } else { Self::of_document(bytes) }
    }

    fn of_document(bytes: &[u8]) -> Result<Self, ChatError> {
        let answer: ChatCompletion =
            serde_json::from_slice(bytes).map_err(|error| malformed("chat answer", place(&error)))?;
        let wrong = |reason: &str| malformed("chat answer", reason);
        let [choice] = <[_; 1]>::try_from(answer.choices).map_err(|_| wrong("expected one choice"))?;
        let model_id = answer.nabla.model_id.ok_or_else(|| wrong("expected nabla.model_id"))?;
        let is_plain = answer.object == "chat.completion"
            && (choice.index, choice.message.role) == (0, Role::Assistant)
            && answer.nabla.receipt.is_none()
            && answer.nabla.salt.is_none();
        if !is_plain {
            return Err(wrong("expected an assistant's chat.completion"));
        }
        Ok(Self {
            id: answer.id,
            created: answer.created,
            model: answer.model,
            model_id,
            text: choice.message.content,
            tokens: answer.nabla.tokens,
            finish: choice.finish_reason,
            usage: answer.usage,
        })
    }

    fn of_stream(bytes: &[u8]) -> Result<Self, ChatError> {
        let mut events = EventReader::default();
        events.push(bytes);
        let mut content = Partial::default();
        while let Some(event) = events.next_event()? {
            match StreamItem::of(&event)? {
                StreamItem::Chunk(chunk) => content.add(*chunk)?,
                _ => return Err(malformed("chat stream", "expected chunks only before the receipt")),
            }
        }
        if !events.is_empty() {
            return Err(malformed("chat stream", "the last event is cut"));
        }
        content.whole()
    }
}

/// What has been read of a stream.
#[derive(Default)]
struct Partial {
    head: Option<(String, u64, RepoName)>,
    text: String,
    tokens: Vec<u32>,
    finish: Option<FinishReason>,
    end: Option<(ChatUsage, ModelId)>,
}

impl Partial {
    fn add(&mut self, chunk: ChatChunk) -> Result<(), ChatError> {
        let wrong = |reason: &str| Err(malformed("chat stream", reason));
        let head = (chunk.id, chunk.created, chunk.model);
        let is_first = self.head.is_none();
        if chunk.object != "chat.completion.chunk" || self.head.get_or_insert_with(|| head.clone()) != &head {
            return wrong("expected chunks of one answer");
        }
        if self.end.is_some() {
            return wrong("expected nothing after the usage");
        }
        self.tokens.extend(chunk.nabla.tokens);
        match (<[_; 1]>::try_from(chunk.choices), chunk.usage, chunk.nabla.model_id) {
            (Ok([choice]), None, None) if self.finish.is_none() && choice.index == 0 => {
                if choice.delta.role != is_first.then_some(Role::Assistant) {
                    return wrong("expected the role in the first chunk only");
                }
                self.text.push_str(&choice.delta.content.unwrap_or_default());
                self.finish = choice.finish_reason;
                Ok(())
            }
            (Err(choices), Some(usage), Some(model)) if choices.is_empty() && self.finish.is_some() => {
                self.end = Some((usage, model));
                Ok(())
            }
            _ => wrong("expected text, then the finish, then the usage"),
        }
    }

    fn whole(self) -> Result<ChatContent, ChatError> {
        let Self { head, text, tokens, finish, end } = self;
        let (Some((id, created, model)), Some(finish), Some((usage, model_id))) = (head, finish, end) else {
            return Err(malformed("chat stream", "it ends before its usage is told"));
        };
        Ok(ChatContent { id, created, model, model_id, text, tokens, finish, usage })
    }
}

/// What an event of a stream is.
#[derive(Debug, Clone, PartialEq)]
pub enum StreamItem {
    /// A part of the answer.
    Chunk(Box<ChatChunk>),
    /// The receipt over all chunks before it.
    Receipt {
        /// COSE bytes.
        receipt: Vec<u8>,
        /// What opens its commitments.
        salt: Salt,
    },
    /// The answer does not come to its end.
    Failed(ErrorInfo),
    /// The end.
    Done,
}

impl StreamItem {
    /// Read an event as [`EventReader::next_event`] gives it.
    ///
    /// # Errors
    /// [`ChatError`].
    pub fn of(event: &[u8]) -> Result<Self, ChatError> {
        let what = "event of a chat stream";
        let line = event.strip_prefix(b"data: ").and_then(|line| line.strip_suffix(b"\n\n"));
        let line = line.ok_or_else(|| malformed(what, "expected `data: ` and one line"))?;
        if line == b"[DONE]" {
            return Ok(Self::Done);
        }
        if line.starts_with(b"{\"error\"") {
            let body: ErrorBody =
                serde_json::from_slice(line).map_err(|error| malformed(what, place(&error)))?;
            return Ok(Self::Failed(body.error));
        }
        let chunk: ChatChunk =
            serde_json::from_slice(line).map_err(|error| malformed(what, place(&error)))?;
        match (&chunk.nabla.receipt, chunk.nabla.salt) {
            (None, None) => Ok(Self::Chunk(Box::new(chunk))),
            (Some(receipt), Some(salt)) if chunk.choices.is_empty() && chunk.usage.is_none() => {
                if receipt.len() > RECEIPT_BYTES_MAX * 4 / 3 + 4 {
                    return Err(malformed(what, "the receipt is too long"));
                }
                let receipt =
                    BASE64_STANDARD_NO_PAD.decode(receipt).map_err(|error| malformed(what, error))?;
                Ok(Self::Receipt { receipt, salt })
            }
            _ => Err(malformed(what, "expected a receipt with its salt, beside nothing else")),
        }
    }
}

/// Cuts a stream into events, however it is cut on its way.
#[derive(Debug, Default)]
pub struct EventReader(Queue);

impl EventReader {
    /// More of the stream. What is whole of it should be taken out before the next.
    pub fn push(&mut self, bytes: &[u8]) {
        self.0.push(bytes);
    }

    /// The next event that is whole, with its empty line.
    ///
    /// # Errors
    /// [`ChatError`] for an event that is too long, or does not begin like one.
    pub fn next_event(&mut self) -> Result<Option<Vec<u8>>, ChatError> {
        let event = self.0.take_event();
        let got = event.as_ref().map_or(self.0.waiting(), Vec::len);
        if got > EVENT_BYTES_MAX {
            return Err(ChatError::TooLong { what: "event of a chat stream", got, max: EVENT_BYTES_MAX });
        }
        Ok(event)
    }

    /// Whether nothing is left of an event that was begun.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.waiting() == 0
    }
}

/// Where JSON is wrong, and not what stands there: what is said of an answer may be logged, the answer may not.
fn place(error: &serde_json::Error) -> String {
    let kind = if error.is_data() { "another member or value than expected" } else { "no JSON" };
    format!("{kind} at line {} column {}", error.line(), error.column())
}

fn malformed(what: &'static str, reason: impl ToString) -> ChatError {
    ChatError::Malformed { what, reason: reason.to_string() }
}

/// Bytes that wait to become events. Each is looked at once.
#[derive(Debug, Default)]
struct Queue {
    bytes: Vec<u8>,
    /// Bytes that were taken out.
    taken: usize,
    /// Bytes that were looked at: no event ends before.
    seen: usize,
}

impl Queue {
    fn push(&mut self, bytes: &[u8]) {
        // What was taken goes when it is more than what is left, so that moving is paid for.
        if self.taken > self.bytes.len() - self.taken {
            self.bytes.drain(..self.taken);
            self.seen -= self.taken;
            self.taken = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    fn waiting(&self) -> usize {
        self.bytes.len() - self.taken
    }

    fn take_event(&mut self) -> Option<Vec<u8>> {
        let from = self.seen.max(self.taken + 1);
        let end = (from..self.bytes.len()).find(|at| self.bytes[at - 1..=*at] == *b"\n\n");
        let Some(end) = end else {
            self.seen = self.bytes.len().max(self.taken);
            return None;
        };
        let event = self.bytes[self.taken..=end].to_vec();
        (self.taken, self.seen) = (end + 1, end + 1);
        Some(event)
    }
}
