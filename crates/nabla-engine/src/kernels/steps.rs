//! An island with `unsafe`: the innermost loop, whose checks are made once, before it.
//!
//! A bounds check per lane would cost a tenth of the time. [`Taps`] knows its farthest tap, so that [`steps`]
//! can tell from the first and the last step that all of them lie inside the slices.

#![expect(unsafe_code, reason = "the innermost loop reads at places that were checked before it")]

use super::dot::{Dot, WIDTH};
use super::tile::Right;

/// Steps of k between two visits of the sums: two panels then fill a quarter of a small second-level cache.
pub(crate) const DEPTH: usize = 768;

/// Where the lanes of each step lie, seen from a start; and the farthest.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taps<'a> {
    places: &'a [usize],
    /// Never less than a place.
    farthest: usize,
}

/// Where the steps of a panel lie: lane by lane.
static PANEL: [usize; DEPTH] = {
    let mut steps = [0; DEPTH];
    let mut step = 0;
    while step < DEPTH {
        steps[step] = step * WIDTH;
        step += 1;
    }
    steps
};

impl Taps<'static> {
    /// The first steps of a panel, [`DEPTH`] at most.
    pub(crate) fn panel(depth: usize) -> Self {
        // `PANEL` rises, so that its last place is the farthest.
        let places = &PANEL[..depth];
        Self { places, farthest: places.last().copied().unwrap_or(0) }
    }
}

impl<'a> Taps<'a> {
    pub(crate) fn new(places: &'a [usize]) -> Self {
        Self { places, farthest: places.iter().copied().max().unwrap_or(0) }
    }

    pub(crate) fn count(self) -> usize {
        self.places.len()
    }
}

/// Whether every lane of a tile of `panels` lies inside the right-hand side.
#[inline(always)]
fn is_inside<U>(right: &Right<'_, U>, panels: usize) -> bool {
    let last = || {
        let outer = right.outer.checked_sub(1)?.checked_mul(right.outer_stride)?;
        let panel = right.panel.checked_mul(panels - 1)?;
        right
            .start
            .checked_add(outer)?
            .checked_add(panel)?
            .checked_add(right.taps.farthest)?
            .checked_add(WIDTH)
    };
    last().is_some_and(|end| end <= right.units.len())
}

/// Every sum takes its steps in order.
///
/// # Panics
/// If a factor is shorter than its steps: a mistake of this crate, never of a model.
#[expect(clippy::needless_range_loop, reason = "loops of constant length, which become registers")]
#[inline(always)]
pub(crate) fn steps<D: Dot, const R: usize, const P: usize>(
    dot: D,
    mut sums: [[D::Sum; P]; R],
    left: &[D::Unit],
    right: &Right<'_, D::Unit>,
) -> [[D::Sum; P]; R] {
    let count = right.outer * right.taps.count();
    if count == 0 {
        return sums;
    }
    assert!(is_inside(right, P) && left.len() / R >= count, "factors hold all steps of a tile");
    // Prefetches are spread over the steps; one behind the end does no harm.
    let ahead = (right.soon.len() / count).min(WIDTH);
    let mut soon = right.soon.as_ptr();
    let mut words = left.as_ptr();
    let mut base = right.units.as_ptr().wrapping_add(right.start);
    for _ in 0..right.outer {
        for tap in right.taps.places {
            dot.prefetch(soon);
            soon = soon.wrapping_add(ahead);
            let lane = base.wrapping_add(*tap);
            // SAFETY: `is_inside` holds: no place of a step, plus P - 1 panels, plus a lane, goes beyond
            // `units`, because no tap is farther than `farthest` and no outer step than the last.
            let mut lanes = unsafe { [dot.load(&*lane.cast()); P] };
            for p in 1..P {
                // SAFETY: as above.
                lanes[p] = unsafe { dot.load(&*lane.add(p * right.panel).cast()) };
            }
            for r in 0..R {
                // SAFETY: `left` has R units for each of `count` steps.
                let word = dot.splat(unsafe { *words.add(r) });
                for p in 0..P {
                    sums[r][p] = dot.step(word, lanes[p], sums[r][p]);
                }
            }
            words = words.wrapping_add(R);
        }
        base = base.wrapping_add(right.outer_stride);
    }
    sums
}
