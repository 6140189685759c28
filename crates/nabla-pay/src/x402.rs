//! x402 version 2, scheme `exact`: terms of a 402, the payment that answers them, and its check.
//!
//! # Rules
//! - The payer answers terms, not prices: [`pay`] signs exactly what the terms ask for, and only if they ask
//!   for OPG on the payer's chain, to the payee that follows from the terms, at most what the payer allows.
//! - The gateway checks a payment against the terms that it computes itself now ([`check`]), never against
//!   the copy that the payer sends along.
//!
//! # When things go wrong
//! [`TermsError`] says which term was expected and which was got. Nothing is signed then.

use nabla_types::{
    NetworkId, Opg,
    api::{ExactPayload, PaymentExtra, PaymentPayload, PaymentRequired, PaymentRequirements, Resource},
    payment::{Authorization, CallTerms, Nonce, SignedAuthorization},
    receipt::Price,
};

use crate::{
    account::{AccountKey, SignatureError},
    eip712::{self, OPG_ADDRESS, TOKEN_NAME, TOKEN_VERSION},
};

/// The version of x402 that is spoken.
pub const X402_VERSION: u32 = 2;
/// The payment scheme that is spoken.
pub const SCHEME: &str = "exact";
/// Longest time that a payer signs for, in seconds: a day.
pub const TIMEOUT_SECONDS_MAX: u64 = 24 * 3600;

/// The terms and the payment do not fit each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TermsError {
    /// A term differs.
    #[error("payment terms: expected {term} {expected}, got {got}")]
    Term {
        /// Which one.
        term: &'static str,
        /// What it must be.
        expected: String,
        /// What it is.
        got: String,
    },
    /// More is asked for than the payer allows.
    #[error("payment terms: {asked} OPG are asked for, at most {limit} OPG are allowed")]
    TooDear {
        /// The amount asked for.
        asked: Opg,
        /// The payer's limit.
        limit: Opg,
    },
    /// The payment would be good for too long.
    #[error("payment terms: good for {asked} s, at most {TIMEOUT_SECONDS_MAX} s are allowed")]
    TooLong {
        /// Seconds asked for.
        asked: u64,
    },
    /// The payment is not good for long enough, or not yet.
    #[error("payment window: expected good from {now} for {seconds} s, got {valid_after} to {valid_before}")]
    Window {
        /// The present, Unix seconds.
        now: u64,
        /// How long it must at least be good for.
        seconds: u64,
        /// Not good at or before this, Unix seconds.
        valid_after: u64,
        /// Not good at or after this, Unix seconds.
        valid_before: u64,
    },
    /// The payer's signature does not hold.
    #[error(transparent)]
    Signature(#[from] SignatureError),
}

/// What a call is offered for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer<'a> {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// What the payment may be spent on.
    pub call: CallTerms<'a>,
    /// The price by the unit.
    pub price: Price,
    /// What the call is reckoned to consume, in multiply-accumulates.
    pub macs: u64,
    /// What that costs: the most that the call can cost.
    pub amount: Opg,
    /// How long the payment must at least be good for.
    pub timeout_seconds: u64,
}

impl Offer<'_> {
    /// The terms as x402 writes them.
    #[must_use]
    pub fn requirements(&self) -> PaymentRequirements {
        PaymentRequirements {
            scheme: SCHEME.to_owned(),
            network: caip2(self.chain_id),
            amount: self.amount,
            asset: OPG_ADDRESS,
            pay_to: self.call.payee(),
            max_timeout_seconds: self.timeout_seconds,
            extra: PaymentExtra {
                name: TOKEN_NAME.to_owned(),
                version: TOKEN_VERSION.to_owned(),
                model_id: self.call.model,
                repository: self.call.name.clone(),
                revision: self.call.revision,
                gateway: self.call.gateway,
                price: self.price,
                macs: self.macs,
            },
        }
    }

    /// The body of the 402 that asks for payment of `resource`.
    #[must_use]
    pub fn payment_required(&self, error: &str, resource: Resource) -> PaymentRequired {
        let accepts = vec![self.requirements()];
        PaymentRequired { x402_version: X402_VERSION, error: error.to_owned(), resource, accepts }
    }
}

/// How a payer answers.
#[derive(Debug, Clone, Copy)]
pub struct Answer {
    /// The payer's chain.
    pub chain_id: u64,
    /// The payer's network.
    pub network: NetworkId,
    /// The most that the payer allows.
    pub limit: Opg,
    /// The present, Unix seconds.
    pub now: u64,
    /// Drawn at random for this payment.
    pub nonce: Nonce,
}

/// CAIP-2 name of a chain.
#[must_use]
pub fn caip2(chain_id: u64) -> String {
    format!("eip155:{chain_id}")
}

/// Sign what the terms ask for. The payment is good from a minute before `now` (clocks differ) until the
/// terms' timeout has passed.
///
/// # Errors
/// [`TermsError`] if these are not terms for OPG on the payer's chain within the limit.
pub fn pay(
    key: &AccountKey,
    terms: &PaymentRequirements,
    answer: &Answer,
) -> Result<PaymentPayload, TermsError> {
    check_terms(answer.chain_id, answer.network, terms)?;
    if terms.amount > answer.limit {
        return Err(TermsError::TooDear { asked: terms.amount, limit: answer.limit });
    }
    if terms.max_timeout_seconds > TIMEOUT_SECONDS_MAX {
        return Err(TermsError::TooLong { asked: terms.max_timeout_seconds });
    }
    let authorization = Authorization {
        from: key.address(),
        to: terms.pay_to,
        value: terms.amount,
        valid_after: answer.now.saturating_sub(60),
        valid_before: answer.now.saturating_add(terms.max_timeout_seconds).saturating_add(1),
        nonce: answer.nonce,
    };
    let signed = eip712::sign_authorization(key, answer.chain_id, authorization);
    let payload = ExactPayload::from(&signed);
    Ok(PaymentPayload { x402_version: X402_VERSION, accepted: terms.clone(), payload })
}

/// Check a payment against the terms that hold for this call, at the time `now` (Unix seconds). The
/// payer's balance and whether the payment was used before are for the ledger to say.
///
/// # Errors
/// [`TermsError`].
pub fn check(
    offer: &Offer<'_>,
    payment: &PaymentPayload,
    now: u64,
) -> Result<SignedAuthorization, TermsError> {
    term("version", &X402_VERSION, &payment.x402_version)?;
    term("scheme", &SCHEME, &payment.accepted.scheme.as_str())?;
    term("network", &caip2(offer.chain_id), &payment.accepted.network)?;
    let signed = SignedAuthorization::from(&payment.payload);
    let Authorization { to, value, valid_after, valid_before, .. } = signed.authorization;
    term("payee", &offer.call.payee(), &to)?;
    term("amount", &offer.amount, &value)?;
    let seconds = offer.timeout_seconds.min(MARGIN_SECONDS);
    if valid_after >= now || valid_before <= now.saturating_add(seconds) {
        return Err(TermsError::Window { now, seconds, valid_after, valid_before });
    }
    eip712::verify_authorization(offer.chain_id, &signed)?;
    Ok(signed)
}

/// A payment must still be good for this long (or the terms' timeout, if shorter) when it is checked: the
/// ledger reads its own clock a little later.
const MARGIN_SECONDS: u64 = 5;

fn check_terms(chain_id: u64, network: NetworkId, terms: &PaymentRequirements) -> Result<(), TermsError> {
    term("scheme", &SCHEME, &terms.scheme.as_str())?;
    term("network", &caip2(chain_id), &terms.network)?;
    term("asset", &OPG_ADDRESS, &terms.asset)?;
    let PaymentExtra { model_id: model, repository: name, revision, gateway, .. } = &terms.extra;
    let call = CallTerms { network, gateway: *gateway, name, revision: *revision, model: *model };
    term("payee", &call.payee(), &terms.pay_to)?;
    term("token name", &TOKEN_NAME, &terms.extra.name.as_str())?;
    term("token version", &TOKEN_VERSION, &terms.extra.version.as_str())
}

fn term<T: PartialEq + std::fmt::Display>(
    term: &'static str,
    expected: &T,
    got: &T,
) -> Result<(), TermsError> {
    if expected == got {
        return Ok(());
    }
    let cut = |text: &T| text.to_string().chars().take(80).collect();
    Err(TermsError::Term { term, expected: cut(expected), got: cut(got) })
}

#[cfg(test)]
mod tests;
