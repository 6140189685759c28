//! Matrix product: one chain of fused multiply-adds per output, over k in order.

use super::{Body, Fma};

/// Columns of a panel: lanes of one step.
pub(crate) const WIDTH: usize = 16;
/// Rows that share one pass over a panel.
const ROWS: usize = 6;
/// Steps of k between two visits of the outputs; keeps the part of a panel in cache. The chain goes on
/// from the stored output, so the value does not depend on it.
const DEPTH: usize = 384;

/// One row of a panel: the values of [`WIDTH`] columns at one k.
pub(crate) type Lane = [f32; WIDTH];

/// The right-hand matrix `[k, n]`, cut in panels of [`WIDTH`] columns, zeros beyond the last.
#[derive(Debug, Clone, Default)]
pub(crate) struct Panels {
    pub(crate) k: usize,
    pub(crate) n: usize,
    /// Panel by panel, k lanes each.
    pub(crate) lanes: Vec<Lane>,
}

impl Panels {
    /// Bytes of the panels of a `[k, n]` matrix.
    pub(crate) fn bytes(k: u64, n: u64) -> u64 {
        n.next_multiple_of(WIDTH as u64).saturating_mul(k).saturating_mul(4)
    }

    /// Order a matrix; `at(k, n)` is the index in `source`.
    pub(crate) fn pack(k: usize, n: usize, source: &[f32], row_stride: usize, column_stride: usize) -> Self {
        let mut lanes = vec![[0.0; WIDTH]; k * n.div_ceil(WIDTH)];
        for (index, lane) in lanes.iter_mut().enumerate() {
            let (panel, row) = (index / k, index % k);
            let columns = panel * WIDTH..((panel + 1) * WIDTH).min(n);
            for (slot, column) in lane.iter_mut().zip(columns) {
                *slot = source[row * row_stride + column * column_stride];
            }
        }
        Self { k, n, lanes }
    }
}

/// `c[m, n] = a[m, k] * b[k, n]`, all row-major; `stride_c` elements lie between rows of `c`.
pub(crate) struct Gemm<'a> {
    pub(crate) m: usize,
    /// `m * k` elements.
    pub(crate) a: &'a [f32],
    pub(crate) k: usize,
    pub(crate) n: usize,
    /// Panels of `b`.
    pub(crate) b: &'a [Lane],
    pub(crate) c: &'a mut [f32],
    pub(crate) stride_c: usize,
}

impl Body for Gemm<'_> {
    type Out = ();

    #[inline(always)]
    fn run<F: Fma>(self) {
        let Self { m, a, k, n, b, c, stride_c } = self;
        for row in 0..m {
            c[row * stride_c..row * stride_c + n].fill(0.0);
        }
        if k == 0 {
            return;
        }
        for (panel, lanes) in b.chunks_exact(k).enumerate().take(n.div_ceil(WIDTH)) {
            let columns = panel * WIDTH..((panel + 1) * WIDTH).min(n);
            for start in (0..k).step_by(DEPTH) {
                let part = &lanes[start..(start + DEPTH).min(k)];
                let mut row = 0;
                while row < m {
                    let tile = Tile { a, k, start, row, part, columns: columns.clone(), stride_c };
                    row += match m - row {
                        1 => tile.run::<F, 1>(c),
                        2 => tile.run::<F, 2>(c),
                        3 => tile.run::<F, 3>(c),
                        4 => tile.run::<F, 4>(c),
                        5 => tile.run::<F, 5>(c),
                        _ => tile.run::<F, ROWS>(c),
                    };
                }
            }
        }
    }
}

/// A few rows times one panel, for a part of k.
struct Tile<'a> {
    a: &'a [f32],
    k: usize,
    start: usize,
    row: usize,
    part: &'a [Lane],
    columns: std::ops::Range<usize>,
    stride_c: usize,
}

impl Tile<'_> {
    #[inline(always)]
    fn run<F: Fma, const R: usize>(&self, c: &mut [f32]) -> usize {
        let depth = self.part.len();
        let rows: [&[f32]; R] = std::array::from_fn(|i| {
            let from = (self.row + i) * self.k + self.start;
            &self.a[from..from + depth]
        });
        let place = |i: usize| {
            let from = (self.row + i) * self.stride_c;
            from + self.columns.start..from + self.columns.end
        };
        let mut sums = [[0.0_f32; WIDTH]; R];
        for (i, sum) in sums.iter_mut().enumerate() {
            let stored = &c[place(i)];
            sum[..stored.len()].copy_from_slice(stored);
        }
        let sums = accumulate::<F, R>(sums, rows, self.part);
        for (i, sum) in sums.iter().enumerate() {
            let stored = &mut c[place(i)];
            stored.copy_from_slice(&sum[..stored.len()]);
        }
        R
    }
}

#[inline(always)]
fn accumulate<F: Fma, const R: usize>(mut sums: [Lane; R], rows: [&[f32]; R], part: &[Lane]) -> [Lane; R] {
    for (step, lane) in part.iter().enumerate() {
        for (sum, row) in sums.iter_mut().zip(rows) {
            let x = row[step];
            for (s, b) in sum.iter_mut().zip(lane) {
                *s = F::fma(x, *b, *s);
            }
        }
    }
    sums
}

/// `c[m, n] = a[m, k] * b[k, n]` for bytes, exact modulo 2^32.
pub(crate) fn gemm_i32(m: usize, k: usize, n: usize, a: &[i32], b: &[i32], c: &mut [i32]) {
    for row in 0..m {
        for step in 0..k {
            let x = a[row * k + step];
            for column in 0..n {
                let sum = &mut c[row * n + column];
                *sum = sum.wrapping_add(x.wrapping_mul(b[step * n + column]));
            }
        }
    }
}
