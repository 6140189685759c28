//! Money: OPG in its smallest unit.
//!
//! One OPG is 10^18 units. Amounts are `u128`, never negative, never a float; every operation is
//! checked and the caller decides what an overflow means.

use std::{fmt, str::FromStr};

use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

use crate::id::decode_array;

/// An amount of OPG in units of 10^-18. CBOR: a byte string of 16 bytes, big-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Opg(u128);

/// Why a text is no amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{got:?} is no OPG amount: expected a decimal number such as 1.5, at most 18 digits after the point")]
pub struct AmountError {
    /// The text that was given.
    pub got: String,
}

impl Opg {
    /// Decimal places.
    pub const DECIMALS: u32 = 18;
    /// Units in one OPG.
    pub const UNITS_PER_OPG: u128 = 10u128.pow(Self::DECIMALS);
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// An amount of `units` of 10^-18 OPG.
    #[must_use]
    pub const fn from_units(units: u128) -> Self {
        Self(units)
    }

    /// A whole number of OPG.
    #[must_use]
    pub const fn whole(opg: u64) -> Self {
        Self(opg as u128 * Self::UNITS_PER_OPG)
    }

    /// The number of smallest units.
    #[must_use]
    pub const fn units(self) -> u128 {
        self.0
    }

    /// The sum, or `None` past 2^128.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The difference, or `None` below zero.
    #[must_use]
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// `self * count`, or `None` past 2^128.
    #[must_use]
    pub fn checked_mul(self, count: u64) -> Option<Self> {
        self.0.checked_mul(u128::from(count)).map(Self)
    }

    /// `self * parts / 10_000`, rounded down; `None` past 2^128.
    #[must_use]
    pub fn basis_points(self, parts: u32) -> Option<Self> {
        self.0.checked_mul(u128::from(parts)).map(|units| Self(units / 10_000))
    }
}

impl fmt::Display for Opg {
    /// Decimal OPG without trailing zeros: `0.0015`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / Self::UNITS_PER_OPG, self.0 % Self::UNITS_PER_OPG);
        if rest == 0 {
            return f.pad(&whole.to_string());
        }
        let digits = format!("{rest:018}");
        f.pad(&format!("{whole}.{}", digits.trim_end_matches('0')))
    }
}

impl FromStr for Opg {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, AmountError> {
        parse(text).ok_or_else(|| AmountError { got: text.chars().take(80).collect() })
    }
}

fn parse(text: &str) -> Option<Opg> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 18 {
        return None;
    }
    let whole: u128 = whole.parse().ok()?;
    let fraction: u128 = format!("{fraction:0<18}").parse().ok()?;
    whole.checked_mul(Opg::UNITS_PER_OPG)?.checked_add(fraction).map(Opg)
}

impl<C> Encode<C> for Opg {
    fn encode<W: encode::Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
        e.bytes(&self.0.to_be_bytes())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Opg {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        decode_array(d).map(|bytes| Self(u128::from_be_bytes(bytes)))
    }
}

/// JSON: the number of smallest units as a decimal string, as x402 writes amounts.
impl serde::Serialize for Opg {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for Opg {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        let plain = text == "0" || text.starts_with(|c: char| ('1'..='9').contains(&c));
        text.parse().ok().filter(|_| plain).map(Self).ok_or_else(|| {
            serde::de::Error::custom(format!("expected an amount in units of 10^-18 OPG, got {text:?}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: Option<(u128, &str)>) {
        let got = text.parse::<Opg>().ok();
        assert_eq!(got.map(Opg::units), expect.map(|e| e.0), "{text}");
        if let (Some(amount), Some((_, shown))) = (got, expect) {
            assert_eq!(amount.to_string(), shown);
        }
    }

    #[test]
    fn decimal_text() {
        check("1", Some((10u128.pow(18), "1")));
        check("0.0015", Some((1_500_000_000_000_000, "0.0015")));
        check("1.500000000000000000", Some((1_500_000_000_000_000_000, "1.5")));
        check("0.000000000000000001", Some((1, "0.000000000000000001")));
        for wrong in ["", ".", "1.", "-1", "1e3", "1.0000000000000000001", "999999999999999999999999"] {
            check(wrong, None);
        }
    }

    #[test]
    fn arithmetic_is_checked() {
        let max = Opg::from_units(u128::MAX);
        assert_eq!(max.checked_add(Opg::from_units(1)), None);
        assert_eq!(Opg::ZERO.checked_sub(Opg::from_units(1)), None);
        assert_eq!(max.basis_points(2), None);
        assert_eq!(Opg::whole(1).basis_points(250), Some(Opg::from_units(25_000_000_000_000_000)));
    }
}
