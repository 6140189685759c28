//! The one thing that the gateway knows of the network: [`Backend`].
//!
//! `nabla-node` implements it by talking to the ledger's validator and to inference nodes; the tests
//! implement it in memory. The gateway holds every rule of a paid call; a backend only carries words to and
//! fro.
//!
//! # Rules for an implementation
//! - Every method ends in bounded time, with an error if need be. [`Backend::run`] is also bounded here, by
//!   [`Config::attempt_timeout_ms`](crate::Config), and may be dropped at any await.
//! - An error of [`reserve`](Backend::reserve), [`reassign`](Backend::reassign) or
//!   [`release`](Backend::release) leaves the outcome unknown. The gateway then reads the payment again and
//!   goes by what the ledger says, never by the error's code.
//! - What a provider says (its answer, its load, its error texts) is passed on unchecked: the gateway
//!   distrusts it by itself.

use std::future::Future;

use axum::body::Body;
use bytes::Bytes;
use nabla_types::{
    ModelId, NodeId, Opg, PaymentId, RepoName,
    api::{ErrorInfo, NetworkInfo},
    chain::{Payment, RepoRecord, Reservation},
    manifest::ModelManifest,
    receipt::Salt,
};

/// What the gateway needs of the network. See the [module](self) for the rules.
pub trait Backend: Send + Sync + 'static {
    /// The network that is shown.
    fn network(&self) -> NetworkInfo;

    /// Unix milliseconds.
    fn now_ms(&self) -> u64;

    /// A repository and the manifest of its newest revision's model.
    ///
    /// The gateway checks that the two belong together.
    fn resolve(&self, name: &RepoName) -> impl Future<Output = Result<Resolved, BackendError>> + Send;

    /// Everyone who would run the model, busy or not, in any order.
    fn providers(&self, model: ModelId) -> impl Future<Output = Result<Vec<Provider>, BackendError>> + Send;

    /// What the ledger knows of a payment; `None` if it was never reserved.
    fn payment(
        &self,
        payment: PaymentId,
    ) -> impl Future<Output = Result<Option<Payment>, BackendError>> + Send;

    /// Set money aside, in this gateway's name: sign the reservation. Returns when the ledger has it.
    fn reserve(&self, reservation: Reservation) -> impl Future<Output = Result<(), BackendError>> + Send;

    /// Move a reserved payment to another provider. The ledger refuses it once the payment is settled.
    fn reassign(
        &self,
        payment: PaymentId,
        from: NodeId,
        to: NodeId,
    ) -> impl Future<Output = Result<(), BackendError>> + Send;

    /// Give a reserved payment back to its payer, for good. The ledger refuses it once it is settled.
    fn release(&self, payment: PaymentId) -> impl Future<Output = Result<(), BackendError>> + Send;

    /// Have `provider` answer `request`, an [`InferRequest`](nabla_types::api::InferRequest) byte for byte as
    /// the client sent it.
    ///
    /// A provider does a payment's work once: asked again with the same bytes it gives the stored answer;
    /// asked with other bytes it rejects with 409 `payment_replayed`.
    fn run(
        &self,
        provider: &Provider,
        payment: PaymentId,
        request: Bytes,
    ) -> impl Future<Output = Result<JobAnswer, RunError>> + Send;

    /// As [`run`](Backend::run), for a [`ChatRequest`](nabla_types::chat::ChatRequest) that asks for a stream.
    /// Returns when the provider begins to answer; dropping the stream tells it that nobody listens any more.
    fn stream(
        &self,
        provider: &Provider,
        payment: PaymentId,
        request: Bytes,
    ) -> impl Future<Output = Result<JobStream, RunError>> + Send;
}

/// A name and what its newest revision stands for.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The ledger's record.
    pub record: RepoRecord,
    /// The manifest whose hash is the newest revision's model id.
    pub manifest: ModelManifest,
}

/// An inference node that would run a model, and what it says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    /// Who.
    pub node: NodeId,
    /// Base URL of its HTTP listener.
    pub endpoint: String,
    /// What it asks for each call.
    pub per_call: Opg,
    /// What it asks for each 10^9 multiply-accumulates begun.
    pub per_gigamac: Opg,
    /// Whether it has the model loaded.
    pub warm: bool,
    /// Jobs in work.
    pub running: u32,
    /// Jobs it works on at once.
    pub running_max: u32,
}

/// What a provider answered.
#[derive(Debug, Clone)]
pub struct JobAnswer {
    /// The response, byte for byte.
    pub response: Bytes,
    /// The COSE receipt over it.
    pub receipt: Vec<u8>,
    /// Opens the receipt's commitments.
    pub salt: Salt,
}

/// An answer that comes in server-sent events.
#[derive(Debug)]
pub struct JobStream {
    /// What the provider says will open the receipt's commitments.
    pub salt: Salt,
    /// The events, as the provider sends them: the answer, its receipt, the end.
    pub events: Body,
}

/// Why the ledger or the network did not do what was asked. Carried to the client as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {}", info.code, info.message)]
pub struct BackendError {
    /// HTTP status: 402 `insufficient_funds`, 404 `unknown_model`, 409 `payment_replayed`,
    /// 503 `unavailable`, and so on.
    pub status: u16,
    /// What the client is told.
    pub info: ErrorInfo,
}

impl BackendError {
    /// An error with this HTTP status and stable code.
    #[must_use]
    pub fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        let info = ErrorInfo { code: code.to_owned(), message: message.into(), hint: None };
        Self { status, info }
    }

    /// The same, saying what to do.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.info.hint = Some(hint.into());
        self
    }
}

/// Why a provider gave no answer. The variant decides what happens next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// It could not be reached, was too busy (429), failed (5xx) or broke off: another may do better.
    #[error("the provider gave no answer: {reason}")]
    Unreachable {
        /// For the log.
        reason: String,
    },
    /// It refused this request, which any other would refuse too (wrong input, replayed payment): 400, 413,
    /// 422, or 409 `payment_replayed`. Anything else is taken as its own failure.
    #[error("the provider rejected the request: {}: {}", info.code, info.message)]
    Rejected {
        /// Its HTTP status.
        status: u16,
        /// Its words.
        info: ErrorInfo,
    },
    /// It answered, but receipt or salt are missing or cannot be read.
    #[error("the provider's answer is unusable: {reason}")]
    BadReceipt {
        /// For the log.
        reason: String,
    },
}
