//! ONNX Runtime in a process of its own, one line per request.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::works::{self, Work};

#[derive(Debug)]
pub(crate) struct Peer {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    pub(crate) version: String,
}

impl Peer {
    pub(crate) fn start() -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peer_worker.py");
        let mut child = Command::new(works::python())
            .arg(script)
            .env("OMP_NUM_THREADS", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the peer's Python starts");
        let requests = child.stdin.take().expect("piped");
        let answers = BufReader::new(child.stdout.take().expect("piped"));
        let mut peer = Self { child, requests, answers, version: String::new() };
        peer.version = peer.answer()["version"].as_str().unwrap_or_default().to_owned();
        peer
    }

    /// CPU seconds of one run, the mean of `repeats`.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small whole number")]
    pub(crate) fn run(&mut self, work: &Work, batch: u64, repeats: f64) -> f64 {
        let request = json!({
            "file": work.path(), "batch": batch, "threads": 1, "repeats": repeats as u64, "inputs": work.ports,
        });
        writeln!(self.requests, "{request}").expect("the peer listens");
        self.answer()["cpu"].as_f64().expect("seconds")
    }

    fn answer(&mut self) -> Value {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("the peer answers");
        serde_json::from_str(&line).expect("JSON from the peer")
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
