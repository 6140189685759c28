//! Why a transaction is refused.
//!
//! A [`Reject`] has a text for people (what was expected, what was got), a stable [`code`](Reject::code) for
//! programs, and where there is something to do, a [`hint`](Reject::hint).

use std::fmt;

use nabla_pay::SignatureError;
use nabla_types::{
    Address, BlobId, ModelId, NodeId, Opg, PaymentId, ReceiptId, RepoName, TxId,
    chain::{ENDPOINT_BYTES_MAX, PaymentStatus, Role, TX_BYTES_MAX},
    layout::LayoutError,
    receipt::ReceiptError,
    signature::BadSignature,
};

use crate::rules::{REASSIGNMENTS_MAX, SUMMARY_BYTES_MAX};

/// A value that must equal another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// The account that an authorisation pays.
    Payee,
    /// The nonce of a stake's authorisation, which binds it to one announcement.
    StakeNonce,
    /// The number of an announcement or a revision.
    Sequence,
    /// The node that may call itself the validator.
    Validator,
    /// The account whose transfers are grants.
    Faucet,
    /// The owner of all repositories that begin with the same `owner/`.
    PrefixOwner,
    /// The number of acknowledgements, one for each shard.
    AckCount,
    /// The coding that an acknowledgement is for.
    AckLayout,
    /// The shard that an acknowledgement is for.
    AckShard,
    /// What storing the new blobs costs.
    StorageFee,
    /// The model.
    Model,
    /// The repository's name.
    Name,
    /// The revision.
    Revision,
    /// Who runs the job.
    Provider,
    /// The network.
    Network,
    /// The price by the unit.
    Price,
    /// What is to be paid.
    Amount,
}

impl Field {
    const fn code(self) -> &'static str {
        match self {
            Self::Payee => "wrong_payee",
            Self::StakeNonce => "stake_not_bound",
            Self::Sequence => "wrong_sequence",
            Self::Validator => "not_the_validator",
            Self::Faucet => "not_the_faucet",
            Self::PrefixOwner => "prefix_taken",
            Self::AckCount | Self::AckLayout | Self::AckShard => "wrong_acknowledgement",
            Self::StorageFee => "wrong_storage_fee",
            Self::Model => "wrong_model",
            Self::Name => "wrong_name",
            Self::Revision => "wrong_revision",
            Self::Provider => "wrong_provider",
            Self::Network => "wrong_network",
            Self::Price => "wrong_price",
            Self::Amount => "wrong_amount",
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Payee => "payee",
            Self::StakeNonce => "stake nonce (it names network, node and sequence)",
            Self::Sequence => "sequence",
            Self::Validator => "the network's validator",
            Self::Faucet => "the network's faucet",
            Self::PrefixOwner => "the owner of this name's prefix",
            Self::AckCount => "one acknowledgement for each shard, in all",
            Self::AckLayout => "an acknowledgement of coding",
            Self::AckShard => "an acknowledgement of shard",
            Self::StorageFee => "storage fee",
            Self::Model => "model",
            Self::Name => "repository",
            Self::Revision => "revision",
            Self::Provider => "provider",
            Self::Network => "network",
            Self::Price => "price",
            Self::Amount => "amount",
        })
    }
}

/// Why a transaction is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's text says what its fields are")]
pub enum Reject {
    #[error("transaction of {got} bytes, at most {TX_BYTES_MAX} are accepted")]
    TooLarge { got: usize },
    #[error("transaction {tx} is in block {height} already")]
    Included { tx: TxId, height: u64 },
    #[error("expected {field} {expected}, got {got}")]
    Mismatch { field: Field, expected: String, got: String },

    #[error(transparent)]
    AccountSignature(#[from] SignatureError),
    #[error(transparent)]
    NodeSignature(#[from] BadSignature),

    #[error("the payment is good after {valid_after} s, the block's time is {now} s")]
    NotYetValid { valid_after: u64, now: u64 },
    #[error("the payment was good before {valid_before} s, the block's time is {now} s")]
    Expired { valid_before: u64, now: u64 },
    #[error("payment {payment} was used before, in transaction {tx}")]
    Replayed { payment: PaymentId, tx: TxId },
    #[error("account {account} has no key and cannot be paid in this way")]
    NoOwner { account: Address },
    #[error("a payment of nothing moves nothing")]
    ZeroAmount,
    #[error("account {account} has {available} OPG, {needed} OPG are needed")]
    InsufficientFunds { account: Address, needed: Opg, available: Opg },
    #[error("{what} passes 2^128 or falls below zero")]
    Overflow { what: &'static str },

    #[error("node {node} is not registered")]
    UnknownNode { node: NodeId },
    #[error("node {node} has not registered as {role:?}")]
    MissingRole { node: NodeId, role: Role },
    #[error("expected at least one role, sorted, each once")]
    Roles,
    #[error(
        "expected an endpoint http://host or https://host of at most {ENDPOINT_BYTES_MAX} bytes, got {got:?}"
    )]
    Endpoint { got: String },
    #[error("an inference node needs a stake of {needed} OPG, this one has {got} OPG")]
    Stake { needed: Opg, got: Opg },
    #[error("node {node} is not among the verifiers that the genesis names")]
    NotAVerifier { node: NodeId },

    #[error("expected a summary of one line, at most {SUMMARY_BYTES_MAX} bytes, got {got} bytes")]
    Summary { got: usize },
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error("blob {blob} is stored already; name it without registering it again")]
    BlobKnown { blob: BlobId },
    #[error("{what} {blob} is neither stored nor registered here")]
    UnknownBlob { what: &'static str, blob: BlobId },

    #[error("repository {name} does not exist")]
    UnknownRepo { name: RepoName },
    #[error("repository {name} has no revision {revision}")]
    UnknownRevision { name: RepoName, revision: BlobId },
    #[error("model {model} is not on the ledger")]
    UnknownModel { model: ModelId },

    #[error("payment {payment} is not on the ledger")]
    UnknownPayment { payment: PaymentId },
    #[error("payment {payment} is not reserved any more: {}", Shown(*.status))]
    NotReserved { payment: PaymentId, status: PaymentStatus },
    #[error("{reserved} OPG are reserved, {needed} OPG are needed")]
    ReservedTooLittle { needed: Opg, reserved: Opg },
    #[error("payment {payment} has been with node {provider} before")]
    ProviderHadIt { payment: PaymentId, provider: NodeId },
    #[error("payment {payment} has moved {REASSIGNMENTS_MAX} times and moves no more")]
    TooManyMoves { payment: PaymentId },
    #[error("payment {payment} was reserved by gateway {expected}, not by {got}")]
    WrongGateway { payment: PaymentId, expected: NodeId, got: NodeId },

    #[error(transparent)]
    Receipt(#[from] ReceiptError),
    #[error("receipt {receipt} is settled already")]
    ReceiptKnown { receipt: ReceiptId },
    #[error("receipt {receipt} is not on the ledger")]
    UnknownReceipt { receipt: ReceiptId },
    #[error("node {node} cannot judge its own receipt")]
    OwnReceipt { node: NodeId },
    #[error("verifier {verifier} has judged receipt {receipt} already")]
    VerdictKnown { receipt: ReceiptId, verifier: NodeId },
}

impl Reject {
    /// Stable, for programs: lowercase words with underscores.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "transaction_too_large",
            Self::Included { .. } => "transaction_included",
            Self::Mismatch { field, .. } => field.code(),
            Self::AccountSignature(_) | Self::NodeSignature(_) => "bad_signature",
            Self::NotYetValid { .. } => "payment_not_yet_valid",
            Self::Expired { .. } => "payment_expired",
            Self::Replayed { .. } => "payment_replayed",
            Self::NoOwner { .. } => "account_without_owner",
            Self::ZeroAmount => "zero_amount",
            Self::InsufficientFunds { .. } => "insufficient_funds",
            Self::Overflow { .. } => "amount_overflow",
            Self::UnknownNode { .. } => "unknown_node",
            Self::MissingRole { .. } => "missing_role",
            Self::Roles => "bad_roles",
            Self::Endpoint { .. } => "bad_endpoint",
            Self::Stake { .. } => "insufficient_stake",
            Self::NotAVerifier { .. } => "not_a_verifier",
            Self::Summary { .. } => "bad_summary",
            Self::Layout(_) => "bad_layout",
            Self::BlobKnown { .. } => "blob_known",
            Self::UnknownBlob { .. } => "unknown_blob",
            Self::UnknownRepo { .. } => "unknown_repo",
            Self::UnknownRevision { .. } => "unknown_revision",
            Self::UnknownModel { .. } => "unknown_model",
            Self::UnknownPayment { .. } => "unknown_payment",
            Self::NotReserved { .. } => "payment_not_reserved",
            Self::ReservedTooLittle { .. } => "reserved_too_little",
            Self::ProviderHadIt { .. } => "provider_had_it",
            Self::TooManyMoves { .. } => "too_many_moves",
            Self::WrongGateway { .. } => "wrong_gateway",
            Self::Receipt(_) => "bad_receipt",
            Self::ReceiptKnown { .. } => "receipt_known",
            Self::UnknownReceipt { .. } => "unknown_receipt",
            Self::OwnReceipt { .. } => "own_receipt",
            Self::VerdictKnown { .. } => "verdict_known",
        }
    }

    /// What to do about it, where that is not plain from the text.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::InsufficientFunds { .. } => {
                "fund the account (`nabla wallet fund` on a test network), then try again"
            }
            Self::Replayed { .. } => "sign a new payment with a fresh nonce",
            Self::NotYetValid { .. } | Self::Expired { .. } => {
                "sign a new payment, and compare this machine's clock with the network's"
            }
            Self::AccountSignature(_) => "check the chain id and network that were signed for, and the key",
            Self::NotReserved { .. } => "ask again with a new payment",
            Self::Stake { .. } => "attach an authorisation to the stake account to the announcement",
            Self::UnknownNode { .. } => "register the node first",
            Self::MissingRole { .. } => "announce the node again with this role",
            Self::UnknownRepo { .. } => "look for the name with `nabla search`",
            Self::BlobKnown { .. } | Self::UnknownBlob { .. } => {
                "read from the ledger which blobs are stored, and sign again"
            }
            Self::Mismatch { field, .. } => match field {
                Field::PrefixOwner => "choose a name under a prefix of your own",
                Field::Sequence => "read the present state, and sign the next number",
                Field::StorageFee => "compute the fee over the newly stored bytes only, and sign again",
                _ => return None,
            },
            _ => return None,
        })
    }
}

/// Refuse unless both are equal.
pub(crate) fn expect<T: PartialEq + fmt::Display>(field: Field, expected: T, got: T) -> Result<(), Reject> {
    if expected == got {
        return Ok(());
    }
    Err(Reject::Mismatch { field, expected: expected.to_string(), got: got.to_string() })
}

/// A payment's status in words.
struct Shown(PaymentStatus);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            PaymentStatus::Reserved { expires_ms } => write!(f, "reserved until {expires_ms} ms"),
            PaymentStatus::Settled { receipt } => write!(f, "paid out by receipt {receipt}"),
            PaymentStatus::Released => f.write_str("given back to its payer"),
        }
    }
}
