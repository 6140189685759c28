//! Models: from their canonical bytes to a session, and from inputs to outputs.

use std::{hint::black_box, path::Path, sync::Arc};

use nabla_benches::{Case, Group, Row, Settings, Work};
use nabla_engine::{Engine, Kernels, Limits, Model, NoExternalData, Runtime, import_onnx};
use nabla_node::{
    models::{Loaded, manifest_of},
    replay::{Replay, replay},
};
use nabla_types::tensor::{NamedTensor, Tensor, TensorData, TensorJson};

use crate::network::Called;

/// The models of the repository.
const NAMES: [&str; 2] = ["digits", "tumor"];

pub(crate) fn measure(settings: &Settings, called: &Called) -> Vec<Row> {
    let engine = Engine::new(Kernels::Auto).expect("some kernels are always there");
    let mut rows = Vec::new();
    for name in NAMES {
        let model = Arc::new(model(name));
        rows.extend(load(name, &engine, &model, settings));
        for batch in [1, 64] {
            rows.push(infer(name, &engine, &model, batch, settings));
        }
    }
    rows.push(replay_row(&engine, called, settings));
    rows
}

fn file(name: &str, path: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models").join(name).join(path);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(crate) fn model(name: &str) -> Model {
    import_onnx(&file(name, "model.onnx"), &NoExternalData, &Limits::default()).expect("a committed model")
}

/// The first rows of the held-out test.
pub(crate) fn inputs(name: &str, rows: u64) -> Vec<NamedTensor> {
    let mut json: serde_json::Value =
        serde_json::from_slice(&file(name, "examples/heldout.json")).expect("JSON");
    let list: Vec<TensorJson> = serde_json::from_value(json["inputs"].take()).expect("tensors");
    let first = |json: TensorJson| {
        let NamedTensor { name, tensor } = NamedTensor::from_json(json).expect("a tensor");
        let (mut shape, data) = tensor.into_parts();
        let TensorData::F32(mut values) = data else { panic!("both models take FP32") };
        values.truncate(
            values.len() / usize::try_from(shape[0]).expect("few") * usize::try_from(rows).expect("few"),
        );
        shape[0] = rows;
        NamedTensor::new(name, Tensor::f32(&shape, values).expect("whole rows"))
    };
    list.into_iter().map(first).collect()
}

fn load(name: &str, engine: &Engine, model: &Model, settings: &Settings) -> Vec<Row> {
    let (graph, weights) = (model.graph_bytes(), model.weights_bytes());
    let work = Work::bytes(graph.len() + weights.len());
    let load = || {
        let model = Model::from_parts(&graph, &weights, &Limits::default()).expect("canonical bytes");
        engine.prepare(Arc::new(model)).expect("a sound model")
    };
    let hash = || [blake3::hash(black_box(&graph)), blake3::hash(black_box(&weights))];
    let mut rows = Group::default()
        .with(Case::whole("blake3 of graph and weights", work, hash))
        .with(Case::whole(format!("load {name}"), work, load).against(&["blake3 of graph and weights"]))
        .measure(settings);
    rows.split_off(1)
}

/// A run reads every weight and every input once: copying them is what it cannot beat.
fn infer(name: &str, engine: &Engine, model: &Arc<Model>, batch: u32, settings: &Settings) -> Row {
    const COPY: &str = "memcpy of weights and inputs";
    let session = engine.prepare(model.clone()).expect("a sound model");
    let inputs = inputs(name, batch.into());
    let bytes = |tensor: &NamedTensor| tensor.tensor.data().to_le_bytes().unwrap_or_default();
    let touched: Vec<u8> = inputs.iter().flat_map(bytes).chain(model.weights_bytes()).collect();
    let mut copy = vec![0; touched.len()];
    let work = Work::of(batch, "rows");
    let case = format!("infer {name}, batch {batch}");
    let rows = Group::default()
        .with(Case::new(COPY, work, |watch| watch.time(|| copy.copy_from_slice(black_box(&touched)))))
        .with(Case::whole(case, work, || session.run(&inputs)).against(&[COPY]))
        .measure(settings);
    let mut row = rows.into_iter().nth(1).expect("two cases");
    row.name = format!("{} ({:.2} GMAC/s)", row.name, gigamacs(model, &row));
    row
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn gigamacs(model: &Model, row: &Row) -> f64 {
    model.cost().macs as f64 / row.median / 1e9
}

/// A real receipt, replayed by who has request, salt and model: parse, run, commit, compare.
fn replay_row(engine: &Engine, called: &Called, settings: &Settings) -> Row {
    const RUN: &str = "the run alone";
    let model = model("digits");
    let (manifest, _, _) = manifest_of(&model);
    let session = engine.prepare(Arc::new(model)).expect("a sound model");
    let loaded = Loaded { manifest, session: session.clone() };
    let (inputs, answer) = (inputs("digits", 1), &called.answer);
    let again = || replay(&loaded, &answer.claims, &answer.request, answer.salt);
    assert_eq!(again().expect("the same request"), Replay::Equal);
    let rows = Group::default()
        .with(Case::whole(RUN, Work::of(1, "runs"), || session.run(&inputs)))
        .with(Case::whole("replay a receipt of digits", Work::of(1, "receipts"), again).against(&[RUN]))
        .measure(settings);
    rows.into_iter().nth(1).expect("two cases")
}
