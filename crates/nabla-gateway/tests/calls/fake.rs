//! A network in memory: a ledger that keeps its books balanced, and inference nodes with real keys, some of
//! which are down, slow or lying.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use nabla_gateway::{Backend, BackendError, JobAnswer, JobStream, NetworkInfo, Provider, Resolved, RunError};
use nabla_types::{
    Address, BlobId, ModelId, NetworkId, NodeId, Opg, PaymentId, RepoName,
    api::{ErrorInfo, InferRequest, InferResponse},
    chain::{Payment, PaymentStatus, RepoRecord, Reservation, RevisionRecord},
    chat::is_chat,
    embed::is_embed,
    manifest::{BlobRef, ModelManifest},
    receipt::{CommitmentLabel, Evidence, Price, Receipt, Salt, SignedReceipt, TensorCommitment, Usage},
    signature::NodeKey,
    tensor::NamedTensor,
};
use tokio::sync::Semaphore;

use crate::talker;

pub(crate) const CHAIN: u64 = 77;
pub(crate) const NOW_MS: u64 = 1_700_000_000_000;
pub(crate) const NETWORK: NetworkId = NetworkId([1; 32]);
pub(crate) const REVISION: BlobId = BlobId([3; 32]);
pub(crate) const PER_CALL: u128 = 100;
pub(crate) const ROYALTY: u128 = 5;
/// What one row costs: one gigamac is begun.
pub(crate) const AMOUNT: u128 = PER_CALL + ROYALTY + 1;

/// How a provider behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Conduct {
    #[default]
    Honest,
    /// Cannot be reached.
    Down,
    /// Never answers.
    Hangs,
    /// Works and settles; its first answer is lost on the way.
    LosesFirstAnswer,
    /// Rejects with this status.
    Rejects(u16),
    /// Says something false and does not settle.
    Lies(Lie),
    /// Settles an honest receipt, and hands out a false answer.
    SettlesAndLies(Lie),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lie {
    ResponseByte,
    ReceiptByte,
    Empty,
    Nonce,
    Model,
    ModelName,
    Revision,
    Payment,
    Network,
    Payer,
    Salt,
    /// An amount that does not follow from price and usage.
    Amount,
    /// A dearer price, and the amount that follows.
    Price,
    /// More work than was done, and the amount that follows.
    Usage,
    KernelSpec,
    /// The receipt of another node.
    Provider,
    /// An input that was not sent.
    Inputs,
    /// An answer for another model.
    Answer,
    /// Of a chat: more tokens than were made.
    Tokens,
    /// Of a chat: other settings than were asked for.
    Sampling,
    /// Of a chat: other tokens than the answer shows.
    Outputs,
    /// A receipt that holds, but is another than the settled one.
    OtherReceipt,
    /// Nothing false; but the receipt is not settled.
    Nothing,
}

/// How the ledger behaves.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LedgerFaults {
    /// Reserves, and says it failed.
    pub(crate) reserve_reply_lost: bool,
    pub(crate) reserve_down: bool,
    /// Goes down, for everything about payments, as soon as it has reserved something.
    pub(crate) down_after_reserve: bool,
    pub(crate) down: bool,
    pub(crate) reassign_down: bool,
    pub(crate) reassign_reply_lost: bool,
    pub(crate) release_down: bool,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) balances: HashMap<Address, u128>,
    pub(crate) earned: u128,
    pub(crate) payments: HashMap<PaymentId, Payment>,
    pub(crate) conduct: HashMap<NodeId, Conduct>,
    /// What nodes do to their streams.
    pub(crate) mischief: HashMap<NodeId, talker::Mischief>,
    pub(crate) ledger: LedgerFaults,
    /// What nodes asked for each call, where not `PER_CALL`.
    pub(crate) prices: HashMap<NodeId, u128>,
    /// Answers that nodes keep, with their request.
    pub(crate) stored: HashMap<(NodeId, PaymentId), (Bytes, JobAnswer)>,
    lost: Vec<PaymentId>,
    /// Nodes that have left.
    pub(crate) gone: Vec<NodeId>,
}

/// The network.
pub(crate) struct Fake {
    me: Weak<Fake>,
    state: Mutex<State>,
    pub(crate) keys: Vec<NodeKey>,
    total: u128,
    /// A permit for each run; without any, runs wait.
    pub(crate) gate: Semaphore,
    /// Runs asked for, and runs that did work.
    pub(crate) asked: AtomicU64,
    pub(crate) worked: AtomicU64,
    pub(crate) now_ms: AtomicU64,
}

pub(crate) fn gateway_id() -> NodeId {
    NodeKey::from_seed(&[200; 32]).id()
}

pub(crate) fn manifest() -> ModelManifest {
    let format = ModelManifest::FORMAT.to_owned();
    let (graph, weights) = (BlobRef::of(b"graph"), BlobRef::of(b"weights"));
    let (macs_per_row, row_elements) = (1000, 4);
    ModelManifest {
        format,
        kernel_spec: 1,
        macs_per_row,
        batched: true,
        graph,
        weights,
        row_elements,
        language: None,
    }
}

pub(crate) fn model() -> ModelId {
    manifest().model_id()
}

fn unavailable() -> BackendError {
    BackendError::new(503, "unavailable", "the ledger does not answer")
}

impl Fake {
    /// `nodes` inference nodes, and these accounts.
    pub(crate) fn new(nodes: u8, accounts: &[(Address, u128)]) -> Arc<Self> {
        let balances: HashMap<_, _> = accounts.iter().copied().collect();
        let total = balances.values().sum();
        let mut keys: Vec<NodeKey> = (1..=nodes).map(|id| NodeKey::from_seed(&[id; 32])).collect();
        keys.sort_by_key(NodeKey::id);
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            state: Mutex::new(State { balances, ..State::default() }),
            keys,
            total,
            gate: Semaphore::new(1_000_000),
            asked: AtomicU64::new(0),
            worked: AtomicU64::new(0),
            now_ms: AtomicU64::new(NOW_MS),
        })
    }

    /// The state. Checked for balanced books each time.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        let state = self.state.lock().expect("no test panics with the lock");
        let reserved: u128 =
            state.payments.values().filter(|p| is_reserved(p)).map(|p| p.amount.units()).sum();
        assert_eq!(state.balances.values().sum::<u128>() + reserved + state.earned, self.total);
        state
    }

    /// A handle for a provider's own task.
    pub(crate) fn me(&self) -> Arc<Self> {
        self.me.upgrade().expect("it is borrowed now")
    }

    /// The `index`th node in the order in which the gateway would ask them.
    pub(crate) fn node(&self, index: usize) -> NodeId {
        self.keys[index].id()
    }

    pub(crate) fn behave(&self, index: usize, conduct: Conduct) {
        self.state().conduct.insert(self.node(index), conduct);
    }

    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.asked.load(Ordering::SeqCst), self.worked.load(Ordering::SeqCst))
    }

    /// The only payment.
    pub(crate) fn payment(&self) -> Payment {
        let state = self.state();
        assert_eq!(state.payments.len(), 1, "one payment");
        state.payments.values().next().cloned().expect("one payment")
    }

    pub(crate) fn settle(state: &mut State, receipt: &SignedReceipt) {
        let claims = receipt.claims();
        let Some(payment) = state.payments.get_mut(&claims.payment) else { return };
        if !is_reserved(payment) || payment.provider != claims.provider || claims.amount > payment.amount {
            return;
        }
        payment.status = PaymentStatus::Settled { receipt: receipt.id() };
        let (payer, rest) = (payment.payer, payment.amount.units() - claims.amount.units());
        state.earned += claims.amount.units();
        *state.balances.entry(payer).or_default() += rest;
    }

    fn answer(&self, provider: &Provider, payment: &Payment, request: &Bytes) -> Result<JobAnswer, RunError> {
        let key = self.keys.iter().find(|key| key.id() == provider.node).expect("a known node");
        let conduct = self.state().conduct.get(&provider.node).copied().unwrap_or_default();
        let (honest, receipt) = if is_chat(request) {
            talker::honest(key, provider, payment, request, None)
        } else if is_embed(request) {
            talker::vectors(key, provider, payment, request)
        } else {
            let read: InferRequest =
                serde_json::from_slice(request).map_err(|e| reject(400, "bad_request", &e))?;
            honest(key, provider, payment, &read, request)?
        };
        let given = match conduct {
            Conduct::Lies(lie) | Conduct::SettlesAndLies(lie) => {
                lying(lie, key, receipt.claims().clone(), honest.clone())
            }
            _ => honest.clone(),
        };
        self.worked.fetch_add(1, Ordering::SeqCst);
        let mut state = self.state();
        if !matches!(conduct, Conduct::Lies(_)) {
            Self::settle(&mut state, &receipt);
        }
        state.stored.insert((provider.node, payment.payment), (request.clone(), given.clone()));
        if conduct == Conduct::LosesFirstAnswer {
            state.lost.push(payment.payment);
            return Err(RunError::Unreachable { reason: "connection reset".to_owned() });
        }
        Ok(given)
    }
}

pub(crate) fn is_reserved(payment: &Payment) -> bool {
    matches!(payment.status, PaymentStatus::Reserved { .. })
}

pub(crate) fn reject(status: u16, code: &str, message: &dyn std::fmt::Display) -> RunError {
    let hint = Some("look at it".to_owned());
    RunError::Rejected {
        status,
        info: ErrorInfo { code: code.to_owned(), message: message.to_string(), hint },
    }
}

/// The model returns its inputs.
fn honest(
    key: &NodeKey,
    provider: &Provider,
    payment: &Payment,
    read: &InferRequest,
    request: &Bytes,
) -> Result<(JobAnswer, SignedReceipt), RunError> {
    let salt = Salt([provider.node.0[0]; 32]);
    let tensors: Result<Vec<NamedTensor>, _> =
        read.inputs.iter().cloned().map(NamedTensor::from_json).collect();
    let tensors = tensors.map_err(|error| reject(422, "bad_input", &error))?;
    let outputs = tensors.iter().map(NamedTensor::to_json).collect();
    let response = InferResponse { model_name: read.model.clone(), model_id: payment.model, outputs };
    let response = Bytes::from(serde_json::to_vec(&response).expect("a response is JSON"));
    let shapes: Vec<&[u64]> = tensors.iter().map(|t| t.tensor.shape()).collect();
    let usage = manifest().usage(shapes).expect("small shapes");
    let royalty = Opg::from_units(ROYALTY);
    let price = Price { per_call: provider.per_call, per_gigamac: provider.per_gigamac, royalty };
    let commit = |label: fn(&str) -> CommitmentLabel<'_>| {
        let one = |t: &NamedTensor| TensorCommitment {
            name: t.name.clone(),
            commitment: salt.commit(&label(&t.name), &t.tensor.to_bytes()),
        };
        tensors.iter().map(one).collect::<Vec<_>>()
    };
    let receipt = Receipt {
        network: NETWORK,
        provider: key.id(),
        nonce: read.nonce,
        model_name: read.model.clone(),
        revision: REVISION,
        model: payment.model,
        runtime: "fake/1".to_owned(),
        kernel_spec: 1,
        request: salt.commit(&CommitmentLabel::Request, request),
        response: salt.commit(&CommitmentLabel::Response, &response),
        inputs: commit(|name| CommitmentLabel::Input(name)),
        outputs: commit(|name| CommitmentLabel::Output(name)),
        sampling: None,
        usage,
        price,
        amount: price.amount(&usage).expect("small prices"),
        payer: salt.commit(&CommitmentLabel::Payer, payment.payer.as_bytes()),
        payment: payment.payment,
        started_ms: NOW_MS,
        finished_ms: NOW_MS + 1,
        evidence: Evidence::Signed,
    };
    let signed = SignedReceipt::sign(key, receipt);
    Ok((JobAnswer { response, receipt: signed.to_bytes(), salt }, signed))
}

/// The answer with one thing false in it, signed as if it were true.
pub(crate) fn lying(lie: Lie, key: &NodeKey, honest: Receipt, mut answer: JobAnswer) -> JobAnswer {
    let mut claims = honest;
    match lie {
        Lie::ResponseByte => {
            let mut bytes = answer.response.to_vec();
            let at = bytes.iter().rposition(u8::is_ascii_digit).expect("numbers");
            bytes[at] ^= 1;
            answer.response = bytes.into();
        }
        Lie::ReceiptByte => {
            answer.receipt[100] ^= 1;
            return answer;
        }
        Lie::Empty => {
            answer.receipt.clear();
            return answer;
        }
        Lie::Nonce => claims.nonce.0[0] ^= 1,
        Lie::Model => claims.model.0[0] ^= 1,
        Lie::ModelName => claims.model_name = "mallory/digits".parse().expect("a valid name"),
        Lie::Revision => claims.revision.0[0] ^= 1,
        Lie::Payment => claims.payment.0[0] ^= 1,
        Lie::Network => claims.network.0[0] ^= 1,
        Lie::Payer => claims.payer.0[0] ^= 1,
        Lie::Salt => answer.salt.0[0] ^= 1,
        Lie::Amount => claims.amount = Opg::from_units(claims.amount.units() + 1),
        Lie::Price => {
            claims.price.per_call = Opg::from_units(PER_CALL + 1);
            claims.amount = Opg::from_units(claims.amount.units() + 1);
        }
        Lie::Usage => {
            claims.usage = Usage { macs: claims.usage.macs + 1, ..claims.usage };
            claims.amount = claims.price.amount(&claims.usage).expect("small prices");
        }
        Lie::KernelSpec => claims.kernel_spec += 1,
        Lie::Provider => {
            let other = NodeKey::from_seed(&[99; 32]);
            claims.provider = other.id();
            answer.receipt = SignedReceipt::sign(&other, claims).to_bytes();
            return answer;
        }
        Lie::Inputs => claims.inputs.clear(),
        Lie::Tokens => {
            claims.usage = talker::manifest()
                .usage_of_tokens(claims.usage.tokens_in, claims.usage.tokens_out + 1)
                .expect("few tokens");
            claims.amount = claims.price.amount(&claims.usage).expect("small prices");
        }
        Lie::Sampling => claims.sampling.as_mut().expect("a chat").temperature_micros += 1,
        Lie::Outputs => claims.outputs[0].commitment.0[0] ^= 1,
        Lie::OtherReceipt => claims.started_ms -= 1,
        Lie::Nothing => {}
        Lie::Answer => {
            let other = ModelId([8; 32]).to_string();
            let text = String::from_utf8(answer.response.to_vec()).expect("JSON");
            answer.response = text.replace(&claims.model.to_string(), &other).into();
            claims.response = answer.salt.commit(&CommitmentLabel::Response, &answer.response);
        }
    }
    answer.receipt = SignedReceipt::sign(key, claims).to_bytes();
    answer
}

impl Backend for Fake {
    fn network(&self) -> NetworkInfo {
        let ledger_url = "http://ledger".to_owned();
        NetworkInfo {
            network: NETWORK,
            name: "test".to_owned(),
            chain_id: CHAIN,
            ledger_url,
            gateway: gateway_id(),
        }
    }

    fn now_ms(&self) -> u64 {
        self.now_ms.load(Ordering::SeqCst)
    }

    async fn resolve(&self, name: &RepoName) -> Result<Resolved, BackendError> {
        let manifest = match name.as_str() {
            "alice/digits" => Some(manifest()),
            "alice/fabula" => Some(talker::manifest()),
            _ => None,
        };
        let Some(manifest) = manifest else {
            let error = BackendError::new(404, "unknown_model", format!("there is no {name}"));
            return Err(error.with_hint("nabla search lists what there is"));
        };
        let revision = RevisionRecord {
            model: manifest.model_id(),
            revision: REVISION,
            royalty: Opg::from_units(ROYALTY),
            storage_fee: Opg::ZERO,
            height: 1,
            summary: String::new(),
        };
        let record =
            RepoRecord { name: name.clone(), owner: Address([2; 20]), revisions: vec![revision], calls: 0 };
        Ok(Resolved { record, manifest })
    }

    async fn providers(&self, model_id: ModelId) -> Result<Vec<Provider>, BackendError> {
        assert!(model_id == model() || model_id == talker::model());
        let state = self.state();
        let here = self.keys.iter().map(NodeKey::id).filter(|node| !state.gone.contains(node));
        Ok(here
            .map(|node| Provider {
                node,
                endpoint: "http://node".to_owned(),
                per_call: Opg::from_units(state.prices.get(&node).copied().unwrap_or(PER_CALL)),
                per_gigamac: Opg::from_units(1),
                warm: true,
                running: 0,
                running_max: 64,
            })
            .collect())
    }

    async fn payment(&self, payment: PaymentId) -> Result<Option<Payment>, BackendError> {
        let state = self.state();
        if state.ledger.down { Err(unavailable()) } else { Ok(state.payments.get(&payment).cloned()) }
    }

    async fn reserve(&self, reservation: Reservation) -> Result<(), BackendError> {
        let Reservation { payment, model, provider, gateway, name, revision } = reservation;
        assert!(model == self::model() || model == talker::model());
        assert_eq!((gateway, revision), (gateway_id(), REVISION));
        let mut guard = self.state();
        let state = &mut *guard;
        if state.ledger.reserve_down {
            return Err(unavailable());
        }
        let (id, payer) = (payment.authorization.payment_id(), payment.authorization.from);
        let amount = payment.authorization.value;
        if state.payments.contains_key(&id) {
            return Err(BackendError::new(409, "payment_replayed", "this payment was used before"));
        }
        let balance = state.balances.entry(payer).or_default();
        *balance = balance
            .checked_sub(amount.units())
            .ok_or_else(|| BackendError::new(402, "insufficient_funds", format!("{payer} has too little")))?;
        let status = PaymentStatus::Reserved { expires_ms: NOW_MS + 120_000 };
        let per_call = Opg::from_units(state.prices.get(&provider).copied().unwrap_or(PER_CALL));
        let (per_gigamac, royalty) = (Opg::from_units(1), Opg::from_units(ROYALTY));
        let price = Price { per_call, per_gigamac, royalty };
        let payment = Payment {
            payment: id,
            payer,
            amount,
            granted: Opg::ZERO,
            name,
            revision,
            model,
            price,
            provider,
            gateway,
            status,
        };
        state.payments.insert(id, payment);
        state.ledger.down |= state.ledger.down_after_reserve;
        if state.ledger.reserve_reply_lost || state.ledger.down { Err(unavailable()) } else { Ok(()) }
    }

    async fn reassign(&self, payment: PaymentId, from: NodeId, to: NodeId) -> Result<(), BackendError> {
        let mut state = self.state();
        if state.ledger.reassign_down || state.ledger.down {
            return Err(unavailable());
        }
        let lost = state.ledger.reassign_reply_lost;
        match state.payments.get_mut(&payment) {
            Some(entry) if is_reserved(entry) && entry.provider == from => entry.provider = to,
            _ => return Err(BackendError::new(409, "not_reserved", "nothing to move")),
        }
        if lost { Err(unavailable()) } else { Ok(()) }
    }

    async fn release(&self, payment: PaymentId) -> Result<(), BackendError> {
        let mut guard = self.state();
        let state = &mut *guard;
        match state.payments.get_mut(&payment) {
            Some(_) if state.ledger.release_down || state.ledger.down => Err(unavailable()),
            Some(entry) if is_reserved(entry) => {
                entry.status = PaymentStatus::Released;
                *state.balances.entry(entry.payer).or_default() += entry.amount.units();
                Ok(())
            }
            _ => Err(BackendError::new(409, "not_reserved", "nothing to release")),
        }
    }

    async fn run(
        &self,
        provider: &Provider,
        payment: PaymentId,
        request: Bytes,
    ) -> Result<JobAnswer, RunError> {
        self.serve(provider, payment, request).await
    }

    async fn stream(
        &self,
        provider: &Provider,
        payment: PaymentId,
        request: Bytes,
    ) -> Result<JobStream, RunError> {
        talker::stream(self, provider, payment, request).await
    }
}

impl Fake {
    async fn serve(
        &self,
        provider: &Provider,
        payment: PaymentId,
        request: Bytes,
    ) -> Result<JobAnswer, RunError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.gate.acquire().await.expect("the gate is never closed").forget();
        let (conduct, stored, entry) = {
            let state = self.state();
            let key = (provider.node, payment);
            let conduct = state.conduct.get(&provider.node).copied().unwrap_or_default();
            (conduct, state.stored.get(&key).cloned(), state.payments.get(&payment).cloned())
        };
        match conduct {
            Conduct::Down => return Err(RunError::Unreachable { reason: "connection refused".to_owned() }),
            Conduct::Hangs => std::future::pending::<()>().await,
            Conduct::Rejects(status) => return Err(reject(status, "bad_input", &"not what the model takes")),
            _ => {}
        }
        match (stored, entry) {
            (Some((same, answer)), _) if same == request => Ok(answer),
            (Some(_), _) => Err(reject(409, "payment_replayed", &"another request was answered for it")),
            (None, Some(entry)) if is_reserved(&entry) && entry.provider == provider.node => {
                self.answer(provider, &entry, &request)
            }
            (None, _) => Err(reject(409, "not_reserved", &"the payment is not reserved for this node")),
        }
    }
}
