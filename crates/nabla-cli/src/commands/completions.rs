//! `nabla completions`.

use anyhow::Result;
use clap::CommandFactory;

use super::Context;
use crate::args::Args;

pub(super) fn completions(context: &Context<'_>, shell: clap_complete::Shell) -> Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "nabla", &mut text);
    context.output.raw(&String::from_utf8_lossy(&text));
    Ok(())
}
