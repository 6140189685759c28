//! The two ways in which time is counted.

use std::{hint::black_box, time::Duration};

use rustix::time::{ClockId, clock_gettime};

/// How time is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// CPU time of this thread, in user and kernel.
    Cpu,
    /// Time that passes.
    Wall,
}

impl Clock {
    /// Now, from a beginning of its own.
    #[must_use]
    pub fn now(self) -> Duration {
        let time = clock_gettime(match self {
            Self::Cpu => ClockId::ThreadCPUTime,
            Self::Wall => ClockId::Monotonic,
        });
        let seconds = u64::try_from(time.tv_sec).expect("clocks run forwards");
        Duration::from_secs(seconds)
            + Duration::from_nanos(u64::try_from(time.tv_nsec).expect("below a second"))
    }

    /// As the table writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Wall => "wall",
        }
    }
}

/// Adds up the timed parts of one run.
#[derive(Debug)]
pub struct Watch {
    clock: Clock,
    elapsed: Duration,
}

impl Watch {
    /// Nothing timed yet.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { clock, elapsed: Duration::ZERO }
    }

    /// Do `work`, and count its time. What it returns is not dropped within that time.
    pub fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let start = self.clock.now();
        let result = black_box(work());
        self.elapsed += self.clock.now() - start;
        result
    }

    /// What was timed so far.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.elapsed
    }
}
