//! Who is in memory, and who goes first: a pure state, without locks, clocks or files.
//!
//! # Rules
//! - What is resident and what loads have reserved never pass `bytes_max` together.
//! - A model's worth is the clock of worth at its last use plus the seconds that a byte of it saves: cost of
//!   a new load / size. The least worth goes first; of equals, the one used longest ago. Whoever goes moves
//!   the clock to its worth, so that what is not used ages (GreedyDual-Size).
//! - Models that are leased or pinned do not go.

use std::collections::{BTreeMap, BTreeSet};

use nabla_types::ModelId;

use super::CacheError;

#[derive(Debug)]
pub(super) struct Entry<T> {
    pub(super) value: T,
    pub(super) bytes: u64,
    pub(super) reload_seconds: f64,
    pub(super) leases: u64,
    pub(super) hits: u64,
    worth: f64,
    last_used: u64,
}

#[derive(Debug)]
pub(super) struct Ledger<T> {
    bytes_max: u64,
    entries: BTreeMap<ModelId, Entry<T>>,
    pinned: BTreeSet<ModelId>,
    resident_bytes: u64,
    reserved_bytes: u64,
    /// The clock of worth.
    inflation: f64,
    uses: u64,
}

impl<T> Ledger<T> {
    pub(super) fn new(bytes_max: u64) -> Self {
        let (entries, pinned) = (BTreeMap::new(), BTreeSet::new());
        Self { bytes_max, entries, pinned, resident_bytes: 0, reserved_bytes: 0, inflation: 0.0, uses: 0 }
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (&ModelId, &Entry<T>)> {
        self.entries.iter()
    }

    pub(super) fn resident_bytes(&self) -> u64 {
        self.resident_bytes
    }

    pub(super) fn reserved_bytes(&self) -> u64 {
        self.reserved_bytes
    }

    pub(super) fn is_pinned(&self, model: &ModelId) -> bool {
        self.pinned.contains(model)
    }

    pub(super) fn pin(&mut self, model: ModelId) {
        self.pinned.insert(model);
    }

    pub(super) fn unpin(&mut self, model: &ModelId) {
        self.pinned.remove(model);
    }

    /// Lease a model that is here.
    pub(super) fn lease(&mut self, model: &ModelId) -> Option<&T> {
        self.uses += 1;
        let (uses, inflation) = (self.uses, self.inflation);
        let entry = self.entries.get_mut(model)?;
        entry.hits += 1;
        entry.leases += 1;
        entry.last_used = uses;
        entry.worth = worth(inflation, entry.reload_seconds, entry.bytes);
        Some(&entry.value)
    }

    /// Whether that was the last lease of the model.
    pub(super) fn end_lease(&mut self, model: &ModelId) -> bool {
        let Some(entry) = self.entries.get_mut(model) else { return false };
        entry.leases = entry.leases.saturating_sub(1);
        entry.leases == 0
    }

    /// Reserve so many bytes more for a load of `model`. What had to go for them is returned, to be dropped
    /// outside of any lock.
    pub(super) fn reserve(&mut self, model: ModelId, bytes: u64) -> Result<Vec<T>, CacheError> {
        let held: Vec<_> = self.entries.iter().filter(|(id, entry)| self.is_held(id, entry)).collect();
        let held_bytes = held.iter().map(|(_, entry)| entry.bytes).fold(0, u64::saturating_add);
        let least = held_bytes.saturating_add(self.reserved_bytes).saturating_add(bytes);
        if least > self.bytes_max {
            return Err(CacheError::NoRoom {
                needed: bytes,
                max: self.bytes_max,
                held: held_bytes,
                loading: self.reserved_bytes,
                holders: held.iter().map(|(id, _)| **id).filter(|id| *id != model).collect(),
            });
        }
        let mut gone = Vec::new();
        let max = self.bytes_max - self.reserved_bytes - bytes;
        while self.resident_bytes > max {
            let Some(least) = self.least_worth() else { break };
            self.inflation = self.inflation.max(self.entries.get(&least).map_or(0.0, |entry| entry.worth));
            gone.extend(self.remove(&least));
        }
        self.reserved_bytes += bytes;
        Ok(gone)
    }

    /// Give back what was reserved.
    pub(super) fn release(&mut self, bytes: u64) {
        self.reserved_bytes = self.reserved_bytes.saturating_sub(bytes);
    }

    /// Turn what was reserved, which is at least `bytes`, into a model that is here and leased.
    pub(super) fn insert(&mut self, model: ModelId, value: T, reserved: u64, made: Made) {
        let Made { bytes, reload_seconds, leases } = made;
        self.release(reserved);
        self.uses += 1;
        self.resident_bytes = self.resident_bytes.saturating_add(bytes);
        let (worth, last_used) = (worth(self.inflation, reload_seconds, bytes), self.uses);
        let entry = Entry { value, bytes, reload_seconds, leases, hits: 0, worth, last_used };
        self.entries.insert(model, entry);
    }

    /// A load would now cost so much.
    pub(super) fn set_reload(&mut self, model: &ModelId, seconds: f64) {
        let inflation = self.inflation;
        if let Some(entry) = self.entries.get_mut(model) {
            entry.reload_seconds = seconds;
            entry.worth = worth(inflation, seconds, entry.bytes);
        }
    }

    /// Let a model go, if nobody leases it and it is not pinned.
    pub(super) fn evict(&mut self, model: &ModelId) -> Option<T> {
        let entry = self.entries.get(model)?;
        if self.is_held(model, entry) { None } else { self.remove(model) }
    }

    fn remove(&mut self, model: &ModelId) -> Option<T> {
        let entry = self.entries.remove(model)?;
        self.resident_bytes = self.resident_bytes.saturating_sub(entry.bytes);
        Some(entry.value)
    }

    fn is_held(&self, model: &ModelId, entry: &Entry<T>) -> bool {
        entry.leases > 0 || self.pinned.contains(model)
    }

    fn least_worth(&self) -> Option<ModelId> {
        let loose = self.entries.iter().filter(|(id, entry)| !self.is_held(id, entry));
        let least =
            loose.min_by(|(_, a), (_, b)| a.worth.total_cmp(&b.worth).then(a.last_used.cmp(&b.last_used)));
        least.map(|(id, _)| *id)
    }
}

/// What a load has come to.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) bytes: u64,
    pub(super) reload_seconds: f64,
    pub(super) leases: u64,
}

#[expect(clippy::cast_precision_loss, reason = "a rank, not a result: rounding only breaks ties")]
fn worth(inflation: f64, reload_seconds: f64, bytes: u64) -> f64 {
    inflation + reload_seconds / bytes.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::{CacheError, ModelId};
    use super::{Ledger, Made};

    fn id(number: u8) -> ModelId {
        ModelId([number; 32])
    }

    /// A model that nobody leases.
    fn put(ledger: &mut Ledger<u8>, number: u8, bytes: u64, reload_seconds: f64) -> Vec<u8> {
        let gone = ledger.reserve(id(number), bytes).unwrap();
        ledger.insert(id(number), number, bytes, Made { bytes, reload_seconds, leases: 0 });
        assert!(ledger.resident_bytes() + ledger.reserved_bytes() <= 100);
        gone
    }

    #[test]
    fn what_is_cheap_to_load_again_goes_first() {
        let mut ledger = Ledger::new(100);
        put(&mut ledger, 1, 40, 4.0);
        put(&mut ledger, 2, 40, 1.0);
        assert_eq!(put(&mut ledger, 3, 40, 2.0), [2]);
        ledger.set_reload(&id(1), 0.5);
        assert_eq!(put(&mut ledger, 4, 40, 2.0), [1]);
    }

    #[test]
    fn what_is_costly_but_not_used_ages() {
        let mut ledger = Ledger::new(100);
        put(&mut ledger, 1, 50, 5.0);
        let mut gone = Vec::new();
        for number in 2..20 {
            gone.extend(put(&mut ledger, number, 50, 1.0));
        }
        assert!(gone.contains(&1) && gone[0] != 1, "{gone:?}");
    }

    #[test]
    fn a_reservation_holds_and_nothing_goes_for_what_cannot_fit() {
        let mut ledger = Ledger::new(100);
        put(&mut ledger, 1, 30, 1.0);
        put(&mut ledger, 2, 30, 1.0);
        assert_eq!(ledger.lease(&id(1)), Some(&1));
        assert!(matches!(ledger.reserve(id(3), 71), Err(CacheError::NoRoom { held: 30, .. })));
        assert_eq!(ledger.resident_bytes(), 60);
        assert_eq!(ledger.reserve(id(3), 70).unwrap(), [2]);
        assert!(matches!(ledger.reserve(id(4), 1), Err(CacheError::NoRoom { loading: 70, .. })));
        ledger.release(70);
        ledger.end_lease(&id(1));
        assert_eq!(ledger.reserve(id(4), 100).unwrap(), [1]);
        assert!(matches!(ledger.reserve(id(5), u64::MAX), Err(CacheError::NoRoom { .. })));
    }

    #[test]
    fn only_what_is_loose_is_evicted() {
        let mut ledger = Ledger::new(100);
        put(&mut ledger, 1, 10, 1.0);
        ledger.pin(id(1));
        assert_eq!(ledger.evict(&id(1)), None);
        ledger.unpin(&id(1));
        ledger.lease(&id(1));
        assert_eq!(ledger.evict(&id(1)), None);
        ledger.end_lease(&id(1));
        assert_eq!((ledger.evict(&id(1)), ledger.evict(&id(1))), (Some(1), None));
    }
}
