//! Turn words typed by a person into calls, and answers into text.

mod args;
mod commands;
mod demo;
mod failure;
mod home;
mod inputs;
mod output;
mod package;

use std::process::ExitCode;

use clap::Parser;

use crate::{args::Args, output::Output};

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return usage(&error),
    };
    start_log(args.verbose);
    let output = Output::new(args.json);
    let runtime =
        tokio::runtime::Runtime::new().expect("threads and an event queue from the operating system");
    let result = runtime.block_on(commands::run(args, &output));
    runtime.shutdown_background();
    match result {
        Ok(()) => output.done(),
        Err(error) => output.failure(&error),
    }
}

/// Help, the version, or what is wrong with the command line; the latter as JSON too if that was asked for.
fn usage(error: &clap::Error) -> ExitCode {
    let asked = std::env::args_os().any(|argument| argument == "--json");
    if error.use_stderr() && asked {
        let text = error.render().to_string();
        let message: Vec<_> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
        let message = message.join(" ").trim_start_matches("error: ").to_owned();
        let info = serde_json::json!({ "code": "usage", "message": message, "hint": "try --help" });
        Output::new(true).document(&serde_json::json!({ "ok": false, "error": info }));
    }
    // Who reads it may have gone.
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// Logs go to stderr: warnings, more with `-v`, or as `NABLA_LOG` says.
fn start_log(verbose: u8) {
    use tracing_subscriber::EnvFilter;
    let level = match verbose {
        0 => "error",
        1 => "warn,nabla_node=info",
        2 => "info",
        _ => "debug",
    };
    let filter = EnvFilter::try_from_env("NABLA_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}
