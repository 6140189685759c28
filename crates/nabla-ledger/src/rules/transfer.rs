//! Transfers and grants, and what holds for every signed authorisation.
//!
//! # Rules
//! - `valid_after < block time < valid_before`, in whole seconds (EIP-3009).
//! - An authorisation is used once, for ever, whatever for: payer and nonce are its identity.
//! - The payer's signature is over the chain id, payee, amount, window and nonce.
//! - A transfer pays an account that somebody can have the key of, and never nothing. Escrow is paid by a
//!   reservation, stake by an announcement.
//! - A grant is a transfer from the faucet. Whatever leaves the faucet's account is granted, so calling it a
//!   transfer changes nothing.

use nabla_pay::eip712;
use nabla_types::{
    Address, Opg, TxId,
    payment::{Authorization, SignedAuthorization},
};

use crate::{
    block::Draft,
    genesis::has_no_owner,
    money::Money,
    reject::{Field, Reject, expect},
};

impl Draft<'_> {
    pub(super) fn transfer(&mut self, id: TxId, payment: &SignedAuthorization) -> Result<(), Reject> {
        let Authorization { to, value, .. } = payment.authorization;
        check_owned(to)?;
        if value == Opg::ZERO {
            return Err(Reject::ZeroAmount);
        }
        let money = self.redeem(id, payment)?;
        self.deposit(to, money)
    }

    pub(super) fn grant(&mut self, id: TxId, payment: &SignedAuthorization) -> Result<(), Reject> {
        let from = payment.authorization.from;
        if self.genesis.faucet != Some(from) {
            let expected = self.genesis.faucet.map_or("none".to_owned(), |faucet| faucet.to_string());
            return Err(Reject::Mismatch { field: Field::Faucet, expected, got: from.to_string() });
        }
        self.transfer(id, payment)
    }

    /// Use an authorisation that must pay `to`.
    pub(super) fn redeem_for(
        &mut self,
        id: TxId,
        payment: &SignedAuthorization,
        to: Address,
    ) -> Result<Money, Reject> {
        expect(Field::Payee, to, payment.authorization.to)?;
        self.redeem(id, payment)
    }

    /// Use an authorisation: check it, mark it used, and take the money out.
    fn redeem(&mut self, id: TxId, payment: &SignedAuthorization) -> Result<Money, Reject> {
        let authorization = &payment.authorization;
        self.check_window(authorization)?;
        let payment_id = authorization.payment_id();
        if let Some(tx) = self.tables.spent.get(&payment_id) {
            return Err(Reject::Replayed { payment: payment_id, tx: *tx });
        }
        check_owned(authorization.from)?;
        eip712::verify_authorization(self.genesis.chain_id, payment)?;
        self.tables.spent.put(payment_id, id);
        self.withdraw(authorization.from, authorization.value)
    }

    fn check_window(&self, authorization: &Authorization) -> Result<(), Reject> {
        let Authorization { valid_after, valid_before, .. } = *authorization;
        let now = self.time_ms / 1000;
        if now <= valid_after {
            return Err(Reject::NotYetValid { valid_after, now });
        }
        if now >= valid_before {
            return Err(Reject::Expired { valid_before, now });
        }
        Ok(())
    }
}

/// Refuse accounts that nobody has the key of.
pub(super) fn check_owned(account: Address) -> Result<(), Reject> {
    match has_no_owner(&account) {
        true => Err(Reject::NoOwner { account }),
        false => Ok(()),
    }
}
