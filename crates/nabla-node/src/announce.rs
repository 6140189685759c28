//! A node's entry on the ledger: made when it first starts, changed when its configuration changed.

use std::time::Duration;

use nabla_client::Error as ClientError;
use nabla_pay::{
    AccountKey,
    eip712::{Stake, sign_stake},
};
use nabla_types::{
    Opg, cbor,
    chain::{NodeAnnouncement, NodeRecord, Role, Tx},
    payment::SignedAuthorization,
    signature::{Domain, NodeKey},
};

use crate::{Error, clock::now_ms, config::Config, node::Parts};

/// Times that the ledger is asked before a start fails: a network's nodes may start in any order.
const ATTEMPTS: u32 = 60;
/// Time between two of them.
const PAUSE: Duration = Duration::from_millis(500);
/// How long a stake's authorisation is good, in seconds.
const STAKE_LIFE_S: u64 = 600;

/// What the configuration makes of the node; its sequence is the ledger's to say.
pub(crate) fn desired(config: &Config, key: &NodeKey, account: &AccountKey, url: String) -> NodeAnnouncement {
    let mut roles = config.roles.clone();
    roles.sort_unstable();
    roles.dedup();
    let priced = |price: Opg| if config.has(Role::Inference) { price } else { Opg::ZERO };
    NodeAnnouncement {
        node: key.id(),
        sequence: 1,
        roles,
        endpoint: url,
        payout: account.address(),
        per_call: priced(config.inference.per_call),
        per_gigamac: priced(config.inference.per_gigamac),
    }
}

/// Wait for the ledger, check that it is of this network, and register the node or what changed of it.
pub(crate) async fn announce(parts: &Parts) -> Result<(), Error> {
    wait_for_ledger(parts).await?;
    let known = parts.ledger.node(parts.key.id()).await.map_err(|source| ledger_error(parts, source))?;
    let Some(tx) = registration(parts, known.as_ref()) else {
        return Ok(());
    };
    parts.ledger.submit(&tx).await.map(drop).map_err(|source| ledger_error(parts, source))
}

async fn wait_for_ledger(parts: &Parts) -> Result<(), Error> {
    let mut attempt = 1;
    let genesis = loop {
        match parts.ledger.genesis().await {
            Ok(genesis) => break genesis,
            Err(ClientError::Unreachable { .. }) if attempt < ATTEMPTS => {
                if attempt == 4 {
                    tracing::warn!(ledger = parts.ledger.base(), "the ledger does not answer yet");
                }
                tokio::time::sleep(PAUSE).await;
                attempt += 1;
            }
            Err(source) => return Err(ledger_error(parts, source)),
        }
    };
    match genesis.network() == parts.network {
        true => Ok(()),
        false => Err(Error::OtherLedger {
            url: parts.ledger.base().to_owned(),
            expected: parts.network,
            got: genesis.network(),
        }),
    }
}

fn ledger_error(parts: &Parts, source: ClientError) -> Error {
    Error::Ledger { url: parts.ledger.base().to_owned(), source: Box::new(source) }
}

/// The transaction that makes the ledger's entry what it should be, if it is not.
fn registration(parts: &Parts, known: Option<&NodeRecord>) -> Option<Tx> {
    let mut announcement = parts.announcement.clone();
    let mut staked = Opg::ZERO;
    if let Some(known) = known {
        staked = known.stake;
        announcement.sequence = known.announcement.sequence;
        if announcement == known.announcement && staked >= wanted_stake(&parts.config) {
            return None;
        }
        announcement.sequence += 1;
    }
    let missing = wanted_stake(&parts.config).checked_sub(staked).filter(|missing| *missing > Opg::ZERO);
    let stake = missing.map(|value| stake(parts, announcement.sequence, value));
    let signature = parts.key.sign(Domain::REGISTER_NODE, parts.network, &cbor::encode(&announcement));
    Some(Tx::RegisterNode(announcement, stake, signature))
}

fn wanted_stake(config: &Config) -> Opg {
    if config.has(Role::Inference) { config.inference.stake } else { Opg::ZERO }
}

fn stake(parts: &Parts, sequence: u64, value: Opg) -> SignedAuthorization {
    let valid_before = now_ms() / 1000 + STAKE_LIFE_S;
    let stake = Stake { network: parts.network, node: parts.key.id(), sequence, value, valid_before };
    sign_stake(&parts.account, parts.genesis.chain_id, &stake)
}
