//! What can go wrong between here and the network.

use nabla_pay::x402::TermsError;
use nabla_types::{BlobId, RepoName, api::ErrorInfo, chat::ChatError};

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No answer: nobody listens there, or the connection broke.
    #[error("no answer from {url}")]
    Unreachable {
        /// What was asked.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The other side answered with an error.
    #[error("{} (answered {status} by {url})", info.message)]
    Answered {
        /// What was asked.
        url: String,
        /// The HTTP status.
        status: u16,
        /// What it said.
        info: ErrorInfo,
    },
    /// The other side's answer makes no sense.
    #[error("{url} answered with something else than {expected}: {got}")]
    Nonsense {
        /// What was asked.
        url: String,
        /// What was expected.
        expected: &'static str,
        /// What came.
        got: String,
    },
    /// The answer is larger than accepted.
    #[error("{url} answered with more than {max} bytes")]
    TooLarge {
        /// What was asked.
        url: String,
        /// Bytes accepted.
        max: u64,
    },
    /// Fewer good shards than the code needs.
    #[error("blob {} needs {needed} good shards, found {found} of {n} ({reasons})", blob.short())]
    TooFewShards {
        /// The blob.
        blob: BlobId,
        /// Shards that the code needs.
        needed: u16,
        /// Good shards found.
        found: usize,
        /// Shards there should be.
        n: u16,
        /// What was wrong with the others.
        reasons: String,
    },
    /// A shard could be put nowhere.
    #[error("shard {index} of blob {} could be stored on none of {nodes} storage nodes ({reasons})", blob.short())]
    NotStored {
        /// The blob.
        blob: BlobId,
        /// The shard.
        index: u16,
        /// Storage nodes tried.
        nodes: usize,
        /// What each said.
        reasons: String,
    },
    /// The blob is not what was referred to.
    #[error("blob {}: expected {expected}, got {got}", blob.short())]
    WrongBlob {
        /// The blob.
        blob: BlobId,
        /// What was expected.
        expected: String,
        /// What was got.
        got: String,
    },
    /// Coding or decoding failed.
    #[error("blob {} could not be coded", blob.short())]
    Code {
        /// The blob.
        blob: BlobId,
        /// Why.
        #[source]
        source: Box<nabla_store::Error>,
    },
    /// No such repository.
    #[error("there is no model {name} on this network")]
    UnknownRepo {
        /// The name.
        name: RepoName,
    },
    /// The gateway's terms are not ones that this client pays.
    #[error(transparent)]
    Terms(#[from] TermsError),
    /// The answer's receipt does not hold. The answer must not be used.
    #[error("the receipt does not hold: {reason}")]
    BadReceipt {
        /// The first check that failed.
        reason: String,
    },
    /// An answer that was streamed did not come to its end. What was read of it must not be taken for the whole.
    #[error("the answer broke off after {tokens} tokens: {reason}")]
    BrokenStream {
        /// Tokens that came.
        tokens: usize,
        /// Why it broke off.
        reason: String,
        /// What to do, if the other side said.
        hint: Option<String>,
    },
    /// The request asks for something that cannot be.
    #[error(transparent)]
    Chat(#[from] ChatError),
    /// The network's prices make no sense.
    #[error("the network's price for this is more than 2^128 units")]
    PriceOverflow,
    /// No randomness from the operating system.
    #[error("the operating system gave no random bytes")]
    NoRandomness {
        /// Why.
        #[source]
        source: getrandom::Error,
    },
}

impl Error {
    /// A stable word for programs, as in [`ErrorInfo::code`].
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Unreachable { .. } => "unreachable",
            Self::Answered { info, .. } => &info.code,
            Self::Nonsense { .. } => "nonsense_answer",
            Self::TooLarge { .. } => "answer_too_large",
            Self::TooFewShards { .. } => "too_few_shards",
            Self::NotStored { .. } => "not_stored",
            Self::WrongBlob { .. } => "wrong_blob",
            Self::Code { .. } => "bad_coding",
            Self::UnknownRepo { .. } => "unknown_model",
            Self::Terms(TermsError::TooDear { .. }) => "too_expensive",
            Self::Terms(_) => "strange_terms",
            Self::BadReceipt { .. } => "bad_receipt",
            Self::BrokenStream { .. } => "stream_broken",
            Self::Chat(_) => "bad_input",
            Self::PriceOverflow => "price_overflow",
            Self::NoRandomness { .. } => "no_randomness",
        }
    }

    /// What a person can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Unreachable { .. } => {
                "is the network running? `nabla dev` starts one; `nabla doctor` looks for what is wrong"
            }
            Self::Answered { info, .. } => return info.hint.clone(),
            Self::BrokenStream { hint: Some(hint), .. } => return Some(hint.clone()),
            Self::BrokenStream { .. } => {
                "what was made is settled or released: `nabla wallet balance` shows it; ask again"
            }
            Self::Chat(error) => return error.hint().map(str::to_owned),
            Self::TooFewShards { .. } => {
                "wait for storage nodes to come back, or ask the model's owner to publish it again"
            }
            Self::NotStored { .. } => {
                "wait for storage nodes to come back and push again: shards that are stored already are not sent twice"
            }
            Self::UnknownRepo { .. } => "`nabla search` lists what there is",
            Self::Terms(TermsError::TooDear { .. }) => "raise --max-price, or choose another model",
            Self::BadReceipt { .. } => "do not use this answer; the payment's state is on the ledger",
            _ => return None,
        };
        Some(text.to_owned())
    }

    /// Whether the other side said that it does not have the thing.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Answered { status: 404, .. })
    }
}
