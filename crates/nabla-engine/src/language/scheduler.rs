//! Many answers at once: continuous batching, in steps.
//!
//! A [`Scheduler`] holds requests that wait and answers on their way. Each [`Scheduler::step`] is one forward pass: a
//! token of every answer, and pieces of prompts up to a number of tokens.
//!
//! # Rules
//! - A batch changes no bit of an answer: who is served together is decided by memory and turns alone.
//! - An answer starts only when pages for all of its tokens are there, so that what has started can always end.
//! - Clients take turns: of two that wait, the one whose turn was longer ago goes first. One that fits waits for one
//!   that does not yet, so that long prompts are not starved.
//! - Pages that another text has computed are taken, not computed again, also while that text is being read.
//!
//! # When things go wrong
//! Requests beyond the queue, or that could never fit, are refused at once. An answer that fails (a grammar that
//! explodes) ends with [`Event::Failed`], and the others go on. Dropping a job ([`Scheduler::cancel`]) takes effect
//! before the next step.
//!
//! # Example
//! ```no_run
//! use nabla_engine::language::{Event, Generation, Scheduler, SchedulerConfig, TextModel};
//! use nabla_engine::{Engine, FileSource, Kernels, Limits};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # #[expect(clippy::disallowed_methods, reason = "an example")]
//! let file = FileSource::new(std::fs::File::open("model.gguf")?)?;
//! let model = TextModel::load(&Engine::new(Kernels::Auto)?, &file, &Limits::default())?;
//! let mut scheduler = Scheduler::new(model.clone(), SchedulerConfig::default())?;
//! scheduler.submit(0, Generation::of(model.text_prompt("Once upon a time")?, 32))?;
//! while !scheduler.is_idle() {
//!     for (_job, event) in scheduler.step() {
//!         if let Event::Piece(piece) = event {
//!             print!("{}", piece.text);
//!         }
//!     }
//! }
//! # Ok(()) }
//! ```

use std::collections::{BTreeMap, HashSet, VecDeque};

use super::TextModel;
use super::decoder::{Chunk, Positions};
use super::generation::{Answer, Finish, Generation, Piece};
use super::pages::{Pages, Sequence};
use super::prefixes::{PageHash, Prefixes};
use crate::kernels::check_float_mode;
use crate::kernels::decoder::attention::KEYS;
use crate::{Error, Limits};

#[cfg(test)]
mod tests;

/// Bounds of a scheduler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchedulerConfig {
    /// Most tokens of one step: a token of each answer, the rest for prompts.
    pub step_tokens_max: usize,
    /// Most answers on their way.
    pub answers_max: usize,
    /// Most requests that wait.
    pub queue_max: usize,
    /// Most of them that are one client's.
    pub client_queue_max: usize,
    /// Bytes of memory for keys and values.
    pub pages_bytes: u64,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self {
            step_tokens_max: 256,
            answers_max: 32,
            queue_max: 256,
            client_queue_max: 64,
            pages_bytes: 1 << 30,
        }
    }
}

/// Names one request of a scheduler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(u64);

/// What a step brought.
#[derive(Debug)]
pub enum Event {
    /// One more token.
    Piece(Piece),
    /// The end of an answer.
    Finished {
        /// Why.
        finish: Finish,
        /// Text that was held back until now.
        rest: String,
        /// What was consumed.
        usage: TokenUsage,
    },
    /// The end of an answer that went wrong.
    Failed(Error),
}

/// Tokens of one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TokenUsage {
    /// Of the prompt.
    pub prompt: u32,
    /// Of these, how many were not computed again.
    pub cached: u32,
    /// Of the answer.
    pub completion: u32,
}

/// An answer that has pages.
#[derive(Debug)]
struct Running {
    id: JobId,
    answer: Answer,
    sequence: Sequence,
    /// The prompt, and the answer so far.
    tokens: Vec<u32>,
    /// Of the full pages of the prompt, and of those that have become full since.
    hashes: Vec<PageHash>,
    /// Pages that the table of prefixes was told of.
    kept: usize,
    usage: TokenUsage,
}

impl Running {
    fn prompt(&self) -> usize {
        self.usage.prompt as usize
    }
}

#[derive(Debug)]
struct Waiting {
    id: JobId,
    prepared: Prepared,
}

/// A request that was checked, its constraint compiled: work of a moment that need not hold up a scheduler.
#[derive(Debug)]
pub struct Prepared {
    prompt: Vec<u32>,
    answer: Answer,
    /// Pages that prompt and answer take at most.
    pages: usize,
}

impl Prepared {
    /// Check a request.
    ///
    /// # Errors
    /// As [`Generation::check`]; [`Error::Text`] for a constraint that cannot be met.
    pub fn new(model: &TextModel, generation: Generation) -> Result<Self, Error> {
        generation.check(model)?;
        let answer = Answer::new(model, &generation)?;
        let pages = generation.tokens_max(model).div_ceil(KEYS);
        Ok(Self { prompt: generation.prompt, answer, pages })
    }
}

/// Many answers at once.
#[derive(Debug)]
pub struct Scheduler {
    model: TextModel,
    config: SchedulerConfig,
    pages: Pages,
    pages_max: usize,
    positions: Positions,
    prefixes: Prefixes,
    waiting: BTreeMap<u64, VecDeque<Waiting>>,
    /// Clients that wait, the next one first.
    turns: VecDeque<u64>,
    running: Vec<Running>,
    next: u64,
}

impl Scheduler {
    /// An idle one. Memory for keys and values is taken as it is used.
    ///
    /// # Errors
    /// [`Error::Setting`] if there is no room for a single page or token.
    pub fn new(model: TextModel, config: SchedulerConfig) -> Result<Self, Error> {
        let decoder = &model.model().0;
        let pages_max = config.pages_bytes / model.model().context_bytes(KEYS).max(1);
        let pages_max = usize::try_from(pages_max).unwrap_or(usize::MAX);
        if pages_max == 0 || config.step_tokens_max == 0 || config.answers_max == 0 {
            return Err(Error::Setting {
                what: "scheduler",
                expected: format!(
                    "room for an answer, a token and {} bytes of keys and values",
                    model.model().context_bytes(KEYS)
                ),
                got: format!("{config:?}"),
            });
        }
        Ok(Self {
            pages: Pages::new(&decoder.config, pages_max),
            positions: Positions::new(&decoder.config, &decoder.weights),
            pages_max,
            prefixes: Prefixes::default(),
            waiting: BTreeMap::new(),
            turns: VecDeque::new(),
            running: Vec::new(),
            next: 0,
            model,
            config,
        })
    }

    /// Let a request wait for its turn. `client` is whoever shares a turn.
    ///
    /// # Errors
    /// As [`Prepared::new`] and [`Scheduler::submit_prepared`].
    pub fn submit(&mut self, client: u64, generation: Generation) -> Result<JobId, Error> {
        self.check_queue(client)?;
        self.submit_prepared(client, Prepared::new(&self.model, generation)?)
    }

    /// The same for a request that was prepared for this scheduler's model, perhaps in another thread.
    ///
    /// # Errors
    /// [`Error::Limit`] for more tokens than there will ever be memory for; [`Error::Busy`] if too many wait.
    pub fn submit_prepared(&mut self, client: u64, prepared: Prepared) -> Result<JobId, Error> {
        self.check_queue(client)?;
        let pages = prepared.pages as u64;
        Limits::check("pages of keys and values for the longest answer", pages, self.pages_max as u64)?;
        let id = JobId(self.next);
        self.next += 1;
        let queue = self.waiting.entry(client).or_default();
        queue.push_back(Waiting { id, prepared });
        if queue.len() == 1 {
            self.turns.push_back(client);
        }
        Ok(id)
    }

    fn check_queue(&self, client: u64) -> Result<(), Error> {
        let all: usize = self.waiting.values().map(VecDeque::len).sum();
        let own = self.waiting.get(&client).map_or(0, VecDeque::len);
        if all >= self.config.queue_max || own >= self.config.client_queue_max {
            return Err(Error::Busy { waiting: all });
        }
        Ok(())
    }

    /// Forget a request, wherever it is. Without effect once it has ended.
    pub fn cancel(&mut self, job: JobId) {
        for queue in self.waiting.values_mut() {
            queue.retain(|waiting| waiting.id != job);
        }
        self.waiting.retain(|_, queue| !queue.is_empty());
        self.turns.retain(|client| self.waiting.contains_key(client));
        if let Some(index) = self.running.iter().position(|running| running.id == job) {
            let running = self.running.remove(index);
            self.leave(&running.sequence);
        }
    }

    /// Nothing waits, and nothing is on its way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.running.is_empty() && self.waiting.is_empty()
    }

    /// Answers on their way, and requests that wait.
    #[must_use]
    pub fn load(&self) -> (usize, usize) {
        (self.running.len(), self.waiting.values().map(VecDeque::len).sum())
    }

    /// One forward pass, and what it brought, in no order that means anything between jobs.
    pub fn step(&mut self) -> Vec<(JobId, Event)> {
        self.admit();
        let parts = self.parts();
        if parts.is_empty() {
            return Vec::new();
        }
        let mut logits = match self.forward(&parts) {
            Ok(logits) => logits,
            Err(error) => return self.fail_all(&error),
        };
        let mut events = Vec::new();
        let mut rows = logits.chunks_exact_mut(self.model.config().vocabulary_size);
        for part in &parts {
            self.remember(part.index);
            if part.wanted > 0
                && let Some(row) = rows.next()
            {
                self.advance(part.index, row, &mut events);
            }
        }
        self.sweep(&events);
        events
    }

    /// Start what may start.
    fn admit(&mut self) {
        while self.running.len() < self.config.answers_max {
            let Some(client) = self.turns.front().copied() else { return };
            let Some(waiting) = self.waiting.get(&client).and_then(VecDeque::front) else { return };
            let Prepared { prompt, pages, .. } = &waiting.prepared;
            let (known, pages) = (PageHash::of(&prompt[..prompt.len() - 1]), *pages);
            let Some(sequence) = self.seat(&known, pages) else { return };
            self.turns.pop_front();
            let queue = self.waiting.get_mut(&client);
            let Some(Waiting { id, prepared }) = queue.and_then(VecDeque::pop_front) else { return };
            if self.waiting.get(&client).is_some_and(VecDeque::is_empty) {
                self.waiting.remove(&client);
            } else {
                self.turns.push_back(client);
            }
            let Prepared { prompt: tokens, answer, .. } = prepared;
            let hashes = PageHash::of(&tokens);
            let usage =
                TokenUsage { prompt: count(tokens.len()), cached: count(sequence.tokens), completion: 0 };
            self.running.push(Running { id, answer, sequence, tokens, hashes, kept: 0, usage });
        }
    }

    /// Pages for a sequence, the first of them computed already where they are known.
    fn seat(&mut self, hashes: &[PageHash], pages: usize) -> Option<Sequence> {
        let known = hashes.iter().take_while(|hash| self.prefixes.contains(**hash)).count();
        let mut sequence = Sequence::default();
        sequence
            .pages
            .extend(hashes[..known].iter().filter_map(|hash| self.prefixes.find(*hash, &mut self.pages)));
        sequence.tokens = sequence.pages.len() * KEYS;
        let needed = (pages - sequence.pages.len()).saturating_sub(self.pages.free_count());
        if needed > 0 {
            if needed <= self.prefixes.idle_count(&self.pages) {
                self.prefixes.forget(needed, &mut self.pages);
            } else {
                self.leave(&sequence);
                return None;
            }
        }
        let missing = pages - sequence.pages.len();
        sequence.pages.extend((0..missing).filter_map(|_| self.pages.take()));
        Some(sequence)
    }

    /// What the next pass runs: a token of each answer, then prompts, the longest on its way first.
    fn parts(&mut self) -> Vec<Part> {
        let mut left = self.config.step_tokens_max.max(self.running.len());
        let mut parts = Vec::new();
        let mut prompts = Vec::new();
        for (index, running) in self.running.iter().enumerate() {
            if running.sequence.tokens + 1 == running.tokens.len() {
                parts.push(Part { index, tokens: 1, wanted: 1 });
                left -= 1;
            } else {
                prompts.push(index);
            }
        }
        // Pages that this step computes: whoever needs the same waits for the next step.
        let mut coming: HashSet<PageHash> = HashSet::new();
        for index in prompts {
            if left == 0 {
                break;
            }
            self.skip_known(index);
            let running = &self.running[index];
            let first = running.sequence.tokens;
            let page = first / KEYS;
            let is_coming = first.is_multiple_of(KEYS)
                && page < running.last_shared()
                && coming.contains(&running.hashes[page]);
            if is_coming {
                continue;
            }
            let tokens = (running.tokens.len() - first).min(left);
            left -= tokens;
            let full = ((first + tokens) / KEYS).clamp(page, running.hashes.len());
            coming.extend(&running.hashes[page..full]);
            let wanted = usize::from(first + tokens == running.tokens.len());
            parts.push(Part { index, tokens, wanted });
        }
        parts.sort_unstable_by_key(|part| part.index);
        parts
    }

    /// Take pages that others have computed in the meantime.
    fn skip_known(&mut self, index: usize) {
        let running = &mut self.running[index];
        while running.sequence.tokens.is_multiple_of(KEYS) {
            let page = running.sequence.tokens / KEYS;
            if page >= running.last_shared() {
                return;
            }
            let Some(known) = self.prefixes.find(running.hashes[page], &mut self.pages) else { return };
            let own = std::mem::replace(&mut running.sequence.pages[page], known);
            self.pages.give(own);
            running.sequence.tokens += KEYS;
            running.usage.cached += count(KEYS);
        }
    }

    fn forward(&mut self, parts: &[Part]) -> Result<Vec<f32>, Error> {
        check_float_mode()?;
        let mut parts = parts.iter().peekable();
        let mut chunks = Vec::with_capacity(parts.len());
        for (index, running) in self.running.iter_mut().enumerate() {
            if let Some(part) = parts.next_if(|part| part.index == index) {
                let first = running.sequence.tokens;
                let tokens = &running.tokens[first..first + part.tokens];
                chunks.push(Chunk { sequence: &mut running.sequence, tokens, wanted: part.wanted });
            }
        }
        self.model.model().0.step(&mut self.pages, &mut self.positions, &mut chunks)
    }

    /// Keep the pages that have become full.
    fn remember(&mut self, index: usize) {
        let running = &mut self.running[index];
        let full = running.sequence.tokens / KEYS;
        for page in running.hashes.len()..full {
            let before = running.hashes.last().copied().unwrap_or_else(PageHash::start);
            running.hashes.push(before.then(&running.tokens[page * KEYS..][..KEYS]));
        }
        for depth in running.kept..full {
            self.prefixes.keep(running.hashes[depth], depth, running.sequence.pages[depth], &mut self.pages);
        }
        running.kept = full;
    }

    /// The next token of an answer.
    fn advance(&mut self, index: usize, logits: &mut [f32], events: &mut Vec<(JobId, Event)>) {
        let running = &mut self.running[index];
        let chosen = running.answer.choose(logits);
        let piece = chosen.and_then(|(token, logprobs)| running.answer.take(token, logprobs));
        let piece = match piece {
            Ok(piece) => piece,
            Err(error) => return events.push((running.id, Event::Failed(error))),
        };
        running.tokens.push(piece.token);
        running.usage.completion += 1;
        events.push((running.id, Event::Piece(piece)));
        if let Some(finish) = running.answer.finish() {
            let (rest, usage) = (running.answer.rest(), running.usage);
            events.push((running.id, Event::Finished { finish, rest, usage }));
        }
    }

    /// Let go of answers that have ended.
    fn sweep(&mut self, events: &[(JobId, Event)]) {
        for (id, event) in events {
            if matches!(event, Event::Finished { .. } | Event::Failed(_)) {
                self.cancel(*id);
            }
        }
    }

    /// Nothing of a step can be used: every answer in it has failed.
    fn fail_all(&mut self, error: &Error) -> Vec<(JobId, Event)> {
        let ids: Vec<JobId> = self.running.iter().map(|running| running.id).collect();
        ids.iter().for_each(|id| self.cancel(*id));
        let problem = error.to_string();
        ids.into_iter().map(|id| (id, Event::Failed(Error::Step { problem: problem.clone() }))).collect()
    }

    fn leave(&mut self, sequence: &Sequence) {
        sequence.pages.iter().for_each(|page| self.pages.give(*page));
    }
}

impl Running {
    /// Pages of the prompt that another text may have computed: at least one token is left for logits.
    fn last_shared(&self) -> usize {
        (self.prompt() - 1) / KEYS
    }
}

/// Tokens of one sequence in a step.
#[derive(Debug, Clone, Copy)]
struct Part {
    index: usize,
    tokens: usize,
    wanted: usize,
}

fn count(tokens: usize) -> u32 {
    u32::try_from(tokens).unwrap_or(u32::MAX)
}
