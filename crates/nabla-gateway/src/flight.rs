//! One payment, one call in work: whoever sends the same again waits for the same outcome.
//!
//! # Rules
//! - A payment is shared only by requests that are equal byte for byte. An authorisation is public once the
//!   ledger has it; knowing it must not show anyone the answer to another's request.
//! - Every entry belongs to a call that holds a place, so there are never more of them than places.
//! - An entry ends with its [`Lead`], however that ends. A lead that is dropped without an outcome (it
//!   panicked) leaves its followers [`Error::Internal`].

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use nabla_types::PaymentId;
use tokio::sync::watch;

use crate::{answer::Answer, error::Error};

/// What all who wait for one payment get.
pub(crate) type Outcome = Result<Answer, Error>;

/// The calls in work.
#[derive(Debug, Clone, Default)]
pub(crate) struct Flights(Arc<Mutex<HashMap<PaymentId, Flight>>>);

#[derive(Debug)]
struct Flight {
    request: Bytes,
    outcome: watch::Receiver<Option<Outcome>>,
}

/// How a request takes part in its payment's call.
#[derive(Debug)]
pub(crate) enum Part {
    /// Nobody works on it yet: do so, and [`land`](Lead::land).
    Lead(Lead),
    /// Somebody does: wait.
    Follow(Waiting),
    /// Somebody does, but on another request.
    Other,
}

/// The duty to bring an outcome.
#[derive(Debug)]
pub(crate) struct Lead {
    flights: Flights,
    payment: PaymentId,
    outcome: watch::Sender<Option<Outcome>>,
}

/// An outcome to come.
#[derive(Debug)]
pub(crate) struct Waiting(watch::Receiver<Option<Outcome>>);

impl Flights {
    /// Take part in the call of `payment` with these request bytes.
    pub(crate) fn join(&self, payment: PaymentId, request: &Bytes) -> Part {
        match self.entries().entry(payment) {
            Entry::Occupied(entry) if entry.get().request == *request => {
                Part::Follow(Waiting(entry.get().outcome.clone()))
            }
            Entry::Occupied(_) => Part::Other,
            Entry::Vacant(entry) => {
                let (sender, outcome) = watch::channel(None);
                entry.insert(Flight { request: request.clone(), outcome });
                Part::Lead(Lead { flights: self.clone(), payment, outcome: sender })
            }
        }
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<PaymentId, Flight>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lead {
    /// The outcome that this lead will bring.
    pub(crate) fn waiting(&self) -> Waiting {
        Waiting(self.outcome.subscribe())
    }

    /// Bring it.
    pub(crate) fn land(self, outcome: Outcome) {
        self.outcome.send_replace(Some(outcome));
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        self.flights.entries().remove(&self.payment);
    }
}

impl Waiting {
    /// Wait for it.
    pub(crate) async fn outcome(mut self) -> Outcome {
        match self.0.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or(Err(Error::Internal)),
            Err(_) => Err(Error::Internal),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAYMENT: PaymentId = PaymentId([1; 32]);

    fn lead(flights: &Flights, request: &Bytes) -> Lead {
        match flights.join(PAYMENT, request) {
            Part::Lead(lead) => lead,
            other => panic!("expected to lead, got {other:?}"),
        }
    }

    #[tokio::test]
    async fn equal_requests_share_one_outcome_and_others_do_not() {
        let (flights, request) = (Flights::default(), Bytes::from_static(b"a"));
        let lead = lead(&flights, &request);
        let Part::Follow(waiting) = flights.join(PAYMENT, &request) else { panic!("expected to follow") };
        assert!(matches!(flights.join(PAYMENT, &Bytes::from_static(b"b")), Part::Other));
        assert!(matches!(flights.join(PaymentId([2; 32]), &request), Part::Lead(_)));
        let own = lead.waiting();
        lead.land(Err(Error::PaymentExpired));
        assert_eq!(waiting.outcome().await.expect_err("a failure"), Error::PaymentExpired);
        assert_eq!(own.outcome().await.expect_err("a failure"), Error::PaymentExpired);
        assert!(flights.entries().is_empty());
    }

    #[tokio::test]
    async fn a_lead_that_is_lost_frees_its_followers_and_its_payment() {
        let (flights, request) = (Flights::default(), Bytes::from_static(b"a"));
        let first = lead(&flights, &request);
        let waiting = first.waiting();
        drop(first);
        assert_eq!(waiting.outcome().await.expect_err("a failure"), Error::Internal);
        drop(lead(&flights, &request));
    }
}
