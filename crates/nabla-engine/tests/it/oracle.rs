//! Every operator agrees with ONNX Runtime, as recorded in `oracle/cases.json` by `oracle/make.py`.
//!
//! Agreement is within a small tolerance, for ONNX Runtime does not define its last bits; labels,
//! integers and shapes must be equal.
#![expect(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

use std::sync::Arc;

use nabla_engine::{Engine, Kernels, Limits, Model, NoExternalData, Runtime, import_onnx};
use nabla_types::tensor::{NamedTensor, TensorData, TensorJson};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    label: String,
    model: String,
    tolerance: f32,
    inputs: Vec<TensorJson>,
    outputs: Vec<TensorJson>,
}

fn cases() -> Vec<Case> {
    serde_json::from_str(include_str!("oracle/cases.json")).unwrap()
}

fn tensors(wire: Vec<TensorJson>) -> Vec<NamedTensor> {
    wire.into_iter().map(|tensor| NamedTensor::from_json(tensor).unwrap()).collect()
}

fn close(got: f32, expected: f32, tolerance: f32) -> bool {
    got == expected
        || (got.is_nan() && expected.is_nan())
        || (got - expected).abs() <= tolerance * expected.abs().max(1.0)
}

fn check(got: &NamedTensor, expected: &NamedTensor, tolerance: f32) -> Result<(), String> {
    if got.name != expected.name || got.tensor.shape() != expected.tensor.shape() {
        return Err(format!("{} {:?}, not {:?}", got.name, got.tensor.shape(), expected.tensor.shape()));
    }
    match (got.tensor.data(), expected.tensor.data()) {
        (TensorData::F32(got), TensorData::F32(expected)) => {
            match got.iter().zip(expected).position(|(got, expected)| !close(*got, *expected, tolerance)) {
                Some(at) => Err(format!("element {at}: {} instead of {}", got[at], expected[at])),
                None => Ok(()),
            }
        }
        _ if got.tensor == expected.tensor => Ok(()),
        (got, expected) => Err(format!("{got:?} instead of {expected:?}")),
    }
}

fn run(case: Case) -> Result<(), String> {
    let bytes = hex::decode(&case.model).unwrap();
    let limits = Limits::default();
    let model = import_onnx(&bytes, &NoExternalData, &limits).map_err(|e| e.to_string())?;
    let again = Model::from_parts(&model.graph_bytes(), &model.weights_bytes(), &limits)
        .map_err(|e| e.to_string())?;
    let inputs = tensors(case.inputs);
    let mut answers = Vec::new();
    for (model, kernels) in [(model, Kernels::Auto), (again, Kernels::Scalar)] {
        let session = Engine::new(kernels).unwrap().prepare(Arc::new(model)).map_err(|e| e.to_string())?;
        answers.push(session.run(&inputs).map_err(|e| e.to_string())?);
    }
    if answers[0] != answers[1] {
        return Err("scalar and vector kernels differ".to_owned());
    }
    let expected = tensors(case.outputs);
    answers[0].iter().zip(&expected).try_for_each(|(got, expected)| check(got, expected, case.tolerance))
}

#[test]
fn every_case_agrees_with_onnx_runtime() {
    let mut failures = Vec::new();
    for case in cases() {
        let label = case.label.clone();
        if let Err(problem) = run(case) {
            failures.push(format!("{label}: {problem}"));
        }
    }
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), failures.join("\n"));
}
