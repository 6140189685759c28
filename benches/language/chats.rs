//! Many chats at once that begin with the same system prompt: tokens in a second, and how long until the first one.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Instant;

use nabla_benches::Worker;
use serde_json::json;

use crate::works::{Model, python, token_at};

/// Chats at once, tokens of the prompt that they share, of what each asks, and of each answer.
pub(crate) const CHATS: u32 = 32;
pub(crate) const SHARED_TOKENS: u32 = 512;
const OWN_TOKENS: u32 = 24;
pub(crate) const ANSWER_TOKENS: u32 = 64;
pub(crate) const THREADS: u32 = 2;

/// What one run of all chats came to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Crowd {
    pub(crate) tokens_per_second: f64,
    /// Seconds to the first token, which all but one chat in twenty do not pass.
    pub(crate) first_p95: f64,
}

/// What one chat saw, in seconds from its beginning.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) first: f64,
    pub(crate) tokens: u32,
}

impl Seen {
    /// One more token, so many seconds after the beginning.
    pub(crate) fn piece(&mut self, seconds: f64) {
        if self.tokens == 0 {
            self.first = seconds;
        }
        self.tokens += 1;
    }
}

/// The prompt of one chat. `round` makes each run's own part a new one, so that only the shared part can be remembered.
pub(crate) fn prompt(chat: u32, round: u32) -> Vec<u32> {
    let shared = (0..SHARED_TOKENS).map(|position| token_at(0, position));
    let own =
        (0..OWN_TOKENS).map(|position| token_at(1 + chat + CHATS * round, SHARED_TOKENS + 7 * position));
    shared.chain(own).collect()
}

/// The prompts of a round.
pub(crate) fn prompts(round: u32) -> impl Iterator<Item = Vec<u32>> {
    (0..CHATS).map(move |chat| prompt(chat, round))
}

impl Crowd {
    pub(crate) fn of(seconds: f64, seen: &[Seen]) -> Self {
        let mut first: Vec<f64> = seen.iter().map(|seen| seen.first).collect();
        first.sort_by(f64::total_cmp);
        let tokens: u32 = seen.iter().map(|seen| seen.tokens).sum();
        let p95 = first.get((first.len() * 95).div_ceil(100).saturating_sub(1));
        Self { tokens_per_second: f64::from(tokens) / seconds, first_p95: p95.copied().unwrap_or(f64::NAN) }
    }
}

/// llama.cpp's server on one model.
#[derive(Debug)]
pub(crate) struct Server {
    worker: Worker,
}

impl Server {
    pub(crate) fn start(model: &Model) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("llama_server.py");
        let longest = SHARED_TOKENS + OWN_TOKENS + ANSWER_TOKENS + 8;
        let numbers = [CHATS, longest, THREADS].map(|number| number.to_string());
        let worker = Worker::start(Command::new(python()).arg(script).arg(&model.path).args(numbers));
        let server = Self { worker };
        // Its prompt cache has seen the shared part, as it would have in use.
        server.chat(&prompt(CHATS, 0));
        server
    }

    pub(crate) fn version(&self) -> &str {
        self.worker.hello["version"].as_str().unwrap_or_default()
    }

    /// All chats of a round at once, each over a connection of its own.
    pub(crate) fn run(&self, round: u32) -> Crowd {
        let began = Instant::now();
        let seen: Vec<Seen> = thread::scope(|scope| {
            let chats: Vec<_> =
                prompts(round).map(|prompt| scope.spawn(move || self.chat(&prompt))).collect();
            chats.into_iter().map(|chat| chat.join().expect("a chat ends")).collect()
        });
        Crowd::of(began.elapsed().as_secs_f64(), &seen)
    }

    fn chat(&self, prompt: &[u32]) -> Seen {
        let began = Instant::now();
        let address =
            self.worker.hello["address"].as_str().expect("an address").trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).expect("the server listens");
        let body = json!({
            "prompt": prompt, "n_predict": ANSWER_TOKENS, "temperature": 0, "stream": true, "ignore_eos": true,
        })
        .to_string();
        let head = format!(
            "POST /completion HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).expect("sent");
        let mut seen = Seen { first: f64::NAN, tokens: 0 };
        for line in BufReader::new(stream).lines() {
            let Ok(line) = line else { break };
            if let Some(event) = line.strip_prefix("data: ") {
                if event.contains("\"stop\":true") {
                    break;
                }
                seen.piece(began.elapsed().as_secs_f64());
            }
        }
        assert!(seen.tokens > ANSWER_TOKENS / 2, "the server answers: {seen:?}");
        seen
    }
}
