//! Cases that are measured in turn, and what comes out of each.

use std::{fmt, time::Duration};

use crate::{
    clock::{Clock, Watch},
    table::Row,
};

/// How long and how often.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Runs of each case, at least 7.
    pub runs: usize,
    /// The least that one run lasts.
    pub run_min: Duration,
    /// Whether large inputs and long series are cut.
    pub quick: bool,
}

impl Settings {
    /// The settings of a full table, or those of `--quick`.
    #[must_use]
    pub fn new(quick: bool) -> Self {
        match quick {
            false => Self { runs: 15, run_min: Duration::from_millis(60), quick },
            true => Self { runs: 7, run_min: Duration::from_millis(10), quick },
        }
    }
}

/// What one call of a body does.
#[derive(Debug, Clone, Copy)]
pub struct Work {
    /// How many of the unit.
    pub count: f64,
    /// `B` for bytes, or a plural such as `rows`.
    pub unit: &'static str,
}

impl Work {
    /// Some bytes.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    pub fn bytes(count: usize) -> Self {
        Self { count: count as f64, unit: "B" }
    }

    /// Some things of one kind.
    #[must_use]
    pub fn of(count: u32, unit: &'static str) -> Self {
        Self { count: f64::from(count), unit }
    }
}

/// Something to measure.
pub struct Case<'a> {
    name: String,
    clock: Clock,
    work: Work,
    limits: Vec<&'static str>,
    body: Box<dyn FnMut(&mut Watch) + 'a>,
}

impl fmt::Debug for Case<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case").field("name", &self.name).field("work", &self.work).finish_non_exhaustive()
    }
}

impl<'a> Case<'a> {
    /// A case by thread CPU time; `body` does `work` once and times it.
    pub fn new(name: impl Into<String>, work: Work, body: impl FnMut(&mut Watch) + 'a) -> Self {
        Self { name: name.into(), clock: Clock::Cpu, work, limits: Vec::new(), body: Box::new(body) }
    }

    /// A case whose body is timed as a whole, but for dropping what it returns.
    pub fn whole<T>(name: impl Into<String>, work: Work, mut body: impl FnMut() -> T + 'a) -> Self {
        Self::new(name, work, move |watch| {
            let _ = watch.time(&mut body);
        })
    }

    /// Count the time that passes instead.
    #[must_use]
    pub fn by_wall(mut self) -> Self {
        self.clock = Clock::Wall;
        self
    }

    /// Compare with the cases of these names in the same group.
    #[must_use]
    pub fn against(mut self, limits: &[&'static str]) -> Self {
        self.limits = limits.to_vec();
        self
    }

    /// Seconds for one unit of work, over `repeats` calls.
    fn run(&mut self, repeats: u32) -> f64 {
        let mut watch = Watch::new(self.clock);
        (0..repeats).for_each(|_| (self.body)(&mut watch));
        watch.elapsed().as_secs_f64() / f64::from(repeats) / self.work.count
    }

    /// How often the body must be called for a run to last.
    fn repeats(&mut self, settings: &Settings) -> u32 {
        let mut repeats = 1;
        loop {
            let lasted = self.run(repeats) * f64::from(repeats) * self.work.count;
            if lasted >= settings.run_min.as_secs_f64() || repeats >= 1 << 20 {
                return repeats;
            }
            repeats *= 2;
        }
    }
}

/// Cases that are measured in turn.
#[derive(Debug, Default)]
pub struct Group<'a> {
    cases: Vec<Case<'a>>,
}

impl<'a> Group<'a> {
    /// Add a case.
    #[must_use]
    pub fn with(mut self, case: Case<'a>) -> Self {
        self.cases.push(case);
        self
    }

    /// Measure all cases, one after the other, again and again.
    #[must_use]
    pub fn measure(mut self, settings: &Settings) -> Vec<Row> {
        let times = self.times(settings);
        self.rows(&times)
    }

    /// Seconds for one unit of work: of each case, of each run.
    fn times(&mut self, settings: &Settings) -> Vec<Vec<f64>> {
        let repeats: Vec<u32> = self.cases.iter_mut().map(|case| case.repeats(settings)).collect();
        let mut times: Vec<Vec<f64>> = vec![Vec::new(); self.cases.len()];
        for _ in 0..settings.runs.max(7) {
            for ((case, repeats), times) in self.cases.iter_mut().zip(&repeats).zip(&mut times) {
                times.push(case.run(*repeats));
            }
        }
        times
    }

    /// What these times say. Runs are compared with the limit's run of the same round.
    fn rows(&self, times: &[Vec<f64>]) -> Vec<Row> {
        let ratio = |times_of: &[f64], limit: &'static str| {
            let index = self.cases.iter().position(|case| case.name == limit);
            let limits = &times[index.expect("a limit is a case of its group")];
            (limit, median(times_of.iter().zip(limits).map(|(time, limit)| time / limit).collect()))
        };
        let row = |(case, times): (&Case<'_>, &Vec<f64>)| Row {
            name: case.name.clone(),
            clock: case.clock,
            work: case.work,
            median: median(times.clone()),
            spread: Spread::of(times),
            ratios: case.limits.iter().map(|limit| ratio(times, limit)).collect(),
        };
        self.cases.iter().zip(times).map(row).collect()
    }
}

/// How far runs lie from their median, as parts of it.
#[derive(Debug, Clone, Copy)]
pub struct Spread {
    /// The fastest run.
    pub below: f64,
    /// The slowest run.
    pub above: f64,
}

impl Spread {
    /// Of these times.
    #[must_use]
    pub fn of(times: &[f64]) -> Self {
        let middle = median(times.to_vec());
        let least = times.iter().copied().fold(f64::INFINITY, f64::min);
        let most = times.iter().copied().fold(0.0, f64::max);
        Self { below: 1.0 - least / middle, above: most / middle - 1.0 }
    }
}

/// The middle one; the upper of two.
#[must_use]
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_names_its_limit() {
        let case = |name| Case::whole(name, Work::of(1, "calls"), || ());
        let group = Group::default().with(case("one")).with(case("two").against(&["one", "two"]));
        // Round by round the ratios are 2, 4 and 3; the medians alone would give 4 / 1.
        let rows = group.rows(&[vec![1.0, 1.0, 3.0], vec![2.0, 4.0, 9.0]]);
        assert!(rows[0].ratios.is_empty());
        assert_eq!(rows[1].ratios, [("one", 3.0), ("two", 1.0)]);
    }

    #[test]
    fn every_case_is_run_as_often_as_the_others() {
        let case = |name| Case::whole(name, Work::of(1, "calls"), || ());
        let settings = Settings { runs: 9, run_min: Duration::ZERO, quick: true };
        let times = Group::default().with(case("one")).with(case("two")).times(&settings);
        assert_eq!(times.iter().map(Vec::len).collect::<Vec<_>>(), [9, 9]);
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        let spread = Spread::of(&[1.0, 2.0, 3.0]);
        assert!((spread.below - 0.5).abs() < 1e-9 && (spread.above - 0.5).abs() < 1e-9);
    }
}
