//! Our side of each work.

use std::fs::File;

use nabla_benches::{Clock, Watch};
use nabla_engine::language::{Context, Counts, LanguageModel, Sampling};
use nabla_engine::{Engine, FileSource, Limits};

use crate::chats::Crowd;
use crate::works::{Model, PROMPT_TOKENS, Work, token_at};

/// A model, loaded into the engine.
#[derive(Debug)]
pub(crate) struct Ours<'e> {
    engine: &'e Engine,
    model: LanguageModel,
}

/// CPU seconds of an answer and of its replay.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer {
    pub(crate) generation: f64,
    pub(crate) replay: f64,
}

fn load(engine: &Engine, model: &Model) -> LanguageModel {
    let file = File::open(&model.path).expect("a model that was made");
    let source = FileSource::new(file).expect("a file");
    LanguageModel::load(engine, &source, &Limits::default())
        .unwrap_or_else(|error| panic!("{}: {error}", model.name))
}

fn prompt(sequence: u32, tokens: u32) -> Vec<u32> {
    (0..tokens).map(|position| token_at(sequence, position)).collect()
}

impl<'e> Ours<'e> {
    pub(crate) fn load(engine: &'e Engine, model: &Model) -> Self {
        Self { engine, model: load(engine, model) }
    }

    /// CPU seconds of one run, the mean of `repeats`; of decoding, of one step. `None` if it cannot be done.
    pub(crate) fn run(&self, model: &Model, work: Work, repeats: u32) -> Option<f64> {
        let mut watch = Watch::new(Clock::Cpu);
        let mut per_run = 1;
        for _ in 0..repeats {
            match work {
                Work::Prefill { tokens } => {
                    let (mut context, prompt) = (self.context(tokens), prompt(0, tokens));
                    watch.time(|| context.feed(&prompt, 1).expect("room"));
                }
                Work::Decode { sequences: 1, context, steps } => {
                    per_run = steps;
                    let mut sequence = self.context(context + steps);
                    sequence.feed(&prompt(0, context), 1).expect("room");
                    watch.time(|| {
                        for position in context..context + steps {
                            sequence.feed(&[token_at(0, position)], 1).expect("room");
                        }
                    });
                }
                Work::Decode { .. } => return None,
                Work::Load { tokens } => {
                    watch.time(|| {
                        let fresh = Self::load(self.engine, model);
                        fresh.context(tokens).feed(&prompt(0, tokens), 1).expect("room")
                    });
                }
            }
        }
        Some(watch.elapsed().as_secs_f64() / f64::from(repeats * per_run))
    }

    /// An answer of so many tokens, and its check in one prefill.
    pub(crate) fn answer(&self, tokens: u32) -> Answer {
        let (sampling, counts) = (Sampling::default(), Counts::default());
        let choose = |logits: &mut [f32], position: usize| {
            self.model.sample(&sampling, logits, &counts, None, position as u64).expect("a token")
        };
        let prompt = prompt(0, PROMPT_TOKENS);
        let mut generation = Watch::new(Clock::Cpu);
        let said = generation.time(|| self.speak(&prompt, tokens, choose));
        let mut replay = Watch::new(Clock::Cpu);
        let whole = [prompt.as_slice(), said.as_slice()].concat();
        replay.time(|| {
            let mut context = self.context(PROMPT_TOKENS + tokens);
            let mut logits = context.feed(&whole[..whole.len() - 1], said.len()).expect("room");
            let vocabulary = logits.len() / said.len();
            for (at, (logits, token)) in logits.chunks_mut(vocabulary).zip(&said).enumerate() {
                assert_eq!(choose(logits, prompt.len() + at), *token, "the replay says what was said");
            }
        });
        let seconds = |watch: &Watch| watch.elapsed().as_secs_f64();
        Answer { generation: seconds(&generation), replay: seconds(&replay) }
    }

    /// The most probable tokens after a prompt.
    pub(crate) fn greedy(&self, prompt: &[u32], tokens: u32) -> Vec<u32> {
        let counts = Counts::default();
        self.speak(prompt, tokens, |logits, position| {
            let sampled = self.model.sample(&Sampling::default(), logits, &counts, None, position as u64);
            sampled.expect("a token")
        })
    }

    /// Many chats at once. `None` until the engine has a scheduler.
    #[expect(clippy::unused_self, reason = "the scheduler comes")]
    pub(crate) fn crowd(&self, _round: u32) -> Option<Crowd> {
        None
    }

    fn speak(&self, prompt: &[u32], tokens: u32, choose: impl Fn(&mut [f32], usize) -> u32) -> Vec<u32> {
        let mut context = self.context(u32::try_from(prompt.len()).expect("a short prompt") + tokens);
        let (mut said, mut fed) = (Vec::new(), prompt.to_vec());
        for _ in 0..tokens {
            let mut logits = context.feed(&fed, 1).expect("room");
            let token = choose(&mut logits, context.tokens());
            said.push(token);
            fed = vec![token];
        }
        said
    }

    fn context(&self, tokens: u32) -> Context {
        self.model.context(tokens as usize, &Limits::default()).expect("memory for a context")
    }
}
