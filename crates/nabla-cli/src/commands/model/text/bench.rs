//! `nabla model bench` of a language model: loading, prompts, answers.
//!
//! Prompts are fixed numbers, not words; the tokens that end an answer are forbidden, so that each answer has as many
//! as are measured.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Result;
use nabla_engine::{
    Engine, Limits,
    language::{Event, Generation, Scheduler, SchedulerConfig, TextModel, generate, replay},
};
use serde::Serialize;

use super::{Context, EngineArgs, bytes, engine, load, table};

/// Tokens of each answer.
const ANSWER: u32 = 64;
/// Turns of each measurement; medians are shown.
const TURNS: usize = 5;

/// What was measured; times are medians of wall time.
#[derive(Debug, Serialize)]
struct Figures {
    file: String,
    kernels: &'static str,
    threads: usize,
    load_ms: f64,
    resident_bytes: u64,
    prompt_tokens: u32,
    prefill_tokens_per_s: f64,
    batch: u64,
    decode_tokens_per_s: f64,
    /// Time of a replay as a part of the answer's own.
    replay_ratio: f64,
}

pub(in super::super) fn bench(
    context: &Context<'_>,
    path: &Path,
    prompt_tokens: Option<u32>,
    batch: Option<u64>,
    args: &EngineArgs,
) -> Result<()> {
    let (engine, threads) = engine(args)?;
    let started = Instant::now();
    let model = load(path, &engine)?;
    let loaded = started.elapsed();
    let (prompt_tokens, batch) = (prompt_tokens.unwrap_or(128), batch.unwrap_or(1));
    let prefill = median(TURNS, || prefill(&model, prompt_tokens))?;
    let decode = median(TURNS, || decode(&model, prompt_tokens, batch))?;
    let figures = Figures {
        file: path.display().to_string(),
        kernels: Engine::kernels(&engine),
        threads,
        load_ms: loaded.as_secs_f64() * 1e3,
        resident_bytes: model.resident_bytes(),
        prompt_tokens,
        prefill_tokens_per_s: f64::from(prompt_tokens) / prefill,
        batch,
        decode_tokens_per_s: 1.0 / decode,
        replay_ratio: replay_ratio(&model, prompt_tokens)?,
    };
    let facts = [
        ("kernels", format!("{}, threads {}", figures.kernels, figures.threads)),
        ("load", format!("{:.1} ms", figures.load_ms)),
        ("resident", bytes(figures.resident_bytes)),
        ("prompt", format!("{:.1} tokens a second ({prompt_tokens} at once)", figures.prefill_tokens_per_s)),
        ("answer", format!("{:.1} tokens a second ({batch} at once)", figures.decode_tokens_per_s)),
        ("replay", format!("{:.2} of the answer's own time", figures.replay_ratio)),
    ];
    context.output.line(table(&facts.map(|(key, value)| vec![key.to_owned(), value])));
    context.output.document(&figures);
    Ok(())
}

/// A request with tokens that are all over the vocabulary.
fn request(model: &TextModel, prompt_tokens: u32, seed: u32) -> Generation {
    let vocabulary = u32::try_from(model.config().vocabulary_size).unwrap_or(u32::MAX);
    let token =
        |index: u32| index.wrapping_mul(2_654_435_761).wrapping_add(seed.wrapping_mul(97)) % vocabulary;
    let mut generation = Generation::of((0..prompt_tokens).map(token).collect(), ANSWER);
    generation.sampling.logit_bias.extend(model.ends().iter().map(|end| (*end, -1000.0)));
    generation
}

/// Seconds that a prompt takes.
fn prefill(model: &TextModel, prompt_tokens: u32) -> Result<f64> {
    let generation = request(model, prompt_tokens, 0);
    let mut context = model.model().context(generation.prompt.len(), &Limits::default())?;
    let started = Instant::now();
    context.feed(&generation.prompt, 1)?;
    Ok(started.elapsed().as_secs_f64())
}

/// Seconds for each token, of so many answers at once, after their prompts.
fn decode(model: &TextModel, prompt_tokens: u32, batch: u64) -> Result<f64> {
    let answers_max = usize::try_from(batch).unwrap_or(usize::MAX);
    let config = SchedulerConfig {
        answers_max,
        queue_max: answers_max,
        client_queue_max: answers_max,
        ..SchedulerConfig::default()
    };
    let mut scheduler = Scheduler::new(model.clone(), config)?;
    for seed in 0..u32::try_from(batch).unwrap_or(u32::MAX) {
        scheduler.submit(0, request(model, prompt_tokens, seed))?;
    }
    let (mut tokens, mut took) = (0_u32, Duration::ZERO);
    while !scheduler.is_idle() {
        let started = Instant::now();
        let events = scheduler.step();
        let pieces = events.iter().filter(|(_, event)| matches!(event, Event::Piece(_))).count();
        if pieces == answers_max {
            took += started.elapsed();
            tokens += u32::try_from(pieces).unwrap_or(u32::MAX);
        }
    }
    Ok(took.as_secs_f64() / f64::from(tokens.max(1)))
}

fn replay_ratio(model: &TextModel, prompt_tokens: u32) -> Result<f64> {
    let (generation, limits) = (request(model, prompt_tokens, 0), Limits::default());
    let started = Instant::now();
    let answered = generate(model, &generation, &limits, |_| {})?;
    let own = started.elapsed().as_secs_f64();
    let again = median(TURNS, || {
        let started = Instant::now();
        replay(model, &generation, &answered.tokens, &limits)?;
        Ok(started.elapsed().as_secs_f64())
    })?;
    Ok(again / own)
}

fn median(turns: usize, mut measure: impl FnMut() -> Result<f64>) -> Result<f64> {
    let mut times = (0..turns).map(|_| measure()).collect::<Result<Vec<f64>>>()?;
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}
