//! The arithmetic. Each body is written once, in safe Rust, and built once per instruction set.
//!
//! A [`Body`] is a loop over plain slices, generic over how a fused multiply-add is done ([`Fma`]).
//! [`Isa::run`] runs it either as built for the base processor (the definition) or as built for a vector unit
//! in [`vector`]. Products and convolutions share one tile ([`tile`]) that is generic over [`dot::Dot`]: the
//! few instructions that differ. Rust never reassociates or contracts floating-point operations, so all
//! builds give the same bits; property tests hold them to it.
//!
//! | module | what it holds |
//! |---|---|
//! | [`buffer`] | [`buffer::Buffer`]: immutable aligned bytes; scratch that is used again |
//! | [`threads`] | [`threads::Cpu`]: the build in use and the threads; disjoint pieces of an output |
//! | [`pack`] | [`pack::Panels`], [`pack::Tiles`]: right and left matrices in the order that tiles read |
//! | [`product`] | [`product::Product`]: f32 matrix products |
//! | [`int8`] | [`int8::ProductI8`]: exact products of bytes |
//! | [`blocks`] | products with weights in blocks of bytes or less, as language models have them |
//! | [`conv`], [`conv_f32`], [`conv_i8`] | convolutions over 1 to 3 dimensions |
//! | [`decoder`] | norms, rotations, gates and attention of language models |
//! | [`quant`] | between floats, sums of integers and levels of a byte |
//! | [`matrix`] | the loops around tiles for a product |
//! | [`dot`], [`tile`], [`steps`] | what one step of a dot product is, and the loops around it |
//! | [`math`] | functions of one f32 |
//!
//! # Rules
//! - An f32 dot product is one chain of fused multiply-adds over k in order, starting from `+0`. Vector
//!   lanes hold different outputs; k is never split.
//! - Integer dot products are exact modulo 2^32.
//! - Sums are one chain of additions in row-major order, starting from `+0`.
//! - Functions ([`math`]) use f64 `+ - * /` inside and round once to f32. No libm.

use std::fmt;
use std::str::FromStr;

use nabla_types::tensor::{Tensor, TensorData, bf16, f16};

use crate::Error;

pub(crate) mod blocks;
pub(crate) mod buffer;
pub(crate) mod conv;
pub(crate) mod conv_f32;
pub(crate) mod conv_i8;
pub(crate) mod decoder;
pub(crate) mod dot;
pub(crate) mod elementwise;

pub(crate) mod int8;
pub(crate) mod math;
pub(crate) mod matrix;
pub(crate) mod pack;
pub(crate) mod product;
pub(crate) mod quant;
pub(crate) mod rows;
pub(crate) mod steps;
pub(crate) mod threads;
pub(crate) mod tile;

pub(crate) use buffer::Buffer;
pub(crate) use threads::Cpu;

#[cfg(target_arch = "aarch64")]
#[path = "neon.rs"]
mod vector;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
#[path = "no_vector.rs"]
mod vector;
#[cfg(target_arch = "x86_64")]
#[path = "x86.rs"]
mod vector;

#[cfg(test)]
pub(crate) mod tests;

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
    /// AVX-512 F, BW, DQ, VL and VNNI (x86-64).
    Avx512,
    /// NEON (AArch64).
    Neon,
}

impl Kernels {
    /// The names that [`FromStr`] reads and [`Display`](fmt::Display) writes.
    pub const NAMES: [&'static str; 5] = ["auto", "scalar", "avx2", "avx512", "neon"];
    const ALL: [Self; 5] = [Self::Auto, Self::Scalar, Self::Avx2, Self::Avx512, Self::Neon];

    /// Its name, in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    /// What a processor must have, in words.
    const fn needed(self) -> &'static str {
        match self {
            Self::Auto | Self::Scalar => "nothing",
            Self::Avx2 => "x86-64 with AVX2 and FMA",
            Self::Avx512 => "x86-64 with AVX-512 F, BW, DQ, VL and VNNI",
            Self::Neon => "AArch64",
        }
    }
}

impl fmt::Display for Kernels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is none of [`Kernels::NAMES`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("kernels {got:?} are not known; use one of {}", Kernels::NAMES.join(", "))]
pub struct UnknownKernels {
    /// The name given.
    pub got: String,
}

impl FromStr for Kernels {
    type Err = UnknownKernels;

    fn from_str(name: &str) -> Result<Self, UnknownKernels> {
        let found = Self::ALL.into_iter().find(|kernels| kernels.name() == name);
        found.ok_or_else(|| UnknownKernels { got: name.to_owned() })
    }
}

/// The build in use, chosen once per engine.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Isa {
    /// The portable build.
    Scalar,
    /// A build for a vector unit that this processor has.
    Vector(vector::Vector),
}

impl Isa {
    pub(crate) fn choose(kernels: Kernels) -> Result<Self, Error> {
        match (kernels, vector::Vector::find(kernels)) {
            (Kernels::Scalar, _) | (Kernels::Auto, None) => Ok(Self::Scalar),
            (_, Some(vector)) => Ok(Self::Vector(vector)),
            (_, None) => Err(Error::Kernels { kernels: kernels.name(), needed: kernels.needed() }),
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Scalar => Kernels::Scalar.name(),
            Self::Vector(vector) => vector.kernels().name(),
        }
    }

    /// Run a body in this build.
    #[inline]
    pub(crate) fn run<B: Body>(self, body: B) -> B::Out {
        match self {
            Self::Scalar => body.run::<Native>(),
            Self::Vector(vector) => vector.run(body),
        }
    }

    /// Turn R rows of sixteen, which start `stride` apart, into columns.
    ///
    /// # Panics
    /// If `rows` does not hold them.
    pub(crate) fn transpose<const R: usize>(self, rows: &[f32], stride: usize, columns: &mut [[f32; R]; 16]) {
        if matches!(self, Self::Vector(vector) if vector.transpose(rows, stride, columns)) {
            return;
        }
        for row in 0..R {
            let values = &rows[row * stride..][..columns.len()];
            for (column, value) in columns.iter_mut().zip(values) {
                column[row] = *value;
            }
        }
    }

    /// Run with this build's f32 dot product.
    pub(crate) fn with_float<B: DotBody<f32, f32>>(self, body: B) -> B::Result {
        match self {
            Self::Scalar => body.run(dot::PortableFloat::<Native>::new()),
            Self::Vector(vector) => vector.with_float(body),
        }
    }

    /// Run with this build's lanes for products with blocks.
    pub(crate) fn with_lanes<B: blocks::lanes::LanesBody>(self, body: B) -> B::Out {
        match self {
            Self::Scalar => body.run(blocks::lanes::Portable::<Native>::new()),
            Self::Vector(vector) => vector.with_lanes(body),
        }
    }

    /// Rows of the tallest tile of f32.
    pub(crate) fn float_rows(self) -> usize {
        self.with_float(Rows)
    }

    /// Run with this build's dot product of bytes: the left factor signed and the right one not, or the other
    /// way round.
    pub(crate) fn with_bytes<const LEFT_SIGNED: bool, B: DotBody<[u8; 4], i32>>(self, body: B) -> B::Result {
        match self {
            Self::Scalar => body.run(dot::PortableBytes::<LEFT_SIGNED>),
            Self::Vector(vector) => vector.with_bytes::<LEFT_SIGNED, B>(body),
        }
    }
}

/// Asks for [`dot::Dot::ROWS`].
struct Rows;

impl<U, O> DotBody<U, O> for Rows {
    type Result = usize;

    fn run<D: dot::Dot<Unit = U, Out = O>>(self, _: D) -> usize {
        D::ROWS
    }
}

/// Work that is generic over how dot products are done; ordinary code around the leaves of [`tile`].
pub(crate) trait DotBody<U, O> {
    type Result;
    fn run<D: dot::Dot<Unit = U, Out = O>>(self, dot: D) -> Self::Result;
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

/// Make every NaN the one quiet NaN of its type.
pub(crate) fn pin_nan(tensor: Tensor) -> Tensor {
    let (shape, mut data) = tensor.into_parts();
    match &mut data {
        TensorData::F32(v) => pin(v, |x| x.is_nan(), f32::from_bits(0x7fc0_0000)),
        TensorData::F64(v) => pin(v, |x| x.is_nan(), f64::from_bits(0x7ff8_0000_0000_0000)),
        TensorData::F16(v) => pin(v, |x| x.is_nan(), f16::from_bits(0x7e00)),
        TensorData::BF16(v) => pin(v, |x| x.is_nan(), bf16::from_bits(0x7fc0)),
        _ => {}
    }
    Tensor::new(shape, data).expect("the shape is unchanged")
}

/// Look at blocks first: there is nearly never a NaN, and a block without one costs a few instructions.
fn pin<T: Copy>(values: &mut [T], is_nan: impl Fn(&T) -> bool, quiet: T) {
    for block in values.chunks_mut(64) {
        if block.iter().fold(false, |any, x| any | is_nan(x)) {
            block.iter_mut().filter(|x| is_nan(x)).for_each(|x| *x = quiet);
        }
    }
}
