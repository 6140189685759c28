//! Models in memory: loaded once, kept in the kernels' order, within a number of bytes.
//!
//! | module | what it holds |
//! |---|---|
//! | `source` | [`ReadAt`] and [`Parts`]: where a model's bytes come from |
//! | `stream` | a load: weights arrive while earlier ones are packed |
//! | `layout`, `disk`, `map` | packed models as files: their bytes, their folder, how they are mapped |
//! | `ledger` | who is in memory and who goes first, as a pure state |
//!
//! # Rules
//! - Resident models and loads in flight never take more than `memory_bytes_max` together; files that are
//!   mapped count like memory. What is written to an answer (inputs, intermediate values) is the run's.
//! - One load per model at a time; who else asks for it waits for that load and shares what it comes to.
//! - Nothing is read, packed, planned or written under the cache's lock: a model that is here is leased, and
//!   runs, while others load.
//! - A model in use (leased) or pinned stays. Of the others the one goes first that saves the least time per
//!   byte, see `ledger`.
//! - Bits never depend on where a session came from.
//!
//! # When things go wrong
//! A load that fails gives everyone who waits the same error and leaves nothing; the next call tries again.
//! So does a load whose model the caller refuses ([`ModelCache::get_checked`]), from disk or from a source.
//! The disk is help, never a need: a broken file is removed and the model loaded anew, a full or read-only
//! disk is told in [`Disk`] and in [`ModelCache::disk_problem`].
//!
//! # Example
//! ```
//! use nabla_engine::{CacheConfig, Engine, Kernels, ModelCache};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = CacheConfig { memory_bytes_max: 1 << 30, ..CacheConfig::default() };
//! let cache = ModelCache::new(Engine::new(Kernels::Auto)?, config)?;
//! assert!(cache.resident().is_empty());
//! # Ok(()) }
//! ```

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use nabla_types::ModelId;
use nabla_types::tensor::NamedTensor;

use crate::runtime::EngineSession;
use crate::{Error, Interface, Limits, Session};

mod cache;
mod disk;
mod error;
mod layout;
mod ledger;
mod map;
mod source;
mod stream;

pub use cache::ModelCache;
pub use error::{CacheError, SourceError};
pub use source::{FileSource, Parts, ReadAt};

/// What a cache may take, and where.
#[derive(Debug, Clone)]
pub struct CacheConfig {
    /// Most bytes that resident models and loads in flight take together.
    pub memory_bytes_max: u64,
    /// Limits under which models are read.
    pub limits: Limits,
    /// Folder of packed models, owned by this cache alone. `None`: nothing is kept on disk.
    pub folder: Option<PathBuf>,
    /// Most bytes of the files in that folder.
    pub folder_bytes_max: u64,
    /// Measures what loads take, so that what is slow to load again stays longer. `None`: see next.
    pub clock: Option<Clock>,
    /// What a load is taken to do where no clock measures it, in bytes per second. All models are then worth
    /// the same per byte, and the one used longest ago goes first.
    pub reload_bytes_per_second: u64,
    /// Told what a load is doing.
    pub watch: Option<Watch>,
}

impl Default for CacheConfig {
    /// 4 GiB of memory, nothing on disk.
    fn default() -> Self {
        Self {
            memory_bytes_max: 4 << 30,
            limits: Limits::default(),
            folder: None,
            folder_bytes_max: 64 << 30,
            clock: None,
            reload_bytes_per_second: 256 << 20,
            watch: None,
        }
    }
}

/// What happens to a model; a step for logs and progress bars, and a sign for those who wait for room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stage {
    /// The parts are open; nothing of the weights has been read.
    Opened,
    /// The graph has been checked; large weights follow.
    Planned,
    /// The packed model on disk has been taken instead.
    Mapped,
    /// The model can run.
    Ready,
    /// A temporary file has been made.
    DiskBegun,
    /// A part of it has been written.
    DiskGrown,
    /// It is whole and synced.
    DiskSynced,
    /// It has its name.
    DiskRenamed,
    /// Nobody leases the model any more: if it is not pinned, it may go when another needs its room.
    Loose,
}

/// The time since any fixed moment. It orders models, never bits.
#[derive(Clone)]
pub struct Clock(pub Arc<dyn Fn() -> Duration + Send + Sync>);

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// A function that is told of each [`Stage`], in the thread that loads or ends a lease, outside of any lock.
#[derive(Clone)]
pub struct Watch(pub Arc<dyn Fn(ModelId, Stage) + Send + Sync>);

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}

/// What the disk has to do with a resident model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disk {
    /// It is not, or not yet, kept on disk.
    None,
    /// It was mapped from there.
    Mapped,
    /// It has been written there.
    Written,
    /// It could not be written; the model runs all the same.
    Failed {
        /// Why.
        problem: String,
    },
}

/// A resident model, for people and metrics.
#[derive(Debug, Clone, PartialEq)]
pub struct Resident {
    /// The model.
    pub model: ModelId,
    /// Bytes that count against the cache.
    pub bytes: u64,
    /// Leases that are out.
    pub leases: u64,
    /// Whether it stays until it is unpinned.
    pub pinned: bool,
    /// Times that it was asked for and there.
    pub hits: u64,
    /// Seconds that its load took, if a clock measured it.
    pub load_seconds: Option<f64>,
    /// What the disk has to do with it.
    pub disk: Disk,
}

/// Counts since the cache was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheCounters {
    /// Models that were asked for and there.
    pub hits: u64,
    /// Models that were asked for while somebody else loaded them.
    pub waits: u64,
    /// Loads from a source.
    pub loads_source: u64,
    /// Loads from the disk.
    pub loads_disk: u64,
    /// Loads that failed.
    pub loads_failed: u64,
    /// Models that had to go.
    pub evictions: u64,
    /// Packed models written to disk.
    pub disk_writes: u64,
    /// Packed models that could not be written.
    pub disk_failures: u64,
}

/// A session and how it came here.
#[derive(Debug)]
struct Loaded {
    session: EngineSession,
    load_seconds: Option<f64>,
    mapped: bool,
    written: OnceLock<Result<(), String>>,
}

impl Loaded {
    fn disk(&self) -> Disk {
        match self.written.get() {
            _ if self.mapped => Disk::Mapped,
            None => Disk::None,
            Some(Ok(())) => Disk::Written,
            Some(Err(problem)) => Disk::Failed { problem: problem.clone() },
        }
    }

    fn note_written(&self, written: &io::Result<()>) {
        let outcome = written.as_ref().copied().map_err(ToString::to_string);
        // A model is written once; were it twice, the first outcome would stand.
        let _ = self.written.set(outcome);
    }
}

/// A model in use. It stays resident until the last lease of it is dropped. Itself a [`Session`], so that
/// whoever runs it holds it.
pub struct Lease {
    model: ModelId,
    loaded: Arc<Loaded>,
    shared: Arc<cache::Shared>,
}

impl Lease {
    /// The model, ready to run.
    #[must_use]
    pub fn session(&self) -> &dyn Session {
        &self.loaded.session
    }

    /// Its id.
    #[must_use]
    pub fn model(&self) -> ModelId {
        self.model
    }

    /// What the disk has to do with it.
    #[must_use]
    pub fn disk(&self) -> Disk {
        self.loaded.disk()
    }

    /// Seconds that its load took, if a clock measured it.
    #[must_use]
    pub fn load_seconds(&self) -> Option<f64> {
        self.loaded.load_seconds
    }
}

impl Session for Lease {
    fn run(&self, inputs: &[NamedTensor]) -> Result<Vec<NamedTensor>, Error> {
        self.loaded.session.run(inputs)
    }

    fn interface(&self) -> &Interface {
        self.loaded.session.interface()
    }

    fn resident_bytes(&self) -> u64 {
        self.loaded.session.resident_bytes()
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lease({})", self.model.short())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.shared.end_lease(&self.model);
    }
}
