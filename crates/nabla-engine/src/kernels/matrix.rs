//! The loops around tiles for a product of matrices, of any element.
//!
//! Rows of the left matrix are taken in blocks whose packed form stays in the second-level cache; columns in
//! blocks of panels; k in parts that keep a panel in the first-level cache. Each part of k goes on from the
//! stored sums, so blocks change no bit.

use std::ops::Range;

use bytemuck::Pod;

use super::dot::{Dot, WIDTH};
use super::pack::Heights;
use super::steps::{DEPTH, Taps};
use super::threads::Cpu;
use super::tile::{Bias, Call, Right, Run};

/// Panels of a block of columns: what is finished at a time.
const BLOCK_PANELS: usize = 32;
/// Units of the left matrix that are packed at a time.
const LEFT_UNITS: usize = 128 * 1024;
/// Steps (rows times k times panels) below which threads cost more than they give.
const SHARED_STEPS: usize = 1 << 13;

/// Called once on each finished piece of a row: row, first column, values.
pub(crate) type Finish<'a, O> = &'a (dyn Fn(usize, usize, &mut [O]) + Sync);

/// The left matrix: packs one tile of these rows.
pub(crate) type Left<'a, U> = &'a (dyn Fn(Range<usize>, &mut [U]) + Sync);

/// `[m, k] * [k, n]`, k counted in units.
pub(crate) struct Matrix<'a, U, O> {
    pub(crate) n: usize,
    pub(crate) k: usize,
    pub(crate) heights: Heights,
    pub(crate) left: Left<'a, U>,
    /// Panels of k lanes.
    pub(crate) right: &'a [U],
    pub(crate) bias: Bias<'a, O>,
    pub(crate) finish: Option<Finish<'a, O>>,
}

/// What one thread computes at a time.
struct Part<'c, O> {
    tiles: Range<usize>,
    panels: Range<usize>,
    /// The columns of these panels in the rows of these tiles.
    rows: Vec<&'c mut [O]>,
}

impl<U: Pod + Sync, O: Copy + Send + Sync> Matrix<'_, U, O> {
    /// Compute into `c`, whose rows lie `stride` apart.
    pub(crate) fn run<D: Dot<Unit = U, Out = O>>(&self, dot: D, cpu: &Cpu, c: &mut [O], stride: usize) {
        if self.n == 0 || self.heights.count() == 0 {
            return;
        }
        cpu.each(self.parts::<D>(cpu.threads(), c, stride), |part| self.part(dot, cpu, part));
    }

    /// Rows are shared if there are enough of them, else columns.
    fn parts<'c, D: Dot<Unit = U, Out = O>>(
        &self,
        threads: usize,
        c: &'c mut [O],
        stride: usize,
    ) -> Vec<Part<'c, O>> {
        let (tiles, panels) = (self.heights.count(), self.n.div_ceil(WIDTH));
        let rows = self.heights.start(tiles);
        let steps = rows.saturating_mul(self.k).saturating_mul(panels);
        let side_by_side = D::panels(self.heights.tallest(), panels);
        let (down, across) = match threads {
            1 => (1, 1),
            _ if steps < SHARED_STEPS => (1, 1),
            _ if tiles >= 2 * threads => ((2 * threads).min(tiles), 1),
            _ => (1, (2 * threads).min(panels.div_ceil(side_by_side))),
        };
        let per_part = panels.div_ceil(across).next_multiple_of(side_by_side);
        let mut parts = Vec::with_capacity(down * across);
        let mut lines = c.chunks_mut(stride.max(1));
        for index in 0..down {
            let tiles = tiles * index / down..tiles * (index + 1) / down;
            let rows = self.heights.start(tiles.end) - self.heights.start(tiles.start);
            let first = parts.len();
            for start in (0..panels).step_by(per_part) {
                let panels = start..(start + per_part).min(panels);
                parts.push(Part { tiles: tiles.clone(), panels, rows: Vec::with_capacity(rows) });
            }
            for line in lines.by_ref().take(rows) {
                let mut rest = &mut line[..self.n];
                for part in &mut parts[first..] {
                    let width = ((part.panels.end - part.panels.start) * WIDTH).min(rest.len());
                    let (piece, behind) = rest.split_at_mut(width);
                    part.rows.push(piece);
                    rest = behind;
                }
            }
        }
        parts
    }

    fn part<D: Dot<Unit = U, Out = O>>(&self, dot: D, cpu: &Cpu, mut part: Part<'_, O>) {
        let tallest = self.heights.tallest();
        let at_once = (LEFT_UNITS / (tallest * self.k).max(1)).clamp(1, 20);
        let mut scratch = cpu.shelf().take::<U>(at_once.min(part.tiles.len()) * tallest * self.k);
        let row_of_part = self.heights.start(part.tiles.start);
        for first in part.tiles.clone().step_by(at_once) {
            let tiles = first..(first + at_once).min(part.tiles.end);
            let rows = self.heights.start(tiles.start)..self.heights.start(tiles.end);
            let left = scratch.as_mut::<U>();
            for tile in tiles.clone() {
                let tile = self.heights.rows(tile);
                let (from, to) = (tile.start - rows.start, tile.end - rows.start);
                (self.left)(tile, &mut left[from * self.k..to * self.k]);
            }
            let out = &mut part.rows[rows.start - row_of_part..rows.end - row_of_part];
            Block { matrix: self, tiles, panels: part.panels.clone(), left }.run(dot, out);
        }
    }
}

/// Tiles whose packed rows are at hand, times a part's panels.
struct Block<'a, 'm, U, O> {
    matrix: &'a Matrix<'m, U, O>,
    tiles: Range<usize>,
    panels: Range<usize>,
    left: &'a [U],
}

impl<U: Pod + Sync, O: Copy + Send + Sync> Block<'_, '_, U, O> {
    fn run<D: Dot<Unit = U, Out = O>>(&self, dot: D, rows: &mut [&mut [O]]) {
        let heights = self.matrix.heights;
        let side_by_side = D::panels(heights.tallest(), usize::MAX);
        // One tile reads each panel once: then it reads it in one go.
        let kept = if self.tiles.len() == 1 { side_by_side } else { BLOCK_PANELS };
        for block in self.panels.clone().step_by(BLOCK_PANELS) {
            let block = block..(block + BLOCK_PANELS).min(self.panels.end);
            for group in block.clone().step_by(kept) {
                let group = group..(group + kept).min(block.end);
                for from in (0..self.matrix.k.max(1)).step_by(DEPTH) {
                    self.part_of_k(dot, rows, &group, from);
                }
            }
            let Some(finish) = self.matrix.finish else { continue };
            let origin = self.panels.start * WIDTH;
            let columns = block.start * WIDTH..(block.end * WIDTH).min(self.matrix.n);
            for (row, values) in (heights.start(self.tiles.start)..).zip(rows.iter_mut()) {
                let piece = columns.start - origin..columns.end - origin;
                finish(row, columns.start, &mut values[piece]);
            }
        }
    }

    fn part_of_k<D: Dot<Unit = U, Out = O>>(
        &self,
        dot: D,
        rows: &mut [&mut [O]],
        group: &Range<usize>,
        from: usize,
    ) {
        let Matrix { n, k, heights, right, bias, .. } = *self.matrix;
        let depth = DEPTH.min(k - from);
        let origin = self.panels.start * WIDTH;
        let first_row = heights.start(self.tiles.start);
        let bias = if from + depth == k { bias } else { Bias::None };
        let mut panel = group.start;
        while panel < group.end {
            let panels = D::panels(heights.tallest(), group.end - panel);
            let covered = panels.min(group.end - panel);
            let column = panel * WIDTH;
            let runs = [Run { from: 0, to: column - origin, length: (covered * WIDTH).min(n - column) }];
            let right = Right {
                units: right,
                start: (panel * k + from) * WIDTH,
                // A tile that is wider than what is left looks at the last panel again.
                panel: if covered == panels { k * WIDTH } else { 0 },
                outer: 1,
                outer_stride: 0,
                taps: Taps::panel(depth),
                soon: &[],
            };
            // Every tile asks for a share of the panels that come next.
            let next = |index: usize| -> &[U] {
                let share = (covered * depth).div_ceil(self.tiles.len());
                let (part, at) = (index * share / depth.max(1), index * share % depth.max(1));
                let start = ((panel + covered + part) * k + from + at) * WIDTH;
                self.matrix.right.get(start..start + share.min(depth - at) * WIDTH).unwrap_or_default()
            };
            for (index, tile) in self.tiles.clone().enumerate() {
                let of_tile = heights.rows(tile);
                let local = of_tile.start - first_row..of_tile.end - first_row;
                let at = (local.start * k) + from * local.len();
                dot.tile(Call {
                    left: &self.left[at..at + depth * local.len()],
                    rows: &mut rows[local],
                    panels,
                    right: Right { soon: next(index), ..right },
                    runs: &runs,
                    resume: from > 0,
                    bias: bias.part(of_tile, origin),
                });
            }
            panel += covered;
        }
    }
}
