//! The role `gateway`: the network behind `nabla-gateway`'s `Backend`.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD_NO_PAD};
use bytes::Bytes;
use nabla_client::{Error, Http, LedgerClient};
use nabla_gateway::{Backend, BackendError, JobAnswer, JobStream, NetworkInfo, Provider, Resolved, RunError};
use nabla_types::{
    ModelId, NodeId, PaymentId, RepoName,
    api::{ErrorInfo, HEADER_PAYMENT_ID, HEADER_RECEIPT, HEADER_SALT, INFER_BYTES_MAX, NodeInfo},
    cbor,
    chain::{NodeAnnouncement, NodeRecord, Payment, Reassignment, Release, Reservation, Role, Tx},
    manifest::ModelManifest,
    receipt::{RECEIPT_BYTES_MAX, Salt},
    signature::{Domain, NodeKey},
};
use reqwest::{Method, Response};
use tokio::task::JoinSet;

use crate::{clock::now_ms, models::Models};

/// How long a node may take to say what it is doing.
const NODE_INFO_TIMEOUT: Duration = Duration::from_secs(2);
/// How long what a node said of itself is believed, in milliseconds.
const NODE_INFO_LIFE_MS: u64 = 500;
/// Most manifests that are remembered.
const MANIFESTS_MAX: usize = 4096;

/// The network as a gateway node reaches it.
#[derive(Debug)]
pub(crate) struct NetworkBackend {
    pub(crate) info: NetworkInfo,
    pub(crate) key: NodeKey,
    pub(crate) http: Http,
    pub(crate) ledger: LedgerClient,
    pub(crate) models: Arc<Models>,
    pub(crate) cache: Cache,
}

/// What need not be asked again: manifests never change, nodes' words are good for a moment.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    manifests: Mutex<HashMap<ModelId, ModelManifest>>,
    nodes: Mutex<KnownNodes>,
}

#[derive(Debug, Default)]
struct KnownNodes {
    until_ms: u64,
    announcements: Vec<NodeAnnouncement>,
    answered: Vec<(NodeRecord, NodeInfo)>,
}

impl NetworkBackend {
    async fn manifest(&self, model: ModelId) -> Result<ModelManifest, BackendError> {
        let known = self.cache.manifests.lock().unwrap_or_else(PoisonError::into_inner).get(&model).cloned();
        if let Some(manifest) = known {
            return Ok(manifest);
        }
        let manifest = self.models.manifest(model).await;
        let manifest =
            manifest.map_err(|error| BackendError::new(503, "model_unavailable", error.to_string()))?;
        let mut manifests = self.cache.manifests.lock().unwrap_or_else(PoisonError::into_inner);
        if manifests.len() >= MANIFESTS_MAX {
            manifests.clear();
        }
        manifests.insert(model, manifest.clone());
        Ok(manifest)
    }

    /// The inference nodes that answer, with what they say of themselves. Who is registered is asked each
    /// time; what they said is believed for a moment.
    async fn nodes(&self) -> Result<Vec<(NodeRecord, NodeInfo)>, BackendError> {
        let records = self.ledger.nodes(Role::Inference).await.map_err(backend_error)?;
        let announcements: Vec<NodeAnnouncement> =
            records.iter().map(|record| record.announcement.clone()).collect();
        let now = now_ms();
        {
            let known = self.cache.nodes.lock().unwrap_or_else(PoisonError::into_inner);
            if known.until_ms > now && known.announcements == announcements {
                return Ok(known.answered.clone());
            }
        }
        let mut asked = JoinSet::new();
        for record in records {
            let http = self.http.clone();
            asked.spawn(async move {
                let url = format!("{}/nabla/v1/node", record.announcement.endpoint.trim_end_matches('/'));
                let info = tokio::time::timeout(NODE_INFO_TIMEOUT, http.get_json::<NodeInfo>(&url)).await;
                let info =
                    info.ok().and_then(Result::ok).filter(|info| info.node == record.announcement.node);
                info.map(|info| (record, info))
            });
        }
        let answered: Vec<_> = asked.join_all().await.into_iter().flatten().collect();
        // That nobody answers is not remembered: somebody may come up at any moment.
        let until_ms = if answered.is_empty() { 0 } else { now + NODE_INFO_LIFE_MS };
        let known = KnownNodes { until_ms, announcements, answered: answered.clone() };
        *self.cache.nodes.lock().unwrap_or_else(PoisonError::into_inner) = known;
        Ok(answered)
    }

    /// What nodes said of themselves is asked anew next time: one of them did not answer.
    fn doubt_nodes(&self) {
        self.cache.nodes.lock().unwrap_or_else(PoisonError::into_inner).until_ms = 0;
    }

    async fn submit(&self, tx: Tx) -> Result<(), BackendError> {
        self.ledger.submit(&tx).await.map(drop).map_err(backend_error)
    }
}

impl Backend for NetworkBackend {
    fn network(&self) -> NetworkInfo {
        self.info.clone()
    }

    fn now_ms(&self) -> u64 {
        now_ms()
    }

    async fn resolve(&self, name: &RepoName) -> Result<Resolved, BackendError> {
        let record = self.ledger.repo(name).await.map_err(backend_error)?;
        let manifest = self.manifest(record.latest().model).await?;
        Ok(Resolved { record, manifest })
    }

    async fn providers(&self, model: ModelId) -> Result<Vec<Provider>, BackendError> {
        let provider = |(record, info): (NodeRecord, NodeInfo)| Provider {
            node: record.announcement.node,
            endpoint: record.announcement.endpoint,
            per_call: record.announcement.per_call,
            per_gigamac: record.announcement.per_gigamac,
            warm: info.warm_models.contains(&model),
            running: info.running,
            running_max: info.running_max,
        };
        Ok(self.nodes().await?.into_iter().map(provider).collect())
    }

    async fn payment(&self, payment: PaymentId) -> Result<Option<Payment>, BackendError> {
        self.ledger.payment(payment).await.map_err(backend_error)
    }

    async fn reserve(&self, reservation: Reservation) -> Result<(), BackendError> {
        let signature = self.key.sign(Domain::RESERVE, self.info.network, &cbor::encode(&reservation));
        self.submit(Tx::Reserve(reservation, signature)).await
    }

    async fn reassign(&self, payment: PaymentId, from: NodeId, to: NodeId) -> Result<(), BackendError> {
        let reassignment = Reassignment { payment, from, to };
        let signature = self.key.sign(Domain::RESERVE, self.info.network, &cbor::encode(&reassignment));
        self.submit(Tx::Reassign(reassignment, signature)).await
    }

    async fn release(&self, payment: PaymentId) -> Result<(), BackendError> {
        let release = Release { payment, node: self.key.id() };
        let signature = self.key.sign(Domain::RELEASE, self.info.network, &cbor::encode(&release));
        self.submit(Tx::Release(release, signature)).await
    }

    async fn run(
        &self,
        provider: &Provider,
        payment: PaymentId,
        request: Bytes,
    ) -> Result<JobAnswer, RunError> {
        let response = self.ask(provider, payment, request).await?;
        let receipt = header(&response, HEADER_RECEIPT, RECEIPT_BYTES_MAX * 2)?;
        let receipt =
            BASE64_STANDARD_NO_PAD.decode(receipt).map_err(|error| bad_receipt(&error.to_string()))?;
        let salt = salt(&response)?;
        let response = nabla_client::body(&jobs_url(provider), response, INFER_BYTES_MAX as u64)
            .await
            .map_err(run_error)?;
        Ok(JobAnswer { response, receipt, salt })
    }

    async fn stream(
        &self,
        provider: &Provider,
        payment: PaymentId,
        request: Bytes,
    ) -> Result<JobStream, RunError> {
        let response = self.ask(provider, payment, request).await?;
        let salt = salt(&response)?;
        let events = axum::body::Body::new(reqwest::Body::from(response));
        Ok(JobStream { salt, events })
    }
}

impl NetworkBackend {
    /// A provider's answer, once it begins.
    async fn ask(
        &self,
        provider: &Provider,
        payment: PaymentId,
        request: Bytes,
    ) -> Result<Response, RunError> {
        let url = jobs_url(provider);
        let sent = self
            .http
            .request(Method::POST, &url)
            .header(HEADER_PAYMENT_ID, payment.to_string())
            .body(request);
        nabla_client::send(&url, sent).await.map_err(run_error).inspect_err(|_| self.doubt_nodes())
    }
}

fn jobs_url(provider: &Provider) -> String {
    format!("{}/nabla/v1/jobs", provider.endpoint.trim_end_matches('/'))
}

fn salt(response: &Response) -> Result<Salt, RunError> {
    let salt = header(response, HEADER_SALT, 64)?;
    salt.parse().map_err(|error: nabla_types::id::IdError| bad_receipt(&error.to_string()))
}

fn header<'r>(response: &'r Response, name: &str, length_max: usize) -> Result<&'r str, RunError> {
    let value = response.headers().get(name).and_then(|value| value.to_str().ok());
    value
        .filter(|value| value.len() <= length_max)
        .ok_or_else(|| bad_receipt(&format!("no sound header {name}")))
}

fn bad_receipt(reason: &str) -> RunError {
    RunError::BadReceipt { reason: reason.to_owned() }
}

/// A client's fault ends the call; everything else may go better elsewhere.
fn run_error(error: Error) -> RunError {
    match error {
        Error::Answered { status: status @ 400..=499, info, .. }
            if status != 429 && !node_specific(&info) =>
        {
            RunError::Rejected { status, info }
        }
        other => RunError::Unreachable { reason: other.to_string() },
    }
}

/// Errors that another node may not have, though their status blames the caller.
fn node_specific(info: &ErrorInfo) -> bool {
    matches!(info.code.as_str(), "payment_not_reserved" | "unknown_payment" | "underpaid" | "receipt_terms")
}

fn backend_error(error: Error) -> BackendError {
    let (status, code) = match &error {
        Error::Answered { status, info, .. } => (*status, info.code.clone()),
        Error::UnknownRepo { .. } => (404, error.code().to_owned()),
        _ => (503, "ledger_unavailable".to_owned()),
    };
    let message = match &error {
        Error::Answered { info, .. } => info.message.clone(),
        other => other.to_string(),
    };
    let answer = BackendError::new(status, &code, message);
    match error.hint() {
        Some(hint) => answer.with_hint(hint),
        None => answer,
    }
}
