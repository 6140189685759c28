//! Settling receipts in blocks of 256: as the state machine's work, and end to end with the disk.

use std::{fs::File, io::Write};

use nabla_benches::{Case, Group, Row, Settings, Work};
use nabla_ledger::{Sequencer, State, Ticket};
use nabla_node::validator::sequencer::{Setup, SingleValidator};
use nabla_types::{
    Opg, cbor,
    chain::{Block, Tx},
};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use world::{Chain, START_MS, World};

use crate::evidence::{ED25519_VERIFY, verify_limit};

#[path = "../../crates/nabla-ledger/tests/ledger/world.rs"]
#[expect(dead_code, reason = "the ledger's own tests use the rest")]
mod world;

/// Receipts in a block.
const COUNT: u32 = 256;
const FSYNC: &str = "write and fdatasync of such a block";

pub(crate) fn measure(settings: &Settings) -> Vec<Row> {
    let mut rows = in_memory(settings).split_off(1);
    rows.extend(end_to_end(settings).split_off(1));
    rows
}

fn receipts() -> Work {
    Work::of(COUNT, "receipts")
}

/// Reservations, and the receipts that settle them, from this nonce on.
fn calls(world: &World, first: u64) -> (Vec<Tx>, Vec<Tx>) {
    let nonces = || first..first + u64::from(COUNT);
    let settle = |nonce| world.settle(world.receipt(World::payment_id(&world.bob, nonce)));
    let reserve = |nonce| world.reserve_for_bob(Opg::from_units(2000), nonce);
    (nonces().map(reserve).collect(), nonces().map(settle).collect())
}

/// A ledger with 256 reserved payments, and the receipts for them.
fn ready() -> (World, State, Vec<Tx>) {
    let mut chain = Chain::ready();
    let (reserves, settles) = calls(&chain.world, 1);
    chain.push(reserves);
    let Chain { world, state, .. } = chain;
    (world, state, settles)
}

fn block_of(world: &World, state: &State, txs: Vec<Tx>) -> Block {
    state.propose(txs, START_MS).expect("conserves").seal(&world.validator).block
}

fn in_memory(settings: &Settings) -> Vec<Row> {
    let (world, state, settles) = ready();
    let block = block_of(&world, &state, settles.clone());
    assert_eq!(block.txs.len(), settles.len(), "every receipt is good");
    Group::default()
        .with(verify_limit(&[5; 32]))
        .with(
            Case::new("settle: propose and seal 256", receipts(), |watch| {
                let txs = settles.clone();
                watch
                    .time(|| state.propose(txs, START_MS).map(|proposal| proposal.seal(&world.validator)))
                    .expect("conserves");
            })
            .against(&[ED25519_VERIFY]),
        )
        .with(
            Case::new("settle: check and apply 256", receipts(), |watch| {
                let mut state = state.clone();
                watch.time(|| state.apply(&block)).expect("a good block");
            })
            .against(&[ED25519_VERIFY]),
        )
        .measure(settings)
}

/// A validator on disk that is always ready for 256 more receipts.
struct Running {
    world: World,
    validator: SingleValidator,
    runtime: Runtime,
    next: u64,
}

impl Running {
    fn start(folder: &TempDir) -> Self {
        let world = World::new();
        let (genesis, key) = (world.genesis.clone(), world.validator.clone());
        let setup =
            Setup { folder: folder.path().join("ledger"), genesis, key, clock: Box::new(|| START_MS) };
        let validator = SingleValidator::open(setup).expect("a new journal");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let running = Self { world, validator, runtime, next: 1 };
        running.submit(running.world.register_all());
        running.submit(vec![running.world.publish_digits()]);
        running
    }

    /// Hand all in at once, and wait until each is durable.
    fn submit(&self, txs: Vec<Tx>) {
        let tickets: Vec<Ticket> = txs.into_iter().map(|tx| self.validator.submit(tx)).collect();
        for ticket in tickets {
            self.runtime.block_on(ticket).expect("a good transaction");
        }
    }

    /// Reserve 256 more payments, and give the receipts for them.
    fn reserve(&mut self) -> Vec<Tx> {
        let (reserves, settles) = calls(&self.world, self.next);
        self.next += u64::from(COUNT);
        self.submit(reserves);
        settles
    }
}

fn end_to_end(settings: &Settings) -> Vec<Row> {
    let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder on disk");
    let mut running = Running::start(&folder);
    let (world, state, settles) = ready();
    let bytes = cbor::encode(&block_of(&world, &state, settles));
    let mut file = File::create(folder.path().join("limit")).expect("a file");
    Group::default()
        .with(verify_limit(&[5; 32]))
        .with(
            Case::new(FSYNC, receipts(), move |watch| {
                watch
                    .time(|| file.write_all(&bytes).and_then(|()| file.sync_data()))
                    .expect("a working disk");
            })
            .by_wall(),
        )
        .with(
            Case::new("settle: 256 at once, durable", receipts(), move |watch| {
                let settles = running.reserve();
                watch.time(|| running.submit(settles));
            })
            .by_wall()
            .against(&[FSYNC, ED25519_VERIFY]),
        )
        .measure(settings)
}
