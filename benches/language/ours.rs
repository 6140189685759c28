//! Our side of each work.

use std::fs::File;
use std::time::Instant;

use nabla_benches::{Clock, Watch};
use nabla_engine::language::{Event, Generation, Scheduler, SchedulerConfig, TextModel, generate, replay};
use nabla_engine::{Engine, FileSource, Limits};

use crate::chats::{self, Crowd, Seen};
use crate::works::{Model, PROMPT_TOKENS, Work, token_at};

/// A model, loaded into the engine.
#[derive(Debug)]
pub(crate) struct Ours<'e> {
    engine: &'e Engine,
    model: TextModel,
}

/// CPU seconds of an answer and of its replay.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer {
    pub(crate) generation: f64,
    pub(crate) replay: f64,
}

fn load(engine: &Engine, model: &Model) -> TextModel {
    let file = File::open(&model.path).expect("a model that was made");
    let source = FileSource::new(file).expect("a file");
    let limits = Limits::default();
    TextModel::load(engine, &source, &limits).unwrap_or_else(|error| panic!("{}: {error}", model.name))
}

fn prompt(sequence: u32, tokens: u32) -> Vec<u32> {
    (0..tokens).map(|position| token_at(sequence, position)).collect()
}

/// The logits after a prompt.
fn prefill(model: &TextModel, prompt: &[u32]) -> Vec<f32> {
    let context = model.model().context(prompt.len(), &Limits::default());
    context.expect("memory for a context").feed(prompt, 1).expect("room")
}

impl<'e> Ours<'e> {
    pub(crate) fn load(engine: &'e Engine, model: &Model) -> Self {
        Self { engine, model: load(engine, model) }
    }

    /// CPU seconds of one run, the mean of `repeats`.
    pub(crate) fn run(&self, model: &Model, work: Work, repeats: u32) -> f64 {
        let mut watch = Watch::new(Clock::Cpu);
        for _ in 0..repeats {
            match work {
                Work::Prefill { tokens } => {
                    let prompt = prompt(0, tokens);
                    watch.time(|| prefill(&self.model, &prompt));
                }
                Work::Decode { sequences: 1, context, steps } => self.decode(context, steps, &mut watch),
                Work::Decode { sequences, context, steps } => {
                    self.decode_together(sequences, context, steps, &mut watch);
                }
                Work::Load { tokens } => {
                    let prompt = prompt(0, tokens);
                    watch.time(|| prefill(&load(self.engine, model), &prompt));
                }
            }
        }
        watch.elapsed().as_secs_f64() / f64::from(repeats)
    }

    fn decode(&self, context: u32, steps: u32, watch: &mut Watch) {
        let room = self.model.model().context((context + steps) as usize, &Limits::default());
        let mut sequence = room.expect("memory for a context");
        sequence.feed(&prompt(0, context), 1).expect("room");
        watch.time(|| {
            for position in context..context + steps {
                sequence.feed(&[token_at(0, position)], 1).expect("room");
            }
        });
    }

    /// By the scheduler, so tokens are chosen and written as text, too.
    fn decode_together(&self, sequences: u32, context: u32, steps: u32, watch: &mut Watch) {
        let config = SchedulerConfig { step_tokens_max: 512, ..SchedulerConfig::default() };
        let mut scheduler = Scheduler::new(self.model.clone(), config).expect("room for pages");
        for sequence in 0..sequences {
            let generation = Generation::of(prompt(sequence, context), steps + 16);
            scheduler.submit(u64::from(sequence), generation).expect("room in the queue");
        }
        // The step in which the last prompt ends brings a token of each answer.
        while scheduler.step().len() < sequences as usize {}
        watch.time(|| {
            for _ in 0..steps {
                let events = scheduler.step();
                assert_eq!(events.len(), sequences as usize, "every answer goes on: {events:?}");
            }
        });
    }

    /// An answer of so many tokens, and its check.
    pub(crate) fn answer(&self, tokens: u32) -> Answer {
        let generation = Generation::of(prompt(0, PROMPT_TOKENS), tokens);
        let limits = Limits::default();
        let (mut generating, mut checking) = (Watch::new(Clock::Cpu), Watch::new(Clock::Cpu));
        let answer =
            generating.time(|| generate(&self.model, &generation, &limits, |_| ())).expect("an answer");
        let replay = checking.time(|| replay(&self.model, &generation, &answer.tokens, &limits));
        let replay = replay.expect("a replay");
        assert!(replay.difference.is_none() && replay.finish == Some(answer.finish), "the same answer");
        let seconds = |watch: &Watch| watch.elapsed().as_secs_f64();
        Answer { generation: seconds(&generating), replay: seconds(&checking) }
    }

    /// The likeliest tokens after a prompt.
    pub(crate) fn greedy(&self, prompt: &[u32], tokens: u32) -> Vec<u32> {
        let generation = Generation::of(prompt.to_vec(), tokens);
        generate(&self.model, &generation, &Limits::default(), |_| ()).expect("an answer").tokens
    }

    /// A place for many chats, which has seen the prompt that they share.
    pub(crate) fn crowded(&self) -> Room {
        let scheduler = Scheduler::new(self.model.clone(), SchedulerConfig::default());
        let mut room = Room(scheduler.expect("room for pages"));
        room.run([chats::prompt(chats::CHATS, 0)]);
        room
    }
}

/// A scheduler with a prefix cache.
#[derive(Debug)]
pub(crate) struct Room(Scheduler);

impl Room {
    /// All chats at once.
    pub(crate) fn run(&mut self, prompts: impl IntoIterator<Item = Vec<u32>>) -> Crowd {
        let began = Instant::now();
        let mut jobs = Vec::new();
        for (client, prompt) in (0..).zip(prompts) {
            let generation = Generation::of(prompt, chats::ANSWER_TOKENS);
            jobs.push(self.0.submit(client, generation).expect("room in the queue"));
        }
        let mut seen = vec![Seen { first: f64::NAN, tokens: 0 }; jobs.len()];
        while !self.0.is_idle() {
            let events = self.0.step();
            let now = began.elapsed().as_secs_f64();
            for (id, event) in events {
                let Some(index) = jobs.iter().position(|job| *job == id) else { continue };
                match event {
                    Event::Piece(_) => seen[index].piece(now),
                    Event::Finished { .. } => {}
                    Event::Failed(error) => panic!("an answer failed: {error}"),
                }
            }
        }
        Crowd::of(began.elapsed().as_secs_f64(), &seen)
    }
}
