//! The engine beside ONNX Runtime: the same files and shapes, in the same minutes.
//!
//! `cargo bench -p nabla-benches --bench engine` makes the models (`benches/models.py`, needs Python and PyPI),
//! starts the peer (`benches/peer_worker.py`), and lets both run each work in turn. `-- NAME` chooses works.
#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]

mod peer;
mod works;

use std::time::Duration;

use nabla_benches::machine;
use nabla_engine::{Engine, Kernels};
use peer::Peer;
use works::{Ours, Work};

/// Turns of each work.
const ROUNDS: usize = 9;
/// The least that one turn of either lasts.
const TURN_MIN: Duration = Duration::from_millis(120);

fn main() {
    let chosen: Vec<String> = std::env::args().skip(1).filter(|name| !name.starts_with("--")).collect();
    let works = works::read();
    let mut peer = Peer::start();
    let one = Engine::new(Kernels::Auto).expect("some kernels are always there");
    println!("{}", machine::describe());
    println!(
        "peer: ONNX Runtime {}; ours: kernels {}; one thread, CPU time, medians of {ROUNDS} turns\n",
        peer.version,
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
    let repeats = |seconds: f64| (TURN_MIN.as_secs_f64() / seconds.max(1e-7)).ceil().clamp(1.0, 1e6);
    let (mut own, mut theirs) = (ours.run(&inputs, 3.0).cpu, peer.run(work, batch, 3.0));
    let (own_repeats, their_repeats) = (repeats(own), repeats(theirs));
    let (mut owns, mut peers, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        own = ours.run(&inputs, own_repeats).cpu;
        theirs = peer.run(work, batch, their_repeats);
        owns.push(own);
        peers.push(theirs);
        ratios.push(theirs / own);
    }
    ratios.sort_by(f64::total_cmp);
    let target = work.target(batch).map_or(String::new(), |target| format!("{target:.2} x"));
    format!(
        "| {}, batch {batch} | {} | {} | {:.2} x | {:.2}, {:.2} | {target} |",
        work.name,
        shown(median(&mut owns)),
        shown(median(&mut peers)),
        ratios[ROUNDS / 2],
        ratios[0],
        ratios[ROUNDS - 1],
    )
}

fn threads(work: &Work, one: &Engine, two: &Engine) -> String {
    let batch = work.batches.last().copied().unwrap_or(1);
    let inputs = work.inputs(batch);
    let (alone, shared) = (Ours::load(one, work), Ours::load(two, work));
    let (mut singles, mut doubles, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let repeats = (TURN_MIN.as_secs_f64() / alone.run(&inputs, 2.0).wall).ceil().max(1.0);
    for _ in 0..ROUNDS {
        let (single, double) = (alone.run(&inputs, repeats).wall, shared.run(&inputs, repeats).wall);
        singles.push(single);
        doubles.push(double);
        ratios.push(single / double);
    }
    let (single, double) = (median(&mut singles), median(&mut doubles));
    format!(
        "| {}, batch {batch} | {} | {} | {:.2} x | 1.70 x |",
        work.name,
        shown(single),
        shown(double),
        median(&mut ratios)
    )
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn shown(seconds: f64) -> String {
    match seconds {
        s if s < 1e-3 => format!("{:.2} us", s * 1e6),
        s if s < 1.0 => format!("{:.2} ms", s * 1e3),
        s => format!("{s:.2} s"),
    }
}
