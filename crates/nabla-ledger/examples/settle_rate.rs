//! How many receipts a second one core settles: a block of 4000 settlements, checked and applied.
//!
//! `cargo run --release -p nabla-ledger --example settle_rate`

use std::{io::Write, time::Instant};

use nabla_types::{Opg, chain::Tx};
use world::{Chain, World};

#[path = "../tests/ledger/world.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod world;

const COUNT: u64 = 4000;

fn main() -> std::io::Result<()> {
    let mut chain = Chain::ready();
    let reserve: Vec<Tx> =
        (0..COUNT).map(|n| chain.world.reserve_for_bob(Opg::from_units(5000), n)).collect();
    let payment = |n| World::payment_id(&chain.world.bob, n);
    let settle: Vec<Tx> = (0..COUNT).map(|n| chain.world.settle(chain.world.receipt(payment(n)))).collect();
    measure(&mut chain, "reserved", reserve)?;
    measure(&mut chain, "settled", settle)
}

#[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
fn measure(chain: &mut Chain, what: &str, txs: Vec<Tx>) -> std::io::Result<()> {
    let block = chain.block(txs);
    let start = Instant::now();
    chain.state.apply(&block).expect("a good block");
    let seconds = start.elapsed().as_secs_f64();
    writeln!(
        std::io::stdout(),
        "{what}: {:.0} a second, {:.1} us each",
        4000.0 / seconds,
        seconds * 1e6 / 4000.0
    )
}
