//! The role `storage`: shards over HTTP.
//!
//! | call | does |
//! |---|---|
//! | `PUT /nabla/v1/shards/{layout}/{index}` | body: layout length (u32, big-endian), layout, shard; answers a signed [`HolderAck`] once the shard is checked and durable |
//! | `GET /nabla/v1/shards/{layout}/{index}` | the shard, as it lies on the disk: who reads it checks it |
//! | `GET /nabla/v1/shards/{layout}/{index}/ack` | the acknowledgement again, if the shard is held |

use std::sync::Arc;

use axum::{
    Json, Router,
    body::{Body, Bytes, to_bytes},
    extract::{Path, State},
    http::StatusCode,
    routing::get,
};
use nabla_store::ShardStore;
use nabla_types::{
    LayoutId, NetworkId, cbor,
    layout::{HolderAck, LAYOUT_BYTES_MAX, Layout},
    signature::NodeKey,
};

use tokio::sync::Semaphore;

use crate::http::{Answer, Problem, parse};

/// Largest shard that is taken in one request, in bytes.
const SHARD_BYTES_MAX: usize = 256 << 20;
/// Uploads in work at once; more are refused. Each holds a whole shard in memory.
pub(crate) const UPLOADS_MAX: usize = 4;

#[derive(Debug)]
pub(crate) struct Storage {
    pub(crate) shards: ShardStore,
    pub(crate) key: NodeKey,
    pub(crate) network: NetworkId,
    pub(crate) uploads: Semaphore,
}

pub(crate) fn router(storage: Arc<Storage>) -> Router {
    Router::new()
        .route("/nabla/v1/shards/{layout}/{index}", get(get_shard).put(put_shard))
        .route("/nabla/v1/shards/{layout}/{index}/ack", get(get_ack))
        .with_state(storage)
}

type ShardPath = Path<(String, String)>;

fn read_path(Path((layout, index)): ShardPath) -> Answer<(LayoutId, u16)> {
    Ok((parse("layout", &layout)?, parse("shard index", &index)?))
}

async fn get_shard(State(storage): State<Arc<Storage>>, path: ShardPath) -> Answer<Vec<u8>> {
    let (layout, index) = read_path(path)?;
    tokio::task::spawn_blocking(move || storage.shards.get(layout, index)).await?.map_err(problem)
}

async fn get_ack(State(storage): State<Arc<Storage>>, path: ShardPath) -> Answer<Json<HolderAck>> {
    let (layout, index) = read_path(path)?;
    match storage.shards.has(layout, index) {
        true => Ok(Json(HolderAck::sign(&storage.key, storage.network, layout, index))),
        false => {
            Err(Problem::not_found("unknown_shard", format!("shard {index} of {layout} is not held here")))
        }
    }
}

async fn put_shard(
    State(storage): State<Arc<Storage>>,
    path: ShardPath,
    body: Body,
) -> Answer<Json<HolderAck>> {
    let (id, index) = read_path(path)?;
    let owner = storage.clone();
    let _place = owner.uploads.try_acquire().map_err(|_| busy())?;
    let body = to_bytes(body, SHARD_BYTES_MAX + LAYOUT_BYTES_MAX + 4).await.map_err(|error| {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "shard_too_large",
            format!("at most {SHARD_BYTES_MAX} bytes: {error}"),
        )
    })?;
    let (layout, shard) = read_frame(&body)?;
    if layout.id() != id {
        let text = format!("expected the layout {id} of the path, got {}", layout.id());
        return Err(Problem::bad_request("bad_shard", text));
    }
    let ack = HolderAck::sign(&storage.key, storage.network, id, index);
    tokio::task::spawn_blocking(move || storage.shards.put(&layout, index, &shard))
        .await?
        .map_err(problem)?;
    Ok(Json(ack))
}

fn busy() -> Problem {
    let text = format!("{UPLOADS_MAX} uploads are in work already");
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "node_busy", text).hint("try again shortly, or another node")
}

fn read_frame(body: &Bytes) -> Answer<(Layout, Bytes)> {
    let bad = |text: String| Problem::bad_request("bad_shard", text);
    let (length, rest) =
        body.split_first_chunk().ok_or_else(|| bad("expected a layout's length, got nothing".into()))?;
    let length = u32::from_be_bytes(*length) as usize;
    if length > rest.len() {
        return Err(bad(format!("expected a layout of {length} bytes, got {}", rest.len())));
    }
    let layout =
        cbor::decode("layout", &rest[..length], LAYOUT_BYTES_MAX).map_err(|error| bad(error.to_string()))?;
    Ok((layout, body.slice(4 + length..)))
}

fn problem(error: nabla_store::Error) -> Problem {
    use nabla_store::Error;
    match &error {
        Error::MissingShard { .. } => Problem::not_found("unknown_shard", error),
        Error::Full { .. } | Error::Quota { .. } => {
            let problem = Problem::new(StatusCode::INSUFFICIENT_STORAGE, "storage_full", error);
            problem.hint("the node takes no more shards: use another storage node")
        }
        Error::Layout(_) | Error::ShardIndex { .. } | Error::ShardLength { .. } | Error::ShardHash { .. } => {
            Problem::bad_request("bad_shard", error)
        }
        _ => {
            tracing::error!(error = &error as &dyn std::error::Error, "shard store failed");
            Problem::unavailable("storage_failed", error)
        }
    }
}
