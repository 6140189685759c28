//! Functions of one f32.
//!
//! The common ones are written for vectors: each is a straight line of f32 operations and selects, generic
//! over the fused multiply-add ([`Fma`]). Their polynomials were fitted for the least greatest error, with
//! coefficients rounded to f32 one after the other. Products that must not lose bits are fused.
//!
//! The rare ones (re-exported from [`super::rare`]) compute in f64 and round once.
#![expect(clippy::excessive_precision, reason = "constants are written as they are specified")]

pub(crate) use super::rare::{acos, acosh, asin, asinh, atan, atanh, cosh, pow, powi, sinh, tan};
use crate::kernels::Fma;

/// Adding this leaves the nearest integer (ties to even) in the low bits, for arguments below 2^22.
const ROUND: f32 = 12_582_912.0;
/// `ln(2)` to 24 bits, and what is left of it.
const LN_2: [f32; 2] = [std::f32::consts::LN_2, -1.904_654_3e-9];

/// `(e^r - 1 - r) / r^2` for `|r| <= ln(2) / 2`, from the highest power down.
const EXP: [f32; 5] = [0.001_381_893_9, 0.008_368_704, 0.041_668_29, 0.166_665_21, 0.499_999_94];
/// The same, nearer for [`expm1`] and [`tanh`] where `r` is small.
const EXPM1: [f32; 6] = [0.000_197_643_31, 0.001_393_236_5, 0.008_333_543, 0.041_666_493, 0.166_666_66, 0.5];
/// `2^r` for `|r| <= 1/2`.
#[expect(clippy::approx_constant, reason = "a coefficient next to ln(2), not ln(2)")]
const EXP2: [f32; 6] = [0.001_326_972_4, 0.009_671_393, 0.055_507_11, 0.240_222_45, 0.693_147, 1.0];
/// `(ln(1 + f) - f + f^2 / 2) / f^3` for `1 + f` in `[sqrt(1/2), sqrt(2)]`.
const LN: [f32; 8] = [
    -0.076_363_996,
    0.127_622,
    -0.131_596_13,
    0.142_015_81,
    -0.166_234_09,
    0.200_012_42,
    -0.250_008_2,
    0.333_333_3,
];
/// `erf(x) / x - 1` in `x^2`, for `|x| < 1`.
const ERF: [f32; 7] = [
    7.806_903e-5,
    -0.000_799_785_3,
    0.005_187_162,
    -0.026_853_347,
    0.112_835_79,
    -0.376_126_26,
    0.128_379_17,
];
/// `log2(1 - erf(x))` for `x` from 1 to 4.
const ERFC_LOG2: [f32; 7] = [
    0.000_267_729_9,
    -0.004_240_985,
    0.031_458_523,
    -0.148_651_67,
    -0.920_764_86,
    -1.625_975_1,
    -0.000_510_304_47,
];
/// `(sin(r) - r) / r^3` in `r^2`, for `|r| <= pi / 4`.
const SIN: [f32; 3] = [-0.000_195_179_03, 0.008_332_187, -0.166_666_55];
/// `(cos(r) - 1 + r^2 / 2) / r^4` in `r^2`, for `|r| <= pi / 4`.
const COS: [f32; 3] = [2.443_232_7e-5, -0.001_388_731, 0.041_666_646];
/// `pi / 2` in three parts of 24 bits.
const FRAC_PI_2: [f32; 3] = [1.570_796_4, -4.371_139e-8, -1.715_124_7e-15];
/// Up to here [`sin`] and [`cos`] reduce in f32; beyond, they are the functions of f64.
pub(crate) const CIRCLE_MAX: f32 = 8192.0;

/// Horner's rule, one fused multiply-add per coefficient after the first.
#[inline(always)]
fn polynomial<F: Fma, const N: usize>(coefficients: &[f32; N], x: f32) -> f32 {
    let mut sum = coefficients[0];
    for c in &coefficients[1..] {
        sum = F::fma(sum, x, *c);
    }
    sum
}

/// `2^k` for `k` from -126 to 127.
#[inline(always)]
fn power_of_two(k: i32) -> f32 {
    f32::from_bits((k.wrapping_add(127) << 23).cast_unsigned())
}

/// `x = k * ln(2) + r` with `|r| <= ln(2) / 2`: `(k, r)`.
#[inline(always)]
fn split_exponent<F: Fma>(x: f32) -> (i32, f32) {
    let shifted = F::fma(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = F::fma(-n, LN_2[1], F::fma(-n, LN_2[0], x));
    (shifted.to_bits().wrapping_sub(ROUND.to_bits()).cast_signed(), r)
}

/// `low` below it, `high` above it; NaN stays.
#[inline(always)]
fn limit(x: f32, low: f32, high: f32) -> f32 {
    let x = if x < low { low } else { x };
    if x > high { high } else { x }
}

/// `e^x`.
#[inline(always)]
pub(crate) fn exp<F: Fma>(x: f32) -> f32 {
    // What is masked (-inf) must not pass through subnormals, which processors multiply slowly.
    let vanishes = x < -104.0;
    let limited = if vanishes { 0.0 } else { x };
    let (k, r) = split_exponent::<F>(if limited > 89.0 { 89.0 } else { limited });
    let p = F::fma(r, F::fma(r, polynomial::<F, 5>(&EXP, r), 1.0), 1.0);
    // Two factors, so that neither overflows and only the last product rounds to a subnormal.
    let half = k >> 1;
    let value = p * power_of_two(half) * power_of_two(k.wrapping_sub(half));
    if vanishes { 0.0 } else { value }
}

/// `e^x - 1`.
#[inline(always)]
pub(crate) fn expm1<F: Fma>(x: f32) -> f32 {
    let (k, r) = split_exponent::<F>(limit(x, -18.0, 89.0));
    let tail = r * r * polynomial::<F, 6>(&EXPM1, r);
    // Half of it first: `2^128` is not a number. The inner sum is nearly exact, so that little is lost to 1.
    let half = power_of_two(k.wrapping_sub(1));
    let value = F::fma(half, tail, F::fma(half, r, half - 0.5));
    if x.abs() < f32::EPSILON / 2.0 { x } else { value + value }
}

/// Natural logarithm; NaN below zero, `-inf` at zero.
#[inline(always)]
#[expect(clippy::cast_precision_loss, reason = "an exponent is small")]
pub(crate) fn ln<F: Fma>(x: f32) -> f32 {
    let tiny = x < f32::MIN_POSITIVE;
    let scaled = if tiny { x * 8_388_608.0 } else { x };
    let bits = scaled.to_bits();
    // Exponent of `scaled / sqrt(1/2)`: what is left of it is in `[sqrt(1/2), sqrt(2))`.
    let k = bits.wrapping_sub(0x3f35_04f3).cast_signed() >> 23;
    let m = f32::from_bits(bits.wrapping_sub((k << 23).cast_unsigned()));
    let exponent = k as f32 - if tiny { 23.0 } else { 0.0 };
    let value = ln_near_one::<F>(m - 1.0, exponent);
    let edge = if x == 0.0 { f32::NEG_INFINITY } else { f32::NAN };
    let edge = if x == f32::INFINITY { x } else { edge };
    if x > 0.0 && x < f32::INFINITY { value } else { edge }
}

/// `ln(1 + f) + exponent * ln(2)`.
#[inline(always)]
fn ln_near_one<F: Fma>(f: f32, exponent: f32) -> f32 {
    let q = F::fma(polynomial::<F, 8>(&LN, f), f, -0.5);
    let low = F::fma(f * f, q, exponent * LN_2[1]);
    F::fma(exponent, LN_2[0], low + f)
}

/// `ln(1 + e^x)`.
#[inline(always)]
pub(crate) fn softplus<F: Fma>(x: f32) -> f32 {
    let e = exp::<F>(-x.abs());
    let large = e > 0.414_213_56;
    let f = if large { (e - 1.0) * 0.5 } else { e };
    let tail = ln_near_one::<F>(f, if large { 1.0 } else { 0.0 });
    let linear = if x < 0.0 { 0.0 } else { x };
    // `exp` of something below zero may be zero, and its logarithm must not lose the sign of nothing.
    linear + tail
}

/// `numerator / (high + low)` for a sum that f32 does not hold: a quotient, then one step towards the exact.
#[inline(always)]
fn divide_by_sum<F: Fma>(numerator: f32, high: f32, low: f32) -> f32 {
    let reciprocal = 1.0 / high;
    let quotient = numerator * reciprocal;
    let rest = F::fma(-quotient, low, F::fma(-quotient, high, numerator));
    F::fma(rest, reciprocal, quotient)
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub(crate) fn sigmoid<F: Fma>(x: f32) -> f32 {
    let e = exp::<F>(-x.abs());
    let sum = 1.0 + e;
    divide_by_sum::<F>(if x < 0.0 { e } else { 1.0 }, sum, e - (sum - 1.0))
}

/// Hyperbolic tangent: `m / (m + 2)` with `m = e^2x - 1`.
#[inline(always)]
pub(crate) fn tanh<F: Fma>(x: f32) -> f32 {
    let size = x.abs();
    let size = if size > 9.1 { 9.1 } else { size };
    let (k, r) = split_exponent::<F>(size + size);
    let tail = r * r * polynomial::<F, 6>(&EXPM1, r);
    let power = power_of_two(k);
    let m = F::fma(power, tail, F::fma(power, r, power - 1.0));
    let (large, small) = if m > 2.0 { (m, 2.0) } else { (2.0, m) };
    let sum = m + 2.0;
    divide_by_sum::<F>(m, sum, small - (sum - large)).copysign(x)
}

/// Error function: a polynomial below 1, else `1 - 2^p(x)`.
#[inline(always)]
pub(crate) fn erf<F: Fma>(x: f32) -> f32 {
    let size = x.abs();
    let near = F::fma(polynomial::<F, 7>(&ERF, size * size), size, size);
    let limited = if size > 4.0 { 4.0 } else { size };
    let log2 = polynomial::<F, 7>(&ERFC_LOG2, limited);
    let shifted = log2 + ROUND;
    let p = polynomial::<F, 6>(&EXP2, log2 - (shifted - ROUND));
    let far = 1.0 - f32::from_bits(p.to_bits().wrapping_add(shifted.to_bits() << 23));
    // NaN takes `near`: `far` moves bits, which would make a number of it.
    (if size >= 1.0 { far } else { near }).copysign(x)
}

/// `0.5 * x * (1 + erf(x / sqrt(2)))`.
#[inline(always)]
pub(crate) fn gelu<F: Fma>(x: f32) -> f32 {
    (0.5 * x) * (1.0 + erf::<F>(x * std::f32::consts::FRAC_1_SQRT_2))
}

/// `0.5 * x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3)))`.
#[inline(always)]
pub(crate) fn gelu_tanh<F: Fma>(x: f32) -> f32 {
    const SQRT_2_OVER_PI: f32 = 0.797_884_560_802_865_4;
    let inner = F::fma(0.044_715 * (x * x), x, x);
    (0.5 * x) * (1.0 + tanh::<F>(SQRT_2_OVER_PI * inner))
}

/// `x * tanh(softplus(x))`.
#[inline(always)]
pub(crate) fn mish<F: Fma>(x: f32) -> f32 {
    x * tanh::<F>(softplus::<F>(x))
}

/// The nearest multiple of `pi / 2`, modulo 4, and what is left.
#[inline(always)]
fn quarter<F: Fma>(x: f32) -> (u32, f32) {
    let shifted = F::fma(x, std::f32::consts::FRAC_2_PI, ROUND);
    let n = shifted - ROUND;
    let r = F::fma(-n, FRAC_PI_2[1], F::fma(-n, FRAC_PI_2[0], x));
    (shifted.to_bits(), F::fma(-n, FRAC_PI_2[2], r))
}

/// Sine of the quarter's angle, moved by `quadrant` quarters of the circle.
#[inline(always)]
fn circle<F: Fma>(quadrant: u32, r: f32) -> f32 {
    let square = r * r;
    let sine = F::fma(polynomial::<F, 3>(&SIN, square) * square, r, r);
    let cosine = F::fma(F::fma(polynomial::<F, 3>(&COS, square), square, -0.5), square, 1.0);
    let value = if quadrant & 1 == 0 { sine } else { cosine };
    f32::from_bits(value.to_bits() ^ ((quadrant & 2) << 30))
}

/// Sine up to [`CIRCLE_MAX`], without a branch; wrong beyond.
#[inline(always)]
pub(crate) fn sin_near<F: Fma>(x: f32) -> f32 {
    let (quadrant, r) = quarter::<F>(x);
    let value = circle::<F>(quadrant, r);
    // The sign of zero stays.
    if x.abs() < 0.000_244_140_625 { x } else { value }
}

/// Cosine up to [`CIRCLE_MAX`], without a branch; wrong beyond.
#[inline(always)]
pub(crate) fn cos_near<F: Fma>(x: f32) -> f32 {
    let (quadrant, r) = quarter::<F>(x);
    circle::<F>(quadrant.wrapping_add(1), r)
}

/// Sine.
#[inline(always)]
pub(crate) fn sin<F: Fma>(x: f32) -> f32 {
    if x.abs() > CIRCLE_MAX { super::rare::sin_far(x) } else { sin_near::<F>(x) }
}

/// Cosine.
#[inline(always)]
pub(crate) fn cos<F: Fma>(x: f32) -> f32 {
    if x.abs() > CIRCLE_MAX { super::rare::cos_far(x) } else { cos_near::<F>(x) }
}

/// To the nearest integer, ties to even; the sign of zero stays.
#[inline(always)]
pub(crate) fn round_ties_even(x: f32) -> f32 {
    const ALL_INTEGERS: f32 = 8_388_608.0;
    let size = x.abs();
    let rounded = (size + ALL_INTEGERS) - ALL_INTEGERS;
    if size < ALL_INTEGERS { rounded.copysign(x) } else { x }
}

/// The greatest integer not above; the sign of zero stays.
#[inline(always)]
pub(crate) fn floor(x: f32) -> f32 {
    let near = round_ties_even(x);
    (if near > x { near - 1.0 } else { near }).copysign(x)
}

/// The least integer not below; the sign of zero stays, and of what becomes zero.
#[inline(always)]
pub(crate) fn ceil(x: f32) -> f32 {
    let near = round_ties_even(x);
    (if near < x { near + 1.0 } else { near }).copysign(x)
}
