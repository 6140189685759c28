//! Language models in memory, each with the thread that answers.
//!
//! # Rules
//! - Weights, and the most that keys and values may take, count against the configured bytes before they are taken.
//! - A model that someone talks with stays. Of the others, the one that was asked for longest ago goes first, and only
//!   when room is needed.
//! - One load per model at a time, which the caller sees to.
//!
//! # When things go wrong
//! A load that finds no room is refused as busy; one that fails leaves nothing behind.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use nabla_engine::{
    Engine, Limits, ReadAt,
    language::{SchedulerConfig, TextModel},
};
use nabla_types::{ModelId, manifest::ModelManifest};

use crate::language::{Talker, load_language};

/// Most bytes of keys and values of one model.
const PAGES_BYTES_MAX: u64 = 1 << 30;

/// A language model that can be talked with. It stays in memory while this is held.
#[derive(Debug, Clone)]
pub struct LoadedLanguage {
    /// What its id commits to.
    pub manifest: ModelManifest,
    /// Weights, vocabulary and template.
    pub model: TextModel,
    /// The thread that answers.
    pub talker: Talker,
    _in_use: Arc<()>,
}

#[derive(Debug)]
pub(super) struct Languages {
    engine: Engine,
    bytes_max: u64,
    loaded: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    models: HashMap<ModelId, Entry>,
    /// Of loads under way.
    loading_bytes: u64,
    /// Counts requests, to know whose is the oldest.
    time: u64,
}

#[derive(Debug)]
struct Entry {
    loaded: Kept,
    bytes: u64,
    used: u64,
}

/// As [`LoadedLanguage`], but not in use by that.
#[derive(Debug)]
struct Kept {
    manifest: ModelManifest,
    model: TextModel,
    talker: Talker,
    in_use: Weak<()>,
}

impl Entry {
    /// For someone who uses it.
    fn taken(&mut self) -> LoadedLanguage {
        let in_use = self.loaded.in_use.upgrade().unwrap_or_default();
        self.loaded.in_use = Arc::downgrade(&in_use);
        let Kept { manifest, model, talker, .. } = &self.loaded;
        let (manifest, model, talker) = (manifest.clone(), model.clone(), talker.clone());
        LoadedLanguage { manifest, model, talker, _in_use: in_use }
    }
}

/// Why a model is not loaded.
#[derive(Debug)]
pub(super) enum NotLoaded {
    /// Others are in use.
    NoRoom { needed: u64, max: u64 },
    /// It is not what it says, or too large for this node.
    Unsound(String),
}

impl Languages {
    pub(super) fn new(engine: Engine, bytes_max: u64) -> Self {
        Self { engine, bytes_max, loaded: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn warm(&self) -> Vec<ModelId> {
        self.state().models.keys().copied().collect()
    }

    /// A model that is here.
    pub(super) fn peek(&self, model: ModelId) -> Option<LoadedLanguage> {
        let mut state = self.state();
        state.time += 1;
        let time = state.time;
        if state.models.get(&model).is_some_and(|entry| entry.loaded.talker.is_gone()) {
            state.models.remove(&model);
        }
        let entry = state.models.get_mut(&model)?;
        entry.used = time;
        Some(entry.taken())
    }

    /// Load a model from its two blobs, in a thread that may wait.
    pub(super) fn load(
        &self,
        manifest: &ModelManifest,
        blobs: impl FnOnce() -> Result<(Vec<u8>, Box<dyn ReadAt>), super::ModelError>,
    ) -> Result<Result<LoadedLanguage, NotLoaded>, super::ModelError> {
        // Weights are packed for the kernels, into no more bytes than they would have as plain numbers of 32 bits;
        // what they take in truth is known when they are loaded.
        let pages_bytes = PAGES_BYTES_MAX.min(self.bytes_max / 4);
        let weights_bytes = manifest.weights.size_bytes.saturating_add(manifest.graph.size_bytes);
        let needed = weights_bytes.saturating_add(pages_bytes);
        if let Err(refusal) = self.make_room(needed) {
            return Ok(Err(refusal));
        }
        let result = blobs().map(|blobs| self.begin(manifest, blobs, pages_bytes));
        let mut state = self.state();
        state.loading_bytes -= needed;
        result.map(|loaded| {
            loaded.map(|loaded| {
                let bytes = loaded.model.resident_bytes().saturating_add(pages_bytes);
                state.time += 1;
                let mut entry = Entry { loaded, bytes, used: state.time };
                let taken = entry.taken();
                state.models.insert(manifest.model_id(), entry);
                taken
            })
        })
    }

    fn begin(
        &self,
        manifest: &ModelManifest,
        (graph, weights): (Vec<u8>, Box<dyn ReadAt>),
        pages_bytes: u64,
    ) -> Result<Kept, NotLoaded> {
        let limits = Limits { weight_bytes_max: self.bytes_max, ..Limits::default() };
        let model = load_language(&self.engine, manifest, (graph, Arc::<dyn ReadAt>::from(weights)), &limits)
            .map_err(NotLoaded::Unsound)?;
        let config = SchedulerConfig { pages_bytes, ..SchedulerConfig::default() };
        let talker = Talker::begin(model.clone(), config)
            .map_err(|error| NotLoaded::Unsound(format!("it cannot be talked with here: {error}")))?;
        Ok(Kept { manifest: manifest.clone(), model, talker, in_use: Weak::new() })
    }

    /// Count these bytes as taken, and let models go that nobody talks with, the oldest first.
    fn make_room(&self, needed: u64) -> Result<(), NotLoaded> {
        let max = self.bytes_max;
        let mut state = self.state();
        if needed > max {
            return Err(NotLoaded::Unsound(format!("{needed} bytes, at most {max} fit in this node")));
        }
        loop {
            let held: u64 = state.models.values().map(|entry| entry.bytes).sum();
            if held.saturating_add(state.loading_bytes).saturating_add(needed) <= max {
                state.loading_bytes += needed;
                return Ok(());
            }
            let idle = state.models.iter().filter(|(_, entry)| entry.loaded.in_use.strong_count() == 0);
            let Some(oldest) = idle.min_by_key(|(_, entry)| entry.used).map(|(model, _)| *model) else {
                return Err(NotLoaded::NoRoom { needed, max });
            };
            state.models.remove(&oldest);
            tracing::info!(model = %oldest, "language model given up for another");
        }
    }
}
