//! One paid call, from its payment to its answer.
//!
//! # Rules
//! - Money is reserved before work, and the payment's id makes the call one call: sending it again finds the
//!   call in work, or its answer, or what became of the money. It never pays twice.
//! - A payment that the ledger already knows is resumed: reserved by this gateway, its provider is asked
//!   first; settled, its provider is asked for the stored answer; released or expired, it is over.
//! - An authorisation can be read on the ledger by anyone, so only the payer's own request gets anything for
//!   it: requests that wait for one payment are equal byte for byte, and providers refuse a second request.
//!
//! # Clients that go away
//! axum drops a handler when its client disconnects. A call that was dropped halfway would leave money
//! reserved until it expires, so the work runs in a task of its own (the one place outside `nabla-node`
//! that spawns): it ends in an answer or in a release, and the client can come back for the outcome. The
//! task keeps the call's place, so tasks are bounded too, and [`Gateway::finish`](crate::Gateway::finish)
//! waits for them.
//!
//! A stream is the exception: nobody would read the rest, so its work ends with its client.
//!
//! # When things go wrong
//! If the ledger cannot be reached after money was reserved, the client is told to send the same payment
//! again; what is then done follows from the ledger alone. If the gateway dies, the reservation stands
//! until the same payment comes again or its time is over.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use nabla_types::{
    BlobId, ModelId, NodeId, PaymentId,
    chain::{Payment, PaymentStatus, Reservation},
    receipt::Salt,
};

use tokio::sync::{Mutex, mpsc};

use crate::{
    answer::{Answer, Job},
    attempts::{Attempts, Candidate, Settled},
    backend::Backend,
    error::Error,
    flight::{Outcome, Part},
    gateway::{Place, Shared},
    payment::{self, Need, Paid},
    quote::Quote,
    request::CallRequest,
    stream::{Part as StreamPart, Sink},
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
    let lead = match shared.flights.join(call.payment(), &call.bytes) {
        Part::Follow(waiting) => return waiting.outcome().await,
        Part::Other => return Err(Error::PaymentReplayed),
        Part::Lead(lead) => lead,
    };
    let waiting = lead.waiting();
    spawn(async move {
        let outcome = work(&shared, &call, None).await;
        lead.land(outcome);
        drop(place);
    });
    waiting.outcome().await
}

/// An answer that is wanted in events.
#[derive(Debug)]
pub(crate) enum Streamed {
    /// It has begun.
    Begun(Salt, mpsc::Receiver<StreamPart>),
    /// It is here already, whole: somebody else has followed it.
    Whole(Box<Answer>),
}

/// The same, for a client that follows the answer while it is made. Others who send the same wait for the whole.
/// The work ends when its client goes away, and what was made until then is settled.
pub(crate) async fn follow<B: Backend>(
    shared: Arc<Shared<B>>,
    call: Call,
    place: Place,
) -> Result<Streamed, Error> {
    let whole = |answer| Streamed::Whole(Box::new(answer));
    let lead = match shared.flights.join(call.payment(), &call.bytes) {
        Part::Follow(waiting) => return waiting.outcome().await.map(whole),
        Part::Other => return Err(Error::PaymentReplayed),
        Part::Lead(lead) => lead,
    };
    let waiting = lead.waiting();
    let (sink, mut parts) = Sink::new(Duration::from_millis(shared.config.stream_pause_ms));
    spawn(async move {
        let sink = Mutex::new(sink);
        let outcome = work(&shared, &call, Some(&sink)).await;
        sink.into_inner().end(&outcome).await;
        lead.land(outcome);
        drop(place);
    });
    match parts.recv().await {
        Some(StreamPart::Start(salt)) => Ok(Streamed::Begun(salt, parts)),
        _ => waiting.outcome().await.map(whole),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a paid call outlives its client; `Gateway::finish` waits for it"
)]
fn spawn(call: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(call);
}

/// Where a stream goes, if one is wanted.
type Wanted<'a> = Option<&'a Mutex<Sink>>;

async fn work<B: Backend>(shared: &Shared<B>, call: &Call, sink: Wanted<'_>) -> Outcome {
    match shared.backend.payment(call.payment()).await? {
        None => begin(shared, call, sink).await,
        Some(payment) => resume(shared, call, payment, sink).await,
    }
}

/// A payment that the ledger does not know yet.
async fn begin<B: Backend>(shared: &Shared<B>, call: &Call, sink: Wanted<'_>) -> Outcome {
    let quote = shared.quote(&call.request).await?;
    let need = Need {
        model: quote.work.model,
        payee: quote.work.call(&call.request.model, &shared.backend.network()).payee(),
        least: quote.least(),
        now_ms: shared.backend.now_ms(),
        margin_s: shared.config.payment_margin_s,
    };
    if let Err(refusal) = payment::check_terms(&call.paid, &need) {
        return Err(shared.payment_error(&call.request, &quote, &refusal.to_string()));
    }
    let offers = quote.affordable(call.paid.signed.authorization.value);
    let Some(first) = offers.first() else {
        return Err(Error::NoProvider { model: quote.work.model });
    };
    let holder = reserve(shared, call, &quote, first.provider.node).await?;
    let job = Job { work: Some(quote.work), ..call.job(shared, quote.work.model, quote.work.revision) };
    let attempts = Attempts { shared, job: Arc::new(job), reserved_here: true, sink };
    attempts.run(offers.into_iter().map(Candidate::from).collect(), holder).await
}

/// Set the money aside, and say for whom. An error leaves open whether it was set aside: then the ledger's
/// word counts.
async fn reserve<B: Backend>(
    shared: &Shared<B>,
    call: &Call,
    quote: &Quote,
    provider: NodeId,
) -> Result<NodeId, Error> {
    let reservation = Reservation {
        payment: call.paid.signed.clone(),
        model: quote.work.model,
        provider,
        gateway: shared.backend.network().gateway,
        name: call.request.model.clone(),
        revision: quote.work.revision,
    };
    let error = match shared.backend.reserve(reservation).await {
        Ok(()) => return Ok(provider),
        Err(error) if error.status == 402 => {
            return Err(shared.payment_error(&call.request, quote, &error.to_string()));
        }
        Err(error) => error,
    };
    match shared.backend.payment(call.payment()).await {
        Ok(Some(payment)) if is_ours(shared, &payment) && payment.revision == quote.work.revision => {
            Ok(payment.provider)
        }
        Ok(_) => Err(error.into()),
        Err(_) => Err(Error::unknown(error)),
    }
}

/// A payment that the ledger knows: of a call that was cut off, or whose answer was lost.
async fn resume<B: Backend>(shared: &Shared<B>, call: &Call, payment: Payment, sink: Wanted<'_>) -> Outcome {
    let Payment { model, revision, .. } = payment;
    if call.request.model != payment.name || call.request.model_id.is_some_and(|asked| asked != model) {
        return Err(Error::PaymentReplayed);
    }
    let work = shared.work(&call.request).await.ok().filter(|work| work.revision == revision);
    let job = Arc::new(Job { work, ..call.job(shared, model, revision) });
    let attempts = Attempts { shared, job, reserved_here: false, sink };
    match payment.status {
        PaymentStatus::Released => Err(Error::PaymentReleased),
        PaymentStatus::Settled { .. } => attempts.stored(Settled::from(&payment)).await,
        PaymentStatus::Reserved { .. } if !is_ours(shared, &payment) => {
            Err(Error::OtherGateway { gateway: payment.gateway })
        }
        PaymentStatus::Reserved { expires_ms } if expires_ms <= shared.backend.now_ms() => {
            Err(Error::PaymentExpired)
        }
        PaymentStatus::Reserved { .. } => {
            let candidates = attempts.candidates(&payment).await?;
            attempts.run(candidates, payment.provider).await
        }
    }
}

fn is_ours<B: Backend>(shared: &Shared<B>, payment: &Payment) -> bool {
    let reserved = matches!(payment.status, PaymentStatus::Reserved { .. });
    reserved && payment.gateway == shared.backend.network().gateway
}

impl Call {
    fn payment(&self) -> PaymentId {
        self.paid.signed.authorization.payment_id()
    }

    /// What its attempts share, if it runs this model of this revision.
    fn job<B: Backend>(&self, shared: &Shared<B>, model: ModelId, revision: BlobId) -> Job {
        Job {
            network: shared.backend.network().network,
            payment: self.payment(),
            payer: self.paid.signed.authorization.from,
            model,
            revision,
            nonce: self.request.nonce,
            request: self.bytes.clone(),
            is_language: self.request.route() != "infer",
            work: None,
        }
    }
}
