//! `nabla doctor`: what is wrong here, and what to do about it.

use anyhow::Result;
use nabla_client::Http;
use nabla_engine::{Engine, Kernels};
use nabla_types::{api::NodeInfo, chain::Role};
use serde::Serialize;

use super::Context;
use crate::{
    home::{Network, now_s},
    output::AlreadyPrinted,
};

/// Clocks may differ by this much, in seconds.
const CLOCK_SKEW_S: u64 = 30;

#[derive(Debug, Serialize)]
struct Finding {
    what: String,
    ok: bool,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'static str>,
}

impl Finding {
    fn good(what: &str, detail: impl ToString) -> Self {
        Self { what: what.to_owned(), ok: true, detail: detail.to_string(), hint: None }
    }

    fn bad(what: &str, detail: impl ToString, hint: &'static str) -> Self {
        Self { what: what.to_owned(), ok: false, detail: detail.to_string(), hint: Some(hint) }
    }
}

pub(super) async fn doctor(context: &Context<'_>) -> Result<()> {
    let mut findings = vec![engine(), home(context), wallet(context)];
    match Network::connect(&context.url).await {
        Err(error) => {
            findings.push(Finding::bad("gateway", error, "`nabla dev` starts a network on this machine"))
        }
        Ok(network) => findings.extend(network_findings(context, &network).await),
    }
    for finding in &findings {
        context.output.line(format!(
            "{}  {:<9}  {}",
            if finding.ok { "ok  " } else { "FAIL" },
            finding.what,
            finding.detail
        ));
        if let Some(hint) = finding.hint {
            context.output.line(format!("      hint: {hint}"));
        }
    }
    context.output.document(&findings);
    match findings.iter().filter(|finding| !finding.ok).count() {
        0 => Ok(()),
        count => Err(anyhow::anyhow!("{count} of {} checks failed", findings.len())
            .context(AlreadyPrinted("something is wrong"))),
    }
}

fn engine() -> Finding {
    match Engine::new(Kernels::Auto) {
        Ok(engine) => {
            Finding::good("engine", format!("{}, kernels {}", nabla_engine::RUNTIME, engine.kernels()))
        }
        Err(error) => Finding::bad("engine", error, "this processor cannot run the deterministic engine"),
    }
}

fn home(context: &Context<'_>) -> Finding {
    let path = context.home.path();
    let probe = path.join(".doctor");
    let write = || {
        std::fs::create_dir_all(path)
            .and_then(|()| std::fs::write(&probe, b"x"))
            .and_then(|()| std::fs::remove_file(&probe))
    };
    match write() {
        Ok(()) => Finding::good("home", path.display()),
        Err(error) => Finding::bad(
            "home",
            format!("{}: {error}", path.display()),
            "name a folder that can be written with --home",
        ),
    }
}

fn wallet(context: &Context<'_>) -> Finding {
    match context.home.wallet() {
        Ok(key) => Finding::good("wallet", key.address()),
        Err(error) => Finding::bad("wallet", error, "`nabla wallet new` makes one"),
    }
}

async fn network_findings(context: &Context<'_>, network: &Network) -> Vec<Finding> {
    let mut findings = vec![Finding::good("gateway", format!("{} on {}", context.url, network.info.name))];
    match network.ledger.status().await {
        Ok(status) => findings
            .push(Finding::good("ledger", format!("{} blocks, {} receipts", status.height, status.receipts))),
        Err(error) => findings.push(Finding::bad("ledger", error, "the validator does not answer")),
    }
    for role in [Role::Storage, Role::Inference, Role::Verifier, Role::Gateway] {
        findings.push(nodes(network, role).await);
    }
    findings
}

async fn nodes(network: &Network, role: Role) -> Finding {
    let what = match role {
        // The one that is asked has a line of its own.
        Role::Gateway => "gateways".to_owned(),
        _ => format!("{role:?}").to_lowercase(),
    };
    let records = match network.ledger.nodes(role).await {
        Ok(records) => records,
        Err(error) => return Finding::bad(&what, error, "the validator does not answer"),
    };
    let (mut alive, mut skewed) = (0, 0);
    for record in &records {
        if let Some(info) = info(&network.http, &record.announcement.endpoint).await {
            alive += 1;
            skewed += usize::from((info.time_ms / 1000).abs_diff(now_s()) > CLOCK_SKEW_S);
        }
    }
    let detail = format!("{alive} of {} answer", records.len());
    match (alive == records.len() && alive > 0, skewed) {
        (true, 0) => Finding::good(&what, detail),
        (true, _) => Finding::bad(
            &what,
            format!("{detail}, {skewed} clocks differ"),
            "set the clock of this machine or of theirs",
        ),
        (false, _) => Finding::bad(&what, detail, "start the nodes that are down"),
    }
}

async fn info(http: &Http, endpoint: &str) -> Option<NodeInfo> {
    http.get_json(&format!("{}/nabla/v1/node", endpoint.trim_end_matches('/'))).await.ok()
}
