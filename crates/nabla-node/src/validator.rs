//! The role `validator`: the ledger's journal, its order, and its HTTP interface.
//!
//! | call (under `/nabla/v1/ledger`) | answers |
//! |---|---|
//! | `GET genesis` | the genesis, CBOR |
//! | `GET status` | the chain in numbers |
//! | `GET accounts/{address}` | balances |
//! | `GET repos?query=&limit=`, `repos/{owner}/{name}` | repositories; a list has the newest revision of each |
//! | `GET nodes?role=`, `nodes/{id}` | nodes |
//! | `GET blobs/{id}` | layout and holders |
//! | `GET payments/{id}` | where a payment stands |
//! | `GET receipts?after=`, `receipts/{id}` | settled receipts; one alone comes with its inclusion proof |
//! | `POST txs` | takes an encoded transaction, answers when it is durable in a block |
//! | `POST faucet/{address}` | gives OPG, where the network has a faucet |

mod faucet;
mod http;
pub mod journal;
pub mod sequencer;

use std::sync::Arc;

use axum::Router;
use nabla_types::chain::Role;

use crate::{Error, clock::now_ms, node::Parts};
use sequencer::{Setup, SingleValidator};

/// Open the journal, if the node is a validator.
pub(crate) fn open(parts: &Parts) -> Result<Option<Arc<SingleValidator>>, Error> {
    if !parts.config.has(Role::Validator) {
        return Ok(None);
    }
    let setup = Setup {
        folder: parts.config.data_dir.join("ledger"),
        genesis: parts.genesis.clone(),
        key: parts.key.clone(),
        clock: Box::new(now_ms),
    };
    SingleValidator::open(setup).map(Arc::new).map(Some).map_err(Error::Journal)
}

/// The ledger's interface, with a faucet if the configuration names its key.
pub(crate) fn router(sequencer: Arc<SingleValidator>, parts: &Parts) -> Result<Router, Error> {
    let faucet = faucet::Faucet::open(parts)?;
    Ok(http::router(sequencer, faucet))
}
