//! The faucet of a development network: gives granted OPG to who has little.

use std::sync::Arc;

use axum::http::StatusCode;
use nabla_ledger::Sequencer;
use nabla_pay::{AccountKey, eip712::sign_authorization};
use nabla_types::{
    Address, Opg,
    chain::Tx,
    payment::{Authorization, Nonce},
};

use super::{http::submit_problem, sequencer::SingleValidator};
use crate::{
    Error,
    clock::now_ms,
    files::{account_key, random_bytes},
    http::{Answer, Problem},
    node::Parts,
};

/// An account that holds this many gifts gets no more.
const GIFTS_MAX: u64 = 10;
/// How long a gift's authorisation is good, in seconds.
const GIFT_LIFE_S: u64 = 60;

#[derive(Debug)]
pub(super) struct Faucet {
    key: AccountKey,
    chain_id: u64,
    drip: Opg,
}

impl Faucet {
    pub(super) fn open(parts: &Parts) -> Result<Option<Self>, Error> {
        let settings = &parts.config.validator;
        let Some(path) = &settings.faucet_key else { return Ok(None) };
        let key = account_key(path)?;
        if parts.genesis.faucet != Some(key.address()) {
            let reason = format!("expected the key of the genesis' faucet, got that of {}", key.address());
            return Err(Error::BadFile { path: path.clone(), expected: "the faucet's key", reason });
        }
        Ok(Some(Self { key, chain_id: parts.genesis.chain_id, drip: settings.faucet_drip }))
    }

    pub(super) async fn give(&self, ledger: Arc<SingleValidator>, to: Address) -> Answer<Opg> {
        let granted = ledger.state().account(&to).granted;
        if self.drip.checked_mul(GIFTS_MAX).is_some_and(|most| granted >= most) {
            let text = format!("{to} holds {granted} granted OPG already");
            return Err(
                Problem::new(StatusCode::TOO_MANY_REQUESTS, "faucet_enough", text).hint("spend some first")
            );
        }
        let nonce = random_bytes().map_err(|error| Problem::unavailable("node_failed", error))?;
        let authorization = Authorization {
            from: self.key.address(),
            to,
            value: self.drip,
            valid_after: 0,
            valid_before: now_ms() / 1000 + GIFT_LIFE_S,
            nonce: Nonce(nonce),
        };
        let tx = Tx::Grant(sign_authorization(&self.key, self.chain_id, authorization));
        let ticket = ledger.submit(tx);
        ticket.await.map_err(submit_problem)?;
        Ok(self.drip)
    }
}
