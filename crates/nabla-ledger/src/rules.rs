//! The rules of each transaction, one file for each family.
//!
//! | file | transactions |
//! |---|---|
//! | [`transfer`] | `Transfer`, `Grant`; what holds for every signed authorisation |
//! | [`node`] | `RegisterNode` |
//! | [`model`] | `RegisterModel` |
//! | [`payment`] | `Reserve`, `Reassign`, `Release`, and what expires |
//! | [`settle`] | `Settle` |
//! | [`verdict`] | `Verdict` |
//!
//! A rule may fail at any point: [`Draft::apply`](crate::block) takes back what it did before.

mod model;
mod node;
mod payment;
mod settle;
mod transfer;
mod verdict;

use nabla_types::{
    NodeId, TxId,
    cbor::{self},
    chain::{Role, Tx},
    signature::{self, Domain, Signature},
};

use crate::{block::Draft, reject::Reject, state::NodeEntry};

pub(crate) use model::SUMMARY_BYTES_MAX;
pub(crate) use payment::REASSIGNMENTS_MAX;

impl Draft<'_> {
    pub(crate) fn dispatch(&mut self, id: TxId, tx: &Tx) -> Result<(), Reject> {
        match tx {
            Tx::Transfer(payment) => self.transfer(id, payment),
            Tx::Grant(payment) => self.grant(id, payment),
            Tx::RegisterNode(announcement, stake, signature) => {
                self.register_node(id, announcement, stake.as_ref(), signature)
            }
            Tx::RegisterModel(registration, blobs, signature) => {
                self.register_model(registration, blobs, signature)
            }
            Tx::Reserve(reservation, signature) => self.reserve(id, reservation, signature),
            Tx::Reassign(reassignment, signature) => self.reassign(reassignment, signature),
            Tx::Settle(cose) => self.settle(cose),
            Tx::Release(release, signature) => self.release(release, signature),
            Tx::Verdict(verdict, signature) => self.verdict(verdict, signature),
        }
    }

    /// The entry of a node that has registered for `role`.
    fn node_with_role(&self, node: NodeId, role: Role) -> Result<&NodeEntry, Reject> {
        let entry = self.tables.nodes.get(&node).ok_or(Reject::UnknownNode { node })?;
        match entry.announcement.roles.contains(&role) {
            true => Ok(entry),
            false => Err(Reject::MissingRole { node, role }),
        }
    }

    /// Check a node's signature over a value's encoding.
    fn check_node_signature<T: minicbor::Encode<()>>(
        &self,
        node: NodeId,
        domain: Domain,
        value: &T,
        signature: &Signature,
    ) -> Result<(), Reject> {
        Ok(signature::verify(node, domain, self.network, &cbor::encode(value), signature)?)
    }
}
