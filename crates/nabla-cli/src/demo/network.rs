//! The demonstration's network: real nodes in this process, in a folder that goes away with it.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use nabla_engine::Engine;
use nabla_node::{Config, Node, config::EngineConfig, network::Plan};
use nabla_pay::AccountKey;
use nabla_types::chain::Role;
use tempfile::TempDir;

use crate::home::Network;

/// Name of the node that is laid out but not started with the others: it will lie.
pub(super) const LIAR: &str = "inference-3";

/// A node's configuration, and the node while it runs.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) config: Config,
    pub(super) node: Option<Node>,
}

/// The network.
#[derive(Debug)]
pub(super) struct DemoNetwork {
    pub(super) seats: Vec<Seat>,
    pub(super) network: Network,
    pub(super) folder: TempDir,
    pub(super) engine: Engine,
    /// Owns the models.
    pub(super) alice: AccountKey,
}

impl DemoNetwork {
    /// Lay out and start: one validator, five storage nodes, two inference nodes, a verifier, a gateway.
    pub(super) async fn start() -> Result<Self> {
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        let plan = Plan {
            name: "nabla-demo".to_owned(),
            inference: 3,
            verifier_poll_ms: 50,
            ..Plan::development(0)
        };
        let engine = EngineConfig::default().engine()?;
        let mut seats = Vec::new();
        let mut ledger = None;
        for path in plan.write(folder.path())? {
            let mut config = Config::read(&path)?;
            if !config.has(Role::Validator) {
                config.ledger.clone_from(&ledger);
            }
            let mut seat = Seat { config, node: None };
            if seat.config.name != LIAR {
                seat.start(engine.clone()).await?;
            }
            ledger = ledger.or_else(|| seat.node.as_ref().map(|node| node.url().to_owned()));
            seats.push(seat);
        }
        let gateway =
            seats.iter().find(|seat| seat.config.has(Role::Gateway)).and_then(|seat| seat.node.as_ref());
        let network = Network::connect(gateway.context("the plan has a gateway")?.url()).await?;
        let alice = nabla_node::account_key(&folder.path().join("alice.key"))?;
        network.ledger.faucet(alice.address()).await?;
        Ok(Self { seats, network, folder, engine, alice })
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn seat(&mut self, name: &str) -> Result<&mut Seat> {
        let seat = self.seats.iter_mut().find(|seat| seat.config.name == name);
        seat.with_context(|| format!("the plan has no {name}"))
    }

    /// The running nodes of a role.
    pub(super) fn running(&self, role: Role) -> impl Iterator<Item = &Node> {
        self.seats.iter().filter(move |seat| seat.config.has(role)).filter_map(|seat| seat.node.as_ref())
    }

    pub(super) async fn stop(self) {
        for node in self.seats.into_iter().rev().filter_map(|seat| seat.node) {
            node.stop().await;
        }
    }
}

impl Seat {
    pub(super) async fn start(&mut self, engine: Engine) -> Result<&Node> {
        let started = Box::pin(Node::start(self.config.clone(), engine)).await;
        Ok(self.node.insert(started.with_context(|| format!("cannot start {}", self.config.name))?))
    }

    pub(super) async fn stop(&mut self) {
        if let Some(node) = self.node.take() {
            node.stop().await;
        }
    }
}
