//! Whether a provider's answer is what was asked and paid for. Pure.
//!
//! # Rules
//! - Every check that `nabla_verify` knows for an answer must pass, not merely not fail. Only the tokens of a chat's
//!   prompt are not looked at: they follow from the messages by the model's vocabulary, which is not here.
//! - Beyond the receipt's own consistency: the provider is the one that was asked, the revision the one that
//!   was reserved, usage and kernel spec those of the model's manifest, and the amount at most what was
//!   quoted for that provider, by the unit and in all. A chat uses at most what was quoted, and exactly what its tokens cost.

use bytes::Bytes;
use nabla_types::{
    Address, BlobId, ModelId, NetworkId, NodeId, Opg, PaymentId, ReceiptId,
    api::SettlementResponse,
    payment::Nonce,
    receipt::{Price, Receipt, Salt, Usage},
};
use nabla_verify::{CheckName, Context, verify_receipt};

use crate::{backend::JobAnswer, quote::Work};

/// One call, as all its attempts share it.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) network: NetworkId,
    pub(crate) payment: PaymentId,
    pub(crate) payer: Address,
    pub(crate) model: ModelId,
    pub(crate) revision: BlobId,
    pub(crate) nonce: Nonce,
    /// The request, byte for byte.
    pub(crate) request: Bytes,
    pub(crate) is_language: bool,
    /// `None` if the model is no longer the one that the name stands for, so that its manifest is not at hand.
    pub(crate) work: Option<Work>,
}

/// What one provider's answer must meet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) provider: NodeId,
    /// What its units cost at most.
    pub(crate) price_max: Price,
    pub(crate) amount_max: Opg,
}

/// The checks that must have been made and passed.
const NEEDED: [CheckName; 12] = [
    CheckName::Format,
    CheckName::Signature,
    CheckName::Network,
    CheckName::Nonce,
    CheckName::Model,
    CheckName::Payment,
    CheckName::Request,
    CheckName::Inputs,
    CheckName::Response,
    CheckName::Outputs,
    CheckName::Amount,
    CheckName::Payer,
];

/// The receipt's id. `Err` says which check failed, what was expected and what was got.
pub(crate) fn check(answer: &JobAnswer, job: &Job, bounds: &Bounds) -> Result<ReceiptId, String> {
    let context = Context {
        network: Some(job.network),
        nonce: Some(job.nonce),
        model: Some(job.model),
        payment: Some(job.payment),
        request: Some(&job.request),
        response: Some(&answer.response),
        salt: Some(answer.salt),
        payer: Some(job.payer),
        proof: None,
    };
    let report = verify_receipt(&answer.receipt, &context);
    if let Some(failure) = report.failure_text() {
        return Err(failure);
    }
    if let Some(missing) = NEEDED.into_iter().find(|name| !report.passed(*name) && !is_excused(*name, job)) {
        return Err(format!("{}: was not checked", missing.as_str()));
    }
    let (Some(claims), Some(receipt)) = (&report.claims, report.receipt_id) else {
        return Err("format: expected claims".to_owned());
    };
    check_claims(claims, job, bounds).map(|()| receipt)
}

/// What a gateway cannot check of a chat. It has not failed either.
fn is_excused(name: CheckName, job: &Job) -> bool {
    job.is_language && name == CheckName::Inputs
}

fn check_claims(claims: &Receipt, job: &Job, bounds: &Bounds) -> Result<(), String> {
    if claims.provider != bounds.provider {
        return Err(format!("provider: expected {}, got {}", bounds.provider, claims.provider));
    }
    if claims.revision != job.revision {
        return Err(format!("revision: expected {}, got {}", job.revision, claims.revision));
    }
    if claims.amount > bounds.amount_max {
        let (expected, got) = (bounds.amount_max, claims.amount);
        return Err(format!("amount: expected at most {expected} OPG, got {got} OPG"));
    }
    let (got, most) = (&claims.price, &bounds.price_max);
    // What is used of a quote can be little: its amount alone would leave room for a dearer price.
    if got.per_call > most.per_call || got.per_gigamac > most.per_gigamac || got.royalty > most.royalty {
        return Err(format!("price: expected at most {most:?}, got {got:?}"));
    }
    let Some(work) = &job.work else {
        return Ok(());
    };
    check_usage(&claims.usage, work)?;
    if claims.kernel_spec != work.kernel_spec {
        return Err(format!("kernel spec: expected {}, got {}", work.kernel_spec, claims.kernel_spec));
    }
    Ok(())
}

fn check_usage(got: &Usage, work: &Work) -> Result<(), String> {
    let most = work.usage;
    let Some(macs_per_token) = work.macs_per_token else {
        return if *got == most { Ok(()) } else { Err(format!("usage: expected {most:?}, got {got:?}")) };
    };
    let tokens = got.tokens_in.checked_add(got.tokens_out);
    let macs = tokens.and_then(|tokens| tokens.checked_mul(macs_per_token));
    if got.tokens_in > most.tokens_in || got.tokens_out > most.tokens_out {
        return Err(format!("usage: expected at most {most:?}, got {got:?}"));
    }
    match macs {
        Some(macs) if (got.macs, got.rows) == (macs, most.rows) => Ok(()),
        macs => Err(format!("usage: expected {macs:?} multiply-accumulates for these tokens, got {got:?}")),
    }
}

/// A checked answer, as the client gets it.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) response: Bytes,
    /// COSE bytes.
    pub(crate) receipt: Bytes,
    pub(crate) salt: Salt,
    /// Where the payment stands; `None` if the ledger does not say at the moment.
    pub(crate) settlement: Option<SettlementResponse>,
}
