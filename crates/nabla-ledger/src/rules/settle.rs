//! A receipt is paid.
//!
//! # Rules
//! - The receipt is in its one form and its provider's signature holds; it names this network.
//! - Its payment is reserved, for this provider, repository, revision and model, at this price.
//! - Its amount is what its price makes of its usage, and at most what is reserved. Whether the usage is what
//!   the model's cost says is for the gateway and the verifiers: the ledger does not know models' insides.
//! - A receipt is settled once. What it is for comes out of escrow, granted first: the fee is burned, then
//!   the royalty goes to the repository's owner, then the rest to the provider; what was reserved beyond the
//!   amount goes back to the payer, each part in its class.

use nabla_pay::quote;
use nabla_types::{
    Opg, ReceiptId,
    chain::{Payment, PaymentStatus},
    receipt::{Price, Receipt, SignedReceipt},
};

use crate::{
    block::Draft,
    reject::{Field, Reject, expect},
    state::{PaymentEntry, ReceiptEntry},
};

impl Draft<'_> {
    pub(super) fn settle(&mut self, cose: &[u8]) -> Result<(), Reject> {
        let signed = SignedReceipt::from_bytes(cose)?;
        let (receipt, id) = (signed.claims(), signed.id());
        expect(Field::Network, self.network, receipt.network)?;
        if self.tables.receipts.contains(&id) {
            return Err(Reject::ReceiptKnown { receipt: id });
        }
        let entry = self.reserved(&receipt.payment)?.clone();
        check_claims(receipt, &entry.payment)?;
        signed.verify()?;
        self.pay_out(receipt, entry, id)?;
        self.count(receipt)?;
        let index = self.receipts.len() as u64;
        let settled =
            ReceiptEntry { cose: cose.to_vec(), height: self.height, index, provider: receipt.provider };
        self.tables.receipts.put(id, settled);
        self.receipts.push(id);
        Ok(())
    }

    fn pay_out(&mut self, receipt: &Receipt, mut entry: PaymentEntry, id: ReceiptId) -> Result<(), Reject> {
        let overflow = Reject::Overflow { what: "a part of the settled amount" };
        let Payment { payer, amount, granted, .. } = entry.payment;
        let parts = quote::split(receipt.amount, receipt.price.royalty, self.genesis.fee_basis_points);
        let parts = parts.ok_or_else(|| overflow.clone())?;
        let mut money = self.withdraw_escrow(amount, granted)?;
        let mut take = |part: Opg| money.take(part).ok_or_else(|| overflow.clone());
        let (fee, royalty, earned) = (take(parts.fee)?, take(parts.royalty)?, take(parts.provider)?);
        let owner = self.tables.repos.get(&receipt.model_name).map(|repo| repo.owner);
        let owner = owner.ok_or_else(|| Reject::UnknownRepo { name: receipt.model_name.clone() })?;
        let payout = self.tables.nodes.get(&receipt.provider).map(|node| node.announcement.payout);
        let payout = payout.ok_or(Reject::UnknownNode { node: receipt.provider })?;
        self.burn(fee)?;
        self.deposit(owner, royalty)?;
        self.deposit(payout, earned)?;
        self.deposit(payer, money)?;
        self.finish_payment(&mut entry, PaymentStatus::Settled { receipt: id });
        self.put_payment(entry);
        Ok(())
    }

    fn count(&mut self, receipt: &Receipt) -> Result<(), Reject> {
        let overflow = Reject::Overflow { what: "a counter" };
        let mut counts = self.tables.node_counts.get(&receipt.provider).copied().unwrap_or_default();
        counts.receipts = counts.receipts.checked_add(1).ok_or_else(|| overflow.clone())?;
        self.tables.node_counts.put(receipt.provider, counts);
        let calls = self.tables.calls.get(&receipt.model_name).copied().unwrap_or_default();
        self.tables.calls.put(receipt.model_name.clone(), calls.checked_add(1).ok_or(overflow)?);
        Ok(())
    }
}

/// What a receipt says against what was reserved.
fn check_claims(receipt: &Receipt, payment: &Payment) -> Result<(), Reject> {
    expect(Field::Provider, payment.provider, receipt.provider)?;
    expect(Field::Name, &payment.name, &receipt.model_name)?;
    expect(Field::Revision, payment.revision, receipt.revision)?;
    expect(Field::Model, payment.model, receipt.model)?;
    if payment.price != receipt.price {
        let (expected, got) = (in_words(&payment.price), in_words(&receipt.price));
        return Err(Reject::Mismatch { field: Field::Price, expected, got });
    }
    let amount = receipt.price.amount(&receipt.usage).ok_or(Reject::Overflow { what: "the amount" })?;
    expect(Field::Amount, amount, receipt.amount)?;
    if receipt.amount > payment.amount {
        return Err(Reject::ReservedTooLittle { needed: receipt.amount, reserved: payment.amount });
    }
    Ok(())
}

fn in_words(price: &Price) -> String {
    let Price { per_call, per_gigamac, royalty } = price;
    format!("{per_call} OPG a call, {per_gigamac} a gigamac, {royalty} royalty")
}
