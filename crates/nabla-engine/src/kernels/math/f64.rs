//! Functions of one f64, by the `libm` crate: pure Rust, the same bits wherever `+ - * / sqrt` are.
//!
//! The crate is pinned to one version, since another may round otherwise, and built without its feature `arch`:
//! that feature only swaps in exact instructions (`sqrt`, `fma`, rounding), but without it there is one
//! definition to trust.

pub(crate) use libm::{
    acos, acosh, asin, asinh, atan, atanh, cos, cosh, erf, exp, expm1, log as ln, log1p as ln_1p, pow, sin,
    sinh, tan, tanh,
};

/// `1 / (1 + e^-x)`.
pub(crate) fn sigmoid(x: f64) -> f64 {
    let e = exp(-x.abs());
    (if x < 0.0 { e } else { 1.0 }) / (1.0 + e)
}

/// `ln(1 + e^x)`.
pub(crate) fn softplus(x: f64) -> f64 {
    (if x < 0.0 { 0.0 } else { x }) + ln_1p(exp(-x.abs()))
}

/// `0.5 * x * (1 + erf(x / sqrt(2)))`.
pub(crate) fn gelu(x: f64) -> f64 {
    (0.5 * x) * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2))
}
