//! Arithmetic types of operators that compute alike for every element type: f32 (FP32, FP16, BF16), f64 and,
//! for sums of products, i64 (every integer, modulo its width).
//!
//! # Rules
//! - Elements are read into the arithmetic type, and written back with one rounding (nearest even).
//! - Sums of floats are striped: term `t` goes to chain `t mod 16`; the chains are folded 8, 4, 2, 1 apart.
//! - Functions of f64 are libm's, in Rust; functions of f32 are the kernels' own.

use std::borrow::Cow;
use std::fmt::Debug;
use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub};

use half::{bf16, f16};
use nabla_types::tensor::{Dtype, TensorData, bf16_from_f64, f16_from_f64};

use super::{Call, Kernel, Scope};
use crate::Fault;
use crate::kernels::{Body, Fma, math};
use crate::plan::ValueType;

/// Element types that [`Real`] computes with full meaning.
pub(super) const FLOATS: &[Dtype] = &[Dtype::F32, Dtype::F64, Dtype::F16, Dtype::BF16];
/// [`FLOATS`] in words.
pub(super) const FLOATS_WORDS: &str = "FP32, FP64, FP16 or BF16";

/// What an exponential or another function costs, in multiply-adds.
pub(super) const FUNCTION_MACS: u64 = 16;

/// What sums of products are made of.
pub(crate) trait Term: Copy + Default + Send + Sync + Debug + PartialEq + 'static {
    /// `a * b + c`: floats round once, integers wrap.
    fn chain<F: Fma>(a: Self, b: Self, c: Self) -> Self;
    /// `a + b`.
    fn plus(a: Self, b: Self) -> Self;
    /// Elements of a tensor; `None` if their type has no place in this one.
    fn read(data: &TensorData) -> Option<Cow<'_, [Self]>>;
    /// Elements as this dtype: floats to nearest even, floats to integers to nearest even and saturating,
    /// integers to their low bits. Types without a number become FP32; no operator asks for them.
    fn write(values: Vec<Self>, dtype: Dtype) -> TensorData;

    /// Memory for `count` elements, all zero.
    fn zeros(count: usize) -> Vec<Self> {
        vec![Self::default(); count]
    }

    /// The striped sum.
    #[inline(always)]
    fn sum(terms: impl IntoIterator<Item = Self>) -> Self {
        let mut chains = [Self::default(); 16];
        for (index, term) in terms.into_iter().enumerate() {
            let chain = &mut chains[index % 16];
            *chain = Self::plus(*chain, term);
        }
        Self::fold(chains)
    }

    /// The chains of a striped sum, folded.
    #[inline(always)]
    fn fold(mut chains: [Self; 16]) -> Self {
        for width in [8, 4, 2, 1] {
            for index in 0..width {
                chains[index] = Self::plus(chains[index], chains[index + width]);
            }
        }
        chains[0]
    }

    /// The striped sum of `f` of every element of a slice.
    #[inline(always)]
    fn sum_of(values: &[Self], f: impl Fn(Self) -> Self) -> Self {
        let mut chains = [Self::default(); 16];
        let (blocks, rest) = values.as_chunks::<16>();
        for block in blocks {
            for (chain, value) in chains.iter_mut().zip(block) {
                *chain = Self::plus(*chain, f(*value));
            }
        }
        for (chain, value) in chains.iter_mut().zip(rest) {
            *chain = Self::plus(*chain, f(*value));
        }
        Self::fold(chains)
    }

    /// Elements of an input.
    fn input<'a>(call: &Call<'a>, input: usize) -> Result<Cow<'a, [Self]>, Fault> {
        let tensor = call.input(input)?;
        let fault = Fault::Dtype { input, expected: "numbers", got: tensor.dtype() };
        Self::read(tensor.data()).ok_or(fault)
    }

    /// Elements of an input that may be left out.
    fn optional<'a>(call: &Call<'a>, input: usize) -> Result<Option<Cow<'a, [Self]>>, Fault> {
        call.optional(input).map(|_| Self::input(call, input)).transpose()
    }
}

/// f32 or f64.
pub(crate) trait Real:
    Term
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
{
    const ZERO: Self;
    const ONE: Self;
    const LOWEST: Self;
    /// The nearest value.
    fn of(x: f64) -> Self;
    fn wide(self) -> f64;
    fn sqrt(self) -> Self;
    fn size(self) -> Self;
    fn exp<F: Fma>(self) -> Self;
    fn ln<F: Fma>(self) -> Self;
    fn tanh<F: Fma>(self) -> Self;
    fn sigmoid<F: Fma>(self) -> Self;

    /// The nearest value of an f32.
    #[inline(always)]
    fn of_f32(x: f32) -> Self {
        Self::of(f64::from(x))
    }

    /// A count; at most 2^28.
    #[inline(always)]
    #[expect(clippy::cast_precision_loss, reason = "sizes are below 2^53")]
    fn count(count: usize) -> Self {
        Self::of(count as f64)
    }

    /// Memory for a large output, of arbitrary content.
    fn memory(call: &Call<'_>, count: usize) -> Vec<Self>;
}

macro_rules! map_numbers {
    ($data:expr, $x:ident => $to:expr, { $($special:tt)* }) => {
        match $data {
            $($special)*
            TensorData::F16(v) => Some(v.iter().map(|$x| { let $x = $x.to_f32(); $to }).collect()),
            TensorData::BF16(v) => Some(v.iter().map(|$x| { let $x = $x.to_f32(); $to }).collect()),
            TensorData::I64(v) => Some(v.iter().map(|$x| { let $x = *$x; $to }).collect()),
            TensorData::I32(v) => Some(v.iter().map(|$x| { let $x = *$x; $to }).collect()),
            TensorData::I16(v) => Some(v.iter().map(|$x| { let $x = *$x; $to }).collect()),
            TensorData::I8(v) => Some(v.iter().map(|$x| { let $x = *$x; $to }).collect()),
            TensorData::U64(v) => Some(v.iter().map(|$x| { let $x = *$x; $to }).collect()),
            TensorData::U32(v) => Some(v.iter().map(|$x| { let $x = *$x; $to }).collect()),
            TensorData::U16(v) => Some(v.iter().map(|$x| { let $x = *$x; $to }).collect()),
            TensorData::U8(v) => Some(v.iter().map(|$x| { let $x = *$x; $to }).collect()),
            _ => None,
        }
    };
}

macro_rules! write_numbers {
    ($values:expr, $dtype:expr, $x:ident => $integer:expr, { $($special:tt)* }) => {
        match $dtype {
            $($special)*
            Dtype::I64 => TensorData::I64($values.into_iter().map(|$x| $integer as i64).collect()),
            Dtype::I32 => TensorData::I32($values.into_iter().map(|$x| $integer as i32).collect()),
            Dtype::I16 => TensorData::I16($values.into_iter().map(|$x| $integer as i16).collect()),
            Dtype::I8 => TensorData::I8($values.into_iter().map(|$x| $integer as i8).collect()),
            Dtype::U64 => TensorData::U64($values.into_iter().map(|$x| $integer as u64).collect()),
            Dtype::U32 => TensorData::U32($values.into_iter().map(|$x| $integer as u32).collect()),
            Dtype::U16 => TensorData::U16($values.into_iter().map(|$x| $integer as u16).collect()),
            Dtype::U8 => TensorData::U8($values.into_iter().map(|$x| $integer as u8).collect()),
            _ => TensorData::F32($values.into_iter().map(|$x| $x as f32).collect()),
        }
    };
}

impl Term for f32 {
    #[inline(always)]
    fn chain<F: Fma>(a: Self, b: Self, c: Self) -> Self {
        F::fma(a, b, c)
    }

    #[inline(always)]
    fn plus(a: Self, b: Self) -> Self {
        a + b
    }

    #[expect(clippy::cast_precision_loss, clippy::cast_lossless, reason = "the nearest f32 is what is meant")]
    fn read(data: &TensorData) -> Option<Cow<'_, [Self]>> {
        map_numbers!(data, x => x as f32, { TensorData::F32(v) => Some(Cow::Borrowed(v)), })
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturating after rounding to nearest even"
    )]
    fn write(values: Vec<Self>, dtype: Dtype) -> TensorData {
        write_numbers!(values, dtype, x => x.round_ties_even(), {
            Dtype::F32 => TensorData::F32(values),
            Dtype::F64 => TensorData::F64(values.into_iter().map(f64::from).collect()),
            Dtype::F16 => TensorData::F16(values.into_iter().map(f16::from_f32).collect()),
            Dtype::BF16 => TensorData::BF16(values.into_iter().map(bf16::from_f32).collect()),
        })
    }
}

impl Real for f32 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    const LOWEST: Self = Self::NEG_INFINITY;

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the nearest f32 is what is meant")]
    fn of(x: f64) -> Self {
        x as Self
    }

    #[inline(always)]
    fn wide(self) -> f64 {
        f64::from(self)
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        Self::sqrt(self)
    }

    #[inline(always)]
    fn size(self) -> Self {
        self.abs()
    }

    #[inline(always)]
    fn exp<F: Fma>(self) -> Self {
        math::f32::exp::<F>(self)
    }

    #[inline(always)]
    fn ln<F: Fma>(self) -> Self {
        math::f32::ln::<F>(self)
    }

    #[inline(always)]
    fn tanh<F: Fma>(self) -> Self {
        math::f32::tanh::<F>(self)
    }

    #[inline(always)]
    fn sigmoid<F: Fma>(self) -> Self {
        math::f32::sigmoid::<F>(self)
    }

    fn memory(call: &Call<'_>, count: usize) -> Vec<Self> {
        call.f32s(count)
    }
}

impl Term for f64 {
    #[inline(always)]
    fn chain<F: Fma>(a: Self, b: Self, c: Self) -> Self {
        a.mul_add(b, c)
    }

    #[inline(always)]
    fn plus(a: Self, b: Self) -> Self {
        a + b
    }

    #[expect(clippy::cast_precision_loss, clippy::cast_lossless, reason = "the nearest f64 is what is meant")]
    fn read(data: &TensorData) -> Option<Cow<'_, [Self]>> {
        map_numbers!(data, x => x as f64, {
            TensorData::F64(v) => Some(Cow::Borrowed(v)),
            TensorData::F32(v) => Some(v.iter().map(|x| f64::from(*x)).collect()),
        })
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturating after rounding to nearest even"
    )]
    fn write(values: Vec<Self>, dtype: Dtype) -> TensorData {
        write_numbers!(values, dtype, x => x.round_ties_even(), {
            Dtype::F64 => TensorData::F64(values),
            Dtype::F16 => TensorData::F16(values.into_iter().map(f16_from_f64).collect()),
            Dtype::BF16 => TensorData::BF16(values.into_iter().map(bf16_from_f64).collect()),
        })
    }
}

impl Real for f64 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    const LOWEST: Self = Self::NEG_INFINITY;

    #[inline(always)]
    fn of(x: f64) -> Self {
        x
    }

    #[inline(always)]
    fn wide(self) -> f64 {
        self
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        Self::sqrt(self)
    }

    #[inline(always)]
    fn size(self) -> Self {
        self.abs()
    }

    fn exp<F: Fma>(self) -> Self {
        math::f64::exp(self)
    }

    fn ln<F: Fma>(self) -> Self {
        math::f64::ln(self)
    }

    fn tanh<F: Fma>(self) -> Self {
        math::f64::tanh(self)
    }

    fn sigmoid<F: Fma>(self) -> Self {
        math::f64::sigmoid(self)
    }

    fn memory(_: &Call<'_>, count: usize) -> Vec<Self> {
        vec![0.0; count]
    }
}

impl Term for i64 {
    #[inline(always)]
    fn chain<F: Fma>(a: Self, b: Self, c: Self) -> Self {
        a.wrapping_mul(b).wrapping_add(c)
    }

    #[inline(always)]
    fn plus(a: Self, b: Self) -> Self {
        a.wrapping_add(b)
    }

    #[expect(clippy::cast_possible_wrap, clippy::cast_lossless, reason = "modulo 2^64")]
    fn read(data: &TensorData) -> Option<Cow<'_, [Self]>> {
        match data {
            TensorData::F16(_) | TensorData::BF16(_) => None,
            TensorData::I64(v) => Some(Cow::Borrowed(v)),
            TensorData::I32(v) => Some(v.iter().map(|x| *x as i64).collect()),
            TensorData::I16(v) => Some(v.iter().map(|x| *x as i64).collect()),
            TensorData::I8(v) => Some(v.iter().map(|x| *x as i64).collect()),
            TensorData::U64(v) => Some(v.iter().map(|x| *x as i64).collect()),
            TensorData::U32(v) => Some(v.iter().map(|x| *x as i64).collect()),
            TensorData::U16(v) => Some(v.iter().map(|x| *x as i64).collect()),
            TensorData::U8(v) => Some(v.iter().map(|x| *x as i64).collect()),
            _ => None,
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "the low bits are what is meant"
    )]
    fn write(values: Vec<Self>, dtype: Dtype) -> TensorData {
        write_numbers!(values, dtype, x => x, {})
    }
}

/// `real!(dtype, R => body, else other)`: the body with `R` as the arithmetic type of a float dtype.
macro_rules! real {
    ($dtype:expr, $R:ident => $body:expr, else $other:expr) => {
        match $dtype {
            nabla_types::tensor::Dtype::F32
            | nabla_types::tensor::Dtype::F16
            | nabla_types::tensor::Dtype::BF16 => {
                type $R = f32;
                $body
            }
            nabla_types::tensor::Dtype::F64 => {
                type $R = f64;
                $body
            }
            _ => $other,
        }
    };
}

/// A kernel that is written once for all float types and builds.
pub(super) trait FloatKernel: Send + Sync + Debug {
    /// The outputs; each is rounded to its type afterwards. Mark it `#[inline(always)]`.
    fn run<R: Real, F: Fma>(&self, call: &Call<'_>) -> Result<Vec<Vec<R>>, Fault>;
}

/// A [`FloatKernel`] in the arithmetic of a dtype.
#[derive(Debug)]
pub(super) struct Floats<K> {
    pub(super) dtype: Dtype,
    pub(super) kernel: K,
}

impl<K: FloatKernel> Kernel for Floats<K> {
    fn run(&self, call: &Call<'_>) -> Result<Vec<TensorData>, Fault> {
        let fault = Fault::Dtype { input: 0, expected: FLOATS_WORDS, got: self.dtype };
        real!(self.dtype, R => {
            let body = Run { kernel: &self.kernel, call, real: std::marker::PhantomData::<R> };
            let outputs = call.cpu.isa().run(body)?;
            Ok(outputs.into_iter().zip(call.outputs).map(|(v, ty)| R::write(v, ty.dtype)).collect())
        }, else Err(fault))
    }
}

struct Run<'k, 'c, K, R> {
    kernel: &'k K,
    call: &'k Call<'c>,
    real: std::marker::PhantomData<R>,
}

impl<K: FloatKernel, R: Real> Body for Run<'_, '_, K, R> {
    type Out = Result<Vec<Vec<R>>, Fault>;

    #[inline(always)]
    fn run<F: Fma>(self) -> Self::Out {
        self.kernel.run::<R, F>(self.call)
    }
}

impl<'a> Scope<'a> {
    /// An input of a float type.
    pub(super) fn float(&self, input: usize) -> Result<&'a ValueType, Fault> {
        self.typed(input, FLOATS, FLOATS_WORDS)
    }

    /// An input, if it is given, of a float type and this shape.
    pub(super) fn optional_float(
        &self,
        input: usize,
        what: &'static str,
        shape: &[usize],
    ) -> Result<Option<&'a ValueType>, Fault> {
        self.optional(input).map(|_| self.float_shaped(input, what, shape)).transpose()
    }

    /// An input of a float type and this shape.
    pub(super) fn float_shaped(
        &self,
        input: usize,
        what: &'static str,
        shape: &[usize],
    ) -> Result<&'a ValueType, Fault> {
        let ty = self.float(input)?;
        if ty.shape == shape { Ok(ty) } else { Err(super::misfit(what, format!("{shape:?}"), ty)) }
    }
}

/// FP64 if any of these inputs is, else FP32: what a kernel with inputs of several types computes in.
pub(super) fn widest(scope: &Scope<'_>) -> Dtype {
    let wide = scope.operands.iter().flatten().any(|operand| operand.ty.dtype == Dtype::F64);
    if wide { Dtype::F64 } else { Dtype::F32 }
}

/// Refuse inputs of another type than the first.
pub(super) fn alike(scope: &Scope<'_>) -> Result<(), Fault> {
    let dtype = scope.input(0)?.dtype;
    let other = |(input, operand): (usize, &Option<super::Operand<'_>>)| {
        operand.map(|operand| operand.ty.dtype).filter(|got| *got != dtype).map(|got| (input, got))
    };
    match scope.operands.iter().enumerate().find_map(other) {
        Some((input, got)) => Err(Fault::Dtype { input, expected: "the type of the first input", got }),
        None => Ok(()),
    }
}

/// The product of sizes, as a cost.
pub(super) fn cost(sizes: &[usize]) -> u64 {
    sizes.iter().fold(1_u64, |cost, size| cost.saturating_mul(*size as u64))
}

/// Sizes from an attribute: `count` of them from `least` to 2^28, or all `default`.
pub(super) fn sizes_or(
    scope: &Scope<'_>,
    name: &str,
    count: usize,
    least: usize,
    default: usize,
) -> Result<Vec<usize>, Fault> {
    let Some(given) = scope.attributes.optional_ints(name)? else {
        return Ok(vec![default; count]);
    };
    let size = |v: &i64| usize::try_from(*v).ok().filter(|size| (least..=1 << 28).contains(size));
    let sizes: Option<Vec<usize>> = given.iter().map(size).collect();
    sizes.filter(|sizes| sizes.len() == count).ok_or_else(|| {
        let expected = format!("{count} sizes from {least} to 2^28");
        crate::graph::attributes::fault(name, &expected, &format!("{:?}", &given[..given.len().min(8)]))
    })
}
