//! Models on a node: found by id, fetched from storage, checked, loaded, kept.
//!
//! | module | what it holds |
//! |---|---|
//! | `blobs` | manifests, graphs and weights, from the cache folder or from storage |
//! | `languages` | language models in memory, each with the thread that answers |
//!
//! What is in memory, what is packed on disk, and who goes first, is [`ModelCache`]'s business.
//!
//! # Rules
//! - A model is what its id says: manifest, graph and weights are each checked against their hashes, and
//!   the graph's cost against the manifest's, before anything runs. A packed model on disk is taken instead
//!   of graph and weights if it is the file that this node wrote for this id, whole; its cost is checked, too.
//! - One load per model at a time; others wait for it, without a thread, until the model can run. They do not
//!   wait for it to be written to disk.
//! - Models in memory and loads never take more than the configured bytes. A model that runs stays; a load
//!   that finds no room beside it waits a while for it.
//! - A load never holds up a model that is here.
//!
//! # When things go wrong
//! A load that fails leaves nothing behind but blobs that were checked. The next call tries again. Blobs on
//! their way from storage, and those that the cache folder has no room for, are in memory beside the bound.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use nabla_client::BlobClient;
use nabla_engine::{
    CacheConfig, CacheCounters, CacheError, Engine, Interface, KERNEL_SPEC, Lease, Model, ModelCache, Parts,
    Session, SourceError, Stage, Watch,
};
use nabla_store::FolderConfig;
use nabla_types::{
    ModelId, NetworkId,
    manifest::{BlobRef, MANIFEST_BYTES_MAX, ModelManifest},
};
use tokio::{
    runtime::Handle,
    sync::{Notify, RwLock},
    time::{Instant, timeout_at},
};

use crate::{Config, Error, clock, turns::Turns};

use blobs::Blobs;
use languages::{Languages, NotLoaded};

pub use languages::LoadedLanguage;

mod blobs;
mod languages;

/// Manifests kept in memory; then all are forgotten, and read from the cache folder again.
const MANIFESTS_MAX: usize = 1024;

/// How long a load waits for models in use to leave it room.
const ROOM_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a model cannot be served.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ModelError {
    /// A part could not be fetched.
    #[error("model {} could not be fetched: {source}", model.short())]
    Fetch {
        /// The model.
        model: ModelId,
        /// Why.
        #[source]
        source: Arc<nabla_client::Error>,
    },
    /// A part is not what the model's id commits to.
    #[error("model {} is not sound: {reason}", model.short())]
    Unsound {
        /// The model.
        model: ModelId,
        /// What is wrong.
        reason: String,
    },
    /// It is of another kind than what is asked of it.
    #[error("model {} takes {takes}", model.short())]
    OtherKind {
        /// The model.
        model: ModelId,
        /// What it takes, and where that goes.
        takes: &'static str,
    },
    /// Other language models are being talked with.
    #[error("model {} is not loaded: {needed} bytes are needed, others of {max} are in use", model.short())]
    NoRoom {
        /// The model.
        model: ModelId,
        /// Bytes that it takes.
        needed: u64,
        /// Bytes that all language models may take.
        max: u64,
    },
    /// There is no room for it now, or something else is wrong with this node.
    #[error("model {} is not loaded: {source}", model.short())]
    Load {
        /// The model.
        model: ModelId,
        /// Why.
        #[source]
        source: CacheError,
    },
}

impl ModelError {
    /// A stable word for programs.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Fetch { source, .. } => source.code(),
            Self::Unsound { .. } => "bad_model",
            Self::OtherKind { .. } => "bad_input",
            Self::NoRoom { .. } => "node_busy",
            Self::Load { source: CacheError::NoRoom { .. }, .. } => "node_busy",
            Self::Load { .. } => "node_failed",
        }
    }

    /// What the cache says of a load, in our words: our own errors come back as they went in.
    fn of(model: ModelId, error: CacheError) -> Self {
        let own = match &error {
            CacheError::Open { source } | CacheError::Refused { source } => source.downcast_ref::<Self>(),
            CacheError::Model { source } => {
                return Self::Unsound { model, reason: source.to_string() };
            }
            _ => None,
        };
        own.cloned().unwrap_or(Self::Load { model, source: error })
    }
}

/// A model that can run.
#[derive(Clone)]
pub struct Loaded {
    /// What its id commits to.
    pub manifest: ModelManifest,
    /// It, prepared by the engine. It stays in memory while this is held.
    pub session: Arc<dyn Session>,
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Loaded({})", self.manifest.model_id().short())
    }
}

/// The models of one node.
pub struct Models {
    blobs: Arc<Blobs>,
    cache: ModelCache,
    languages: Arc<Languages>,
    memory_bytes_max: u64,
    manifests: Mutex<HashMap<ModelId, ModelManifest>>,
    turns: Turns<ModelId>,
    /// Told whenever a model has become ready, or is not used any more.
    changed: Arc<Notify>,
    /// Held by every load, for reading, until it has also written what it writes.
    loads: Arc<RwLock<()>>,
}

impl std::fmt::Debug for Models {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Models({} warm)", self.warm().len())
    }
}

impl Models {
    /// Models fetched through `storage`, kept in the node's folder, run by `engine`.
    ///
    /// # Errors
    /// [`Error::Store`] and [`Error::Models`] if a folder cannot be used.
    pub fn open(
        config: &Config,
        network: NetworkId,
        storage: BlobClient,
        engine: Engine,
    ) -> Result<Self, Error> {
        // The blobs and the packed models share what the configuration grants.
        let bytes_max = Some(config.inference.cache_bytes_max / 2);
        let folder = FolderConfig { path: config.data_dir.join("models"), network, bytes_max };
        let blobs = Arc::new(Blobs::open(storage, folder)?);
        let changed = Arc::new(Notify::new());
        let languages = Arc::new(Languages::new(engine.clone(), config.inference.language_bytes_max));
        let cache_config = CacheConfig { watch: Some(watch(changed.clone())), ..cache_config(config) };
        let cache = ModelCache::new(engine, cache_config).map_err(Error::Models)?;
        if let Some(problem) = cache.disk_problem() {
            tracing::warn!(problem, "packed models are not kept on disk");
        }
        Ok(Self {
            blobs,
            cache,
            languages,
            memory_bytes_max: config.inference.memory_bytes_max,
            manifests: Mutex::default(),
            turns: Turns::default(),
            changed,
            loads: Arc::default(),
        })
    }

    /// The models that can run at once.
    #[must_use]
    pub fn warm(&self) -> Vec<ModelId> {
        let tensors = self.cache.resident().into_iter().map(|resident| resident.model);
        tensors.chain(self.languages.warm()).collect()
    }

    /// How models came here, since the start.
    #[must_use]
    pub fn counters(&self) -> CacheCounters {
        self.cache.counters()
    }

    /// A model, loaded if it is not. Many callers at once cause one load.
    ///
    /// # Errors
    /// [`ModelError`].
    pub async fn get(&self, model: ModelId) -> Result<Loaded, ModelError> {
        let lease = match self.cache.peek(model) {
            Some(lease) => lease,
            None => self.get_in_turn(model).await?,
        };
        Ok(Loaded { manifest: self.manifest(model).await?, session: Arc::new(lease) })
    }

    /// A language model, loaded if it is not. Many callers at once cause one load.
    ///
    /// # Errors
    /// [`ModelError`].
    pub async fn get_language(&self, model: ModelId) -> Result<LoadedLanguage, ModelError> {
        if let Some(loaded) = self.languages.peek(model) {
            return Ok(loaded);
        }
        let turn = self.turns.of(model);
        let _turn = turn.lock().await;
        if let Some(loaded) = self.languages.peek(model) {
            return Ok(loaded);
        }
        let manifest = self.manifest(model).await?;
        if manifest.language.is_none() {
            return Err(ModelError::OtherKind { model, takes: "tensors: /nabla/v1/infer" });
        }
        self.check_manifest(&manifest)?;
        let (languages, blobs, io) = (self.languages.clone(), self.blobs.clone(), Handle::current());
        let loading = self.loads.clone().read_owned().await;
        let load = tokio::task::spawn_blocking(move || {
            let _loading = loading;
            let fetch = |source| ModelError::Fetch { model, source: Arc::new(source) };
            languages.load(&manifest, || {
                let graph = blobs.bytes(manifest.graph, &io).map_err(fetch)?;
                Ok((graph, blobs.parts(manifest.weights, &io).map_err(fetch)?))
            })
        });
        match load.await {
            Ok(loaded) => loaded?.map_err(|refusal| match refusal {
                NotLoaded::NoRoom { needed, max } => ModelError::NoRoom { model, needed, max },
                NotLoaded::Unsound(reason) => ModelError::Unsound { model, reason },
            }),
            Err(_) => Err(ModelError::Load { model, source: CacheError::Abandoned }),
        }
    }

    async fn get_in_turn(&self, model: ModelId) -> Result<Lease, ModelError> {
        let turn = self.turns.of(model);
        let _turn = turn.lock().await;
        match self.cache.peek(model) {
            Some(lease) => Ok(lease),
            None => match self.manifest(model).await? {
                ModelManifest { language: Some(_), .. } => {
                    Err(ModelError::OtherKind { model, takes: "conversations: /nabla/v1/chat" })
                }
                manifest => self.load(manifest).await,
            },
        }
    }

    /// Load, once there is room.
    async fn load(&self, manifest: ModelManifest) -> Result<Lease, ModelError> {
        self.check_manifest(&manifest)?;
        let until = Instant::now() + ROOM_TIMEOUT;
        loop {
            let result = self.try_load(manifest.clone()).await;
            let Err(ModelError::Load { source: CacheError::NoRoom { needed, held, loading, .. }, .. }) =
                result
            else {
                return result;
            };
            // Beside nothing, there will never be more room.
            if held.max(loading) == 0 || timeout_at(until, self.room(needed)).await.is_err() {
                return result;
            }
        }
    }

    /// Wait until so many bytes are free, or held by models that may go.
    async fn room(&self, needed: u64) {
        loop {
            let changed = self.changed.notified();
            let (resident, loading) = (self.cache.resident(), self.cache.memory_bytes().1);
            let in_use: u64 = resident.iter().filter(|one| one.leases > 0).map(|one| one.bytes).sum();
            if in_use.saturating_add(loading).saturating_add(needed) <= self.memory_bytes_max {
                return;
            }
            changed.await;
        }
    }

    /// Load in a thread that may wait. The load goes on when the caller leaves.
    async fn try_load(&self, manifest: ModelManifest) -> Result<Lease, ModelError> {
        let model = manifest.model_id();
        let (cache, blobs, io) = (self.cache.clone(), self.blobs.clone(), Handle::current());
        let loading = self.loads.clone().read_owned().await;
        let mut work = tokio::task::spawn_blocking(move || {
            let (cache, blobs) = (cache, blobs);
            let check = |interface: &Interface| check_cost(&manifest, interface);
            let lease = cache.get_checked(model, check, || open_parts(&blobs, &manifest, &io)).inspect(tell);
            // Given back after the lease, also where nobody takes it: nothing holds a folder then.
            (lease, loading)
        });
        loop {
            let changed = self.changed.notified();
            // It can run before it is written to disk, which is what the thread goes on with.
            if let Some(lease) = self.cache.peek(model) {
                return Ok(lease);
            }
            tokio::select! {
                done = &mut work => {
                    let lease = done.map_or(Err(CacheError::Abandoned), |(lease, _)| lease);
                    return lease.map_err(|error| ModelError::of(model, error));
                }
                () = changed => {}
            }
        }
    }

    /// Refuse what cannot run here before anything of it is fetched.
    fn check_manifest(&self, manifest: &ModelManifest) -> Result<(), ModelError> {
        let max = self.memory_bytes_max;
        let size = manifest.graph.size_bytes.max(manifest.weights.size_bytes);
        let reason = match manifest.kernel_spec {
            KERNEL_SPEC if size <= max => return Ok(()),
            KERNEL_SPEC => format!("{size} bytes, at most {max} fit in this node"),
            other => format!("expected kernel spec {KERNEL_SPEC}, got {other}"),
        };
        Err(ModelError::Unsound { model: manifest.model_id(), reason })
    }

    /// A model's manifest, fetched and checked against the id.
    ///
    /// # Errors
    /// [`ModelError`].
    pub async fn manifest(&self, model: ModelId) -> Result<ModelManifest, ModelError> {
        if let Some(manifest) = self.manifests().get(&model) {
            return Ok(manifest.clone());
        }
        let bytes = self.blobs.small(model.manifest_blob(), MANIFEST_BYTES_MAX as u64).await;
        let bytes = bytes.map_err(|source| ModelError::Fetch { model, source: Arc::new(source) })?;
        let manifest = ModelManifest::from_bytes(&bytes)
            .map_err(|error| ModelError::Unsound { model, reason: error.to_string() })?;
        let mut manifests = self.manifests();
        if manifests.len() >= MANIFESTS_MAX {
            manifests.clear();
        }
        manifests.insert(model, manifest.clone());
        Ok(manifest)
    }

    fn manifests(&self) -> MutexGuard<'_, HashMap<ModelId, ModelManifest>> {
        self.manifests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wait until no load is under way, that of the disk included.
    pub(crate) async fn finish(&self) {
        drop(self.loads.write().await);
    }
}

/// How a node's models are kept in memory and packed on disk.
#[must_use]
pub fn cache_config(config: &Config) -> CacheConfig {
    CacheConfig {
        memory_bytes_max: config.inference.memory_bytes_max,
        folder: Some(packed_folder(&config.data_dir)),
        folder_bytes_max: config.inference.cache_bytes_max / 2,
        clock: Some(clock::ticking()),
        ..CacheConfig::default()
    }
}

fn packed_folder(data_dir: &Path) -> PathBuf {
    data_dir.join("packed")
}

fn watch(changed: Arc<Notify>) -> Watch {
    Watch(Arc::new(move |_, stage| {
        if matches!(stage, Stage::Ready | Stage::Loose) {
            changed.notify_waiters();
        }
    }))
}

fn open_parts(blobs: &Blobs, manifest: &ModelManifest, io: &Handle) -> Result<Parts, SourceError> {
    let model = manifest.model_id();
    let fetch = |source| ModelError::Fetch { model, source: Arc::new(source) };
    let graph = blobs.bytes(manifest.graph, io).map_err(fetch)?;
    Ok(Parts { graph, weights: blobs.parts(manifest.weights, io).map_err(fetch)? })
}

/// What a call is charged by is in the manifest; it must be what the graph costs.
fn check_cost(manifest: &ModelManifest, interface: &Interface) -> Result<(), SourceError> {
    let claimed = (manifest.macs_per_row, manifest.batched, manifest.row_elements);
    let found = (interface.cost().macs, interface.is_batched(), interface.row_elements());
    if claimed == found {
        return Ok(());
    }
    let reason = format!("expected the cost that its graph has {found:?}, its manifest says {claimed:?}");
    Err(ModelError::Unsound { model: manifest.model_id(), reason }.into())
}

fn tell(lease: &Lease) {
    let (seconds, disk) = (lease.load_seconds(), lease.disk());
    tracing::info!(model = %lease.model(), seconds, ?disk, "model loaded");
}

/// The manifest of an imported model, with its two blobs.
#[must_use]
pub fn manifest_of(model: &Model) -> (ModelManifest, Vec<u8>, Vec<u8>) {
    let (graph, weights) = (model.graph_bytes(), model.weights_bytes());
    let manifest = ModelManifest {
        format: ModelManifest::FORMAT.to_owned(),
        kernel_spec: KERNEL_SPEC,
        macs_per_row: model.cost().macs,
        batched: model.interface().is_batched(),
        graph: BlobRef::of(&graph),
        weights: BlobRef::of(&weights),
        row_elements: model.interface().row_elements(),
        language: None,
    };
    (manifest, graph, weights)
}
