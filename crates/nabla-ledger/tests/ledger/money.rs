//! Who has what after each kind of transaction, to the last unit and in its class.

use nabla_types::{
    Address, Opg,
    chain::{Account, ModelRegistration, NodeAnnouncement, PaymentStatus, Role, Tx},
};

use crate::world::{Chain, START_MS, World};

const UNIT: Opg = Opg::from_units(1);

fn units(purchased: u128, granted: u128) -> Account {
    Account { purchased: Opg::from_units(purchased), granted: Opg::from_units(granted) }
}

/// The change of an account between two states, in units: (purchased, granted).
fn change(before: &Account, after: &Account) -> (i128, i128) {
    let signed = |amount: Opg| i128::try_from(amount.units()).expect("small");
    (signed(after.purchased) - signed(before.purchased), signed(after.granted) - signed(before.granted))
}

/// Push `txs` and check how each account changes.
#[track_caller]
fn check(chain: &mut Chain, txs: Vec<Tx>, expect: &[(Address, (i128, i128))]) {
    let before: Vec<Account> = expect.iter().map(|(account, _)| chain.state.account(account)).collect();
    chain.push(txs);
    for ((account, expected), before) in expect.iter().zip(before) {
        assert_eq!(change(&before, &chain.state.account(account)), *expected, "{account}");
    }
}

#[test]
fn a_transfer_moves_and_a_grant_arrives_as_granted() {
    let mut chain = Chain::new();
    let (faucet, alice, bob) =
        (chain.world.faucet.address(), chain.world.alice.address(), chain.world.bob.address());
    let txs = vec![chain.world.transfer(&chain.world.alice, bob, Opg::from_units(7), 1)];
    check(&mut chain, txs, &[(alice, (-7, 0)), (bob, (7, 0))]);
    let grant = Tx::Grant(chain.world.pay(&chain.world.faucet, bob, Opg::from_units(5), 1));
    check(&mut chain, vec![grant], &[(faucet, (-5, 0)), (bob, (0, 5))]);
    // Granted is spent first, and stays granted; calling a grant a transfer changes nothing.
    let txs = vec![chain.world.transfer(&chain.world.bob, alice, Opg::from_units(8), 1)];
    check(&mut chain, txs, &[(bob, (-3, -5)), (alice, (3, 5))]);
    let txs = vec![chain.world.transfer(&chain.world.faucet, alice, Opg::from_units(4), 2)];
    check(&mut chain, txs, &[(faucet, (-4, 0)), (alice, (0, 4))]);
}

#[test]
fn a_transfer_to_oneself_changes_nothing() {
    let mut chain = Chain::new();
    let bob = chain.world.bob.address();
    let txs = vec![chain.world.transfer(&chain.world.bob, bob, Opg::whole(100), 1)];
    check(&mut chain, txs, &[(bob, (0, 0))]);
}

#[test]
fn stakes_add_up() {
    let mut chain = Chain::ready();
    let (world, key) = (&chain.world, &chain.world.inference[0]);
    let more = NodeAnnouncement { sequence: 2, ..world.announcement(key, &[Role::Inference]) };
    let tx = world.register_with(key, more, Some(world.stake(key.id(), 2, Opg::from_units(9))));
    let (operator, id) = (world.operator.address(), key.id());
    check(&mut chain, vec![tx], &[(operator, (-9, 0)), (Address::STAKE, (9, 0))]);
    assert_eq!(chain.state.node(&id).map(|node| node.stake), Opg::whole(100).checked_add(Opg::from_units(9)));
    assert_eq!(chain.state.totals().staked, Opg::whole(200).checked_add(Opg::from_units(9)).expect("small"));
}

/// Two blobs of 3 shards: 3 x 1536 bytes are 5 KiB begun, 3 x 64 bytes are 1. Each is divided by its shards,
/// and the first holder gets what does not divide.
#[test]
fn storage_is_paid_to_the_holders() {
    let mut chain = Chain::new();
    let world = &chain.world;
    let payouts = [1, 2, 3].map(|byte| Address([byte; 20]));
    let register = |(key, payout)| {
        let announcement = NodeAnnouncement { payout, ..world.announcement(key, &[Role::Storage]) };
        world.register(key, announcement)
    };
    let mut txs: Vec<Tx> = world.storage.iter().zip(payouts).map(register).collect();
    txs.push(world.publish_digits());
    let (first, rest) = (1_666_671 + 2 + 333_334 + 1, 1_666_671 + 333_334);
    let fee = 6 * 1_000_003;
    let alice = world.alice.address();
    let expect =
        [(alice, (-fee, 0)), (payouts[0], (first, 0)), (payouts[1], (rest, 0)), (payouts[2], (rest, 0))];
    check(&mut chain, txs, &expect);
}

/// 1320 units: 13 are burned, 300 are the owner's, 1007 the provider's; the rest of 5000 goes back.
#[test]
fn a_settled_receipt_is_paid_out() {
    let mut chain = Chain::ready();
    let (bob, alice) = (chain.world.bob.address(), chain.world.alice.address());
    let operator = chain.world.operator.address();
    let txs = vec![chain.world.reserve_for_bob(Opg::from_units(5000), 1)];
    check(&mut chain, txs, &[(bob, (-5000, 0)), (Address::ESCROW, (5000, 0))]);
    let burned = chain.state.totals().burned;
    let payment = World::payment_id(&chain.world.bob, 1);
    let txs = vec![chain.world.settle(chain.world.receipt(payment))];
    let receipt = World::receipt_id(&txs[0]);
    let expect = [(bob, (3680, 0)), (alice, (300, 0)), (operator, (1007, 0)), (Address::ESCROW, (-5000, 0))];
    check(&mut chain, txs, &expect);
    assert_eq!(chain.state.totals().burned.checked_sub(burned), Some(Opg::from_units(13)));
    let status = chain.state.payment(&payment).map(|payment| payment.status);
    assert_eq!(status, Some(PaymentStatus::Settled { receipt }));
    assert_eq!(chain.state.repo(&World::name()).map(|repo| repo.calls), Some(1));
}

/// Bob has 1000 granted units; of 5000 reserved, 1320 are used: all granted ones, in the order fee, royalty,
/// provider. What goes back is purchased.
#[test]
fn granted_money_pays_first_and_stays_granted() {
    let mut chain = Chain::ready();
    let (bob, alice) = (chain.world.bob.address(), chain.world.alice.address());
    let operator = chain.world.operator.address();
    let grant = Tx::Grant(chain.world.pay(&chain.world.faucet, bob, Opg::from_units(1000), 1));
    chain.push(vec![grant]);
    let txs = vec![chain.world.reserve_for_bob(Opg::from_units(5000), 1)];
    check(&mut chain, txs, &[(bob, (-4000, -1000)), (Address::ESCROW, (4000, 1000))]);
    let payment = World::payment_id(&chain.world.bob, 1);
    assert_eq!(chain.state.payment(&payment).map(|p| p.granted), Some(Opg::from_units(1000)));
    let txs = vec![chain.world.settle(chain.world.receipt(payment))];
    let expect =
        [(bob, (3680, 0)), (alice, (0, 300)), (operator, (320, 687)), (Address::ESCROW, (-4000, -1000))];
    check(&mut chain, txs, &expect);
}

#[test]
fn what_is_released_goes_back_in_its_classes() {
    let mut chain = Chain::ready();
    let bob = chain.world.bob.address();
    let grant = Tx::Grant(chain.world.pay(&chain.world.faucet, bob, Opg::from_units(1000), 1));
    chain.push(vec![grant]);
    let txs = vec![chain.world.reserve_for_bob(Opg::from_units(5000), 1)];
    check(&mut chain, txs, &[(bob, (-4000, -1000))]);
    let payment = World::payment_id(&chain.world.bob, 1);
    let txs = vec![chain.world.release(payment)];
    check(&mut chain, txs, &[(bob, (4000, 1000)), (Address::ESCROW, (-4000, -1000))]);
    assert_eq!(chain.state.payment(&payment).map(|payment| payment.status), Some(PaymentStatus::Released));
    let late = chain.world.settle(chain.world.receipt(payment));
    assert_eq!(chain.code(&late), "payment_not_reserved");
}

/// A reservation goes back in the first block at its time, before that block's transactions.
#[test]
fn what_expires_goes_back_first() {
    let mut chain = Chain::ready();
    let bob = chain.world.bob.address();
    let reserve = chain.world.reserve_for_bob(Opg::from_units(5000), 1);
    chain.push(vec![reserve]);
    let payment = World::payment_id(&chain.world.bob, 1);
    let settle = chain.world.settle(chain.world.receipt(payment));
    let expires_ms = START_MS + chain.world.genesis.reservation_ttl_ms;
    assert_eq!(chain.state.next_expiry_ms(), Some(expires_ms));
    chain.time_ms = expires_ms - 1;
    assert_eq!(chain.code(&settle), "accepted");
    chain.time_ms = expires_ms;
    assert_eq!(chain.code(&settle), "payment_not_reserved");
    check(&mut chain, vec![], &[(bob, (5000, 0)), (Address::ESCROW, (-5000, 0))]);
    assert_eq!(chain.state.next_expiry_ms(), None);
    assert_eq!(chain.code(&settle), "payment_not_reserved");
}

/// A move to another node takes that node's price and begins the time anew.
#[test]
fn a_moved_payment_is_the_other_nodes() {
    let mut chain = Chain::ready();
    let world = &chain.world;
    let (first, second) = (world.inference[0].id(), world.inference[1].id());
    let cheaper = NodeAnnouncement {
        sequence: 2,
        per_call: Opg::from_units(900),
        ..world.announcement(&world.inference[1], &[Role::Inference])
    };
    let register = world.register(&world.inference[1], cheaper);
    let payment = World::payment_id(&world.bob, 1);
    let txs = vec![register, world.reserve_for_bob(Opg::from_units(5000), 1)];
    chain.push(txs);
    chain.time_ms += 1000;
    let txs = vec![chain.world.reassign(payment, first, second)];
    chain.push(txs);
    assert_eq!(chain.state.next_expiry_ms(), Some(chain.time_ms + chain.world.genesis.reservation_ttl_ms));
    let by_first = chain.world.settle(chain.world.receipt(payment));
    assert_eq!(chain.code(&by_first), "wrong_provider");
    let mut receipt = chain.world.receipt(payment);
    receipt.provider = second;
    receipt.price.per_call = Opg::from_units(900);
    receipt.amount = Opg::from_units(1220);
    let txs = vec![chain.world.settle(receipt)];
    chain.push(txs);
}

/// Prices and royalties that change after the reservation change nothing for it.
#[test]
fn the_price_is_that_of_the_reservation() {
    let mut chain = Chain::ready();
    let world = &chain.world;
    let dearer = NodeAnnouncement {
        sequence: 2,
        per_call: Opg::from_units(4000),
        ..world.announcement(&world.inference[0], &[Role::Inference])
    };
    let registration =
        ModelRegistration { sequence: 2, royalty: Opg::from_units(4000), ..world.registration(&[]) };
    let txs = vec![
        world.reserve_for_bob(Opg::from_units(5000), 1),
        world.register(&world.inference[0], dearer),
        world.publish(registration, vec![]),
    ];
    chain.push(txs);
    let payment = World::payment_id(&chain.world.bob, 1);
    let txs = vec![chain.world.settle(chain.world.receipt(payment))];
    chain.push(txs);
}

/// 64 reservations of a 40th of bob's money each: 40 fit, in the order of the block, and not one more.
#[test]
fn nobody_spends_twice() {
    let mut chain = Chain::ready();
    let part = Opg::from_units(Opg::whole(100).units() / 40);
    let txs: Vec<Tx> = (0..64).map(|nonce| chain.world.reserve_for_bob(part, nonce)).collect();
    let proposal = chain.state.propose(txs, chain.time_ms).expect("conserves");
    assert_eq!((proposal.accepted.len(), proposal.rejected.len()), (40, 24));
    assert!(proposal.rejected.iter().all(|(_, reject)| reject.code() == "insufficient_funds"));
    let sealed = proposal.seal(&chain.world.validator);
    chain.state.apply(&sealed.block).expect("good");
    assert_eq!(chain.state.account(&chain.world.bob.address()), units(0, 0));
    assert_eq!(chain.state.totals().reserved, Opg::whole(100));
    assert!(chain.state.recount().is_some());
}

/// Money that arrives in a block can be spent in the same block, but not before it arrives.
#[test]
fn order_within_a_block_counts() {
    let mut chain = Chain::new();
    let world = &chain.world;
    let new = nabla_pay::AccountKey::from_secret(&[77; 32]).expect("a key");
    let arrive = world.transfer(&world.bob, new.address(), UNIT, 1);
    let spend = world.transfer(&new, world.alice.address(), UNIT, 1);
    let proposal =
        chain.state.propose(vec![spend.clone(), arrive.clone()], chain.time_ms).expect("conserves");
    assert_eq!(proposal.accepted, std::slice::from_ref(&arrive));
    chain.push(vec![arrive, spend]);
    assert_eq!(chain.state.account(&new.address()), units(0, 0));
}
