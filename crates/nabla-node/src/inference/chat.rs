//! One chat: check the payment, answer token by token, keep, settle, hand over the receipt.
//!
//! # Rules
//! - The money is there before the first token is made, and for the most that the answer can cost.
//! - A stream goes out as it is made; the transcript is made durable, then the receipt is settled, and only then is it
//!   sent. What goes out is what the receipt commits to, byte for byte.
//! - Who goes away, or takes nothing for [`PAUSE_MAX`], ends the work within a step of the model. What was made until
//!   then is settled as cancelled: the client has paid for what was made, and can fetch it with the same payment.
//! - An answer ends as cancelled also when its reservation is about to expire: nothing could be settled after that.
//!
//! # When things go wrong
//! Before the first token the caller gets an error as for any job. After it, an event with the error ends the stream,
//! nothing is settled, and the gateway gives the money back.

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::{
        StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
};
use nabla_engine::{
    Error,
    language::{Event, Finish, Generation},
};
use nabla_gateway::{Events, Part};
use nabla_types::{
    ModelId, PaymentId, RepoName,
    api::{HEADER_SALT, INFER_BYTES_MAX},
    chain::{Payment, PaymentStatus},
    chat::{
        AnswerHead, CHAT_RESPONSE_BYTES_MAX, ChatError, ChatRequest, ChatWriter, FinishReason, TOKENS,
        done_event, failed_event, receipt_event, tokens_tensor,
    },
    manifest::ModelManifest,
    payment::Nonce,
    receipt::{CommitmentLabel, Evidence, Receipt, Salt, Sampling, SignedReceipt, TensorCommitment, Usage},
};
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc, oneshot},
    time::{Instant, timeout_at},
};

use super::{
    Inference,
    job::{into_response, model_problem, own_fault, unfit},
};
use crate::{
    clock::now_ms,
    files::random_bytes,
    http::{Answer, Problem},
    language::{Ask, generation_of, prompt_commitments, prompt_of, written},
    models::LoadedLanguage,
    transcripts::Transcript,
};

/// How long a reader may take nothing.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Before a reservation expires, the answer must be settled: this long before, no more is made.
const SETTLE_MS: u64 = 15_000;
/// Events that may wait for a reader.
const EVENTS_MAX: usize = 64;
/// What is left free of the largest answer for its last events.
const END_BYTES: usize = 1 << 20;

/// An answer on its way.
pub(super) enum Begun {
    /// It is here.
    Whole(Box<Response>),
    /// It comes. Whoever drops this has gone away.
    Stream { parts: mpsc::Receiver<Part>, refusal: oneshot::Receiver<Problem> },
}

/// Answer a chat in one piece, or begin to answer it as a stream. The permit is held until it is done.
pub(super) async fn begin(
    node: Arc<Inference>,
    payment: PaymentId,
    body: Bytes,
    permit: OwnedSemaphorePermit,
) -> Answer<Begun> {
    let request = ChatRequest::from_bytes(&body).map_err(bad_chat)?;
    if !request.stream {
        let transcript = node.answer_chat(payment, request, body, None).await;
        drop(permit);
        return transcript.map(|transcript| Begun::Whole(Box::new(into_response(transcript))));
    }
    let (parts, receiver) = mpsc::channel(EVENTS_MAX);
    let (refused, refusal) = oneshot::channel();
    tokio::spawn(async move {
        let mut sink = Sink { parts, has_begun: false };
        let outcome = node.answer_chat(payment, request, body, Some(&mut sink)).await;
        drop(permit);
        match outcome {
            Ok(transcript) => sink.last(tail(&transcript)).await,
            Err(problem) if sink.has_begun => sink.last(failed_event(problem.info()).into()).await,
            // Who has gone needs no answer.
            Err(problem) => drop(refused.send(problem)),
        }
    });
    Ok(Begun::Stream { parts: receiver, refusal })
}

/// The response, once a stream has begun.
pub(super) async fn response(begun: Begun) -> Answer<Response> {
    let (mut parts, refusal) = match begun {
        Begun::Whole(response) => return Ok(*response),
        Begun::Stream { parts, refusal } => (parts, refusal),
    };
    let Some(Part::Start(salt)) = parts.recv().await else {
        return Err(refusal.await.unwrap_or_else(|_| {
            Problem::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal_error",
                "the node failed while it worked on this",
            )
        }));
    };
    let headers = [
        (CONTENT_TYPE.as_str(), "text/event-stream".to_owned()),
        (CACHE_CONTROL.as_str(), "no-store".to_owned()),
        (HEADER_SALT, salt.to_string()),
    ];
    Ok((headers, Body::new(Events(parts))).into_response())
}

/// Where a stream goes.
struct Sink {
    parts: mpsc::Sender<Part>,
    has_begun: bool,
}

/// Nobody reads any more.
struct Left;

impl Sink {
    async fn send(&mut self, salt: Salt, bytes: Vec<u8>) -> Result<(), Left> {
        if bytes.is_empty() {
            return Ok(());
        }
        if !std::mem::replace(&mut self.has_begun, true) {
            self.parts.send(Part::Start(salt)).await.map_err(|_| Left)?;
        }
        self.parts.send_timeout(Part::Event(bytes.into()), PAUSE_MAX).await.map_err(|_| Left)
    }

    async fn last(self, bytes: Bytes) {
        // Who has gone does not miss it.
        let _ = self.parts.send_timeout(Part::Event(bytes), PAUSE_MAX).await;
    }
}

/// What follows an answer: its receipt, and the end.
fn tail(transcript: &Transcript) -> Bytes {
    let receipt = SignedReceipt::from_bytes(&transcript.receipt);
    let Ok(receipt) = receipt else {
        let problem = Problem::unavailable("node_failed", "the receipt that was kept cannot be read");
        return failed_event(problem.info()).into();
    };
    let head = AnswerHead::of(receipt.claims(), true, false);
    let mut bytes = receipt_event(&head, &transcript.receipt, transcript.salt);
    bytes.extend(done_event());
    bytes.into()
}

/// What a chat needs to know, all of it checked.
struct Order {
    payment: Payment,
    request: Arc<ChatRequest>,
    loaded: LoadedLanguage,
    generation: Generation,
    /// When nothing more is made.
    until: Instant,
}

/// What was made.
struct Made {
    tokens: Vec<u32>,
    response: Vec<u8>,
    started_ms: u64,
    salt: Salt,
}

impl Inference {
    async fn answer_chat(
        &self,
        payment: PaymentId,
        request: ChatRequest,
        body: Bytes,
        mut sink: Option<&mut Sink>,
    ) -> Answer<Transcript> {
        let turn = self.jobs.turn(payment);
        let _turn = turn.lock().await;
        if let Some(transcript) = self.transcripts.of_payment(payment).map_err(own_fault)? {
            let transcript = self.answer_again(payment, transcript, &body).await?;
            if let Some(sink) = &mut sink {
                // Who has gone a second time can come a third time.
                let _ = sink.send(transcript.salt, transcript.response.clone()).await;
            }
            return Ok(transcript);
        }
        let order = self.chat_order(payment, request).await?;
        let prompt = order.generation.prompt.clone();
        let made = make(&order, sink).await?;
        let transcript = self.keep_chat(&order, &prompt, made, &body)?;
        self.settle(payment, transcript).await
    }

    async fn chat_order(&self, payment: PaymentId, request: ChatRequest) -> Answer<Order> {
        let payment = self.reserved(payment).await?;
        check_model(&payment, &request.model, request.model_id)?;
        let loaded = self.models.get_language(payment.model).await.map_err(model_problem)?;
        let terms = loaded.manifest.language.unwrap_or_default();
        let tokens = (request.tokens_in_max(&terms), request.tokens_out_max(&terms));
        check_funds(&payment, &loaded.manifest, (tokens.0.into(), tokens.1.into()))?;
        // A long conversation takes a while to become tokens.
        let (model, request) = (loaded.model.clone(), Arc::new(request));
        let asked = request.clone();
        let prompt = tokio::task::spawn_blocking(move || prompt_of(&model, &asked)).await?;
        let prompt = prompt.map_err(|error| unfit("bad_input", error))?;
        if prompt.len() as u64 > u64::from(tokens.0) {
            let text =
                format!("the prompt has {} tokens, at most {} were reckoned with", prompt.len(), tokens.0);
            return Err(unfit("prompt_too_long", text));
        }
        let generation =
            generation_of(&request, &terms, prompt).map_err(|error| unfit("bad_input", error))?;
        let expires_ms = match payment.status {
            PaymentStatus::Reserved { expires_ms } => expires_ms,
            _ => 0,
        };
        let left_ms = expires_ms.saturating_sub(now_ms()).saturating_sub(SETTLE_MS);
        let until = Instant::now() + Duration::from_millis(left_ms);
        Ok(Order { payment, request, loaded, generation, until })
    }

    /// Keep a chat.
    fn keep_chat(&self, order: &Order, prompt: &[u32], made: Made, body: &Bytes) -> Answer<Transcript> {
        let Made { tokens, response, started_ms, salt } = made;
        let Order { payment, request, loaded, .. } = order;
        let usage = loaded.manifest.usage_of_tokens(prompt.len() as u64, tokens.len() as u64);
        let usage =
            usage.ok_or_else(|| unfit("bad_input", "the conversation costs more than 2^64 operations"))?;
        let commitment = salt.commit(&CommitmentLabel::Output(TOKENS), &tokens_tensor(&tokens).to_bytes());
        let billed = Billed {
            nonce: request.nonce,
            inputs: prompt_commitments(salt, prompt, None),
            outputs: vec![TensorCommitment { name: TOKENS.to_owned(), commitment }],
            sampling: Some(request.sampling(&loaded.manifest.language.unwrap_or_default())),
            usage,
            kernel_spec: loaded.manifest.kernel_spec,
            response,
            started_ms,
            salt,
        };
        self.keep_billed(payment, billed, body)
    }

    /// Sign what was made, and keep it.
    pub(super) fn keep_billed(&self, payment: &Payment, billed: Billed, body: &Bytes) -> Answer<Transcript> {
        let Billed { nonce, inputs, outputs, sampling, usage, kernel_spec, response, started_ms, salt } =
            billed;
        if response.len() > INFER_BYTES_MAX {
            let text =
                format!("the answer has {} bytes, at most {INFER_BYTES_MAX} can be given", response.len());
            return Err(unfit("answer_too_large", text));
        }
        let receipt = Receipt {
            network: self.network,
            provider: self.key.id(),
            nonce,
            model_name: payment.name.clone(),
            revision: payment.revision,
            model: payment.model,
            runtime: nabla_engine::RUNTIME.to_owned(),
            kernel_spec,
            request: salt.commit(&CommitmentLabel::Request, body),
            response: salt.commit(&CommitmentLabel::Response, &response),
            inputs,
            outputs,
            sampling,
            usage,
            price: payment.price,
            amount: payment.price.amount(&usage).unwrap_or_default(),
            payer: salt.commit(&CommitmentLabel::Payer, payment.payer.as_bytes()),
            payment: payment.payment,
            started_ms,
            finished_ms: now_ms(),
            evidence: Evidence::Signed,
        };
        let receipt = SignedReceipt::sign(&self.key, receipt);
        let transcript = Transcript { request: body.to_vec(), response, receipt: receipt.to_bytes(), salt };
        self.transcripts.put(payment.payment, receipt.id(), &transcript).map_err(own_fault)?;
        Ok(transcript)
    }
}

/// What a receipt says of a text model's work, beside the payment.
pub(super) struct Billed {
    pub(super) nonce: Nonce,
    pub(super) inputs: Vec<TensorCommitment>,
    pub(super) outputs: Vec<TensorCommitment>,
    pub(super) sampling: Option<Sampling>,
    pub(super) usage: Usage,
    pub(super) kernel_spec: u32,
    pub(super) response: Vec<u8>,
    pub(super) started_ms: u64,
    pub(super) salt: Salt,
}

/// The payment must be for what is asked.
pub(super) fn check_model(payment: &Payment, model: &RepoName, model_id: Option<ModelId>) -> Answer<()> {
    if *model == payment.name && model_id.is_none_or(|asked| asked == payment.model) {
        return Ok(());
    }
    let (name, model) = (&payment.name, payment.model);
    Err(unfit("wrong_model", format!("the payment is for {name} (model {model}), not for what is asked")))
}

/// The payment must cover the most that so many tokens, read and made, can cost.
pub(super) fn check_funds(payment: &Payment, manifest: &ModelManifest, tokens: (u64, u64)) -> Answer<()> {
    let usage = manifest.usage_of_tokens(tokens.0, tokens.1);
    let amount = usage.and_then(|usage| payment.price.amount(&usage));
    if amount.is_some_and(|amount| amount <= payment.amount) {
        return Ok(());
    }
    let needed = amount.map_or("more than there is".to_owned(), |amount| format!("{amount} OPG"));
    let text = format!("the call costs up to {needed}, the payment reserves {} OPG", payment.amount);
    Err(Problem::new(StatusCode::PAYMENT_REQUIRED, "underpaid", text))
}

/// Answer, token by token.
async fn make(order: &Order, mut sink: Option<&mut Sink>) -> Answer<Made> {
    let Order { payment, request, loaded, generation, until } = order;
    let tokens_in = generation.prompt.len() as u64;
    let salt = Salt(random_bytes().map_err(own_fault)?);
    let started_ms = now_ms();
    let mut client = [0; 8];
    client.copy_from_slice(&payment.payer.as_bytes()[..8]);
    let ask = Ask { client: u64::from_le_bytes(client), generation: generation.clone() };
    let mut events = loaded.talker.ask(ask).await.map_err(refused)?;
    let mut writer = ChatWriter::new(AnswerHead {
        nonce: request.nonce,
        started_ms,
        model: request.model.clone(),
        model_id: payment.model,
        stream: request.stream,
        logprobs: request.logprobs,
    });
    let mut made = Made { tokens: Vec::new(), response: Vec::new(), started_ms, salt };
    loop {
        let event = next(&mut events, sink.as_deref(), *until).await;
        let bytes = match event {
            Some(Ok(Event::Piece(piece))) => {
                made.tokens.push(piece.token);
                writer.token(written(&loaded.model, &piece))
            }
            Some(Ok(Event::Finished { finish, rest, .. })) => {
                let finish = match finish {
                    Finish::Stop => FinishReason::Stop,
                    Finish::Length => FinishReason::Length,
                };
                made.end(&mut sink, writer.finish(&rest, finish, tokens_in)).await;
                return Ok(made);
            }
            Some(Ok(Event::Failed(error))) => return Err(refused(error)),
            Some(Err(Left)) => {
                made.end(&mut sink, writer.finish("", FinishReason::Cancelled, tokens_in)).await;
                return Ok(made);
            }
            None => return Err(Problem::unavailable("node_failed", "the model's thread has ended")),
        };
        let is_left = match &mut sink {
            Some(sink) => sink.send(salt, bytes.clone()).await.is_err(),
            None => false,
        };
        made.response.extend(bytes);
        if is_left || made.response.len() > CHAT_RESPONSE_BYTES_MAX - END_BYTES {
            drop(events);
            made.end(&mut sink, writer.finish("", FinishReason::Cancelled, tokens_in)).await;
            return Ok(made);
        }
    }
}

impl Made {
    /// The last bytes of the answer. Who has gone does not miss them.
    async fn end(&mut self, sink: &mut Option<&mut Sink>, bytes: Vec<u8>) {
        self.response.extend_from_slice(&bytes);
        if let Some(sink) = sink.as_deref_mut().filter(|sink| !sink.parts.is_closed()) {
            let _ = sink.send(self.salt, bytes).await;
        }
    }
}

/// The model's next event; `Left` if nobody reads any more, or time is over.
async fn next(
    events: &mut mpsc::Receiver<Event>,
    sink: Option<&Sink>,
    until: Instant,
) -> Option<Result<Event, Left>> {
    let gone = async {
        match sink {
            Some(sink) => sink.parts.closed().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = gone => Some(Err(Left)),
        event = timeout_at(until, events.recv()) => match event {
            Ok(event) => event.map(Ok),
            Err(_) => Some(Err(Left)),
        },
    }
}

pub(super) fn bad_chat(error: ChatError) -> Problem {
    let hint = error.hint();
    let problem = match &error {
        ChatError::TooLong { .. } => Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", error),
        ChatError::Malformed { .. } => Problem::bad_request("bad_request", error),
        ChatError::Member { .. } => unfit("bad_input", error),
    };
    match hint {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}

/// What the engine said to a request.
pub(super) fn refused(error: Error) -> Problem {
    match error {
        Error::Busy { .. } => Problem::new(StatusCode::TOO_MANY_REQUESTS, "node_busy", error),
        Error::Kernels { .. } | Error::FloatMode { .. } | Error::Step { .. } | Error::NoToken { .. } => {
            Problem::unavailable("run_failed", error)
        }
        _ => unfit("bad_input", error),
    }
}
