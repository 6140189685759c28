//! Functions of one element, as steps.

use super::{Fma, map, map_near, math};
use math::f32 as f;

/// A function of one element.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Unary {
    /// The sign cleared.
    Abs,
    /// `alpha * (e^(x / alpha) - 1)` below zero, else `x`.
    Celu(f32),
    /// The least integer not below.
    Ceil,
    /// The first if `x` is below it, then the second if above; NaN stays.
    Clip(f32, f32),
    /// Cosine.
    Cos,
    /// `alpha * (e^x - 1)` below zero, else `x`.
    Elu(f32),
    /// Error function.
    Erf,
    /// `e^x`.
    Exp,
    /// The greatest integer not above.
    Floor,
    /// `0.5 * x * (1 + erf(x / sqrt(2)))`.
    Gelu,
    /// The same with `tanh`.
    GeluTanh,
    /// `alpha * x + beta`, limited to 0 and 1.
    HardSigmoid(f32, f32),
    /// `x * HardSigmoid(1/6, 1/2)`.
    HardSwish,
    /// `alpha * x` below zero, else `x`.
    LeakyRelu(f32),
    /// Natural logarithm.
    Ln,
    /// `x * tanh(softplus(x))`.
    Mish,
    /// The sign flipped.
    Neg,
    /// A function that is not made for vectors: see [`math::f32`].
    Other(fn(f32) -> f32),
    /// `1 / x`.
    Reciprocal,
    /// `x` above zero, NaN for NaN, else `+0`.
    Relu,
    /// To the nearest integer, ties to even.
    Round,
    /// `gamma * x` above zero, else `gamma * (alpha * (e^x - 1))`: alpha, gamma.
    Selu(f32, f32),
    /// Nearer to zero by the second (bias) beyond +- the first (lambda), else `+0`.
    Shrink(f32, f32),
    /// `1 / (1 + e^-x)`.
    Sigmoid,
    /// 1, -1, NaN or `+0`.
    Sign,
    /// Sine.
    Sin,
    /// `ln(1 + e^x)`.
    Softplus,
    /// `x / (1 + |x|)`.
    Softsign,
    /// Square root.
    Sqrt,
    /// `x * sigmoid(alpha * x)`.
    Swish(f32),
    /// Hyperbolic tangent.
    Tanh,
    /// `x` above alpha, else `+0`.
    ThresholdedRelu(f32),
}

/// `f` of every element.
#[inline(always)]
pub(super) fn apply<F: Fma>(step: Unary, piece: &mut [f32]) {
    match step {
        Unary::Abs => map(piece, f32::abs),
        Unary::Ceil => map(piece, f::ceil),
        Unary::Clip(low, high) => map(piece, |x| limit(x, low, high)),
        Unary::Floor => map(piece, f::floor),
        Unary::HardSigmoid(alpha, beta) => map(piece, |x| limit(alpha * x + beta, 0.0, 1.0)),
        Unary::HardSwish => map(piece, |x| x * limit((1.0 / 6.0) * x + 0.5, 0.0, 1.0)),
        Unary::LeakyRelu(alpha) => map(piece, |x| if x < 0.0 { alpha * x } else { x }),
        Unary::Neg => map(piece, |x| -x),
        Unary::Other(function) => piece.iter_mut().for_each(|x| *x = function(*x)),
        Unary::Reciprocal => map(piece, |x| 1.0 / x),
        Unary::Relu => map(piece, |x| if (x > 0.0) | x.is_nan() { x } else { 0.0 }),
        Unary::Round => map(piece, f::round_ties_even),
        Unary::Shrink(lambda, bias) => map(piece, |x| shrink(x, lambda, bias)),
        Unary::Sign => map(piece, sign),
        Unary::Softsign => map(piece, |x| x / (1.0 + x.abs())),
        Unary::Sqrt => map(piece, f32::sqrt),
        Unary::ThresholdedRelu(alpha) => map(piece, |x| if (x > alpha) | x.is_nan() { x } else { 0.0 }),
        _ => transcendental::<F>(step, piece),
    }
}

/// The functions that take more than a few operations.
#[inline(always)]
fn transcendental<F: Fma>(step: Unary, piece: &mut [f32]) {
    match step {
        Unary::Celu(alpha) => {
            map(piece, |x| if x < 0.0 { alpha * f::expm1::<F>(x / alpha) } else { x });
        }
        Unary::Cos => map_near(piece, f::CIRCLE_MAX, f::cos_near::<F>, f::cos::<F>),
        Unary::Elu(alpha) => map(piece, |x| if x < 0.0 { alpha * f::expm1::<F>(x) } else { x }),
        Unary::Erf => map(piece, f::erf::<F>),
        Unary::Exp => map(piece, f::exp::<F>),
        Unary::Gelu => map(piece, f::gelu::<F>),
        Unary::GeluTanh => map(piece, f::gelu_tanh::<F>),
        Unary::Ln => map(piece, f::ln::<F>),
        Unary::Mish => map(piece, f::mish::<F>),
        Unary::Selu(alpha, gamma) => {
            map(piece, |x| gamma * if x > 0.0 { x } else { alpha * f::expm1::<F>(x) });
        }
        Unary::Sigmoid => map(piece, f::sigmoid::<F>),
        Unary::Sin => map_near(piece, f::CIRCLE_MAX, f::sin_near::<F>, f::sin::<F>),
        Unary::Softplus => map(piece, f::softplus::<F>),
        Unary::Swish(alpha) => map(piece, |x| x * f::sigmoid::<F>(alpha * x)),
        Unary::Tanh => map(piece, f::tanh::<F>),
        _ => {}
    }
}

/// `low` below it, then `high` above it; NaN stays.
#[inline(always)]
fn limit(x: f32, low: f32, high: f32) -> f32 {
    let raised = if x < low { low } else { x };
    if raised > high { high } else { raised }
}

#[inline(always)]
fn shrink(x: f32, lambda: f32, bias: f32) -> f32 {
    let inside = if x.is_nan() { x } else { 0.0 };
    let above = if x > lambda { x - bias } else { inside };
    if x < -lambda { x + bias } else { above }
}

#[inline(always)]
fn sign(x: f32) -> f32 {
    let still = if x.is_nan() { x } else { 0.0 };
    let above = if x > 0.0 { 1.0 } else { still };
    if x < 0.0 { -1.0 } else { above }
}
