//! A short history in which every kind of transaction occurs.

use nabla_ledger::State;
use nabla_types::{
    Address, Opg, cbor,
    chain::{Block, Outcome, Tx},
};
use serde_json::{Value, json};

use crate::world::{Chain, START_MS, World};

/// The whole file.
pub(crate) fn write() -> Value {
    let mut chain = Chain::new();
    let blocks: Vec<Value> =
        history(&mut chain).iter().map(|(what, block, after)| entry(what, block, after)).collect();
    let world = &chain.world;
    let (genesis, network) = (hex::encode(cbor::encode(&world.genesis)), world.network());
    json!({
        "about": "A genesis and its blocks as deterministic CBOR, and what follows from each. Keys: a node's ed25519 seed and an account's secp256k1 secret are one byte, 32 times.",
        "seeds": {
            "accounts": { "faucet": 1, "alice": 2, "bob": 3, "operator": 4 },
            "nodes": { "validator": 10, "inference": [11, 12], "storage": [13, 14, 15], "verifier": 16, "gateway": 17 },
        },
        "genesis": { "cbor": genesis, "network": network, "json": world.genesis },
        "blocks": blocks,
    })
}

fn history(chain: &mut Chain) -> Vec<(&'static str, Block, Value)> {
    let mut blocks = Vec::new();
    let mut push = |chain: &mut Chain, what, txs| {
        let block = chain.push(txs);
        let after = after(&chain.state, &block);
        blocks.push((what, block, after));
        chain.time_ms += 1_000;
    };
    let bob = |chain: &Chain, nonce| World::payment_id(&chain.world.bob, nonce);
    let txs = chain.world.register_all();
    push(chain, "every node registers, two with a stake", txs);
    let txs = vec![
        chain.world.publish_digits(),
        Tx::Grant(chain.world.pay(&chain.world.faucet, chain.world.bob.address(), Opg::from_units(1000), 1)),
        chain.world.transfer(&chain.world.bob, chain.world.alice.address(), Opg::from_units(400), 1),
    ];
    push(chain, "a model is published; a grant and a transfer", txs);
    let txs = (2..5).map(|nonce| chain.world.reserve_for_bob(Opg::from_units(5000), nonce)).collect();
    push(chain, "three payments are reserved", txs);
    let (first, second) = (chain.world.inference[0].id(), chain.world.inference[1].id());
    let settle = chain.world.settle(chain.world.receipt(bob(chain, 2)));
    let receipt = World::receipt_id(&settle);
    let txs =
        vec![settle, chain.world.reassign(bob(chain, 3), first, second), chain.world.release(bob(chain, 4))];
    push(chain, "one is settled, one moves to another node, one is released", txs);
    let txs = vec![chain.world.verdict(receipt, Outcome::Equal)];
    push(chain, "the receipt is replayed and equal", txs);
    chain.time_ms = START_MS + 200_000;
    push(chain, "an empty block, in which the moved payment expires", vec![]);
    blocks
}

fn entry(what: &str, block: &Block, after: &Value) -> Value {
    json!({
        "what": what,
        "cbor": hex::encode(cbor::encode(block)),
        "ids": after["ids"],
        "accounts": after["accounts"],
        "totals": after["totals"],
    })
}

/// What follows from a block.
pub(crate) fn after(state: &State, block: &Block) -> Value {
    let header = &block.header.header;
    let world = World::new();
    let named = [
        ("faucet", world.faucet.address()),
        ("alice", world.alice.address()),
        ("bob", world.bob.address()),
        ("operator", world.operator.address()),
        ("escrow", Address::ESCROW),
        ("stake", Address::STAKE),
    ];
    let accounts: serde_json::Map<String, Value> =
        named.into_iter().map(|(name, address)| (name.to_owned(), json!(state.account(&address)))).collect();
    let totals = state.totals();
    json!({
        "ids": {
            "block": header.id(),
            "transactions": block.txs.iter().map(Tx::id).collect::<Vec<_>>(),
            "transactions_root": header.tx_root,
            "receipts": state.receipts_of(header.height),
            "receipts_root": header.receipts_root,
        },
        "accounts": accounts,
        "totals": { "held": totals.held, "reserved": totals.reserved, "staked": totals.staked, "burned": totals.burned },
    })
}
