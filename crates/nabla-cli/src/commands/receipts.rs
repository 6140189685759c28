//! `nabla receipts`: the calls that were made here, and what the ledger says of them.

use std::fs;

use anyhow::Result;
use nabla_types::{ReceiptId, receipt::SignedReceipt};
use serde_json::json;

use super::Context;
use crate::{
    failure::Failure,
    home::{Network, file},
    output::table,
};

pub(super) fn list(context: &Context<'_>) -> Result<()> {
    let entries = fs::read_dir(context.home.receipts()).into_iter().flatten().flatten();
    let read =
        |path: std::path::PathBuf| SignedReceipt::from_bytes(&fs::read(path.join(file::RECEIPT)).ok()?).ok();
    let mut receipts: Vec<_> = entries.filter_map(|entry| read(entry.path())).collect();
    receipts.sort_by_key(|receipt| receipt.claims().finished_ms);
    let row = |receipt: &SignedReceipt| {
        let claims = receipt.claims();
        vec![receipt.id().to_string(), claims.model_name.to_string(), format!("{} OPG", claims.amount)]
    };
    let rows: Vec<_> = receipts.iter().map(row).collect();
    let none = "no receipts yet: `nabla run` makes one".to_owned();
    context.output.line(if rows.is_empty() { none } else { table(&rows) });
    let all: Vec<_> = receipts
        .iter()
        .map(|receipt| json!({ "receipt": receipt.id(), "claims": receipt.claims() }))
        .collect();
    context.output.document(&json!({ "receipts": all }));
    Ok(())
}

pub(super) async fn show(context: &Context<'_>, id: ReceiptId) -> Result<()> {
    let network = Network::connect(&context.url).await?;
    let record = network.ledger.receipt(id).await?.ok_or_else(|| Failure::NotFound {
        what: format!("the ledger has no receipt {id}"),
        hint: "`nabla receipts` lists those made here".to_owned(),
    })?;
    context.output.line(format!("receipt   {id}\nblock     {}", record.height));
    for verdict in &record.verdicts {
        context.output.line(format!(
            "verdict   {:?} by node {} in block {}",
            verdict.outcome,
            verdict.verifier.short(),
            verdict.height
        ));
    }
    if record.verdicts.is_empty() {
        context.output.line("verdict   none yet");
    }
    let folder = context.home.receipt(id);
    if folder.exists() {
        context.output.line(format!("files     {}", folder.display()));
    }
    context.output.document(&json!({ "record": record }));
    Ok(())
}
