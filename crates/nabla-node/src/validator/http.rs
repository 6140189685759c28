//! The ledger over HTTP. See the parent for the calls.

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, Query, State},
    http::StatusCode,
    routing::{get, post},
};
use nabla_ledger::{Sequencer, SubmitError};
use nabla_types::{
    Address, Opg, ReceiptId, RepoName,
    api::{Included, LedgerStatus, ReceiptRecord},
    cbor,
    chain::{Account, NodeRecord, Payment, RepoRecord, Role, StoredBlob, TX_BYTES_MAX, Tx},
};
use serde::Deserialize;

use super::{faucet::Faucet, sequencer::SingleValidator};
use crate::http::{Answer, Problem, parse};

/// Most repositories in one answer.
const REPOS_MAX: usize = 1000;
/// A page of receipts ends with the block that brings it to this many.
const RECEIPTS_PAGE: usize = 256;

struct Ledger {
    sequencer: Arc<SingleValidator>,
    faucet: Option<Faucet>,
}

type Shared = State<Arc<Ledger>>;

pub(super) fn router(sequencer: Arc<SingleValidator>, faucet: Option<Faucet>) -> Router {
    let ledger = Router::new()
        .route("/genesis", get(genesis))
        .route("/status", get(status))
        .route("/accounts/{address}", get(account))
        .route("/repos", get(repos))
        .route("/repos/{owner}/{name}", get(repo))
        .route("/nodes", get(nodes))
        .route("/nodes/{node}", get(node))
        .route("/blobs/{blob}", get(blob))
        .route("/payments/{payment}", get(payment))
        .route("/receipts", get(receipts))
        .route("/receipts/{receipt}", get(receipt))
        .route("/txs", post(submit))
        .route("/faucet/{address}", post(give))
        .layer(DefaultBodyLimit::max(TX_BYTES_MAX))
        .with_state(Arc::new(Ledger { sequencer, faucet }));
    Router::new().nest("/nabla/v1/ledger", ledger)
}

fn found<T>(what: &str, id: &impl std::fmt::Display, value: Option<T>) -> Answer<Json<T>> {
    let missing =
        || Problem::not_found(&format!("unknown_{what}"), format!("the ledger knows no {what} {id}"));
    value.map(Json).ok_or_else(missing)
}

async fn genesis(State(ledger): Shared) -> Vec<u8> {
    cbor::encode(ledger.sequencer.state().constants())
}

async fn status(State(ledger): Shared) -> Json<LedgerStatus> {
    Json(ledger.sequencer.state().status())
}

async fn account(State(ledger): Shared, Path(address): Path<String>) -> Answer<Json<Account>> {
    let address = parse("account", &address)?;
    Ok(Json(ledger.sequencer.state().account(&address)))
}

#[derive(Deserialize)]
struct ReposQuery {
    #[serde(default)]
    query: String,
    limit: Option<usize>,
}

async fn repos(State(ledger): Shared, Query(query): Query<ReposQuery>) -> Json<Vec<RepoRecord>> {
    let limit = query.limit.unwrap_or(REPOS_MAX).min(REPOS_MAX);
    let mut found = ledger.sequencer.state().repos(&query.query, limit);
    for repo in &mut found {
        let older = repo.revisions.len().saturating_sub(1);
        repo.revisions.drain(..older);
    }
    Json(found)
}

async fn repo(
    State(ledger): Shared,
    Path((owner, name)): Path<(String, String)>,
) -> Answer<Json<RepoRecord>> {
    let name: RepoName = parse("repository", &format!("{owner}/{name}"))?;
    let record = ledger.sequencer.state().repo(&name);
    found("model", &name, record)
}

#[derive(Deserialize)]
struct NodesQuery {
    role: Option<Role>,
}

async fn nodes(State(ledger): Shared, Query(query): Query<NodesQuery>) -> Json<Vec<NodeRecord>> {
    Json(ledger.sequencer.state().nodes(query.role))
}

async fn node(State(ledger): Shared, Path(node): Path<String>) -> Answer<Json<NodeRecord>> {
    let id = parse("node", &node)?;
    let record = ledger.sequencer.state().node(&id);
    found("node", &id, record)
}

async fn blob(State(ledger): Shared, Path(blob): Path<String>) -> Answer<Json<StoredBlob>> {
    let id = parse("blob", &blob)?;
    let stored = ledger.sequencer.state().blob(&id).cloned();
    found("blob", &id, stored)
}

async fn payment(State(ledger): Shared, Path(payment): Path<String>) -> Answer<Json<Payment>> {
    let id = parse("payment", &payment)?;
    let record = ledger.sequencer.state().payment(&id).cloned();
    found("payment", &id, record)
}

async fn receipt(State(ledger): Shared, Path(receipt): Path<String>) -> Answer<Json<ReceiptRecord>> {
    let id = parse("receipt", &receipt)?;
    let state = ledger.sequencer.state();
    let proof = state.inclusion_proof(&id).map(|proof| hex::encode(cbor::encode(&proof)));
    let record = record(&state, id).map(|record| ReceiptRecord { proof, ..record });
    found("receipt", &id, record)
}

fn record(state: &nabla_ledger::State, receipt: ReceiptId) -> Option<ReceiptRecord> {
    let settled = state.receipt(&receipt)?;
    let (cose, height) = (hex::encode(settled.cose), settled.height);
    Some(ReceiptRecord { receipt, cose, height, proof: None, verdicts: state.verdicts(&receipt) })
}

#[derive(Deserialize)]
struct ReceiptsQuery {
    #[serde(default)]
    after: u64,
}

async fn receipts(State(ledger): Shared, Query(query): Query<ReceiptsQuery>) -> Json<Vec<ReceiptRecord>> {
    let state = ledger.sequencer.state();
    let mut page = Vec::new();
    for height in query.after.saturating_add(1)..=state.height() {
        page.extend(state.receipts_of(height).iter().filter_map(|id| record(&state, *id)));
        if page.len() >= RECEIPTS_PAGE {
            break;
        }
    }
    Json(page)
}

async fn submit(State(ledger): Shared, body: Bytes) -> Answer<Json<Included>> {
    let tx: Tx = cbor::decode("transaction", &body, TX_BYTES_MAX)
        .map_err(|error| Problem::bad_request("bad_transaction", error))?;
    let ticket = ledger.sequencer.submit(tx);
    ticket.await.map(Json).map_err(submit_problem)
}

async fn give(State(ledger): Shared, Path(address): Path<String>) -> Answer<Json<Opg>> {
    let address: Address = parse("account", &address)?;
    let Some(faucet) = &ledger.faucet else {
        return Err(Problem::not_found("no_faucet", "this network has no faucet"));
    };
    faucet.give(ledger.sequencer.clone(), address).await.map(Json)
}

/// A rule that was broken is the sender's fault; which status it has depends on the rule.
pub(super) fn submit_problem(error: SubmitError) -> Problem {
    let status = match (&error, error.code()) {
        (SubmitError::Rejected(_), "insufficient_funds") => StatusCode::PAYMENT_REQUIRED,
        (SubmitError::Rejected(_), code) if code.starts_with("unknown_") => StatusCode::NOT_FOUND,
        (SubmitError::Rejected(_), code) if code.starts_with("payment_") => StatusCode::CONFLICT,
        (SubmitError::Rejected(_), _) => StatusCode::UNPROCESSABLE_ENTITY,
        (SubmitError::Busy { .. } | SubmitError::Stopped { .. }, _) => StatusCode::SERVICE_UNAVAILABLE,
    };
    let problem = Problem::new(status, error.code(), &error);
    let hint = match &error {
        SubmitError::Rejected(reject) => reject.hint(),
        SubmitError::Busy { .. } => Some("try again shortly; sending the same transaction twice is harmless"),
        SubmitError::Stopped { .. } => None,
    };
    match hint {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}
