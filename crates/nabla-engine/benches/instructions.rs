//! How many instructions three fixed cases take: a regression shows without the noise of a clock.
//!
//! `cargo bench -p nabla-engine --bench instructions` counts each case under `valgrind --tool=callgrind` and
//! compares with `benches/instructions.json`; `-- --record` writes that file instead.
//!
//! # Rules
//! - One run on one thread, AVX2 kernels (valgrind has no AVX-512), after a run that has made the plan.
//!   Nothing else is counted: not the start, not the import.
//! - A count may differ by 2 %. Compilers differ by more, so the file says which one it was counted with.
//!
//! # When things go wrong
//! A count outside of its bounds, faster or slower, fails the command and says what to do.
#![expect(clippy::print_stdout, reason = "a bench prints")]
#![expect(clippy::disallowed_methods, reason = "it writes the record, when told to")]
#![expect(clippy::unwrap_used, reason = "a bench stops at the first surprise")]
#![expect(clippy::cast_precision_loss, reason = "figures for people")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;

use nabla_engine::{Dim, Engine, Kernels, Limits, Model, NoExternalData, Runtime, Session, import_onnx};
use nabla_types::tensor::{NamedTensor, Tensor};
use serde::{Deserialize, Serialize};

mod wire;

const CASES: [&str; 3] = ["digits, 64 rows", "tumor, 64 rows", "product 64x512x512"];
const ROWS: u64 = 64;
/// Parts of the recorded count by which a new one may differ.
const TOLERANCE: f64 = 0.02;
/// Re-counted with `-- --record`.
const RECORD: &str = "benches/instructions.json";

/// What was counted, and with what.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    rustc: String,
    valgrind: String,
    kernels: String,
    instructions: BTreeMap<String, u64>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--run") {
        run(&arguments[at + 1]);
        return ExitCode::SUCCESS;
    }
    let instructions = CASES.iter().map(|case| ((*case).to_owned(), count(case))).collect();
    let (rustc, valgrind) = (version("rustc"), version("valgrind"));
    let now = Record { rustc, valgrind, kernels: Kernels::Avx2.name().to_owned(), instructions };
    if arguments.iter().any(|argument| argument == "--record") {
        let text = serde_json::to_string_pretty(&now).unwrap();
        std::fs::write(root().join(RECORD), text + "\n").unwrap();
        println!("recorded in {RECORD}");
    }
    compare(&now)
}

/// Print the table; whether all counts are near the recorded.
fn compare(now: &Record) -> ExitCode {
    let text = std::fs::read_to_string(root().join(RECORD)).unwrap();
    let recorded: Record = serde_json::from_str(&text).unwrap();
    let mut outside = Vec::new();
    println!("| case | instructions | recorded | differs by |\n|---|---|---|---|");
    for case in CASES {
        let (got, expected) = (now.instructions[case], recorded.instructions.get(case).copied());
        let part = expected.map_or(f64::INFINITY, |expected| got as f64 / expected as f64 - 1.0);
        println!("| {case} | {got} | {} | {:+.2} % |", expected.unwrap_or(0), part * 100.0);
        if part.abs() > TOLERANCE {
            outside.push(case);
        }
    }
    if outside.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("\nmore than {} % from {RECORD}: {}", TOLERANCE * 100.0, outside.join("; "));
    println!("counted with {}, recorded with {}", now.rustc, recorded.rustc);
    println!("If the change is meant, or the compiler another one, record the counts anew and commit them:");
    println!("  cargo bench -p nabla-engine --bench instructions -- --record");
    ExitCode::FAILURE
}

/// Instructions of one case, counted in a process of its own.
fn count(case: &str) -> u64 {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    valgrind.arg("--toggle-collect=*instructions::measured*");
    let output = valgrind.arg(std::env::current_exe().unwrap()).args(["--run", case]).output();
    let output = output.unwrap_or_else(|error| panic!("valgrind is needed, as a program: {error}"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{case}: {said}");
    let collected = said.lines().find_map(|line| line.split_once("Collected : "));
    let (_, number) = collected.unwrap_or_else(|| panic!("callgrind counted nothing: {said}"));
    number.trim().parse().unwrap()
}

fn version(program: &str) -> String {
    let output = Command::new(program).arg("--version").output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// What happens under valgrind.
fn run(case: &str) {
    let model = match case.split_once(',') {
        Some((name, _)) => model(name),
        None => wire::matmul(512, 512),
    };
    let engine = Engine::new(Kernels::Avx2).unwrap();
    let input = [input(&model)];
    let session = engine.prepare(Arc::new(model)).unwrap();
    let first = session.run(&input).unwrap();
    assert_eq!(measured(&*session, &input), first);
}

/// The name that callgrind is told: what it calls is counted, and nothing else.
#[inline(never)]
fn measured(session: &dyn Session, input: &[NamedTensor]) -> Vec<NamedTensor> {
    session.run(input).unwrap()
}

fn model(name: &str) -> Model {
    let path = root().join("models").join(name).join("model.onnx");
    import_onnx(&std::fs::read(path).unwrap(), &NoExternalData, &Limits::default()).unwrap()
}

fn input(model: &Model) -> NamedTensor {
    let port = &model.inputs()[0];
    let size = |dim: &Dim| if let Dim::Fixed(size) = dim { *size } else { ROWS };
    let shape: Vec<u64> = port.shape.iter().map(size).collect();
    let values = (0..shape.iter().product()).map(|index: u64| (index % 17) as f32 * 0.37).collect();
    NamedTensor::new(port.name.clone(), Tensor::f32(&shape, values).unwrap())
}
