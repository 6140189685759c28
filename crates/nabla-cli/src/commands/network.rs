//! `nabla network init` and `nabla node start`.

use std::{path::Path, sync::Arc};

use anyhow::Result;
use nabla_engine::{Engine, Kernels};
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
    let config = Config::read(config)?;
    let (name, roles) = (config.name.clone(), config.roles.clone());
    let node = Node::start(config, Arc::new(Engine::new(Kernels::Auto)?)).await?;
    context.output.line(format!(
        "{name} runs {roles:?} on {} (node {}); Ctrl-C stops it",
        node.url(),
        node.id().short()
    ));
    context.output.document(&json!({ "name": name, "roles": roles, "url": node.url(), "node": node.id() }));
    stop_signal().await?;
    node.stop().await;
    Ok(())
}

/// Wait for Ctrl-C or SIGTERM.
pub(super) async fn stop_signal() -> Result<()> {
    #[cfg(unix)]
    {
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            result = tokio::signal::ctrl_c() => result?,
            _ = terminate.recv() => {}
        }
        Ok(())
    }
    #[cfg(not(unix))]
    Ok(tokio::signal::ctrl_c().await?)
}
