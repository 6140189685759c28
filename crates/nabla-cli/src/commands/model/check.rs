//! `nabla model check`: whether a file can be served, and what it would cost.

use anyhow::Result;
use nabla_engine::{Dim, Model, Port, Survey, survey_onnx};
use nabla_node::models::manifest_of;
use serde::Serialize;
use serde_json::{Value, json};

use super::{Context, Upload, batch_symbol, bounds};
use crate::{
    failure::{Failure, summary},
    output::{AlreadyPrinted, bytes, table},
};

/// Most nodes that are listed one by one for people; `--json` lists all.
const NODES_SHOWN: usize = 40;

/// What is known of a file.
#[derive(Debug, Serialize)]
struct Report {
    ok: bool,
    file: String,
    format: &'static str,
    size_bytes: u64,
    opsets: Vec<Opset>,
    operators: Vec<Count>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unsupported: Vec<Node>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Value>,
}

#[derive(Debug, Serialize)]
struct Opset {
    domain: String,
    version: i64,
}

#[derive(Debug, Serialize)]
struct Count {
    operator: String,
    domain: String,
    count: usize,
}

/// A node whose operator is not supported.
#[derive(Debug, Serialize)]
struct Node {
    node: String,
    operator: String,
    domain: String,
}

pub(super) fn check(context: &Context<'_>, upload: &Upload) -> Result<()> {
    let survey = survey_onnx(&upload.bytes, &upload.limits)
        .map_err(|error| anyhow::Error::from(error).context(upload.path.display().to_string()))?;
    let imported = upload.import();
    let mut report = report(upload, &survey);
    print_file(context, &report);
    let error = match imported {
        Ok(model) => {
            report.unsupported.clear();
            let (described, facts) = describe(&model);
            report.model = Some(described);
            context.output.line(table(&facts));
            context.output.document(&report);
            return Ok(());
        }
        Err(error) => refusal(upload, &report, error),
    };
    print_unsupported(context, &report.unsupported);
    report.ok = false;
    report.error = serde_json::to_value(summary(&error)).ok();
    context.output.document(&report);
    Err(error.context(AlreadyPrinted("this model cannot be served")))
}

fn report(upload: &Upload, survey: &Survey) -> Report {
    let opset = |(domain, version): &(String, i64)| Opset { domain: domain_name(domain), version: *version };
    let count = |((domain, operator), count): (&(String, String), &usize)| Count {
        operator: operator.clone(),
        domain: domain_name(domain),
        count: *count,
    };
    let node = |(node, operator, domain): &(String, String, String)| Node {
        node: node.clone(),
        operator: operator.clone(),
        domain: domain_name(domain),
    };
    Report {
        ok: true,
        file: upload.path.display().to_string(),
        format: "ONNX",
        size_bytes: upload.bytes.len() as u64,
        opsets: survey.opsets.iter().map(opset).collect(),
        operators: survey.operators.iter().map(count).collect(),
        unsupported: survey.unsupported.iter().map(node).collect(),
        model: None,
        error: None,
    }
}

fn domain_name(domain: &str) -> String {
    if domain.is_empty() { "ai.onnx".to_owned() } else { domain.to_owned() }
}

/// Why the file cannot be served: all operators that are missing if that is the reason, else what the import says.
fn refusal(upload: &Upload, report: &Report, error: anyhow::Error) -> anyhow::Error {
    let is_operator = error.chain().any(|cause| {
        matches!(cause.downcast_ref::<nabla_engine::Error>(), Some(nabla_engine::Error::Operator { .. }))
    });
    if !is_operator || report.unsupported.is_empty() {
        return error;
    }
    let mut names: Vec<&str> = report.unsupported.iter().map(|node| node.operator.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let kinds = names.len();
    names.truncate(NODES_SHOWN);
    let more = if kinds > names.len() { ", ..." } else { "" };
    let nodes = match report.unsupported.len() {
        1 => "1 node has".to_owned(),
        count => format!("{count} nodes have"),
    };
    let reason = format!("{nodes} an operator that is not supported: {}{more}", names.join(", "));
    let hint = Some("docs/models.md lists what is supported, and how to export without the rest".to_owned());
    Failure::BadFile { path: upload.path.clone(), reason, hint }.into()
}

fn print_file(context: &Context<'_>, report: &Report) {
    let opset = |opset: &Opset| format!("{} {}", opset.domain, opset.version);
    let operator = |count: &Count| format!("{} {}", count.count, count.operator);
    let list = |items: Vec<String>| if items.is_empty() { "none".to_owned() } else { items.join(", ") };
    let rows = [
        ("file", format!("{}, {}, {}", report.file, report.format, bytes(report.size_bytes))),
        ("opsets", list(report.opsets.iter().map(opset).collect())),
        ("operators", list(report.operators.iter().map(operator).collect())),
    ];
    context.output.line(table(&rows.map(|(key, value)| row(key, value))));
}

fn print_unsupported(context: &Context<'_>, nodes: &[Node]) {
    let line = |node: &Node| {
        vec!["unsupported".to_owned(), node.operator.clone(), node.domain.clone(), format!("{:?}", node.node)]
    };
    if !nodes.is_empty() {
        context.output.line(table(&nodes.iter().take(NODES_SHOWN).map(line).collect::<Vec<_>>()));
    }
    if nodes.len() > NODES_SHOWN {
        context.output.line(format!("and {} more; --json lists all", nodes.len() - NODES_SHOWN));
    }
}

/// An importable model, for programs and for people.
fn describe(model: &Model) -> (Value, Vec<Vec<String>>) {
    let (interface, cost) = (model.interface(), model.cost());
    let (manifest, ..) = manifest_of(model);
    let ports = |ports: Vec<&Port>| ports.into_iter().map(describe_port).collect::<Vec<_>>();
    let dims: Vec<_> =
        bounds(model).into_iter().map(|(name, max)| json!({"name": name, "max": max})).collect();
    let described = json!({
        "model_id": manifest.model_id(),
        "kernel_spec": manifest.kernel_spec,
        "batched": manifest.batched,
        "inputs": ports(model.inputs().iter().collect()),
        "outputs": ports(model.outputs()),
        "dims": dims,
        "cost": {
            "macs_per_row": cost.macs, "row_elements": manifest.row_elements, "is_static": cost.is_static,
            "peak_bytes_per_row": cost.peak_bytes, "weight_bytes": cost.weight_bytes,
        },
    });
    let mut facts = Vec::new();
    facts.extend(model.inputs().iter().map(|port| row("input", format!("{} {port}", port.name))));
    facts.extend(model.outputs().iter().map(|port| row("output", format!("{} {port}", port.name))));
    let batch = batch_symbol(model);
    facts.extend(interface.symbols().iter().map(|symbol| {
        let what = if batch == Some(symbol) { ", the batch" } else { "" };
        row("dim", format!("{} from 1 to {}{what}", symbol.name, symbol.max))
    }));
    let per_row = if manifest.batched { "a row" } else { "a run" };
    let open = interface.symbols().len() > usize::from(batch.is_some());
    let sizes = if open { " at the greatest sizes" } else { "" };
    facts.push(row("cost", format!("{} multiply-adds {per_row}{sizes}", cost.macs)));
    facts.push(row("memory", format!("{} {per_row}{sizes}", bytes(cost.peak_bytes))));
    facts.push(row("weights", bytes(cost.weight_bytes)));
    facts.push(row(
        "bound",
        match cost.is_static {
            true => "static: no run costs more".to_owned(),
            false => "of the static part; steps on computed shapes are paid for during the run".to_owned(),
        },
    ));
    facts.push(row("model", manifest.model_id().to_string()));
    facts.push(row("verdict", "can be served".to_owned()));
    (described, facts)
}

/// As the metadata of the Open Inference Protocol has it, where an open dimension is -1; `dims` names it.
fn describe_port(port: &Port) -> Value {
    let size = |dim: &Dim| match dim {
        Dim::Fixed(size) => json!(size),
        _ => json!(-1),
    };
    let named = |dim: &Dim| match dim {
        Dim::Fixed(size) => json!(size),
        Dim::Symbol(name) => json!(name.as_ref()),
        Dim::Unknown => Value::Null,
    };
    json!({
        "name": port.name,
        "datatype": port.dtype.name(),
        "shape": port.shape.iter().map(size).collect::<Vec<_>>(),
        "dims": port.shape.iter().map(named).collect::<Vec<_>>(),
    })
}

fn row(key: &str, value: String) -> Vec<String> {
    vec![format!("{key:<9}"), value]
}
