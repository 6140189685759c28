//! `nabla model run`: one run on this machine. The digest is the same on every machine.

use std::{path::Path, sync::Arc};

use anyhow::Result;
use nabla_engine::Runtime;
use nabla_node::models::manifest_of;
use nabla_types::tensor::{NamedTensor, outputs_digest};
use serde_json::{Value, json};

use super::{Context, INPUT_BYTES_MAX, Upload, engine};
use crate::{args::EngineArgs, inputs::read_tensors, output::table};

/// Most rows and values in a row that are shown to people; `--json` shows all.
const ROWS_SHOWN: usize = 8;
const VALUES_SHOWN: usize = 10;

pub(super) fn run(context: &Context<'_>, upload: &Upload, input: &Path, args: &EngineArgs) -> Result<()> {
    let (engine, threads) = engine(args)?;
    let model = upload.import()?;
    let inputs = read_tensors(input, INPUT_BYTES_MAX)?;
    let (manifest, ..) = manifest_of(&model);
    let outputs = engine.prepare(Arc::new(model))?.run(&inputs)?;
    let digest = hex::encode(outputs_digest(&outputs));
    for output in &outputs {
        context.output.line(shown(output));
    }
    context.output.line("");
    let facts = [
        ("model", manifest.model_id().to_string()),
        ("kernels", format!("{}, threads {threads}", engine.kernels())),
        ("digest", format!("{digest} (the same on every machine)")),
    ];
    context.output.line(table(&facts.map(|(key, value)| vec![key.to_owned(), value])));
    let outputs: Vec<_> = outputs.iter().map(NamedTensor::to_json).collect();
    context.output.document(&json!({
        "model_id": manifest.model_id(), "kernels": engine.kernels(), "outputs": outputs, "output_digest": digest,
    }));
    Ok(())
}

/// An output as a table: a line for each row of the first dimension.
fn shown(output: &NamedTensor) -> String {
    let json = output.to_json();
    let sizes: Vec<_> = json.shape.iter().map(ToString::to_string).collect();
    let head = format!("{}  {} [{}]", json.name, json.datatype, sizes.join(", "));
    let values = json.data.as_array().map_or(&[][..], Vec::as_slice);
    let rows = if json.shape.len() > 1 { json.shape[0] } else { 1 };
    let length = usize::try_from(rows).ok().and_then(|rows| values.len().checked_div(rows)).unwrap_or(0);
    let cell = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let line = |row: &[Value]| {
        let mut cells = vec![String::new()];
        cells.extend(row.iter().take(VALUES_SHOWN).map(cell));
        if row.len() > VALUES_SHOWN {
            cells.push(format!("and {} more", row.len() - VALUES_SHOWN));
        }
        cells
    };
    let lines: Vec<_> = values.chunks(length.max(1)).take(ROWS_SHOWN).map(line).collect();
    let more = values.len().div_ceil(length.max(1)).saturating_sub(ROWS_SHOWN);
    let tail = if more > 0 { format!("\n  and {more} more rows") } else { String::new() };
    format!("{head}\n{}{tail}", table(&lines))
}

#[cfg(test)]
mod tests {
    use nabla_types::tensor::Tensor;

    use super::*;

    #[track_caller]
    fn check(shape: &[u64], expect: &str) {
        let count = usize::try_from(shape.iter().product::<u64>()).expect("a small shape");
        let values = (0..count).map(|i| i64::try_from(i).expect("small")).collect();
        let tensor = Tensor::i64(shape, values).expect("a tensor");
        assert_eq!(shown(&NamedTensor::new("y", tensor)), expect);
    }

    #[test]
    fn outputs_of_any_rank_are_shown() {
        check(&[], "y  INT64 []\n  0");
        check(&[3], "y  INT64 [3]\n  0  1  2");
        check(&[2, 2], "y  INT64 [2, 2]\n  0  1\n  2  3");
        check(&[0, 2], "y  INT64 [0, 2]\n");
        check(&[2, 0], "y  INT64 [2, 0]\n");
        check(&[12], "y  INT64 [12]\n  0  1  2  3  4  5  6  7  8  9  and 2 more");
        let tall = (0..8).map(|row| format!("  {row}\n")).collect::<String>();
        check(&[10, 1], &format!("y  INT64 [10, 1]\n{tall}  and 2 more rows"));
    }
}
