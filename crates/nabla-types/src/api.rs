//! JSON bodies of the HTTP interface under `/nabla/v1`.
//!
//! Paths stay clear of OpenAI's (`/v1/...`), Hugging Face's (`/api/...`) and the Open Inference
//! Protocol's (`/v2/...`), which later stand beside them. Payment follows x402 version 2.

use serde::{Deserialize, Serialize};

use crate::{
    amount::Opg,
    chain::{PaymentStatus, Role},
    id::{Address, BlobId, ModelId, NetworkId, NodeId, PaymentId, ReceiptId, TxId},
    name::RepoName,
    payment::{AccountSignature, Authorization, Nonce, SignedAuthorization},
    receipt::Price,
    tensor::TensorJson,
};

/// Largest body of a request to run a model, in bytes.
pub const INFER_BYTES_MAX: usize = 16 << 20;
/// Header that carries an x402 payment to the gateway.
pub const HEADER_PAYMENT: &str = "payment-signature";
/// Header of a 402 that carries the same terms as its body, base64.
pub const HEADER_PAYMENT_REQUIRED: &str = "payment-required";
/// Header that names the payment to the inference node.
pub const HEADER_PAYMENT_ID: &str = "nabla-payment";
/// Header that carries the receipt, base64 without padding.
pub const HEADER_RECEIPT: &str = "nabla-receipt";
/// Header that carries the salt that opens the receipt's commitments.
pub const HEADER_SALT: &str = "nabla-salt";

/// `POST /nabla/v1/infer`: run a model on tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InferRequest {
    /// Which model, by its repository's name; the newest revision unless `model_id` says otherwise.
    pub model: RepoName,
    /// Exactly this model, or an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_id: Option<ModelId>,
    /// Drawn at random by the client; it comes back in the receipt.
    pub nonce: Nonce,
    /// The inputs, as in the Open Inference Protocol.
    pub inputs: Vec<TensorJson>,
}

/// The answer to an [`InferRequest`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InferResponse {
    /// The repository's name.
    pub model_name: RepoName,
    /// The model that ran.
    pub model_id: ModelId,
    /// The outputs, in the model's order.
    pub outputs: Vec<TensorJson>,
}

/// `GET /nabla/v1/network`: which network a gateway belongs to, and where its ledger can be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkInfo {
    /// The network.
    pub network: NetworkId,
    /// Its name for people.
    pub name: String,
    /// EIP-155 chain id; payments are signed for it.
    pub chain_id: u64,
    /// Base URL of a ledger node, to check what the gateway says.
    pub ledger_url: String,
    /// The gateway's own identity, which its reservations carry.
    pub gateway: NodeId,
}

/// What an inference node says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInfo {
    /// Who.
    pub node: NodeId,
    /// On which network.
    pub network: NetworkId,
    /// What it does.
    pub roles: Vec<Role>,
    /// Models it can answer for at once.
    pub warm_models: Vec<ModelId>,
    /// Jobs in work.
    pub running: u32,
    /// Jobs it works on at once; more are refused.
    pub running_max: u32,
    /// Its software.
    pub runtime: String,
    /// Unix milliseconds by its clock.
    pub time_ms: u64,
}

/// What the ledger's validator says of the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerStatus {
    /// The network.
    pub network: NetworkId,
    /// Its name for people.
    pub name: String,
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// Blocks so far.
    pub height: u64,
    /// Time of the newest block, Unix milliseconds.
    pub time_ms: u64,
    /// All OPG there is, burned ones included.
    pub total: Opg,
    /// OPG burned by fees.
    pub burned: Opg,
    /// OPG in reservations.
    pub reserved: Opg,
    /// Receipts settled.
    pub receipts: u64,
    /// Repositories.
    pub repos: u64,
    /// Nodes.
    pub nodes: u64,
    /// The constant part of a storage fee: OPG units per 1024 stored bytes.
    pub storage_price_per_kib: Opg,
    /// Burned from each settled call, in 1/10 000.
    pub fee_basis_points: u32,
}

/// That a transaction is in a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Included {
    /// The transaction.
    pub tx: TxId,
    /// The block's height.
    pub height: u64,
}

/// What is known of a receipt on the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptRecord {
    /// Its identity.
    pub receipt: ReceiptId,
    /// The COSE bytes, hex.
    pub cose: String,
    /// The block that settled it.
    pub height: u64,
    /// The encoded [`InclusionProof`](crate::chain::InclusionProof), hex; only where one receipt is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<String>,
    /// Replays so far.
    pub verdicts: Vec<crate::chain::VerdictRecord>,
}

/// An error, in the same shape everywhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The error.
    pub error: ErrorInfo,
}

/// What went wrong, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorInfo {
    /// Stable, for programs: lowercase words with underscores.
    pub code: String,
    /// For people: what was expected, what was got.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// Body of a 402 (x402 v2 `PaymentRequired`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentRequired {
    /// Always 2.
    pub x402_version: u32,
    /// Why payment is asked for.
    pub error: String,
    /// What is to be paid for.
    pub resource: Resource,
    /// The ways to pay.
    pub accepts: Vec<PaymentRequirements>,
}

/// What is paid for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resource {
    /// The URL.
    pub url: String,
    /// In words.
    pub description: String,
    /// What comes back.
    pub mime_type: String,
}

/// One way to pay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentRequirements {
    /// `exact`.
    pub scheme: String,
    /// CAIP-2: `eip155:<chain id>`.
    pub network: String,
    /// How much.
    pub amount: Opg,
    /// The token: OPG's address.
    pub asset: Address,
    /// The authorisation's `to`: the payee of these [terms](crate::payment::CallTerms).
    pub pay_to: Address,
    /// How long the authorisation must at least be good for.
    pub max_timeout_seconds: u64,
    /// The EIP-712 domain, and what the amount is made of.
    pub extra: PaymentExtra,
}

/// What x402 leaves to the scheme.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentExtra {
    /// EIP-712 domain name.
    pub name: String,
    /// EIP-712 domain version.
    pub version: String,
    /// The model that the price is for.
    pub model_id: ModelId,
    /// The repository that was asked for.
    pub repository: RepoName,
    /// Its revision.
    pub revision: BlobId,
    /// The gateway that may reserve the payment.
    pub gateway: NodeId,
    /// The price by the unit.
    pub price: Price,
    /// What the call is reckoned to consume, in multiply-accumulates.
    pub macs: u64,
}

/// Content of the `PAYMENT-SIGNATURE` header, base64 of JSON (x402 v2 `PaymentPayload`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentPayload {
    /// Always 2.
    pub x402_version: u32,
    /// The way that was chosen.
    pub accepted: PaymentRequirements,
    /// The signed authorisation.
    pub payload: ExactPayload,
}

/// Payload of the scheme `exact` on EVM networks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExactPayload {
    /// EIP-712 signature of the payer.
    pub signature: AccountSignature,
    /// What is signed.
    pub authorization: AuthorizationJson,
}

/// An [`Authorization`] as x402 writes it: numbers as decimal strings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthorizationJson {
    /// Payer.
    pub from: Address,
    /// Payee.
    pub to: Address,
    /// Units.
    pub value: Opg,
    /// Unix seconds.
    #[serde(with = "decimal")]
    pub valid_after: u64,
    /// Unix seconds.
    #[serde(with = "decimal")]
    pub valid_before: u64,
    /// Used once.
    pub nonce: Nonce,
}

impl From<&SignedAuthorization> for ExactPayload {
    fn from(signed: &SignedAuthorization) -> Self {
        let Authorization { from, to, value, valid_after, valid_before, nonce } = signed.authorization;
        let authorization = AuthorizationJson { from, to, value, valid_after, valid_before, nonce };
        Self { signature: signed.signature, authorization }
    }
}

impl From<&ExactPayload> for SignedAuthorization {
    fn from(payload: &ExactPayload) -> Self {
        let AuthorizationJson { from, to, value, valid_after, valid_before, nonce } = payload.authorization;
        let authorization = Authorization { from, to, value, valid_after, valid_before, nonce };
        Self { authorization, signature: payload.signature }
    }
}

/// Content of the `PAYMENT-RESPONSE` header, base64 of JSON (x402 v2 `SettlementResponse`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SettlementResponse {
    /// Whether the payment is settled.
    pub success: bool,
    /// The payment.
    pub transaction: PaymentId,
    /// CAIP-2 network.
    pub network: String,
    /// Who paid.
    pub payer: Address,
    /// Where the payment stands.
    pub status: PaymentStatus,
}

/// `u64` as a decimal string.
mod decimal {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &u64, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(value)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<u64, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        text.parse().map_err(|_| serde::de::Error::custom(format!("expected a decimal number, got {text:?}")))
    }
}
