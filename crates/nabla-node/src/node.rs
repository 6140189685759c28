//! A running node: its listener, its roles, its tasks.
//!
//! # Start
//! Lock the data folder, read the keys, listen, open the journal (a validator), serve HTTP, check that the
//! ledger is of the same network, announce the node on it, begin background work. Whatever fails on the
//! way ends the start with an error that says what to do.
//!
//! # Stop
//! [`Node::stop`] takes no new requests, lets those in work finish for a while, ends the tasks and closes
//! the journal. A process that is killed instead loses nothing that was acknowledged.

use std::{sync::Arc, time::Duration};

use axum::{BoxError, Json, Router, error_handling::HandleErrorLayer, extract::State, routing::get};
use nabla_client::{BlobClient, Http, LedgerClient};
use nabla_engine::Engine;
use nabla_gateway::Gateway;
use nabla_pay::AccountKey;
use nabla_store::{DataFolder, FolderConfig, ShardStore};
use nabla_types::{
    Address, NetworkId, NodeId,
    api::{NetworkInfo, NodeInfo},
    chain::{Genesis, NodeAnnouncement, Role},
    signature::NodeKey,
};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
    task::JoinSet,
};
use tower::ServiceBuilder;

use crate::{
    Error,
    announce::{self, announce},
    backend::{Cache, NetworkBackend},
    clock::now_ms,
    config::Config,
    files::{account_key, node_key, read_genesis},
    http::Problem,
    inference::{self, Inference, Jobs},
    models::Models,
    storage::{self, Storage},
    transcripts::Transcripts,
    validator::{self, sequencer::SingleValidator},
    verifier::Verifier,
};

/// How long a stop waits for requests in work.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one request may take, its body included: longer than a gateway's attempts together.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(150);
/// Requests in work at once, of all roles together; more are refused.
const REQUESTS_MAX: usize = 1024;
/// How often old transcripts are dropped.
const PRUNE_EVERY: Duration = Duration::from_secs(3600);

/// A node that runs until it is stopped or dropped.
#[derive(Debug)]
pub struct Node {
    id: NodeId,
    account: Address,
    url: String,
    stop: watch::Sender<bool>,
    server: JoinSet<()>,
    background: JoinSet<()>,
    models: Option<Arc<Models>>,
    sequencer: Option<Arc<SingleValidator>>,
    gateway: Option<Gateway<NetworkBackend>>,
    _folder: DataFolder,
}

/// What every role is made from.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) config: Config,
    pub(crate) genesis: Genesis,
    pub(crate) network: NetworkId,
    pub(crate) key: NodeKey,
    pub(crate) account: AccountKey,
    pub(crate) http: Http,
    pub(crate) ledger: LedgerClient,
    pub(crate) announcement: NodeAnnouncement,
    models: Option<Arc<Models>>,
    inference: Option<Arc<Inference>>,
    sequencer: Option<Arc<SingleValidator>>,
    gateway: Option<Gateway<NetworkBackend>>,
}

impl Node {
    /// Start the roles of `config`, whose models `engine` runs.
    ///
    /// # Errors
    /// [`Error`]; nothing stays behind but files.
    pub async fn start(config: Config, engine: Engine) -> Result<Self, Error> {
        let genesis = read_genesis(&config.genesis)?;
        let folder = DataFolder::open(&config.data_dir, "node", genesis.network())?;
        let (listener, url) = listen(&config).await?;
        let parts = Parts::new(config, genesis, url.clone(), engine)?;
        let (stop, stopped) = watch::channel(false);
        let mut server = JoinSet::new();
        serve(&mut server, listener, parts.router()?, stopped);
        announce(&parts).await?;
        let mut background = JoinSet::new();
        parts.begin_background(&mut background);
        tracing::info!(node = %parts.key.id(), %url, roles = ?parts.config.roles, "node started");
        Ok(Self {
            id: parts.key.id(),
            account: parts.account.address(),
            url,
            stop,
            server,
            background,
            models: parts.models,
            sequencer: parts.sequencer,
            gateway: parts.gateway,
            _folder: folder,
        })
    }

    /// Its identity.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// The account that stakes and earns.
    #[must_use]
    pub fn account(&self) -> Address {
        self.account
    }

    /// Its base URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its models, if it runs any.
    #[must_use]
    pub fn models(&self) -> Option<&Arc<Models>> {
        self.models.as_ref()
    }

    /// Stop in order. See the module.
    pub async fn stop(mut self) {
        self.background.shutdown().await;
        if let Some(gateway) = &self.gateway {
            // Paid calls end in an answer or a release, those of clients that left too.
            let _ = tokio::time::timeout(STOP_TIMEOUT, gateway.finish()).await;
        }
        let _ = self.stop.send(true);
        let finish = async { while self.server.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_TIMEOUT, finish).await.is_err() {
            tracing::warn!(node = %self.id, "requests in work were cut off");
            self.server.shutdown().await;
        }
        if let Some(models) = &self.models {
            // A packed model that is being written is worth a moment; cut off, it is written another time.
            let _ = tokio::time::timeout(STOP_TIMEOUT, models.finish()).await;
        }
        if let Some(sequencer) = self.sequencer.take() {
            let _ = tokio::task::spawn_blocking(move || sequencer.stop()).await;
        }
        tracing::info!(node = %self.id, "node stopped");
    }
}

async fn listen(config: &Config) -> Result<(TcpListener, String), Error> {
    let error = |source| Error::Listen { address: config.listen, source };
    let listener = TcpListener::bind(config.listen).await.map_err(error)?;
    let address = listener.local_addr().map_err(error)?;
    let url = config.endpoint.clone().unwrap_or_else(|| format!("http://{address}"));
    Ok((listener, url.trim_end_matches('/').to_owned()))
}

fn serve(
    server: &mut JoinSet<()>,
    listener: TcpListener,
    router: Router,
    mut stopped: watch::Receiver<bool>,
) {
    let stop = async move { drop(stopped.wait_for(|stopped| *stopped).await) };
    let limit = ServiceBuilder::new()
        .layer(HandleErrorLayer::new(async |_: BoxError| overloaded()))
        .load_shed()
        .concurrency_limit(REQUESTS_MAX)
        .timeout(REQUEST_TIMEOUT);
    let router = router.layer(limit);
    server.spawn(async move {
        if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stop).await {
            tracing::error!(%error, "listener ended");
        }
    });
}

fn overloaded() -> Problem {
    let text = format!(
        "{REQUESTS_MAX} requests are in work already, or this one took over {} s",
        REQUEST_TIMEOUT.as_secs()
    );
    Problem::unavailable("node_busy", text).hint("try again shortly, or another node")
}

impl Parts {
    fn new(config: Config, genesis: Genesis, url: String, engine: Engine) -> Result<Self, Error> {
        let (key, account) = (node_key(&config.node_key)?, account_key(&config.account_key)?);
        let network = genesis.network();
        let http = Http::new();
        let ledger = LedgerClient::new(http.clone(), config.ledger.as_deref().unwrap_or(&url));
        let announcement = announce::desired(&config, &key, &account, url);
        let mut parts = Self {
            config,
            genesis,
            network,
            key,
            account,
            http,
            ledger,
            announcement,
            models: None,
            inference: None,
            sequencer: None,
            gateway: None,
        };
        parts.sequencer = validator::open(&parts)?;
        parts.models = parts.open_models(engine)?;
        parts.inference = parts.open_inference()?;
        parts.gateway = parts.open_gateway();
        Ok(parts)
    }

    /// Inference nodes and verifiers run models; gateways read manifests.
    fn open_models(&self, engine: Engine) -> Result<Option<Arc<Models>>, Error> {
        if ![Role::Inference, Role::Verifier, Role::Gateway].iter().any(|role| self.config.has(*role)) {
            return Ok(None);
        }
        let storage = BlobClient::new(self.http.clone(), self.ledger.clone(), self.network);
        Ok(Some(Arc::new(Models::open(&self.config, self.network, storage, engine)?)))
    }

    fn open_inference(&self) -> Result<Option<Arc<Inference>>, Error> {
        let Some(models) = self.models.clone().filter(|_| self.config.has(Role::Inference)) else {
            return Ok(None);
        };
        let folder = self.config.data_dir.join("transcripts");
        Ok(Some(Arc::new(Inference {
            key: self.key.clone(),
            network: self.network,
            ledger: self.ledger.clone(),
            models,
            transcripts: Transcripts::open(folder, self.config.inference.transcript_hours)?,
            jobs: Jobs::new(self.config.inference.jobs_max),
        })))
    }

    fn router(&self) -> Result<Router, Error> {
        let mut router = self.about();
        if let Some(sequencer) = &self.sequencer {
            router = router.merge(validator::router(sequencer.clone(), self)?);
        }
        if self.config.has(Role::Storage) {
            let path = self.config.data_dir.join("shards");
            let bytes_max = Some(self.config.storage.bytes_max);
            let shards = ShardStore::open(FolderConfig { path, network: self.network, bytes_max })?;
            let (key, network) = (self.key.clone(), self.network);
            router = router.merge(storage::router(Arc::new(Storage {
                shards,
                key,
                network,
                uploads: Semaphore::new(storage::UPLOADS_MAX),
            })));
        }
        if let Some(inference) = &self.inference {
            router = router.merge(inference::router(inference.clone()));
        }
        if let Some(gateway) = &self.gateway {
            router = router.merge(gateway.router());
        }
        Ok(router)
    }

    /// `GET /nabla/v1/node`: what any node says of itself.
    fn about(&self) -> Router {
        let about = About {
            node: self.key.id(),
            network: self.network,
            roles: self.config.roles.clone(),
            models: self.models.clone(),
            inference: self.inference.clone(),
        };
        Router::new().route("/nabla/v1/node", get(node_info)).with_state(Arc::new(about))
    }

    fn open_gateway(&self) -> Option<Gateway<NetworkBackend>> {
        let models = self.models.clone().filter(|_| self.config.has(Role::Gateway))?;
        let info = NetworkInfo {
            network: self.network,
            name: self.genesis.name.clone(),
            chain_id: self.genesis.chain_id,
            ledger_url: self.ledger.base().to_owned(),
            gateway: self.key.id(),
        };
        let mut config = nabla_gateway::Config::new(&self.announcement.endpoint);
        config.calls_max = self.config.gateway.calls_max;
        let backend = NetworkBackend {
            info,
            key: self.key.clone(),
            http: self.http.clone(),
            ledger: self.ledger.clone(),
            models,
            cache: Cache::default(),
        };
        Some(Gateway::new(Arc::new(backend), config))
    }

    fn begin_background(&self, tasks: &mut JoinSet<()>) {
        if let Some(models) = self.models.clone().filter(|_| self.config.has(Role::Verifier)) {
            let verifier = Verifier {
                key: self.key.clone(),
                network: self.network,
                http: self.http.clone(),
                ledger: self.ledger.clone(),
                models,
                progress: self.config.data_dir.join("verifier.height"),
                poll_ms: self.config.verifier.poll_ms,
            };
            tasks.spawn(verifier.run());
        }
        if let Some(inference) = self.inference.clone() {
            let hours = self.config.inference.transcript_hours;
            tasks.spawn(async move { prune_transcripts(&inference, hours).await });
        }
    }
}

async fn prune_transcripts(inference: &Inference, hours: u32) {
    loop {
        tokio::time::sleep(PRUNE_EVERY).await;
        if let Err(error) = inference.transcripts.prune(hours) {
            tracing::error!(%error, "old transcripts not dropped");
        }
    }
}

struct About {
    node: NodeId,
    network: NetworkId,
    roles: Vec<Role>,
    models: Option<Arc<Models>>,
    inference: Option<Arc<Inference>>,
}

async fn node_info(State(about): State<Arc<About>>) -> Json<NodeInfo> {
    Json(NodeInfo {
        node: about.node,
        network: about.network,
        roles: about.roles.clone(),
        warm_models: about.models.as_ref().map(|models| models.warm()).unwrap_or_default(),
        running: about.inference.as_ref().map_or(0, |inference| inference.jobs.running()),
        running_max: about.inference.as_ref().map_or(0, |inference| inference.jobs.max()),
        runtime: nabla_engine::RUNTIME.to_owned(),
        time_ms: now_ms(),
    })
}
