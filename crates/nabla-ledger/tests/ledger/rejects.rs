//! Beside each rule a liar: the transaction that breaks it, and the code it is refused with.

use std::collections::BTreeSet;

use nabla_types::{
    Address, BlobId, ModelId, NodeId, Opg, PaymentId, ReceiptId, cbor,
    chain::{
        ModelRegistration, NodeAnnouncement, Outcome, Release, Reservation, Role, TX_BYTES_MAX, Tx, Verdict,
    },
    payment::{AccountSignature, Authorization, SignedAuthorization},
    receipt::{Price, Receipt, Usage},
    signature::{Domain, NodeKey},
};

use crate::world::{Chain, START_MS, World};

type Cases = Vec<(&'static str, Tx)>;

/// A world in which every refused transaction differs from an accepted one in one thing only.
struct Stage {
    chain: Chain,
    /// Reserved by bob, for the first inference node.
    reserved: PaymentId,
    /// Reserved, then given back.
    released: PaymentId,
    /// Settled.
    receipt: ReceiptId,
    settled: Tx,
    transfer: Tx,
}

const ENOUGH: Opg = Opg::from_units(5000);

impl Stage {
    fn new() -> Self {
        let mut chain = Chain::ready();
        let world = &chain.world;
        let id = |nonce| World::payment_id(&world.bob, nonce);
        let settled = world.settle(world.receipt(id(1)));
        let receipt = World::receipt_id(&settled);
        let transfer = world.transfer(&world.bob, world.alice.address(), Opg::whole(1), 100);
        let (reserved, released) = (id(2), id(3));
        let first = vec![
            world.reserve_for_bob(ENOUGH, 1),
            world.reserve_for_bob(ENOUGH, 2),
            world.reserve_for_bob(ENOUGH, 3),
            transfer.clone(),
        ];
        let second = vec![settled.clone(), world.release(released), world.verdict(receipt, Outcome::Equal)];
        chain.push(first);
        chain.push(second);
        Self { chain, reserved, released, receipt, settled, transfer }
    }

    fn world(&self) -> &World {
        &self.chain.world
    }

    fn transfers(&self) -> Cases {
        let w = self.world();
        let (alice, one) = (w.alice.address(), Opg::whole(1));
        let good = World::authorization(&w.bob, alice, one, 50);
        let with = |change: &dyn Fn(&mut Authorization)| {
            let mut changed = good.clone();
            change(&mut changed);
            Tx::Transfer(w.sign(&w.bob, changed))
        };
        let signed = w.sign(&w.bob, good.clone());
        let forged = |change: &dyn Fn(&mut SignedAuthorization)| {
            let mut forged = signed.clone();
            change(&mut forged);
            Tx::Transfer(forged)
        };
        let now = START_MS / 1000;
        vec![
            ("accepted", Tx::Transfer(signed.clone())),
            ("bad_signature", forged(&|s| s.authorization.value = Opg::whole(2))),
            ("bad_signature", forged(&|s| s.authorization.to = w.operator.address())),
            ("bad_signature", forged(&|s| s.authorization.from = w.alice.address())),
            ("bad_signature", forged(&|s| s.authorization.nonce = World::nonce(51))),
            ("bad_signature", forged(&|s| s.signature.0[64] ^= 7)),
            ("bad_signature", forged(&|s| s.signature = AccountSignature([0; 65]))),
            ("payment_not_yet_valid", with(&|a| a.valid_after = now)),
            ("accepted", with(&|a| a.valid_after = now - 1)),
            ("payment_expired", with(&|a| a.valid_before = now)),
            ("accepted", with(&|a| a.valid_before = now + 1)),
            ("payment_replayed", with(&|a| (a.nonce, a.value) = (World::nonce(100), Opg::whole(2)))),
            ("payment_replayed", with(&|a| a.nonce = World::nonce(1))),
            ("zero_amount", with(&|a| a.value = Opg::ZERO)),
            ("insufficient_funds", with(&|a| a.value = Opg::whole(100))),
            ("account_without_owner", with(&|a| a.to = w.call())),
            ("account_without_owner", with(&|a| a.to = Address::ESCROW)),
            ("account_without_owner", with(&|a| a.to = Address::STAKE)),
            ("account_without_owner", with(&|a| a.to = Address([0; 20]))),
            ("account_without_owner", with(&|a| a.to = nabla_pay::OPG_ADDRESS)),
            ("not_the_faucet", Tx::Grant(signed.clone())),
            ("accepted", Tx::Grant(w.pay(&w.faucet, alice, one, 1))),
            ("transaction_included", self.transfer.clone()),
            ("transaction_too_large", Tx::Settle(vec![0; TX_BYTES_MAX])),
        ]
    }

    fn nodes(&self) -> Cases {
        let w = self.world();
        let key = NodeKey::from_seed(&[99; 32]);
        let good = w.announcement(&key, &[Role::Storage, Role::Gateway]);
        let with = |change: &dyn Fn(&mut NodeAnnouncement)| {
            let mut changed = good.clone();
            change(&mut changed);
            w.register(&key, changed)
        };
        let staked = |stake| w.register_with(&key, w.announcement(&key, &[Role::Inference]), Some(stake));
        let stake_of = |node: NodeId, sequence, opg| w.stake(node, sequence, Opg::whole(opg));
        let to_escrow = {
            let stake = stake_of(key.id(), 1, 100).authorization;
            w.sign(&w.operator, Authorization { to: Address::ESCROW, ..stake })
        };
        let again = NodeAnnouncement { sequence: 2, ..w.announcement(&w.gateway, &[Role::Gateway]) };
        vec![
            ("accepted", with(&|_| ())),
            ("accepted", w.register(&w.gateway, again)),
            ("wrong_sequence", with(&|a| a.sequence = 2)),
            (
                "wrong_sequence",
                w.register(
                    &w.gateway,
                    NodeAnnouncement {
                        endpoint: "http://b".into(),
                        ..w.announcement(&w.gateway, &[Role::Gateway])
                    },
                ),
            ),
            ("bad_signature", w.register(&w.gateway, good.clone())),
            ("bad_roles", with(&|a| a.roles = vec![])),
            ("bad_roles", with(&|a| a.roles = vec![Role::Gateway, Role::Storage])),
            ("bad_roles", with(&|a| a.roles = vec![Role::Storage, Role::Storage])),
            ("not_the_validator", with(&|a| a.roles = vec![Role::Validator])),
            ("not_a_verifier", with(&|a| a.roles = vec![Role::Verifier])),
            ("bad_endpoint", with(&|a| a.endpoint = "ftp://example.org".into())),
            ("bad_endpoint", with(&|a| a.endpoint = "http://".into())),
            ("bad_endpoint", with(&|a| a.endpoint = "http://a b".into())),
            ("bad_endpoint", with(&|a| a.endpoint = format!("http://{}", "a".repeat(249)))),
            ("accepted", with(&|a| a.endpoint = format!("http://{}", "a".repeat(248)))),
            ("account_without_owner", with(&|a| a.payout = Address::ESCROW)),
            ("insufficient_stake", with(&|a| a.roles = vec![Role::Inference])),
            ("insufficient_stake", staked(stake_of(key.id(), 1, 99))),
            ("accepted", staked(stake_of(key.id(), 1, 100))),
            ("stake_not_bound", staked(stake_of(w.gateway.id(), 1, 100))),
            ("stake_not_bound", staked(stake_of(key.id(), 2, 100))),
            ("wrong_payee", staked(to_escrow)),
            ("zero_amount", staked(stake_of(key.id(), 1, 0))),
            ("insufficient_funds", staked(stake_of(key.id(), 1, 5_000))),
        ]
    }

    fn models(&self) -> Cases {
        let w = self.world();
        let good = ModelRegistration { sequence: 2, ..w.registration(&[]) };
        let with = |change: &dyn Fn(&mut ModelRegistration)| {
            let mut changed = good.clone();
            change(&mut changed);
            w.publish(changed, vec![])
        };
        let as_bob = |name: &str| {
            let registration = ModelRegistration {
                name: name.parse().expect("a valid name"),
                owner: w.bob.address(),
                sequence: 1,
                ..good.clone()
            };
            w.publish_as(&w.bob, registration, vec![])
        };
        let forged = |change: &dyn Fn(&mut ModelRegistration)| {
            let Tx::RegisterModel(mut registration, blobs, signature) = w.publish(good.clone(), vec![])
            else {
                panic!("a registration")
            };
            change(&mut registration);
            Tx::RegisterModel(registration, blobs, signature)
        };
        vec![
            ("accepted", with(&|_| ())),
            ("accepted", as_bob("bob/digits")),
            ("bad_signature", forged(&|r| r.royalty = Opg::from_units(301))),
            ("bad_signature", forged(&|r| r.summary.push('!'))),
            ("wrong_sequence", with(&|r| r.sequence = 1)),
            ("wrong_sequence", with(&|r| r.sequence = 3)),
            ("wrong_sequence", with(&|r| r.name = "alice/other".parse().expect("a name"))),
            ("prefix_taken", as_bob("alice/other")),
            ("prefix_taken", as_bob("alice/digits")),
            ("bad_summary", with(&|r| r.summary = "x".repeat(201))),
            ("bad_summary", with(&|r| r.summary = "two\nlines".into())),
            ("account_without_owner", forged(&|r| r.owner = Address::STAKE)),
            ("unknown_blob", with(&|r| r.model = ModelId([1; 32]))),
            ("unknown_blob", with(&|r| r.revision = BlobId([1; 32]))),
            ("wrong_storage_fee", with(&|r| r.storage_fee = Opg::from_units(1))),
        ]
    }

    fn blobs(&self) -> Cases {
        let w = self.world();
        let with = |change: &dyn Fn(&mut nabla_types::chain::BlobRegistration)| {
            let mut blob = w.blob(b"weights", 10_000);
            change(&mut blob);
            let blobs = vec![blob];
            let registration = ModelRegistration { sequence: 2, ..w.registration(&blobs) };
            w.publish(registration, blobs)
        };
        let big = {
            let blobs = vec![w.blob(b"weights", 1 << 37)];
            let registration = ModelRegistration { sequence: 2, ..w.registration(&blobs) };
            w.publish(registration, blobs)
        };
        let stranger = NodeKey::from_seed(&[99; 32]);
        let ack = |key: &NodeKey, blob: &nabla_types::chain::BlobRegistration| {
            nabla_types::layout::HolderAck::sign(key, w.network(), blob.layout.id(), 0)
        };
        vec![
            ("accepted", with(&|_| ())),
            ("accepted", big),
            ("bad_layout", with(&|b| b.layout.k = 4)),
            ("blob_known", with(&|b| *b = w.blob(b"manifest", 3_000))),
            ("wrong_acknowledgement", with(&|b| b.acks.truncate(2))),
            ("wrong_acknowledgement", with(&|b| b.acks.swap(0, 1))),
            ("wrong_acknowledgement", with(&|b| b.layout.size_bytes -= 1)),
            ("bad_signature", with(&|b| b.acks[0].node = w.storage[1].id())),
            ("unknown_node", with(&|b| b.acks[0] = ack(&stranger, b))),
            ("missing_role", with(&|b| b.acks[0] = ack(&w.gateway, b))),
        ]
    }

    fn reservations(&self) -> Cases {
        let w = self.world();
        let pay = |to, value, nonce| w.pay(&w.bob, to, value, nonce);
        let good = w.reservation(pay(w.call(), ENOUGH, 60));
        let with = |change: &dyn Fn(&mut Reservation)| {
            let mut changed = good.clone();
            change(&mut changed);
            w.reserve(changed)
        };
        let Tx::Reserve(_, signature) = w.reserve(good.clone()) else { panic!("a reservation") };
        let rerouted = Reservation { provider: w.inference[1].id(), ..good.clone() };
        let (first, second) = (w.inference[0].id(), w.inference[1].id());
        let by_verifier = Release { payment: self.reserved, node: w.verifier.id() };
        let signed = w.verifier.sign(Domain::RELEASE, w.network(), &cbor::encode(&by_verifier));
        vec![
            ("accepted", with(&|_| ())),
            ("bad_signature", Tx::Reserve(rerouted, signature)),
            ("unknown_node", with(&|r| r.gateway = NodeId([9; 32]))),
            ("missing_role", with(&|r| r.gateway = w.verifier.id())),
            ("unknown_node", with(&|r| r.provider = NodeId([9; 32]))),
            ("missing_role", with(&|r| r.provider = w.storage[0].id())),
            ("unknown_model", with(&|r| r.model = ModelId([9; 32]))),
            ("unknown_repo", with(&|r| r.name = "alice/none".parse().expect("a name"))),
            ("unknown_revision", with(&|r| r.revision = BlobId([9; 32]))),
            ("wrong_payee", with(&|r| r.payment = pay(w.operator.address(), ENOUGH, 60))),
            ("wrong_payee", with(&|r| r.payment = pay(Address::ESCROW, ENOUGH, 60))),
            ("wrong_payee", with(&|r| r.payment = pay(w.call_through(w.inference[0].id()), ENOUGH, 60))),
            ("payment_replayed", with(&|r| r.payment = pay(w.call(), Opg::whole(1), 1))),
            ("payment_replayed", with(&|r| r.payment = pay(w.call(), ENOUGH, 100))),
            ("insufficient_funds", with(&|r| r.payment = pay(w.call(), Opg::whole(100), 60))),
            ("reserved_too_little", with(&|r| r.payment = pay(w.call(), Opg::from_units(1299), 60))),
            ("accepted", with(&|r| r.payment = pay(w.call(), Opg::from_units(1300), 60))),
            ("accepted", w.reassign(self.reserved, first, second)),
            ("wrong_provider", w.reassign(self.reserved, second, first)),
            ("provider_had_it", w.reassign(self.reserved, first, first)),
            ("unknown_node", w.reassign(self.reserved, first, NodeId([9; 32]))),
            ("missing_role", w.reassign(self.reserved, first, w.storage[0].id())),
            ("unknown_payment", w.reassign(PaymentId([9; 32]), first, second)),
            ("payment_not_reserved", w.reassign(self.released, first, second)),
            ("accepted", w.release(self.reserved)),
            ("unknown_payment", w.release(PaymentId([9; 32]))),
            ("payment_not_reserved", w.release(World::payment_id(&w.bob, 1))),
            ("wrong_gateway", Tx::Release(by_verifier, signed)),
            ("bad_signature", Tx::Release(Release { payment: self.reserved, node: w.gateway.id() }, signed)),
        ]
    }

    fn settlements(&self) -> Cases {
        let w = self.world();
        let good = w.receipt(self.reserved);
        let with = |change: &dyn Fn(&mut Receipt)| {
            let mut changed = good.clone();
            change(&mut changed);
            w.settle(changed)
        };
        let usage = |macs| Usage { macs, ..good.usage };
        vec![
            ("accepted", with(&|_| ())),
            ("bad_receipt", flip_last_bit(&w.settle(good.clone()))),
            ("bad_receipt", Tx::Settle(vec![])),
            ("bad_receipt", Tx::Settle(vec![0xd2; 64])),
            ("wrong_network", with(&|r| r.network.0[0] ^= 1)),
            ("transaction_included", self.settled.clone()),
            ("receipt_known", flip_last_bit(&self.settled)),
            ("unknown_payment", with(&|r| r.payment = PaymentId([9; 32]))),
            ("payment_not_reserved", with(&|r| r.payment = self.released)),
            ("wrong_provider", with(&|r| r.provider = w.inference[1].id())),
            ("wrong_name", with(&|r| r.model_name = "bob/digits".parse().expect("a name"))),
            ("wrong_revision", with(&|r| r.revision = BlobId([9; 32]))),
            ("wrong_model", with(&|r| r.model = ModelId([9; 32]))),
            ("wrong_price", with(&|r| r.price = Price { royalty: Opg::ZERO, ..r.price })),
            ("wrong_price", with(&|r| r.price = Price { per_call: Opg::from_units(1001), ..r.price })),
            ("wrong_price", with(&|r| r.price = Price { per_gigamac: Opg::from_units(11), ..r.price })),
            ("wrong_amount", with(&|r| r.amount = Opg::from_units(1321))),
            ("wrong_amount", with(&|r| r.usage = usage(2_000_000_001))),
            (
                "reserved_too_little",
                with(&|r| {
                    r.usage = usage(371_000_000_000);
                    r.amount = Opg::from_units(5010);
                }),
            ),
            (
                "accepted",
                with(&|r| {
                    r.usage = usage(370_000_000_000);
                    r.amount = Opg::from_units(5000);
                }),
            ),
        ]
    }

    fn verdicts(&self) -> Cases {
        let w = self.world();
        let by = |key: &NodeKey, signer: &NodeKey, receipt| {
            let verdict = Verdict { receipt, verifier: key.id(), outcome: Outcome::Equal };
            let signature = signer.sign(Domain::VERDICT, w.network(), &cbor::encode(&verdict));
            Tx::Verdict(verdict, signature)
        };
        vec![
            ("transaction_included", w.verdict(self.receipt, Outcome::Equal)),
            ("verdict_known", w.verdict(self.receipt, Outcome::Different)),
            ("unknown_receipt", w.verdict(ReceiptId([9; 32]), Outcome::Equal)),
            ("missing_role", by(&w.gateway, &w.gateway, self.receipt)),
            ("unknown_node", by(&NodeKey::from_seed(&[99; 32]), &w.verifier, self.receipt)),
        ]
    }
}

/// The same receipt with another signature, which is not good.
fn flip_last_bit(settle: &Tx) -> Tx {
    let Tx::Settle(mut cose) = settle.clone() else { panic!("a settlement") };
    *cose.last_mut().expect("not empty") ^= 1;
    Tx::Settle(cose)
}

#[track_caller]
fn check(stage: &Stage, cases: Cases) {
    for (index, (expected, tx)) in cases.iter().enumerate() {
        let got = stage.chain.state.check_tx(tx, stage.chain.time_ms);
        let code = got.as_ref().err().map_or("accepted", |reject| reject.code());
        assert_eq!(code, *expected, "case {index}: {got:?}");
    }
}

#[test]
fn transfers() {
    let stage = Stage::new();
    check(&stage, stage.transfers());
}

#[test]
fn nodes() {
    let stage = Stage::new();
    check(&stage, stage.nodes());
}

#[test]
fn models() {
    let stage = Stage::new();
    check(&stage, stage.models());
}

#[test]
fn blobs() {
    let stage = Stage::new();
    check(&stage, stage.blobs());
}

#[test]
fn reservations() {
    let stage = Stage::new();
    check(&stage, stage.reservations());
}

#[test]
fn settlements() {
    let stage = Stage::new();
    check(&stage, stage.settlements());
}

#[test]
fn verdicts() {
    let stage = Stage::new();
    check(&stage, stage.verdicts());
}

/// A node that runs and verifies cannot vouch for itself.
#[test]
fn a_provider_does_not_judge_itself() {
    let mut stage = Stage::new();
    let world = &stage.chain.world;
    let key = world.inference[0].clone();
    let roles = [Role::Inference, Role::Verifier];
    let both = NodeAnnouncement { sequence: 2, ..world.announcement(&key, &roles) };
    let verdict = Verdict { receipt: stage.receipt, verifier: key.id(), outcome: Outcome::Equal };
    let signature = key.sign(Domain::VERDICT, world.network(), &cbor::encode(&verdict));
    let register = world.register(&key, both);
    stage.chain.push(vec![register]);
    assert_eq!(stage.chain.code(&Tx::Verdict(verdict, signature)), "own_receipt");
}

/// Prices near 2^128 are refused where they would overflow, not wrapped.
#[test]
fn prices_that_overflow() {
    let mut stage = Stage::new();
    let world = &stage.chain.world;
    let key = world.inference[1].clone();
    let dear = NodeAnnouncement {
        sequence: 2,
        per_call: Opg::from_units(u128::MAX),
        ..world.announcement(&key, &[Role::Inference])
    };
    let register = world.register(&key, dear);
    stage.chain.push(vec![register]);
    let world = &stage.chain.world;
    let payment = world.pay(&world.bob, world.call(), ENOUGH, 60);
    let reserve = world.reserve(Reservation { provider: key.id(), ..world.reservation(payment) });
    assert_eq!(stage.chain.code(&reserve), "amount_overflow");
}

/// A payment that was taken from a provider does not come back to it: a signed move cannot be replayed.
#[test]
fn moves_are_bounded_and_not_replayed() {
    let mut stage = Stage::new();
    let nodes: Vec<NodeKey> = (100..110).map(|seed| NodeKey::from_seed(&[seed; 32])).collect();
    let world = &stage.chain.world;
    let staked = |key: &NodeKey| {
        let stake = world.stake(key.id(), 1, Opg::whole(100));
        world.register_with(key, world.announcement(key, &[Role::Inference]), Some(stake))
    };
    let first = world.inference[0].id();
    let register: Vec<Tx> = nodes.iter().map(staked).collect();
    stage.chain.push(register);
    let mut holder = first;
    for key in &nodes[..8] {
        let tx = stage.world().reassign(stage.reserved, holder, key.id());
        stage.chain.push(vec![tx]);
        holder = key.id();
        let back = stage.world().reassign(stage.reserved, holder, first);
        assert_eq!(stage.chain.code(&back), "provider_had_it");
    }
    let ninth = stage.world().reassign(stage.reserved, holder, nodes[8].id());
    assert_eq!(stage.chain.code(&ninth), "too_many_moves");
}

/// Each code that this crate can give is given by some case above, and each has a text that names something.
#[test]
fn every_code_is_provoked() {
    let stage = Stage::new();
    let families = [
        stage.transfers(),
        stage.nodes(),
        stage.models(),
        stage.blobs(),
        stage.reservations(),
        stage.settlements(),
        stage.verdicts(),
    ];
    let seen: BTreeSet<&str> = families.iter().flatten().map(|(code, _)| *code).collect();
    let elsewhere = ["own_receipt", "amount_overflow", "too_many_moves"];
    let source = include_str!("../../src/reject.rs");
    let declared =
        source.lines().filter(|line| line.contains("=> \"")).filter_map(|line| line.split('"').nth(1));
    let codes: Vec<&str> =
        declared.filter(|text| text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')).collect();
    let codes: Vec<&str> = codes.into_iter().filter(|code| code.contains('_')).collect();
    assert!(codes.len() > 40, "{codes:?}");
    for code in codes {
        assert!(seen.contains(code) || elsewhere.contains(&code), "no case provokes {code}");
    }
}
