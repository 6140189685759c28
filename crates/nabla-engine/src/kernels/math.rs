//! Functions of one f32: f64 `+ - * /` inside, one rounding to f32 at the end. No libm, no table.
//!
//! `spec/kernels.md` gives the formulas and the measured errors; a test holds both to each other.
#![expect(clippy::cast_possible_truncation, reason = "the one rounding to f32 is each function's definition")]
#![expect(clippy::cast_possible_wrap, reason = "exponents move through bit patterns")]
#![expect(clippy::excessive_precision, reason = "constants are written as they are specified")]

const LOG2_E: f64 = std::f64::consts::LOG2_E;
const LN_2: f64 = std::f64::consts::LN_2;
/// Adding and subtracting this rounds to an integer, ties to even.
const ROUND: f64 = 6_755_399_441_055_744.0;

/// `1 / n!` from n = 11 down to 2.
const EXP: [f64; 10] = [
    2.505_210_838_544_172e-8,
    2.755_731_922_398_589e-7,
    2.755_731_922_398_589_3e-6,
    2.480_158_730_158_73e-5,
    1.984_126_984_126_984_1e-4,
    1.388_888_888_888_889e-3,
    8.333_333_333_333_333e-3,
    4.166_666_666_666_666_4e-2,
    1.666_666_666_666_666_6e-1,
    0.5,
];

/// Chebyshev coefficients of `erf(x) / x` in `u = x^2 / 8 - 1`, from the 24th down to the 0th.
const ERF: [f64; 25] = [
    1.791_203_796_601_980_6e-14,
    -1.163_316_124_358_009_8e-13,
    7.275_953_483_805_452e-13,
    -4.376_626_212_874_705e-12,
    2.528_290_597_579_186e-11,
    -1.400_531_848_440_494e-10,
    7.427_368_551_387_369e-10,
    -3.764_477_941_670_562_5e-9,
    1.820_144_886_058_123e-8,
    -8.378_998_356_801_465e-8,
    3.664_930_433_452_072_4e-7,
    -1.519_775_071_264_567_6e-6,
    5.961_274_041_518_158e-6,
    -2.206_549_593_884_078e-5,
    7.688_658_221_076_946e-5,
    -2.515_965_878_094_944e-4,
    7.714_154_278_402_31e-4,
    -2.211_840_658_810_113_3e-3,
    5.922_937_956_232_048e-3,
    -1.481_186_414_781_475_6e-2,
    3.466_993_680_050_752e-2,
    -7.648_275_610_550_889e-2,
    1.618_291_012_136_460_5e-1,
    -3.454_078_550_049_498e-1,
    4.859_129_569_028_630_7e-1,
];

/// `e^x` in f64 for an argument that came from f32; clamped to +-700.
#[inline(always)]
fn exp64(x: f64) -> f64 {
    let x = if x < -700.0 { -700.0 } else { x };
    let x = if x > 700.0 { 700.0 } else { x };
    let shifted = x * LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * LN_2;
    let mut p = EXP[0];
    for c in &EXP[1..] {
        p = p * r + c;
    }
    let p = (p * r + 1.0) * r + 1.0;
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(1023);
    p * f64::from_bits(exponent << 52)
}

/// Natural logarithm in f64 of a positive, finite, normal argument.
#[inline(always)]
fn ln64(x: f64) -> f64 {
    let bits = x.to_bits();
    let mantissa = f64::from_bits((bits & 0x000f_ffff_ffff_ffff) | 0x3ff0_0000_0000_0000);
    let large = mantissa > std::f64::consts::SQRT_2;
    let m = if large { mantissa * 0.5 } else { mantissa };
    let exponent = (bits >> 52) as i64 - 1023 + i64::from(large);
    let s = (m - 1.0) / (m + 1.0);
    let q = s * s;
    let mut p = 1.0 / 17.0;
    for odd in [15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0] {
        p = p * q + 1.0 / odd;
    }
    let tail = 2.0 * s * q * p;
    exponent as f64 * LN_2 + (2.0 * s + tail)
}

/// `e^x`.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    exp64(f64::from(x)) as f32
}

/// Natural logarithm; NaN below zero, `-inf` at zero.
#[inline(always)]
pub(crate) fn ln(x: f32) -> f32 {
    if x > 0.0 && x < f32::INFINITY {
        ln64(f64::from(x)) as f32
    } else if x == 0.0 {
        f32::NEG_INFINITY
    } else if x == f32::INFINITY {
        x
    } else {
        f32::NAN
    }
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    (1.0 / (1.0 + exp64(-f64::from(x)))) as f32
}

/// Hyperbolic tangent.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    let x = f64::from(x);
    let size = if x < 0.0 { -x } else { x };
    let e = exp64(-2.0 * size);
    let far = (1.0 - e) / (1.0 + e);
    let near = size - size * size * size / 3.0;
    let value = if size < 0.000_244_140_625 { near } else { far };
    (if x < 0.0 || x.to_bits() == 1 << 63 { -value } else { value }) as f32
}

/// Error function.
#[inline(always)]
pub(crate) fn erf(x: f32) -> f32 {
    let x = f64::from(x);
    if x >= 4.0 {
        return 1.0;
    }
    if x <= -4.0 {
        return -1.0;
    }
    let u = x * x * 0.125 - 1.0;
    let twice = u + u;
    let (mut b1, mut b2) = (0.0, 0.0);
    for c in &ERF[..24] {
        (b1, b2) = (twice * b1 - b2 + c, b1);
    }
    (x * (u * b1 - b2 + ERF[24])) as f32
}

/// Square root, as IEEE 754 defines it.
#[inline(always)]
pub(crate) fn sqrt(x: f32) -> f32 {
    x.sqrt()
}

/// Round to an integer, ties to even; for arguments below 2^31, else the argument.
#[inline(always)]
pub(crate) fn round_ties_even(x: f32) -> f32 {
    let wide = f64::from(x);
    if wide.abs() > 2_147_483_648.0 { x } else { ((wide + ROUND) - ROUND) as f32 }
}
