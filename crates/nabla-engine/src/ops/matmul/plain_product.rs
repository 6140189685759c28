//! Products of the types that are not worth a tile: one chain per output, over k in order.
//!
//! FP64 is a chain of fused multiply-adds in FP64; FP16 and BF16 are chains in FP32, rounded once at the end;
//! integers wrap.

use half::{bf16, f16};
use nabla_types::tensor::{TensorData, bf16_from_f64, f16_from_f64};

use super::super::{Call, Element};
use super::{Sizes, Stack};
use crate::Fault;
use crate::kernels::{Body, Fma, Isa};

/// A product of two matrices: sizes, and steps of A and B along rows and columns.
pub(super) struct Chain {
    pub(super) sizes: Sizes,
    pub(super) a: [usize; 2],
    pub(super) b: [usize; 2],
}

/// An element that can be summed in products.
pub(super) trait Term: Element + Copy {
    /// What sums are kept in.
    type Sum: Copy + Default + 'static;
    fn sum(self) -> Self::Sum;
    fn fma<F: Fma>(a: Self::Sum, b: Self::Sum, sum: Self::Sum) -> Self::Sum;
    fn scale(sum: Self::Sum, factor: f32) -> Self::Sum;
    fn add(a: Self::Sum, b: Self::Sum) -> Self::Sum;
    fn round(sum: Self::Sum) -> Self;
}

macro_rules! float_term {
    ($type:ty, $sum:ty, $widen:expr, $fma:expr, $round:expr) => {
        impl Term for $type {
            type Sum = $sum;
            #[inline(always)]
            fn sum(self) -> $sum {
                $widen(self)
            }
            #[inline(always)]
            fn fma<F: Fma>(a: $sum, b: $sum, sum: $sum) -> $sum {
                $fma(F::fma, a, b, sum)
            }
            fn scale(sum: $sum, factor: f32) -> $sum {
                sum * <$sum>::from(factor)
            }
            fn add(a: $sum, b: $sum) -> $sum {
                a + b
            }
            fn round(sum: $sum) -> Self {
                $round(sum)
            }
        }
    };
}

type Fma32 = fn(f32, f32, f32) -> f32;
float_term!(f64, f64, |x| x, |_: Fma32, a: f64, b: f64, s: f64| libm::fma(a, b, s), |x| x);
float_term!(f16, f32, f16::to_f32, |fma: Fma32, a, b, s| fma(a, b, s), |x: f32| f16_from_f64(f64::from(x)));
float_term!(bf16, f32, bf16::to_f32, |fma: Fma32, a, b, s| fma(a, b, s), |x: f32| bf16_from_f64(f64::from(
    x
)));

macro_rules! integer_term {
    ($($type:ty),*) => {$(
        impl Term for $type {
            type Sum = $type;
            #[inline(always)]
            fn sum(self) -> $type {
                self
            }
            #[inline(always)]
            fn fma<F: Fma>(a: $type, b: $type, sum: $type) -> $type {
                sum.wrapping_add(a.wrapping_mul(b))
            }
            /// Only by 1: `prepare` refuses other factors of integers.
            fn scale(sum: $type, _: f32) -> $type {
                sum
            }
            fn add(a: $type, b: $type) -> $type {
                a.wrapping_add(b)
            }
            fn round(sum: $type) -> $type {
                sum
            }
        }
    )*};
}

integer_term!(i32, i64, u32, u64);

struct Rows<'a, T> {
    a: &'a [T],
    b: &'a [T],
    chain: &'a Chain,
}

impl<T: Term> Body for Rows<'_, T> {
    type Out = Vec<T::Sum>;

    #[inline(always)]
    fn run<F: Fma>(self) -> Vec<T::Sum> {
        let Chain { sizes: Sizes { m, k, n }, a: [a_row, a_step], b: [b_row, b_step] } = *self.chain;
        let mut out = vec![T::Sum::default(); m * n];
        for (row, sums) in out.chunks_exact_mut(n.max(1)).enumerate() {
            for step in 0..k {
                let x = self.a[row * a_row + step * a_step].sum();
                for (column, sum) in sums.iter_mut().enumerate() {
                    *sum = T::fma::<F>(x, self.b[step * b_row + column * b_step].sum(), *sum);
                }
            }
        }
        out
    }
}

fn rows<T: Term>(isa: Isa, a: &[T], b: &[T], chain: &Chain) -> Vec<T::Sum> {
    isa.run(Rows { a, b, chain })
}

/// `alpha * product + beta * C`; C as its input and its steps along rows and columns.
pub(super) fn gemm<T: Term>(
    call: &Call<'_>,
    chain: &Chain,
    (alpha, beta): (f32, f32),
    addend: Option<(usize, [usize; 2])>,
) -> Result<TensorData, Fault> {
    let mut sums = rows(call.cpu.isa(), call.slice::<T>(0)?, call.slice::<T>(1)?, chain);
    if alpha.to_bits() != 1.0_f32.to_bits() {
        sums.iter_mut().for_each(|sum| *sum = T::scale(*sum, alpha));
    }
    if let Some((input, [down, across])) = addend
        && call.optional(input).is_some()
    {
        let c = call.slice::<T>(input)?;
        let n = chain.sizes.n.max(1);
        for (index, sum) in sums.iter_mut().enumerate() {
            let term = c[index / n * down + index % n * across].sum();
            let one = beta.to_bits() == 1.0_f32.to_bits();
            *sum = T::add(*sum, if one { term } else { T::scale(term, beta) });
        }
    }
    Ok(T::wrap(sums.into_iter().map(T::round).collect()))
}

/// All products of a stack.
pub(super) fn product_of<T: Term>(call: &Call<'_>, stack: &Stack) -> Result<TensorData, Fault> {
    let sizes @ Sizes { m, k, n } = stack.sizes;
    let (a, b) = (call.slice::<T>(0)?, call.slice::<T>(1)?);
    let chain = Chain { sizes, a: [k, 1], b: [n, 1] };
    let mut out = Vec::with_capacity(call.elements(0));
    for index in 0..stack.count() {
        let (at_a, at_b) = stack.pair(index);
        let (a, b) = (&a[at_a * m * k..][..m * k], &b[at_b * k * n..][..k * n]);
        out.extend(rows(call.cpu.isa(), a, b, &chain).into_iter().map(T::round));
    }
    Ok(T::wrap(out))
}
