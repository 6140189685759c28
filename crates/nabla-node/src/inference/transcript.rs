//! Handing a transcript to a verifier, and to nobody else.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use nabla_types::{
    NetworkId, NodeId, ReceiptId, cbor,
    chain::Role,
    signature::{self, Domain, NodeKey, Signature},
};
use serde::{Deserialize, Serialize};

use super::Inference;
use crate::{
    clock::now_ms,
    http::{Answer, Problem},
};

/// How far a verifier's clock may be from ours, in milliseconds.
const CLOCK_SKEW_MS: u64 = 60_000;

/// A verifier's request for the transcript of one receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TranscriptRequest {
    receipt: ReceiptId,
    verifier: NodeId,
    time_ms: u64,
    signature: Signature,
}

/// Sign a request for a transcript.
pub(crate) fn transcript_request(
    key: &NodeKey,
    network: NetworkId,
    receipt: ReceiptId,
    time_ms: u64,
) -> TranscriptRequest {
    let verifier = key.id();
    let signature = key.sign(Domain::TRANSCRIPT, network, &cbor::encode(&(receipt, verifier, time_ms)));
    TranscriptRequest { receipt, verifier, time_ms, signature }
}

pub(super) async fn post_transcript(
    State(node): State<Arc<Inference>>,
    Json(request): Json<TranscriptRequest>,
) -> Answer<Vec<u8>> {
    node.check_verifier(&request).await?;
    let found = node.transcripts.of_receipt(request.receipt);
    let found = found.map_err(|error| Problem::unavailable("node_failed", error))?;
    match found {
        Some(transcript) => Ok(cbor::encode(&transcript)),
        None => Err(Problem::not_found(
            "unknown_receipt",
            format!("no transcript of receipt {}", request.receipt),
        )),
    }
}

impl Inference {
    async fn check_verifier(&self, request: &TranscriptRequest) -> Answer<()> {
        let refused = |text: String| Err(Problem::new(StatusCode::FORBIDDEN, "not_a_verifier", text));
        let TranscriptRequest { receipt, verifier, time_ms, signature } = request;
        let bytes = cbor::encode(&(*receipt, *verifier, *time_ms));
        if let Err(error) = signature::verify(*verifier, Domain::TRANSCRIPT, self.network, &bytes, signature)
        {
            return refused(error.to_string());
        }
        let now = now_ms();
        if now.abs_diff(*time_ms) > CLOCK_SKEW_MS {
            return refused(format!(
                "expected a request made within {CLOCK_SKEW_MS} ms of {now}, got {time_ms}"
            ));
        }
        let record = self.ledger.node(*verifier).await?;
        match record.is_some_and(|record| record.announcement.roles.contains(&Role::Verifier)) {
            true => Ok(()),
            false => refused(format!("node {verifier} is not registered as a verifier")),
        }
    }
}
