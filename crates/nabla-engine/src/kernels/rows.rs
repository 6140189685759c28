//! Rows: sums and the like, softmax.
//!
//! # Rules
//! - A sum of `t_0 .. t_n-1` is [`STRIPES`] chains of additions, each starting from `+0`: chain `j` takes the terms
//!   whose index is `j` modulo [`STRIPES`], in order. Then chain `j` takes chain `j + 8` (for `j` below 8), `j + 4`,
//!   `j + 2`, `j + 1`. Chains of a row are the lanes of a vector; the order is the same for any vector.
//! - The greatest (least) is NaN if any is NaN, and a zero is `+0`, so that no order can be seen.
//! - Rows never meet.
//!
//! Shapes are the caller's to check: a slice that is not whole rows loses what is left over.

use super::{Body, Fma, Isa, math};

pub(crate) mod reduce;

#[cfg(test)]
mod tests;

use reduce::{Greatest, STRIPES, Total, stripes};
pub(crate) use reduce::{Reduction, reduce};

/// What becomes of every row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowRule {
    /// `e^(x - m) * (1 / s)` with the greatest `m` and the sum `s` of the exponentials.
    Softmax,
    /// `(x - m) - ln(s)`.
    LogSoftmax,
}

/// `rule` for every row of `length` elements that lie `stride` apart, from `x` to `out`. Where elements lie
/// apart, rows are gathered, so their bits are those of the same rows in one piece.
pub(crate) fn rows(isa: Isa, rule: RowRule, x: &[f32], out: &mut [f32], length: usize, stride: usize) {
    out.copy_from_slice(x);
    rows_in_place(isa, rule, out, length, stride);
}

/// [`rows`], in place.
pub(crate) fn rows_in_place(isa: Isa, rule: RowRule, data: &mut [f32], length: usize, stride: usize) {
    if length > 0 && stride > 0 {
        isa.run(Rows { rule, data, length, stride });
    }
}

/// `ln` of the sum of `e^x` of every row in one piece: `m + ln(s)`; an infinite `m` is the answer itself.
pub(crate) fn log_sum_exp(isa: Isa, x: &[f32], length: usize, out: &mut [f32]) {
    isa.run(LogSumExp { x, length, out });
}

struct Rows<'a> {
    rule: RowRule,
    data: &'a mut [f32],
    length: usize,
    stride: usize,
}

impl Body for Rows<'_> {
    type Out = ();

    #[inline(always)]
    fn run<F: Fma>(self) {
        let Self { rule, data, length, stride } = self;
        if stride == 1 {
            for row in data.chunks_exact_mut(length) {
                apply::<F>(rule, row);
            }
            return;
        }
        let mut row = vec![0.0; length];
        for block in data.chunks_exact_mut(length * stride) {
            for offset in 0..stride {
                for (slot, x) in row.iter_mut().zip(block[offset..].iter().step_by(stride)) {
                    *slot = *x;
                }
                apply::<F>(rule, &mut row);
                for (x, slot) in block[offset..].iter_mut().step_by(stride).zip(&row) {
                    *x = *slot;
                }
            }
        }
    }
}

#[inline(always)]
fn apply<F: Fma>(rule: RowRule, row: &mut [f32]) {
    match rule {
        RowRule::Softmax => softmax::<F>(row),
        RowRule::LogSoftmax => log_softmax::<F>(row),
    }
}

#[inline(always)]
pub(crate) fn softmax<F: Fma>(row: &mut [f32]) {
    let most = reduce::of_row::<F, f32, Greatest>(row);
    let sum = exponentials::<F>(row, most);
    let factor = 1.0 / sum;
    row.iter_mut().for_each(|x| *x *= factor);
}

#[inline(always)]
fn log_softmax<F: Fma>(row: &mut [f32]) {
    let most = reduce::of_row::<F, f32, Greatest>(row);
    let ln_sum = math::f32::ln::<F>(sum_of_exponentials::<F>(row, most));
    row.iter_mut().for_each(|x| *x = (*x - most) - ln_sum);
}

/// Replace every `x` by `e^(x - most)`; their sum.
#[inline(always)]
fn exponentials<F: Fma>(row: &mut [f32], most: f32) -> f32 {
    let mut sums = [0.0_f32; STRIPES];
    let (blocks, tail) = row.as_chunks_mut::<STRIPES>();
    for block in blocks {
        for (x, sum) in block.iter_mut().zip(&mut sums) {
            *x = math::f32::exp::<F>(*x - most);
            *sum += *x;
        }
    }
    let last = last_exponentials::<F>(tail, most, &mut sums);
    for (x, last) in tail.iter_mut().zip(last) {
        *x = last;
    }
    stripes::<F, f32, Total>(sums)
}

/// The sum of `e^(x - most)`.
#[inline(always)]
fn sum_of_exponentials<F: Fma>(row: &[f32], most: f32) -> f32 {
    let mut sums = [0.0_f32; STRIPES];
    let (blocks, tail) = row.as_chunks::<STRIPES>();
    for block in blocks {
        for (x, sum) in block.iter().zip(&mut sums) {
            *sum += math::f32::exp::<F>(*x - most);
        }
    }
    last_exponentials::<F>(tail, most, &mut sums);
    stripes::<F, f32, Total>(sums)
}

/// The short block at the end, as a whole one; what is beyond stays out of the sums.
#[inline(always)]
fn last_exponentials<F: Fma>(tail: &[f32], most: f32, sums: &mut [f32; STRIPES]) -> [f32; STRIPES] {
    let mut last = [0.0; STRIPES];
    if tail.is_empty() {
        return last;
    }
    for (slot, x) in last.iter_mut().zip(tail) {
        *slot = *x - most;
    }
    for x in &mut last {
        *x = math::f32::exp::<F>(*x);
    }
    for (sum, x) in sums.iter_mut().zip(&last[..tail.len()]) {
        *sum += x;
    }
    last
}

struct LogSumExp<'a> {
    x: &'a [f32],
    length: usize,
    out: &'a mut [f32],
}

impl Body for LogSumExp<'_> {
    type Out = ();

    #[inline(always)]
    fn run<F: Fma>(self) {
        if self.length == 0 {
            self.out.fill(f32::NEG_INFINITY);
            return;
        }
        for (row, out) in self.x.chunks_exact(self.length).zip(self.out) {
            let most = reduce::of_row::<F, f32, Greatest>(row);
            let sum = sum_of_exponentials::<F>(row, most);
            *out = if most.is_infinite() { most } else { most + math::f32::ln::<F>(sum) };
        }
    }
}
