//! The tile: a few rows of the left matrix times a few panels of sixteen columns, all sums in registers.
//!
//! Products and convolutions, of f32 and of bytes, run through this one loop. They differ in where the
//! sixteen values of a step lie ([`Right`]) and in where sums go ([`Run`]): a matrix has its panels in order
//! and one run of columns, a convolution has overlapping windows of an image and one run per image row.
//!
//! # Rules
//! - A tile goes through its steps in order; sums of an earlier part of k are read back, so that the chain
//!   is the same as in one go.
//! - Lanes beyond the last column are computed and dropped.

use super::dot::{Dot, Leaf, WIDTH};
use super::steps::{Taps, steps};

/// Where the right-hand values lie: step `(i, j)` of panel `p` at `start + p * panel + i * outer_stride +
/// taps[j]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Right<'a, U> {
    pub(crate) units: &'a [U],
    pub(crate) start: usize,
    pub(crate) panel: usize,
    pub(crate) outer: usize,
    pub(crate) outer_stride: usize,
    pub(crate) taps: Taps<'a>,
    /// Lanes that another tile will want soon: as many as there are, spread over the steps.
    pub(crate) soon: &'a [U],
}

/// `length` sums from column `from` of the tile go to `to` in each row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) length: usize,
}

/// What is added to a finished sum, with one rounding.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bias<'a, O> {
    None,
    /// One per row of the product.
    Rows(&'a [O]),
    /// One per column of the product.
    Columns(&'a [O]),
}

impl<O> Bias<'_, O> {
    /// The part for these rows, and for columns from this one on.
    pub(crate) fn part(self, rows: std::ops::Range<usize>, column: usize) -> Self {
        match self {
            Self::None => Self::None,
            Self::Rows(values) => Self::Rows(&values[rows]),
            Self::Columns(values) => Self::Columns(&values[column..]),
        }
    }
}

/// One tile's work.
pub(crate) struct Call<'a, 'c, D: Dot> {
    /// Rows of the tile; 1 to [`Dot::ROWS`].
    pub(crate) rows: &'a mut [&'c mut [D::Out]],
    pub(crate) panels: usize,
    /// Step by step, one unit per row.
    pub(crate) left: &'a [D::Unit],
    pub(crate) right: Right<'a, D::Unit>,
    pub(crate) runs: &'a [Run],
    /// Go on from the stored sums.
    pub(crate) resume: bool,
    /// Of these rows; columns from the first run's `to`.
    pub(crate) bias: Bias<'a, D::Out>,
}

/// Panels beside each other where there are 16 vector registers, or 32 of 4 elements.
pub(crate) fn narrow_panels(rows: usize, left: usize) -> usize {
    match rows {
        1 if left >= 4 => 4,
        1..=3 if left >= 2 => 2,
        _ => 1,
    }
}

/// Tiles of up to 6 rows.
pub(crate) fn narrow<D: Dot>(dot: D, call: Call<'_, '_, D>) {
    match (call.panels, call.rows.len()) {
        (4, _) => run::<D, 1, 4>(dot, call),
        (2, 1) => run::<D, 1, 2>(dot, call),
        (2, 2) => run::<D, 2, 2>(dot, call),
        (2, _) => run::<D, 3, 2>(dot, call),
        (_, 1) => run::<D, 1, 1>(dot, call),
        (_, 2) => run::<D, 2, 1>(dot, call),
        (_, 3) => run::<D, 3, 1>(dot, call),
        (_, 4) => run::<D, 4, 1>(dot, call),
        (_, 5) => run::<D, 5, 1>(dot, call),
        _ => run::<D, 6, 1>(dot, call),
    }
}

/// Panels beside each other where there are 32 vector registers of 16 elements.
pub(crate) fn wide_panels(rows: usize, left: usize) -> usize {
    match rows {
        1 | 2 if left >= 8 => 8,
        1..=6 if left >= 4 => 4,
        _ => 2,
    }
}

/// Tiles of up to 14 rows: 28 sums, two lanes and a word are 31 registers.
pub(crate) fn wide<D: Dot>(dot: D, call: Call<'_, '_, D>) {
    match (call.panels, call.rows.len()) {
        (8, 1) => run::<D, 1, 8>(dot, call),
        (8, _) => run::<D, 2, 8>(dot, call),
        (4, 1) => run::<D, 1, 4>(dot, call),
        (4, 2) => run::<D, 2, 4>(dot, call),
        (4, 3) => run::<D, 3, 4>(dot, call),
        (4, 4) => run::<D, 4, 4>(dot, call),
        (4, 5) => run::<D, 5, 4>(dot, call),
        (4, _) => run::<D, 6, 4>(dot, call),
        (_, 1) => run::<D, 1, 2>(dot, call),
        (_, 2) => run::<D, 2, 2>(dot, call),
        (_, 3) => run::<D, 3, 2>(dot, call),
        (_, 4) => run::<D, 4, 2>(dot, call),
        (_, 5) => run::<D, 5, 2>(dot, call),
        (_, 6) => run::<D, 6, 2>(dot, call),
        (_, 7) => run::<D, 7, 2>(dot, call),
        (_, 8) => run::<D, 8, 2>(dot, call),
        (_, 9) => run::<D, 9, 2>(dot, call),
        (_, 10) => run::<D, 10, 2>(dot, call),
        (_, 11) => run::<D, 11, 2>(dot, call),
        (_, 12) => run::<D, 12, 2>(dot, call),
        (_, 13) => run::<D, 13, 2>(dot, call),
        _ => run::<D, 14, 2>(dot, call),
    }
}

fn run<D: Dot, const R: usize, const P: usize>(dot: D, call: Call<'_, '_, D>) {
    dot.leaf(Tile::<D, R, P> { dot, call });
}

struct Tile<'a, 'c, D: Dot, const R: usize, const P: usize> {
    dot: D,
    call: Call<'a, 'c, D>,
}

impl<D: Dot, const R: usize, const P: usize> Leaf for Tile<'_, '_, D, R, P> {
    type Out = ();

    #[inline(always)]
    fn run(self) {
        let Self { dot, call } = self;
        let rows: &mut [&mut [D::Out]; R] = call.rows.first_chunk_mut().expect("a tile has its rows");
        let whole = match call.runs {
            [run] if run.from == 0 && run.length == P * WIDTH => Some(run.to),
            _ => None,
        };
        let mut sums = [[dot.zero(); P]; R];
        if call.resume {
            sums = stored::<D, R, P>(dot, rows, whole, call.runs);
        }
        sums = steps::<D, R, P>(dot, sums, call.left, &call.right);
        sums = biased::<D, R, P>(dot, sums, &call.bias, call.runs);
        if let Some(to) = whole {
            for r in 0..R {
                let lanes = lanes_mut::<_, P>(&mut rows[r][to..to + P * WIDTH]);
                for p in 0..P {
                    dot.write(sums[r][p], &mut lanes[p]);
                }
            }
            return;
        }
        let mut stage = [[[D::Out::default(); WIDTH]; P]; R];
        for r in 0..R {
            for p in 0..P {
                dot.write(sums[r][p], &mut stage[r][p]);
            }
        }
        for run in call.runs {
            for (row, stage) in rows.iter_mut().zip(&stage) {
                scatter(dot, stage, &mut row[run.to..run.to + run.length], run.from);
            }
        }
    }
}

/// Sums of an earlier part of k.
#[inline(always)]
fn stored<D: Dot, const R: usize, const P: usize>(
    dot: D,
    rows: &[&mut [D::Out]; R],
    whole: Option<usize>,
    runs: &[Run],
) -> [[D::Sum; P]; R] {
    let mut sums = [[dot.zero(); P]; R];
    let mut stage = [[[D::Out::default(); WIDTH]; P]; R];
    if whole.is_none() {
        for (row, stage) in rows.iter().zip(&mut stage) {
            gather(stage, row, runs);
        }
    }
    for r in 0..R {
        let lanes = match whole {
            Some(to) => lanes::<_, P>(&rows[r][to..to + P * WIDTH]),
            None => &stage[r],
        };
        for p in 0..P {
            sums[r][p] = dot.read(&lanes[p]);
        }
    }
    sums
}

#[inline(always)]
fn lanes<O, const P: usize>(row: &[O]) -> &[[O; WIDTH]; P] {
    row.as_chunks().0.first_chunk().expect("P lanes were sliced")
}

#[inline(always)]
fn lanes_mut<O, const P: usize>(row: &mut [O]) -> &mut [[O; WIDTH]; P] {
    row.as_chunks_mut().0.first_chunk_mut().expect("P lanes were sliced")
}

#[expect(clippy::needless_range_loop, reason = "loops of constant length, which become registers")]
#[inline(always)]
fn biased<D: Dot, const R: usize, const P: usize>(
    dot: D,
    mut sums: [[D::Sum; P]; R],
    bias: &Bias<'_, D::Out>,
    runs: &[Run],
) -> [[D::Sum; P]; R] {
    match bias {
        Bias::None => {}
        Bias::Rows(values) => {
            let values: &[D::Out; R] = values.first_chunk().expect("one bias per row");
            for r in 0..R {
                for p in 0..P {
                    sums[r][p] = dot.add(sums[r][p], &[values[r]; WIDTH]);
                }
            }
        }
        Bias::Columns(values) => {
            let mut padded = [[D::Out::default(); WIDTH]; P];
            gather(&mut padded, values, runs);
            for r in 0..R {
                for p in 0..P {
                    sums[r][p] = dot.add(sums[r][p], &padded[p]);
                }
            }
        }
    }
    sums
}

#[inline(always)]
fn gather<O: Copy, const P: usize>(stage: &mut [[O; WIDTH]; P], row: &[O], runs: &[Run]) {
    let flat = stage.as_flattened_mut();
    for run in runs {
        flat[run.from..run.from + run.length].copy_from_slice(&row[run.to..run.to + run.length]);
    }
}

/// Copy `to.len()` sums from column `from` on, lane by lane.
#[inline(always)]
fn scatter<D: Dot, const P: usize>(dot: D, stage: &[[D::Out; WIDTH]; P], to: &mut [D::Out], from: usize) {
    let (mut rest, mut at) = (to, from);
    while !rest.is_empty() {
        let (lane, skip) = (&stage[at / WIDTH], at % WIDTH);
        let (piece, behind) = rest.split_at_mut((WIDTH - skip).min(rest.len()));
        at += piece.len();
        dot.write_part(lane, skip, piece);
        rest = behind;
    }
}
