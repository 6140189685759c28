//! The two precisions of trees.

use std::borrow::Cow;
use std::ops::{Add, AddAssign, Div, Neg, Sub};

use super::super::{as_f32, as_f64};
use crate::Fault;
use crate::ops::{Call, Element};

/// f32 or f64: what thresholds, weights and scores are.
pub(super) trait Real:
    Element
    + Copy
    + PartialOrd
    + Add<Output = Self>
    + AddAssign
    + Sub<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + std::fmt::Debug
{
    const ZERO: Self;
    const HALF: Self;
    const ONE: Self;
    /// Rounded to nearest where this is f32.
    fn of(x: f64) -> Self;
    fn wide(self) -> f64;
    /// The same number in f32, rounded to nearest.
    fn narrow(self) -> f32;
    fn is_nan(self) -> bool;
    /// The features.
    fn features<'a>(call: &Call<'a>) -> Result<Cow<'a, [Self]>, Fault>;
}

impl Real for f32 {
    const ZERO: Self = 0.0;
    const HALF: Self = 0.5;
    const ONE: Self = 1.0;

    #[expect(clippy::cast_possible_truncation, reason = "rounded to nearest")]
    fn of(x: f64) -> Self {
        x as Self
    }

    #[inline]
    fn wide(self) -> f64 {
        f64::from(self)
    }

    #[inline]
    fn narrow(self) -> f32 {
        self
    }

    #[inline]
    fn is_nan(self) -> bool {
        self.is_nan()
    }

    fn features<'a>(call: &Call<'a>) -> Result<Cow<'a, [Self]>, Fault> {
        as_f32(call)
    }
}

impl Real for f64 {
    const ZERO: Self = 0.0;
    const HALF: Self = 0.5;
    const ONE: Self = 1.0;

    fn of(x: f64) -> Self {
        x
    }

    #[inline]
    fn wide(self) -> f64 {
        self
    }

    #[expect(clippy::cast_possible_truncation, reason = "rounded to nearest")]
    fn narrow(self) -> f32 {
        self as f32
    }

    #[inline]
    fn is_nan(self) -> bool {
        self.is_nan()
    }

    fn features<'a>(call: &Call<'a>) -> Result<Cow<'a, [Self]>, Fault> {
        as_f64(call)
    }
}
