//! Telling the steps: each with its title, what it showed, and its figures.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use anyhow::{Error, Result};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    failure::{Failure, summary},
    output::{AlreadyPrinted, Output},
};

/// What one step showed.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// Sentences for people.
    pub(crate) lines: Vec<String>,
    /// Measured figures, for programs.
    pub(crate) figures: Map<String, Value>,
}

impl Told {
    /// Add a sentence.
    pub(crate) fn line(&mut self, text: impl Into<String>) {
        self.lines.push(text.into());
    }

    /// Add a figure.
    pub(crate) fn figure(&mut self, name: &str, value: impl Into<Value>) {
        self.figures.insert(name.to_owned(), value.into());
    }

    /// Add a figure in milliseconds, to a hundredth.
    pub(crate) fn milliseconds(&mut self, name: &str, value: Duration) {
        self.figure(name, (value.as_secs_f64() * 100_000.0).round() / 100.0);
    }
}

#[derive(Debug, Serialize)]
struct Step {
    name: &'static str,
    ok: bool,
    figures: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// The story so far.
#[derive(Debug)]
pub(crate) struct Story {
    output: Output,
    started: Instant,
    steps: Vec<Step>,
}

impl Story {
    /// Begin.
    pub(crate) fn new(output: Output) -> Self {
        output.line("nabla: publish a model, let anyone run it, and check every answer yourself.\n");
        Self { output, started: Instant::now(), steps: Vec::new() }
    }

    /// Run a step, tell it, and hand on what it made.
    pub(crate) async fn step<T>(
        &mut self,
        name: &'static str,
        work: impl Future<Output = Result<(T, Told)>>,
    ) -> Result<T> {
        let started = Instant::now();
        let result = work.await;
        let took = started.elapsed();
        match result {
            Ok((value, mut told)) => {
                told.milliseconds("took_ms", took);
                self.output.line(format!("{}. {name} ({} ms)", self.steps.len() + 1, took.as_millis()));
                for line in told.lines {
                    self.output.line(format!("   {line}"));
                }
                self.steps.push(Step { name, ok: true, figures: told.figures, error: None });
                Ok(value)
            }
            Err(error) => {
                let reason = summary(&error).message;
                self.steps.push(Step { name, ok: false, figures: Map::new(), error: Some(reason.clone()) });
                Err(Failure::Demo { step: name.to_owned(), reason }.into())
            }
        }
    }

    /// Print the end.
    pub(crate) fn end(self, result: Result<()>) -> Result<()> {
        let took = self.started.elapsed();
        if result.is_ok() {
            self.output
                .line(format!("\nAll of it held, in {:.1} s. Nothing is left behind.", took.as_secs_f64()));
            self.output.line(
                "Next: `nabla dev` starts the same network and stays up; `nabla --help` shows the rest.",
            );
        }
        let document = serde_json::json!({
            "ok": result.is_ok(), "took_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX), "steps": self.steps,
        });
        self.output.document(&document);
        result.map_err(|error| error.context(AlreadyPrinted("not all of it held")))
    }
}

/// End a step unless something holds.
pub(crate) fn ensure(holds: bool, reason: impl FnOnce() -> String) -> Result<()> {
    if holds {
        return Ok(());
    }
    Err(Error::msg(reason()))
}
