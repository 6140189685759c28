//! The role `inference`: jobs over HTTP.
//!
//! | call | does |
//! |---|---|
//! | `POST /nabla/v1/jobs` | header `nabla-payment`, body: the client's request byte for byte; answers the response with receipt and salt |
//! | `POST /nabla/v1/transcripts` | a registered verifier's signed request for the transcript of a receipt |
//!
//! # Rules of a job
//! 1. The payment must be reserved on the ledger, for this node and this model, and must cover the price.
//! 2. The model runs; a request that does not fit it is the client's fault and costs nothing.
//! 3. The transcript is made durable, then the receipt is settled, and only then is the answer given.
//! 4. The same payment with the same request gets the same answer again; with another request, an error.
//!
//! A job goes on when its caller hangs up, so that no payment stays without an outcome. Only a stream ends with its
//! caller, and what was made until then is settled: see `chat`.

mod chat;
mod embed;
mod job;
mod transcript;

use std::sync::Arc;

use axum::{Router, extract::DefaultBodyLimit, routing::post};
use nabla_client::LedgerClient;
use nabla_types::{NetworkId, PaymentId, api::INFER_BYTES_MAX, signature::NodeKey};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    http::{Answer, Problem},
    models::Models,
    transcripts::Transcripts,
    turns::Turns,
};

pub(crate) use transcript::transcript_request;

#[derive(Debug)]
pub(crate) struct Inference {
    pub(crate) key: NodeKey,
    pub(crate) network: NetworkId,
    pub(crate) ledger: LedgerClient,
    pub(crate) models: Arc<Models>,
    pub(crate) transcripts: Transcripts,
    pub(crate) jobs: Jobs,
}

/// What bounds the work: so many jobs at once, and one at a time for each payment.
#[derive(Debug)]
pub(crate) struct Jobs {
    permits: Arc<Semaphore>,
    max: u32,
    by_payment: Turns<PaymentId>,
}

impl Jobs {
    pub(crate) fn new(max: u32) -> Self {
        Self { permits: Arc::new(Semaphore::new(max as usize)), max, by_payment: Turns::default() }
    }

    pub(crate) fn max(&self) -> u32 {
        self.max
    }

    pub(crate) fn running(&self) -> u32 {
        let free = u32::try_from(self.permits.available_permits()).unwrap_or(self.max);
        self.max.saturating_sub(free)
    }

    fn permit(&self) -> Answer<OwnedSemaphorePermit> {
        self.permits.clone().try_acquire_owned().map_err(|_| {
            let text = format!("all {} places for jobs are taken", self.max);
            Problem::new(axum::http::StatusCode::TOO_MANY_REQUESTS, "node_busy", text)
                .hint("try another node, or later")
        })
    }

    fn turn(&self, payment: PaymentId) -> Arc<tokio::sync::Mutex<()>> {
        self.by_payment.of(payment)
    }
}

pub(crate) fn router(inference: Arc<Inference>) -> Router {
    Router::new()
        .route("/nabla/v1/jobs", post(job::post_job))
        .route("/nabla/v1/transcripts", post(transcript::post_transcript))
        .layer(DefaultBodyLimit::max(INFER_BYTES_MAX))
        .with_state(inference)
}
