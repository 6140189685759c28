//! Owners publish models.
//!
//! # Rules
//! - The owner signs the registration (EIP-712). The first revision of a name is number 1; later ones count
//!   up without a gap and have the same owner.
//! - Who first publishes under `owner/` owns that prefix: nobody else publishes under it.
//! - A blob is registered once, with one acknowledgement for each shard, in their order, each from a
//!   registered storage node. A blob that is known is named without registering it again.
//! - The model's manifest and the revision must be known or registered here, so that nobody pays for a model
//!   that nobody holds.
//! - The owner pays the storage fee for the new blobs, neither more nor less. Each blob's fee is divided
//!   equally among its shards; what does not divide goes to the holder of its first.

use std::collections::BTreeMap;

use nabla_pay::{eip712, quote};
use nabla_types::{
    BlobId, NodeId, Opg,
    chain::{BlobRegistration, ModelRegistration, RevisionRecord, Role, StoredBlob},
    layout::Layout,
    payment::AccountSignature,
};

use super::transfer::check_owned;
use crate::{
    block::Draft,
    money::Money,
    reject::{Field, Reject, expect},
    state::Repo,
};

/// Longest summary, in bytes.
pub(crate) const SUMMARY_BYTES_MAX: usize = 200;

impl Draft<'_> {
    pub(super) fn register_model(
        &mut self,
        registration: &ModelRegistration,
        blobs: &[BlobRegistration],
        signature: &AccountSignature,
    ) -> Result<(), Reject> {
        check_summary(&registration.summary)?;
        check_owned(registration.owner)?;
        let mut repo = self.claim_name(registration)?;
        eip712::verify_registration(self.genesis.chain_id, self.network, registration, signature)?;
        let mut fee = self.collect_fee(registration, blobs)?;
        for blob in blobs {
            self.register_blob(blob, &mut fee)?;
        }
        self.deposit(registration.owner, fee)?;
        self.check_stored("the model's manifest", registration.model.manifest_blob())?;
        self.check_stored("the revision", registration.revision)?;
        repo.revisions.push(RevisionRecord {
            model: registration.model,
            revision: registration.revision,
            royalty: registration.royalty,
            storage_fee: registration.storage_fee,
            height: self.height,
            summary: registration.summary.clone(),
        });
        if !self.tables.models.contains(&registration.model) {
            self.tables.models.put(registration.model, self.height);
        }
        self.tables.prefixes.put(registration.name.owner().to_owned(), registration.owner);
        self.tables.repos.put(registration.name.clone(), repo);
        Ok(())
    }

    /// The repository as it is before this revision, if its owner may publish under this name.
    fn claim_name(&self, registration: &ModelRegistration) -> Result<Repo, Reject> {
        let (name, owner) = (&registration.name, registration.owner);
        if let Some(expected) = self.tables.prefixes.get(&name.owner().to_owned()) {
            expect(Field::PrefixOwner, *expected, owner)?;
        }
        let repo = self.tables.repos.get(name).cloned().unwrap_or(Repo { owner, revisions: Vec::new() });
        expect(Field::Sequence, repo.revisions.len() as u64 + 1, registration.sequence)?;
        Ok(repo)
    }

    /// Take the storage fee from the owner, after checking every layout and the sum.
    fn collect_fee(
        &mut self,
        registration: &ModelRegistration,
        blobs: &[BlobRegistration],
    ) -> Result<Money, Reject> {
        blobs.iter().try_for_each(|blob| blob.layout.check())?;
        let layouts = blobs.iter().map(|blob| &blob.layout);
        let expected = quote::storage_fee(layouts, self.genesis.storage_price_per_kib);
        let expected = expected.ok_or(Reject::Overflow { what: "the storage fee" })?;
        expect(Field::StorageFee, expected, registration.storage_fee)?;
        self.withdraw(registration.owner, expected)
    }

    fn register_blob(&mut self, registration: &BlobRegistration, fee: &mut Money) -> Result<(), Reject> {
        let layout = &registration.layout;
        if self.tables.blobs.contains(&layout.blob) {
            return Err(Reject::BlobKnown { blob: layout.blob });
        }
        let holders = self.check_acks(registration)?;
        self.pay_holders(layout, &holders, fee)?;
        self.tables.blobs.put(layout.blob, StoredBlob { layout: layout.clone(), holders });
        Ok(())
    }

    fn check_acks(&self, registration: &BlobRegistration) -> Result<Vec<NodeId>, Reject> {
        let (layout, acks) = (&registration.layout, &registration.acks);
        expect(Field::AckCount, layout.shards.len(), acks.len())?;
        let id = layout.id();
        for (index, ack) in (0..layout.n()).zip(acks) {
            expect(Field::AckLayout, id, ack.layout)?;
            expect(Field::AckShard, index, ack.index)?;
            self.node_with_role(ack.node, Role::Storage)?;
            ack.verify(self.network)?;
        }
        Ok(acks.iter().map(|ack| ack.node).collect())
    }

    /// Pay one blob's holders out of `fee`: one movement for each of them, however many shards it holds.
    fn pay_holders(&mut self, layout: &Layout, holders: &[NodeId], fee: &mut Money) -> Result<(), Reject> {
        let overflow = Reject::Overflow { what: "the storage fee" };
        let blob_fee = quote::blob_fee(layout, self.genesis.storage_price_per_kib);
        let parts = quote::equal_parts(blob_fee.ok_or_else(|| overflow.clone())?, layout.n());
        let mut shares = BTreeMap::new();
        for (node, part) in holders.iter().zip(parts) {
            let payout = self.node_with_role(*node, Role::Storage)?.announcement.payout;
            let share: &mut Opg = shares.entry(payout).or_default();
            *share = share.checked_add(part).ok_or_else(|| overflow.clone())?;
        }
        for (payout, share) in shares {
            let money = fee.take(share).ok_or_else(|| overflow.clone())?;
            self.deposit(payout, money)?;
        }
        Ok(())
    }

    fn check_stored(&self, what: &'static str, blob: BlobId) -> Result<(), Reject> {
        match self.tables.blobs.contains(&blob) {
            true => Ok(()),
            false => Err(Reject::UnknownBlob { what, blob }),
        }
    }
}

fn check_summary(summary: &str) -> Result<(), Reject> {
    if summary.len() > SUMMARY_BYTES_MAX || summary.chars().any(char::is_control) {
        return Err(Reject::Summary { got: summary.len() });
    }
    Ok(())
}
