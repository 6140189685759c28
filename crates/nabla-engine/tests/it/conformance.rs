//! The ONNX project's own node tests, run through the engine; see `tests/conformance/make.py`.
//!
//! The cases are made from the Python package `onnx`, which `test.sh` installs: this reads the file that the
//! environment variable `NABLA_NODE_CASES` names, or `target/node-cases.jsonl`. `NABLA_NODE_OPERATORS` (names,
//! with commas) chooses cases and prints why each of them is refused or wrong.

use std::collections::BTreeMap;
use std::sync::Arc;

use nabla_engine::{Engine, Error, Kernels, Limits, NoExternalData, Runtime, import_onnx};
use nabla_types::tensor::NamedTensor;
use serde_json::Value;

use crate::cases::{bytes, compare, tensor};

#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Passed,
    Refused(String),
    Wrong(String),
}

fn refusal(error: &Error) -> Outcome {
    Outcome::Refused(error.to_string())
}

/// The case's own, but for answers that carry more noise than it allows: FP16 is computed in another order by
/// whoever recorded them (two units in the last place), and inverse transforms leave f32 noise where zero is exact.
fn tolerance(case: &Value) -> (f64, f64) {
    let (rtol, atol) = (case["rtol"].as_f64().unwrap(), case["atol"].as_f64().unwrap());
    let half = case["dtypes"].as_array().unwrap().iter().any(|dtype| dtype == "FLOAT16");
    let transform = operators(case).iter().any(|name| name == "DFT");
    (if half { rtol.max(2.0_f64.powi(-9)) } else { rtol }, if transform { atol.max(1e-6) } else { atol })
}

fn run_case(case: &Value) -> Outcome {
    let model = match import_onnx(&bytes(&case["model"]), &NoExternalData, &Limits::default()) {
        Ok(model) => model,
        Err(error) => return refusal(&error),
    };
    let session = match Engine::new(Kernels::Auto).unwrap().prepare(Arc::new(model)) {
        Ok(session) => session,
        Err(error) => return refusal(&error),
    };
    let (rtol, atol) = tolerance(case);
    for set in case["sets"].as_array().unwrap() {
        let values = |of: &str| -> Result<Vec<NamedTensor>, Outcome> {
            let given = set[of].as_array().unwrap().iter().filter(|v| !v.is_null());
            given.map(|value| tensor(value).map_err(Outcome::Refused)).collect()
        };
        let (inputs, expected) = match (values("inputs"), values("outputs")) {
            (Ok(inputs), Ok(outputs)) => (inputs, outputs),
            (Err(outcome), _) | (_, Err(outcome)) => return outcome,
        };
        let outputs = match session.run(&inputs) {
            Ok(outputs) => outputs,
            Err(error) => return refusal(&error),
        };
        if outputs.len() != expected.len() {
            return Outcome::Wrong(format!("expected {} outputs, got {}", expected.len(), outputs.len()));
        }
        let random = case["random"].as_bool().unwrap_or(false);
        for (got, want) in outputs.iter().zip(&expected) {
            if let Err(problem) = compare(&got.tensor, &want.tensor, rtol, atol, random) {
                return Outcome::Wrong(format!("{}: {problem}", want.name));
            }
        }
    }
    Outcome::Passed
}

fn operators(case: &Value) -> Vec<String> {
    let names = case["operators"].as_array().unwrap().iter();
    names.map(|name| name.as_str().unwrap().to_owned()).collect()
}

/// The operator that a case is about: the one in its name if it is expanded into others.
fn subject(case: &Value) -> String {
    let operators = operators(case);
    if case["expanded"] == true { "(expanded functions)".to_owned() } else { operators.join("+") }
}

/// Which of ONNX's tests a case belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    /// Inference with the default operator set, on types that a processor computes with.
    Inference,
    /// The same on 8-bit floats and types below 8 bits.
    OtherTypes,
    /// Losses, gradients, training modes, and operators that are only a preview.
    Training,
    /// Trees, linear models and their like.
    Classical,
}

impl Group {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Inference, "default operator set, inference, CPU types"),
        (Self::OtherTypes, "the same on 8-bit floats and types below 8 bits"),
        (Self::Training, "training and preview"),
        (Self::Classical, "`ai.onnx.ml`"),
    ];

    fn of(case: &Value) -> Self {
        const CPU_TYPES: [&str; 14] = [
            "FLOAT", "DOUBLE", "FLOAT16", "BFLOAT16", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16",
            "UINT32", "UINT64", "BOOL", "STRING",
        ];
        let known = |dtype: &Value| CPU_TYPES.contains(&dtype.as_str().unwrap());
        match case["domain"].as_str().unwrap() {
            _ if case["training"] == true => Self::Training,
            "ai.onnx.ml" => Self::Classical,
            _ if case["dtypes"].as_array().unwrap().iter().all(known) => Self::Inference,
            _ => Self::OtherTypes,
        }
    }
}

#[derive(Debug, Default, Clone)]
struct Tally {
    passed: usize,
    /// Reason of each refusal.
    refused: Vec<String>,
    wrong: usize,
}

impl Tally {
    fn count(&self) -> usize {
        self.passed + self.refused.len() + self.wrong
    }
}

/// What is refused and why, without the place and the list of what is supported.
fn reason(text: &str) -> String {
    let text = text.split("; supported are").next().unwrap();
    let text = match (text.starts_with("node "), text.split_once("): ")) {
        (true, Some((_, fault))) => fault,
        _ => text.split_once(" uses ").map_or(text, |(_, rest)| rest),
    };
    text.chars().take(160).collect::<String>().replace('|', "/")
}

type Table = BTreeMap<(Group, String), Tally>;

/// The page for people.
fn page(table: &Table) -> String {
    let mut page = include_str!("../conformance/head.md").to_owned();
    page += "| tests | passed | refused | wrong |\n|---|---|---|---|\n";
    for (group, name) in Group::ALL {
        let of_group = table.iter().filter(|((of, _), _)| *of == group).map(|(_, tally)| tally);
        let (mut all, mut passed, mut refused, mut wrong) = (0, 0, 0, 0);
        for tally in of_group {
            all += tally.count();
            passed += tally.passed;
            refused += tally.refused.len();
            wrong += tally.wrong;
        }
        let tenths = (1000 * passed + all / 2) / all.max(1);
        page += &format!(
            "| {name} | {passed} of {all} ({}.{} %) | {refused} | {wrong} |\n",
            tenths / 10,
            tenths % 10
        );
    }
    for (group, name) in Group::ALL {
        page += &format!(
            "\n## By operator: {name}\n\n| operator | passed | refused | why |\n|---|---|---|---|\n"
        );
        for ((_, operator), tally) in table.iter().filter(|((of, _), _)| *of == group) {
            let mut reasons = tally.refused.clone();
            reasons.sort();
            reasons.dedup();
            let shown = reasons.iter().take(3).cloned().collect::<Vec<_>>().join("; ");
            page += &format!("| {operator} | {} | {} | {shown} |\n", tally.passed, tally.refused.len());
        }
    }
    page
}

fn cases() -> Option<String> {
    let path = std::env::var("NABLA_NODE_CASES")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/node-cases.jsonl").to_owned());
    let file = std::fs::read_to_string(&path);
    if file.is_err() {
        println!(
            "!!! LEFT OUT: no {path}; make it with tests/conformance/make.py (needs Python and PyPI's onnx)"
        );
    }
    file.ok()
}

#[test]
fn onnx_node_tests() {
    let Some(file) = cases() else { return };
    let chosen = std::env::var("NABLA_NODE_OPERATORS").ok();
    let chosen: Option<Vec<&str>> = chosen.as_deref().map(|names| names.split(',').collect());
    let mut table = Table::new();
    let mut wrong = Vec::new();
    for line in file.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let names = operators(&case);
        if chosen.as_ref().is_some_and(|chosen| !names.iter().any(|name| chosen.contains(&name.as_str()))) {
            continue;
        }
        let (outcome, name) = (run_case(&case), case["name"].as_str().unwrap());
        if chosen.is_some() && outcome != Outcome::Passed {
            println!("{name} {names:?}: {outcome:?}");
        }
        let tally = table.entry((Group::of(&case), subject(&case))).or_default();
        match outcome {
            Outcome::Passed => tally.passed += 1,
            Outcome::Refused(text) => tally.refused.push(reason(&text)),
            Outcome::Wrong(problem) => {
                tally.wrong += 1;
                wrong.push(format!("{name}: {problem}"));
            }
        }
    }
    let page = page(&table);
    page.lines().skip_while(|line| !line.starts_with("| tests")).take(6).for_each(|line| println!("{line}"));
    assert!(wrong.is_empty(), "wrong answers:\n{}", wrong.join("\n"));
    if chosen.is_none() {
        check_page(&page);
    }
}

/// `docs/conformance.md` is this page; `NABLA_BLESS=1` writes it.
fn check_page(page: &str) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/conformance.md");
    if std::env::var("NABLA_BLESS").is_ok() {
        std::fs::write(path, page).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        written == page,
        "docs/conformance.md is not what the tests say now; write it with NABLA_BLESS=1"
    );
}
