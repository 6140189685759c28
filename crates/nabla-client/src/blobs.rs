//! Blobs on storage nodes: put them there coded, get them back checked.

use std::{collections::HashMap, fmt::Write as _, sync::Arc};

use bytes::{BufMut, Bytes, BytesMut};
use nabla_store::{Code, check_shard, encode, placement::rank, rebuild};
use nabla_types::{
    BlobId, NetworkId, NodeId, cbor,
    chain::{BlobRegistration, NodeRecord, Role, StoredBlob},
    layout::{HolderAck, Layout},
    manifest::BlobRef,
};
use reqwest::Method;
use tokio::task::JoinSet;

use crate::{Error, Http, LedgerClient};

/// A blob that was got, and what it took.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The bytes; their hash is the blob's id.
    pub bytes: Vec<u8>,
    /// How many of the shards used were parity: 0 if nothing had to be computed.
    pub parity_used: usize,
    /// Shards that were not there or not good.
    pub rejected: Vec<RejectedShard>,
}

/// A shard that could not be used, and why.
#[derive(Debug, Clone)]
pub struct RejectedShard {
    /// Which shard.
    pub index: u16,
    /// Who should have it.
    pub node: NodeId,
    /// What was wrong.
    pub reason: String,
}

/// How far an upload has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of shards that storage nodes have acknowledged since the last report.
    pub stored_bytes: u64,
    /// Whether they were there before.
    pub already_there: bool,
}

/// Puts and gets blobs.
#[derive(Debug, Clone)]
pub struct BlobClient {
    http: Http,
    ledger: LedgerClient,
    network: NetworkId,
}

impl BlobClient {
    /// A client for the storage nodes that `ledger` knows.
    #[must_use]
    pub fn new(http: Http, ledger: LedgerClient, network: NetworkId) -> Self {
        Self { http, ledger, network }
    }

    /// Get a blob: any `k` good shards suffice. Data shards are asked first; each shard is checked against
    /// the ledger's layout on arrival, and the whole against the blob's id.
    ///
    /// # Errors
    /// [`Error::TooFewShards`] with what was wrong with each; [`Error::WrongBlob`] if the ledger does not
    /// know the blob or knows it with another size.
    pub async fn get(&self, blob: BlobRef) -> Result<Fetched, Error> {
        let stored = self.stored(blob).await?;
        let endpoints = self.endpoints().await?;
        let (good, rejected) = self.collect_shards(&stored, &endpoints).await;
        let layout = stored.layout;
        if good.len() < usize::from(layout.k) {
            return Err(too_few(&layout, good.len(), &rejected));
        }
        let parity_used = good.iter().filter(|(index, _)| *index >= layout.k).count();
        let bytes = rebuild(&layout, good)
            .map_err(|source| Error::Code { blob: layout.blob, source: Box::new(source) })?;
        Ok(Fetched { bytes, parity_used, rejected })
    }

    /// Get a blob of at most `max` bytes by its id alone.
    ///
    /// # Errors
    /// [`Error::WrongBlob`] if it is larger; else as [`BlobClient::get`].
    pub async fn get_small(&self, blob: BlobId, max: u64) -> Result<Fetched, Error> {
        let size_bytes = self.size_bytes(blob).await?;
        if size_bytes > max {
            let (expected, got) = (format!("at most {max} bytes"), format!("{size_bytes} bytes"));
            return Err(Error::WrongBlob { blob, expected, got });
        }
        self.get(BlobRef { blob, size_bytes }).await
    }

    /// The length of a blob that the ledger knows.
    async fn size_bytes(&self, blob: BlobId) -> Result<u64, Error> {
        let stored = self.ledger.blob(blob).await?;
        let unknown =
            || Error::WrongBlob { blob, expected: "a blob on the ledger".into(), got: "none".into() };
        stored.map(|stored| stored.layout.size_bytes).ok_or_else(unknown)
    }

    async fn stored(&self, blob: BlobRef) -> Result<StoredBlob, Error> {
        let wrong = |expected: String, got: String| Error::WrongBlob { blob: blob.blob, expected, got };
        let stored = self.ledger.blob(blob.blob).await?;
        let stored = stored.ok_or_else(|| wrong("a blob on the ledger".into(), "none".into()))?;
        stored.layout.check().map_err(|error| wrong("a sound layout".into(), error.to_string()))?;
        if stored.layout.blob != blob.blob || stored.layout.size_bytes != blob.size_bytes {
            let got = format!("{} of {} bytes", stored.layout.blob, stored.layout.size_bytes);
            return Err(wrong(format!("{} bytes", blob.size_bytes), got));
        }
        Ok(stored)
    }

    async fn endpoints(&self) -> Result<HashMap<NodeId, String>, Error> {
        let nodes = self.ledger.nodes(Role::Storage).await?;
        Ok(nodes.into_iter().map(|node| (node.announcement.node, node.announcement.endpoint)).collect())
    }

    /// Ask for `k` shards at once, data shards first, and for one more for each that fails.
    async fn collect_shards(
        &self,
        stored: &StoredBlob,
        endpoints: &HashMap<NodeId, String>,
    ) -> (Vec<(u16, Vec<u8>)>, Vec<RejectedShard>) {
        let layout = Arc::new(stored.layout.clone());
        let needed = usize::from(layout.k);
        let (mut good, mut rejected) = (Vec::new(), Vec::new());
        let mut waiting = (0..layout.n()).zip(stored.holders.iter().copied());
        let mut asked = JoinSet::new();
        loop {
            while good.len() + asked.len() < needed {
                let Some((index, node)) = waiting.next() else { break };
                match endpoints.get(&node) {
                    Some(base) => drop(asked.spawn(fetch_shard(
                        self.http.clone(),
                        base.clone(),
                        layout.clone(),
                        index,
                        node,
                    ))),
                    None => rejected.push(RejectedShard {
                        index,
                        node,
                        reason: "its node is not registered".into(),
                    }),
                }
            }
            match asked.join_next().await {
                None => break,
                Some(Ok(Ok(shard))) => good.push(shard),
                Some(Ok(Err(shard))) => rejected.push(shard),
                Some(Err(_)) => {}
            }
        }
        good.sort_unstable_by_key(|(index, _)| *index);
        (good, rejected)
    }

    /// Put a blob: code it, store each shard on a node of its own where there are enough, and collect the
    /// holders' words. Shards that are there already are not sent again, so an upload that was cut off is
    /// resumed by repeating it. `None` if the ledger knows the blob already.
    ///
    /// # Errors
    /// [`Error::NotStored`] if a shard finds no home.
    pub async fn put(
        &self,
        bytes: &[u8],
        code: Code,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Option<BlobRegistration>, Error> {
        let blob = BlobId::of(bytes);
        if let Some(known) = self.ledger.blob(blob).await? {
            return check_known(bytes, &known).map(|()| None);
        }
        let encoded = encode(bytes, code).map_err(|source| Error::Code { blob, source: Box::new(source) })?;
        let nodes = self.ledger.nodes(Role::Storage).await?;
        let ids: Vec<NodeId> = nodes.iter().map(|node| node.announcement.node).collect();
        let order = rank(blob, &ids);
        let mut acks = Vec::with_capacity(encoded.shards.len());
        for (index, shard) in (0u16..).zip(&encoded.shards) {
            let ack = self.put_shard(&encoded.layout, index, shard, &nodes, &order).await?;
            progress(Progress { stored_bytes: shard.len() as u64, already_there: ack.1 });
            acks.push(ack.0);
        }
        Ok(Some(BlobRegistration { layout: encoded.layout, acks }))
    }

    /// Offer a shard to the nodes in their order, beginning with its own.
    async fn put_shard(
        &self,
        layout: &Layout,
        index: u16,
        shard: &[u8],
        nodes: &[NodeRecord],
        order: &[NodeId],
    ) -> Result<(HolderAck, bool), Error> {
        let mut reasons = String::new();
        let start = usize::from(index) % order.len().max(1);
        for id in order.iter().cycle().skip(start).take(order.len()) {
            let Some(node) = nodes.iter().find(|node| node.announcement.node == *id) else { continue };
            match self.offer_shard(layout, index, shard, &node.announcement.endpoint, *id).await {
                Ok(ack) => return Ok(ack),
                Err(reason) => {
                    let _ = write!(reasons, "{}: {reason}; ", id.short());
                }
            }
        }
        Err(Error::NotStored { blob: layout.blob, index, nodes: order.len(), reasons })
    }

    async fn offer_shard(
        &self,
        layout: &Layout,
        index: u16,
        shard: &[u8],
        base: &str,
        node: NodeId,
    ) -> Result<(HolderAck, bool), String> {
        let url = shard_url(base, layout, index);
        let known: Result<HolderAck, Error> = self.http.get_json(&format!("{url}/ack")).await;
        let (ack, already_there) = match known {
            Ok(ack) => (ack, true),
            Err(error) if error.is_not_found() => {
                let sent = self.http.send_bytes(Method::PUT, &url, frame(layout, shard)).await;
                (sent.map_err(|error| error.to_string())?, false)
            }
            Err(error) => return Err(error.to_string()),
        };
        if (ack.layout, ack.index, ack.node) != (layout.id(), index, node) {
            return Err("acknowledged another shard".to_owned());
        }
        ack.verify(self.network).map_err(|error| error.to_string())?;
        Ok((ack, already_there))
    }
}

/// A blob that somebody registered before is coded anew and compared: a layout whose shards are not the
/// blob's would make it unfetchable for everybody.
fn check_known(bytes: &[u8], known: &StoredBlob) -> Result<(), Error> {
    let blob = known.layout.blob;
    let coded = Code::new(known.layout.k, known.layout.n())
        .and_then(|code| Ok(encode(bytes, code)?.layout))
        .map_err(|source| Error::Code { blob, source: Box::new(source) })?;
    if coded == known.layout {
        return Ok(());
    }
    let (expected, got) =
        (coded.id().to_string(), format!("{}, registered by somebody else", known.layout.id()));
    Err(Error::WrongBlob { blob, expected, got })
}

/// The body of a shard's upload: length of the layout (u32, big-endian), layout, shard.
fn frame(layout: &Layout, shard: &[u8]) -> Bytes {
    let layout = cbor::encode(layout);
    let length = u32::try_from(layout.len()).expect("a layout is far below 4 GiB");
    let mut body = BytesMut::with_capacity(4 + layout.len() + shard.len());
    body.put_u32(length);
    body.put_slice(&layout);
    body.put_slice(shard);
    body.freeze()
}

fn shard_url(base: &str, layout: &Layout, index: u16) -> String {
    format!("{}/nabla/v1/shards/{}/{index}", base.trim_end_matches('/'), layout.id())
}

async fn fetch_shard(
    http: Http,
    base: String,
    layout: Arc<Layout>,
    index: u16,
    node: NodeId,
) -> Result<(u16, Vec<u8>), RejectedShard> {
    let rejected = |reason: String| RejectedShard { index, node, reason };
    let url = shard_url(&base, &layout, index);
    let bytes =
        http.get_bytes(&url, layout.shard_bytes()).await.map_err(|error| rejected(error.to_string()))?;
    check_shard(&layout, index, &bytes).map_err(|error| rejected(error.to_string()))?;
    Ok((index, bytes.to_vec()))
}

fn too_few(layout: &Layout, found: usize, rejected: &[RejectedShard]) -> Error {
    let mut reasons = String::new();
    for shard in rejected {
        let _ = write!(reasons, "shard {} on {}: {}; ", shard.index, shard.node.short(), shard.reason);
    }
    Error::TooFewShards { blob: layout.blob, needed: layout.k, found, n: layout.n(), reasons }
}
