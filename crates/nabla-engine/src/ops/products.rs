//! Products of small matrices, for operators that hold several: one chain over `k` in order per output.

use super::real::Term;
use crate::kernels::{Body, Cpu, Fma};

/// Columns that are computed side by side.
const LANES: usize = 32;

/// `c[m, n] = a[m, k] * b[k, n]`, all row-major.
pub(super) struct Product<'a, T> {
    pub(super) m: usize,
    pub(super) k: usize,
    pub(super) n: usize,
    pub(super) a: &'a [T],
    pub(super) b: &'a [T],
    pub(super) c: &'a mut [T],
}

impl<T: Term> Product<'_, T> {
    /// Overwrite `c`.
    pub(super) fn run(self, cpu: &Cpu) {
        cpu.isa().run(Chains(self));
    }
}

struct Chains<'a, T>(Product<'a, T>);

impl<T: Term> Body for Chains<'_, T> {
    type Out = ();

    #[inline(always)]
    fn run<F: Fma>(self) {
        let Product { m, k, n, a, b, c } = self.0;
        for left in (0..n).step_by(LANES) {
            let width = LANES.min(n - left);
            for row in 0..m {
                let mut sums = [T::default(); LANES];
                for (step, x) in a[row * k..(row + 1) * k].iter().enumerate() {
                    let line = &b[step * n + left..step * n + left + width];
                    if let Some(line) = line.first_chunk::<LANES>() {
                        for (sum, y) in sums.iter_mut().zip(line) {
                            *sum = T::chain::<F>(*x, *y, *sum);
                        }
                    } else {
                        for (sum, y) in sums.iter_mut().zip(line) {
                            *sum = T::chain::<F>(*x, *y, *sum);
                        }
                    }
                }
                c[row * n + left..row * n + left + width].copy_from_slice(&sums[..width]);
            }
        }
    }
}

/// A row-major matrix `[rows, columns]` as `[columns, rows]`.
pub(super) fn transposed<T: Term>(matrix: &[T], rows: usize, columns: usize) -> Vec<T> {
    let mut out = T::zeros(rows * columns);
    for (row, line) in matrix.chunks_exact(columns.max(1)).take(rows).enumerate() {
        for (column, value) in line.iter().enumerate() {
            out[column * rows + row] = *value;
        }
    }
    out
}
