//! Arithmetic and order of elements, for the operators here that need a little of both.

use std::cmp::Ordering;

use half::{bf16, f16};

use crate::ops::Element;

/// A number, or a truth value, where `+` is "or" and `*` is "and".
pub(super) trait Number: Element + Copy + PartialOrd {
    /// What sums and products are computed in; rounded once, at the end.
    type Wide: Copy + PartialOrd + Default;
    const ONE: Self;
    fn widen(self) -> Self::Wide;
    fn narrow(wide: Self::Wide) -> Self;
    fn add(a: Self::Wide, b: Self::Wide) -> Self::Wide;
    fn multiply(a: Self::Wide, b: Self::Wide) -> Self::Wide;
    /// Toward zero, saturating, NaN as 0.
    fn to_i64(self) -> i64;
}

macro_rules! integers {
    ($($type:ty),*) => {$(
        impl Number for $type {
            type Wide = Self;
            const ONE: Self = 1;
            fn widen(self) -> Self {
                self
            }
            fn narrow(wide: Self) -> Self {
                wide
            }
            fn add(a: Self, b: Self) -> Self {
                a.wrapping_add(b)
            }
            fn multiply(a: Self, b: Self) -> Self {
                a.wrapping_mul(b)
            }
            fn to_i64(self) -> i64 {
                i64::try_from(self).unwrap_or(i64::MAX)
            }
        }
    )*};
}
integers!(i64, i32, i16, i8, u64, u32, u16, u8);

macro_rules! floats {
    ($($type:ty, $wide:ty, $one:expr, $widen:expr, $narrow:expr;)*) => {$(
        impl Number for $type {
            type Wide = $wide;
            const ONE: Self = $one;
            fn widen(self) -> $wide {
                $widen(self)
            }
            fn narrow(wide: $wide) -> Self {
                $narrow(wide)
            }
            fn add(a: $wide, b: $wide) -> $wide {
                a + b
            }
            fn multiply(a: $wide, b: $wide) -> $wide {
                a * b
            }
            #[expect(clippy::cast_possible_truncation, reason = "toward zero, saturating")]
            fn to_i64(self) -> i64 {
                self.widen() as i64
            }
        }
    )*};
}
floats!(
    f32, f32, 1.0, |x| x, |x| x;
    f64, f64, 1.0, |x| x, |x| x;
    f16, f32, f16::ONE, f16::to_f32, f16::from_f32;
    bf16, f32, bf16::ONE, bf16::to_f32, bf16::from_f32;
);

impl Number for bool {
    type Wide = Self;
    const ONE: Self = true;
    fn widen(self) -> Self {
        self
    }
    fn narrow(wide: Self) -> Self {
        wide
    }
    fn add(a: Self, b: Self) -> Self {
        a | b
    }
    fn multiply(a: Self, b: Self) -> Self {
        a & b
    }
    fn to_i64(self) -> i64 {
        i64::from(self)
    }
}

/// Order with every NaN equal and above all else; `-0` equals `0`.
pub(super) fn order<T: PartialOrd>(a: &T, b: &T) -> Ordering {
    a.partial_cmp(b).unwrap_or_else(|| is_nan(a).cmp(&is_nan(b)))
}

/// `b` if it is less; the first NaN; else `a`.
pub(super) fn lesser<T: PartialOrd>(a: T, b: T) -> T {
    chosen(a, b, Ordering::Less)
}

/// `b` if it is greater; the first NaN; else `a`.
pub(super) fn greater<T: PartialOrd>(a: T, b: T) -> T {
    chosen(a, b, Ordering::Greater)
}

fn chosen<T: PartialOrd>(a: T, b: T, wanted: Ordering) -> T {
    match b.partial_cmp(&a) {
        Some(ordering) if ordering == wanted => b,
        Some(_) => a,
        None if is_nan(&a) => a,
        None => b,
    }
}

fn is_nan<T: PartialOrd>(x: &T) -> bool {
    x.partial_cmp(x).is_none()
}
