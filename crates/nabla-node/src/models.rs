//! Models on a node: found by id, fetched from storage, checked, loaded, kept.
//!
//! # Rules
//! - A model is what its id says: manifest, graph and weights are each checked against their hashes, and
//!   the graph's cost against the manifest's, before anything runs.
//! - Fetched blobs stay in a content-addressed folder, which is checked again on every read.
//! - One load per model at a time; others wait for it. Memory is bounded by what the runtime keeps of each
//!   model once it is prepared: the least recently used model goes first.
//!
//! # When things go wrong
//! A load that fails leaves nothing behind but blobs that were checked. The next call tries again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use nabla_client::{BlobClient, Fetched};
use nabla_engine::{Limits, Model, Runtime, Session};
use nabla_store::{FolderConfig, FolderStore, Store};
use nabla_types::{
    ModelId,
    manifest::{BlobRef, MANIFEST_BYTES_MAX, ModelManifest},
};

/// Why a model cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A part could not be fetched.
    #[error("model {} could not be fetched: {source}", model.short())]
    Fetch {
        /// The model.
        model: ModelId,
        /// Why.
        #[source]
        source: nabla_client::Error,
    },
    /// A part is not what the model's id commits to.
    #[error("model {} is not sound: {reason}", model.short())]
    Unsound {
        /// The model.
        model: ModelId,
        /// What is wrong.
        reason: String,
    },
}

/// A model that can run.
#[derive(Clone)]
pub struct Loaded {
    /// What its id commits to.
    pub manifest: ModelManifest,
    /// It, prepared by the runtime.
    pub session: Arc<dyn Session>,
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Loaded({})", self.manifest.model_id().short())
    }
}

/// The models of one node.
pub struct Models {
    blobs: BlobClient,
    cache: FolderStore,
    runtime: Arc<dyn Runtime>,
    limits: Limits,
    memory_bytes_max: u64,
    slots: Mutex<Slots>,
}

#[derive(Default)]
struct Slots {
    by_id: HashMap<ModelId, Slot>,
    clock: u64,
}

#[derive(Default, Clone)]
struct Slot {
    loaded: Arc<tokio::sync::OnceCell<Loaded>>,
    last_used: u64,
}

impl std::fmt::Debug for Models {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Models({} warm)", self.warm().len())
    }
}

impl Models {
    /// Models fetched through `blobs`, kept in the folder `cache`, run by `runtime`.
    ///
    /// # Errors
    /// [`nabla_store::Error`] if the folder cannot be used.
    pub fn new(
        blobs: BlobClient,
        cache: FolderConfig,
        runtime: Arc<dyn Runtime>,
        memory_bytes_max: u64,
    ) -> Result<Self, nabla_store::Error> {
        let cache = FolderStore::open(cache)?;
        let limits = Limits::default();
        Ok(Self { blobs, cache, runtime, limits, memory_bytes_max, slots: Mutex::default() })
    }

    /// The runtime's name and version.
    #[must_use]
    pub fn runtime(&self) -> &dyn Runtime {
        &*self.runtime
    }

    /// The models that can run at once.
    #[must_use]
    pub fn warm(&self) -> Vec<ModelId> {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let mut warm: Vec<ModelId> =
            slots.by_id.iter().filter(|(_, slot)| slot.loaded.initialized()).map(|(id, _)| *id).collect();
        warm.sort_unstable();
        warm
    }

    /// A model, loaded if it is not. Many callers at once cause one load.
    ///
    /// # Errors
    /// [`ModelError`].
    pub async fn get(&self, model: ModelId) -> Result<Loaded, ModelError> {
        let cell = self.slot(model);
        let result = cell.get_or_try_init(|| self.load(model)).await.cloned();
        match &result {
            Ok(_) => self.evict(model),
            Err(_) => self.forget_empty(model),
        }
        result
    }

    fn slot(&self, model: ModelId) -> Arc<tokio::sync::OnceCell<Loaded>> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.clock += 1;
        let now = slots.clock;
        let slot = slots.by_id.entry(model).or_default();
        slot.last_used = now;
        slot.loaded.clone()
    }

    fn forget_empty(&self, model: ModelId) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.by_id.get(&model).is_some_and(|slot| !slot.loaded.initialized()) {
            slots.by_id.remove(&model);
        }
    }

    /// Let the least recently used go until what is left fits; never the one just asked for.
    fn evict(&self, keep: ModelId) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = |slot: &Slot| slot.loaded.get().map_or(0, |loaded| loaded.session.resident_bytes());
        while slots.by_id.values().map(bytes).sum::<u64>() > self.memory_bytes_max {
            let loaded = slots.by_id.iter().filter(|(id, slot)| **id != keep && slot.loaded.initialized());
            let Some(oldest) = loaded.min_by_key(|(_, slot)| slot.last_used).map(|(id, _)| *id) else {
                break;
            };
            slots.by_id.remove(&oldest);
        }
    }

    async fn load(&self, model: ModelId) -> Result<Loaded, ModelError> {
        let manifest = self.manifest(model).await?;
        let unsound = |reason: String| ModelError::Unsound { model, reason };
        let spec = self.runtime.kernel_spec();
        if manifest.kernel_spec != spec {
            return Err(unsound(format!("expected kernel spec {spec}, got {}", manifest.kernel_spec)));
        }
        let graph = self.blob(model, manifest.graph).await?;
        let weights = self.blob(model, manifest.weights).await?;
        let (runtime, limits, expected) = (self.runtime.clone(), self.limits.clone(), manifest.clone());
        let prepare = move || {
            let parsed = Model::from_parts(&graph, &weights, &limits).map_err(|error| error.to_string())?;
            let interface = parsed.interface();
            let claimed = (expected.macs_per_row, expected.batched, expected.row_elements);
            let found = (interface.cost().macs, interface.is_batched(), interface.row_elements());
            if claimed != found {
                return Err(format!(
                    "expected the cost that its graph has {found:?}, its manifest says {claimed:?}"
                ));
            }
            runtime.prepare(Arc::new(parsed)).map_err(|error| error.to_string())
        };
        let prepared = tokio::task::spawn_blocking(prepare).await;
        let session = prepared.map_err(|error| unsound(error.to_string()))?.map_err(unsound)?;
        tracing::info!(model = %model, "model loaded");
        Ok(Loaded { manifest, session })
    }

    /// A model's manifest, fetched and checked against the id.
    ///
    /// # Errors
    /// [`ModelError`].
    pub async fn manifest(&self, model: ModelId) -> Result<ModelManifest, ModelError> {
        let max = MANIFEST_BYTES_MAX as u64;
        let bytes = match self.cache.get(model.manifest_blob(), max) {
            Ok(bytes) => bytes,
            Err(_) => {
                let fetched = self.blobs.get_small(model.manifest_blob(), max).await;
                let fetched = fetched.map_err(|source| ModelError::Fetch { model, source })?;
                self.keep(&fetched);
                fetched.bytes
            }
        };
        ModelManifest::from_bytes(&bytes)
            .map_err(|error| ModelError::Unsound { model, reason: error.to_string() })
    }

    /// A blob from the cache folder, or from storage into the cache folder.
    async fn blob(&self, model: ModelId, blob: BlobRef) -> Result<Vec<u8>, ModelError> {
        if blob.size_bytes > self.memory_bytes_max {
            let reason =
                format!("{} bytes, at most {} fit in this node", blob.size_bytes, self.memory_bytes_max);
            return Err(ModelError::Unsound { model, reason });
        }
        match self.cache.get(blob.blob, blob.size_bytes) {
            Ok(bytes) => return Ok(bytes),
            Err(nabla_store::Error::MissingBlob { .. }) => {}
            Err(error) => tracing::warn!(blob = %blob.blob, %error, "cached blob is fetched again"),
        }
        let fetched = self.blobs.get(blob).await.map_err(|source| ModelError::Fetch { model, source })?;
        self.keep(&fetched);
        Ok(fetched.bytes)
    }

    /// Keep what was fetched in the cache folder, if there is room.
    fn keep(&self, fetched: &Fetched) {
        report_rejected(fetched);
        if let Err(error) = self.cache.put(&fetched.bytes) {
            tracing::warn!(%error, "blob not kept in the cache folder");
        }
    }
}

fn report_rejected(fetched: &Fetched) {
    for shard in &fetched.rejected {
        tracing::warn!(node = %shard.node, index = shard.index, reason = %shard.reason, "shard rejected");
    }
}

/// The manifest of an imported model, with its two blobs.
#[must_use]
pub fn manifest_of(model: &Model) -> (ModelManifest, Vec<u8>, Vec<u8>) {
    let (graph, weights) = (model.graph_bytes(), model.weights_bytes());
    let manifest = ModelManifest {
        format: ModelManifest::FORMAT.to_owned(),
        kernel_spec: nabla_engine::KERNEL_SPEC,
        macs_per_row: model.cost().macs,
        batched: model.interface().is_batched(),
        graph: BlobRef::of(&graph),
        weights: BlobRef::of(&weights),
        row_elements: model.interface().row_elements(),
    };
    (manifest, graph, weights)
}
