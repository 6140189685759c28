//! `nabla push`: import, store, register.

use std::path::PathBuf;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use nabla_client::{
    Progress,
    publish::{Package, Publisher},
};
use nabla_store::Code;
use nabla_types::{Opg, RepoName};
use serde_json::json;

use super::Context;
use crate::{failure::Failure, home::Network, output::bytes, package::package_path};

/// What is to be pushed.
#[derive(Debug)]
pub(super) struct Push {
    pub(super) path: PathBuf,
    pub(super) name: RepoName,
    pub(super) royalty: Opg,
    pub(super) summary: Option<String>,
    pub(super) code: String,
}

pub(super) async fn push(context: &Context<'_>, push: Push) -> Result<()> {
    let code = parse_code(&push.code)?;
    let package = package_path(&push.path, push.summary, push.royalty)?;
    let owner = context.home.wallet()?;
    let network = Network::connect(&context.url).await?;
    let publisher = Publisher {
        ledger: &network.ledger,
        blobs: &network.blobs,
        network: network.info.network,
        chain_id: network.info.chain_id,
        code,
    };
    let bar = progress_bar(&package, code);
    let advance = |progress: Progress| bar.inc(progress.stored_bytes);
    let published = publisher.publish(&push.name, &package, &owner, &advance).await;
    bar.finish_and_clear();
    let published = published?;
    context.output.line(format!("published  {} (revision {})", push.name, published.sequence));
    context.output.line(format!("model      {}", published.model));
    context.output.line(format!(
        "stored     {} in any-{}-of-{} shards",
        bytes(published.stored_bytes),
        code.k(),
        code.n()
    ));
    if let Some(losses) = published.losses_tolerated {
        context.output.line(format!("survives   the loss of any {losses} storage nodes"));
        if losses < usize::from(code.parity()) {
            let why =
                "fewer than the code allows: some nodes hold several shards, because others did not answer";
            context.output.line(format!("           {why}"));
        }
    }
    context
        .output
        .line(format!("cost       {} OPG, in block {}", published.storage_fee, published.included.height));
    let next = match package.manifest.language {
        Some(_) => format!("nabla chat {} \"Hello\"", push.name),
        None => format!("nabla run {} --input input.json", push.name),
    };
    context.output.line(format!("next       {next}"));
    context.output.document(&json!({
        "name": push.name, "model": published.model, "revision": published.revision,
        "sequence": published.sequence, "stored_bytes": published.stored_bytes,
        "losses_tolerated": published.losses_tolerated,
        "storage_fee": published.storage_fee, "height": published.included.height,
    }));
    Ok(())
}

fn parse_code(text: &str) -> Result<Code> {
    let numbers = text.split_once('/').and_then(|(k, n)| Some((k.parse().ok()?, n.parse().ok()?)));
    let code = numbers.and_then(|(k, n)| Code::new(k, n).ok());
    code.ok_or_else(|| {
        let reason = format!("expected a code such as 3/5 (any 3 of 5 shards suffice), got {text:?}");
        Failure::BadArgument { reason, hint: None }.into()
    })
}

/// A bar on stderr, and only on a terminal.
fn progress_bar(package: &Package, code: Code) -> ProgressBar {
    let coded = package.size_bytes() * u64::from(code.n()) / u64::from(code.k());
    let style = ProgressStyle::with_template("Storing {wide_bar} {bytes}/{total_bytes} {bytes_per_sec}");
    ProgressBar::new(coded).with_style(style.expect("a fixed template"))
}
