//! What is measured: the models that `benches/language_models.py` makes, and the work that both sides do.

use std::path::{Path, PathBuf};
use std::process::Command;

use nabla_benches::Worker;
use serde_json::{Value, json};

/// Tokens of a prompt, and of the context in which decoding is measured.
pub(crate) const PROMPT_TOKENS: u32 = 128;
/// Steps of one run of decoding.
const STEPS: u32 = 16;
/// Tokens of the prompt after which a freshly loaded model speaks.
const FIRST_TOKENS: u32 = 8;

/// The least ratios, by the model's name: prefill, decode, decode at batch 8, load (0: not asked for).
const TARGETS: [(&str, [f64; 4]); 4] = [
    ("125m Q8_0", [0.95, 0.95, 1.5, 1.0]),
    ("125m Q4_0", [0.8, 0.9, 0.0, 0.0]),
    ("125m Q4_K", [0.8, 0.9, 0.0, 0.0]),
    ("1b Q8_0", [0.95, 0.95, 1.5, 0.0]),
];

/// A model that was made.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
}

/// One thing that both sides do with a model.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Work {
    /// A prompt, and the logits after its last token.
    Prefill { tokens: u32 },
    /// Steps after a context: in each, one token of every sequence.
    Decode { sequences: u32, context: u32, steps: u32 },
    /// From a file's path to the logits after a prompt.
    Load { tokens: u32 },
}

/// What is done with a model, and the least ratio of each.
pub(crate) fn works(model: &Model) -> Vec<(Work, Option<f64>)> {
    let decode = |sequences| Work::Decode { sequences, context: PROMPT_TOKENS, steps: STEPS };
    let works =
        [Work::Prefill { tokens: PROMPT_TOKENS }, decode(1), decode(8), Work::Load { tokens: FIRST_TOKENS }];
    let targets =
        TARGETS.iter().find(|(name, _)| *name == model.name).map_or([0.0; 4], |(_, targets)| *targets);
    works.into_iter().zip(targets.map(|target| (target > 0.0).then_some(target))).collect()
}

impl Work {
    pub(crate) fn name(self) -> String {
        match self {
            Self::Prefill { tokens } => format!("prefill {tokens}"),
            Self::Decode { sequences: 1, .. } => "decode".to_owned(),
            Self::Decode { sequences, .. } => format!("decode, batch {sequences}"),
            Self::Load { .. } => "load, to the first token".to_owned(),
        }
    }

    /// Tokens of one run; 0 where speed is none of tokens.
    pub(crate) fn tokens(self) -> u32 {
        match self {
            Self::Prefill { tokens } => tokens,
            Self::Decode { sequences, steps, .. } => sequences * steps,
            Self::Load { .. } => 0,
        }
    }

    fn request(self, path: &Path, repeats: u32) -> Value {
        match self {
            Self::Prefill { tokens } => {
                json!({"file": path, "work": "prefill", "tokens": tokens, "repeats": repeats})
            }
            Self::Decode { sequences, context, steps } => json!({
                "file": path, "work": "decode", "batch": sequences, "context": context, "tokens": steps,
                "repeats": repeats,
            }),
            Self::Load { tokens } => {
                json!({"file": path, "work": "load", "tokens": tokens, "repeats": repeats})
            }
        }
    }
}

/// The token at a position of a sequence: any will do, as long as both sides take the same.
pub(crate) fn token_at(sequence: u32, position: u32) -> u32 {
    300 + (position + 13 * sequence) * 7919 % 31_000
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Make models and peer if they are not there, and list the models.
pub(crate) fn read() -> Vec<Model> {
    let folder = root().join("target/bench-language-models");
    let list = folder.join("works.json");
    if !list.exists() {
        let script = root().join("benches/language_models.py");
        let made = Command::new("python3").arg(script).arg(&folder).status();
        assert!(
            made.is_ok_and(|status| status.success()),
            "benches/language_models.py makes models and peer: needs python3, PyPI, a C++ compiler and crates.io"
        );
    }
    let text = std::fs::read_to_string(&list).expect("works.json");
    let models: Vec<Value> = serde_json::from_str(&text).expect("JSON");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let model = |json: &Value| Model { name: text(&json["name"]), path: folder.join(text(&json["file"])) };
    models.iter().map(model).collect()
}

/// The Python of the models' virtual environment, which also has llama.cpp's server.
pub(crate) fn python() -> PathBuf {
    root().join("target/peers-language/bin/python3")
}

/// llama.cpp, one thread.
#[derive(Debug)]
pub(crate) struct Peer(Worker);

impl Peer {
    pub(crate) fn start() -> Self {
        Self(Worker::start(&mut Command::new(root().join("target/llama-peer/release/nabla-llama-peer"))))
    }

    pub(crate) fn version(&self) -> &str {
        self.0.hello["version"].as_str().unwrap_or_default()
    }

    /// CPU seconds of one run, the mean of `repeats`.
    pub(crate) fn run(&mut self, model: &Model, work: Work, repeats: u32) -> f64 {
        self.0.ask(&work.request(&model.path, repeats))["cpu"].as_f64().expect("seconds")
    }

    /// The likeliest tokens after a prompt.
    pub(crate) fn greedy(&mut self, model: &Model, prompt: &[u32], tokens: u32) -> Vec<u32> {
        let request = json!({"file": model.path, "work": "greedy", "prompt": prompt, "tokens": tokens});
        let answer = self.0.ask(&request);
        let tokens = answer["tokens"].as_array().expect("tokens").iter();
        tokens.filter_map(|token| u32::try_from(token.as_u64()?).ok()).collect()
    }
}
