//! What a call costs, and who would do it. Pure.
//!
//! # Rules
//! - The work follows from the manifest and the shapes alone, so client, gateway and provider reckon the
//!   same. What a conversation costs is known only in the end: the quote is for the most that it can be, and what
//!   is not used goes back to the payer.
//! - Full providers and those whose price overflows are left out. The rest are ordered: not dear before dear
//!   (more than [`DEAR`] times the cheapest), warm before cold, less loaded before more, cheaper before
//!   dearer, then by node id. A node that calls itself warm and idle cannot by that alone have its fancy
//!   price quoted.
//! - The quote is the price of the first; a payment is good for every provider that asks no more than it.

use std::cmp::Reverse;

use nabla_pay::x402;
use nabla_types::{
    BlobId, ModelId, Opg, RepoName,
    api::{NetworkInfo, PaymentRequired, Resource},
    chain::RevisionRecord,
    payment::CallTerms,
    receipt::{Price, Usage},
};

use crate::{
    backend::{BackendError, Provider, Resolved},
    config::Config,
    error::Error,
    request::{Asked, CallRequest},
    wire::{ModelInfo, PriceRange},
};

/// How many times the cheapest price is dear.
const DEAR: u64 = 4;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Work {
    pub(crate) model: ModelId,
    pub(crate) revision: BlobId,
    pub(crate) kernel_spec: u32,
    /// For a conversation, the most that it can be.
    pub(crate) usage: Usage,
    /// What a token costs, if the model is one of language.
    pub(crate) macs_per_token: Option<u64>,
    royalty: Opg,
}

/// A provider and what the work costs there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) provider: Provider,
    pub(crate) price: Price,
    pub(crate) amount: Opg,
}

/// Work, and those who would do it, best first. Never without offers.
#[derive(Debug, Clone)]
pub(crate) struct Quote {
    pub(crate) work: Work,
    best: Offer,
    others: Vec<Offer>,
}

impl Work {
    /// What a payment for this work may be spent on.
    pub(crate) fn call<'n>(&self, name: &'n RepoName, network: &NetworkInfo) -> CallTerms<'n> {
        let (gateway, network) = (network.gateway, network.network);
        CallTerms { network, gateway, name, revision: self.revision, model: self.model }
    }

    /// The work that `request` asks for.
    pub(crate) fn of(resolved: &Resolved, request: &CallRequest) -> Result<Self, Error> {
        let newest = newest(resolved)?.model;
        if let Some(asked) = request.model_id.filter(|asked| *asked != newest) {
            return Err(Error::OtherModel { name: request.model.clone(), asked, newest });
        }
        let work = match (&request.asked, resolved.manifest.language) {
            (Asked::Chat(chat), Some(terms)) => {
                let (tokens_in, tokens_out) = (chat.tokens_in_max(&terms), chat.tokens_out_max(&terms));
                Self::of_tokens(resolved, tokens_in.into(), tokens_out.into())?
            }
            (Asked::Vectors(embed), Some(terms)) => {
                Self::of_tokens(resolved, embed.tokens_in_max(&terms), 0)?
            }
            (Asked::Tensors(shapes), None) => Self::of_shapes(resolved, shapes.iter().map(Vec::as_slice))?,
            (Asked::Chat(_) | Asked::Vectors(_), None) => {
                let reason =
                    format!("{} takes tensors, no texts: send them to /nabla/v1/infer", request.model);
                return Err(Error::BadInput { reason });
            }
            (Asked::Tensors(_), Some(_)) => {
                let reason =
                    format!("{} takes texts, no tensors: send them to /nabla/v1/chat", request.model);
                return Err(Error::BadInput { reason });
            }
        };
        if work.usage.rows == 0 {
            let reason = "the inputs have no rows: the leading dimension is 0".to_owned();
            return Err(Error::BadInput { reason });
        }
        Ok(work)
    }

    fn of_shapes<'s>(resolved: &Resolved, shapes: impl Iterator<Item = &'s [u64]>) -> Result<Self, Error> {
        let RevisionRecord { model, revision, royalty, .. } = *newest(resolved)?;
        let kernel_spec = resolved.manifest.kernel_spec;
        let usage = resolved.manifest.usage(shapes).ok_or_else(|| {
            let reason = "the inputs ask for more than 2^64 multiply-accumulates".to_owned();
            Error::BadInput { reason }
        })?;
        let macs_per_token = resolved.manifest.language.map(|_| resolved.manifest.macs_per_row);
        Ok(Self { model, revision, kernel_spec, usage, macs_per_token, royalty })
    }

    fn of_tokens(resolved: &Resolved, tokens_in: u64, tokens_out: u64) -> Result<Self, Error> {
        let usage = resolved.manifest.usage_of_tokens(tokens_in, tokens_out).ok_or_else(|| {
            let reason = "the texts may take more than 2^64 multiply-accumulates".to_owned();
            Error::BadInput { reason }
        })?;
        Ok(Self { usage, ..Self::of_shapes(resolved, std::iter::empty())? })
    }

    /// What the work costs at each provider that has a free place, best first.
    pub(crate) fn offers(&self, providers: Vec<Provider>) -> Vec<Offer> {
        let offer = |provider: Provider| {
            let Provider { per_call, per_gigamac, .. } = provider;
            let price = Price { per_call, per_gigamac, royalty: self.royalty };
            let amount = price.amount(&self.usage)?;
            Some(Offer { provider, price, amount })
        };
        let free = providers.into_iter().filter(|provider| provider.running < provider.running_max);
        let mut offers: Vec<Offer> = free.filter_map(offer).collect();
        let cheapest = offers.iter().map(|offer| offer.amount).min().unwrap_or_default();
        let dear = cheapest.checked_mul(DEAR).unwrap_or(Opg::from_units(u128::MAX));
        offers.sort_by_cached_key(|offer| {
            let provider = &offer.provider;
            (offer.amount > dear, Reverse(provider.warm), load(provider), offer.amount, provider.node)
        });
        offers
    }

    /// The quote of these providers.
    pub(crate) fn quote(self, providers: Vec<Provider>) -> Result<Quote, Error> {
        let mut offers = self.offers(providers).into_iter();
        let best = offers.next().ok_or(Error::NoProvider { model: self.model })?;
        Ok(Quote { work: self, best, others: offers.collect() })
    }
}

impl Quote {
    /// The least that pays any provider.
    pub(crate) fn least(&self) -> Opg {
        self.others.iter().map(|offer| offer.amount).fold(self.best.amount, Opg::min)
    }

    /// Those who would do it for `value`, best first.
    pub(crate) fn affordable(&self, value: Opg) -> Vec<Offer> {
        let all = std::iter::once(&self.best).chain(&self.others);
        all.filter(|offer| offer.amount <= value).cloned().collect()
    }

    /// The terms of the best offer, as x402 writes them. `error` says why payment is asked for.
    pub(crate) fn terms(
        &self,
        request: &CallRequest,
        network: &NetworkInfo,
        config: &Config,
        error: &str,
    ) -> PaymentRequired {
        let (name, route) = (&request.model, request.route());
        let offer = x402::Offer {
            chain_id: network.chain_id,
            call: self.work.call(name, network),
            price: self.best.price,
            macs: self.work.usage.macs,
            amount: self.best.amount,
            timeout_seconds: config.payment_life_s,
        };
        let resource = Resource {
            url: format!("{}/nabla/v1/{route}", config.public_url),
            description: format!("one call of {name}"),
            mime_type: "application/json".to_owned(),
        };
        offer.payment_required(error, resource)
    }
}

/// What a client may know of a model before it asks for anything.
pub(crate) fn model_info(resolved: Resolved, providers: Vec<Provider>) -> Result<ModelInfo, Error> {
    let offers = Work::of_shapes(&resolved, [[1].as_slice()].into_iter())?.offers(providers);
    let Resolved { record, manifest } = resolved;
    let amounts = || offers.iter().map(|offer| offer.amount);
    let price_per_row = amounts().min().zip(amounts().max()).map(|(least, most)| PriceRange { least, most });
    let nodes = |warm_only: bool| {
        let chosen = offers.iter().filter(move |offer| offer.provider.warm || !warm_only);
        chosen.map(|offer| offer.provider.node).collect()
    };
    Ok(ModelInfo { price_per_row, providers: nodes(false), warm_providers: nodes(true), record, manifest })
}

/// The newest revision, if the backend's words fit together.
fn newest(resolved: &Resolved) -> Result<&RevisionRecord, Error> {
    let Resolved { record, manifest } = resolved;
    let revision = record.revisions.last().filter(|revision| manifest.model_id() == revision.model);
    revision.ok_or_else(|| {
        let text = format!("the ledger's record of {} does not fit its manifest", record.name);
        BackendError::new(503, "unavailable", text).with_hint("try again later; nothing was charged").into()
    })
}

/// Jobs in work by places, in millionths.
fn load(provider: &Provider) -> u64 {
    u64::from(provider.running) * 1_000_000 / u64::from(provider.running_max.max(1))
}

#[cfg(test)]
mod tests;
