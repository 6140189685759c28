//! Talking with a language model: the answer while it is made, and its receipt at the end.
//!
//! # Rules
//! - What is shown on the way is not yet checked: only the receipt, which comes last, covers it. An answer that breaks
//!   off, or whose receipt does not hold, ends in an error after it was shown.
//! - The receipt covers every byte of the stream before it, so an event that was cut out, added, moved or altered on
//!   the way makes it fail.

use bytes::{Bytes, BytesMut};
use nabla_types::{
    api::{INFER_BYTES_MAX, PaymentPayload},
    chat::{CHAT_RESPONSE_BYTES_MAX, ChatContent, ChatRequest, EventReader, StreamItem},
    embed::{EmbedRequest, EmbedResponse},
    payment::Nonce,
};
use reqwest::Response;

use crate::{
    Error, GatewayClient, Spending,
    gateway::{Answer, Said, check_asked, random_nonce, receipt_header, salt_header},
    http,
};

/// An answer that was paid for, and whose receipt holds.
#[derive(Debug, Clone)]
pub struct ChatAnswer {
    /// What it says.
    pub content: ChatContent,
    /// What went to and fro, and the receipt.
    pub paid: Answer,
}

/// Vectors that were paid for, and whose receipt holds.
#[derive(Debug, Clone)]
pub struct EmbedAnswer {
    /// One for each text, of length 1.
    pub vectors: Vec<Vec<f32>>,
    /// What went to and fro, and the receipt.
    pub paid: Answer,
}

/// A nonce for a request, from the operating system's generator.
///
/// # Errors
/// [`Error::NoRandomness`].
pub fn new_nonce() -> Result<Nonce, Error> {
    random_nonce()
}

impl GatewayClient {
    /// Ask for the terms, pay, hand on text as it comes, and check the receipt against everything that was sent and
    /// received. The request's nonce must be new; `stream` says whether the answer comes piece by piece.
    ///
    /// # Errors
    /// [`Error::Chat`] and [`Error::Terms`] before anything is paid; [`Error::BrokenStream`] and [`Error::BadReceipt`]
    /// if what was handed on must not be used; [`Error::Unreachable`] after repeated sending with one payment, whose
    /// state is then unknown.
    pub async fn chat(
        &self,
        request: &ChatRequest,
        spending: Spending<'_>,
        on_text: &mut (dyn FnMut(&str) + Send),
    ) -> Result<ChatAnswer, Error> {
        request.check()?;
        let body = Bytes::from(serde_json::to_vec(request).expect("a request is plain data"));
        let terms = self.terms(&body).await?;
        check_asked(&request.model, request.model_id, &terms)?;
        let payment = self.pay(&terms, spending)?;
        let response = self.send_paid(&body, &payment).await?;
        let said = if request.stream {
            follow(body, response, on_text).await?
        } else {
            whole(body, response).await?
        };
        let answer = self.check_chat(request, said, &payment)?;
        if !request.stream {
            on_text(&answer.content.text);
        }
        Ok(answer)
    }

    /// A vector for each text: ask for the terms, pay, and check the receipt as for any call.
    ///
    /// # Errors
    /// As [`chat`](Self::chat).
    pub async fn embed(&self, request: &EmbedRequest, spending: Spending<'_>) -> Result<EmbedAnswer, Error> {
        request.check()?;
        let body = Bytes::from(serde_json::to_vec(request).expect("a request is plain data"));
        let terms = self.terms(&body).await?;
        check_asked(&request.model, request.model_id, &terms)?;
        let payment = self.pay(&terms, spending)?;
        let said = whole(body.clone(), self.send_paid(&body, &payment).await?).await?;
        let paid = self.checked(request.nonce, said, &payment)?;
        let bad = |reason: String| Error::BadReceipt { reason };
        let answer = EmbedResponse::from_bytes(&paid.response).map_err(|error| bad(error.to_string()))?;
        if answer.data.len() != request.input.len() {
            return Err(bad(format!("{} vectors for {} texts", answer.data.len(), request.input.len())));
        }
        let vectors = answer.data.into_iter().map(|one| one.embedding).collect();
        Ok(EmbedAnswer { vectors, paid })
    }

    fn check_chat(
        &self,
        request: &ChatRequest,
        said: Said,
        payment: &PaymentPayload,
    ) -> Result<ChatAnswer, Error> {
        let paid = self.checked(request.nonce, said, payment)?;
        let content = ChatContent::from_bytes(&paid.response)
            .map_err(|error| Error::BadReceipt { reason: error.to_string() })?;
        let most = request.max_tokens.unwrap_or(nabla_types::chat::MAX_TOKENS_DEFAULT);
        if content.usage.completion_tokens > u64::from(most) {
            let reason = format!("{} tokens, at most {most} were asked for", content.usage.completion_tokens);
            return Err(Error::BadReceipt { reason });
        }
        Ok(ChatAnswer { content, paid })
    }
}

/// An answer in one piece.
async fn whole(request: Bytes, response: Response) -> Result<Said, Error> {
    let url = response.url().to_string();
    let receipt = receipt_header(&url, &response)?;
    let salt = salt_header(&url, &response)?;
    let response = http::body(&url, response, INFER_BYTES_MAX as u64).await?;
    Ok(Said { request, response, receipt, salt })
}

/// An answer as it comes, up to its receipt.
async fn follow(
    request: Bytes,
    mut stream: Response,
    on_text: &mut (dyn FnMut(&str) + Send),
) -> Result<Said, Error> {
    let url = stream.url().to_string();
    let told = salt_header(&url, &stream)?;
    let (mut reader, mut response, mut receipt, mut tokens) =
        (EventReader::default(), BytesMut::new(), None, 0);
    let broken = |tokens: usize, reason: String, hint| Error::BrokenStream { tokens, reason, hint };
    loop {
        while let Some(event) =
            reader.next_event().map_err(|error| broken(tokens, error.to_string(), None))?
        {
            let item = StreamItem::of(&event).map_err(|error| broken(tokens, error.to_string(), None))?;
            match (item, receipt.is_some()) {
                (StreamItem::Chunk(chunk), false) => {
                    if response.len() + event.len() > CHAT_RESPONSE_BYTES_MAX {
                        return Err(Error::TooLarge { url, max: CHAT_RESPONSE_BYTES_MAX as u64 });
                    }
                    response.extend_from_slice(&event);
                    tokens += chunk.nabla.tokens.len();
                    let said = chunk.choices.iter().filter_map(|choice| choice.delta.content.as_deref());
                    said.for_each(&mut *on_text);
                }
                (StreamItem::Receipt { receipt: cose, salt }, false) if salt == told => receipt = Some(cose),
                (StreamItem::Failed(info), _) => return Err(broken(tokens, info.message, info.hint)),
                (StreamItem::Done, true) => {
                    let receipt = receipt.unwrap_or_default();
                    return Ok(Said { request, response: response.freeze(), receipt, salt: told });
                }
                (StreamItem::Done, false) => {
                    return Err(broken(tokens, "it has no receipt".to_owned(), None));
                }
                _ => return Err(broken(tokens, "its events are out of order".to_owned(), None)),
            }
        }
        match stream.chunk().await {
            Ok(Some(bytes)) => reader.push(&bytes),
            Ok(None) => return Err(broken(tokens, "it ends without a receipt".to_owned(), None)),
            Err(error) => return Err(broken(tokens, format!("the connection broke: {error}"), None)),
        }
    }
}
