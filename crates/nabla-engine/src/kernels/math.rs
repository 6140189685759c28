//! Functions of one number. `spec/kernels.md` gives the formulas and the measured errors.
//!
//! | module | what it holds |
//! |---|---|
//! | [`f32`] | functions of one f32. The common ones are f32 arithmetic that vectorises; they take the build's [`Fma`](super::Fma). The rare ones are the functions of [`f64`], rounded once |
//! | [`f64`] | functions of one f64, by the `libm` crate |
//!
//! # Rules
//! - Only `+ - * / sqrt fma`, comparisons and moves of bits: the same bits in every build.
//! - The common functions have no branch and no table, so that a loop over a slice becomes vector code.
//! - Never the standard library's functions: those are the platform's and differ from one to the next.
//! - NaN in, NaN out. Nothing here fails.

pub(crate) mod f32;
pub(crate) mod f64;
mod rare;

#[cfg(test)]
pub(crate) mod tests;

use super::Native;

/// `e^x`, as the portable build computes it.
pub(crate) fn exp(x: core::primitive::f32) -> core::primitive::f32 {
    f32::exp::<Native>(x)
}

/// Natural logarithm, as the portable build computes it.
pub(crate) fn ln(x: core::primitive::f32) -> core::primitive::f32 {
    f32::ln::<Native>(x)
}

/// `1 / (1 + e^-x)`, as the portable build computes it.
pub(crate) fn sigmoid(x: core::primitive::f32) -> core::primitive::f32 {
    f32::sigmoid::<Native>(x)
}

/// Hyperbolic tangent, as the portable build computes it.
pub(crate) fn tanh(x: core::primitive::f32) -> core::primitive::f32 {
    f32::tanh::<Native>(x)
}

/// Square root, as IEEE 754 defines it.
pub(crate) fn sqrt(x: core::primitive::f32) -> core::primitive::f32 {
    x.sqrt()
}
