//! The cache itself: who asks, who loads, who waits.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use nabla_types::ModelId;

use super::disk::{Folder, Unusable};
use super::layout::{Key, Source};
use super::ledger::{Ledger, Made};
use super::{
    CacheConfig, CacheCounters, CacheError, Lease, Loaded, Parts, Resident, SourceError, Stage, stream,
};
use crate::kernels::check_float_mode;
use crate::runtime::EngineSession;
use crate::{Engine, Interface, Session};

/// What a packed model is taken to come back from disk with, until that has been measured.
const DISK_BYTES_PER_SECOND: u64 = 1 << 30;

/// Models in memory and on disk. See the module's head for its rules; clones are the same cache.
#[derive(Debug, Clone)]
pub struct ModelCache {
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    engine: Engine,
    config: CacheConfig,
    folder: Option<Folder>,
    folder_problem: Option<String>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    ledger: Ledger<Arc<Loaded>>,
    flights: BTreeMap<ModelId, Arc<Flight>>,
    counters: CacheCounters,
}

/// A load that others may wait for.
#[derive(Debug, Default)]
struct Flight {
    state: Mutex<FlightState>,
    landed: Condvar,
}

#[derive(Debug, Default)]
struct FlightState {
    /// Who waits; each gets a lease. Counted under the cache's lock, while the flight can be found.
    waiting: u64,
    outcome: Option<Result<Arc<Loaded>, CacheError>>,
}

impl Flight {
    fn lock(&self) -> MutexGuard<'_, FlightState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self) -> Result<Arc<Loaded>, CacheError> {
        let flying = |state: &mut FlightState| state.outcome.is_none();
        let state = self.landed.wait_while(self.lock(), flying).unwrap_or_else(PoisonError::into_inner);
        state.outcome.clone().unwrap_or(Err(CacheError::Abandoned))
    }
}

/// How a caller comes to a model.
enum Way {
    Here(Arc<Loaded>),
    Wait(Arc<Flight>),
    Load(Arc<Flight>),
}

impl ModelCache {
    /// A cache whose models `engine` runs.
    ///
    /// # Errors
    /// [`CacheError::InUse`] if another process owns the folder. A folder that cannot be used for another
    /// reason is done without; see [`Self::disk_problem`].
    pub fn new(engine: Engine, config: CacheConfig) -> Result<Self, CacheError> {
        let opened = config.folder.as_ref().map(|path| Folder::open(path, config.folder_bytes_max));
        let (folder, folder_problem) = match opened {
            None => (None, None),
            Some(Ok(folder)) => (Some(folder), None),
            Some(Err(Unusable::Owned(error))) => return Err(error),
            Some(Err(Unusable::Problem(error))) => (None, Some(error.to_string())),
        };
        let ledger = Ledger::new(config.memory_bytes_max);
        let (flights, counters) = (BTreeMap::new(), CacheCounters::default());
        let state = Mutex::new(State { ledger, flights, counters });
        Ok(Self { shared: Arc::new(Shared { engine, config, folder, folder_problem, state }) })
    }

    /// A model: at once if it is here, else after a load, its own or somebody else's. `open` is only called
    /// for a load that the disk does not answer. It must not ask this cache for the same model.
    ///
    /// The thread that loads also writes the packed model to disk before it returns; those who wait do not
    /// wait for that.
    ///
    /// # Errors
    /// [`CacheError`].
    pub fn get(
        &self,
        model: ModelId,
        open: impl FnOnce() -> Result<Parts, SourceError>,
    ) -> Result<Lease, CacheError> {
        self.get_checked(model, |_| Ok(()), open)
    }

    /// As [`Self::get`], for a caller who knows something of the model that its id commits to. A load whose
    /// model `check` refuses has failed: nothing of it stays, in memory or on disk.
    ///
    /// # Errors
    /// [`CacheError`]; [`CacheError::Refused`] is what `check` said.
    pub fn get_checked(
        &self,
        model: ModelId,
        check: impl Fn(&Interface) -> Result<(), SourceError>,
        open: impl FnOnce() -> Result<Parts, SourceError>,
    ) -> Result<Lease, CacheError> {
        let lease = |loaded| Lease { model, loaded, shared: self.shared.clone() };
        match self.shared.way(model) {
            Way::Here(loaded) => Ok(lease(loaded)),
            Way::Wait(flight) => flight.wait().map(lease),
            Way::Load(flight) => {
                let mut load = Load { shared: &self.shared, model, flight, reserved: 0, landed: false };
                let made = load.run(&check, open);
                let landed = load.land(made)?;
                let leased = lease(landed.loaded);
                self.shared.keep(model, &leased.loaded, landed.graph.as_deref());
                Ok(leased)
            }
        }
    }

    /// A model that is here; no load.
    #[must_use]
    pub fn peek(&self, model: ModelId) -> Option<Lease> {
        let mut state = self.shared.lock();
        let loaded = state.ledger.lease(&model)?.clone();
        state.counters.hits += 1;
        drop(state);
        Some(Lease { model, loaded, shared: self.shared.clone() })
    }

    /// Keep a model from going, now or once it is loaded.
    pub fn pin(&self, model: ModelId) {
        self.shared.lock().ledger.pin(model);
    }

    /// Let a pinned model go when its time comes.
    pub fn unpin(&self, model: ModelId) {
        self.shared.lock().ledger.unpin(&model);
    }

    /// Let a model go now; whether it was here, not leased and not pinned. Its file stays.
    pub fn evict(&self, model: ModelId) -> bool {
        // Bound first: the session's memory is freed after the lock is.
        let gone = self.shared.lock().ledger.evict(&model);
        gone.is_some()
    }

    /// The models that are here, by id.
    #[must_use]
    pub fn resident(&self) -> Vec<Resident> {
        let state = self.shared.lock();
        let entry = |(model, entry): (&ModelId, &super::ledger::Entry<Arc<Loaded>>)| Resident {
            model: *model,
            bytes: entry.bytes,
            leases: entry.leases,
            pinned: state.ledger.is_pinned(model),
            hits: entry.hits,
            load_seconds: entry.value.load_seconds,
            disk: entry.value.disk(),
        };
        state.ledger.entries().map(entry).collect()
    }

    /// Bytes of the models that are here, and bytes that loads have reserved.
    #[must_use]
    pub fn memory_bytes(&self) -> (u64, u64) {
        let state = self.shared.lock();
        (state.ledger.resident_bytes(), state.ledger.reserved_bytes())
    }

    /// Counts since the cache was made.
    #[must_use]
    pub fn counters(&self) -> CacheCounters {
        self.shared.lock().counters
    }

    /// Why nothing is kept on disk, although a folder was given.
    #[must_use]
    pub fn disk_problem(&self) -> Option<&str> {
        self.shared.folder_problem.as_deref()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn end_lease(&self, model: &ModelId) {
        let loose = self.lock().ledger.end_lease(model);
        if loose {
            self.tell(*model, Stage::Loose);
        }
    }

    fn way(&self, model: ModelId) -> Way {
        let mut state = self.lock();
        if let Some(loaded) = state.ledger.lease(&model) {
            let loaded = loaded.clone();
            state.counters.hits += 1;
            return Way::Here(loaded);
        }
        if let Some(flight) = state.flights.get(&model).cloned() {
            flight.lock().waiting += 1;
            state.counters.waits += 1;
            return Way::Wait(flight);
        }
        let flight = Arc::new(Flight::default());
        state.flights.insert(model, flight.clone());
        Way::Load(flight)
    }

    fn tell(&self, model: ModelId, stage: Stage) {
        self.config.watch.iter().for_each(|watch| (watch.0)(model, stage));
    }

    fn key(&self, model: ModelId) -> Key<'_> {
        Key { model, cpu: self.engine.cpu(), limits: &self.config.limits }
    }

    /// Write a model that came from a source to disk. The lease of whoever calls keeps it here meanwhile.
    fn keep(&self, model: ModelId, loaded: &Loaded, graph: Option<&[u8]>) {
        let (Some(folder), Some(graph)) = (&self.folder, graph) else { return };
        let source = Source { graph, session: &loaded.session };
        let written = folder.store(&self.key(model), source, &|stage| self.tell(model, stage));
        loaded.note_written(&written);
        let bytes = loaded.session.resident_bytes();
        let mut state = self.lock();
        match written {
            Ok(()) => {
                state.counters.disk_writes += 1;
                if let Some(measured) = loaded.load_seconds {
                    state.ledger.set_reload(&model, measured.min(seconds_at(DISK_BYTES_PER_SECOND, bytes)));
                }
            }
            Err(_) => state.counters.disk_failures += 1,
        }
    }

    fn now(&self) -> Option<Duration> {
        self.config.clock.as_ref().map(|clock| (clock.0)())
    }
}

#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn seconds_at(bytes_per_second: u64, bytes: u64) -> f64 {
    bytes as f64 / bytes_per_second.max(1) as f64
}

/// A load under way. Dropped before it lands, by a panic, it tells those who wait and gives its bytes back.
struct Load<'a> {
    shared: &'a Shared,
    model: ModelId,
    flight: Arc<Flight>,
    reserved: u64,
    landed: bool,
}

/// A session that is ready to be found, and its graph if it is to be written to disk.
struct Landed {
    loaded: Arc<Loaded>,
    graph: Option<Vec<u8>>,
}

impl Load<'_> {
    fn run(
        &mut self,
        check: &dyn Fn(&Interface) -> Result<(), SourceError>,
        open: impl FnOnce() -> Result<Parts, SourceError>,
    ) -> Result<Landed, CacheError> {
        check_float_mode()?;
        let begun = self.shared.now();
        let fits = |session: &EngineSession| check(session.interface()).is_ok();
        if let Some(session) = self.map_packed(&fits)? {
            self.shared.tell(self.model, Stage::Mapped);
            return Ok(Landed { loaded: self.loaded(session, begun, true), graph: None });
        }
        let parts = open().map_err(|source| CacheError::Open { source: Arc::from(source) })?;
        self.shared.tell(self.model, Stage::Opened);
        let (shared, model) = (self.shared, self.model);
        self.charge(stream::first_charge(&parts, &shared.config.limits)?)?;
        let planned = || shared.tell(model, Stage::Planned);
        let limits = &shared.config.limits;
        let session =
            stream::load(shared.engine.cpu(), &parts, limits, &planned, &mut |bytes| self.charge(bytes))?;
        check(session.interface()).map_err(|source| CacheError::Refused { source: Arc::from(source) })?;
        Ok(Landed { loaded: self.loaded(session, begun, false), graph: Some(parts.graph) })
    }

    fn map_packed(
        &mut self,
        fits: &dyn Fn(&EngineSession) -> bool,
    ) -> Result<Option<EngineSession>, CacheError> {
        let Some(folder) = &self.shared.folder else { return Ok(None) };
        let key = self.shared.key(self.model);
        let Some(bytes) = folder.size_bytes(&key) else { return Ok(None) };
        self.charge(bytes)?;
        let Some(session) = folder.load(&key, fits) else {
            self.uncharge();
            return Ok(None);
        };
        self.charge(session.resident_bytes())?;
        Ok(Some(session))
    }

    fn loaded(&self, session: EngineSession, begun: Option<Duration>, mapped: bool) -> Arc<Loaded> {
        let taken = self.shared.now().zip(begun).map(|(now, begun)| now.saturating_sub(begun));
        let load_seconds = taken.map(|taken| taken.as_secs_f64());
        Arc::new(Loaded { session, load_seconds, mapped, written: OnceLock::new() })
    }

    /// Have at least so many bytes reserved; others may have to go for them.
    fn charge(&mut self, bytes: u64) -> Result<(), CacheError> {
        let more = bytes.saturating_sub(self.reserved);
        if more == 0 {
            return Ok(());
        }
        let mut state = self.shared.lock();
        let gone = state.ledger.reserve(self.model, more)?;
        state.counters.evictions += gone.len() as u64;
        drop(state);
        // Freed here, outside of the lock, before any of the new bytes is taken.
        drop(gone);
        self.reserved += more;
        Ok(())
    }

    fn uncharge(&mut self) {
        self.shared.lock().ledger.release(std::mem::take(&mut self.reserved));
    }

    /// Let everyone know what came of it.
    fn land(mut self, made: Result<Landed, CacheError>) -> Result<Landed, CacheError> {
        let made = made.and_then(|landed| {
            self.charge(landed.loaded.session.resident_bytes())?;
            Ok(landed)
        });
        self.landed = true;
        let outcome = made.as_ref().map(|landed| landed.loaded.clone()).map_err(Clone::clone);
        self.publish(outcome);
        if made.is_ok() {
            self.shared.tell(self.model, Stage::Ready);
        }
        made
    }

    fn publish(&mut self, outcome: Result<Arc<Loaded>, CacheError>) {
        let mut state = self.shared.lock();
        state.flights.remove(&self.model);
        let mut flight = self.flight.lock();
        match &outcome {
            Ok(loaded) => {
                let counters = &mut state.counters;
                *(if loaded.mapped { &mut counters.loads_disk } else { &mut counters.loads_source }) += 1;
                let bytes = loaded.session.resident_bytes();
                let rate = self.shared.config.reload_bytes_per_second;
                let reload_seconds = loaded.load_seconds.unwrap_or_else(|| seconds_at(rate, bytes));
                let made = Made { bytes, reload_seconds, leases: flight.waiting + 1 };
                state.ledger.insert(self.model, loaded.clone(), self.reserved, made);
            }
            Err(_) => {
                state.counters.loads_failed += 1;
                state.ledger.release(self.reserved);
            }
        }
        self.reserved = 0;
        flight.outcome = Some(outcome);
        drop(flight);
        drop(state);
        self.flight.landed.notify_all();
    }
}

impl Drop for Load<'_> {
    fn drop(&mut self) {
        if !self.landed {
            self.publish(Err(CacheError::Abandoned));
        }
    }
}
