//! What the element types can do, so that each operator is written once.
//!
//! | trait | types |
//! |---|---|
//! | [`Ordered`] | numbers and truth values: they compare |
//! | [`Number`] | f32, f64 and the eight integers: they add and multiply |
//! | [`Integer`] | the eight integers: they have bits |
//!
//! # Rules
//! - Integers wrap. A divisor that is an integer zero is the caller's to refuse ([`has_integer_zero`]).
//! - FP16 and BF16 compute as f32: see [`super::halves`].

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "conversions round or saturate, as their trait says"
)]

use std::fmt::Debug;

use half::{bf16, f16};

use super::Element;

/// Elements that compare.
pub(crate) trait Ordered: Element + Copy + PartialOrd + Debug {
    /// The least and the greatest finite element.
    const FINITE: [Self; 2];
    /// The least and the greatest element.
    const ENDS: [Self; 2];

    /// The first of the two that is NaN, else the lesser, else the first.
    #[inline(always)]
    #[expect(clippy::eq_op, reason = "only NaN differs from itself")]
    fn least(self, other: Self) -> Self {
        let second = (self == self) & ((other < self) | (other != other));
        if second { other } else { self }
    }

    /// The first of the two that is NaN, else the greater, else the first.
    #[inline(always)]
    #[expect(clippy::eq_op, reason = "only NaN differs from itself")]
    fn most(self, other: Self) -> Self {
        let second = (self == self) & ((other > self) | (other != other));
        if second { other } else { self }
    }
}

macro_rules! ordered {
    ($($type:ty: $finite:expr, $ends:expr;)*) => {$(
        impl Ordered for $type {
            const FINITE: [Self; 2] = $finite;
            const ENDS: [Self; 2] = $ends;
        }
    )*};
}

ordered! {
    f32: [Self::MIN, Self::MAX], [Self::NEG_INFINITY, Self::INFINITY];
    f64: [Self::MIN, Self::MAX], [Self::NEG_INFINITY, Self::INFINITY];
    f16: [Self::MIN, Self::MAX], [Self::NEG_INFINITY, Self::INFINITY];
    bf16: [Self::MIN, Self::MAX], [Self::NEG_INFINITY, Self::INFINITY];
    i64: [Self::MIN, Self::MAX], Self::FINITE;
    i32: [Self::MIN, Self::MAX], Self::FINITE;
    i16: [Self::MIN, Self::MAX], Self::FINITE;
    i8: [Self::MIN, Self::MAX], Self::FINITE;
    u64: [Self::MIN, Self::MAX], Self::FINITE;
    u32: [Self::MIN, Self::MAX], Self::FINITE;
    u16: [Self::MIN, Self::MAX], Self::FINITE;
    u8: [Self::MIN, Self::MAX], Self::FINITE;
    bool: [false, true], Self::FINITE;
}

/// Elements with arithmetic.
pub(crate) trait Number: Ordered {
    const INTEGER: bool;
    const ZERO: Self;
    /// `-0` for floats, else 0.
    const NEGATIVE_ZERO: Self;
    const ONE: Self;
    fn plus(self, other: Self) -> Self;
    fn minus(self, other: Self) -> Self;
    fn times(self, other: Self) -> Self;
    /// Integers: toward zero.
    fn over(self, other: Self) -> Self;
    /// What is left of a division whose quotient is rounded toward zero.
    fn remainder(self, other: Self) -> Self;
    /// The size; the least integer is its own.
    fn size(self) -> Self;
    /// Nearest, or for integers toward zero and saturating, NaN as 0.
    fn from_f64(x: f64) -> Self;
    /// Nearest.
    fn f64(self) -> f64;

    /// What is left of a division whose quotient is rounded down; a zero has the sign of the divisor.
    #[inline(always)]
    fn modulus(self, other: Self) -> Self {
        let left = self.remainder(other);
        if left == Self::ZERO {
            if other < Self::ZERO { Self::NEGATIVE_ZERO } else { Self::ZERO }
        } else if (left < Self::ZERO) != (other < Self::ZERO) {
            left.plus(other)
        } else {
            left
        }
    }
}

macro_rules! float {
    ($($type:ident: $remainder:path;)*) => {$(
        impl Number for $type {
            const INTEGER: bool = false;
            const ZERO: Self = 0.0;
            const NEGATIVE_ZERO: Self = -0.0;
            const ONE: Self = 1.0;
            #[inline(always)]
            fn plus(self, other: Self) -> Self {
                self + other
            }
            #[inline(always)]
            fn minus(self, other: Self) -> Self {
                self - other
            }
            #[inline(always)]
            fn times(self, other: Self) -> Self {
                self * other
            }
            #[inline(always)]
            fn over(self, other: Self) -> Self {
                self / other
            }
            fn remainder(self, other: Self) -> Self {
                $remainder(self, other)
            }
            #[inline(always)]
            fn size(self) -> Self {
                self.abs()
            }
            #[inline(always)]
            fn from_f64(x: f64) -> Self {
                x as Self
            }
            #[inline(always)]
            fn f64(self) -> f64 {
                self as f64
            }
        }
    )*};
}

float! {
    f32: libm::fmodf;
    f64: libm::fmod;
}

/// Elements with bits.
pub(crate) trait Integer: Number {
    /// Bits moved up by `count`; 0 if `count` is negative or not below the number of bits.
    fn left(self, count: Self) -> Self;
    /// Bits moved down by `count`, filled with the sign; only signs if `count` is negative or too large.
    fn right(self, count: Self) -> Self;
    fn inverted(self) -> Self;
    fn i128(self) -> i128;
    /// Saturating.
    fn from_i128(x: i128) -> Self;
    /// The power, wrapping.
    fn power(self, exponent: u64) -> Self {
        let (mut result, mut base, mut left) = (Self::ONE, self, exponent);
        while left > 0 {
            if left & 1 == 1 {
                result = result.times(base);
            }
            base = base.times(base);
            left >>= 1;
        }
        result
    }
}

macro_rules! integer {
    ($($type:ident: $size:expr;)*) => {$(
        impl Number for $type {
            const INTEGER: bool = true;
            const ZERO: Self = 0;
            const NEGATIVE_ZERO: Self = 0;
            const ONE: Self = 1;
            #[inline(always)]
            fn plus(self, other: Self) -> Self {
                self.wrapping_add(other)
            }
            #[inline(always)]
            fn minus(self, other: Self) -> Self {
                self.wrapping_sub(other)
            }
            #[inline(always)]
            fn times(self, other: Self) -> Self {
                self.wrapping_mul(other)
            }
            #[inline(always)]
            fn over(self, other: Self) -> Self {
                if other == 0 { 0 } else { self.wrapping_div(other) }
            }
            #[inline(always)]
            fn remainder(self, other: Self) -> Self {
                if other == 0 { 0 } else { self.wrapping_rem(other) }
            }
            #[inline(always)]
            fn size(self) -> Self {
                $size(self)
            }
            #[inline(always)]
            fn from_f64(x: f64) -> Self {
                x as Self
            }
            #[inline(always)]
            fn f64(self) -> f64 {
                self as f64
            }
        }

        impl Integer for $type {
            #[inline(always)]
            fn left(self, count: Self) -> Self {
                let count = u32::try_from(count).ok().filter(|count| *count < Self::BITS);
                count.map_or(0, |count| self.wrapping_shl(count))
            }
            #[inline(always)]
            fn right(self, count: Self) -> Self {
                let count = u32::try_from(count).ok().filter(|count| *count < Self::BITS);
                let signs = if self < Self::ZERO { !0 } else { 0 };
                count.map_or(signs, |count| self.wrapping_shr(count))
            }
            #[inline(always)]
            fn inverted(self) -> Self {
                !self
            }
            fn i128(self) -> i128 {
                i128::from(self)
            }
            fn from_i128(x: i128) -> Self {
                let saturated = if x < 0 { Self::MIN } else { Self::MAX };
                Self::try_from(x).unwrap_or(saturated)
            }
        }
    )*};
}

integer! {
    i64: i64::wrapping_abs;
    i32: i32::wrapping_abs;
    i16: i16::wrapping_abs;
    i8: i8::wrapping_abs;
    u64: std::convert::identity;
    u32: std::convert::identity;
    u16: std::convert::identity;
    u8: std::convert::identity;
}

/// Whether an integer zero is among the divisors.
pub(crate) fn has_integer_zero<T: Number>(divisors: &[T]) -> bool {
    T::INTEGER && divisors.contains(&T::ZERO)
}
