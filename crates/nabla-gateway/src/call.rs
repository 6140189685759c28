//! One paid call, from its payment to its answer.
//!
//! # Rules
//! - Money is reserved before work, and the payment's id makes the call one call: sending it again finds the
//!   call in work, or its answer, or what became of the money. It never pays twice.
//! - A provider that gives no answer or a bad one is followed by the next one that the payment is good for.
//!   The payment moves to it on the ledger first, so only one provider can ever be paid. If the ledger says
//!   that the payment is settled, that provider is asked for its answer again; nobody else runs.
//! - An answer goes out only after every check of [`answer`] passed.
//! - Money whose call has failed is released, but only by the call that reserved it: an authorisation can be
//!   read on the ledger, and showing it with a bad request must not undo another's call.
//!
//! # Clients that go away
//! axum drops a handler when its client disconnects. A call that was dropped halfway would leave money
//! reserved until it expires, so the work runs in a task of its own (the one place outside `nabla-node`
//! that spawns): it ends in an answer or in a release, and the client can come back for the outcome. The
//! task keeps the call's place, so tasks are bounded too, and [`Gateway::finish`](crate::Gateway::finish)
//! waits for them.
//!
//! # When things go wrong
//! If the ledger cannot be reached after money was reserved, the client is told to send the same payment
//! again; what is then done follows from the ledger alone. If the gateway dies, the reservation stands
//! until the same payment comes again or its time is over.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use nabla_types::{
    NodeId, Opg, PaymentId,
    api::{ErrorInfo, SettlementResponse},
    chain::{Payment, PaymentStatus},
};
use nabla_pay::x402::caip2;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::{
    answer::{self, Answer, Bounds, Job},
    backend::{Backend, JobAnswer, Provider, RunError},
    error::{self, Error},
    flight::{Outcome, Part},
    gateway::{Place, Shared},
    payment::{self, Need, Paid},
    quote::{Quote, Work},
    request::CallRequest,
};

/// A request and the payment that came with it.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) request: CallRequest,
    /// The request, byte for byte.
    pub(crate) bytes: Bytes,
    pub(crate) paid: Paid,
}

/// See the call through, or wait for the one that is in work for the same payment.
pub(crate) async fn see_through<B: Backend>(shared: Arc<Shared<B>>, call: Call, place: Place) -> Outcome {
    let payment = call.paid.signed.authorization.payment_id();
    let lead = match shared.flights.join(payment, &call.bytes) {
        Part::Follow(waiting) => return waiting.outcome().await,
        Part::Other => return Err(Error::PaymentReplayed),
        Part::Lead(lead) => lead,
    };
    let waiting = lead.waiting();
    tokio::spawn(async move {
        let outcome = work(&shared, call, payment).await;
        lead.land(outcome);
        drop(place);
    });
    waiting.outcome().await
}

async fn work<B: Backend>(shared: &Shared<B>, call: Call, id: PaymentId) -> Outcome {
    match shared.backend.payment(id).await? {
        None => begin(shared, call, id).await,
        Some(payment) => resume(shared, call, payment).await,
    }
}

/// A payment that the ledger does not know yet.
async fn begin<B: Backend>(shared: &Shared<B>, call: Call, id: PaymentId) -> Outcome {
    let quote = shared.quote(&call.request).await?;
    let need = Need {
        model: quote.work.model,
        least: quote.least(),
        now_ms: shared.backend.now_ms(),
        margin_s: shared.config.payment_margin_s,
    };
    if let Err(refusal) = payment::check_terms(&call.paid, &need) {
        return Err(shared.payment_error(&call.request, &quote, &refusal.to_string()));
    }
    let work = quote.work;
    let value = call.paid.signed.authorization.value;
    let candidates: Vec<Candidate> = quote.clone().affordable(value).into_iter().map(Candidate::from).collect();
    let Some(first) = candidates.first() else {
        return Err(Error::NoProvider { model: work.model });
    };
    let holder = reserve(shared, &call, &quote, first.provider.node).await?;
    let run = Run { shared, job: Arc::new(job(shared, &call, id, work.model, Some(work))), reserved_here: true };
    run.attempts(candidates, holder).await
}

/// Set the money aside. An error leaves open whether it was: then the ledger's word counts.
async fn reserve<B: Backend>(
    shared: &Shared<B>,
    call: &Call,
    quote: &Quote,
    provider: NodeId,
) -> Result<NodeId, Error> {
    let id = call.paid.signed.authorization.payment_id();
    let model = quote.work.model;
    let error = match shared.backend.reserve(call.paid.signed.clone(), model, provider).await {
        Ok(()) => return Ok(provider),
        Err(error) if error.status == 402 => {
            return Err(shared.payment_error(&call.request, quote, &error.to_string()));
        }
        Err(error) => error,
    };
    match shared.backend.payment(id).await {
        Ok(Some(payment)) if is_ours(shared, &payment) && payment.model == model => Ok(payment.provider),
        _ => Err(error.into()),
    }
}

fn is_ours<B: Backend>(shared: &Shared<B>, payment: &Payment) -> bool {
    matches!(payment.status, PaymentStatus::Reserved { .. }) && payment.gateway == shared.backend.network().gateway
}

/// A payment that the ledger knows: a call that was cut off, or whose answer was lost.
async fn resume<B: Backend>(shared: &Shared<B>, call: Call, payment: Payment) -> Outcome {
    if call.request.model_id.is_some_and(|asked| asked != payment.model) {
        return Err(Error::PaymentReplayed);
    }
    if let PaymentStatus::Reserved { expires_ms } = payment.status {
        if !is_ours(shared, &payment) {
            return Err(Error::OtherGateway { gateway: payment.gateway });
        }
        if expires_ms <= shared.backend.now_ms() {
            return Err(Error::PaymentExpired);
        }
    }
    let work = shared.work(&call.request).await.ok().filter(|work| work.model == payment.model);
    let job = Arc::new(job(shared, &call, payment.payment, payment.model, work));
    let run = Run { shared, job, reserved_here: false };
    match payment.status {
        PaymentStatus::Released => Err(Error::PaymentReleased),
        PaymentStatus::Settled { .. } => run.stored(&payment).await,
        PaymentStatus::Reserved { .. } => {
            let candidates = run.candidates(&payment).await?;
            run.attempts(candidates, payment.provider).await
        }
    }
}

fn job<B: Backend>(
    shared: &Shared<B>,
    call: &Call,
    payment: PaymentId,
    model: nabla_types::ModelId,
    work: Option<Work>,
) -> Job {
    Job {
        network: shared.backend.network().network,
        payment,
        payer: call.paid.signed.authorization.from,
        model,
        nonce: call.request.nonce,
        request: call.bytes.clone(),
        work,
    }
}
