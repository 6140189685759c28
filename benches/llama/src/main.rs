//! llama.cpp as a peer that runs on request, for the table of language models.
//!
//! One JSON object per line on standard input, one answer per line. Times are seconds on one thread:
//!
//! | request | answer |
//! |---|---|
//! | `{"file", "work": "prefill", "tokens": 128, "repeats": 3}` | `{"cpu", "wall"}` of one prompt, logits after its last token |
//! | `{"file", "work": "decode", "batch": 8, "context": 128, "tokens": 16, "repeats": 2}` | of so many steps, each a token of every sequence |
//! | `{"file", "work": "load", "tokens": 8, "repeats": 1}` | from a file's path to the logits after a prompt |
//! | `{"file", "work": "greedy", "prompt": [1, 5], "tokens": 64}` | `{"tokens": [...]}`, the likeliest ones |
//!
//! Models stay loaded until the process ends, but for those of `load`. Prompts are the same tokens as on our side.
#![expect(clippy::print_stdout, reason = "answers go to standard output")]

use std::collections::HashMap;
use std::io::BufRead;
use std::num::NonZeroU32;
use std::time::Duration;

use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::LlamaContextParams;
use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::model::params::LlamaModelParams;
use llama_cpp_2::token::LlamaToken;
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

/// Room for each sequence, tokens.
const CONTEXT_TOKENS: u32 = 1024;
/// The crate that brings llama.cpp.
const VERSION: &str = "llama-cpp-2 0.1.160";

fn main() {
    let mut backend = LlamaBackend::init().expect("llama.cpp starts");
    if std::env::args().all(|argument| argument != "--verbose") {
        backend.void_logs();
    }
    let mut peer = Peer { backend, loaded: HashMap::new() };
    println!("{}", json!({"version": VERSION}));
    for line in std::io::stdin().lock().lines() {
        let request: Value = serde_json::from_str(&line.expect("text")).expect("JSON");
        println!("{}", peer.answer(&request));
    }
}

/// llama.cpp, and what is loaded by file and number of sequences.
struct Peer {
    backend: LlamaBackend,
    loaded: HashMap<(String, u32), Loaded>,
}

/// A model for the life of the process.
struct Loaded {
    context: LlamaContext<'static>,
    /// Tokens that each sequence holds.
    held: u32,
}

impl Peer {
    fn answer(&mut self, request: &Value) -> Value {
        let number = |key: &str| u32::try_from(request[key].as_u64().unwrap_or(1)).expect("a small number");
        let file = request["file"].as_str().expect("a file");
        let (tokens, repeats) = (number("tokens"), number("repeats"));
        match request["work"].as_str().expect("a kind of work") {
            "prefill" => self.loaded(file, 1).prefill(tokens, repeats),
            "decode" => {
                let batch = number("batch");
                self.loaded(file, batch).decode(batch, number("context"), tokens, repeats)
            }
            "load" => self.load(file, tokens, repeats),
            "greedy" => {
                let prompt = request["prompt"].as_array().expect("tokens").iter();
                let prompt: Vec<i64> = prompt.filter_map(Value::as_i64).collect();
                json!({"tokens": self.loaded(file, 1).greedy(&prompt, tokens)})
            }
            other => panic!("{other} is no kind of work"),
        }
    }

    fn loaded(&mut self, file: &str, sequences: u32) -> &mut Loaded {
        let backend = &self.backend;
        self.loaded.entry((file.to_owned(), sequences)).or_insert_with(|| {
            let model: &'static LlamaModel = Box::leak(Box::new(read(backend, file)));
            Loaded { context: context(backend, model, sequences), held: 0 }
        })
    }

    fn load(&self, file: &str, tokens: u32, repeats: u32) -> Value {
        let mut watch = Watch::default();
        for _ in 0..repeats {
            watch.start();
            let model = read(&self.backend, file);
            let mut context = context(&self.backend, &model, 1);
            feed(&mut context, 1, 0..tokens);
            watch.stop();
        }
        watch.answer(repeats)
    }
}

fn read(backend: &LlamaBackend, file: &str) -> LlamaModel {
    let params = LlamaModelParams::default().with_n_gpu_layers(0);
    LlamaModel::load_from_file(backend, file, &params).expect("a model that was made")
}

fn context<'m>(backend: &LlamaBackend, model: &'m LlamaModel, sequences: u32) -> LlamaContext<'m> {
    let params = LlamaContextParams::default()
        .with_n_ctx(NonZeroU32::new(CONTEXT_TOKENS * sequences))
        .with_n_seq_max(sequences)
        .with_n_batch(512)
        .with_n_ubatch(512)
        .with_n_threads(1)
        .with_n_threads_batch(1);
    model.new_context(backend, params).expect("memory for a context")
}

/// A token for a position: any will do, as long as both sides take the same.
fn token_at(position: u32) -> LlamaToken {
    LlamaToken(i32::try_from(300 + position * 7919 % 31_000).expect("a small number"))
}

/// Tokens at these positions of each sequence, in one step; logits after the last ones.
fn feed(context: &mut LlamaContext<'_>, sequences: u32, positions: std::ops::Range<u32>) {
    let mut batch = LlamaBatch::new((sequences * (positions.end - positions.start)) as usize, 1);
    for sequence in 0..sequences.cast_signed() {
        for position in positions.clone() {
            let is_last = position + 1 == positions.end;
            let token = token_at(position + 13 * sequence.cast_unsigned());
            batch.add(token, position.cast_signed(), &[sequence], is_last).expect("room in the batch");
        }
    }
    context.decode(&mut batch).expect("a step");
    // Reading waits for the result.
    std::hint::black_box(context.get_logits_ith(batch.n_tokens() - 1)[0]);
}

impl Loaded {
    fn prefill(&mut self, tokens: u32, repeats: u32) -> Value {
        let mut watch = Watch::default();
        for _ in 0..repeats {
            self.context.clear_kv_cache();
            watch.start();
            feed(&mut self.context, 1, 0..tokens);
            watch.stop();
        }
        self.held = tokens;
        watch.answer(repeats)
    }

    /// Steps of one token of each sequence after `context` tokens.
    fn decode(&mut self, batch: u32, context: u32, tokens: u32, repeats: u32) -> Value {
        if self.held != context {
            self.context.clear_kv_cache();
            for start in (0..context).step_by(16) {
                feed(&mut self.context, batch, start..(start + 16).min(context));
            }
        }
        let mut watch = Watch::default();
        for _ in 0..repeats {
            watch.start();
            for position in context..context + tokens {
                feed(&mut self.context, batch, position..position + 1);
            }
            watch.stop();
            for sequence in 0..batch.cast_signed() {
                self.context.kv_cache_seq_rm(sequence, Some(context), None).expect("these tokens are there");
            }
        }
        self.held = context;
        watch.answer(repeats)
    }

    fn greedy(&mut self, prompt: &[i64], tokens: u32) -> Vec<i32> {
        self.context.clear_kv_cache();
        self.held = 0;
        let prompt = prompt.iter().map(|token| LlamaToken(i32::try_from(*token).expect("a token")));
        let prompt: Vec<LlamaToken> = prompt.collect();
        let mut batch = LlamaBatch::new(prompt.len().max(1), 1);
        batch.add_sequence(&prompt, 0, false).expect("room in the batch");
        let (mut said, mut position) = (Vec::new(), batch.n_tokens());
        for _ in 0..tokens {
            self.context.decode(&mut batch).expect("a step");
            let logits = self.context.get_logits_ith(batch.n_tokens() - 1);
            let best = (0_i32..).zip(logits).max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(&a.0)));
            let best = best.expect("a vocabulary").0;
            said.push(best);
            batch.clear();
            batch.add(LlamaToken(best), position, &[0], true).expect("room in the batch");
            position += 1;
        }
        said
    }
}

/// CPU time of the process and time that passes, added up.
#[derive(Default)]
struct Watch {
    began: [Duration; 2],
    elapsed: [Duration; 2],
}

impl Watch {
    fn now() -> [Duration; 2] {
        [ClockId::ProcessCPUTime, ClockId::Monotonic].map(|clock| {
            let time = clock_gettime(clock);
            let seconds = time.tv_sec.cast_unsigned();
            Duration::new(seconds, u32::try_from(time.tv_nsec).expect("below a second"))
        })
    }

    fn start(&mut self) {
        self.began = Self::now();
    }

    fn stop(&mut self) {
        for ((elapsed, began), now) in self.elapsed.iter_mut().zip(self.began).zip(Self::now()) {
            *elapsed += now - began;
        }
    }

    fn answer(&self, count: u32) -> Value {
        let [cpu, wall] = self.elapsed.map(|elapsed| elapsed.as_secs_f64() / f64::from(count));
        json!({"cpu": cpu, "wall": wall})
    }
}
