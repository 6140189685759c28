//! Why a node does not start, or stops.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use nabla_types::NetworkId;

/// An error of a node as a whole. What goes wrong in one request is answered to that request.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The configuration file is wrong.
    #[error("configuration {}: {reason}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        reason: String,
    },
    /// A file is not what it should be.
    #[error("{} is not {expected}: {reason}", path.display())]
    BadFile {
        /// The file.
        path: PathBuf,
        /// What it should be.
        expected: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// Somebody else listens there.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The ledger did not answer, or refused the node's registration.
    #[error("the ledger at {url} did not accept this node")]
    Ledger {
        /// The validator.
        url: String,
        /// Why.
        #[source]
        source: Box<nabla_client::Error>,
    },
    /// The validator serves another network.
    #[error("the ledger at {url} is of network {got}, expected {expected}")]
    OtherLedger {
        /// The validator.
        url: String,
        /// The network of the genesis file.
        expected: NetworkId,
        /// The validator's.
        got: NetworkId,
    },
    /// The data folder or a store in it cannot be used: of another network, in use, full.
    #[error(transparent)]
    Store(#[from] nabla_store::Error),
    /// The journal cannot be used.
    #[error("the ledger's journal cannot be opened")]
    Journal(#[source] crate::validator::journal::JournalError),
    /// The configuration names kernels that this version does not have.
    #[error(transparent)]
    UnknownKernels(#[from] nabla_engine::UnknownKernels),
    /// The engine cannot run on this machine as it is asked to.
    #[error("the engine cannot start")]
    Engine(#[source] nabla_engine::Error),
    /// The folder of packed models cannot be used.
    #[error("the models of this node cannot be opened")]
    Models(#[source] nabla_engine::CacheError),
    /// No randomness from the operating system.
    #[error("the operating system gave no random bytes")]
    NoRandomness(#[source] getrandom::Error),
}

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), source }
    }

    /// What a person can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Listen { source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
                "another program listens there: stop it, or choose another port"
            }
            Self::Store(nabla_store::Error::WrongNetwork { .. }) => {
                "`nabla dev --reset` wipes a development network"
            }
            Self::Ledger { .. } => "is the validator running, and is `ledger` its URL?",
            Self::OtherLedger { .. } => "`genesis` and `ledger` must belong to the same network",
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                "the disk is full: free some space"
            }
            _ => return None,
        })
    }
}
