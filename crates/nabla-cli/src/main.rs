//! Turn words typed by a person into calls, and answers into text.

mod args;
mod commands;
mod demo;
mod failure;
mod home;
mod output;
mod package;

use std::process::ExitCode;

use clap::Parser;

use crate::{args::Args, output::Output};

fn main() -> ExitCode {
    let args = Args::parse();
    start_log(args.verbose);
    let output = Output::new(args.json);
    let runtime = tokio::runtime::Runtime::new().expect("threads and an event queue from the operating system");
    let result = runtime.block_on(commands::run(args, &output));
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => output.failure(&error),
    }
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
