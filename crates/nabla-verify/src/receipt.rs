//! Checking a receipt against what its reader has.
//!
//! # Rules
//! - Every check stands alone: one that fails does not hide the next, but without a readable, signed
//!   receipt nothing else is worth looking at.
//! - What the reader does not have is reported as skipped, with what would be needed.

use nabla_types::{
    Address, ModelId, NetworkId, PaymentId, RepoName,
    api::{InferRequest, InferResponse},
    cbor,
    chain::InclusionProof,
    chat::is_chat,
    embed::{is_embed, is_embed_answer},
    payment::Nonce,
    receipt::{Commitment, CommitmentLabel, Receipt, Salt, SignedReceipt, TensorCommitment},
    tensor::{NamedTensor, TensorJson},
};

use crate::{
    chat, merkle,
    report::{Check, CheckName, Outcome, Report},
};

/// What the reader of a receipt has to check it against. Everything is optional.
#[derive(Debug, Clone, Default)]
pub struct Context<'a> {
    /// The network it should belong to.
    pub network: Option<NetworkId>,
    /// The nonce the reader chose.
    pub nonce: Option<Nonce>,
    /// The model the reader asked for.
    pub model: Option<ModelId>,
    /// The payment the reader made.
    pub payment: Option<PaymentId>,
    /// The request, byte for byte.
    pub request: Option<&'a [u8]>,
    /// The response, byte for byte.
    pub response: Option<&'a [u8]>,
    /// The salt that opens the commitments.
    pub salt: Option<Salt>,
    /// Who paid.
    pub payer: Option<Address>,
    /// An encoded [`InclusionProof`].
    pub proof: Option<&'a [u8]>,
}

/// Check a receipt's bytes against a context.
#[must_use]
pub fn verify_receipt(bytes: &[u8], context: &Context<'_>) -> Report {
    let signed = match SignedReceipt::from_bytes(bytes) {
        Ok(signed) => signed,
        Err(error) => return unreadable(&error.to_string()),
    };
    let claims = signed.claims();
    let mut checks = vec![
        check(CheckName::Format, passed(format!("{} bytes, receipt {}", bytes.len(), signed.id()))),
        check(CheckName::Signature, signature(&signed)),
        check(CheckName::Network, same("the expected network", context.network, claims.network)),
        check(CheckName::Nonce, same("the nonce that was sent", context.nonce, claims.nonce)),
        check(CheckName::Model, same("the expected model", context.model, claims.model)),
        check(CheckName::Payment, same("the payment that was made", context.payment, claims.payment)),
    ];
    checks.extend(request_checks(claims, context));
    checks.extend(response_checks(claims, context));
    checks.push(check(CheckName::Amount, amount(claims)));
    checks.push(check(CheckName::Payer, payer(claims, context)));
    checks.push(check(CheckName::Inclusion, inclusion(bytes, claims, context.proof)));
    checks.push(check(CheckName::Replay, skipped("a run of the model on these inputs")));
    Report { receipt_id: Some(signed.id()), claims: Some(claims.clone()), checks }
}

fn unreadable(got: &str) -> Report {
    let outcome = failed("a nabla receipt (COSE_Sign1, deterministic CBOR)", got);
    Report { receipt_id: None, claims: None, checks: vec![check(CheckName::Format, outcome)] }
}

fn check(check: CheckName, outcome: Outcome) -> Check {
    Check { check, outcome }
}

pub(crate) fn passed(detail: impl ToString) -> Outcome {
    Outcome::Passed { detail: detail.to_string() }
}

pub(crate) fn failed(expected: impl ToString, got: impl ToString) -> Outcome {
    Outcome::Failed { expected: expected.to_string(), got: got.to_string() }
}

pub(crate) fn skipped(missing: impl ToString) -> Outcome {
    Outcome::Skipped { missing: missing.to_string() }
}

fn signature(signed: &SignedReceipt) -> Outcome {
    match signed.verify() {
        Ok(()) => passed(format!("ed25519 of provider {}", signed.claims().provider)),
        Err(error) => failed("a signature by the provider named in the receipt", error),
    }
}

fn same<T: PartialEq + ToString>(missing: &str, expected: Option<T>, got: T) -> Outcome {
    match expected {
        None => skipped(missing),
        Some(expected) if expected == got => passed(got.to_string()),
        Some(expected) => failed(expected.to_string(), got.to_string()),
    }
}

fn opens(salt: Salt, label: &CommitmentLabel<'_>, bytes: &[u8], got: Commitment) -> Outcome {
    let expected = salt.commit(label, bytes);
    if expected == got {
        return passed(format!("{} bytes", bytes.len()));
    }
    failed(format!("a commitment to these {} bytes ({expected})", bytes.len()), got)
}

fn request_checks(claims: &Receipt, context: &Context<'_>) -> [Check; 2] {
    let (request, inputs) = match (context.request, context.salt) {
        (Some(bytes), Some(salt)) => (
            opens(salt, &CommitmentLabel::Request, bytes, claims.request),
            request_content(claims, salt, bytes),
        ),
        _ => (skipped("the request and the salt"), skipped("the request and the salt")),
    };
    [check(CheckName::Request, request), check(CheckName::Inputs, inputs)]
}

fn response_checks(claims: &Receipt, context: &Context<'_>) -> [Check; 2] {
    let (response, outputs) = match (context.response, context.salt) {
        (Some(bytes), Some(salt)) => (
            opens(salt, &CommitmentLabel::Response, bytes, claims.response),
            response_content(claims, salt, bytes),
        ),
        _ => (skipped("the response and the salt"), skipped("the response and the salt")),
    };
    [check(CheckName::Response, response), check(CheckName::Outputs, outputs)]
}

fn request_content(claims: &Receipt, salt: Salt, bytes: &[u8]) -> Outcome {
    if is_chat(bytes) {
        return chat::asked(claims, bytes);
    }
    if is_embed(bytes) {
        return chat::asked_vectors(claims, bytes);
    }
    let request: InferRequest = match serde_json::from_slice(bytes) {
        Ok(request) => request,
        Err(error) => return failed("a request in JSON", error),
    };
    if let Some(outcome) = other_call(claims, request.nonce, &request.model, request.model_id) {
        return outcome;
    }
    tensors(salt, request.inputs, &claims.inputs, |name| CommitmentLabel::Input(name))
}

/// That a request is not the one that the claims name.
pub(crate) fn other_call(
    claims: &Receipt,
    nonce: Nonce,
    model: &RepoName,
    model_id: Option<ModelId>,
) -> Option<Outcome> {
    if nonce != claims.nonce {
        return Some(failed(format!("the request's nonce {nonce}"), claims.nonce));
    }
    if *model != claims.model_name {
        return Some(failed(format!("the request's model {model}"), &claims.model_name));
    }
    let model_id = model_id.filter(|model| *model != claims.model)?;
    Some(failed(format!("the request's model id {model_id}"), claims.model))
}

/// That an answer is not of the model that the claims name.
pub(crate) fn other_model(claims: &Receipt, model: &RepoName, model_id: ModelId) -> Option<Outcome> {
    if *model != claims.model_name {
        return Some(failed(format!("the response's model {model}"), &claims.model_name));
    }
    (model_id != claims.model).then(|| failed(format!("the response's model id {model_id}"), claims.model))
}

fn response_content(claims: &Receipt, salt: Salt, bytes: &[u8]) -> Outcome {
    if chat::is_answer(bytes) {
        return chat::answered(claims, salt, bytes);
    }
    if is_embed_answer(bytes) {
        return chat::answered_vectors(claims, salt, bytes);
    }
    let response: InferResponse = match serde_json::from_slice(bytes) {
        Ok(response) => response,
        Err(error) => return failed("a response in JSON", error),
    };
    if let Some(outcome) = other_model(claims, &response.model_name, response.model_id) {
        return outcome;
    }
    tensors(salt, response.outputs, &claims.outputs, |name| CommitmentLabel::Output(name))
}

fn tensors(
    salt: Salt,
    tensors: Vec<TensorJson>,
    commitments: &[TensorCommitment],
    label: impl Fn(&str) -> CommitmentLabel<'_>,
) -> Outcome {
    if tensors.len() != commitments.len() {
        return failed(format!("{} tensors", tensors.len()), format!("{} commitments", commitments.len()));
    }
    for (json, committed) in tensors.into_iter().zip(commitments) {
        let tensor = match NamedTensor::from_json(json) {
            Ok(tensor) => tensor,
            Err(error) => return failed("a tensor", error),
        };
        let expected = salt.commit(&label(&tensor.name), &tensor.tensor.to_bytes());
        if tensor.name != committed.name || expected != committed.commitment {
            return failed(
                format!("a commitment to tensor {:?} ({expected})", tensor.name),
                format!("one to {:?} ({})", committed.name, committed.commitment),
            );
        }
    }
    passed(commitments.iter().map(|c| c.name.as_str()).collect::<Vec<_>>().join(", "))
}

fn amount(claims: &Receipt) -> Outcome {
    match claims.price.amount(&claims.usage) {
        Some(expected) if expected == claims.amount => passed(format!("{expected} OPG")),
        Some(expected) => failed(format!("{expected} OPG"), format!("{} OPG", claims.amount)),
        None => failed("an amount below 2^128", "an overflow"),
    }
}

fn payer(claims: &Receipt, context: &Context<'_>) -> Outcome {
    match (context.payer, context.salt) {
        (Some(payer), Some(salt)) => {
            match opens(salt, &CommitmentLabel::Payer, payer.as_bytes(), claims.payer) {
                Outcome::Passed { .. } => passed(payer),
                other => other,
            }
        }
        _ => skipped("the payer's address and the salt"),
    }
}

fn inclusion(receipt: &[u8], claims: &Receipt, proof: Option<&[u8]>) -> Outcome {
    let Some(bytes) = proof else {
        return skipped("an inclusion proof");
    };
    let proof: InclusionProof = match cbor::decode("inclusion proof", bytes, InclusionProof::BYTES_MAX) {
        Ok(proof) => proof,
        Err(error) => return failed("an inclusion proof", error),
    };
    let network = proof.genesis.network();
    let header = &proof.header.header;
    for got in [network, header.network] {
        if got != claims.network {
            return failed(format!("a block of network {}", claims.network), format!("one of {got}"));
        }
    }
    if let Err(error) = proof.header.verify(&proof.genesis) {
        return failed("a block header signed by the network's validator", error);
    }
    let place = merkle::Place { index: proof.leaf_index, count: header.receipt_count };
    match merkle::Tree::Receipts.verify(header.receipts_root, receipt, place, &proof.path) {
        Ok(()) => passed(format!("block {}, receipt {} of {}", header.height, place.index + 1, place.count)),
        Err(error) => failed("a path from this receipt to the block's root", error),
    }
}
