//! `nabla dev`: a whole network in this process, kept in the home folder.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use nabla_client::publish::Publisher;
use nabla_node::{
    Config, Node,
    config::EngineConfig,
    network::{GENESIS_FILE, Plan},
    read_genesis,
};
use nabla_pay::AccountKey;
use nabla_store::{Code, DataFolder};
use nabla_types::Opg;
use serde_json::json;

use super::{Context, network::stop_signal};
use crate::{demo::bundled, home::Network};

/// The dev account is topped up to at least this on every start.
const DEV_BALANCE: Opg = Opg::whole(10);

pub(super) async fn dev(context: &Context<'_>, reset: bool, port: u16) -> Result<()> {
    let folder = context.home.dev();
    if reset && folder.exists() {
        wipe(&folder)?;
    }
    let stop = stop_signal()?;
    let nodes = start_all(&folder, port).await?;
    let url = format!("http://127.0.0.1:{port}");
    let network = Network::connect(&url).await?;
    let account = context.home.wallet_or_new()?;
    fund(&network, &account).await?;
    publish_bundled(&network, &account).await?;
    print(context, &network, &account, &url, &folder);
    stop.await;
    context.output.line("\nstopping");
    for node in nodes.into_iter().rev() {
        node.stop().await;
    }
    Ok(())
}

/// Remove an earlier run's network, unless it runs.
fn wipe(folder: &Path) -> Result<()> {
    // Held until everything is gone. Whatever else is wrong with the folder is a reason to wipe it.
    let validator = read_genesis(&folder.join(GENESIS_FILE))
        .map(|genesis| DataFolder::open(folder.join("validator").join("data"), "node", genesis.network()));
    if let Ok(Err(error @ nabla_store::Error::InUse { .. })) = validator {
        return Err(nabla_node::Error::Store(error).into());
    }
    fs::remove_dir_all(folder).with_context(|| format!("cannot wipe {}", folder.display()))
}

async fn start_all(folder: &Path, port: u16) -> Result<Vec<Node>> {
    let engine = EngineConfig::default().engine()?;
    let mut nodes: Vec<Node> = Vec::new();
    for mut config in configs(folder, port)? {
        if let Some(validator) = nodes.first() {
            config.ledger = Some(validator.url().to_owned());
        }
        nodes.push(Node::start(config, engine.clone()).await?);
    }
    Ok(nodes)
}

/// The network's configurations, the validator's first. An earlier run may have written them for other ports.
fn configs(folder: &Path, port: u16) -> Result<Vec<Config>> {
    let paths = Plan::development(port).write(folder)?;
    let mut configs = paths.iter().map(|path| Config::read(path)).collect::<Result<Vec<_>, _>>()?;
    let first = configs.iter().map(|config| config.listen.port()).min().unwrap_or(port);
    for config in &mut configs {
        config.listen.set_port(port.saturating_add(config.listen.port() - first));
    }
    Ok(configs)
}

async fn fund(network: &Network, account: &AccountKey) -> Result<()> {
    let balances = network.ledger.account(account.address()).await?;
    let held = balances.purchased.checked_add(balances.granted).unwrap_or(DEV_BALANCE);
    if held < DEV_BALANCE {
        network.ledger.faucet(account.address()).await?;
    }
    Ok(())
}

/// Publish the models that this program carries, so that there is something to run.
async fn publish_bundled(network: &Network, owner: &AccountKey) -> Result<()> {
    for name in bundled::names() {
        if network.ledger.repo(&name).await.is_ok() {
            continue;
        }
        let publisher = Publisher {
            ledger: &network.ledger,
            blobs: &network.blobs,
            network: network.info.network,
            chain_id: network.info.chain_id,
            code: Code::new(3, 5)?,
        };
        publisher.publish(&name, &bundled::package_of(&name)?, owner, &|_| {}).await?;
    }
    Ok(())
}

fn print(context: &Context<'_>, network: &Network, account: &AccountKey, url: &str, folder: &Path) {
    let out = context.output;
    out.line(format!("nabla dev: network {} ({})", network.info.name, network.info.network.short()));
    out.line(format!("  gateway   {url}"));
    out.line(format!("  ledger    {}", network.info.ledger_url));
    out.line(format!("  account   {} (key in {})", account.address(), context.home.wallet_file().display()));
    out.line(format!("  state     {}", folder.display()));
    for name in bundled::names() {
        out.line(format!("  model     {name}"));
    }
    out.line("try, in another terminal:");
    out.line("  nabla search");
    out.line("  nabla run nabla/digits --input models/digits/examples/one.json");
    out.line("  nabla chat nabla/fabula \"Tell me a story about a dragon\"");
    out.line("  nabla wallet balance");
    out.line("Ctrl-C stops it; the state stays. `nabla dev --reset` starts afresh.");
    out.document(&json!({
        "network": network.info, "gateway": url, "account": account.address(), "folder": folder,
        "models": bundled::names(),
    }));
}
