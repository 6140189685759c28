//! A validator is killed with `kill -9` again and again: nothing that it acknowledged is ever lost.
//!
//! In a process of its own, because it forks: between fork and exec the child holds the parent's locks.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
};

use nabla_ledger::{Sequencer, Ticket};
use nabla_node::validator::sequencer::{Setup, SingleValidator};
use nabla_types::{Address, Opg, TxId};
use tempfile::TempDir;
use world::{START_MS, World};

#[path = "../../nabla-ledger/tests/ledger/world.rs"]
#[expect(dead_code, reason = "the ledger's own tests use the rest")]
mod world;

fn open(folder: &Path) -> SingleValidator {
    let World { genesis, validator: key, .. } = World::new();
    let setup = Setup { folder: folder.to_owned(), genesis, key, clock: Box::new(|| START_MS) };
    SingleValidator::open(setup).expect("a good journal")
}

const VICTIM: &str = "NABLA_TEST_VICTIM_FOLDER";

/// The child of the next test: submits transfers for ever and prints each acknowledged id.
#[test]
#[expect(clippy::disallowed_methods, reason = "how the child learns that it is one")]
fn victim() {
    let Some(folder) = std::env::var_os(VICTIM) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let (validator, world) = (open(Path::new(&folder)), World::new());
    let first = validator.state().account(&Address([9; 20])).purchased.units();
    let first = u64::try_from(first).expect("few");
    // Five in flight, so that a block holds several.
    for number in (first..).step_by(5) {
        let pay = |number| world.transfer(&world.bob, Address([9; 20]), Opg::from_units(1), number);
        let tickets: Vec<Ticket> = (number..number + 5).map(|number| validator.submit(pay(number))).collect();
        for ticket in tickets {
            let included = runtime.block_on(ticket).expect("a good transfer");
            writeln!(std::io::stdout(), "included {}", included.tx).expect("the parent reads");
        }
    }
}

/// Killed with `kill -9` at moments of no one's choosing: every acknowledged id is there after each restart.
#[test]
fn no_acknowledged_transaction_is_lost() {
    let folder = TempDir::new().expect("a folder");
    let mut acknowledged: Vec<TxId> = Vec::new();
    for round in 0..6 {
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["victim", "--exact", "--nocapture"])
            .env(VICTIM, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this test runs again");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut ids = lines
            .map_while(Result::ok)
            .filter_map(|line| line.strip_prefix("included ")?.parse::<TxId>().ok());
        acknowledged.extend(ids.by_ref().take(7 + 13 * round));
        child.kill().expect("it lives");
        // What it had said before it died counts too.
        acknowledged.extend(ids);
        child.wait().expect("it is dead");
        let validator = open(folder.path());
        let state = validator.state();
        for id in &acknowledged {
            assert!(state.transaction(id).is_some(), "round {round}: {id} was acknowledged and is lost");
        }
        assert!(state.recount().is_some());
    }
    assert!(acknowledged.len() >= 237, "{}", acknowledged.len());
}
