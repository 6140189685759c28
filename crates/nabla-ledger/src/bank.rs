//! The only code that moves OPG.
//!
//! Each movement takes [`Money`] out of one account and puts it into another (escrow and stake are
//! accounts), or burns it. The running totals follow each movement, so a draft knows at any time whether
//! anything was made or lost.

use nabla_types::{Address, Opg, chain::Account};

use crate::{
    block::Draft,
    money::{self, Money},
    reject::Reject,
};

impl Draft<'_> {
    pub(crate) fn account(&self, address: &Address) -> Account {
        self.tables.accounts.get(address).copied().unwrap_or_default()
    }

    /// Take `amount` out of an account, granted first. What leaves the faucet is granted.
    pub(crate) fn withdraw(&mut self, from: Address, amount: Opg) -> Result<Money, Reject> {
        let account = self.account(&from);
        let mut held = Money { purchased: account.purchased, granted: account.granted };
        let Some(taken) = held.take(amount) else {
            let available = money::balance(&account).ok_or(Reject::Overflow { what: "a balance" })?;
            return Err(Reject::InsufficientFunds { account: from, needed: amount, available });
        };
        self.set_account(from, Account { purchased: held.purchased, granted: held.granted }, amount)?;
        match self.genesis.faucet == Some(from) {
            true => taken.granted().ok_or(Reject::Overflow { what: "a grant" }),
            false => Ok(taken),
        }
    }

    /// Take exactly these amounts of both classes out of escrow.
    pub(crate) fn withdraw_escrow(&mut self, amount: Opg, granted: Opg) -> Result<Money, Reject> {
        let escrow = self.account(&Address::ESCROW);
        let after = || {
            let purchased = amount.checked_sub(granted)?;
            let left = Account {
                purchased: escrow.purchased.checked_sub(purchased)?,
                granted: escrow.granted.checked_sub(granted)?,
            };
            Some((Money { purchased, granted }, left))
        };
        let (taken, left) = after().ok_or(Reject::Overflow { what: "the escrow account" })?;
        self.set_account(Address::ESCROW, left, amount)?;
        Ok(taken)
    }

    /// Put money into an account.
    pub(crate) fn deposit(&mut self, to: Address, money: Money) -> Result<(), Reject> {
        let overflow = Reject::Overflow { what: "a balance" };
        let amount = money.total().ok_or_else(|| overflow.clone())?;
        let account = money.put_into(&self.account(&to)).ok_or_else(|| overflow.clone())?;
        self.sums.accounts = self.sums.accounts.checked_add(amount).ok_or(overflow)?;
        self.tables.accounts.put(to, account);
        Ok(())
    }

    /// Destroy money.
    pub(crate) fn burn(&mut self, money: Money) -> Result<(), Reject> {
        let burned = money.total().and_then(|amount| self.sums.burned.checked_add(amount));
        self.sums.burned = burned.ok_or(Reject::Overflow { what: "the burned total" })?;
        Ok(())
    }

    /// An account after `amount` was taken out of it.
    fn set_account(&mut self, address: Address, account: Account, amount: Opg) -> Result<(), Reject> {
        let total = self.sums.accounts.checked_sub(amount);
        self.sums.accounts = total.ok_or(Reject::Overflow { what: "the sum of all accounts" })?;
        self.tables.accounts.put(address, account);
        Ok(())
    }
}
