//! What things cost, and who gets what: storage fees, and the parts of a settled amount.
//!
//! A call's price and amount stand in `nabla-types` ([`Price::amount`](nabla_types::receipt::Price::amount)).
//!
//! # Rules
//! - Parts always add up to the whole, to the last unit; what does not divide goes to the first.
//! - `None` means an overflow past 2^128 or a fee above the whole. It is never silently capped.

use nabla_types::{Opg, layout::Layout};

/// The whole, in basis points.
pub const BASIS_POINTS: u32 = 10_000;

/// The parts of a settled amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Split {
    /// Burned.
    pub fee: Opg,
    /// To the model's owner.
    pub royalty: Opg,
    /// To the provider.
    pub provider: Opg,
}

/// Divide a settled amount: first the fee, rounded down; then the royalty, as far as the rest goes; what is
/// left is the provider's. `None` if `fee_basis_points` is above [`BASIS_POINTS`] or on overflow.
///
/// ```
/// use nabla_pay::quote::split;
/// use nabla_types::Opg;
///
/// let parts = split(Opg::from_units(1000), Opg::from_units(300), 50).expect("in range");
/// assert_eq!((parts.fee.units(), parts.royalty.units(), parts.provider.units()), (5, 300, 695));
/// ```
#[must_use]
pub fn split(amount: Opg, royalty: Opg, fee_basis_points: u32) -> Option<Split> {
    if fee_basis_points > BASIS_POINTS {
        return None;
    }
    let fee = amount.basis_points(fee_basis_points)?;
    let rest = amount.checked_sub(fee)?;
    let royalty = royalty.min(rest);
    Some(Split { fee, royalty, provider: rest.checked_sub(royalty)? })
}

/// What storing one newly registered blob costs: the price for each 1024 bytes begun, all shards counted.
#[must_use]
pub fn blob_fee(layout: &Layout, price_per_kib: Opg) -> Option<Opg> {
    price_per_kib.checked_mul(layout.stored_bytes().div_ceil(1024))
}

/// What storing newly registered blobs costs: the sum over the blobs.
#[must_use]
pub fn storage_fee<'a>(layouts: impl IntoIterator<Item = &'a Layout>, price_per_kib: Opg) -> Option<Opg> {
    layouts.into_iter().try_fold(Opg::ZERO, |sum, layout| sum.checked_add(blob_fee(layout, price_per_kib)?))
}

/// Divide `amount` into `count` equal parts; the first also gets what does not divide. Empty for 0.
#[must_use]
pub fn equal_parts(amount: Opg, count: u16) -> Vec<Opg> {
    let Some(part) = amount.units().checked_div(u128::from(count)) else {
        return Vec::new();
    };
    let mut parts = vec![Opg::from_units(part); usize::from(count)];
    parts[0] = Opg::from_units(part + amount.units() % u128::from(count));
    parts
}

#[cfg(test)]
mod tests {
    use nabla_types::{BlobId, ShardId};
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(amount: u128, royalty: u128, fee: u32, expect: Option<(u128, u128, u128)>) {
        let got = split(Opg::from_units(amount), Opg::from_units(royalty), fee);
        assert_eq!(got.map(|s| (s.fee.units(), s.royalty.units(), s.provider.units())), expect);
    }

    #[test]
    fn the_fee_comes_first_then_the_royalty() {
        check(1000, 300, 50, Some((5, 300, 695)));
        check(1000, 1000, 50, Some((5, 995, 0)));
        check(199, 0, 50, Some((0, 0, 199)));
        check(0, 10, 50, Some((0, 0, 0)));
        check(1000, 0, 10_000, Some((1000, 0, 0)));
        check(1000, 0, 10_001, None);
        check(u128::MAX, 0, 2, None);
    }

    proptest! {
        #[test]
        fn parts_add_up(amount in 0..u128::MAX / 10_000, royalty: u128, fee in 0u32..=10_000) {
            let parts = split(Opg::from_units(amount), Opg::from_units(royalty), fee).expect("in range");
            prop_assert_eq!(parts.fee.units() + parts.royalty.units() + parts.provider.units(), amount);
        }

        #[test]
        fn equal_parts_add_up(amount: u128, count in 1u16..=256) {
            let parts = equal_parts(Opg::from_units(amount), count);
            prop_assert_eq!(parts.len(), usize::from(count));
            prop_assert_eq!(parts.iter().map(|part| part.units()).sum::<u128>(), amount);
            prop_assert!(parts.windows(2).all(|pair| pair[0] >= pair[1]));
        }
    }

    #[test]
    fn nothing_divides_into_no_parts() {
        assert!(equal_parts(Opg::whole(1), 0).is_empty());
    }

    #[test]
    fn storage_is_paid_by_the_kibibyte_begun() {
        let layout = |size_bytes, n| Layout {
            blob: BlobId([1; 32]),
            size_bytes,
            k: 3,
            shards: vec![ShardId([2; 32]); n],
        };
        let price = Opg::from_units(7);
        // 3 x 64 bytes carry 1 byte, 5 shards are 320 bytes: one kibibyte begun.
        assert_eq!(blob_fee(&layout(1, 5), price), Some(Opg::from_units(7)));
        // 3072 bytes in 3 shards of 1024, 5 of them: 5 kibibytes.
        assert_eq!(blob_fee(&layout(3072, 5), price), Some(Opg::from_units(35)));
        let both = [layout(1, 5), layout(3072, 5)];
        assert_eq!(storage_fee(&both, price), Some(Opg::from_units(42)));
        assert_eq!(storage_fee(&both, Opg::from_units(u128::MAX)), None);
        assert_eq!(storage_fee([], price), Some(Opg::ZERO));
    }
}
