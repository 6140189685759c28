//! Money on its way from one account to another.

use nabla_types::{Opg, chain::Account};

/// OPG that has left one account and not yet arrived at the next.
///
/// It can be divided and put down, but not copied. Dropping it loses money, which the running total then
/// shows: a block that loses any is refused.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "money that is dropped is lost, and the block is refused"]
pub(crate) struct Money {
    pub(crate) purchased: Opg,
    pub(crate) granted: Opg,
}

impl Money {
    /// All of it, both classes.
    pub(crate) fn total(&self) -> Option<Opg> {
        self.purchased.checked_add(self.granted)
    }

    /// Take `amount` out, granted first. `None`, and nothing taken, if there is less.
    pub(crate) fn take(&mut self, amount: Opg) -> Option<Self> {
        let granted = self.granted.min(amount);
        let purchased = amount.checked_sub(granted)?;
        self.purchased = self.purchased.checked_sub(purchased)?;
        self.granted = self.granted.checked_sub(granted)?;
        Some(Self { purchased, granted })
    }

    /// Put into an account. `None` past 2^128.
    pub(crate) fn put_into(self, account: &Account) -> Option<Account> {
        Some(Account {
            purchased: account.purchased.checked_add(self.purchased)?,
            granted: account.granted.checked_add(self.granted)?,
        })
    }

    /// The same money, all granted. `None` past 2^128.
    pub(crate) fn granted(self) -> Option<Self> {
        Some(Self { purchased: Opg::ZERO, granted: self.total()? })
    }
}

/// What an account holds in both classes, or `None` past 2^128.
pub(crate) fn balance(account: &Account) -> Option<Opg> {
    account.purchased.checked_add(account.granted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn money(purchased: u128, granted: u128) -> Money {
        Money { purchased: Opg::from_units(purchased), granted: Opg::from_units(granted) }
    }

    #[track_caller]
    fn check(mut from: Money, amount: u128, expect: Option<Money>, left: &Money) {
        assert_eq!(from.take(Opg::from_units(amount)), expect);
        assert_eq!(&from, left);
    }

    #[test]
    fn granted_is_taken_first() {
        check(money(10, 5), 3, Some(money(0, 3)), &money(10, 2));
        check(money(10, 5), 5, Some(money(0, 5)), &money(10, 0));
        check(money(10, 5), 8, Some(money(3, 5)), &money(7, 0));
        check(money(10, 5), 15, Some(money(10, 5)), &money(0, 0));
        check(money(10, 5), 16, None, &money(10, 5));
        check(money(0, 0), 0, Some(money(0, 0)), &money(0, 0));
    }

    #[test]
    fn sums_are_checked() {
        assert_eq!(money(u128::MAX, 1).total(), None);
        assert_eq!(
            money(1, 0).put_into(&Account { purchased: Opg::from_units(u128::MAX), granted: Opg::ZERO }),
            None
        );
        assert_eq!(money(2, 3).granted(), Some(money(0, 5)));
    }
}
