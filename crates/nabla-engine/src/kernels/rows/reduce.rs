//! Sums, products, the greatest and the least: of rows in one piece, and along an outer dimension.

use std::ops::{Add, Div, Mul};

use super::{Body, Fma, Isa};

/// Chains of a sum.
pub(crate) const STRIPES: usize = 16;
/// Columns that are reduced together: their chains stay in the nearest cache.
const COLUMNS: usize = 128;

/// A float type.
pub(crate) trait Real:
    Copy + PartialOrd + Add<Output = Self> + Mul<Output = Self> + Div<Output = Self> + 'static
{
    const ZERO: Self;
    const ONE: Self;
    const INFINITY: Self;
    const NEG_INFINITY: Self;
    fn size(self) -> Self;
    /// A count, rounded to nearest.
    fn from_count(count: usize) -> Self;
    /// `self + x * x`: fused for f32, two roundings for f64.
    fn add_square<F: Fma>(self, x: Self) -> Self;
}

#[expect(clippy::cast_precision_loss, reason = "counts are rounded to nearest")]
impl Real for f32 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    const INFINITY: Self = Self::INFINITY;
    const NEG_INFINITY: Self = Self::NEG_INFINITY;

    #[inline(always)]
    fn size(self) -> Self {
        self.abs()
    }

    #[inline(always)]
    fn from_count(count: usize) -> Self {
        count as Self
    }

    #[inline(always)]
    fn add_square<F: Fma>(self, x: Self) -> Self {
        F::fma(x, x, self)
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts are rounded to nearest")]
impl Real for f64 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    const INFINITY: Self = Self::INFINITY;
    const NEG_INFINITY: Self = Self::NEG_INFINITY;

    #[inline(always)]
    fn size(self) -> Self {
        self.abs()
    }

    #[inline(always)]
    fn from_count(count: usize) -> Self {
        count as Self
    }

    #[inline(always)]
    fn add_square<F: Fma>(self, x: Self) -> Self {
        self + x * x
    }
}

/// What to make of many elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reduction {
    /// The sum.
    Sum,
    /// The sum divided by the count.
    Mean,
    /// The sum of sizes.
    SumAbs,
    /// The sum of squares.
    SumSquares,
    /// The product, striped as a sum.
    Product,
    /// The greatest; `-inf` of nothing.
    Max,
    /// The least; `inf` of nothing.
    Min,
}

/// Reduce `length` elements that lie `stride` apart: `x` is blocks of `length * stride` elements, each of
/// which gives `stride` elements of `out`.
pub(crate) fn reduce<T: Real>(
    isa: Isa,
    reduction: Reduction,
    x: &[T],
    length: usize,
    stride: usize,
    out: &mut [T],
) {
    isa.run(Reduce { reduction, x, length, stride, out });
}

struct Reduce<'a, T> {
    reduction: Reduction,
    x: &'a [T],
    length: usize,
    stride: usize,
    out: &'a mut [T],
}

impl<T: Real> Body for Reduce<'_, T> {
    type Out = ();

    #[inline(always)]
    fn run<F: Fma>(self) {
        match self.reduction {
            Reduction::Sum => self.by::<F, Total>(),
            Reduction::Mean => {
                let count = T::from_count(self.length);
                let Self { reduction, x, length, stride, out } = self;
                Reduce { reduction, x, length, stride, out: &mut *out }.by::<F, Total>();
                out.iter_mut().for_each(|sum| *sum = *sum / count);
            }
            Reduction::SumAbs => self.by::<F, Sizes>(),
            Reduction::SumSquares => self.by::<F, Squares>(),
            Reduction::Product => self.by::<F, Factors>(),
            Reduction::Max => self.by::<F, Greatest>(),
            Reduction::Min => self.by::<F, Least>(),
        }
    }
}

impl<T: Real> Reduce<'_, T> {
    #[inline(always)]
    fn by<F: Fma, R: Rule<T>>(self) {
        let Self { x, length, stride, out, .. } = self;
        if length == 0 || stride == 0 {
            out.fill(R::finish(R::START));
        } else if stride == 1 {
            for (row, out) in x.chunks_exact(length).zip(out) {
                *out = of_row::<F, T, R>(row);
            }
        } else {
            for (block, out) in x.chunks_exact(length * stride).zip(out.chunks_exact_mut(stride)) {
                for (index, out) in out.chunks_mut(COLUMNS).enumerate() {
                    of_columns::<F, T, R>(&block[index * COLUMNS..], stride, out);
                }
            }
        }
    }
}

/// How a chain goes on, and how two become one.
pub(crate) trait Rule<T> {
    const START: T;
    fn step<F: Fma>(chain: T, x: T) -> T;
    fn join(a: T, b: T) -> T;
    #[inline(always)]
    fn finish(chain: T) -> T {
        chain
    }
}

/// The sum.
pub(super) struct Total;

impl<T: Real> Rule<T> for Total {
    const START: T = T::ZERO;

    #[inline(always)]
    fn step<F: Fma>(chain: T, x: T) -> T {
        chain + x
    }

    #[inline(always)]
    fn join(a: T, b: T) -> T {
        a + b
    }
}

/// The sum of sizes.
pub(super) struct Sizes;

impl<T: Real> Rule<T> for Sizes {
    const START: T = T::ZERO;

    #[inline(always)]
    fn step<F: Fma>(chain: T, x: T) -> T {
        chain + x.size()
    }

    #[inline(always)]
    fn join(a: T, b: T) -> T {
        a + b
    }
}

/// The sum of squares.
pub(crate) struct Squares;

impl<T: Real> Rule<T> for Squares {
    const START: T = T::ZERO;

    #[inline(always)]
    fn step<F: Fma>(chain: T, x: T) -> T {
        chain.add_square::<F>(x)
    }

    #[inline(always)]
    fn join(a: T, b: T) -> T {
        a + b
    }
}

/// The product.
pub(super) struct Factors;

impl<T: Real> Rule<T> for Factors {
    const START: T = T::ONE;

    #[inline(always)]
    fn step<F: Fma>(chain: T, x: T) -> T {
        chain * x
    }

    #[inline(always)]
    fn join(a: T, b: T) -> T {
        a * b
    }
}

/// The greatest; NaN if any is, a zero is `+0`.
pub(super) struct Greatest;

impl<T: Real> Rule<T> for Greatest {
    const START: T = T::NEG_INFINITY;

    #[inline(always)]
    #[expect(clippy::eq_op, reason = "only NaN differs from itself")]
    fn step<F: Fma>(chain: T, x: T) -> T {
        if (x > chain) | (x != x) { x } else { chain }
    }

    #[inline(always)]
    #[expect(clippy::eq_op, reason = "only NaN differs from itself")]
    fn join(a: T, b: T) -> T {
        if (b > a) | (b != b) { b } else { a }
    }

    #[inline(always)]
    fn finish(chain: T) -> T {
        chain + T::ZERO
    }
}

/// The least; NaN if any is, a zero is `+0`.
pub(super) struct Least;

impl<T: Real> Rule<T> for Least {
    const START: T = T::INFINITY;

    #[inline(always)]
    #[expect(clippy::eq_op, reason = "only NaN differs from itself")]
    fn step<F: Fma>(chain: T, x: T) -> T {
        if (x < chain) | (x != x) { x } else { chain }
    }

    #[inline(always)]
    #[expect(clippy::eq_op, reason = "only NaN differs from itself")]
    fn join(a: T, b: T) -> T {
        if (b < a) | (b != b) { b } else { a }
    }

    #[inline(always)]
    fn finish(chain: T) -> T {
        chain + T::ZERO
    }
}

/// One row in one piece.
#[inline(always)]
pub(crate) fn of_row<F: Fma, T: Real, R: Rule<T>>(row: &[T]) -> T {
    let mut chains = [R::START; STRIPES];
    let (blocks, tail) = row.as_chunks::<STRIPES>();
    for block in blocks {
        for (chain, x) in chains.iter_mut().zip(block) {
            *chain = R::step::<F>(*chain, *x);
        }
    }
    for (chain, x) in chains.iter_mut().zip(tail) {
        *chain = R::step::<F>(*chain, *x);
    }
    stripes::<F, T, R>(chains)
}

/// Fold the chains: halves, until one is left.
#[inline(always)]
pub(super) fn stripes<F: Fma, T: Real, R: Rule<T>>(mut chains: [T; STRIPES]) -> T {
    for half in [8, 4, 2, 1] {
        for lane in 0..half {
            chains[lane] = R::join(chains[lane], chains[lane + half]);
        }
    }
    R::finish(chains[0])
}

/// At most [`COLUMNS`] columns; their rows lie `stride` apart. Each has the chains of the gathered row.
#[inline(always)]
fn of_columns<F: Fma, T: Real, R: Rule<T>>(block: &[T], stride: usize, out: &mut [T]) {
    let width = out.len();
    let mut chains = [[R::START; COLUMNS]; STRIPES];
    for (index, row) in block.chunks(stride).enumerate() {
        let Some(row) = row.get(..width) else { break };
        for (chain, x) in chains[index % STRIPES][..width].iter_mut().zip(row) {
            *chain = R::step::<F>(*chain, *x);
        }
    }
    for half in [8, 4, 2, 1] {
        let (low, high) = chains.split_at_mut(half);
        for (a, b) in low.iter_mut().zip(high) {
            for (a, b) in a[..width].iter_mut().zip(&b[..width]) {
                *a = R::join(*a, *b);
            }
        }
    }
    for (out, chain) in out.iter_mut().zip(&chains[0]) {
        *out = R::finish(*chain);
    }
}
