//! Language models beside llama.cpp: the same files and tokens, in the same minutes.
//!
//! `cargo bench -p nabla-benches --bench language` makes the models and builds the peer
//! (`benches/language_models.py`; needs Python, PyPI, crates.io and a C++ compiler), and lets both do each work in
//! turn. `-- NAME` chooses models or works.
#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]

mod chats;
mod ours;
mod works;

use chats::{Crowd, Server};
use nabla_benches::group::median;
use nabla_benches::table::duration;
use nabla_benches::{Turns, machine};
use nabla_engine::{Engine, Kernels};
use ours::Ours;
use works::{Model, Peer, Work};

/// Turns of each work.
const ROUNDS: usize = 9;
/// Runs of many chats at once.
const CROWD_ROUNDS: u32 = 7;
/// The model that they chat with.
const CROWDED: &str = "125m Q8_0";
/// Tokens of an answer that is replayed, and of one that is compared.
const ANSWER_TOKENS: u32 = 64;

fn main() {
    let chosen: Vec<String> = std::env::args().skip(1).filter(|name| !name.starts_with("--")).collect();
    let wanted = |name: &str| chosen.is_empty() || chosen.iter().any(|part| name.contains(part.as_str()));
    let models = works::read();
    let mut peer = Peer::start();
    let engine = Engine::new(Kernels::Auto).expect("some kernels are always there");
    println!("{}", machine::describe());
    println!(
        "peer: {}; ours: kernels {}; one thread, CPU time, medians of {ROUNDS} turns\n",
        peer.version(),
        engine.kernels()
    );
    println!("| work | ours | llama.cpp | ours is | lowest, highest | must reach |");
    println!("|---|---|---|---|---|---|");
    for model in models.iter().filter(|model| wanted(&model.name)) {
        let ours = Ours::load(&engine, model);
        for (work, target) in works::works(model) {
            println!("{}", compare(&ours, &mut peer, model, work, target));
        }
        println!("{}", replay(&ours, model));
        println!("{}", agreement(&ours, &mut peer, model));
    }
    if let Some(model) = models.iter().find(|model| model.name == CROWDED && wanted("chats")) {
        print!("{}", crowds(model));
    }
}

/// Both in turn, as a row.
fn compare(ours: &Ours<'_>, peer: &mut Peer, model: &Model, work: Work, target: Option<f64>) -> String {
    let name = format!("{}, {}", model.name, work.name());
    let target = target.map_or(String::new(), |target| format!("{target:.2} x"));
    let turns = Turns::measure(
        ROUNDS,
        |repeats| ours.run(model, work, repeats),
        |repeats| peer.run(model, work, repeats),
    );
    format!(
        "| {name} | {} | {} | {:.2} x | {:.2}, {:.2} | {target} |",
        speed(work, turns.ours),
        speed(work, turns.theirs),
        turns.ratio,
        turns.range[0],
        turns.range[1],
    )
}

fn speed(work: Work, seconds: f64) -> String {
    match work.tokens() {
        0 => duration(seconds),
        tokens => format!("{:.0} tokens/s", f64::from(tokens) / seconds),
    }
}

/// A replay beside the generation of the same answer: here the ratio is to be small.
fn replay(ours: &Ours<'_>, model: &Model) -> String {
    let turns = Turns::measure(
        ROUNDS,
        |repeats| mean(repeats, || ours.answer(ANSWER_TOKENS).replay),
        |repeats| mean(repeats, || ours.answer(ANSWER_TOKENS).generation),
    );
    format!(
        "| {}, replay of {ANSWER_TOKENS} tokens after {} | {} | its generation: {} | {:.2} x the CPU | {:.2}, {:.2} | 0.30 x |",
        model.name,
        works::PROMPT_TOKENS,
        duration(turns.ours),
        duration(turns.theirs),
        1.0 / turns.ratio,
        1.0 / turns.range[1],
        1.0 / turns.range[0],
    )
}

fn mean(repeats: u32, mut run: impl FnMut() -> f64) -> f64 {
    (0..repeats).map(|_| run()).sum::<f64>() / f64::from(repeats)
}

/// For how many tokens both say the same.
fn agreement(ours: &Ours<'_>, peer: &mut Peer, model: &Model) -> String {
    let prompt: Vec<u32> = (0..16).map(|position| works::token_at(0, position)).collect();
    let (own, theirs) = (ours.greedy(&prompt, ANSWER_TOKENS), peer.greedy(model, &prompt, ANSWER_TOKENS));
    let same = own.iter().zip(&theirs).take_while(|(own, their)| own == their).count();
    format!("| {}, the first {ANSWER_TOKENS} greedy tokens | | | {same} alike | | |", model.name)
}

/// Many chats at once beside llama.cpp's server, in turn, by the clock on the wall.
fn crowds(model: &Model) -> String {
    let engine = Engine::with_threads(Kernels::Auto, chats::THREADS as usize).expect("two threads");
    let (ours, server) = (Ours::load(&engine, model), Server::start(model));
    let mut room = ours.crowded();
    let rounds: Vec<_> =
        (1..=CROWD_ROUNDS).map(|round| (room.run(chats::prompts(round)), server.run(round))).collect();
    let name =
        format!("{} chats, {} tokens shared, {} threads", chats::CHATS, chats::SHARED_TOKENS, chats::THREADS);
    let speed = side(&rounds, |crowd| crowd.tokens_per_second, |speed| format!("{speed:.0} tokens/s"));
    let first = side(&rounds, |crowd| crowd.first_p95, duration);
    let version = server.version();
    format!(
        "| {name} (wall; {version}) | {speed} | 1.50 x |\n| the same, p95 to the first token | {first} (of the time) | 0.70 x |\n"
    )
}

/// Medians of both and of their ratio, and the range of that.
fn side(rounds: &[(Crowd, Crowd)], of: impl Fn(&Crowd) -> f64, shown: impl Fn(f64) -> String) -> String {
    let mut ratios: Vec<f64> = rounds.iter().map(|(ours, theirs)| of(ours) / of(theirs)).collect();
    ratios.sort_by(f64::total_cmp);
    let ours = median(rounds.iter().map(|(ours, _)| of(ours)).collect());
    let theirs = median(rounds.iter().map(|(_, theirs)| of(theirs)).collect());
    let (low, high) = (ratios[0], ratios[ratios.len() - 1]);
    format!("{} | {} | {:.2} x | {low:.2}, {high:.2}", shown(ours), shown(theirs), median(ratios))
}
