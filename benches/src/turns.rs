//! Two that do the same work in turn, and how many times as fast the first is.

use std::time::Duration;

use crate::group::median;

/// The least that one turn of either lasts.
const TURN_MIN: Duration = Duration::from_millis(120);

/// Ours and theirs, turn by turn.
#[derive(Debug, Clone, Copy)]
pub struct Turns {
    /// Seconds of one run of ours, the median.
    pub ours: f64,
    /// Seconds of one run of theirs, the median.
    pub theirs: f64,
    /// How many times as long theirs take: the median of the ratios of all turns.
    pub ratio: f64,
    /// The lowest and the highest of these ratios.
    pub range: [f64; 2],
}

impl Turns {
    /// Let both run, each so often in a turn that it lasts. Each is given the number of its runs, and tells the
    /// seconds of one.
    pub fn measure(
        rounds: usize,
        mut ours: impl FnMut(u32) -> f64,
        mut theirs: impl FnMut(u32) -> f64,
    ) -> Self {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small whole number")]
        let repeats =
            |seconds: f64| (TURN_MIN.as_secs_f64() / seconds.max(1e-7)).ceil().clamp(1.0, 1e6) as u32;
        let (own_repeats, their_repeats) = (repeats(ours(1)), repeats(theirs(1)));
        let times: Vec<_> = (0..rounds).map(|_| (ours(own_repeats), theirs(their_repeats))).collect();
        Self::of(&times)
    }

    fn of(times: &[(f64, f64)]) -> Self {
        let mut ratios: Vec<f64> = times.iter().map(|(ours, theirs)| theirs / ours).collect();
        ratios.sort_by(f64::total_cmp);
        let end = |ratio: Option<&f64>| ratio.copied().unwrap_or(f64::NAN);
        Self {
            ours: median(times.iter().map(|(ours, _)| *ours).collect()),
            theirs: median(times.iter().map(|(_, theirs)| *theirs).collect()),
            range: [end(ratios.first()), end(ratios.last())],
            ratio: median(ratios),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_compares_within_a_turn() {
        // The medians alone would give 4 / 2; a slow second turn hits both.
        let turns = Turns::of(&[(1.0, 3.0), (2.0, 4.0), (9.0, 27.0)]);
        assert!((turns.ours - 2.0).abs() < 1e-9 && (turns.theirs - 4.0).abs() < 1e-9);
        assert!((turns.ratio - 3.0).abs() < 1e-9);
        assert!((turns.range[0] - 2.0).abs() < 1e-9 && (turns.range[1] - 3.0).abs() < 1e-9);
    }

    #[test]
    fn short_work_is_repeated() {
        let mut asked = Vec::new();
        Turns::measure(
            2,
            |repeats| {
                asked.push(repeats);
                0.012
            },
            |_| 1.0,
        );
        assert_eq!(asked, [1, 10, 10]);
    }
}
