//! Operators that join tensors element by element, with broadcasting.

use nabla_types::tensor::{Dtype, Tensor, TensorData};

use super::{Call, Kernel, Prepared, Scope, misfit, sizes};
use crate::kernels::{Body, Fma, Isa};
use crate::plan::ValueType;
use crate::{Dim, Fault};

pub(crate) use super::unary::plain;

/// What to do with two elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    Add,
    Sub,
    Mul,
    /// Integers: toward zero, and by zero is refused.
    Div,
    /// NaN if either is NaN (the first one); the first of two equals.
    Min,
    /// NaN if either is NaN (the first one); the first of two equals.
    Max,
}

pub(crate) fn add(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    fold(scope, Rule::Add, 2..=2)
}

pub(crate) fn sub(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    fold(scope, Rule::Sub, 2..=2)
}

pub(crate) fn mul(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    fold(scope, Rule::Mul, 2..=2)
}

pub(crate) fn div(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    fold(scope, Rule::Div, 2..=2)
}

pub(crate) fn min(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    fold(scope, Rule::Min, 1..=usize::MAX)
}

pub(crate) fn max(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    fold(scope, Rule::Max, 1..=usize::MAX)
}

/// One output: the inputs joined from the first to the last.
fn fold(scope: &Scope<'_>, rule: Rule, count: std::ops::RangeInclusive<usize>) -> Result<Prepared, Fault> {
    const NUMBERS: &[Dtype] = &[Dtype::F32, Dtype::F64, Dtype::I64, Dtype::I32];
    scope.arity(*count.start(), *count.end(), 1)?;
    let first = scope.typed(0, NUMBERS, "FP32, FP64, INT64 or INT32")?;
    let mut shape = first.shape.clone();
    let mut macs = 0_u64;
    for input in 1..scope.operands.len() {
        let next = scope.typed(input, &[first.dtype], "the type of input 0")?;
        shape = broadcast(&shape, &next.shape)?;
        macs = macs.saturating_add(scope.value(first.dtype, shape.clone())?.row_elements());
    }
    let output = scope.value(first.dtype, shape)?;
    let scratch = macs.saturating_mul(8);
    Ok(Prepared::one(output, Fold { rule }).macs(macs).scratch_bytes(scratch))
}

/// The shape of two broadcast together. The batch meets the batch or 1.
pub(crate) fn broadcast(a: &[Dim], b: &[Dim]) -> Result<Vec<Dim>, Fault> {
    let rank = a.len().max(b.len());
    let from_right = |shape: &[Dim], index: usize| {
        (index + shape.len()).checked_sub(rank).map_or(Dim::Fixed(1), |index| shape[index])
    };
    let join = |index| match (from_right(a, index), from_right(b, index)) {
        (x, y) if x == y => Ok(x),
        (Dim::Fixed(1), y) => Ok(y),
        (x, Dim::Fixed(1)) => Ok(x),
        (x, y) => Err(Fault::Shape {
            what: "shapes that are joined",
            expected: format!("equal sizes or 1 at dimension {index} of {rank}"),
            got: format!("{x} and {y}"),
        }),
    };
    (0..rank).map(join).collect()
}

#[derive(Debug)]
struct Fold {
    rule: Rule,
}

impl Kernel for Fold {
    fn run(&self, call: &Call<'_>) -> Result<Vec<TensorData>, Fault> {
        let first = call.input(0)?;
        let (mut data, mut shape) = (None, sizes(first.shape()));
        for index in 1..call.inputs.len() {
            let next = call.input(index)?;
            let next_shape = sizes(next.shape());
            let joined = joined_shape(&shape, &next_shape);
            let pair = Pair { a: &shape, b: &next_shape, out: &joined };
            data = Some(join(call.isa, self.rule, data.as_ref().unwrap_or(first.data()), next, &pair)?);
            shape = joined;
        }
        Ok(vec![data.unwrap_or_else(|| first.data().clone())])
    }
}

/// Sizes broadcast together; `prepare` has checked that they fit.
fn joined_shape(a: &[usize], b: &[usize]) -> Vec<usize> {
    let rank = a.len().max(b.len());
    let at = |shape: &[usize], index: usize| (index + shape.len()).checked_sub(rank).map_or(1, |i| shape[i]);
    (0..rank).map(|index| if at(a, index) == 1 { at(b, index) } else { at(a, index) }).collect()
}

fn join(isa: Isa, rule: Rule, a: &TensorData, b: &Tensor, pair: &Pair<'_>) -> Result<TensorData, Fault> {
    Ok(match (a, b.data()) {
        (TensorData::F32(a), TensorData::F32(b)) => TensorData::F32(apply(isa, rule, a, b, pair)?),
        (TensorData::F64(a), TensorData::F64(b)) => TensorData::F64(apply(isa, rule, a, b, pair)?),
        (TensorData::I64(a), TensorData::I64(b)) => TensorData::I64(apply(isa, rule, a, b, pair)?),
        (TensorData::I32(a), TensorData::I32(b)) => TensorData::I32(apply(isa, rule, a, b, pair)?),
        (_, other) => {
            return Err(Fault::Dtype { input: 1, expected: "the type of input 0", got: other.dtype() });
        }
    })
}

/// `rule` of two broadcast slices.
pub(crate) fn apply<T: Number>(
    isa: Isa,
    rule: Rule,
    a: &[T],
    b: &[T],
    pair: &Pair<'_>,
) -> Result<Vec<T>, Fault> {
    if rule == Rule::Div && b.iter().any(|divisor| divisor.is_integer_zero()) {
        let hint = "make sure that no divisor is zero";
        return Err(Fault::Unsupported { what: "dividing an integer by zero".to_owned(), hint });
    }
    Ok(match rule {
        Rule::Add => isa.run(Zip { a, b, pair, f: T::plus }),
        Rule::Sub => isa.run(Zip { a, b, pair, f: T::minus }),
        Rule::Mul => isa.run(Zip { a, b, pair, f: T::times }),
        Rule::Div => isa.run(Zip { a, b, pair, f: T::over }),
        Rule::Min => isa.run(Zip { a, b, pair, f: T::least }),
        Rule::Max => isa.run(Zip { a, b, pair, f: T::most }),
    })
}

/// Arithmetic of one element type. Integers wrap.
pub(crate) trait Number: Copy + PartialOrd {
    fn plus(self, other: Self) -> Self;
    fn minus(self, other: Self) -> Self;
    fn times(self, other: Self) -> Self;
    fn over(self, other: Self) -> Self;
    fn is_integer_zero(self) -> bool;

    /// The first of the two that is NaN, else the lesser, else the first.
    #[inline(always)]
    #[expect(clippy::eq_op, reason = "only NaN differs from itself")]
    fn least(self, other: Self) -> Self {
        if self != self || !(other < self || other != other) { self } else { other }
    }

    /// The first of the two that is NaN, else the greater, else the first.
    #[inline(always)]
    #[expect(clippy::eq_op, reason = "only NaN differs from itself")]
    fn most(self, other: Self) -> Self {
        if self != self || !(other > self || other != other) { self } else { other }
    }
}

/// Both kinds of numbers have the same four operations under different names.
macro_rules! number {
    ($type:ty, $plus:expr, $minus:expr, $times:expr, $over:expr, $integer:expr) => {
        impl Number for $type {
            #[inline(always)]
            fn plus(self, other: Self) -> Self {
                $plus(self, other)
            }
            #[inline(always)]
            fn minus(self, other: Self) -> Self {
                $minus(self, other)
            }
            #[inline(always)]
            fn times(self, other: Self) -> Self {
                $times(self, other)
            }
            #[inline(always)]
            fn over(self, other: Self) -> Self {
                $over(self, other)
            }
            fn is_integer_zero(self) -> bool {
                $integer && self == Self::default()
            }
        }
    };
}

use std::ops::{Add, Div, Mul, Sub};
number!(f32, f32::add, f32::sub, f32::mul, f32::div, false);
number!(f64, f64::add, f64::sub, f64::mul, f64::div, false);
number!(i64, i64::wrapping_add, i64::wrapping_sub, i64::wrapping_mul, i64::wrapping_div, true);
number!(i32, i32::wrapping_add, i32::wrapping_sub, i32::wrapping_mul, i32::wrapping_div, true);

/// Two shapes and the one that they are broadcast to.
#[derive(Debug)]
pub(crate) struct Pair<'a> {
    pub(crate) a: &'a [usize],
    pub(crate) b: &'a [usize],
    pub(crate) out: &'a [usize],
}

impl Pair<'_> {
    /// Dimensions merged from the right while both sides either vary or repeat throughout:
    /// `(size, step of a, step of b)`, outermost first.
    fn runs(&self) -> Vec<(usize, usize, usize)> {
        let rank = self.out.len();
        let mut runs: Vec<(usize, bool, bool)> = Vec::new();
        let varies = |shape: &[usize], index: usize| {
            (index + shape.len()).checked_sub(rank).is_some_and(|index| shape[index] != 1)
        };
        for (index, size) in self.out.iter().enumerate().rev().filter(|(_, size)| **size != 1) {
            let (a, b) = (varies(self.a, index), varies(self.b, index));
            match runs.last_mut() {
                Some(run) if (run.1, run.2) == (a, b) => run.0 *= size,
                _ => runs.push((*size, a, b)),
            }
        }
        let (mut step_a, mut step_b) = (1, 1);
        let mut stepped: Vec<_> = Vec::new();
        for (size, a, b) in runs {
            stepped.push((size, if a { step_a } else { 0 }, if b { step_b } else { 0 }));
            step_a *= if a { size } else { 1 };
            step_b *= if b { size } else { 1 };
        }
        stepped.reverse();
        stepped
    }
}

/// `f` of every broadcast pair.
struct Zip<'a, T, G> {
    a: &'a [T],
    b: &'a [T],
    pair: &'a Pair<'a>,
    f: G,
}

impl<T: Copy, G: Fn(T, T) -> T> Body for Zip<'_, T, G> {
    type Out = Vec<T>;

    #[inline(always)]
    fn run<F: Fma>(self) -> Vec<T> {
        let Self { a, b, pair, f } = self;
        let mut out = Vec::with_capacity(pair.out.iter().product());
        if pair.out.contains(&0) {
            return out;
        }
        let mut runs = pair.runs();
        let (inner, step_a, step_b) = runs.pop().unwrap_or((1, 0, 0));
        let mut counters = vec![0; runs.len()];
        let (mut at_a, mut at_b) = (0, 0);
        loop {
            match (step_a, step_b) {
                (0, 0) => out.extend(std::iter::repeat_n(f(a[at_a], b[at_b]), inner)),
                (0, _) => out.extend(b[at_b..at_b + inner].iter().map(|y| f(a[at_a], *y))),
                (_, 0) => out.extend(a[at_a..at_a + inner].iter().map(|x| f(*x, b[at_b]))),
                _ => {
                    let pairs = a[at_a..at_a + inner].iter().zip(&b[at_b..at_b + inner]);
                    out.extend(pairs.map(|(x, y)| f(*x, *y)));
                }
            }
            if !advance(&runs, &mut counters, &mut at_a, &mut at_b) {
                return out;
            }
        }
    }
}

/// Count one up over the outer runs; false after the last.
fn advance(
    runs: &[(usize, usize, usize)],
    counters: &mut [usize],
    at_a: &mut usize,
    at_b: &mut usize,
) -> bool {
    for (counter, (size, step_a, step_b)) in counters.iter_mut().zip(runs).rev() {
        *counter += 1;
        *at_a += step_a;
        *at_b += step_b;
        if *counter < *size {
            return true;
        }
        *at_a -= step_a * size;
        *at_b -= step_b * size;
        *counter = 0;
    }
    false
}

/// Check that `from` can be repeated to `to` without making it larger.
pub(crate) fn fits_into(what: &'static str, from: &ValueType, to: &ValueType) -> Result<(), Fault> {
    match broadcast(&from.shape, &to.shape) {
        Ok(shape) if shape == to.shape => Ok(()),
        _ => Err(misfit(
            what,
            format!("a shape that repeats to {}", crate::model::shape_text(&to.shape)),
            from,
        )),
    }
}
