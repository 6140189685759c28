//! A gateway: its backend, its places for calls, and the calls in work.

use std::{fmt, sync::Arc};

use nabla_types::api::PaymentRequired;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    backend::{Backend, Resolved},
    config::Config,
    error::Error,
    flight::Flights,
    http,
    quote::{Quote, Work},
    request::CallRequest,
};

/// A gateway over one [`Backend`].
pub struct Gateway<B>(Arc<Shared<B>>);

/// What every request works with.
pub(crate) struct Shared<B> {
    pub(crate) backend: Arc<B>,
    pub(crate) config: Config,
    pub(crate) flights: Flights,
    places: Arc<Semaphore>,
}

/// A place for a call. Nothing waits for one: it is free or the request is refused.
#[derive(Debug)]
pub(crate) struct Place(#[expect(dead_code, reason = "held, not read")] OwnedSemaphorePermit);

impl<B: Backend> Gateway<B> {
    /// A gateway that shows `backend`.
    #[must_use]
    pub fn new(backend: Arc<B>, config: Config) -> Self {
        let places = usize::try_from(config.calls_max).unwrap_or(Semaphore::MAX_PERMITS);
        let places = Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS)));
        Self(Arc::new(Shared { backend, config, flights: Flights::default(), places }))
    }

    /// Its routes. They answer unknown paths too, so merge no other router with a fallback into them.
    pub fn router(&self) -> axum::Router {
        http::routes(Arc::clone(&self.0))
    }

    /// Take no more calls, and return when those in work have come to their end, also those whose clients
    /// have gone. For a clean stop, after the listener has closed and before the runtime does.
    pub async fn finish(&self) {
        let all = self.0.places.acquire_many(self.0.config.calls_max).await;
        drop(all);
        self.0.places.close();
    }
}

impl<B> fmt::Debug for Gateway<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("config", &self.0.config).finish_non_exhaustive()
    }
}

impl<B: Backend> Shared<B> {
    /// A place, or an error at once.
    pub(crate) fn place(&self) -> Result<Place, Error> {
        let permit = Arc::clone(&self.places).try_acquire_owned();
        permit.map(Place).map_err(|_| Error::Busy { calls_max: self.config.calls_max })
    }

    /// What this request asks for.
    pub(crate) async fn work(&self, request: &CallRequest) -> Result<Work, Error> {
        let resolved: Resolved = self.backend.resolve(&request.model).await?;
        Work::of(&resolved, request)
    }

    /// What it costs, and where.
    pub(crate) async fn quote(&self, request: &CallRequest) -> Result<Quote, Error> {
        let work = self.work(request).await?;
        work.quote(self.backend.providers(work.model).await?)
    }

    /// The terms of a call. `error` says why payment is asked for.
    pub(crate) fn terms(&self, request: &CallRequest, quote: &Quote, error: &str) -> PaymentRequired {
        quote.terms(request, &self.backend.network(), &self.config, error)
    }

    /// A 402 for `request`, for this reason.
    pub(crate) fn payment_error(&self, request: &CallRequest, quote: &Quote, reason: &str) -> Error {
        Error::Payment { terms: Box::new(self.terms(request, quote, reason)) }
    }
}
