//! Walking many rows through packed trees at once.
//!
//! Whole blocks of rows strike out leaves of small trees, branch by branch; large trees are walked by
//! several rows in step. The few rows left go through several trees in step. In every case a row gets the
//! leaves in the order of the trees, so that sums do not depend on how rows are grouped.

use super::packed::{COLUMN_BITS, COLUMNS_MAX, Fast, Operation, SMALL, Tree};
use crate::kernels::{Body, Fma};

/// Rows of a block.
pub(super) const LANES: usize = 32;
/// Rows that are worth a block.
const BLOCK_LEAST: usize = 8;
/// Rows that a tree takes before the next tree: as many as stay in cache.
const BLOCK_BYTES: usize = 1 << 18;
/// Rows that walk through a large tree in step.
const STEPS: usize = 8;
/// Trees that a row walks through in step: their places fit the registers.
const TREES: usize = 4;
/// Depth up to which trees are walked without looking whether all walks have ended.
const SHALLOW: u32 = 7;
/// Nodes of the trees that a group of blocks takes before the next group.
const CHUNK_NODES: usize = 1 << 15;

/// What becomes of the leaf where a row ends.
pub(super) trait Sink {
    /// Leaves of one row, in the order of trees.
    fn row(&mut self, row: usize, leaves: &[u32]);
    /// Leaves of as many rows of one tree as there are left, up to a block.
    fn block(&mut self, row: usize, leaves: &[u32; LANES]);
}

/// Sums per row, where every leaf is a weight for one target. Padded to whole blocks.
pub(super) struct Sums<'a>(pub(super) &'a mut [f32]);

impl Sink for Sums<'_> {
    #[inline(always)]
    fn row(&mut self, row: usize, leaves: &[u32]) {
        let mut sum = self.0[row];
        for leaf in leaves {
            sum += f32::from_bits(*leaf);
        }
        self.0[row] = sum;
    }

    #[inline(always)]
    fn block(&mut self, row: usize, leaves: &[u32; LANES]) {
        let sums = &mut self.0[row..row + LANES];
        for (sum, leaf) in sums.iter_mut().zip(leaves) {
            *sum += f32::from_bits(*leaf);
        }
    }
}

/// Anything else: `add(row, leaf)`.
pub(super) struct Each<F> {
    pub(super) rows: usize,
    pub(super) add: F,
}

impl<F: FnMut(usize, u32)> Sink for Each<F> {
    fn row(&mut self, row: usize, leaves: &[u32]) {
        leaves.iter().for_each(|leaf| (self.add)(row, *leaf));
    }

    fn block(&mut self, row: usize, leaves: &[u32; LANES]) {
        (row..self.rows).zip(leaves).for_each(|(row, leaf)| (self.add)(row, *leaf));
    }
}

/// All rows through all trees.
pub(super) struct Walk<'a, S> {
    pub(super) forest: Fast<'a>,
    pub(super) x: &'a [f32],
    pub(super) features: usize,
    pub(super) sink: &'a mut S,
}

impl<S: Sink> Body for Walk<'_, S> {
    type Out = ();

    #[inline(always)]
    fn run<F: Fma>(self) {
        match self.features * if self.forest.twice { 2 } else { 1 } {
            0..=64 => self.all::<64>(),
            65..=512 => self.all::<512>(),
            _ => self.all::<COLUMNS_MAX>(),
        }
    }
}

/// Bytes that a walk allocates.
pub(super) fn scratch_bytes(features: usize) -> u64 {
    let column_bytes = if features * 2 > 512 { COLUMNS_MAX } else { 512 } * LANES * 4;
    (BLOCK_BYTES.max(column_bytes) * 2) as u64
}

type Columns<const N: usize> = [[f32; LANES]; N];

impl<S: Sink> Walk<'_, S> {
    /// With room for `N` columns, a power of two: an index that is cut to it needs no check.
    #[inline(always)]
    fn all<const N: usize>(self) {
        let rows = self.x.len() / self.features.max(1);
        let blocks = rows / LANES + usize::from(rows % LANES >= BLOCK_LEAST);
        let group = (BLOCK_BYTES / size_of::<Columns<N>>()).clamp(1, 64).min(blocks.max(1));
        let mut columns = vec![[[0.0; LANES]; N]; if blocks > 0 { group } else { 0 }];
        for first in (0..blocks).step_by(group) {
            let count = group.min(blocks - first);
            for (index, columns) in columns[..count].iter_mut().enumerate() {
                self.fill_block(columns, (first + index) * LANES, rows);
            }
            self.forest.blocks(&columns[..count], first * LANES, self.sink);
        }
        let done = (blocks * LANES).min(rows);
        if done < rows {
            let mut left = vec![[0.0; N]; rows - done];
            for (row, columns) in left.iter_mut().enumerate() {
                self.fill_row(columns, done + row);
            }
            self.forest.rows(&left, done, self.sink);
        }
    }

    #[inline(always)]
    fn fill_block<const N: usize>(&self, columns: &mut Columns<N>, first: usize, rows: usize) {
        for lane in 0..LANES.min(rows - first) {
            let row = &self.x[(first + lane) * self.features..][..self.features];
            if self.forest.twice {
                for (x, pair) in row.iter().zip(columns.chunks_exact_mut(2)) {
                    pair[0][lane] = *x;
                    pair[1][lane] = least_for_nan(*x);
                }
            } else {
                row.iter().zip(columns.iter_mut()).for_each(|(x, column)| column[lane] = *x);
            }
        }
    }

    #[inline(always)]
    fn fill_row<const N: usize>(&self, columns: &mut [f32; N], row: usize) {
        let row = &self.x[row * self.features..][..self.features];
        if self.forest.twice {
            for (x, pair) in row.iter().zip(columns.chunks_exact_mut(2)) {
                pair[0] = *x;
                pair[1] = least_for_nan(*x);
            }
        } else {
            row.iter().zip(columns.iter_mut()).for_each(|(x, column)| *column = *x);
        }
    }
}

/// Below every threshold.
#[inline(always)]
fn least_for_nan(x: f32) -> f32 {
    if x.is_nan() { f32::NEG_INFINITY } else { x }
}

impl Fast<'_> {
    /// A few blocks through all trees: so many trees at a time that they stay in cache.
    #[inline(always)]
    fn blocks<const N: usize, S: Sink>(&self, blocks: &[Columns<N>], first: usize, sink: &mut S) {
        let mut small = self.small_leaves.chunks_exact(SMALL);
        let mut tree = 0;
        while tree < self.trees.len() {
            let limit = self.trees[tree][0] as usize + CHUNK_NODES;
            let more = self.trees[tree..].iter().take_while(|tree| (tree[0] as usize) < limit).count();
            let trees = &self.trees[tree..tree + more.max(1)];
            let start = small.clone();
            for (index, columns) in blocks.iter().enumerate() {
                small = start.clone();
                for tree in trees {
                    let leaves = self.tree(*tree, &mut small, columns);
                    sink.block(first + index * LANES, &leaves);
                }
            }
            tree += trees.len();
        }
    }

    /// The leaves of one tree where the rows of a block end.
    #[inline(always)]
    fn tree<'l, const N: usize>(
        &self,
        tree: Tree,
        small: &mut impl Iterator<Item = &'l [u32]>,
        columns: &Columns<N>,
    ) -> [u32; LANES] {
        let [root, from, middle, to, _] = tree.map(|place| place as usize);
        let mut ends = [0; LANES];
        if tree[1] == u32::MAX {
            for (group, ends) in ends.chunks_exact_mut(STEPS).enumerate() {
                let x = |lane: usize, column: usize| {
                    columns[column & (N - 1)][(group * STEPS + lane) & (LANES - 1)]
                };
                let places = self.in_step([root; STEPS], x);
                ends.iter_mut().zip(places).for_each(|(end, place)| *end = self.leaves[place]);
            }
            return ends;
        }
        let leaves: &[u32; SMALL] =
            small.next().and_then(|leaves| leaves.try_into().ok()).unwrap_or(&[0; SMALL]);
        let low = possible(&self.operations[from..middle], columns);
        if middle == to {
            for (end, low) in ends.iter_mut().zip(low) {
                *end = leaves[low.trailing_zeros() as usize & (SMALL - 1)];
            }
        } else {
            let high = possible(&self.operations[middle..to], columns);
            for ((end, low), high) in ends.iter_mut().zip(low).zip(high) {
                let both = u64::from(high) << 32 | u64::from(low);
                *end = leaves[both.trailing_zeros() as usize & (SMALL - 1)];
            }
        }
        ends
    }

    /// A few rows through all trees, several trees at a time.
    #[inline(always)]
    fn rows<const N: usize, S: Sink>(&self, rows: &[[f32; N]], first: usize, sink: &mut S) {
        for trees in self.trees.chunks(TREES) {
            let mut roots = [trees[0][0] as usize; TREES];
            roots.iter_mut().zip(trees).for_each(|(root, tree)| *root = tree[0] as usize);
            let deepest = trees.iter().map(|tree| tree[4]).max().unwrap_or(0);
            for (index, row) in rows.iter().enumerate() {
                let x = |_, column: usize| row[column & (N - 1)];
                let mut places = roots;
                if deepest <= SHALLOW {
                    for _ in 0..deepest {
                        self.step(&mut places, &x);
                    }
                } else {
                    places = self.in_step(roots, x);
                }
                let mut ends = [0; TREES];
                ends.iter_mut().zip(places).for_each(|(end, place)| *end = self.leaves[place]);
                sink.row(first + index, &ends[..trees.len()]);
            }
        }
    }

    /// Walk from these nodes to leaves. `x(lane, column)` is what a branch compares.
    #[inline(always)]
    fn in_step<const S: usize>(&self, mut at: [usize; S], x: impl Fn(usize, usize) -> f32) -> [usize; S] {
        while self.step(&mut at, &x) {}
        at
    }

    /// One step of each walk; those that stand at a leaf stay. Whether any did not stand at a leaf.
    #[inline(always)]
    fn step<const S: usize>(&self, at: &mut [usize; S], x: &impl Fn(usize, usize) -> f32) -> bool {
        let mut moved = 0;
        for (lane, at) in at.iter_mut().enumerate() {
            let [threshold, meta] = self.nodes[*at];
            let way = meta >> COLUMN_BITS;
            let is_true = x(lane, meta as usize & (COLUMNS_MAX - 1)) <= f32::from_bits(threshold);
            moved |= way;
            *at = at.wrapping_add(way as usize).wrapping_add(usize::from(is_true));
        }
        moved != 0
    }
}

/// Leaves that are left after these operations, a bit each. (A column that is not there cannot be; that the
/// loop would end keeps the compiler from making lanes of operations instead of rows.)
#[inline(always)]
fn possible<const N: usize>(operations: &[Operation], columns: &Columns<N>) -> [u32; LANES] {
    let mut left = [u32::MAX; LANES];
    for &[threshold, column, mask, _] in operations {
        let Some(x) = columns.get(column as usize) else { break };
        let threshold = f32::from_bits(threshold);
        for lane in 0..LANES {
            left[lane] &= mask | u32::from(x[lane] <= threshold).wrapping_neg();
        }
    }
    left
}
