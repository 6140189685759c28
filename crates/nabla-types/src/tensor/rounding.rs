//! Rounding of f64 to the two floats of 16 bits.
//!
//! # Rules
//! - To nearest, ties to even, once: never by way of f32. Subnormals are kept, what is too large becomes
//!   an infinity, and zeros keep their sign.
//! - Every NaN becomes the positive quiet NaN without payload: f16 `0x7e00`, bf16 `0x7fc0`.
//! - Only integers are computed with, so the bits are the same on every target. The crate `half` is not
//!   asked: where the machine converts f32 it rounds an f64 twice, and elsewhere it cuts the f64's low 32
//!   bits off before it rounds. Its way back to f32 is exact, and is used (a signalling NaN comes out quiet).
//!
//! Every f32 is an f64, so this rounds an f32 too. Nothing here fails.

use half::{bf16, f16};

/// The nearest f16.
#[must_use]
pub fn f16_from_f64(x: f64) -> f16 {
    f16::from_bits(Format { fraction_bits: 10, exponent_bits: 5 }.nearest(x))
}

/// The nearest bf16.
#[must_use]
pub fn bf16_from_f64(x: f64) -> bf16 {
    bf16::from_bits(Format { fraction_bits: 7, exponent_bits: 8 }.nearest(x))
}

/// How the 15 bits below the sign are divided.
#[derive(Clone, Copy)]
struct Format {
    fraction_bits: u32,
    exponent_bits: u32,
}

/// Bits of an f64's fraction.
const WIDE_FRACTION_BITS: u32 = 52;
/// What an f64's exponent is counted from.
const WIDE_BIAS: i32 = 1023;

impl Format {
    fn nearest(self, x: f64) -> u16 {
        let infinity = ((1_u64 << self.exponent_bits) - 1) << self.fraction_bits;
        let (sign, magnitude) = match x {
            x if x.is_nan() => (0, infinity | 1 << (self.fraction_bits - 1)),
            x => (x.to_bits() >> 63, self.rounded(x.abs().to_bits()).min(infinity)),
        };
        // Both parts are below their limits: one bit, and 15 bits.
        u16::try_from(sign << 15 | magnitude).unwrap_or_default()
    }

    /// Exponent and fraction of the nearest number, if exponents had no end. `bits` are of no NaN and without
    /// a sign.
    fn rounded(self, bits: u64) -> u64 {
        let bias = (1_i32 << (self.exponent_bits - 1)) - 1;
        let wide_exponent = i32::try_from(bits >> WIDE_FRACTION_BITS).unwrap_or(i32::MAX);
        // Subnormals of f64 lack the leading bit given here; any number as small becomes zero all the same.
        let significand = bits & ((1 << WIDE_FRACTION_BITS) - 1) | 1 << WIDE_FRACTION_BITS;
        let exponent = wide_exponent - WIDE_BIAS + bias;
        // Below the least normal number the steps stop shrinking: the significand is shifted out instead.
        let shift = WIDE_FRACTION_BITS - self.fraction_bits + (1 - exponent).max(0).unsigned_abs();
        if shift > WIDE_FRACTION_BITS + 1 {
            return 0; // less than half of the least subnormal
        }
        let (kept, lost, half) = (significand >> shift, significand & ((1 << shift) - 1), 1 << (shift - 1));
        let up = lost > half || lost == half && kept & 1 == 1;
        // The leading bit of a normal number counts as one exponent, and a carry moves to the next one.
        (u64::from((exponent - 1).max(0).unsigned_abs()) << self.fraction_bits) + kept + u64::from(up)
    }
}
