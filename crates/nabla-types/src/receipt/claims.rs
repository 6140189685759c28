//! The claims of a receipt, and their deterministic map.

use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

use super::Commitment;
use crate::{
    amount::Opg,
    id::{BlobId, ModelId, NetworkId, NodeId, PaymentId, decode_array},
    name::RepoName,
    payment::Nonce,
};

/// Our profile of the EAT claims.
const PROFILE: &str = "urn:nabla:receipt:1";
/// Format version of the claims.
const VERSION: u32 = 1;
/// Most inputs and most outputs of a call.
const TENSORS_MAX: u64 = 64;

/// Keys of the claims map, in the bytewise order of their encodings.
mod key {
    pub(super) const ISSUER: i64 = 1;
    pub(super) const ISSUED_AT: i64 = 6;
    pub(super) const NONCE: i64 = 10;
    pub(super) const PROFILE: i64 = 265;
    pub(super) const MODEL_NAME: i64 = -65537;
    pub(super) const MODEL_VERSION: i64 = -65538;
    pub(super) const MODEL_HASH: i64 = -65539;
    pub(super) const REQUEST_HASH: i64 = -65540;
    pub(super) const RESPONSE_HASH: i64 = -65541;
    pub(super) const EXECUTION_TIME_MS: i64 = -65546;
    pub(super) const VERSION: i64 = -70001;
    pub(super) const NETWORK: i64 = -70002;
    pub(super) const RUNTIME: i64 = -70003;
    pub(super) const KERNEL_SPEC: i64 = -70004;
    pub(super) const INPUTS: i64 = -70005;
    pub(super) const OUTPUTS: i64 = -70006;
    pub(super) const SAMPLING: i64 = -70007;
    pub(super) const USAGE: i64 = -70008;
    pub(super) const PRICE: i64 = -70009;
    pub(super) const AMOUNT: i64 = -70010;
    pub(super) const PAYER: i64 = -70011;
    pub(super) const PAYMENT: i64 = -70012;
    pub(super) const STARTED_MS: i64 = -70013;
    pub(super) const FINISHED_MS: i64 = -70014;
    pub(super) const EVIDENCE: i64 = -70015;
    pub(super) const COUNT: u64 = 25;
}

/// What backs a receipt by itself. Stronger evidence (a verdict, a proof) is added beside it, not in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, serde::Serialize, serde::Deserialize)]
#[cbor(index_only)]
#[serde(rename_all = "lowercase")]
pub enum Evidence {
    /// The provider stands behind it with its key and stake; anyone with the weights can replay it.
    #[n(0)]
    Signed,
}

/// A named commitment to one tensor or attachment.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, serde::Serialize, serde::Deserialize)]
pub struct TensorCommitment {
    /// The tensor's name in the graph, or the attachment's name.
    #[n(0)]
    pub name: String,
    /// Over its canonical encoding.
    #[n(1)]
    pub commitment: Commitment,
}

/// How tokens were chosen. All numbers are integers, so that equal settings are equal bytes.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, serde::Serialize, serde::Deserialize)]
pub struct Sampling {
    /// Seed of the counter-based generator.
    #[n(0)]
    pub seed: u64,
    /// Temperature in millionths; 0 is greedy.
    #[n(1)]
    pub temperature_micros: u32,
    /// Nucleus mass in millionths; 1000000 is off.
    #[n(2)]
    pub top_p_micros: u32,
    /// Candidates kept; 0 is off.
    #[n(3)]
    pub top_k: u32,
    /// Least probability relative to the best, in millionths; 0 is off.
    #[n(4)]
    pub min_p_micros: u32,
    /// Frequency penalty in millionths.
    #[n(5)]
    pub frequency_penalty_micros: i32,
    /// Presence penalty in millionths.
    #[n(6)]
    pub presence_penalty_micros: i32,
    /// Repetition penalty in millionths; 1000000 is off.
    #[n(7)]
    pub repetition_penalty_micros: u32,
    /// Most tokens to make.
    #[n(8)]
    pub max_tokens: u32,
}

/// What was consumed, as the price counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, serde::Serialize, serde::Deserialize)]
pub struct Usage {
    /// Rows of the leading batch dimension.
    #[n(0)]
    pub rows: u64,
    /// Multiply-accumulates by the model's static cost.
    #[n(1)]
    pub macs: u64,
    /// Tokens read (language models; else 0).
    #[n(2)]
    pub tokens_in: u64,
    /// Tokens written (language models; else 0).
    #[n(3)]
    pub tokens_out: u64,
}

/// What a call costs: `per_call + royalty + per_gigamac * macs / 10^9`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, serde::Serialize, serde::Deserialize)]
pub struct Price {
    /// For each call, to the provider.
    #[n(0)]
    pub per_call: Opg,
    /// For each 10^9 multiply-accumulates begun, to the provider.
    #[n(1)]
    pub per_gigamac: Opg,
    /// For each call, to the model's owner.
    #[n(2)]
    pub royalty: Opg,
}

impl Price {
    /// What `usage` costs, or `None` past 2^128.
    #[must_use]
    pub fn amount(&self, usage: &Usage) -> Option<Opg> {
        let gigamacs = usage.macs.div_ceil(1_000_000_000);
        self.per_call.checked_add(self.royalty)?.checked_add(self.per_gigamac.checked_mul(gigamacs)?)
    }
}

/// The claims. See the module for what they bind and `spec/receipt.md` for each key.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Receipt {
    /// The network whose ledger settles it.
    pub network: NetworkId,
    /// Who ran the model and signs.
    pub provider: NodeId,
    /// Drawn by the client for this call.
    pub nonce: Nonce,
    /// The name the client asked for.
    pub model_name: RepoName,
    /// The revision that name stood for.
    pub revision: BlobId,
    /// Weights and graph.
    pub model: ModelId,
    /// Name and version of the software.
    pub runtime: String,
    /// The rules that define the result.
    pub kernel_spec: u32,
    /// To the request bytes.
    pub request: Commitment,
    /// To the response bytes.
    pub response: Commitment,
    /// To each input, in the request's order.
    pub inputs: Vec<TensorCommitment>,
    /// To each output, in the response's order.
    pub outputs: Vec<TensorCommitment>,
    /// How tokens were chosen; `None` where nothing is sampled.
    pub sampling: Option<Sampling>,
    /// What was consumed.
    pub usage: Usage,
    /// What it cost by the unit.
    pub price: Price,
    /// What is to be paid.
    pub amount: Opg,
    /// To the payer's address.
    pub payer: Commitment,
    /// What pays for it.
    pub payment: PaymentId,
    /// When work began, Unix milliseconds by the provider's clock.
    pub started_ms: u64,
    /// When it ended, Unix milliseconds.
    pub finished_ms: u64,
    /// What backs this receipt by itself.
    pub evidence: Evidence,
}

type EncodeResult<W> = Result<(), encode::Error<<W as encode::Write>::Error>>;

impl<C> Encode<C> for Receipt {
    fn encode<W: encode::Write>(&self, e: &mut Encoder<W>, c: &mut C) -> EncodeResult<W> {
        e.map(key::COUNT)?;
        self.encode_draft_claims(e, c)?;
        self.encode_own_claims(e, c)
    }
}

impl Receipt {
    /// The claims that CWT, EAT and the AIR draft define.
    fn encode_draft_claims<W: encode::Write, C>(&self, e: &mut Encoder<W>, c: &mut C) -> EncodeResult<W> {
        e.i64(key::ISSUER)?.encode_with(self.provider, c)?;
        e.i64(key::ISSUED_AT)?.u64(self.finished_ms / 1000)?;
        e.i64(key::NONCE)?.encode_with(self.nonce, c)?;
        e.i64(key::PROFILE)?.str(PROFILE)?;
        e.i64(key::MODEL_NAME)?.encode_with(&self.model_name, c)?;
        e.i64(key::MODEL_VERSION)?.encode_with(self.revision, c)?;
        e.i64(key::MODEL_HASH)?.encode_with(self.model, c)?;
        e.i64(key::REQUEST_HASH)?.encode_with(self.request, c)?;
        e.i64(key::RESPONSE_HASH)?.encode_with(self.response, c)?;
        e.i64(key::EXECUTION_TIME_MS)?.u64(self.execution_time_ms())?.ok()
    }

    fn encode_own_claims<W: encode::Write, C>(&self, e: &mut Encoder<W>, c: &mut C) -> EncodeResult<W> {
        e.i64(key::VERSION)?.u32(VERSION)?;
        e.i64(key::NETWORK)?.encode_with(self.network, c)?;
        e.i64(key::RUNTIME)?.str(&self.runtime)?;
        e.i64(key::KERNEL_SPEC)?.u32(self.kernel_spec)?;
        e.i64(key::INPUTS)?.encode_with(&self.inputs, c)?;
        e.i64(key::OUTPUTS)?.encode_with(&self.outputs, c)?;
        e.i64(key::SAMPLING)?.encode_with(&self.sampling, c)?;
        e.i64(key::USAGE)?.encode_with(self.usage, c)?;
        e.i64(key::PRICE)?.encode_with(self.price, c)?;
        e.i64(key::AMOUNT)?.encode_with(self.amount, c)?;
        e.i64(key::PAYER)?.encode_with(self.payer, c)?;
        e.i64(key::PAYMENT)?.encode_with(self.payment, c)?;
        e.i64(key::STARTED_MS)?.u64(self.started_ms)?;
        e.i64(key::FINISHED_MS)?.u64(self.finished_ms)?;
        e.i64(key::EVIDENCE)?.encode_with(self.evidence, c)?.ok()
    }

    /// How long the run took, in milliseconds.
    #[must_use]
    pub fn execution_time_ms(&self) -> u64 {
        self.finished_ms.saturating_sub(self.started_ms)
    }
}

/// The next key must be `expected`: a closed map in one order needs no table of what was seen.
fn expect_key(d: &mut Decoder<'_>, expected: i64) -> Result<(), decode::Error> {
    let at = d.position();
    match d.i64()? {
        got if got == expected => Ok(()),
        got => Err(decode::Error::message(format!("expected claim {expected}, got {got}")).at(at)),
    }
}

fn expect<T: PartialEq + std::fmt::Debug>(what: &str, expected: T, got: T) -> Result<(), decode::Error> {
    if expected == got {
        return Ok(());
    }
    Err(decode::Error::message(format!("expected {what} {expected:?}, got {got:?}")))
}

fn claim<'b, C, T: Decode<'b, C>>(d: &mut Decoder<'b>, c: &mut C, key: i64) -> Result<T, decode::Error> {
    expect_key(d, key)?;
    d.decode_with(c)
}

fn tensors<'b, C>(d: &mut Decoder<'b>, c: &mut C, key: i64) -> Result<Vec<TensorCommitment>, decode::Error> {
    let list: Vec<TensorCommitment> = claim(d, c, key)?;
    if list.len() as u64 > TENSORS_MAX {
        let text = format!("expected at most {TENSORS_MAX} tensors, got {}", list.len());
        return Err(decode::Error::message(text));
    }
    Ok(list)
}

impl<'b, C> Decode<'b, C> for Receipt {
    fn decode(d: &mut Decoder<'b>, c: &mut C) -> Result<Self, decode::Error> {
        expect("a map of claims", Some(key::COUNT), d.map()?)?;
        expect_key(d, key::ISSUER)?;
        let provider = decode_array(d).map(NodeId)?;
        let issued_at: u64 = claim(d, c, key::ISSUED_AT)?;
        let nonce = claim(d, c, key::NONCE)?;
        expect_key(d, key::PROFILE)?;
        expect("profile", PROFILE, d.str()?)?;
        let model_name = claim(d, c, key::MODEL_NAME)?;
        let revision = claim(d, c, key::MODEL_VERSION)?;
        let model = claim(d, c, key::MODEL_HASH)?;
        let request = claim(d, c, key::REQUEST_HASH)?;
        let response = claim(d, c, key::RESPONSE_HASH)?;
        let execution_time_ms: u64 = claim(d, c, key::EXECUTION_TIME_MS)?;
        expect_key(d, key::VERSION)?;
        expect("receipt version", VERSION, d.u32()?)?;
        let receipt = Self {
            provider,
            nonce,
            model_name,
            revision,
            model,
            request,
            response,
            network: claim(d, c, key::NETWORK)?,
            runtime: claim(d, c, key::RUNTIME)?,
            kernel_spec: claim(d, c, key::KERNEL_SPEC)?,
            inputs: tensors(d, c, key::INPUTS)?,
            outputs: tensors(d, c, key::OUTPUTS)?,
            sampling: claim(d, c, key::SAMPLING)?,
            usage: claim(d, c, key::USAGE)?,
            price: claim(d, c, key::PRICE)?,
            amount: claim(d, c, key::AMOUNT)?,
            payer: claim(d, c, key::PAYER)?,
            payment: claim(d, c, key::PAYMENT)?,
            started_ms: claim(d, c, key::STARTED_MS)?,
            finished_ms: claim(d, c, key::FINISHED_MS)?,
            evidence: claim(d, c, key::EVIDENCE)?,
        };
        expect("issue time in seconds", receipt.finished_ms / 1000, issued_at)?;
        expect("execution time", receipt.execution_time_ms(), execution_time_ms)?;
        Ok(receipt)
    }
}
