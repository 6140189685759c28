//! Money is set aside for a job, moves to another provider, or goes back.
//!
//! ```text
//!            reserve                    settle
//! (payer) -----------> Reserved ------------------> Settled
//!                       |    ^ |
//!               reassign|____| |  release, or expires
//!                              +------------------> Released
//! ```
//!
//! # Rules
//! - A registered gateway reserves with the payer's authorisation, whose payee names that gateway and one
//!   revision of one repository, for one registered inference node. What it asks then, and the royalty then, are the
//!   price of the receipt that settles: later announcements and revisions change nothing.
//! - What is reserved covers at least a call that consumes nothing.
//! - Only the gateway that reserved moves a payment or gives it back. A provider that it was taken from does
//!   not get it again, and it moves at most [`REASSIGNMENTS_MAX`] times: so a signed move cannot be played
//!   again, and a payer's money is locked for a bounded time.
//! - What is still reserved when its time has come goes back, before anything else happens in the block.

use nabla_types::{
    Address, NodeId, Opg, PaymentId, TxId,
    chain::{Payment, PaymentStatus, Reassignment, Release, Reservation, RevisionRecord, Role},
    receipt::{Price, Usage},
    signature::{Domain, Signature},
};

use crate::{
    block::Draft,
    reject::{Field, Reject, expect},
    state::PaymentEntry,
};

/// How often a payment moves to another provider.
pub(crate) const REASSIGNMENTS_MAX: usize = 8;

/// A call that consumes nothing.
const NO_USAGE: Usage = Usage { rows: 0, macs: 0, tokens_in: 0, tokens_out: 0 };

impl Draft<'_> {
    pub(super) fn reserve(
        &mut self,
        id: TxId,
        reservation: &Reservation,
        signature: &Signature,
    ) -> Result<(), Reject> {
        let Reservation { payment: authorization, model, provider, gateway, name, revision } = reservation;
        self.node_with_role(*gateway, Role::Gateway)?;
        self.check_node_signature(*gateway, Domain::RESERVE, reservation, signature)?;
        let published = self.find_revision(reservation)?;
        let price = self.price_of(*provider, published.royalty)?;
        let (payer, amount) = (authorization.authorization.from, authorization.authorization.value);
        check_covers(amount, &price)?;
        let payee = reservation.terms(self.network).payee();
        let money = self.redeem_for(id, authorization, payee)?;
        let payment = Payment {
            payment: authorization.authorization.payment_id(),
            payer,
            amount,
            granted: money.granted,
            name: name.clone(),
            revision: *revision,
            model: *model,
            price,
            provider: *provider,
            gateway: *gateway,
            status: PaymentStatus::Reserved { expires_ms: self.expiry()? },
        };
        self.deposit(Address::ESCROW, money)?;
        self.put_payment(PaymentEntry { payment, left: Vec::new() });
        Ok(())
    }

    pub(super) fn reassign(&mut self, move_: &Reassignment, signature: &Signature) -> Result<(), Reject> {
        let mut entry = self.reserved(&move_.payment)?.clone();
        let payment = &mut entry.payment;
        self.check_node_signature(payment.gateway, Domain::RESERVE, move_, signature)?;
        expect(Field::Provider, payment.provider, move_.from)?;
        if move_.to == move_.from || entry.left.contains(&move_.to) {
            return Err(Reject::ProviderHadIt { payment: move_.payment, provider: move_.to });
        }
        if entry.left.len() >= REASSIGNMENTS_MAX {
            return Err(Reject::TooManyMoves { payment: move_.payment });
        }
        payment.price = self.price_of(move_.to, payment.price.royalty)?;
        check_covers(payment.amount, &payment.price)?;
        payment.provider = move_.to;
        self.forget_expiry(payment);
        payment.status = PaymentStatus::Reserved { expires_ms: self.expiry()? };
        entry.left.push(move_.from);
        self.put_payment(entry);
        Ok(())
    }

    pub(super) fn release(&mut self, release: &Release, signature: &Signature) -> Result<(), Reject> {
        let Release { payment: id, node } = *release;
        let entry = self.reserved(&id)?.clone();
        let expected = entry.payment.gateway;
        if node != expected {
            return Err(Reject::WrongGateway { payment: id, expected, got: node });
        }
        self.check_node_signature(node, Domain::RELEASE, release, signature)?;
        self.give_back(entry)
    }

    /// Give back what expires at or before this block's time. Before any transaction of the block.
    pub(crate) fn release_expired(&mut self) -> Result<(), Reject> {
        let due = self.tables.due.base().range(..=(self.time_ms, PaymentId([0xff; 32])));
        for (_, id) in due.map(|(key, ())| *key) {
            let entry = self.reserved(&id)?.clone();
            self.give_back(entry)?;
        }
        self.tables.keep();
        Ok(())
    }

    fn give_back(&mut self, mut entry: PaymentEntry) -> Result<(), Reject> {
        let Payment { payer, amount, granted, .. } = entry.payment;
        let money = self.withdraw_escrow(amount, granted)?;
        self.deposit(payer, money)?;
        self.finish_payment(&mut entry, PaymentStatus::Released);
        self.put_payment(entry);
        Ok(())
    }

    /// A payment that waits for its receipt.
    pub(super) fn reserved(&self, id: &PaymentId) -> Result<&PaymentEntry, Reject> {
        let entry = self.tables.payments.get(id).ok_or(Reject::UnknownPayment { payment: *id })?;
        match entry.payment.status {
            PaymentStatus::Reserved { .. } => Ok(entry),
            status => Err(Reject::NotReserved { payment: *id, status }),
        }
    }

    pub(super) fn finish_payment(&mut self, entry: &mut PaymentEntry, status: PaymentStatus) {
        self.forget_expiry(&entry.payment);
        entry.payment.status = status;
    }

    pub(super) fn put_payment(&mut self, entry: PaymentEntry) {
        let id = entry.payment.payment;
        if let PaymentStatus::Reserved { expires_ms } = entry.payment.status {
            self.tables.due.put((expires_ms, id), ());
        }
        self.tables.payments.put(id, entry);
    }

    fn forget_expiry(&mut self, payment: &Payment) {
        if let PaymentStatus::Reserved { expires_ms } = payment.status {
            self.tables.due.remove((expires_ms, payment.payment));
        }
    }

    fn expiry(&self) -> Result<u64, Reject> {
        let expires_ms = self.time_ms.checked_add(self.genesis.reservation_ttl_ms);
        expires_ms.ok_or(Reject::Overflow { what: "the time of expiry" })
    }

    fn find_revision(&self, reservation: &Reservation) -> Result<&RevisionRecord, Reject> {
        let Reservation { model, name, revision, .. } = reservation;
        if !self.tables.models.contains(model) {
            return Err(Reject::UnknownModel { model: *model });
        }
        let repo = self.tables.repos.get(name).ok_or_else(|| Reject::UnknownRepo { name: name.clone() })?;
        let unknown = || Reject::UnknownRevision { name: name.clone(), revision: *revision };
        let found = repo.revisions.iter().rev().find(|known| known.revision == *revision);
        let found = found.ok_or_else(unknown)?;
        expect(Field::Model, found.model, *model)?;
        Ok(found)
    }

    /// What a registered inference node asks now.
    fn price_of(&self, provider: NodeId, royalty: Opg) -> Result<Price, Reject> {
        let announcement = &self.node_with_role(provider, Role::Inference)?.announcement;
        Ok(Price { per_call: announcement.per_call, per_gigamac: announcement.per_gigamac, royalty })
    }
}

fn check_covers(reserved: Opg, price: &Price) -> Result<(), Reject> {
    let needed = price.amount(&NO_USAGE).ok_or(Reject::Overflow { what: "the price" })?;
    match reserved < needed {
        true => Err(Reject::ReservedTooLittle { needed, reserved }),
        false => Ok(()),
    }
}
