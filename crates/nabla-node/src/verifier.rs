//! The role `verifier`: takes settled receipts, runs them again on its own engine, posts verdicts.
//!
//! It follows the ledger block by block and remembers on disk how far it has come. A receipt whose
//! transcript or model cannot be had is tried a few times and then left without a verdict: that a node
//! cannot check something is no evidence against anybody.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use nabla_client::{Http, LedgerClient};
use nabla_types::{
    NetworkId, ReceiptId,
    api::ReceiptRecord,
    cbor,
    chain::{Outcome, Tx, Verdict},
    receipt::SignedReceipt,
    signature::{Domain, NodeKey},
};
use nabla_verify::{Context, verify_receipt};
use reqwest::Method;
use tokio::task::JoinSet;

use crate::{
    clock::now_ms,
    files::write_new,
    inference::transcript_request,
    models::Models,
    replay::{Replay, ReplayError, replay, replay_chat},
    transcripts::{TRANSCRIPT_BYTES_MAX, Transcript},
};

/// Times that one receipt is tried.
const ATTEMPTS: u32 = 3;
/// Receipts in work at once.
const WORKING_MAX: usize = 4;
/// How long one attempt may take: fetching transcript and model, and the run.
const VERDICT_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Verifier {
    pub(crate) key: NodeKey,
    pub(crate) network: NetworkId,
    pub(crate) http: Http,
    pub(crate) ledger: LedgerClient,
    pub(crate) models: Arc<Models>,
    /// Remembers the height up to which receipts were looked at.
    pub(crate) progress: PathBuf,
    pub(crate) poll_ms: u64,
}

impl Verifier {
    /// Work until the process ends.
    pub(crate) async fn run(self) {
        let verifier = Arc::new(self);
        let mut height = verifier.read_progress();
        loop {
            match verifier.ledger.receipts_after(height).await {
                Ok(records) if records.is_empty() => verifier.pause().await,
                Ok(records) => {
                    height = records.iter().map(|record| record.height).fold(height, u64::max);
                    verifier.judge_all(records).await;
                    verifier.write_progress(height);
                }
                Err(error) => {
                    tracing::warn!(%error, "ledger not read");
                    verifier.pause().await;
                }
            }
        }
    }

    /// Judge a page of receipts, a few at a time, so that one slow provider does not hold up the others.
    async fn judge_all(self: &Arc<Self>, records: Vec<ReceiptRecord>) {
        let mut working = JoinSet::new();
        for record in records {
            if working.len() >= WORKING_MAX {
                working.join_next().await;
            }
            let verifier = self.clone();
            working.spawn(async move { verifier.judge(&record).await });
        }
        working.join_all().await;
    }

    async fn pause(&self) {
        tokio::time::sleep(Duration::from_millis(self.poll_ms)).await;
    }

    fn read_progress(&self) -> u64 {
        fs::read_to_string(&self.progress).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    }

    fn write_progress(&self, height: u64) {
        if let Err(error) = write_new(&self.progress, height.to_string().as_bytes()) {
            tracing::error!(%error, "progress not kept; receipts will be looked at again after a restart");
        }
    }

    async fn judge(&self, record: &ReceiptRecord) {
        if record.verdicts.iter().any(|verdict| verdict.verifier == self.key.id()) {
            return;
        }
        for attempt in 1..=ATTEMPTS {
            let verdict = tokio::time::timeout(VERDICT_TIMEOUT, self.verdict(record)).await;
            match verdict.unwrap_or_else(|_| Err(format!("no end within {} s", VERDICT_TIMEOUT.as_secs()))) {
                Ok(Some(outcome)) => {
                    tracing::info!(receipt = %record.receipt, ?outcome, "verdict posted");
                    return;
                }
                Ok(None) => return,
                Err(reason) => {
                    tracing::warn!(receipt = %record.receipt, attempt, %reason, "receipt not replayed")
                }
            }
            self.pause().await;
        }
    }

    /// Replay and post. `None` for a receipt of this node itself.
    async fn verdict(&self, record: &ReceiptRecord) -> Result<Option<Outcome>, String> {
        let bytes = hex::decode(&record.cose).map_err(|error| error.to_string())?;
        let receipt = SignedReceipt::from_bytes(&bytes).map_err(|error| error.to_string())?;
        if receipt.claims().provider == self.key.id() {
            return Ok(None);
        }
        let transcript = self.transcript(&receipt).await?;
        let context = Context {
            network: Some(self.network),
            request: Some(&transcript.request),
            response: Some(&transcript.response),
            salt: Some(transcript.salt),
            ..Context::default()
        };
        if let Some(reason) = verify_receipt(&bytes, &context).failure_text() {
            return Err(format!("the provider's transcript is not the receipt's: {reason}"));
        }
        let outcome = self.replay(&receipt, transcript).await?;
        self.post(receipt.id(), outcome).await?;
        Ok(Some(outcome))
    }

    async fn transcript(&self, receipt: &SignedReceipt) -> Result<Transcript, String> {
        let provider =
            self.ledger.node(receipt.claims().provider).await.map_err(|error| error.to_string())?;
        let provider = provider.ok_or("the provider is not registered")?;
        let url = format!("{}/nabla/v1/transcripts", provider.announcement.endpoint.trim_end_matches('/'));
        let request = transcript_request(&self.key, self.network, receipt.id(), now_ms());
        let body = Bytes::from(serde_json::to_vec(&request).map_err(|error| error.to_string())?);
        let bytes = self.http.post_for_bytes(Method::POST, &url, body, TRANSCRIPT_BYTES_MAX as u64).await;
        let bytes = bytes.map_err(|error| error.to_string())?;
        cbor::decode("transcript", &bytes, TRANSCRIPT_BYTES_MAX).map_err(|error| error.to_string())
    }

    async fn replay(&self, receipt: &SignedReceipt, transcript: Transcript) -> Result<Outcome, String> {
        let claims = receipt.claims().clone();
        let manifest = self.models.manifest(claims.model).await.map_err(|error| error.to_string())?;
        let Transcript { request, response, salt, .. } = transcript;
        let work: Box<dyn FnOnce() -> Result<Replay, ReplayError> + Send> = if manifest.language.is_some() {
            let loaded = self.models.get_language(claims.model).await.map_err(|error| error.to_string())?;
            Box::new(move || {
                replay_chat(&loaded.model, &loaded.manifest, &claims, (&request, &response), salt)
            })
        } else {
            let loaded = self.models.get(claims.model).await.map_err(|error| error.to_string())?;
            Box::new(move || replay(&loaded, &claims, &request, salt))
        };
        let result = tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())?;
        match result.map_err(|error| error.to_string())? {
            Replay::Equal => Ok(Outcome::Equal),
            // What was expected and got may be words of an answer: they are not logged.
            Replay::Different { what, .. } => {
                tracing::warn!(receipt = %receipt.id(), what, "replay differs");
                Ok(Outcome::Different)
            }
        }
    }

    async fn post(&self, receipt: ReceiptId, outcome: Outcome) -> Result<(), String> {
        let verdict = Verdict { receipt, verifier: self.key.id(), outcome };
        let signature = self.key.sign(Domain::VERDICT, self.network, &cbor::encode(&verdict));
        self.ledger
            .submit(&Tx::Verdict(verdict, signature))
            .await
            .map(drop)
            .map_err(|error| error.to_string())
    }
}
