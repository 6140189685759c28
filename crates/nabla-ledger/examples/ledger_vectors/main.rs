//! Writes `spec/vectors/ledger.json` to standard output.

use std::io::Write;

mod history;
#[path = "../../tests/ledger/world.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod world;

fn main() -> std::io::Result<()> {
    let text = serde_json::to_string_pretty(&history::write())?;
    writeln!(std::io::stdout(), "{text}")
}
