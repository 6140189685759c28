//! Numbers between people, who write decimals, and receipts, which hold whole numbers.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A number in millionths, at most 2147.483647 either way.
///
/// A decimal is read as the f64 nearest to it, multiplied with 10^6 in f64, and rounded to the nearest whole
/// number, halves away from zero. What was rounded is what samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Micros(pub i32);

/// How many of them are 1.
const UNIT: f64 = 1_000_000.0;

impl Micros {
    /// 1.
    pub const ONE: Self = Self(1_000_000);
    /// 0.
    pub const ZERO: Self = Self(0);

    /// From a decimal number; `None` if it is not finite or too large.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "compared with the bounds before")]
    pub fn of(value: f64) -> Option<Self> {
        let micros = (value * UNIT).round();
        (micros.is_finite() && micros.abs() <= f64::from(i32::MAX)).then_some(Self(micros as i32))
    }

    /// As a decimal number.
    #[must_use]
    pub fn value(self) -> f64 {
        f64::from(self.0) / UNIT
    }

    /// As what a sampler computes with.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "rounding to f32 is what is meant")]
    pub fn to_f32(self) -> f32 {
        self.value() as f32
    }

    /// Its millionths, where they are not negative.
    #[must_use]
    pub fn unsigned(self) -> u32 {
        u32::try_from(self.0).unwrap_or(0)
    }
}

impl std::fmt::Display for Micros {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.value())
    }
}

impl Serialize for Micros {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_f64(self.value())
    }
}

impl<'de> Deserialize<'de> for Micros {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let value = f64::deserialize(d)?;
        Self::of(value)
            .ok_or_else(|| de::Error::custom(format!("expected a number within 2147, got {value}")))
    }
}
