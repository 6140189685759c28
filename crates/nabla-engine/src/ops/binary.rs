//! Operators that join tensors element by element, with broadcasting.

use std::fmt::Debug;
use std::ops::{BitAnd, BitOr, BitXor};

use nabla_types::tensor::{Dtype, TensorData};

use super::broadcast::{Walk, Zip, broadcast, fits_into};
use super::identity::plain;
use super::numbers::{Integer, Number, has_integer_zero};
use super::unary::{HEAVY, SOME};
use super::{
    Call, Element, ElementwiseForm, FnKernel, FormKernel, Operator, Prepared, Scope, dispatch, misfit,
    widened,
};
use crate::Fault;
use crate::graph::attributes::fault;
use crate::kernels::elementwise::{self, Binary, Unary};
use crate::kernels::math;
use crate::plan::ValueType;

pub(super) static OPERATORS: &[Operator] = &[
    Operator::node("Add", plain, arithmetic::<Add>),
    Operator::node("And", plain, logic::<And>),
    Operator::node("BitShift", plain, bit_shift),
    Operator::node("BitwiseAnd", plain, bitwise::<And>),
    Operator::node("BitwiseOr", plain, bitwise::<Or>),
    Operator::node("BitwiseXor", plain, bitwise::<Xor>),
    Operator::node("Div", plain, arithmetic::<Div>),
    Operator::node("Equal", plain, equal),
    Operator::node("Greater", plain, compare::<Greater>),
    Operator::node("GreaterOrEqual", plain, compare::<GreaterOrEqual>),
    Operator::node("Less", plain, compare::<Less>),
    Operator::node("LessOrEqual", plain, compare::<LessOrEqual>),
    Operator::node("Max", plain, |scope| fold::<Max>(scope, false)),
    Operator::node("Mean", plain, |scope| fold_floats(scope, true)),
    Operator::node("Min", plain, |scope| fold::<Min>(scope, false)),
    Operator::node("Mod", plain, modulo),
    Operator::node("Mul", plain, arithmetic::<Mul>),
    Operator::node("Or", plain, logic::<Or>),
    Operator::node("PRelu", plain, prelu),
    Operator::node("Pow", plain, |scope| widened(scope, pow)),
    Operator::node("Sub", plain, arithmetic::<Sub>),
    Operator::node("Sum", plain, |scope| fold_floats(scope, false)),
    Operator::node("SwiGLU", plain, swiglu),
    Operator::node("Xor", plain, logic::<Xor>),
];

/// What two numbers become.
trait Rule: 'static {
    /// The same for f32, as a step.
    const STEP: Option<Binary> = None;
    const MACS: u64 = 0;
    /// An integer zero on the right is refused.
    const DIVIDES: bool = false;
    fn of<T: Number>(a: T, b: T) -> T;
}

/// What two elements of any type that compares answer.
trait Test: 'static {
    fn of<T: PartialOrd>(a: &T, b: &T) -> bool;
}

/// What two patterns of bits become.
trait Bits: 'static {
    fn of<T: BitAnd<Output = T> + BitOr<Output = T> + BitXor<Output = T>>(a: T, b: T) -> T;
}

macro_rules! rules {
    ($($name:ident $(= $step:expr)?, $macs:expr, $divides:expr => |$a:ident, $b:ident| $value:expr;)*) => {$(
        struct $name;
        impl Rule for $name {
            $(const STEP: Option<Binary> = Some($step);)?
            const MACS: u64 = $macs;
            const DIVIDES: bool = $divides;
            #[inline(always)]
            fn of<T: Number>($a: T, $b: T) -> T {
                $value
            }
        }
    )*};
}

rules! {
    Add = Binary::Add, 0, false => |a, b| a.plus(b);
    Sub = Binary::Sub, 0, false => |a, b| a.minus(b);
    Mul = Binary::Mul, 0, false => |a, b| a.times(b);
    Div = Binary::Div, 4, true => |a, b| a.over(b);
    Max = Binary::Max, 0, false => |a, b| a.most(b);
    Min = Binary::Min, 0, false => |a, b| a.least(b);
    Remainder, 8 * HEAVY, true => |a, b| a.remainder(b);
    Modulus, 8 * HEAVY, true => |a, b| a.modulus(b);
    PRelu = Binary::PRelu, 0, false => |a, b| if a < T::ZERO { a.times(b) } else { a };
}

macro_rules! tests {
    ($($name:ident: |$a:ident, $b:ident| $value:expr;)*) => {$(
        struct $name;
        impl Test for $name {
            #[inline(always)]
            fn of<T: PartialOrd>($a: &T, $b: &T) -> bool {
                $value
            }
        }
    )*};
}

tests! {
    Equal: |a, b| a == b;
    Greater: |a, b| a > b;
    GreaterOrEqual: |a, b| a >= b;
    Less: |a, b| a < b;
    LessOrEqual: |a, b| a <= b;
}

macro_rules! bits {
    ($($name:ident: |$a:ident, $b:ident| $value:expr;)*) => {$(
        struct $name;
        impl Bits for $name {
            #[inline(always)]
            fn of<T: BitAnd<Output = T> + BitOr<Output = T> + BitXor<Output = T>>($a: T, $b: T) -> T {
                $value
            }
        }
    )*};
}

bits! {
    And: |a, b| a & b;
    Or: |a, b| a | b;
    Xor: |a, b| a ^ b;
}

/// Two inputs of one type, and the shape of the output.
struct Pair<'a> {
    a: &'a ValueType,
    b: &'a ValueType,
    shape: Vec<usize>,
}

impl<'a> Pair<'a> {
    fn of(scope: &Scope<'a>) -> Result<Self, Fault> {
        scope.arity(2, 2, 1)?;
        let a = scope.input(0)?;
        let b = scope.typed(1, &[a.dtype], "the type of input 0")?;
        Ok(Self { a, b, shape: broadcast(&a.shape, &b.shape)? })
    }

    fn walk(&self) -> Walk<2> {
        Walk::new([&self.a.shape, &self.b.shape], &self.shape)
    }

    /// `f` of every pair that meets.
    fn zip<A: Element, O: Element>(
        self,
        scope: &Scope<'_>,
        step: Option<Binary>,
        f: impl Fn(&A, &A) -> O + Copy + Send + Sync + 'static,
    ) -> Result<Prepared, Fault> {
        let walk = self.walk();
        let run = move |call: &Call<'_>| {
            let (a, b) = (call.slice::<A>(0)?, call.slice::<A>(1)?);
            Ok(vec![O::wrap(zip(call, &walk, a, b, call.elements(0), f))])
        };
        let form = step.filter(|_| A::DTYPE == Dtype::F32).map(ElementwiseForm::Binary);
        Ok(Prepared::one(scope.value(O::DTYPE, self.shape)?, FormKernel { form, run }))
    }
}

fn zip<A: Element, B, O: Element>(
    call: &Call<'_>,
    walk: &Walk<2>,
    a: &[A],
    b: &[B],
    count: usize,
    f: impl Fn(&A, &B) -> O,
) -> Vec<O> {
    let mut out = call.space::<O>(count);
    call.cpu.isa().run(Zip { a, b, out: &mut out, walk, f });
    out
}

fn not_a_number(got: Dtype) -> Fault {
    Fault::Dtype { input: 0, expected: "a number", got }
}

fn divided_by_zero() -> Fault {
    let hint = "make sure that no divisor is zero";
    Fault::Unsupported { what: "dividing an integer by zero".to_owned(), hint }
}

fn arithmetic<R: Rule>(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(2, 2, 1)?;
    fold::<R>(scope, false)
}

/// One output: the inputs joined from the first to the last; halves as f32, rounded at the end. A mean is
/// divided by the number of inputs.
fn fold<R: Rule>(scope: &Scope<'_>, mean: bool) -> Result<Prepared, Fault> {
    widened(scope, |scope| {
        scope.arity(1, usize::MAX, 1)?;
        let dtype = scope.input(0)?.dtype;
        dispatch!(dtype, E: [F32 F64 I64 I32 I16 I8 U64 U32 U16 U8] => folded::<R, E>(scope, mean), else {
            Err(not_a_number(dtype))
        })
    })
}

fn fold_floats(scope: &Scope<'_>, mean: bool) -> Result<Prepared, Fault> {
    scope.arity(1, usize::MAX, 1)?;
    scope.typed(0, &[Dtype::F32, Dtype::F64, Dtype::F16, Dtype::BF16], "a float type")?;
    fold::<Add>(scope, mean)
}

fn folded<R: Rule, T: Number>(scope: &Scope<'_>, mean: bool) -> Result<Prepared, Fault> {
    let mut shape = scope.input(0)?.shape.clone();
    let mut walks = Vec::with_capacity(scope.operands.len().saturating_sub(1));
    let (mut macs, mut scratch) = (0_u64, 0_u64);
    for input in 1..scope.operands.len() {
        let next = scope.typed(input, &[T::DTYPE], "the type of input 0")?;
        let joined = broadcast(&shape, &next.shape)?;
        let value = scope.value(T::DTYPE, joined)?;
        walks.push((Walk::new([&shape, &next.shape], &value.shape), value.elements()));
        macs = macs.saturating_add(value.count().saturating_mul(R::MACS + 1));
        scratch = scratch.max(value.bytes());
        shape = value.shape;
    }
    let form = R::STEP.filter(|_| walks.len() == 1 && !mean && T::DTYPE == Dtype::F32);
    let scratch = if walks.len() > 1 { scratch } else { 0 };
    let run = move |call: &Call<'_>| run_fold::<R, T>(call, &walks, mean).map(|out| vec![T::wrap(out)]);
    let kernel = FormKernel { form: form.map(ElementwiseForm::Binary), run };
    Ok(Prepared::one(scope.value(T::DTYPE, shape)?, kernel).macs(macs).scratch_bytes(scratch))
}

#[expect(clippy::cast_precision_loss, reason = "counts are rounded to nearest")]
fn run_fold<R: Rule, T: Number>(
    call: &Call<'_>,
    walks: &[(Walk<2>, usize)],
    mean: bool,
) -> Result<Vec<T>, Fault> {
    let mut sum: Option<Vec<T>> = None;
    for (input, (walk, count)) in (1..).zip(walks) {
        let next = call.slice::<T>(input)?;
        if R::DIVIDES && has_integer_zero(next) {
            return Err(divided_by_zero());
        }
        let so_far = match &sum {
            Some(sum) => sum.as_slice(),
            None => call.slice::<T>(0)?,
        };
        sum = Some(zip(call, walk, so_far, next, *count, |a, b| R::of(*a, *b)));
    }
    let mut sum = match sum {
        Some(sum) => sum,
        None => call.slice::<T>(0)?.to_vec(),
    };
    if mean {
        let count = T::from_f64((walks.len() + 1) as f64);
        sum.iter_mut().for_each(|x| *x = x.over(count));
    }
    Ok(sum)
}

/// `fmod` 0: the quotient rounds down; 1: toward zero.
fn modulo(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    if scope.attributes.flag_or("fmod", false)? {
        arithmetic::<Remainder>(scope)
    } else {
        arithmetic::<Modulus>(scope)
    }
}

/// The slope repeats to the shape of `x`.
fn prelu(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(2, 2, 1)?;
    fits_into("slope of PRelu", scope.input(1)?, scope.input(0)?)?;
    arithmetic::<PRelu>(scope)
}

fn compare<R: Test>(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    let pair = Pair::of(scope)?;
    dispatch!(pair.a.dtype, E: number => pair.zip(scope, None, |a: &E, b: &E| R::of(a, b)), else {
        Err(not_a_number(pair.a.dtype))
    })
}

fn equal(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    let pair = Pair::of(scope)?;
    dispatch!(pair.a.dtype, E => pair.zip(scope, None, |a: &E, b: &E| Equal::of(a, b)))
}

fn logic<R: Bits>(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.typed(0, &[Dtype::Bool], "BOOL")?;
    Pair::of(scope)?.zip(scope, None, |a: &bool, b: &bool| R::of(*a, *b))
}

fn bitwise<R: Bits>(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    let pair = Pair::of(scope)?;
    dispatch!(pair.a.dtype, E: integer => pair.zip(scope, None, |a: &E, b: &E| R::of(*a, *b)), else {
        Err(Fault::Dtype { input: 0, expected: "an integer type", got: pair.a.dtype })
    })
}

fn bit_shift(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    let left = match scope.attributes.text("direction")? {
        "LEFT" => true,
        "RIGHT" => false,
        other => return Err(fault("direction", "\"LEFT\" or \"RIGHT\"", other)),
    };
    let pair = Pair::of(scope)?;
    dispatch!(pair.a.dtype, E: integer => {
        pair.zip(scope, None, move |a: &E, b: &E| if left { a.left(*b) } else { a.right(*b) })
    }, else Err(Fault::Dtype { input: 0, expected: "an integer type", got: pair.a.dtype }))
}

/// `A * sigmoid(alpha * A)`, times `B`.
fn swiglu(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(2, 2, 1)?;
    let alpha = scope.attributes.float_or("alpha", 1.0)?;
    widened(scope, |scope| {
        let a = scope.input(0)?;
        let b = scope.typed(1, &[a.dtype], "the type of input 0")?;
        if a.shape != b.shape {
            return Err(misfit("inputs of SwiGLU", format!("the shape {:?}", a.shape), b));
        }
        let macs = a.count().saturating_mul(SOME + 1);
        match a.dtype {
            Dtype::F32 => {
                let run = move |call: &Call<'_>| {
                    let a = call.f32(0)?;
                    let mut out = call.f32s(a.len());
                    elementwise::unary(call.cpu.isa(), Unary::Swish(alpha), a, &mut out);
                    let other = elementwise::Other::Many(call.f32(1)?);
                    elementwise::binary_in_place(call.cpu.isa(), Binary::Mul, &mut out, other);
                    Ok(vec![TensorData::F32(out)])
                };
                Ok(Prepared::one(a.clone(), FnKernel(run)).macs(macs))
            }
            Dtype::F64 => {
                let alpha = f64::from(alpha);
                let f = move |a: &f64, b: &f64| a * math::f64::sigmoid(alpha * a) * b;
                Ok(Pair::of(scope)?.zip(scope, None, f)?.macs(macs.saturating_mul(4)))
            }
            got => Err(Fault::Dtype { input: 0, expected: "a float type", got }),
        }
    })
}

/// The exponents of a power.
#[derive(Debug, Clone)]
enum Exponents {
    Float(Vec<f64>),
    Integer(Vec<i128>),
}

fn exponents(data: &TensorData) -> Result<Exponents, Fault> {
    Ok(match data {
        TensorData::F32(v) => Exponents::Float(v.iter().map(|x| f64::from(*x)).collect()),
        TensorData::F64(v) => Exponents::Float(v.clone()),
        other => dispatch!(other.dtype(), E: integer => {
            let all = E::slice(other).unwrap_or_default().iter().map(|x| x.i128());
            Exponents::Integer(all.collect())
        }, else return Err(Fault::Dtype { input: 1, expected: "a number", got: other.dtype() })),
    })
}

/// `x^y` in the type of `x`; the exponents may be of another type.
fn pow(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(2, 2, 1)?;
    let (a, b) = (scope.input(0)?, scope.input(1)?);
    let shape = broadcast(&a.shape, &b.shape)?;
    let walk = Walk::new([&a.shape, &b.shape], &shape);
    let output = scope.value(a.dtype, shape)?;
    if matches!(b.dtype, Dtype::Bool | Dtype::String) {
        return Err(Fault::Dtype { input: 1, expected: "a number", got: b.dtype });
    }
    let macs = output.count().saturating_mul(HEAVY);
    let scratch = b.count().saturating_mul(16);
    let form =
        (a.dtype == Dtype::F32 && b.dtype == Dtype::F32).then_some(ElementwiseForm::Binary(Binary::Pow));
    let prepared = dispatch!(a.dtype, E: [F32 F64 I64 I32 I16 I8 U64 U32 U16 U8] => {
        let run = move |call: &Call<'_>| Ok(vec![<E as Power>::powers(call, &walk)?]);
        Prepared::one(output, FormKernel { form, run })
    }, else return Err(not_a_number(a.dtype)));
    Ok(prepared.macs(macs).scratch_bytes(scratch))
}

/// Powers by the type of the base.
trait Power: Number {
    fn power_of_float(self, exponent: f64) -> Self;
    fn power_of_integer(self, exponent: i128) -> Self;

    fn powers(call: &Call<'_>, walk: &Walk<2>) -> Result<TensorData, Fault> {
        let (x, count) = (call.slice::<Self>(0)?, call.elements(0));
        if let (&[y], TensorData::F32(x)) =
            (call.input(1)?.as_f32().unwrap_or_default(), call.input(0)?.data())
        {
            let mut out = call.f32s(x.len());
            out.copy_from_slice(x);
            elementwise::binary_in_place(call.cpu.isa(), Binary::Pow, &mut out, elementwise::Other::One(y));
            return Ok(TensorData::F32(out));
        }
        Ok(Self::wrap(match exponents(call.input(1)?.data())? {
            Exponents::Float(y) => zip(call, walk, x, &y, count, |x, y| x.power_of_float(*y)),
            Exponents::Integer(y) => zip(call, walk, x, &y, count, |x, y| x.power_of_integer(*y)),
        }))
    }
}

impl Power for f32 {
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the one rounding")]
    fn power_of_float(self, exponent: f64) -> Self {
        let narrow = exponent as Self;
        if f64::from(narrow) == exponent || exponent.is_nan() {
            math::f32::pow(self, narrow)
        } else {
            math::f64::pow(f64::from(self), exponent) as Self
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "exponents beyond 2^53 round to nearest")]
    fn power_of_integer(self, exponent: i128) -> Self {
        self.power_of_float(exponent as f64)
    }
}

impl Power for f64 {
    fn power_of_float(self, exponent: f64) -> Self {
        // Exact exponents first, as for f32.
        if exponent == 2.0 {
            self * self
        } else if exponent == 3.0 {
            self * self * self
        } else if exponent == 0.5 && self > 0.0 {
            self.sqrt()
        } else if exponent == -1.0 {
            1.0 / self
        } else {
            math::f64::pow(self, exponent)
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "exponents beyond 2^53 round to nearest")]
    fn power_of_integer(self, exponent: i128) -> Self {
        self.power_of_float(exponent as f64)
    }
}

/// Integers: by a natural number exactly, wrapping; else in f64, then toward zero, saturating.
macro_rules! integer_power {
    ($($type:ty)*) => {$(
        impl Power for $type {
            fn power_of_float(self, exponent: f64) -> Self {
                Self::from_f64(math::f64::pow(Number::f64(self), exponent))
            }

            #[expect(clippy::cast_precision_loss, reason = "only signs and parity count down here")]
            fn power_of_integer(self, exponent: i128) -> Self {
                match u64::try_from(exponent) {
                    Ok(exponent) => self.power(exponent),
                    // Far exponents become a near one of their parity: only -1, 0 and 1 still differ there.
                    Err(_) => self.power_of_float(exponent.max(-(1 << 52) - (exponent & 1)) as f64),
                }
            }
        }
    )*};
}

integer_power!(i64 i32 i16 i8 u64 u32 u16 u8);
