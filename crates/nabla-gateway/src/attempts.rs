//! The attempts of one call: one provider after the other, until one gives a good answer.
//!
//! # Rules
//! - The payment moves to a provider on the ledger before that provider is asked, so only one can ever be
//!   paid. Where a move fails, the ledger is read: if the payment is settled, its provider is asked for that
//!   answer again and nobody else runs.
//! - No answer goes out before [`answer::check`] passed. One that fails it is logged and treated as none.
//! - A stream is begun with one provider and ended with it: what broke off after its first event is released or
//!   found settled, and the client is told.
//! - When nothing more can be tried, the money is released. When a provider rejects the request, it is
//!   released only if this call reserved it: showing another's authorisation with a bad request must not
//!   undo that other's call. Money that is not released goes back when its reservation expires.
//! - The client is told that money was released only when the ledger has said so.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use nabla_pay::x402::caip2;
use nabla_types::{
    NodeId, Opg, ReceiptId,
    api::{ErrorInfo, SettlementResponse},
    chain::{Payment, PaymentStatus},
    receipt::Price,
};
use tokio::{sync::Mutex, task::spawn_blocking, time::timeout};
use tracing::{info, warn};

use crate::{
    answer::{self, Answer, Bounds, Job},
    backend::{Backend, JobAnswer, Provider, RunError},
    error::{self, Error},
    flight::Outcome,
    gateway::Shared,
    quote::Offer,
    stream::{Broken, Sink},
};

/// What the attempts of a call share.
pub(crate) struct Attempts<'a, B> {
    pub(crate) shared: &'a Shared<B>,
    pub(crate) job: Arc<Job>,
    /// Whether this very call set the money aside.
    pub(crate) reserved_here: bool,
    /// Where the answer goes while it is made, if the client wants it so.
    pub(crate) sink: Option<&'a Mutex<Sink>>,
}

/// A provider, and the most that it may charge.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    provider: Provider,
    price_max: Price,
    amount_max: Opg,
}

impl From<Offer> for Candidate {
    fn from(offer: Offer) -> Self {
        Self { provider: offer.provider, price_max: offer.price, amount_max: offer.amount }
    }
}

/// An answer whose receipt holds.
struct Checked {
    answer: JobAnswer,
    receipt: ReceiptId,
}

/// Why an attempt brought no answer.
enum Failure {
    /// Another provider may do better. What it was is in the log.
    Provider,
    /// No provider would do it.
    Rejected { status: u16, info: ErrorInfo },
    /// The answer has begun to go out, and does not come to its end.
    Broken { reason: String },
    /// Nobody listens any more: the provider settles what it has made.
    Left,
}

/// To whom a settled payment went, and how much it was at most.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settled {
    provider: NodeId,
    price_max: Price,
    amount_max: Opg,
}

impl From<&Payment> for Settled {
    fn from(payment: &Payment) -> Self {
        Self { provider: payment.provider, price_max: payment.price, amount_max: payment.amount }
    }
}

/// What became of a move to another provider.
enum Moved {
    Yes,
    No,
    Settled(Settled),
}

/// What became of a release.
enum Released {
    Yes,
    Unknown,
    Settled(Settled),
}

impl<B: Backend> Attempts<'_, B> {
    /// Try the candidates in order. `holder` is the provider that the payment is reserved for.
    pub(crate) async fn run(&self, candidates: Vec<Candidate>, mut holder: NodeId) -> Outcome {
        let attempts_max = self.shared.config.attempts_max.max(1);
        let mut attempts = 0;
        for candidate in candidates.into_iter().take(attempts_max) {
            if self.is_left().await {
                break;
            }
            let node = candidate.provider.node;
            if node != holder {
                match self.reassign(holder, node).await? {
                    Moved::Yes => holder = node,
                    Moved::No => continue,
                    Moved::Settled(settled) => return self.stored(settled).await,
                }
            }
            attempts += 1;
            match self.ask(&candidate).await {
                Ok(answer) => {
                    if let Some(answer) = self.finished(answer, node).await? {
                        return Ok(answer);
                    }
                    if self.has_begun().await {
                        return self.broken("it is not settled".to_owned()).await;
                    }
                }
                Err(Failure::Provider) => {}
                Err(Failure::Rejected { status, info }) => return self.rejected(status, info).await,
                Err(Failure::Broken { reason }) => return self.broken(reason).await,
                Err(Failure::Left) => return Err(Error::StreamLeft),
            }
        }
        match self.release().await {
            Released::Yes => Err(Error::NoProviderAnswered { attempts, released: true }),
            Released::Unknown => Err(Error::NoProviderAnswered { attempts, released: false }),
            Released::Settled(settled) => self.stored(settled).await,
        }
    }

    /// Who may be asked for a payment that was reserved before: its provider first, even if it calls itself
    /// full; then those that it is good for, if the price can still be reckoned.
    pub(crate) async fn candidates(&self, payment: &Payment) -> Result<Vec<Candidate>, Error> {
        let providers = self.shared.backend.providers(payment.model).await?;
        let (own, others): (Vec<_>, Vec<_>) =
            providers.into_iter().partition(|provider| provider.node == payment.provider);
        let own = own.into_iter().take(1).map(|provider| Candidate {
            provider,
            price_max: payment.price,
            amount_max: payment.amount,
        });
        let offers = self.job.work.map(|work| work.offers(others)).unwrap_or_default();
        let good_for = offers.into_iter().filter(|offer| offer.amount <= payment.amount);
        Ok(own.chain(good_for.map(Candidate::from)).collect())
    }

    /// The answer to a settled payment: only its provider has it.
    pub(crate) async fn stored(&self, settled: Settled) -> Outcome {
        let Settled { provider: node, price_max, amount_max } = settled;
        let providers = self.shared.backend.providers(self.job.model).await.map_err(Error::unknown)?;
        let Some(provider) = providers.into_iter().find(|provider| provider.node == node) else {
            return Err(Error::AnswerUnavailable { provider: node });
        };
        match self.ask(&Candidate { provider, price_max, amount_max }).await {
            Ok(answer) => {
                let finished = self.finished(answer, node).await?;
                finished.ok_or(Error::AnswerUnavailable { provider: node })
            }
            Err(Failure::Provider) => Err(Error::AnswerUnavailable { provider: node }),
            Err(Failure::Broken { reason }) => Err(Error::StreamSettled { reason }),
            Err(Failure::Left) => Err(Error::StreamLeft),
            Err(Failure::Rejected { status, info }) => Err(Error::Rejected { status, info }),
        }
    }

    /// Ask one provider, and check what it says.
    async fn ask(&self, candidate: &Candidate) -> Result<Checked, Failure> {
        let Candidate { provider, price_max, amount_max } = candidate;
        let answer = match self.sink {
            Some(sink) => self.follow(provider, &mut *sink.lock().await).await?,
            None => self.run_whole(provider).await?,
        };
        let bounds = Bounds { provider: provider.node, price_max: *price_max, amount_max: *amount_max };
        match self.check(answer, bounds).await {
            Ok(answer) => Ok(answer),
            Err(reason) => {
                let (payment, node) = (self.job.payment.short(), provider.node.short());
                warn!(payment, provider = node, reason, "bad receipt");
                let reason = format!("its receipt does not hold: {reason}");
                Err(if self.has_begun().await { Failure::Broken { reason } } else { Failure::Provider })
            }
        }
    }

    /// The whole answer at once.
    async fn run_whole(&self, provider: &Provider) -> Result<JobAnswer, Failure> {
        let config = &self.shared.config;
        let limit_ms = if self.job.is_language { config.chat_timeout_ms } else { config.attempt_timeout_ms };
        let run = self.shared.backend.run(provider, self.job.payment, self.job.request.clone());
        let result = timeout(Duration::from_millis(limit_ms), run).await;
        self.answered(provider, result.map_err(|_| limit_ms))
    }

    /// The answer while it is made, passed on.
    async fn follow(&self, provider: &Provider, sink: &mut Sink) -> Result<JobAnswer, Failure> {
        let limit_ms = self.shared.config.attempt_timeout_ms;
        let stream = self.shared.backend.stream(provider, self.job.payment, self.job.request.clone());
        let result = timeout(Duration::from_millis(limit_ms), stream).await;
        let stream = self.answered(provider, result.map_err(|_| limit_ms))?;
        let broken = match sink.pass(stream).await {
            Ok(answer) => return Ok(answer),
            Err(broken) => broken,
        };
        let (payment, node) = (self.job.payment.short(), provider.node.short());
        match broken {
            Broken::Left => {
                info!(payment, provider = node, "client left its stream");
                Err(Failure::Left)
            }
            Broken::Provider(reason) => {
                warn!(payment, provider = node, reason, "stream broken");
                Err(if sink.has_begun() { Failure::Broken { reason } } else { Failure::Provider })
            }
        }
    }

    /// What a provider gave, or why it gave nothing. `Err` of the result: nothing within so many ms.
    fn answered<T>(
        &self,
        provider: &Provider,
        result: Result<Result<T, RunError>, u64>,
    ) -> Result<T, Failure> {
        let (payment, node) = (self.job.payment.short(), provider.node.short());
        let reason = match result {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(RunError::Rejected { status, info })) if is_rejection(status, &info.code) => {
                info!(payment, provider = node, status, code = info.code, "request rejected");
                return Err(Failure::Rejected { status, info: cut(info) });
            }
            Ok(Err(error)) => error.to_string(),
            Err(limit_ms) => format!("no answer within {limit_ms} ms"),
        };
        warn!(payment, provider = node, reason, "attempt failed");
        Err(Failure::Provider)
    }

    /// Whether something of a stream has gone out.
    async fn has_begun(&self) -> bool {
        match self.sink {
            Some(sink) => sink.lock().await.has_begun(),
            None => false,
        }
    }

    /// Whether a stream's client has gone.
    async fn is_left(&self) -> bool {
        match self.sink {
            Some(sink) => sink.lock().await.is_left(),
            None => false,
        }
    }

    /// What has begun to go out, and broke off: the money goes back, unless the provider has it.
    async fn broken(&self, reason: String) -> Outcome {
        Err(match self.release().await {
            Released::Yes => Error::StreamBroken { reason, released: true },
            Released::Unknown => Error::StreamBroken { reason, released: false },
            Released::Settled(_) => Error::StreamSettled { reason },
        })
    }

    /// Check an answer, away from the threads that serve connections: reading a large one takes a while.
    async fn check(&self, answer: JobAnswer, bounds: Bounds) -> Result<Checked, String> {
        let job = Arc::clone(&self.job);
        let checked = spawn_blocking(move || {
            let receipt = answer::check(&answer, &job, &bounds)?;
            Ok(Checked { answer, receipt })
        });
        checked.await.unwrap_or_else(|_| Err("the check did not come to its end".to_owned()))
    }

    async fn reassign(&self, from: NodeId, to: NodeId) -> Result<Moved, Error> {
        let Err(error) = self.shared.backend.reassign(self.job.payment, from, to).await else {
            return Ok(Moved::Yes);
        };
        let payment = self.shared.backend.payment(self.job.payment).await.map_err(Error::unknown)?;
        let Some(payment) = payment else {
            return Err(Error::unknown(error));
        };
        match payment.status {
            PaymentStatus::Settled { .. } => Ok(Moved::Settled(Settled::from(&payment))),
            PaymentStatus::Released => Err(Error::PaymentReleased),
            PaymentStatus::Reserved { .. } if payment.provider == to => Ok(Moved::Yes),
            PaymentStatus::Reserved { .. } => {
                let (payment, to) = (self.job.payment.short(), to.short());
                warn!(payment, to, error = error.to_string(), "payment not reassigned");
                Ok(Moved::No)
            }
        }
    }

    async fn release(&self) -> Released {
        let id = self.job.payment;
        let Err(error) = self.shared.backend.release(id).await else {
            return Released::Yes;
        };
        if let Ok(Some(payment)) = self.shared.backend.payment(id).await {
            match payment.status {
                PaymentStatus::Released => return Released::Yes,
                PaymentStatus::Settled { .. } => return Released::Settled(Settled::from(&payment)),
                PaymentStatus::Reserved { .. } => {}
            }
        }
        warn!(payment = id.short(), error = error.to_string(), "payment not released");
        Released::Unknown
    }

    /// Pass on what a provider rejected, and say where the money is.
    async fn rejected(&self, status: u16, info: ErrorInfo) -> Outcome {
        if !self.reserved_here {
            return Err(Error::Rejected { status, info });
        }
        let released = match self.release().await {
            Released::Settled(settled) => return self.stored(settled).await,
            Released::Yes => true,
            Released::Unknown => false,
        };
        let hint = info.hint.map(|hint| hint + "; ").unwrap_or_default() + error::money(released);
        Err(Error::Rejected { status, info: ErrorInfo { hint: Some(hint), ..info } })
    }

    /// A checked answer goes out only if its receipt is the one that settled the payment: a provider that
    /// shows another one, or has not settled, could have the ledger and its verifiers see something else.
    ///
    /// `None`: it has not settled, so another may still be asked.
    async fn finished(&self, checked: Checked, provider: NodeId) -> Result<Option<Answer>, Error> {
        let payment = self.shared.backend.payment(self.job.payment).await.map_err(Error::unknown)?;
        let status = payment.map(|payment| payment.status);
        if status != Some(PaymentStatus::Settled { receipt: checked.receipt }) {
            let (payment, node) = (self.job.payment.short(), provider.short());
            warn!(payment, provider = node, ?status, got = %checked.receipt, "not the settled receipt");
            return match status {
                Some(PaymentStatus::Reserved { .. }) => Ok(None),
                _ => Err(Error::AnswerUnavailable { provider }),
            };
        }
        let settlement = status.map(|status| SettlementResponse {
            success: matches!(status, PaymentStatus::Settled { .. }),
            transaction: self.job.payment,
            network: caip2(self.shared.backend.network().chain_id),
            payer: self.job.payer,
            status,
        });
        let JobAnswer { response, receipt, salt } = checked.answer;
        Ok(Some(Answer { response, receipt: Bytes::from(receipt), salt, settlement }))
    }
}

/// Whether a provider turns down this request, and not merely cannot do it: a payment that is not
/// reserved for it, or a price that it has changed, is no fault of the client.
fn is_rejection(status: u16, code: &str) -> bool {
    matches!((status, code), (400 | 413 | 422, _) | (409, "payment_replayed"))
}

/// A provider's words, in a size and form fit to be passed on.
fn cut(info: ErrorInfo) -> ErrorInfo {
    let plain = |code: &str| !code.is_empty() && code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    let short = |text: &str| text.chars().take(500).collect::<String>();
    let code = if plain(&info.code) { short(&info.code) } else { "rejected".to_owned() };
    ErrorInfo { code, message: short(&info.message), hint: info.hint.as_deref().map(short) }
}
