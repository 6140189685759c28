//! `nabla verify`: every check that the files at hand allow, and a replay if it is asked for.

use std::{
    fmt::Display,
    fs,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

use anyhow::{Context as _, Result};
use nabla_engine::{Limits, Model, Runtime, language::TextModel};
use nabla_node::{
    config::EngineConfig,
    language::load_language,
    models::Loaded,
    replay::{Replay, replay, replay_chat},
};
use nabla_types::{
    Address, NetworkId,
    manifest::{MANIFEST_BYTES_MAX, ModelManifest},
    receipt::{Receipt, Salt},
};
use nabla_verify::{CheckName, Context as Known, Outcome, Report, verify_receipt};

use super::Context;
use crate::{
    failure::Failure,
    home::{Network, file},
    output::{AlreadyPrinted, Output},
};

/// The files that a receipt is checked against.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) receipt: PathBuf,
    pub(crate) request: Option<PathBuf>,
    pub(crate) response: Option<PathBuf>,
    pub(crate) salt: Option<Salt>,
    pub(crate) payer: Option<Address>,
    pub(crate) network: Option<NetworkId>,
    pub(crate) proof: Option<PathBuf>,
}

/// Their contents.
pub(crate) struct Contents {
    pub(crate) receipt: Vec<u8>,
    pub(crate) request: Option<Vec<u8>>,
    pub(crate) response: Option<Vec<u8>>,
    pub(crate) salt: Option<Salt>,
    pub(crate) payer: Option<Address>,
    pub(crate) network: Option<NetworkId>,
    pub(crate) proof: Option<Vec<u8>>,
}

pub(super) async fn verify(context: &Context<'_>, files: Files, with_replay: bool) -> Result<()> {
    let network = match files.network {
        Some(network) => Some(network),
        // Only what this program wrote itself is believed: a receipt from elsewhere may bring its own network.
        None if is_own(context, &files.receipt) => read_text(&files.receipt.with_file_name(file::NETWORK))?,
        None => None,
    };
    let contents = Files { network, ..files }.read()?;
    let mut report = contents.check();
    if with_replay && report.holds() {
        let outcome = run_again(context, &contents, &report).await?;
        report.push(CheckName::Replay, outcome);
    }
    print_report(*context.output, &report);
    match report.failure_text() {
        None if report.holds() => Ok(()),
        reason => {
            let failure = Failure::NotVerified { reason: reason.unwrap_or_else(|| "no receipt".to_owned()) };
            Err(anyhow::Error::from(failure).context(AlreadyPrinted("verification failed")))
        }
    }
}

/// Whether the receipt lies in the home folder.
fn is_own(context: &Context<'_>, receipt: &Path) -> bool {
    let own = context.home.receipts().canonicalize();
    own.ok().zip(receipt.canonicalize().ok()).is_some_and(|(own, receipt)| receipt.starts_with(own))
}

impl Files {
    /// Read the files; those that were not named are looked for beside the receipt.
    pub(crate) fn read(self) -> Result<Contents> {
        let folder = self.receipt.parent().unwrap_or(Path::new("")).to_owned();
        let named_or_beside = |named: Option<PathBuf>, name: &str| -> Result<Option<Vec<u8>>> {
            match named {
                Some(path) => {
                    fs::read(&path).map(Some).map_err(|error| Failure::bad_file(&path, error).into())
                }
                None => Ok(fs::read(folder.join(name)).ok()),
            }
        };
        let salt = match self.salt {
            Some(salt) => Some(salt),
            None => read_text(&folder.join(file::SALT))?,
        };
        Ok(Contents {
            receipt: fs::read(&self.receipt).map_err(|error| Failure::bad_file(&self.receipt, error))?,
            request: named_or_beside(self.request, file::REQUEST)?,
            response: named_or_beside(self.response, file::RESPONSE)?,
            salt,
            payer: self.payer,
            network: self.network,
            proof: named_or_beside(self.proof, file::PROOF)?,
        })
    }
}

fn read_text<T: FromStr<Err: Display>>(path: &Path) -> Result<Option<T>> {
    let Ok(text) = fs::read_to_string(path) else { return Ok(None) };
    text.trim().parse().map(Some).map_err(|error| Failure::bad_file(path, error).into())
}

impl Contents {
    /// All checks that need no network.
    pub(crate) fn check(&self) -> Report {
        let known = Known {
            network: self.network,
            request: self.request.as_deref(),
            response: self.response.as_deref(),
            salt: self.salt,
            payer: self.payer,
            proof: self.proof.as_deref(),
            ..Known::default()
        };
        verify_receipt(&self.receipt, &known)
    }
}

/// Fetch the model that the receipt names, run it on the request, compare every bit.
async fn run_again(context: &Context<'_>, contents: &Contents, report: &Report) -> Result<Outcome> {
    let (Some(request), Some(salt), Some(claims)) = (&contents.request, contents.salt, &report.claims) else {
        // A replay that was asked for and cannot be made must not look like one that held.
        let hint = Some("name them with --request and --salt, or put them beside the receipt".to_owned());
        return Err(
            Failure::BadArgument { reason: "a replay needs the request and the salt".into(), hint }.into()
        );
    };
    let network = Network::connect(&context.url).await?;
    let replayed = match fetch_model(&network, claims).await? {
        Fetched::Tensors(loaded) => replay(&loaded, claims, request, salt)?,
        Fetched::Language { manifest, model } => {
            let Some(response) = &contents.response else {
                let hint = Some("name it with --response, or put it beside the receipt".to_owned());
                let reason = "a replay of a chat needs its answer, too".to_owned();
                return Err(Failure::BadArgument { reason, hint }.into());
            };
            replay_chat(&model, &manifest, claims, (request, response), salt)?
        }
    };
    Ok(match replayed {
        Replay::Equal => Outcome::Passed { detail: "this machine gives the same bits".to_owned() },
        Replay::Different { what, expected, got } => {
            Outcome::Failed { expected: format!("{what}: {expected}"), got }
        }
    })
}

/// A model, ready to run.
enum Fetched {
    Tensors(Loaded),
    Language { manifest: Box<ModelManifest>, model: TextModel },
}

async fn fetch_model(network: &Network, claims: &Receipt) -> Result<Fetched> {
    let manifest = network.blobs.get_small(claims.model.manifest_blob(), MANIFEST_BYTES_MAX as u64).await;
    let manifest = ModelManifest::from_bytes(&manifest.context("cannot fetch the model")?.bytes)?;
    let graph = network.blobs.get(manifest.graph).await?.bytes;
    let weights = network.blobs.get(manifest.weights).await?.bytes;
    let engine = EngineConfig::default().engine()?;
    if manifest.language.is_some() {
        let model = load_language(&engine, &manifest, (graph, weights), &Limits::default());
        let model =
            model.map_err(|reason| anyhow::anyhow!("the model is not what its manifest says: {reason}"))?;
        return Ok(Fetched::Language { manifest: Box::new(manifest), model });
    }
    let model = Arc::new(Model::from_parts(&graph, &weights, &Limits::default())?);
    Ok(Fetched::Tensors(Loaded { session: engine.prepare(model)?, manifest }))
}

/// One line for each check, skipped ones as plainly as failed ones.
pub(crate) fn print_report(output: Output, report: &Report) {
    for check in &report.checks {
        let (mark, text) = match &check.outcome {
            Outcome::Passed { detail } => ("ok  ", detail.clone()),
            Outcome::Failed { expected, got } => ("FAIL", format!("expected {expected}, got {got}")),
            Outcome::Skipped { missing } => ("skip", format!("needs {missing}")),
        };
        output.line(format!("{mark}  {:<10}  {text}", check.check.as_str()));
    }
    if report.holds() {
        let replayed = report.passed(CheckName::Replay);
        output.line(if replayed {
            "The named weights give exactly this answer. That does not make the answer true."
        } else {
            "The provider stands behind this answer with its signature. That it ran the named weights is shown by --replay."
        });
    }
    output.document(&serde_json::json!({ "ok": report.holds(), "report": report }));
}
