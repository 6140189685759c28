//! The table: `cargo bench -p nabla-benches --bench table`, or with `-- --quick` in a tenth of the time.
#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]

mod engine;
mod evidence;
mod ledger;
mod network;
mod store;

use nabla_benches::{Settings, machine, table::table};

fn main() {
    let settings = Settings::new(std::env::args().any(|argument| argument == "--quick"));
    println!("{}", machine::describe());
    // First, for it yields the real receipt that the others are about.
    let called = network::measure(&settings);
    let mut rows = store::measure(&settings);
    rows.extend(engine::measure(&settings, &called));
    rows.extend(evidence::measure(&settings, &called));
    rows.extend(ledger::measure(&settings));
    rows.extend(called.rows.iter().cloned());
    println!("{}\n{}", table(&rows), called.latencies);
}
