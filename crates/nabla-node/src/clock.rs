//! The one place that reads clocks.

use std::{
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use nabla_engine::Clock;

/// Unix milliseconds.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one place that reads the time of day")]
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A clock that begins now and never goes back.
#[must_use]
pub fn ticking() -> Clock {
    let begun = Instant::now();
    Clock(Arc::new(move || begun.elapsed()))
}
