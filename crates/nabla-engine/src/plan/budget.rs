//! What a run may still use, where its cost is not known before.
//!
//! # Rules
//! - One budget for a run and all that runs inside it; everything is charged before it is done.
//! - What the plan knows is paid from the start.
//!
//! # When things go wrong
//! A charge that passes the limits is a [`Fault`], which ends the run.

use std::cell::Cell;

use super::ValueType;
use crate::{Fault, Limits};

/// What a run may still use. Not shared between threads.
#[derive(Debug)]
pub(crate) struct Budget<'a> {
    limits: &'a Limits,
    macs: Cell<u64>,
    /// Bytes that live now and that no plan knows.
    live_bytes: Cell<u64>,
    fixed_bytes: u64,
}

impl<'a> Budget<'a> {
    /// A budget of which the plan takes this.
    pub(crate) fn new(limits: &'a Limits, macs: u64, fixed_bytes: u64) -> Self {
        Self { limits, macs: Cell::new(macs), live_bytes: Cell::new(0), fixed_bytes }
    }

    pub(crate) fn limits(&self) -> &'a Limits {
        self.limits
    }

    /// Pay for work.
    pub(crate) fn spend(&self, macs: u64) -> Result<(), Fault> {
        self.macs.set(self.macs.get().saturating_add(macs));
        at_most("multiply-adds of the run so far", self.macs.get(), self.limits.macs_max)
    }

    /// Take memory, until [`Self::release`].
    pub(crate) fn hold(&self, bytes: u64) -> Result<(), Fault> {
        self.live_bytes.set(self.live_bytes.get().saturating_add(bytes));
        self.check_bytes(0)
    }

    pub(crate) fn release(&self, bytes: u64) {
        self.live_bytes.set(self.live_bytes.get().saturating_sub(bytes));
    }

    /// What is held now.
    pub(crate) fn held(&self) -> u64 {
        self.live_bytes.get()
    }

    /// Pay for one node: its outputs are held, its scratch is not.
    pub(super) fn charge(&self, outputs: &[ValueType], macs: u64, scratch_bytes: u64) -> Result<(), Fault> {
        self.spend(outputs.iter().map(ValueType::count).fold(macs, u64::saturating_add))?;
        self.hold(outputs.iter().map(ValueType::bytes).fold(0, u64::saturating_add))?;
        self.check_bytes(scratch_bytes)
    }

    fn check_bytes(&self, scratch_bytes: u64) -> Result<(), Fault> {
        let peak = self.fixed_bytes.saturating_add(self.live_bytes.get()).saturating_add(scratch_bytes);
        at_most("bytes of the run so far", peak, self.limits.peak_bytes_max)
    }
}

/// Refuse `got` above `max`.
pub(crate) fn at_most(what: &'static str, got: u64, max: u64) -> Result<(), Fault> {
    if got <= max {
        return Ok(());
    }
    Err(Fault::Shape { what, expected: format!("at most {max}"), got: got.to_string() })
}
