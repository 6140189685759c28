//! The engine beside ONNX Runtime: the same files and shapes, in the same minutes.
//!
//! `cargo bench -p nabla-benches --bench engine` makes the models (`benches/models.py`, needs Python and PyPI),
//! starts the peer (`benches/peer_worker.py`), and lets both run each work in turn. `-- NAME` chooses works.
#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]

mod peer;
mod works;

use nabla_benches::table::duration;
use nabla_benches::{Turns, machine};
use nabla_engine::{Engine, Kernels};
use peer::Peer;
use works::{Ours, Work};

/// Turns of each work.
const ROUNDS: usize = 9;

fn main() {
    let chosen: Vec<String> = std::env::args().skip(1).filter(|name| !name.starts_with("--")).collect();
    let works = works::read();
    let mut peer = Peer::start();
    let one = Engine::new(Kernels::Auto).expect("some kernels are always there");
    println!("{}", machine::describe());
    println!(
        "peer: ONNX Runtime {}; ours: kernels {}; one thread, CPU time, medians of {ROUNDS} turns\n",
        peer.version(),
        one.kernels()
    );
    println!("| work | ours | ONNX Runtime | ours is | lowest, highest | must reach |");
    println!("|---|---|---|---|---|---|");
    let wanted = |name: &str| chosen.is_empty() || chosen.iter().any(|part| name.contains(part.as_str()));
    for work in works.iter().filter(|work| wanted(&work.name)) {
        let ours = Ours::load(&one, work);
        for batch in &work.batches {
            println!("{}", compare(&ours, &mut peer, work, *batch));
        }
    }
    println!("\n| work | 1 thread | 2 threads | faster (wall) | must reach |\n|---|---|---|---|---|");
    let two = Engine::with_threads(Kernels::Auto, 2).expect("two threads");
    for work in works.iter().filter(|work| work.shares_threads() && wanted(&work.name)) {
        println!("{}", threads(work, &one, &two));
    }
}

/// Seconds of one run of each, and their ratio, turn by turn.
fn compare(ours: &Ours, peer: &mut Peer, work: &Work, batch: u64) -> String {
    let inputs = work.inputs(batch);
    let turns = Turns::measure(
        ROUNDS,
        |repeats| ours.run(&inputs, repeats).cpu,
        |repeats| peer.run(work, batch, repeats),
    );
    let target = work.target(batch).map_or(String::new(), |target| format!("{target:.2} x"));
    format!(
        "| {}, batch {batch} | {} | {} | {:.2} x | {:.2}, {:.2} | {target} |",
        work.name,
        duration(turns.ours),
        duration(turns.theirs),
        turns.ratio,
        turns.range[0],
        turns.range[1],
    )
}

fn threads(work: &Work, one: &Engine, two: &Engine) -> String {
    let batch = work.batches.last().copied().unwrap_or(1);
    let inputs = work.inputs(batch);
    let (alone, shared) = (Ours::load(one, work), Ours::load(two, work));
    let turns = Turns::measure(
        ROUNDS,
        |repeats| shared.run(&inputs, repeats).wall,
        |repeats| alone.run(&inputs, repeats).wall,
    );
    format!(
        "| {}, batch {batch} | {} | {} | {:.2} x | 1.70 x |",
        work.name,
        duration(turns.theirs),
        duration(turns.ours),
        turns.ratio
    )
}
