//! The repository's own models run, and agree with what ONNX Runtime answered when they were made.
#![expect(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use nabla_engine::{Engine, Folder, Kernels, Limits, Model, Runtime, Session, import_onnx};
use nabla_types::tensor::{NamedTensor, Tensor, TensorData, TensorJson, outputs_digest};

fn folder(model: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../models").join(model)
}

fn tensors(model: &str, file: &str, list: &str) -> Vec<NamedTensor> {
    let text = fs::read_to_string(folder(model).join("examples").join(file)).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let wire: Vec<TensorJson> = serde_json::from_value(json[list].take()).unwrap();
    wire.into_iter().map(|tensor| NamedTensor::from_json(tensor).unwrap()).collect()
}

fn import(model: &str) -> Arc<Model> {
    let bytes = fs::read(folder(model).join("model.onnx")).unwrap();
    Arc::new(import_onnx(&bytes, &Folder::new(folder(model)).unwrap(), &Limits::default()).unwrap())
}

fn session(model: &str, kernels: Kernels) -> Arc<dyn Session> {
    Engine::new(kernels).unwrap().prepare(import(model)).unwrap()
}

/// Greatest difference of f32 outputs; other outputs must be equal.
fn difference(got: &[NamedTensor], expected: &[NamedTensor]) -> f32 {
    assert_eq!(got.len(), expected.len());
    let mut greatest = 0.0_f32;
    for (got, expected) in got.iter().zip(expected) {
        assert_eq!(got.name, expected.name);
        match (got.tensor.data(), expected.tensor.data()) {
            (TensorData::F32(got), TensorData::F32(expected)) => {
                assert_eq!(got.len(), expected.len());
                let differences = got.iter().zip(expected).map(|(got, expected)| (got - expected).abs());
                greatest = differences.fold(greatest, f32::max);
            }
            _ => assert_eq!(got.tensor, expected.tensor),
        }
    }
    greatest
}

fn check_against_onnx_runtime(model: &str, tolerance: f32) {
    let session = session(model, Kernels::Auto);
    let outputs = session.run(&tensors(model, "heldout.json", "inputs")).unwrap();
    let difference = difference(&outputs, &tensors(model, "expected.json", "outputs"));
    assert!(difference <= tolerance, "{model}: {difference}");
}

#[test]
fn digits_agrees_with_onnx_runtime() {
    check_against_onnx_runtime("digits", 2e-6);
}

#[test]
fn tumor_agrees_with_onnx_runtime() {
    check_against_onnx_runtime("tumor", 1e-6);
}

/// Rows `row..row + 1` of a batch.
fn row_of(tensor: &Tensor, row: usize) -> Tensor {
    let mut shape = tensor.shape().to_vec();
    shape[0] = 1;
    let width: u64 = shape.iter().product();
    let width = usize::try_from(width).unwrap();
    let range = row * width..(row + 1) * width;
    let data = match tensor.data() {
        TensorData::F32(v) => TensorData::F32(v[range].to_vec()),
        TensorData::I64(v) => TensorData::I64(v[range].to_vec()),
        other => panic!("{other:?}"),
    };
    Tensor::new(shape, data).unwrap()
}

#[test]
fn a_row_alone_gives_the_bits_that_it_gives_in_a_batch() {
    for model in ["digits", "tumor"] {
        let session = session(model, Kernels::Auto);
        let inputs = tensors(model, "heldout.json", "inputs");
        let together = session.run(&inputs).unwrap();
        for row in 0..32 {
            let alone =
                session.run(&[NamedTensor::new(inputs[0].name.clone(), row_of(&inputs[0].tensor, row))]);
            for (alone, together) in alone.unwrap().iter().zip(&together) {
                assert_eq!(alone.tensor, row_of(&together.tensor, row), "{model} row {row}");
            }
        }
    }
}

#[test]
fn all_kernels_give_the_committed_digests() {
    for (model, digest) in [
        ("digits", "3bfc5bb035d3b614acb1649bd3175d9118833db7921c7cc2dbe39b6de1ca2c60"),
        ("tumor", "1716d8043c4bc5e55c4eb0675627698ff8946cd81ae0e9e1e947b34c572731d9"),
    ] {
        for kernels in [Kernels::Scalar, Kernels::Auto] {
            let outputs = session(model, kernels).run(&tensors(model, "heldout.json", "inputs")).unwrap();
            assert_eq!(hex::encode(outputs_digest(&outputs)), digest, "{model} {kernels:?}");
        }
    }
}

#[test]
fn a_model_comes_back_from_its_parts_bit_for_bit() {
    for name in ["digits", "tumor"] {
        let model = import(name);
        let (graph, weights) = (model.graph_bytes(), model.weights_bytes());
        let again = Model::from_parts(&graph, &weights, &Limits::default()).unwrap();
        assert_eq!((again.graph_bytes(), again.weights_bytes()), (graph, weights));
        assert_eq!(
            (again.inputs(), again.outputs(), again.cost()),
            (model.inputs(), model.outputs(), model.cost())
        );
        let inputs = tensors(name, "one.json", "inputs");
        let run = |model| Engine::new(Kernels::Auto).unwrap().prepare(model).unwrap().run(&inputs).unwrap();
        assert_eq!(run(Arc::new(again)), run(model));
    }
}

/// Not a benchmark: prints what a run costs, for whoever looks.
#[test]
fn figures() {
    for name in ["digits", "tumor"] {
        let model = import(name);
        let cost = model.cost();
        assert!(cost.macs > 0 && cost.peak_bytes > 0 && cost.weight_bytes > 0);
        assert_eq!(cost.for_batch(3).macs, 3 * cost.macs);
        assert!(!model.interface().operators().is_empty());
    }
}
