//! `nabla run`: one paid, checked call.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Result;
use nabla_client::{Answer, Spending};
use nabla_types::{Opg, RepoName, api::INFER_BYTES_MAX, receipt::SignedReceipt};
use serde_json::json;

use super::Context;
use crate::{
    home::{Home, Network, now_s},
    inputs::read_inputs,
};

pub(super) async fn run(context: &Context<'_>, name: &RepoName, input: &Path, price_max: Opg) -> Result<()> {
    let inputs = read_inputs(input, INFER_BYTES_MAX)?;
    let account = context.home.wallet()?;
    let network = Network::connect(&context.url).await?;
    let spending = Spending { account: &account, price_max: Some(price_max), now_s: now_s() };
    let started = Instant::now();
    let answer = network.gateway.infer(name, None, inputs, spending).await?;
    let took = started.elapsed();
    let folder = keep(&context.home, &network, &answer).await?;
    print(context, &answer, &folder, took);
    Ok(())
}

/// Keep the answer with the proof that the ledger has its receipt.
pub(super) async fn keep(home: &Home, network: &Network, answer: &Answer) -> Result<std::path::PathBuf> {
    let id = SignedReceipt::from_bytes(&answer.receipt)?.id();
    let record = network.ledger.receipt(id).await.ok().flatten();
    let proof = record.and_then(|record| hex::decode(record.proof?).ok());
    home.keep(id, answer, proof.as_deref())
}

fn print(context: &Context<'_>, answer: &Answer, folder: &Path, took: Duration) {
    for output in &answer.outputs {
        let tensor = serde_json::to_string(output).unwrap_or_default();
        context.output.line(tensor);
    }
    let claims = &answer.claims;
    context.output.line("");
    context.output.line(format!(
        "paid      {} OPG to node {} ({} ms)",
        claims.amount,
        claims.provider.short(),
        took.as_millis()
    ));
    context.output.line(format!("model     {}", claims.model));
    context.output.line(format!(
        "receipt   {} (holds: signature, request, response, tensors, price)",
        folder.display()
    ));
    context.output.line(format!(
        "check it  nabla verify {} --replay",
        folder.join(crate::home::file::RECEIPT).display()
    ));
    context.output.document(&json!({
        "outputs": answer.outputs, "receipt_id": answer.report.receipt_id, "receipt_folder": folder,
        "claims": claims, "payment": answer.payment, "payer": answer.payer, "took_ms": took.as_secs_f64() * 1000.0,
        "checks": answer.report.checks,
    }));
}
