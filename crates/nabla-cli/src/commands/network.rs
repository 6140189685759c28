//! `nabla network init` and `nabla node start`.

use std::path::Path;

use anyhow::Result;
use nabla_node::{Config, Node, network::Plan};
use serde_json::json;

use super::Context;
use crate::failure::Failure;

pub(super) fn init(context: &Context<'_>, folder: &Path, port: u16, name: String) -> Result<()> {
    if folder.join(nabla_node::network::GENESIS_FILE).exists() {
        let hint = Some("name another folder".to_owned());
        return Err(Failure::BadFile {
            path: folder.to_owned(),
            reason: "there is a network already".into(),
            hint,
        }
        .into());
    }
    let configs = Plan { name, ..Plan::development(port) }.write(folder)?;
    context.output.line(format!(
        "laid out a network of {} nodes in {}; start each with",
        configs.len(),
        folder.display()
    ));
    for config in &configs {
        context.output.line(format!("  nabla node start --config {}", config.display()));
    }
    context.output.document(&json!({ "folder": folder, "configs": configs }));
    Ok(())
}

pub(super) async fn start(context: &Context<'_>, config: &Path) -> Result<()> {
    let mut stop = std::pin::pin!(stop_signal()?);
    let config = Config::read(config)?;
    let (name, roles) = (config.name.clone(), config.roles.clone());
    let engine = config.engine.engine()?;
    let started = Node::start(config, engine);
    // A node may wait for its ledger for a while: a signal ends that, too.
    let node = tokio::select! {
        node = started => node?,
        () = &mut stop => return Ok(()),
    };
    context.output.line(format!(
        "{name} runs {roles:?} on {} (node {}); Ctrl-C stops it",
        node.url(),
        node.id().short()
    ));
    context.output.document(&json!({ "name": name, "roles": roles, "url": node.url(), "node": node.id() }));
    stop.await;
    node.stop().await;
    Ok(())
}

/// Listen for Ctrl-C and SIGTERM from now on; what is returned ends when one has come. Called before anything is
/// started, so that a signal never finds a half-started process without a handler.
#[cfg(unix)]
pub(super) fn stop_signal() -> Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// End when Ctrl-C has come.
#[cfg(not(unix))]
pub(super) fn stop_signal() -> Result<impl Future<Output = ()>> {
    Ok(async { drop(tokio::signal::ctrl_c().await) })
}
