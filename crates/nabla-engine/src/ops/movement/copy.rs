//! Copies from one strided box of elements to another: what most operators that move elements come down to.
//!
//! # Rules
//! - Boxes are made by `prepare` from checked sizes and lie inside source and target.
//! - Neighbouring dimensions that are one in memory, on both sides, are merged; the innermost two run in
//!   tight loops: runs of elements, one element again and again, or transposed tiles.

use crate::kernels::Cpu;
use std::any::Any;

use nabla_types::tensor::Dtype;

use crate::ops::{Call, Element};

/// Side of a tile that is transposed in registers.
const SIDE: usize = 8;
/// Rows of tiles that are made in turn, so that a cache line of the source is used up while it is near.
const BLOCK: usize = 16;
/// Columns that are swept together, so that their pages stay near.
const SWEEP: usize = 64;
/// Below this size of a dimension, tiles do not pay.
const TILED_LEAST: usize = 4;
/// Below this number of elements, threads do not pay.
const SHARED_LEAST: usize = 1 << 15;

/// One dimension: how many steps, and how far each goes in the source and in the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dim {
    pub(crate) size: usize,
    pub(crate) from: isize,
    pub(crate) to: usize,
}

/// A copy of `dims` elements, from this element of the source to that of the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StridedCopy {
    from: usize,
    to: usize,
    dims: Vec<Dim>,
}

impl StridedCopy {
    /// A copy with its dimensions merged where they can be.
    pub(crate) fn new(from: usize, to: usize, dims: &[Dim]) -> Self {
        let mut merged: Vec<Dim> = Vec::with_capacity(dims.len());
        for dim in dims.iter().filter(|dim| dim.size != 1) {
            let size = dim.size.cast_signed();
            match merged.last_mut() {
                Some(outer) if outer.from == dim.from * size && outer.to == dim.to * dim.size => {
                    *outer = Dim { size: outer.size * dim.size, ..*dim };
                }
                _ => merged.push(*dim),
            }
        }
        Self { from, to, dims: merged }
    }

    /// A copy to a whole tensor of these sizes; each comes with its step in the source.
    pub(crate) fn dense(from: usize, sizes: &[(usize, isize)]) -> Self {
        let shape: Vec<usize> = sizes.iter().map(|(size, _)| *size).collect();
        let dims =
            sizes.iter().zip(strides(&shape)).map(|((size, from), to)| Dim { size: *size, from: *from, to });
        Self::new(from, 0, &dims.collect::<Vec<_>>())
    }

    /// [`Self::run`] on all threads, where the target falls into pieces along the outermost dimension.
    pub(crate) fn run_on<T: Clone + Send + Sync>(&self, cpu: &Cpu, source: &[T], target: &mut [T]) {
        match self.dims.split_first() {
            Some((outer, rest)) if self.to == 0 && outer.to > 0 && outer.to * outer.size == target.len() => {
                cpu.chunks(target, outer.to, SHARED_LEAST, |index, piece| {
                    let from = self.from.wrapping_add_signed(outer.from.wrapping_mul(index.cast_signed()));
                    Self { from, to: 0, dims: rest.to_vec() }.run(source, piece);
                });
            }
            _ => self.run(source, target),
        }
    }

    /// Copy. Elements of the target outside the box stay.
    pub(crate) fn run<T: Clone>(&self, source: &[T], target: &mut [T]) {
        if self.dims.iter().any(|dim| dim.size == 0) {
            return;
        }
        let Some((last, rest)) = self.dims.split_last() else {
            target[self.to].clone_from(&source[self.from]);
            return;
        };
        let tiled = |dim: &Dim| dim.from == 1 && dim.size >= TILED_LEAST;
        match (last.from, last.to, rest.iter().position(tiled)) {
            (1 | 0, 1, _) => self.rows(*last, rest, source, target),
            (2.., 1, Some(at)) if last.size >= TILED_LEAST => {
                let outer: Vec<Dim> = [&rest[..at], &rest[at + 1..]].concat();
                let tile = Transposed { row: rest[at], column: *last };
                walk(&outer, self.from, self.to, |from, to| tile.run(source, target, from, to));
            }
            _ => walk(rest, self.from, self.to, |mut from, mut to| {
                for _ in 0..last.size {
                    target[to].clone_from(&source[from]);
                    from = from.wrapping_add_signed(last.from);
                    to += last.to;
                }
            }),
        }
    }

    /// The innermost dimension is a run in the target and a run or one element in the source.
    fn rows<T: Clone>(&self, last: Dim, rest: &[Dim], source: &[T], target: &mut [T]) {
        let (row, outer) = match rest.split_last() {
            Some((row, outer)) => (*row, outer),
            None => (Dim { size: 1, from: 0, to: 0 }, rest),
        };
        let width = last.size;
        walk(outer, self.from, self.to, |mut from, mut to| {
            for _ in 0..row.size {
                if last.from == 1 {
                    target[to..to + width].clone_from_slice(&source[from..from + width]);
                } else {
                    target[to..to + width].fill(source[from].clone());
                }
                from = from.wrapping_add_signed(row.from);
                to += row.to;
            }
        });
    }
}

/// Two dimensions that change places: `row` is a run in the source, `column` in the target.
struct Transposed {
    row: Dim,
    column: Dim,
}

impl Transposed {
    fn run<T: Clone>(&self, source: &[T], target: &mut [T], from: usize, to: usize) {
        let (rows, columns) = (self.row.size, self.column.size);
        let (full_rows, full_columns) = (rows / SIDE * SIDE, columns / SIDE * SIDE);
        for sweep in (0..full_columns).step_by(SWEEP) {
            for block in (0..full_rows).step_by(BLOCK) {
                for column in (sweep..full_columns.min(sweep + SWEEP)).step_by(SIDE) {
                    for row in (block..full_rows.min(block + BLOCK)).step_by(SIDE) {
                        self.tile(source, target, (from, to), (row, column));
                    }
                }
            }
        }
        self.edge(source, target, (from, to), (full_rows..rows, 0..columns));
        self.edge(source, target, (from, to), (0..full_rows, full_columns..columns));
    }

    #[inline(always)]
    fn tile<T: Clone>(
        &self,
        source: &[T],
        target: &mut [T],
        (from, to): (usize, usize),
        (row, column): (usize, usize),
    ) {
        let step = self.column.from.unsigned_abs();
        let tile: [[T; SIDE]; SIDE] = std::array::from_fn(|j| {
            let run = &source[from + row + (column + j) * step..][..SIDE];
            std::array::from_fn(|i| run[i].clone())
        });
        for i in 0..SIDE {
            let run = &mut target[to + (row + i) * self.row.to + column..][..SIDE];
            for j in 0..SIDE {
                run[j] = tile[j][i].clone();
            }
        }
    }

    fn edge<T: Clone>(
        &self,
        source: &[T],
        target: &mut [T],
        (from, to): (usize, usize),
        (rows, columns): (std::ops::Range<usize>, std::ops::Range<usize>),
    ) {
        let step = self.column.from.unsigned_abs();
        for row in rows {
            for column in columns.clone() {
                target[to + row * self.row.to + column].clone_from(&source[from + row + column * step]);
            }
        }
    }
}

/// Visit every place of these dimensions in row-major order, with its element in source and target.
pub(crate) fn walk(dims: &[Dim], mut from: usize, mut to: usize, mut visit: impl FnMut(usize, usize)) {
    if dims.iter().any(|dim| dim.size == 0) {
        return;
    }
    let mut counts = vec![0_usize; dims.len()];
    loop {
        visit(from, to);
        let mut at = dims.len();
        loop {
            if at == 0 {
                return;
            }
            at -= 1;
            let dim = dims[at];
            counts[at] += 1;
            from = from.wrapping_add_signed(dim.from);
            to = to.wrapping_add(dim.to);
            if counts[at] < dim.size {
                break;
            }
            counts[at] = 0;
            from = from.wrapping_add_signed(dim.from.wrapping_mul(dim.size.cast_signed()).wrapping_neg());
            to = to.wrapping_sub(dim.to.wrapping_mul(dim.size));
        }
    }
}

/// Elements from one index to the next, per dimension, of a whole tensor of this shape.
pub(crate) fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for at in (1..shape.len()).rev() {
        strides[at - 1] = strides[at] * shape[at];
    }
    strides
}

/// As [`strides`], as steps in a source.
pub(crate) fn steps(shape: &[usize]) -> Vec<isize> {
    strides(shape).into_iter().map(usize::cast_signed).collect()
}

/// `count` elements of arbitrary content.
pub(crate) fn fresh<T: Element>(call: &Call<'_>, count: usize) -> Vec<T> {
    let mut pooled: Option<Vec<f32>> = (T::DTYPE == Dtype::F32).then(|| call.f32s(count));
    let same = (&mut pooled as &mut dyn Any).downcast_mut::<Option<Vec<T>>>();
    same.and_then(Option::take).unwrap_or_else(|| vec![T::default(); count])
}

/// A copy of a whole tensor's elements.
pub(crate) fn copied<T: Element>(call: &Call<'_>, elements: &[T]) -> Vec<T> {
    let mut copy = fresh::<T>(call, elements.len());
    copy.clone_from_slice(elements);
    copy
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same copy, one element at a time.
    fn slowly(copy: &StridedCopy, source: &[i32], target: &mut [i32]) {
        walk(&copy.dims, copy.from, copy.to, |from, to| target[to] = source[from]);
    }

    fn check(from: usize, to: usize, dims: &[(usize, isize, usize)]) {
        let dims: Vec<Dim> = dims.iter().map(|&(size, from, to)| Dim { size, from, to }).collect();
        let source: Vec<i32> = (0..8192).collect();
        let (mut fast, mut slow) = (vec![-1; 8192], vec![-1; 8192]);
        StridedCopy::new(from, to, &dims).run(&source, &mut fast);
        slowly(&StridedCopy { from, to, dims: dims.clone() }, &source, &mut slow);
        assert_eq!(fast, slow, "{dims:?}");
    }

    #[test]
    fn every_path_copies_what_a_loop_over_elements_copies() {
        check(7, 9, &[]);
        check(0, 0, &[(4096, 1, 1)]);
        check(3, 5, &[(5, 20, 40), (17, 1, 1)]);
        check(0, 0, &[(3, 0, 30), (10, 3, 3), (3, 1, 1)]);
        check(0, 0, &[(6, 1, 10), (10, 0, 1)]);
        check(99, 1, &[(10, -10, 10), (10, -1, 1)]);
        check(0, 0, &[(0, 1, 1), (4, 1, 1)]);
        check(5, 2, &[(4, 2, 7), (7, 16, 100)]);
    }

    #[test]
    fn tiles_copy_what_a_loop_over_elements_copies() {
        for (rows, columns) in [(4, 4), (8, 8), (9, 31), (64, 64), (7, 130), (130, 7), (3, 100), (16, 200)] {
            check(0, 0, &[(rows, 1, columns), (columns, rows.cast_signed(), 1)]);
            check(1, 3, &[(2, 2000, 2000), (rows.min(12), 1, columns), (columns, 13, 1)]);
        }
    }

    #[test]
    fn neighbours_merge() {
        let copy = StridedCopy::dense(0, &[(2, 60), (3, 20), (1, 7), (4, 5), (5, 1)]);
        assert_eq!(copy.dims, [Dim { size: 120, from: 1, to: 1 }]);
        let copy = StridedCopy::dense(0, &[(2, 0), (3, 0), (4, 1)]);
        assert_eq!(copy.dims, [Dim { size: 6, from: 0, to: 4 }, Dim { size: 4, from: 1, to: 1 }]);
    }
}
