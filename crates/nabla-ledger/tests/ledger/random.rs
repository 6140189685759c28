//! Random transactions, good and bad, on two replicas: money is conserved, the replicas stay equal, and a
//! replica that is fed damaged blocks refuses them and stays as it was.

use std::collections::BTreeMap;

use nabla_types::{
    NodeId, Opg, PaymentId, ReceiptId, cbor,
    chain::{BLOCK_BYTES_MAX, Block, NodeAnnouncement, Outcome, PaymentStatus, Reassignment, Role, Tx},
    receipt::Usage,
};

use crate::world::{Chain, World};

/// SplitMix64: small, fixed for ever, and enough to shuffle tests.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).expect("below a usize")
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        (!from.is_empty()).then(|| &from[self.below(from.len())])
    }
}

/// What the generator remembers, right or wrong.
#[derive(Default)]
struct Memory {
    payments: Vec<(PaymentId, u64)>,
    receipts: Vec<ReceiptId>,
    sent: Vec<Tx>,
    sequences: BTreeMap<NodeId, u64>,
}

fn random_tx(world: &World, memory: &mut Memory, random: &mut Random) -> Tx {
    let accounts = [&world.faucet, &world.alice, &world.bob, &world.operator];
    let from = accounts[random.below(4)];
    // Few nonces, so that some are used twice; amounts up to more than anybody has.
    let nonce = random.next() % 400;
    let value = Opg::from_units(u128::from(random.next()) << random.below(16));
    let nodes = [&world.inference[0], &world.inference[1], &world.gateway, &world.storage[0]];
    match random.below(10) {
        0 => world.transfer(from, accounts[random.below(4)].address(), value, nonce),
        1 => Tx::Grant(world.pay(from, world.bob.address(), value, nonce)),
        2 => {
            let key = nodes[random.below(4)];
            let sequence = memory.sequences.entry(key.id()).or_insert(2);
            let role = [Role::Inference, Role::Gateway, Role::Storage][random.below(3)];
            let stake = (random.below(2) == 0).then(|| world.stake(key.id(), *sequence, value));
            let announcement = NodeAnnouncement { sequence: *sequence, ..world.announcement(key, &[role]) };
            *sequence += u64::from(random.below(2) == 0);
            // Often the roles that the other transactions need, so that the network stays at work.
            let keep = if key.id() == world.gateway.id() { Role::Gateway } else { Role::Inference };
            world.register_with(key, NodeAnnouncement { roles: vec![keep], ..announcement }, stake)
        }
        3 | 4 => {
            memory.payments.push((World::payment_id(&world.bob, nonce), nonce));
            let value = Opg::from_units(1000 + u128::from(random.next() % 1000));
            let payment = world.pay(&world.bob, world.call(), value, nonce);
            let provider = world.inference[random.below(2)].id();
            world.reserve(nabla_types::chain::Reservation { provider, ..world.reservation(payment) })
        }
        5 | 6 => settlement(world, memory, random),
        7 => {
            let payment = random.pick(&memory.payments).map_or(PaymentId([0; 32]), |(payment, _)| *payment);
            match random.below(3) {
                0 => world.release(payment),
                _ => {
                    let (a, b) = (world.inference[0].id(), world.inference[1].id());
                    let (from, to) = if random.below(2) == 0 { (a, b) } else { (b, a) };
                    let Reassignment { payment, from, to } = Reassignment { payment, from, to };
                    world.reassign(payment, from, to)
                }
            }
        }
        8 => {
            let receipt = random.pick(&memory.receipts).copied().unwrap_or(ReceiptId([0; 32]));
            world.verdict(receipt, if random.below(2) == 0 { Outcome::Equal } else { Outcome::Different })
        }
        _ => random.pick(&memory.sent).cloned().unwrap_or_else(|| world.publish_digits()),
    }
}

fn settlement(world: &World, memory: &mut Memory, random: &mut Random) -> Tx {
    let payment = random.pick(&memory.payments).map_or(PaymentId([0; 32]), |(payment, _)| *payment);
    let mut receipt = world.receipt(payment);
    receipt.provider = world.inference[random.below(2)].id();
    receipt.usage = Usage { macs: random.next() % 40_000_000_000, ..receipt.usage };
    receipt.amount = receipt.price.amount(&receipt.usage).expect("small");
    if random.below(8) == 0 {
        receipt.amount = Opg::from_units(receipt.amount.units() - 1);
    }
    let tx = world.settle(receipt);
    memory.receipts.push(World::receipt_id(&tx));
    tx
}

/// What a replica gets: bytes.
fn over_the_wire(block: &Block) -> Block {
    cbor::decode("block", &cbor::encode(block), BLOCK_BYTES_MAX).expect("our own bytes")
}

/// One random bit of a block's bytes flipped: refused, if it can be read at all.
fn check_damaged(chain: &Chain, block: &Block, random: &mut Random) {
    let mut bytes = cbor::encode(block);
    let bit = random.below(bytes.len() * 8);
    bytes[bit / 8] ^= 1 << (bit % 8);
    if let Ok(damaged) = cbor::decode::<Block>("block", &bytes, BLOCK_BYTES_MAX) {
        assert!(chain.state.execute(&damaged).is_err(), "bit {bit} is not bound");
    }
}

fn simulate(seed: u64, blocks: usize) -> (BTreeMap<&'static str, u32>, BTreeMap<&'static str, u32>) {
    let (mut random, mut memory) = (Random(seed), Memory::default());
    let (mut chain, mut replica) = (Chain::ready(), Chain::ready());
    let (mut accepted, mut refused) = (BTreeMap::new(), BTreeMap::new());
    for _ in 0..blocks {
        chain.time_ms += random.next() % 20_000;
        let txs: Vec<Tx> =
            (0..random.below(20)).map(|_| random_tx(&chain.world, &mut memory, &mut random)).collect();
        memory.sent.extend(txs.iter().take(2).cloned());
        let proposal = chain.state.propose(txs, chain.time_ms).expect("conserves");
        proposal.accepted.iter().for_each(|tx| *accepted.entry(tx.kind()).or_default() += 1);
        proposal.rejected.iter().for_each(|(_, reject)| *refused.entry(reject.code()).or_default() += 1);
        let sealed = proposal.seal(&chain.world.validator);
        check_damaged(&replica, &sealed.block, &mut random);
        replica.state.apply(&over_the_wire(&sealed.block)).expect("the replica agrees");
        chain.state.commit(sealed.changes).expect("made on this state");
        assert_eq!(chain.state, replica.state, "seed {seed}: the replicas differ");
        assert!(chain.state.recount().is_some(), "seed {seed}: money was made or lost");
    }
    let settled = |(payment, _): &&(PaymentId, u64)| {
        let status = chain.state.payment(payment).map(|payment| payment.status);
        matches!(status, Some(PaymentStatus::Settled { .. }))
    };
    assert!(memory.payments.iter().any(|payment| settled(&payment)), "seed {seed}: nothing was settled");
    (accepted, refused)
}

#[test]
fn random_histories_conserve_money_and_agree() {
    let (mut accepted, mut refused) = (BTreeMap::new(), BTreeMap::new());
    for seed in 1..=6 {
        let (good, bad) = simulate(seed, 60);
        good.into_iter().for_each(|(kind, count)| *accepted.entry(kind).or_insert(0) += count);
        bad.into_iter().for_each(|(code, count)| *refused.entry(code).or_insert(0) += count);
    }
    for kind in ["transfer", "grant", "register-node", "reserve", "reassign", "settle", "release", "verdict"]
    {
        assert!(accepted.contains_key(kind), "no {kind} was accepted: {accepted:?}");
    }
    assert!(refused.len() >= 10, "few rules were tried: {refused:?}");
}

/// The same history twice, from the seed: the same blocks to the last bit, however often it is run.
#[test]
fn a_history_is_decided_by_its_seed() {
    assert_eq!(simulate(7, 20), simulate(7, 20));
}
