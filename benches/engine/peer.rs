//! ONNX Runtime in a process of its own.

use std::path::Path;
use std::process::Command;

use nabla_benches::Worker;
use serde_json::json;

use crate::works::{self, Work};

#[derive(Debug)]
pub(crate) struct Peer(Worker);

impl Peer {
    pub(crate) fn start() -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peer_worker.py");
        Self(Worker::start(Command::new(works::python()).arg(script).env("OMP_NUM_THREADS", "1")))
    }

    pub(crate) fn version(&self) -> &str {
        self.0.hello["version"].as_str().unwrap_or_default()
    }

    /// CPU seconds of one run, the mean of `repeats`.
    pub(crate) fn run(&mut self, work: &Work, batch: u64, repeats: u32) -> f64 {
        let request = json!({
            "file": work.path(), "batch": batch, "threads": 1, "repeats": repeats, "inputs": work.ports,
        });
        self.0.ask(&request)["cpu"].as_f64().expect("seconds")
    }
}
