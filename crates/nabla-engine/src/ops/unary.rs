//! Operators that treat every element of one tensor alone.
//!
//! A function of floats is a row: its attributes, its step for f32 ([`elementwise::Unary`], whose bits are
//! the operator's) and its formula for f64. FP16 and BF16 compute as f32 ([`super::halves`]).

use nabla_types::tensor::{Dtype, TensorData};

use super::broadcast::Each;
use super::identity::plain;
use super::numbers::{Integer, Number};
use super::{
    Call, Element, ElementwiseForm, FnKernel, FormKernel, Kernel, Operator, Prepared, Scope, dispatch,
    widened,
};
use crate::Fault;
use crate::graph::attributes::fault;
use crate::kernels::elementwise::{self, Unary};
use crate::kernels::math::{f32 as f, f64 as w};
use crate::plan::ValueType;

pub(super) static OPERATORS: &[Operator] = &[
    Operator::node("Abs", plain, |s| number::<Abs>(s, Unary::Abs)),
    Operator::node("Acos", plain, |s| float(s, HEAVY, &[], |_| Unary::Other(f::acos), |x, _| w::acos(x))),
    Operator::node("Acosh", plain, |s| float(s, HEAVY, &[], |_| Unary::Other(f::acosh), |x, _| w::acosh(x))),
    Operator::node("Asin", plain, |s| float(s, HEAVY, &[], |_| Unary::Other(f::asin), |x, _| w::asin(x))),
    Operator::node("Asinh", plain, |s| float(s, HEAVY, &[], |_| Unary::Other(f::asinh), |x, _| w::asinh(x))),
    Operator::node("Atan", plain, |s| float(s, HEAVY, &[], |_| Unary::Other(f::atan), |x, _| w::atan(x))),
    Operator::node("Atanh", plain, |s| float(s, HEAVY, &[], |_| Unary::Other(f::atanh), |x, _| w::atanh(x))),
    Operator::node("BitwiseNot", plain, bitwise_not),
    Operator::node("Ceil", plain, |s| float(s, LIGHT, &[], |_| Unary::Ceil, |x, _| x.ceil())),
    Operator::node("Celu", plain, |s| float(s, SOME, &[("alpha", 1.0)], |p| Unary::Celu(p[0]), celu)),
    Operator::node("Cos", plain, |s| float(s, HEAVY, &[], |_| Unary::Cos, |x, _| w::cos(x))),
    Operator::node("Cosh", plain, |s| float(s, HEAVY, &[], |_| Unary::Other(f::cosh), |x, _| w::cosh(x))),
    Operator::node("Elu", plain, |s| float(s, SOME, &[("alpha", 1.0)], |p| Unary::Elu(p[0]), elu)),
    Operator::node("Erf", plain, |s| float(s, SOME, &[], |_| Unary::Erf, |x, _| w::erf(x))),
    Operator::node("Exp", plain, |s| float(s, SOME, &[], |_| Unary::Exp, |x, _| w::exp(x))),
    Operator::node("Floor", plain, |s| float(s, LIGHT, &[], |_| Unary::Floor, |x, _| x.floor())),
    Operator::node("Gelu", plain, gelu),
    Operator::node("HardSigmoid", plain, |s| {
        let parameters = &[("alpha", 0.2), ("beta", 0.5)];
        float(s, LIGHT, parameters, |p| Unary::HardSigmoid(p[0], p[1]), |x, p| unit(p[0] * x + p[1]))
    }),
    Operator::node("HardSwish", plain, |s| {
        float(s, LIGHT, &[], |_| Unary::HardSwish, |x, _| x * unit((1.0 / 6.0) * x + 0.5))
    }),
    Operator::node("IsInf", plain, is_inf),
    Operator::node("IsNaN", plain, is_nan),
    Operator::node("LeakyRelu", plain, |s| {
        let below = |x: f64, p: [f64; 2]| if x < 0.0 { p[0] * x } else { x };
        float(s, LIGHT, &[("alpha", 0.01)], |p| Unary::LeakyRelu(p[0]), below)
    }),
    Operator::node("Log", plain, |s| float(s, SOME, &[], |_| Unary::Ln, |x, _| w::ln(x))),
    Operator::node("Mish", plain, |s| {
        float(s, SOME, &[], |_| Unary::Mish, |x, _| x * w::tanh(w::softplus(x)))
    }),
    Operator::node("Neg", plain, neg),
    Operator::node("Not", plain, not),
    Operator::node("Reciprocal", plain, |s| float(s, LIGHT, &[], |_| Unary::Reciprocal, |x, _| 1.0 / x)),
    Operator::node("Relu", plain, |s| number::<Relu>(s, Unary::Relu)),
    Operator::node("Round", plain, |s| float(s, LIGHT, &[], |_| Unary::Round, |x, _| x.round_ties_even())),
    Operator::node("Selu", plain, |s| {
        let parameters = &[("alpha", 1.673_263_2), ("gamma", 1.050_701)];
        float(s, SOME, parameters, |p| Unary::Selu(p[0], p[1]), selu)
    }),
    Operator::node("Shrink", plain, shrink),
    Operator::node("Sigmoid", plain, |s| float(s, SOME, &[], |_| Unary::Sigmoid, |x, _| w::sigmoid(x))),
    Operator::node("Sign", plain, |s| number::<Sign>(s, Unary::Sign)),
    Operator::node("Sin", plain, |s| float(s, HEAVY, &[], |_| Unary::Sin, |x, _| w::sin(x))),
    Operator::node("Sinh", plain, |s| float(s, HEAVY, &[], |_| Unary::Other(f::sinh), |x, _| w::sinh(x))),
    Operator::node("Softplus", plain, |s| float(s, SOME, &[], |_| Unary::Softplus, |x, _| w::softplus(x))),
    Operator::node("Softsign", plain, |s| {
        float(s, LIGHT, &[], |_| Unary::Softsign, |x, _| x / (1.0 + x.abs()))
    }),
    Operator::node("Sqrt", plain, |s| float(s, SOME, &[], |_| Unary::Sqrt, |x, _| x.sqrt())),
    Operator::node("Swish", plain, |s| {
        let swish = |x: f64, p: [f64; 2]| x * w::sigmoid(p[0] * x);
        float(s, SOME, &[("alpha", 1.0)], |p| Unary::Swish(p[0]), swish)
    }),
    Operator::node("Tan", plain, |s| float(s, HEAVY, &[], |_| Unary::Other(f::tan), |x, _| w::tan(x))),
    Operator::node("Tanh", plain, |s| float(s, SOME, &[], |_| Unary::Tanh, |x, _| w::tanh(x))),
    Operator::node("ThresholdedRelu", plain, |s| {
        let above = |x: f64, p: [f64; 2]| if x > p[0] || x.is_nan() { x } else { 0.0 };
        float(s, LIGHT, &[("alpha", 1.0)], |p| Unary::ThresholdedRelu(p[0]), above)
    }),
];

/// What a function costs per element, in multiply-adds: a few operations; a short polynomial; one of f64.
const LIGHT: u64 = 1;
pub(super) const SOME: u64 = 16;
pub(super) const HEAVY: u64 = 64;

/// The values of up to two float attributes.
type Parameters<T> = [T; 2];

/// A function of floats with up to two float attributes (names and defaults).
fn float(
    scope: &Scope<'_>,
    macs: u64,
    parameters: &[(&str, f32)],
    step: fn(Parameters<f32>) -> Unary,
    wide: fn(f64, Parameters<f64>) -> f64,
) -> Result<Prepared, Fault> {
    scope.arity(1, 1, 1)?;
    let mut values = [0.0_f32; 2];
    for ((name, default), value) in parameters.iter().zip(&mut values) {
        *value = scope.attributes.float_or(name, *default)?;
    }
    let (step, values) = (step(values), values.map(f64::from));
    widened(scope, |scope| of_floats(scope, macs, step, move |x| wide(x, values)))
}

/// One output of the input's shape: a step for f32, a formula for f64.
fn of_floats(
    scope: &Scope<'_>,
    macs: u64,
    step: Unary,
    wide: impl Fn(f64) -> f64 + Send + Sync + 'static,
) -> Result<Prepared, Fault> {
    let x = scope.input(0)?;
    let macs = x.count().saturating_mul(macs);
    match x.dtype {
        Dtype::F32 => Ok(Prepared::one(x.clone(), stepped(step)).macs(macs)),
        Dtype::F64 => {
            let kernel = FnKernel(move |call: &Call<'_>| {
                Ok(vec![TensorData::F64(call.slice::<f64>(0)?.iter().map(|x| wide(*x)).collect())])
            });
            Ok(Prepared::one(x.clone(), kernel).macs(macs.saturating_mul(4)))
        }
        got => Err(Fault::Dtype { input: 0, expected: "a float type", got }),
    }
}

/// The kernel of a step.
pub(super) fn stepped(step: Unary) -> impl Kernel {
    let run = move |call: &Call<'_>| {
        let x = call.f32(0)?;
        let mut out = call.f32s(x.len());
        elementwise::unary(call.cpu.isa(), step, x, &mut out);
        Ok(vec![TensorData::F32(out)])
    };
    FormKernel { form: Some(ElementwiseForm::Unary(step)), run }
}

/// A function of f64 and the integers; f32 has its step.
trait OfNumbers {
    fn of<T: Number>(x: T) -> T;
}

struct Abs;
struct Relu;
struct Sign;

impl OfNumbers for Abs {
    #[inline(always)]
    fn of<T: Number>(x: T) -> T {
        x.size()
    }
}

impl OfNumbers for Relu {
    #[inline(always)]
    #[expect(clippy::eq_op, reason = "only NaN differs from itself")]
    fn of<T: Number>(x: T) -> T {
        if (x > T::ZERO) | (x != x) { x } else { T::ZERO }
    }
}

impl OfNumbers for Sign {
    #[inline(always)]
    #[expect(clippy::eq_op, reason = "only NaN differs from itself")]
    fn of<T: Number>(x: T) -> T {
        let still = if x != x { x } else { T::ZERO };
        let above = if x > T::ZERO { T::ONE } else { still };
        if x < T::ZERO { T::ZERO.minus(T::ONE) } else { above }
    }
}

fn number<R: OfNumbers>(scope: &Scope<'_>, step: Unary) -> Result<Prepared, Fault> {
    scope.arity(1, 1, 1)?;
    widened(scope, |scope| match scope.input(0)?.dtype {
        Dtype::F32 => of_floats(scope, LIGHT, step, |x| x),
        dtype => dispatch!(dtype, E: [F64 I64 I32 I16 I8 U64 U32 U16 U8] => {
            each(scope.input(0)?, |x: &E| R::of(*x))
        }, else Err(Fault::Dtype { input: 0, expected: "a number", got: dtype })),
    })
}

/// One output of the shape of `x`, `f` of every element.
fn each<A: Element, O: Element>(
    x: &ValueType,
    f: impl Fn(&A) -> O + Copy + Send + Sync + 'static,
) -> Result<Prepared, Fault> {
    let kernel = FnKernel(move |call: &Call<'_>| {
        let x = call.slice::<A>(0)?;
        let mut out = call.space::<O>(x.len());
        call.cpu.isa().run(Each { x, out: &mut out, f });
        Ok(vec![O::wrap(out)])
    });
    Ok(Prepared::one(ValueType { dtype: O::DTYPE, shape: x.shape.clone() }, kernel))
}

fn neg(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(1, 1, 1)?;
    widened(scope, |scope| {
        let x = scope.input(0)?;
        dispatch!(x.dtype, E: [I64 I32 I16 I8] => each(x, |x: &E| x.wrapping_neg()), else {
            of_floats(scope, LIGHT, Unary::Neg, |x| -x)
        })
    })
}

/// Text chooses between the error function and its approximation by `tanh`.
fn gelu(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    match scope.attributes.text_or("approximate", "none")? {
        "none" => float(scope, SOME, &[], |_| Unary::Gelu, |x, _| w::gelu(x)),
        "tanh" => float(
            scope,
            SOME,
            &[],
            |_| Unary::GeluTanh,
            |x, _| {
                let inner = 0.797_884_560_802_865_4 * (x + 0.044_715 * (x * x * x));
                0.5 * x * (1.0 + w::tanh(inner))
            },
        ),
        other => Err(fault("approximate", "\"none\" or \"tanh\"", other)),
    }
}

/// Toward zero by `bias` beyond `lambd`, else 0. Integers: in f64, then toward zero.
fn shrink(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(1, 1, 1)?;
    let lambda = scope.attributes.float_or("lambd", 0.5)?;
    let bias = scope.attributes.float_or("bias", 0.0)?;
    let (far, near) = (f64::from(lambda), f64::from(bias));
    let shrunk = move |x: f64| {
        let inside = if x.is_nan() { x } else { 0.0 };
        let above = if x > far { x - near } else { inside };
        if x < -far { x + near } else { above }
    };
    widened(scope, |scope| {
        let x = scope.input(0)?;
        dispatch!(x.dtype, E: integer => each(x, move |x: &E| E::from_f64(shrunk(Number::f64(*x)))), else {
            of_floats(scope, LIGHT, Unary::Shrink(lambda, bias), shrunk)
        })
    })
}

fn bitwise_not(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(1, 1, 1)?;
    let x = scope.input(0)?;
    dispatch!(x.dtype, E: integer => each(x, |x: &E| x.inverted()), else {
        Err(Fault::Dtype { input: 0, expected: "an integer type", got: x.dtype })
    })
}

fn not(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(1, 1, 1)?;
    each(scope.typed(0, &[Dtype::Bool], "BOOL")?, |x: &bool| !x)
}

fn is_nan(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(1, 1, 1)?;
    let x = scope.input(0)?;
    dispatch!(x.dtype, E: float => each(x, |x: &E| x.is_nan()), else {
        Err(Fault::Dtype { input: 0, expected: "a float type", got: x.dtype })
    })
}

fn is_inf(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(1, 1, 1)?;
    let negative = scope.attributes.flag_or("detect_negative", true)?;
    let positive = scope.attributes.flag_or("detect_positive", true)?;
    let x = scope.input(0)?;
    dispatch!(x.dtype, E: float => each(x, move |x: &E| {
        (positive && *x == E::INFINITY) || (negative && *x == E::NEG_INFINITY)
    }), else Err(Fault::Dtype { input: 0, expected: "a float type", got: x.dtype }))
}

fn celu(x: f64, p: Parameters<f64>) -> f64 {
    if x < 0.0 { p[0] * w::expm1(x / p[0]) } else { x }
}

fn elu(x: f64, p: Parameters<f64>) -> f64 {
    if x < 0.0 { p[0] * w::expm1(x) } else { x }
}

fn selu(x: f64, p: Parameters<f64>) -> f64 {
    p[1] * if x > 0.0 { x } else { p[0] * w::expm1(x) }
}

/// Limited to 0 and 1; NaN stays.
fn unit(x: f64) -> f64 {
    let raised = if x < 0.0 { 0.0 } else { x };
    if raised > 1.0 { 1.0 } else { raised }
}
