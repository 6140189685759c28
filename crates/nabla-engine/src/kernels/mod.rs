//! The arithmetic. Each body is written once, in safe Rust, and built twice.
//!
//! A [`Body`] is a loop over plain slices, generic over how a fused multiply-add is done ([`Fma`]).
//! [`Isa::run`] runs it either as built for the base processor (the definition) or as built for AVX2 and
//! FMA in [`x86`], the one place with `unsafe`. Rust never reassociates or contracts floating-point
//! operations, so both builds give the same bits; property tests hold them to it.
//!
//! # Rules
//! - An f32 dot product is one chain of fused multiply-adds over k in order, starting from `+0`. Vector
//!   lanes hold different outputs; k is never split.
//! - Sums are one chain of additions in row-major order, starting from `+0`.
//! - Functions ([`math`]) use f64 `+ - * /` inside and round once to f32. No libm.

use nabla_types::tensor::{Tensor, TensorData};

use crate::Error;

pub(crate) mod gemm;
pub(crate) mod math;

#[cfg(target_arch = "x86_64")]
mod x86;
#[cfg(not(target_arch = "x86_64"))]
#[path = "no_vector.rs"]
mod x86;

#[cfg(test)]
mod tests;

/// Which build of the kernels to use. The choice changes speed, never bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kernels {
    /// The fastest that this processor can run.
    #[default]
    Auto,
    /// The portable build: the definition.
    Scalar,
    /// AVX2 and FMA (x86-64).
    Avx2,
}

/// The build in use, chosen once per engine.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Isa {
    Scalar,
    Avx2(x86::Avx2),
}

impl Isa {
    pub(crate) fn choose(kernels: Kernels) -> Result<Self, Error> {
        match (kernels, x86::Avx2::detect()) {
            (Kernels::Auto | Kernels::Avx2, Some(token)) => Ok(Self::Avx2(token)),
            (Kernels::Auto | Kernels::Scalar, _) => Ok(Self::Scalar),
            (Kernels::Avx2, None) => {
                Err(Error::Kernels { kernels: "avx2", needed: "x86-64 with AVX2 and FMA" })
            }
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2(_) => "avx2",
        }
    }

    /// Run a body in this build.
    #[inline]
    pub(crate) fn run<B: Body>(self, body: B) -> B::Out {
        match self {
            Self::Scalar => body.run::<Native>(),
            Self::Avx2(token) => token.run(body),
        }
    }
}

/// A loop that is built once per instruction set. Mark `run` `#[inline(always)]`.
pub(crate) trait Body {
    type Out;
    fn run<F: Fma>(self) -> Self::Out;
}

/// A correctly rounded `a * b + c`.
pub(crate) trait Fma {
    fn fma(a: f32, b: f32, c: f32) -> f32;
}

/// The processor's own instruction, where the build has it.
pub(crate) struct Hard;

impl Fma for Hard {
    #[inline(always)]
    fn fma(a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }
}

/// The same bits from f64 arithmetic, for builds without the instruction (no libm).
#[cfg_attr(any(target_arch = "aarch64", target_feature = "fma"), expect(dead_code, reason = "tests use it"))]
pub(crate) struct Soft;

impl Fma for Soft {
    /// The product is exact in f64. The sum is rounded to odd (by its exact error), which makes the
    /// final rounding to f32 the only one that counts.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the one rounding")]
    fn fma(a: f32, b: f32, c: f32) -> f32 {
        let (product, addend) = (f64::from(a) * f64::from(b), f64::from(c));
        let sum = product + addend;
        let part = sum - product;
        let error = (product - (sum - part)) + (addend - part);
        let bits = sum.to_bits();
        let inexact = error != 0.0 && sum.is_finite() && bits & 1 == 0;
        let outward = (error > 0.0) == (sum > 0.0);
        let odd = if outward { bits.wrapping_add(1) } else { bits.wrapping_sub(1) };
        f64::from_bits(if inexact { odd } else { bits }) as f32
    }
}

/// What the portable build uses.
#[cfg(any(target_arch = "aarch64", target_feature = "fma"))]
type Native = Hard;
#[cfg(not(any(target_arch = "aarch64", target_feature = "fma")))]
type Native = Soft;

/// Refuse to compute where the thread rounds otherwise than to nearest, or flushes subnormals to zero.
pub(crate) fn check_float_mode() -> Result<(), Error> {
    use std::hint::black_box;
    let tiny = f32::from_bits(1);
    if black_box(tiny) * black_box(1.0) != tiny || black_box(f32::MIN_POSITIVE) * black_box(0.5) == 0.0 {
        return Err(Error::FloatMode { found: "subnormal numbers are flushed to zero" });
    }
    let half_step = f32::EPSILON / 2.0;
    let rounds_up = black_box(1.0_f32) + black_box(half_step) != 1.0;
    let rounds_down = black_box(1.0_f32) + black_box(half_step * 1.5) == 1.0;
    let minus_up = black_box(-1.0_f32) - black_box(half_step * 1.5) == -1.0;
    if rounds_up || rounds_down || minus_up {
        return Err(Error::FloatMode { found: "rounding is not to nearest, ties to even" });
    }
    Ok(())
}

/// Make every NaN the one quiet NaN.
pub(crate) fn pin_nan(tensor: Tensor) -> Tensor {
    let (shape, mut data) = tensor.into_parts();
    match &mut data {
        TensorData::F32(v) => {
            v.iter_mut().filter(|x| x.is_nan()).for_each(|x| *x = f32::from_bits(0x7fc0_0000));
        }
        TensorData::F64(v) => {
            v.iter_mut().filter(|x| x.is_nan()).for_each(|x| *x = f64::from_bits(0x7ff8_0000_0000_0000));
        }
        _ => {}
    }
    Tensor::new(shape, data).expect("the shape is unchanged")
}
