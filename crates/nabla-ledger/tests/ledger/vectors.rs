//! `spec/vectors/ledger.json`: a short history as bytes, with every id and balance that follows.
//!
//! The file is written by `cargo run -p nabla-ledger --example ledger_vectors > spec/vectors/ledger.json`.
//! Changing it is a change of the protocol.

use nabla_ledger::State;
use nabla_types::{
    cbor,
    chain::{BLOCK_BYTES_MAX, Block, Genesis},
};
use serde_json::Value;

#[path = "../../examples/ledger_vectors/history.rs"]
mod history;

fn file() -> Value {
    let text = include_str!("../../../../spec/vectors/ledger.json");
    serde_json::from_str(text).expect("the file is JSON")
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().expect("a text")).expect("hex")
}

/// As any other implementation would read it: genesis and blocks from bytes, results compared.
#[test]
fn the_history_replays_to_the_same_ids_and_balances() {
    let file = file();
    let genesis: Genesis =
        cbor::decode("genesis", &bytes(&file["genesis"]["cbor"]), Genesis::BYTES_MAX).expect("a genesis");
    assert_eq!(genesis.network().to_string(), file["genesis"]["network"]);
    let mut state = State::genesis(genesis).expect("a sound genesis");
    for expected in file["blocks"].as_array().expect("a list") {
        let block: Block =
            cbor::decode("block", &bytes(&expected["cbor"]), BLOCK_BYTES_MAX).expect("a block");
        state.apply(&block).expect("a good block");
        assert_eq!(history::after(&state, &block)["ids"], expected["ids"]);
        assert_eq!(history::after(&state, &block)["accounts"], expected["accounts"]);
        assert_eq!(history::after(&state, &block)["totals"], expected["totals"]);
    }
    assert_eq!(Some(state.height()), file["blocks"].as_array().map(|blocks| blocks.len() as u64));
}

/// What is made today is what stands in the file, byte for byte.
#[test]
fn the_file_is_current() {
    let (mut made, mut stands) = (history::write(), file());
    made.sort_all_objects();
    stands.sort_all_objects();
    let made = serde_json::to_string_pretty(&made).expect("JSON");
    let stands = serde_json::to_string_pretty(&stands).expect("JSON");
    assert_eq!(made, stands, "the protocol's bytes have changed; see the head of this file");
}
