//! Between reals, sums of integers, and levels: the small integers that stand for reals.
//!
//! # Rules
//! - A real becomes a level by one rounding to the nearest integer, ties to even, then the zero point is
//!   added;
//!   what lies beyond the least or the greatest level is that level. NaN is the least.
//! - Levels of a byte are read as `byte ^ flip`, which makes signed ones unsigned; zero points move with
//!   them.

use super::{Body, Fma};

/// `1.5 * 2^23`: a float below `2^22` in size, added to it, leaves its nearest integer in the low bits.
const MAGIC: f32 = 12_582_912.0;
const MAGIC_BITS: i32 = 0x4b40_0000;

/// The levels that a real may become.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Levels {
    /// Least and greatest level, before the zero point is added.
    least: f32,
    most: f32,
    zero: i32,
}

impl Levels {
    /// Levels from `least` to `most`, of which `zero` stands for 0; all of them have 16 bits or fewer.
    #[expect(clippy::cast_precision_loss, reason = "16 bits are exact")]
    pub(crate) fn new(least: i32, most: i32, zero: i32) -> Self {
        let zero = zero.clamp(least, most);
        Self { least: (least - zero) as f32, most: (most - zero) as f32, zero }
    }

    /// Levels of a byte.
    pub(crate) fn of_byte(signed: bool, zero: i32) -> Self {
        if signed { Self::new(-128, 127, zero) } else { Self::new(0, 255, zero) }
    }

    #[inline(always)]
    pub(crate) fn level(self, real: f32) -> i32 {
        let low = if real > self.least { real } else { self.least };
        let within = if low < self.most { low } else { self.most };
        (within + MAGIC).to_bits().cast_signed().wrapping_sub(MAGIC_BITS).wrapping_add(self.zero)
    }
}

/// The low bits of a level, as they are stored.
pub(crate) trait Stored: Copy {
    fn low(level: i32) -> Self;
}

impl Stored for u8 {
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the low bits are what is stored"
    )]
    fn low(level: i32) -> Self {
        level as Self
    }
}

impl Stored for u16 {
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the low bits are what is stored"
    )]
    fn low(level: i32) -> Self {
        level as Self
    }
}

/// An integer as the nearest f32.
#[inline(always)]
#[expect(clippy::cast_precision_loss, reason = "rounding to nearest is the rule")]
fn real(integer: i32) -> f32 {
    integer as f32
}

/// `out = level(x / scale)`.
pub(crate) struct Quantize<'a, T> {
    pub(crate) x: &'a [f32],
    pub(crate) scale: f32,
    pub(crate) levels: Levels,
    pub(crate) out: &'a mut [T],
}

impl<T: Stored> Body for Quantize<'_, T> {
    type Out = ();

    #[inline(always)]
    fn run<F: Fma>(self) {
        let Self { x, scale, levels, out } = self;
        for (to, x) in out.iter_mut().zip(x) {
            *to = T::low(levels.level(x / scale));
        }
    }
}

/// `out = (x - zero) * scale`.
pub(crate) struct Dequantize<'a, T> {
    pub(crate) x: &'a [T],
    pub(crate) scale: f32,
    pub(crate) zero: i32,
    pub(crate) out: &'a mut [f32],
}

impl<T: Copy + Into<i32>> Body for Dequantize<'_, T> {
    type Out = ();

    #[inline(always)]
    fn run<F: Fma>(self) {
        let Self { x, scale, zero, out } = self;
        for (to, x) in out.iter_mut().zip(x) {
            *to = real((*x).into().wrapping_sub(zero)) * scale;
        }
    }
}

/// `out = level((sum + bias) * multiplier)`, one bias and multiplier for all.
pub(crate) struct Requantize<'a> {
    pub(crate) sums: &'a [i32],
    pub(crate) bias: i32,
    pub(crate) multiplier: f32,
    pub(crate) levels: Levels,
    pub(crate) out: &'a mut [u8],
}

impl Body for Requantize<'_> {
    type Out = ();

    #[inline(always)]
    fn run<F: Fma>(self) {
        let Self { sums, bias, multiplier, levels, out } = self;
        for (to, sum) in out.iter_mut().zip(sums) {
            *to = u8::low(levels.level(real(sum.wrapping_add(bias)) * multiplier));
        }
    }
}

/// As [`Requantize`], with a multiplier for each; the bias has been added.
pub(crate) struct RequantizeEach<'a> {
    pub(crate) sums: &'a [i32],
    pub(crate) multipliers: &'a [f32],
    pub(crate) levels: Levels,
    pub(crate) out: &'a mut [u8],
}

impl Body for RequantizeEach<'_> {
    type Out = ();

    #[inline(always)]
    fn run<F: Fma>(self) {
        let Self { sums, multipliers, levels, out } = self;
        for ((to, sum), multiplier) in out.iter_mut().zip(sums).zip(multipliers) {
            *to = u8::low(levels.level(real(*sum) * multiplier));
        }
    }
}

/// Bytes that stand for `(byte ^ flip) - zero` of something.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Steps<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) flip: u8,
    pub(crate) zero: i32,
}

impl<'a> Steps<'a> {
    pub(crate) fn new(bytes: &'a [u8], signed: bool, zero: i32) -> Self {
        let (flip, moved) = if signed { (0x80, 128) } else { (0, 0) };
        Self { bytes, flip, zero: zero.wrapping_add(moved) }
    }

    #[inline(always)]
    fn of(self, byte: u8) -> i32 {
        i32::from(byte ^ self.flip).wrapping_sub(self.zero)
    }

    /// Step number `index`.
    #[inline(always)]
    pub(crate) fn at(self, index: usize) -> i32 {
        self.of(self.bytes[index])
    }

    /// The part from `first`, `length` of them.
    pub(crate) fn part(self, first: usize, length: usize) -> Self {
        Self { bytes: &self.bytes[first..first + length], ..self }
    }
}

/// `out = level(a * scale_a + b * scale_b)`: two products, one sum.
pub(crate) struct AddLevels<'a> {
    pub(crate) a: Steps<'a>,
    pub(crate) b: Steps<'a>,
    pub(crate) scales: [f32; 2],
    pub(crate) levels: Levels,
    pub(crate) out: &'a mut [u8],
}

impl Body for AddLevels<'_> {
    type Out = ();

    #[inline(always)]
    fn run<F: Fma>(self) {
        let Self { a, b, scales: [scale_a, scale_b], levels, out } = self;
        for ((to, x), y) in out.iter_mut().zip(a.bytes).zip(b.bytes) {
            *to = u8::low(levels.level(real(a.of(*x)) * scale_a + real(b.of(*y)) * scale_b));
        }
    }
}

/// `out = level((a * b) * scale)`, the product of levels exact.
pub(crate) struct MultiplyLevels<'a> {
    pub(crate) a: Steps<'a>,
    pub(crate) b: Steps<'a>,
    pub(crate) scale: f32,
    pub(crate) levels: Levels,
    pub(crate) out: &'a mut [u8],
}

impl Body for MultiplyLevels<'_> {
    type Out = ();

    #[inline(always)]
    fn run<F: Fma>(self) {
        let Self { a, b, scale, levels, out } = self;
        for ((to, x), y) in out.iter_mut().zip(a.bytes).zip(b.bytes) {
            *to = u8::low(levels.level(real(a.of(*x).wrapping_mul(b.of(*y))) * scale));
        }
    }
}

/// The sum of all steps.
pub(crate) struct SumSteps<'a>(pub(crate) Steps<'a>);

impl Body for SumSteps<'_> {
    type Out = i64;

    #[inline(always)]
    fn run<F: Fma>(self) -> i64 {
        // Sums of a piece fit 32 bits, in which they are fast.
        let piece = |bytes: &[u8]| bytes.iter().map(|byte| i32::from(byte ^ self.0.flip)).sum::<i32>();
        let sum: i64 = self.0.bytes.chunks(1 << 16).map(|bytes| i64::from(piece(bytes))).sum();
        let count = i64::try_from(self.0.bytes.len()).unwrap_or(i64::MAX);
        sum.wrapping_sub(count.wrapping_mul(i64::from(self.0.zero)))
    }
}
