//! Nodes announce themselves.
//!
//! # Rules
//! - The node signs its announcement. Announcements count up from 1 without a gap, so an old one cannot be
//!   played again.
//! - Roles are sorted, each once, at least one. Only the genesis' validator calls itself one, and only the
//!   genesis' verifiers call themselves so, for providers hand them requests and answers.
//! - A stake comes as an authorisation to the stake account whose nonce names network, node and sequence
//!   ([`stake_nonce`]): who sees it on its way cannot put it on another node. It adds to what is at stake.
//! - An inference node has at least the genesis' least stake.

use nabla_pay::eip712::stake_nonce;
use nabla_types::{
    Address, Opg, TxId,
    chain::{ENDPOINT_BYTES_MAX, NodeAnnouncement, Role},
    payment::SignedAuthorization,
    signature::{Domain, Signature},
};

use super::transfer::check_owned;
use crate::{
    block::Draft,
    reject::{Field, Reject, expect},
    state::NodeEntry,
};

impl Draft<'_> {
    pub(super) fn register_node(
        &mut self,
        id: TxId,
        announcement: &NodeAnnouncement,
        stake: Option<&SignedAuthorization>,
        signature: &Signature,
    ) -> Result<(), Reject> {
        let node = announcement.node;
        check_endpoint(&announcement.endpoint)?;
        check_owned(announcement.payout)?;
        self.check_roles(announcement)?;
        let known = self.tables.nodes.get(&node);
        let sequence = known.map_or(0, |entry| entry.announcement.sequence);
        let staked = known.map_or(Opg::ZERO, |entry| entry.stake);
        expect(Field::Sequence, sequence.saturating_add(1), announcement.sequence)?;
        self.check_node_signature(node, Domain::REGISTER_NODE, announcement, signature)?;
        let added = match stake {
            Some(payment) => self.add_stake(id, announcement, payment)?,
            None => Opg::ZERO,
        };
        let stake = staked.checked_add(added).ok_or(Reject::Overflow { what: "the stake" })?;
        let needed = self.genesis.inference_stake_min;
        if announcement.roles.contains(&Role::Inference) && stake < needed {
            return Err(Reject::Stake { needed, got: stake });
        }
        self.tables.nodes.put(node, NodeEntry { announcement: announcement.clone(), stake });
        Ok(())
    }

    fn add_stake(
        &mut self,
        id: TxId,
        announcement: &NodeAnnouncement,
        payment: &SignedAuthorization,
    ) -> Result<Opg, Reject> {
        let value = payment.authorization.value;
        if value == Opg::ZERO {
            return Err(Reject::ZeroAmount);
        }
        let expected = stake_nonce(self.network, announcement.node, announcement.sequence);
        expect(Field::StakeNonce, expected, payment.authorization.nonce)?;
        let money = self.redeem_for(id, payment, Address::STAKE)?;
        self.deposit(Address::STAKE, money)?;
        Ok(value)
    }

    fn check_roles(&self, announcement: &NodeAnnouncement) -> Result<(), Reject> {
        let roles = &announcement.roles;
        if roles.is_empty() || roles.windows(2).any(|pair| pair[0] >= pair[1]) {
            return Err(Reject::Roles);
        }
        if roles.contains(&Role::Validator) {
            expect(Field::Validator, self.genesis.validator, announcement.node)?;
        }
        if roles.contains(&Role::Verifier) && !self.genesis.verifiers.contains(&announcement.node) {
            return Err(Reject::NotAVerifier { node: announcement.node });
        }
        Ok(())
    }
}

/// `http://` or `https://` and a host, in printable ASCII.
fn check_endpoint(endpoint: &str) -> Result<(), Reject> {
    let rest = endpoint.strip_prefix("http://").or_else(|| endpoint.strip_prefix("https://"));
    let has_host = rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '['));
    let printable = endpoint.bytes().all(|byte| byte.is_ascii_graphic());
    if has_host && printable && endpoint.len() <= ENDPOINT_BYTES_MAX {
        return Ok(());
    }
    Err(Reject::Endpoint { got: endpoint.chars().take(80).collect() })
}
