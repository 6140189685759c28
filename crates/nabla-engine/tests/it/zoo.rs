//! Models as people export them, with the answers that ONNX Runtime gave when `tests/zoo/make.py` made them, and
//! the digests of ours: the same on every instruction set, with any number of threads.
//!
//! `NABLA_BLESS=1` writes the digests anew; a change of them is a change of the kernel specification.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use nabla_engine::{Engine, Error, Kernels, Limits, Model, NoExternalData, Runtime, Session, import_onnx};
use nabla_types::tensor::{NamedTensor, outputs_digest};
use serde_json::Value;

use crate::cases::{bytes, compare, tensor};

pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) json: Value,
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/zoo")
}

pub(crate) fn cases() -> Vec<Case> {
    let text = fs::read_to_string(folder().join("cases.jsonl")).unwrap();
    let chosen = std::env::var("NABLA_ZOO").unwrap_or_default();
    let case = |line: &str| {
        let json: Value = serde_json::from_str(line).unwrap();
        Case { name: json["name"].as_str().unwrap().to_owned(), json }
    };
    text.lines().map(case).filter(|case| case.name.contains(&chosen)).collect()
}

impl Case {
    pub(crate) fn import(&self) -> Result<Arc<Model>, Error> {
        import_onnx(&bytes(&self.json["model"]), &NoExternalData, &Limits::default()).map(Arc::new)
    }

    pub(crate) fn sets(&self) -> Vec<(Vec<NamedTensor>, Vec<NamedTensor>)> {
        let read = |list: &Value| list.as_array().unwrap().iter().map(|v| tensor(v).unwrap()).collect();
        self.json["sets"]
            .as_array()
            .unwrap()
            .iter()
            .map(|s| (read(&s["inputs"]), read(&s["outputs"])))
            .collect()
    }

    /// Relative and absolute tolerance for outputs of this type.
    fn tolerance(&self, dtype: &str) -> (f64, f64) {
        let pair = &self.json["tolerance"][dtype];
        (pair[0].as_f64().unwrap_or(0.0), pair[1].as_f64().unwrap_or(0.0))
    }

    /// Why our answers differ from ONNX Runtime's, if they do.
    fn check(&self) -> Result<(), String> {
        let model = self.import().map_err(|error| error.to_string())?;
        let session =
            Engine::new(Kernels::Auto).unwrap().prepare(model).map_err(|error| error.to_string())?;
        for (set, (inputs, expected)) in self.sets().into_iter().enumerate() {
            let outputs = session.run(&inputs).map_err(|error| format!("set {set}: {error}"))?;
            if outputs.len() != expected.len() {
                return Err(format!("expected {} outputs, got {}", expected.len(), outputs.len()));
            }
            for ((got, want), json) in
                outputs.iter().zip(&expected).zip(self.json["sets"][set]["outputs"].as_array().unwrap())
            {
                let (rtol, atol) = self.tolerance(json["dtype"].as_str().unwrap_or("FLOAT"));
                compare(&got.tensor, &want.tensor, rtol, atol, false)
                    .map_err(|problem| format!("set {set}, {}: {problem}", want.name))?;
            }
        }
        Ok(())
    }
}

#[test]
fn exported_models_answer_as_onnx_runtime_does() {
    let (mut good, mut bad) = (0, Vec::new());
    for case in cases() {
        match case.check() {
            Ok(()) => good += 1,
            Err(problem) => bad.push(format!("{}: {problem}", case.name)),
        }
    }
    println!("exported models: {good} agree with ONNX Runtime, {} are refused or wrong", bad.len());
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

fn digests(session: &dyn Session, case: &Case) -> Vec<String> {
    let digest =
        |(inputs, _): (Vec<NamedTensor>, _)| hex::encode(outputs_digest(&session.run(&inputs).unwrap()));
    case.sets().into_iter().map(digest).collect()
}

/// Kernels of this machine, and numbers of threads.
fn engines() -> Vec<(String, Engine)> {
    let mut engines = Vec::new();
    for kernels in [Kernels::Scalar, Kernels::Avx2, Kernels::Avx512, Kernels::Neon] {
        for threads in [1, 2, 3] {
            // Kernels that this processor has not are left out, and named below.
            if let Ok(engine) = Engine::with_threads(kernels, threads) {
                engines.push((format!("{kernels} on {threads}"), engine));
            }
        }
    }
    engines
}

#[test]
fn exported_models_give_the_recorded_bits_on_all_kernels_and_threads() {
    let path = folder().join("digests.json");
    let recorded: BTreeMap<String, Vec<String>> =
        fs::read_to_string(&path).map_or(BTreeMap::new(), |text| serde_json::from_str(&text).unwrap());
    let bless = std::env::var("NABLA_BLESS").is_ok();
    let engines = engines();
    let mut fresh = BTreeMap::new();
    let mut wrong = Vec::new();
    for case in cases() {
        let Ok(model) = case.import() else { continue };
        for (name, engine) in &engines {
            let session = engine.prepare(model.clone()).unwrap();
            let found = digests(session.as_ref(), &case);
            let expected = if bless { fresh.get(&case.name) } else { recorded.get(&case.name) };
            if expected.is_some_and(|expected| *expected != found) || (expected.is_none() && !bless) {
                wrong.push(format!("{} with {name}: {found:?}, expected {expected:?}", case.name));
            }
            fresh.entry(case.name.clone()).or_insert(found);
        }
    }
    let names: Vec<_> = engines.iter().map(|(name, _)| name.as_str()).collect();
    println!("{} models give their recorded digests with {}", fresh.len(), names.join(", "));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    if bless {
        fs::write(path, serde_json::to_string_pretty(&fresh).unwrap() + "\n").unwrap();
    }
}
