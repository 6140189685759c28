//! A peer in a process of its own: one JSON object per line, and one answer.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

/// A peer that runs on request. It says who it is in its first line, and ends when it is dropped.
#[derive(Debug)]
pub struct Worker {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// Its first line.
    pub hello: Value,
}

impl Worker {
    /// Start it.
    ///
    /// # Panics
    /// If it does not start, or says nothing.
    #[must_use]
    pub fn start(command: &mut Command) -> Self {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the peer can be started");
        let requests = child.stdin.take().expect("piped");
        let answers = BufReader::new(child.stdout.take().expect("piped"));
        let mut worker = Self { child, requests, answers, hello: Value::Null };
        worker.hello = worker.answer();
        worker
    }

    /// Ask, and wait for the answer.
    ///
    /// # Panics
    /// If the peer has ended.
    pub fn ask(&mut self, request: &Value) -> Value {
        writeln!(self.requests, "{request}").expect("the peer listens");
        self.answer()
    }

    fn answer(&mut self) -> Value {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("the peer answers");
        serde_json::from_str(&line).expect("JSON from the peer")
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
