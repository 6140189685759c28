//! Functions of one f32 that models rarely call: the function of [`super::f64`], rounded once to f32.
#![expect(clippy::cast_possible_truncation, reason = "the one rounding to f32 is each function's definition")]

use super::f64;

/// Tangent.
pub(crate) fn tan(x: f32) -> f32 {
    f64::tan(x.into()) as f32
}

/// Arc sine; NaN beyond +-1.
pub(crate) fn asin(x: f32) -> f32 {
    f64::asin(x.into()) as f32
}

/// Arc cosine; NaN beyond +-1.
pub(crate) fn acos(x: f32) -> f32 {
    f64::acos(x.into()) as f32
}

/// Arc tangent.
pub(crate) fn atan(x: f32) -> f32 {
    f64::atan(x.into()) as f32
}

/// Hyperbolic sine.
pub(crate) fn sinh(x: f32) -> f32 {
    f64::sinh(x.into()) as f32
}

/// Hyperbolic cosine.
pub(crate) fn cosh(x: f32) -> f32 {
    f64::cosh(x.into()) as f32
}

/// Inverse of the hyperbolic sine.
pub(crate) fn asinh(x: f32) -> f32 {
    f64::asinh(x.into()) as f32
}

/// Inverse of the hyperbolic cosine; NaN below 1.
pub(crate) fn acosh(x: f32) -> f32 {
    f64::acosh(x.into()) as f32
}

/// Inverse of the hyperbolic tangent; NaN beyond +-1.
pub(crate) fn atanh(x: f32) -> f32 {
    f64::atanh(x.into()) as f32
}

/// Sine of a large angle.
#[cold]
pub(crate) fn sin_far(x: f32) -> f32 {
    f64::sin(x.into()) as f32
}

/// Cosine of a large angle.
#[cold]
pub(crate) fn cos_far(x: f32) -> f32 {
    f64::cos(x.into()) as f32
}

/// `x^y`. The exponents that models write are exact: those of [`powi`], and the square root for 1/2.
#[inline(always)]
pub(crate) fn pow(x: f32, y: f32) -> f32 {
    if y == 2.0 {
        return powi::<2>(x);
    }
    if y == 3.0 {
        return powi::<3>(x);
    }
    if y == 0.5 {
        // As the standard of `pow` has it: `+0` for `-0`, `inf` for `-inf`.
        return if x == f32::NEG_INFINITY { f32::INFINITY } else { (x + 0.0).sqrt() };
    }
    if y == -1.0 {
        return 1.0 / x;
    }
    f64::pow(x.into(), y.into()) as f32
}

/// `x^N` for a small `N`: products in f64 from the left, then one rounding.
#[inline(always)]
pub(crate) fn powi<const N: u32>(x: f32) -> f32 {
    let wide = core::primitive::f64::from(x);
    (1..N).fold(wide, |product, _| product * wide) as f32
}
