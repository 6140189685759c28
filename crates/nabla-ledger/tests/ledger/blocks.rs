//! Blocks that do not follow, that lie, or that hold one bad transaction; and what a good one proves.

use nabla_ledger::{BlockError, GenesisError, State};
use nabla_types::{
    Address, BlockId, NetworkId, NodeId, Opg, TreeHash, cbor,
    chain::{
        Allocation, BLOCK_BYTES_MAX, Block, Genesis, Header, InclusionProof, Outcome, Role, SignedHeader, Tx,
    },
    signature::NodeKey,
};
use nabla_verify::merkle::{Place, Tree};

use crate::world::{Chain, START_MS, World};

/// Refused by a state that stays as it was; what the error says.
#[track_caller]
fn refused(state: &State, block: &Block) -> String {
    let mut after = state.clone();
    let error = after.apply(block).expect_err("the block is not good");
    assert_eq!(&after, state, "a refused block left something behind");
    error.to_string()
}

/// `block` with another header, signed as it should be.
fn resign(world: &World, block: &Block, change: &dyn Fn(&mut Header)) -> Block {
    let mut header = block.header.header.clone();
    change(&mut header);
    Block { header: SignedHeader::sign(&world.validator, header), txs: block.txs.clone() }
}

fn payment_block(chain: &Chain) -> Block {
    let tx = chain.world.reserve_for_bob(Opg::from_units(5000), 1);
    let other = chain.world.transfer(&chain.world.bob, chain.world.alice.address(), Opg::whole(1), 2);
    chain.block(vec![tx, other])
}

#[test]
fn a_header_that_lies_is_refused() {
    let chain = Chain::ready();
    let block = payment_block(&chain);
    let check = |expected: &str, change: &dyn Fn(&mut Header)| {
        let error = refused(&chain.state, &resign(&chain.world, &block, change));
        assert!(error.contains(expected), "{expected}: {error}");
    };
    check("expected network", &|header| header.network = NetworkId([1; 32]));
    check("expected height 3, got 4", &|header| header.height = 4);
    check("expected height 3, got 2", &|header| header.height = 2);
    check("expected parent", &|header| header.parent = BlockId([1; 32]));
    check("expected time", &|header| header.time_ms = START_MS - 1);
    check("expected transactions root", &|header| header.tx_root = TreeHash([1; 32]));
    check("expected receipts root", &|header| header.receipts_root = TreeHash([1; 32]));
    check("expected number of receipts 0, got 1", &|header| header.receipt_count = 1);
}

#[test]
fn only_the_validator_makes_blocks() {
    let chain = Chain::ready();
    let block = payment_block(&chain);
    let header = SignedHeader::sign(&NodeKey::from_seed(&[1; 32]), block.header.header.clone());
    let error = refused(&chain.state, &Block { header, ..block.clone() });
    assert!(error.contains("not signed by the network's validator"), "{error}");
    let mut forged = block;
    forged.header.signature.0[0] ^= 1;
    refused(&chain.state, &forged);
}

#[test]
fn a_block_cannot_drop_add_or_reorder_transactions() {
    let chain = Chain::ready();
    let block = payment_block(&chain);
    let with = |change: &dyn Fn(&mut Vec<Tx>)| {
        let mut changed = block.clone();
        change(&mut changed.txs);
        let error = refused(&chain.state, &changed);
        assert!(error.contains("transactions root"), "{error}");
    };
    with(&|txs| drop(txs.pop()));
    with(&|txs| txs.swap(0, 1));
    with(&|txs| txs.push(txs[0].clone()));
}

/// One bad transaction among good ones: nothing of the block happens, and the error says which and why.
#[test]
fn a_block_with_one_bad_transaction_is_refused_whole() {
    let chain = Chain::ready();
    let world = &chain.world;
    let good = world.transfer(&world.bob, world.alice.address(), Opg::whole(1), 2);
    let bad = world.transfer(&world.bob, world.alice.address(), Opg::whole(1000), 3);
    let header = Header {
        network: world.network(),
        height: 3,
        parent: chain.state.header(2).expect("two blocks").header.id(),
        time_ms: START_MS,
        tx_root: Tree::Transactions.root(&[cbor::encode(&good), cbor::encode(&bad)]),
        receipts_root: Tree::Receipts.root::<&[u8]>(&[]),
        receipt_count: 0,
    };
    let block = Block { header: SignedHeader::sign(&world.validator, header), txs: vec![good, bad.clone()] };
    refused(&chain.state, &block);
    match chain.state.execute(&block) {
        Err(BlockError::Transaction { height: 3, index: 1, tx, source }) => {
            assert_eq!((tx, source.code()), (bad.id(), "insufficient_funds"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn changes_belong_to_one_state() {
    let mut chain = Chain::ready();
    let block = payment_block(&chain);
    let changes = chain.state.execute(&block).expect("good");
    chain.push(vec![]);
    let before = chain.state.clone();
    assert!(matches!(chain.state.commit(changes), Err(BlockError::Header { field: "parent", .. })));
    assert_eq!(chain.state, before);
}

#[test]
fn a_clock_that_steps_back_does_not_stop_the_chain() {
    let mut chain = Chain::ready();
    chain.time_ms = START_MS - 10_000;
    let block = chain.push(vec![]);
    assert_eq!(block.header.header.time_ms, START_MS);
}

#[test]
fn a_block_has_a_greatest_length() {
    let chain = Chain::ready();
    let txs = vec![Tx::Settle(vec![0; BLOCK_BYTES_MAX / 4]); 4];
    let leaves: Vec<Vec<u8>> = txs.iter().map(cbor::encode).collect();
    let empty = Block { txs, ..chain.block(vec![]) };
    let block = resign(&chain.world, &empty, &|header| header.tx_root = Tree::Transactions.root(&leaves));
    let error = refused(&chain.state, &block);
    assert!(error.contains("at most 16777216 are accepted"), "{error}");
}

/// The proof of a receipt is enough by itself: genesis, header, path.
#[test]
fn a_settled_receipt_is_provable() {
    let mut chain = Chain::ready();
    let reserve = (0..5).map(|nonce| chain.world.reserve_for_bob(Opg::from_units(5000), nonce)).collect();
    chain.push(reserve);
    let payment = |nonce| World::payment_id(&chain.world.bob, nonce);
    let settle: Vec<Tx> =
        (0..5).map(|nonce| chain.world.settle(chain.world.receipt(payment(nonce)))).collect();
    chain.push(settle.clone());
    for (index, tx) in settle.iter().enumerate() {
        let (Tx::Settle(cose), id) = (tx, World::receipt_id(tx)) else { panic!("a settlement") };
        let proof = chain.state.inclusion_proof(&id).expect("it is settled");
        let bytes = cbor::encode(&proof);
        let proof: InclusionProof =
            cbor::decode("proof", &bytes, InclusionProof::BYTES_MAX).expect("round trip");
        assert_eq!(proof.genesis.network(), chain.world.network());
        assert_eq!(proof.header.verify(&proof.genesis), Ok(()));
        let header = &proof.header.header;
        let place = Place { index: index as u64, count: header.receipt_count };
        assert_eq!(proof.leaf_index, place.index);
        assert_eq!(Tree::Receipts.verify(header.receipts_root, cose, place, &proof.path), Ok(()));
        let settled = chain.state.receipt(&id).expect("it is settled");
        assert_eq!((settled.cose, settled.height), (cose.as_slice(), header.height));
    }
    assert_eq!(chain.state.inclusion_proof(&nabla_types::ReceiptId([1; 32])), None);
}

#[test]
fn queries_answer() {
    let mut chain = Chain::ready();
    let state = &chain.state;
    let names = |text: &str, count| state.repos(text, count).len();
    assert_eq!(
        (names("DIGIT", 10), names("handwritten", 10), names("", 10), names("", 0), names("cats", 10)),
        (1, 1, 1, 0, 0)
    );
    assert_eq!(state.nodes(Some(Role::Inference)).len(), 2);
    assert_eq!(state.nodes(None).len(), 8);
    assert_eq!(state.prefix_owner("alice"), Some(chain.world.alice.address()));
    assert!(state.knows_model(&World::model()));
    let stored = state.blob(&World::revision()).expect("it is stored");
    assert_eq!(stored.holders, chain.world.storage.iter().map(NodeKey::id).collect::<Vec<NodeId>>());
    assert_eq!((state.header(0), state.header(3)), (None, None));
    assert_eq!(state.status().height, 2);
    assert_eq!(state.status().total, state.supply());
    let tx = chain.world.reserve_for_bob(Opg::from_units(5000), 1);
    let settle = chain.world.settle(chain.world.receipt(World::payment_id(&chain.world.bob, 1)));
    let receipt = World::receipt_id(&settle);
    let verdict = chain.world.verdict(receipt, Outcome::Different);
    chain.push(vec![tx.clone(), settle, verdict]);
    assert_eq!(chain.state.transaction(&tx.id()), Some(3));
    assert_eq!(chain.state.payment_used_by(&World::payment_id(&chain.world.bob, 1)), Some(tx.id()));
    assert_eq!(chain.state.receipts_of(3), [receipt]);
    assert_eq!(chain.state.verdicts(&receipt).len(), 1);
    let provider = chain.state.node(&chain.world.inference[0].id()).expect("registered");
    assert_eq!((provider.receipts, provider.replayed_equal, provider.replayed_different), (1, 0, 1));
}

#[test]
fn a_genesis_that_makes_no_sense_is_refused() {
    let check = |change: &dyn Fn(&mut Genesis), expect: GenesisError| {
        let mut genesis = World::new().genesis;
        change(&mut genesis);
        assert_eq!(State::genesis(genesis).map(|_| ()), Err(expect));
    };
    let (alice, zero) = (World::new().alice.address(), Address([0; 20]));
    let fund = |account, units| Allocation { account, amount: Opg::from_units(units) };
    check(&|g| g.format = "nabla genesis 2".into(), GenesisError::Format { got: "nabla genesis 2".into() });
    check(&|g| g.name = String::new(), GenesisError::Name { got: 0 });
    check(&|g| g.name = "x".repeat(65), GenesisError::Name { got: 65 });
    check(&|g| g.fee_basis_points = 10_001, GenesisError::Fee { got: 10_001 });
    check(&|g| g.reservation_ttl_ms = 0, GenesisError::ReservationTtl { got: 0 });
    check(&|g| g.reservation_ttl_ms = u64::MAX, GenesisError::ReservationTtl { got: u64::MAX });
    check(&|g| g.faucet = Some(zero), GenesisError::Account { account: zero });
    check(
        &|g| g.allocations.push(fund(Address::STAKE, 1)),
        GenesisError::Account { account: Address::STAKE },
    );
    check(&|g| g.allocations.push(fund(alice, 1)), GenesisError::Twice { account: alice });
    check(&|g| g.allocations.push(fund(Address([1; 20]), u128::MAX)), GenesisError::Supply);
    let many = |g: &mut Genesis| {
        let account = |n: u32| {
            let mut bytes = [7; 20];
            bytes[..4].copy_from_slice(&n.to_be_bytes());
            fund(Address(bytes), 1)
        };
        g.allocations = (0..30_000).map(account).collect();
    };
    let mut genesis = World::new().genesis;
    many(&mut genesis);
    assert!(matches!(State::genesis(genesis), Err(GenesisError::Size { .. })));
}
