//! A small network with fixed keys, and every transaction made in one line.
//!
//! Used by the tests of the ledger, of the sequencer, and by the writer of the golden vectors.

use nabla_ledger::State;
use nabla_pay::{
    AccountKey,
    eip712::{Stake, sign_authorization, sign_registration, sign_stake},
    quote::storage_fee,
};
use nabla_types::{
    Address, BlobId, ModelId, NetworkId, NodeId, Opg, PaymentId, ReceiptId, RepoName, ShardId, cbor,
    chain::{
        Allocation, BlobRegistration, Block, Genesis, ModelRegistration, NodeAnnouncement, Outcome,
        Reassignment, Release, Reservation, Role, Tx, Verdict,
    },
    layout::{HolderAck, Layout},
    payment::{Authorization, CallTerms, Nonce, SignedAuthorization},
    receipt::{CommitmentLabel, Evidence, Price, Receipt, Salt, SignedReceipt, Usage},
    signature::{Domain, NodeKey},
};

/// The first block's time, Unix milliseconds.
pub(crate) const START_MS: u64 = 1_750_000_000_000;

/// The network's keys and constants.
pub(crate) struct World {
    pub(crate) genesis: Genesis,
    pub(crate) validator: NodeKey,
    /// Two of them.
    pub(crate) inference: [NodeKey; 2],
    /// Three of them.
    pub(crate) storage: [NodeKey; 3],
    pub(crate) verifier: NodeKey,
    pub(crate) gateway: NodeKey,
    /// Gives granted OPG.
    pub(crate) faucet: AccountKey,
    /// Publishes models.
    pub(crate) alice: AccountKey,
    /// Pays for calls.
    pub(crate) bob: AccountKey,
    /// Where all nodes' earnings go, and their stake comes from.
    pub(crate) operator: AccountKey,
}

fn node(seed: u8) -> NodeKey {
    NodeKey::from_seed(&[seed; 32])
}

fn account(seed: u8) -> AccountKey {
    AccountKey::from_secret(&[seed; 32]).expect("a small number is a key")
}

impl World {
    pub(crate) fn new() -> Self {
        let (faucet, alice, bob, operator) = (account(1), account(2), account(3), account(4));
        let fund = |key: &AccountKey, opg| Allocation { account: key.address(), amount: Opg::whole(opg) };
        let genesis = Genesis {
            format: Genesis::FORMAT.to_owned(),
            name: "test".to_owned(),
            chain_id: 31_337,
            validator: node(10).id(),
            faucet: Some(faucet.address()),
            allocations: vec![
                fund(&faucet, 1_000_000),
                fund(&alice, 100),
                fund(&bob, 100),
                fund(&operator, 5_000),
            ],
            fee_basis_points: 100,
            inference_stake_min: Opg::whole(100),
            storage_price_per_kib: Opg::from_units(1_000_003),
            reservation_ttl_ms: 60_000,
            verifiers: vec![node(11).id(), node(16).id()],
        };
        Self {
            genesis,
            validator: node(10),
            inference: [node(11), node(12)],
            storage: [node(13), node(14), node(15)],
            verifier: node(16),
            gateway: node(17),
            faucet,
            alice,
            bob,
            operator,
        }
    }

    pub(crate) fn network(&self) -> NetworkId {
        self.genesis.network()
    }

    pub(crate) fn state(&self) -> State {
        State::genesis(self.genesis.clone()).expect("the genesis is sound")
    }

    /// A signed payment, good around [`START_MS`] for a day; `nonce` makes it one of its own.
    pub(crate) fn pay(&self, from: &AccountKey, to: Address, value: Opg, nonce: u64) -> SignedAuthorization {
        self.sign(from, Self::authorization(from, to, value, nonce))
    }

    pub(crate) fn authorization(from: &AccountKey, to: Address, value: Opg, nonce: u64) -> Authorization {
        let now = START_MS / 1000;
        let (valid_after, valid_before) = (now - 60, now + 24 * 3600);
        Authorization {
            from: from.address(),
            to,
            value,
            valid_after,
            valid_before,
            nonce: Self::nonce(nonce),
        }
    }

    pub(crate) fn sign(&self, from: &AccountKey, authorization: Authorization) -> SignedAuthorization {
        sign_authorization(from, self.genesis.chain_id, authorization)
    }

    pub(crate) fn nonce(number: u64) -> Nonce {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        Nonce(bytes)
    }

    pub(crate) fn transfer(&self, from: &AccountKey, to: Address, value: Opg, nonce: u64) -> Tx {
        Tx::Transfer(self.pay(from, to, value, nonce))
    }

    pub(crate) fn announcement(&self, key: &NodeKey, roles: &[Role]) -> NodeAnnouncement {
        NodeAnnouncement {
            node: key.id(),
            sequence: 1,
            roles: roles.to_vec(),
            endpoint: "http://127.0.0.1:4000".to_owned(),
            payout: self.operator.address(),
            per_call: Opg::from_units(1000),
            per_gigamac: Opg::from_units(10),
        }
    }

    /// Signed by `key`, without a stake.
    pub(crate) fn register(&self, key: &NodeKey, announcement: NodeAnnouncement) -> Tx {
        self.register_with(key, announcement, None)
    }

    pub(crate) fn register_with(
        &self,
        key: &NodeKey,
        announcement: NodeAnnouncement,
        stake: Option<SignedAuthorization>,
    ) -> Tx {
        let signature = key.sign(Domain::REGISTER_NODE, self.network(), &cbor::encode(&announcement));
        Tx::RegisterNode(announcement, stake, signature)
    }

    pub(crate) fn stake(&self, node: NodeId, sequence: u64, value: Opg) -> SignedAuthorization {
        let valid_before = START_MS / 1000 + 24 * 3600;
        let stake = Stake { network: self.network(), node, sequence, value, valid_before };
        sign_stake(&self.operator, self.genesis.chain_id, &stake)
    }

    /// Every node of the network, each in its role.
    pub(crate) fn register_all(&self) -> Vec<Tx> {
        let plain = |key: &NodeKey, role| self.register(key, self.announcement(key, &[role]));
        let staked = |key: &NodeKey| {
            let stake = self.stake(key.id(), 1, Opg::whole(100));
            self.register_with(key, self.announcement(key, &[Role::Inference]), Some(stake))
        };
        let mut txs = vec![plain(&self.validator, Role::Validator)];
        txs.extend(self.inference.iter().map(staked));
        txs.extend(self.storage.iter().map(|key| plain(key, Role::Storage)));
        txs.extend([plain(&self.verifier, Role::Verifier), plain(&self.gateway, Role::Gateway)]);
        txs
    }

    pub(crate) fn model() -> ModelId {
        ModelId(BlobId::of(b"manifest").0)
    }

    pub(crate) fn revision() -> BlobId {
        BlobId::of(b"revision")
    }

    pub(crate) fn name() -> RepoName {
        "alice/digits".parse().expect("a valid name")
    }

    /// `bytes` as a blob of `size_bytes`, 2 of 3, each shard acknowledged.
    pub(crate) fn blob(&self, bytes: &[u8], size_bytes: u64) -> BlobRegistration {
        let shard = |index: u8| ShardId(BlobId::of(&[bytes, &[index]].concat()).0);
        let layout =
            Layout { blob: BlobId::of(bytes), size_bytes, k: 2, shards: (0..3).map(shard).collect() };
        let id = layout.id();
        let ack = |(index, key): (u16, &NodeKey)| HolderAck::sign(key, self.network(), id, index);
        let acks = (0..).zip(&self.storage).map(ack).collect();
        BlobRegistration { layout, acks }
    }

    /// The two blobs that every model has.
    pub(crate) fn blobs(&self) -> Vec<BlobRegistration> {
        vec![self.blob(b"manifest", 3_000), self.blob(b"revision", 1)]
    }

    pub(crate) fn registration(&self, blobs: &[BlobRegistration]) -> ModelRegistration {
        let layouts = blobs.iter().map(|blob| &blob.layout);
        ModelRegistration {
            name: Self::name(),
            owner: self.alice.address(),
            sequence: 1,
            model: Self::model(),
            revision: Self::revision(),
            royalty: Opg::from_units(300),
            storage_fee: storage_fee(layouts, self.genesis.storage_price_per_kib).expect("a small fee"),
            summary: "Reads handwritten digits".to_owned(),
        }
    }

    pub(crate) fn publish(&self, registration: ModelRegistration, blobs: Vec<BlobRegistration>) -> Tx {
        self.publish_as(&self.alice, registration, blobs)
    }

    pub(crate) fn publish_as(
        &self,
        owner: &AccountKey,
        registration: ModelRegistration,
        blobs: Vec<BlobRegistration>,
    ) -> Tx {
        let signature = sign_registration(owner, self.genesis.chain_id, self.network(), &registration);
        Tx::RegisterModel(registration, blobs, signature)
    }

    pub(crate) fn publish_digits(&self) -> Tx {
        let blobs = self.blobs();
        self.publish(self.registration(&blobs), blobs)
    }

    pub(crate) fn reservation(&self, payment: SignedAuthorization) -> Reservation {
        Reservation {
            payment,
            model: Self::model(),
            provider: self.inference[0].id(),
            gateway: self.gateway.id(),
            name: Self::name(),
            revision: Self::revision(),
        }
    }

    /// The payee of a call of alice/digits through the gateway.
    pub(crate) fn call(&self) -> Address {
        self.call_through(self.gateway.id())
    }

    pub(crate) fn call_through(&self, gateway: NodeId) -> Address {
        let (name, network) = (Self::name(), self.network());
        let (revision, model) = (Self::revision(), Self::model());
        CallTerms { network, gateway, name: &name, revision, model }.payee()
    }

    pub(crate) fn reserve(&self, reservation: Reservation) -> Tx {
        let signature = self.gateway.sign(Domain::RESERVE, self.network(), &cbor::encode(&reservation));
        Tx::Reserve(reservation, signature)
    }

    /// Bob's payment of `value` for a call of alice/digits by the first inference node.
    pub(crate) fn reserve_for_bob(&self, value: Opg, nonce: u64) -> Tx {
        self.reserve(self.reservation(self.pay(&self.bob, self.call(), value, nonce)))
    }

    pub(crate) fn payment_id(from: &AccountKey, nonce: u64) -> PaymentId {
        Self::authorization(from, Address::ESCROW, Opg::ZERO, nonce).payment_id()
    }

    pub(crate) fn reassign(&self, payment: PaymentId, from: NodeId, to: NodeId) -> Tx {
        let reassignment = Reassignment { payment, from, to };
        let signature = self.gateway.sign(Domain::RESERVE, self.network(), &cbor::encode(&reassignment));
        Tx::Reassign(reassignment, signature)
    }

    pub(crate) fn release(&self, payment: PaymentId) -> Tx {
        let release = Release { payment, node: self.gateway.id() };
        let signature = self.gateway.sign(Domain::RELEASE, self.network(), &cbor::encode(&release));
        Tx::Release(release, signature)
    }

    /// The receipt of the first inference node for a call of 1.5 gigamacs: 1000 + 300 + 2 * 10 units.
    pub(crate) fn receipt(&self, payment: PaymentId) -> Receipt {
        let salt = Salt([5; 32]);
        Receipt {
            network: self.network(),
            provider: self.inference[0].id(),
            nonce: Nonce([2; 32]),
            model_name: Self::name(),
            revision: Self::revision(),
            model: Self::model(),
            runtime: "nabla-engine/0.1.0".to_owned(),
            kernel_spec: 1,
            request: salt.commit(&CommitmentLabel::Request, b"{}"),
            response: salt.commit(&CommitmentLabel::Response, b"[]"),
            inputs: vec![],
            outputs: vec![],
            sampling: None,
            usage: Usage { rows: 1, macs: 1_500_000_000, tokens_in: 0, tokens_out: 0 },
            price: Price {
                per_call: Opg::from_units(1000),
                per_gigamac: Opg::from_units(10),
                royalty: Opg::from_units(300),
            },
            amount: Opg::from_units(1320),
            payer: salt.commit(&CommitmentLabel::Payer, &self.bob.address().0),
            payment,
            started_ms: START_MS,
            finished_ms: START_MS + 3,
            evidence: Evidence::Signed,
        }
    }

    /// Signed by whichever inference node the receipt names.
    pub(crate) fn settle(&self, receipt: Receipt) -> Tx {
        let key = self.inference.iter().find(|key| key.id() == receipt.provider).expect("one of ours");
        Tx::Settle(SignedReceipt::sign(key, receipt).to_bytes())
    }

    pub(crate) fn receipt_id(tx: &Tx) -> ReceiptId {
        let Tx::Settle(cose) = tx else { panic!("not a settlement") };
        SignedReceipt::from_bytes(cose).expect("our own bytes").id()
    }

    pub(crate) fn verdict(&self, receipt: ReceiptId, outcome: Outcome) -> Tx {
        let verdict = Verdict { receipt, verifier: self.verifier.id(), outcome };
        let signature = self.verifier.sign(Domain::VERDICT, self.network(), &cbor::encode(&verdict));
        Tx::Verdict(verdict, signature)
    }
}

/// A world and its ledger, block after block.
pub(crate) struct Chain {
    pub(crate) world: World,
    pub(crate) state: State,
    pub(crate) time_ms: u64,
}

impl Chain {
    /// Before the first block.
    pub(crate) fn new() -> Self {
        let world = World::new();
        Self { state: world.state(), world, time_ms: START_MS }
    }

    /// All nodes registered, alice/digits published.
    pub(crate) fn ready() -> Self {
        let mut chain = Self::new();
        chain.push(chain.world.register_all());
        chain.push(vec![chain.world.publish_digits()]);
        chain
    }

    /// A block of exactly these transactions, checked, applied and recounted.
    #[track_caller]
    pub(crate) fn push(&mut self, txs: Vec<Tx>) -> Block {
        let block = self.block(txs);
        self.state.apply(&block).expect("a proposed block is good");
        assert!(self.state.recount().is_some(), "money was made or lost");
        block
    }

    /// A block of exactly these transactions, not applied.
    #[track_caller]
    pub(crate) fn block(&self, txs: Vec<Tx>) -> Block {
        let count = txs.len();
        let proposal = self.state.propose(txs, self.time_ms).expect("conserves");
        assert_eq!(proposal.rejected, [], "none is refused");
        assert_eq!(proposal.accepted.len(), count);
        proposal.seal(&self.world.validator).block
    }

    /// Why a transaction is refused now.
    #[track_caller]
    pub(crate) fn code(&self, tx: &Tx) -> &'static str {
        match self.state.check_tx(tx, self.time_ms) {
            Ok(()) => "accepted",
            Err(reject) => reject.code(),
        }
    }
}
