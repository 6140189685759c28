//! Reading and checking the `PAYMENT-SIGNATURE` header. Pure.
//!
//! # Rules
//! - What the payer signed is checked against what this gateway asks for, never against the copy of the
//!   terms that came along. Of that copy only the names (version, scheme, network, token, payee) and the
//!   model are read: a payment quoted for one model does not buy another.
//! - The form and the signature ([`check_form`]) are checked before the ledger is asked anything. Time and
//!   value ([`check_terms`]) matter only when money is to be reserved: an authorisation that has paid may be
//!   shown again later, to fetch a lost answer.
//! - Balance and earlier use are the ledger's to say.
//!
//! # When things go wrong
//! What cannot be read is 400. What can be read but does not pay is 402 again, with the terms and a reason
//! that begins with x402's code for it ([`Refusal`]).

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use nabla_pay::{
    OPG_ADDRESS, SignatureError, eip712,
    x402::{SCHEME, X402_VERSION, caip2},
};
use nabla_types::{
    Address, ModelId, Opg,
    api::PaymentPayload,
    payment::{Authorization, SignedAuthorization},
};

use crate::error::Error;

/// Longest payment header, in bytes. A payment is about 1,200.
pub(crate) const HEADER_BYTES_MAX: usize = 8 * 1024;

/// Standard base64, padded or not: clients differ.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why a readable payment does not pay.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("invalid_x402_version: expected 2, got {got}")]
    Version { got: u32 },
    #[error("unsupported_scheme: expected {SCHEME}, got {got:?}")]
    Scheme { got: String },
    #[error("invalid_network: expected {expected}, got {got:?}")]
    Network { expected: String, got: String },
    #[error("invalid_asset: expected {OPG_ADDRESS}, got {got}")]
    Asset { got: Address },
    #[error("invalid_exact_evm_payload_recipient_mismatch: expected {expected}, got {got}")]
    Payee { expected: Address, got: Address },
    #[error("invalid_exact_evm_payload_signature: {source}")]
    Signature { source: SignatureError },
    #[error("terms_changed: the payment is for model {got}, the name stands for {expected} now")]
    Model { expected: ModelId, got: ModelId },
    #[error("invalid_exact_evm_payload_authorization_value: expected at least {expected} OPG, got {got} OPG")]
    Value { expected: Opg, got: Opg },
    #[error("invalid_exact_evm_payload_authorization_valid_after: it is {now}, good only after {got}")]
    TooEarly { now: u64, got: u64 },
    #[error(
        "invalid_exact_evm_payload_authorization_valid_before: expected good until after {expected}, got {got}"
    )]
    TooLate { expected: u64, got: u64 },
}

/// A payment whose form and signature hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Paid {
    pub(crate) signed: SignedAuthorization,
    /// The model that the payer was quoted for.
    quoted_for: ModelId,
}

/// What a payment must meet to be reserved now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Need {
    pub(crate) model: ModelId,
    /// Who must be paid: it follows from the call's terms.
    pub(crate) payee: Address,
    /// The least that pays anyone.
    pub(crate) least: Opg,
    pub(crate) now_ms: u64,
    pub(crate) margin_s: u64,
}

/// Read the header's value.
pub(crate) fn decode(header: &[u8]) -> Result<PaymentPayload, Error> {
    let unreadable = |reason: String| Error::PaymentHeader { reason };
    if header.len() > HEADER_BYTES_MAX {
        let reason = format!("expected at most {HEADER_BYTES_MAX} bytes, got {}", header.len());
        return Err(unreadable(reason));
    }
    let json = BASE64.decode(header).map_err(|error| unreadable(format!("expected base64: {error}")))?;
    serde_json::from_slice(&json).map_err(|error| unreadable(error.to_string()))
}

/// Check all that does not depend on the call or on the time.
pub(crate) fn check_form(payload: &PaymentPayload, chain_id: u64) -> Result<Paid, Refusal> {
    let accepted = &payload.accepted;
    let cut = |text: &str| text.chars().take(80).collect::<String>();
    if payload.x402_version != X402_VERSION {
        return Err(Refusal::Version { got: payload.x402_version });
    }
    if accepted.scheme != SCHEME {
        return Err(Refusal::Scheme { got: cut(&accepted.scheme) });
    }
    let expected = caip2(chain_id);
    if accepted.network != expected {
        return Err(Refusal::Network { expected, got: cut(&accepted.network) });
    }
    if accepted.asset != OPG_ADDRESS {
        return Err(Refusal::Asset { got: accepted.asset });
    }
    let signed = SignedAuthorization::from(&payload.payload);
    let (expected, got) = (accepted.pay_to, signed.authorization.to);
    if expected != got {
        return Err(Refusal::Payee { expected, got });
    }
    eip712::verify_authorization(chain_id, &signed).map_err(|source| Refusal::Signature { source })?;
    Ok(Paid { signed, quoted_for: accepted.extra.model_id })
}

/// Check what must hold when money is reserved.
pub(crate) fn check_terms(paid: &Paid, need: &Need) -> Result<(), Refusal> {
    let Authorization { to, value, valid_after, valid_before, .. } = paid.signed.authorization;
    if paid.quoted_for != need.model {
        return Err(Refusal::Model { expected: need.model, got: paid.quoted_for });
    }
    if to != need.payee {
        return Err(Refusal::Payee { expected: need.payee, got: to });
    }
    if value < need.least {
        return Err(Refusal::Value { expected: need.least, got: value });
    }
    let now = need.now_ms / 1000;
    if valid_after >= now {
        return Err(Refusal::TooEarly { now, got: valid_after });
    }
    let expected = now.saturating_add(need.margin_s);
    if valid_before <= expected {
        return Err(Refusal::TooLate { expected, got: valid_before });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
