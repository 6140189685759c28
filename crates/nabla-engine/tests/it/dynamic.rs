//! Sizes that a run chooses: any within their bounds through one session, the bounds that a model bears, and
//! models that come back from their canonical bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

use nabla_engine::{Dim, Engine, Kernels, Limits, Model, Runtime, Session};
use nabla_types::tensor::{NamedTensor, Tensor, outputs_digest};

use crate::files::{FLOAT, File, INT64, floats, int, text};
use crate::zoo::{Case, cases};

fn case(name: &str) -> Case {
    cases().into_iter().find(|case| case.name == name).unwrap()
}

fn session(model: Arc<Model>) -> Arc<dyn Session> {
    Engine::new(Kernels::Auto).unwrap().prepare(model).unwrap()
}

/// `relu(x * w)` over `[batch, sequence, 3]`.
fn network(limits: &Limits) -> Arc<dyn Session> {
    let weights: Vec<u8> = (0..12_u8).flat_map(|x| (f32::from(x) - 5.5).to_le_bytes()).collect();
    let tensor =
        [int(1, 3), int(1, 4), int(2, FLOAT), text(8, "w"), crate::files::bytes(9, &weights)].concat();
    let file = File::new().input("x", FLOAT, &["batch", "sequence", "3"]).part(5, &tensor);
    let file = file.node("", "MatMul", &["x", "w"], &["h"], &[]).node("", "Relu", &["h"], &["y"], &[]);
    session(file.output("y", FLOAT).import(limits).unwrap().into())
}

/// `x[i] + table[i]`, with a table of sixteen positions.
fn positions(limits: &Limits) -> Arc<dyn Session> {
    let raw: Vec<u8> = (0..32_u8).flat_map(|x| f32::from(x).to_le_bytes()).collect();
    let table =
        [int(1, 16), int(1, 2), int(2, FLOAT), text(8, "table"), crate::files::bytes(9, &raw)].concat();
    let file = File::new().input("x", FLOAT, &["batch", "sequence", "2"]).part(5, &table);
    let scalar = |name: &str, value: i64| {
        [int(2, INT64), text(8, name), crate::files::bytes(9, &value.to_le_bytes())].concat()
    };
    let file = file.part(5, &scalar("0", 0)).part(5, &scalar("1", 1));
    let file = file
        .node("", "Shape", &["x"], &["shape"], &[])
        .node("", "Gather", &["shape", "1"], &["length"], &[])
        .node("", "Range", &["0", "length", "1"], &["places"], &[])
        .node("places", "Gather", &["table", "places"], &["rows"], &[])
        .node("", "Add", &["x", "rows"], &["y"], &[]);
    session(file.output("y", FLOAT).import(limits).unwrap().into())
}

fn bound(session: &dyn Session, name: &str) -> u64 {
    session.interface().symbols().iter().find(|symbol| &*symbol.name == name).unwrap().max
}

fn refused(session: &dyn Session, shape: &[u64], expect: &str) {
    let error = session.run(&[floats("x", shape)]).unwrap_err().to_string();
    assert!(error.contains(expect), "{error:?} does not say {expect:?}");
}

#[test]
fn one_session_takes_all_sizes() {
    let session = network(&Limits::default());
    assert_eq!(session.interface().outputs()[0].shape[1], Dim::Symbol("sequence".into()));
    for (batch, sequence) in [(1, 1), (3, 7), (1, 512), (5, 1), (4096, 2), (3, 7)] {
        let outputs = session.run(&[floats("x", &[batch, sequence, 3])]).unwrap();
        assert_eq!(outputs[0].tensor.shape(), [batch, sequence, 4]);
    }
    refused(&*session, &[0, 1, 3], "expected FP32 [batch, sequence, 3] with batch from 1 to 4096");
    refused(&*session, &[1, 513, 3], "with batch = 1, sequence from 1 to 512, got FP32 [1, 513, 3]");
    refused(&*session, &[4097, 1, 3], "batch from 1 to 4096");
    refused(&*session, &[1, 1, 4], "got FP32 [1, 1, 4]");
    refused(&*session, &[1, 3], "got FP32 [1, 3]");
}

#[test]
fn bounds_are_what_the_model_bears() {
    let table = positions(&Limits::default());
    assert_eq!((bound(&*table, "batch"), bound(&*table, "sequence")), (4096, 16));
    assert!(table.run(&[floats("x", &[2, 16, 2])]).is_ok());
    refused(&*table, &[2, 17, 2], "with batch = 2, sequence from 1 to 16, got FP32 [2, 17, 2]");
    // What costs less goes on: one row of 2^20 multiply-adds allows no sequence of 2^19 with 12 each.
    let costly = Limits { macs_max: 1 << 20, symbol_max: 1 << 19, ..Limits::default() };
    let cheap = network(&costly);
    assert_eq!(bound(&*cheap, "sequence"), 1 << 15);
    assert!(cheap.run(&[floats("x", &[1, 1 << 15, 3])]).is_ok());
    let error = cheap.run(&[floats("x", &[4, 1 << 15, 3])]).unwrap_err().to_string();
    assert!(error.contains("multiply-adds of this run"), "{error}");
    // A run that was refused leaves the session as it was.
    assert!(cheap.run(&[floats("x", &[4, 1, 3])]).is_ok());
}

#[test]
fn bounds_may_be_given_by_name() {
    let given = |pairs: &[(&str, u64)]| Limits {
        symbols: pairs.iter().map(|(name, max)| ((*name).to_owned(), *max)).collect::<BTreeMap<_, _>>(),
        ..Limits::default()
    };
    let session = network(&given(&[("sequence", 1000), ("batch", 7)]));
    assert_eq!((bound(&*session, "batch"), bound(&*session, "sequence")), (7, 1000));
    assert!(session.run(&[floats("x", &[7, 1000, 3])]).is_ok());
    refused(&*session, &[7, 1001, 3], "with batch = 7, sequence from 1 to 1000");
    refused(&*session, &[8, 1, 3], "batch from 1 to 7");
    let table = positions(&given(&[("sequence", 9)]));
    refused(&*table, &[1, 10, 2], "sequence from 1 to 9");
    // What is given is kept: a bound that the model does not bear is an error, not a lower bound.
    let name = "torch_bert_torchscript";
    let limits = given(&[("length", 1 << 30)]);
    let file = crate::cases::bytes(&case(name).json["model"]);
    let error = nabla_engine::import_onnx(&file, &nabla_engine::NoExternalData, &limits).unwrap_err();
    assert!(
        error.to_string().contains("length") || error.to_string().contains("elements"),
        "{name}: {error}"
    );
}

/// Sizes in any order, from a fresh session or one that has seen more sizes than it keeps plans for.
#[test]
fn bits_do_not_depend_on_the_sizes_before() {
    for name in ["torch_bert_torchscript", "torch_gpt_dynamo", "torch_lstm_torchscript", "torch_vit_dynamo"] {
        let case = case(name);
        let model = case.import().unwrap();
        let used = session(model.clone());
        for round in 0..2 {
            for (inputs, _) in case.sets() {
                let expected = session(model.clone()).run(&inputs).unwrap();
                for rows in 1..12 {
                    let other: Vec<NamedTensor> = inputs.iter().map(|input| grown(input, rows)).collect();
                    used.run(&other).unwrap();
                }
                assert_eq!(used.run(&inputs).unwrap(), expected, "{name} round {round}");
            }
        }
    }
}

/// The first row of an input, so many times.
fn grown(input: &NamedTensor, rows: u64) -> NamedTensor {
    let (shape, data) = input.tensor.clone().into_parts();
    let bytes = data.to_le_bytes().unwrap();
    let row = &bytes[..bytes.len() / usize::try_from(shape[0]).unwrap()];
    let data = row.repeat(usize::try_from(rows).unwrap());
    let data = nabla_types::tensor::TensorData::from_le_bytes(input.tensor.dtype(), &data).unwrap();
    NamedTensor::new(input.name.clone(), Tensor::new([&[rows], &shape[1..]].concat(), data).unwrap())
}

#[test]
fn models_come_back_from_their_bytes() {
    let mut models = 0;
    for case in cases() {
        let Ok(model) = case.import() else { continue };
        let (graph, weights) = (model.graph_bytes(), model.weights_bytes());
        let again = Model::from_parts(&graph, &weights, &Limits::default())
            .unwrap_or_else(|error| panic!("{}: {error}", case.name));
        assert_eq!((again.graph_bytes(), again.weights_bytes()), (graph, weights), "{}", case.name);
        assert_eq!(
            (again.inputs(), again.outputs(), again.cost(), again.interface().symbols()),
            (model.inputs(), model.outputs(), model.cost(), model.interface().symbols()),
            "{}",
            case.name
        );
        let (first, second) = (session(model), session(again.into()));
        for (inputs, _) in case.sets() {
            let digest = |session: &dyn Session| outputs_digest(&session.run(&inputs).unwrap());
            assert_eq!(digest(&*first), digest(&*second), "{}", case.name);
        }
        models += 1;
    }
    println!("{models} models come back from their bytes");
}

#[test]
fn a_flipped_byte_is_refused_or_another_model() {
    let limits = Limits { macs_max: 1 << 26, peak_bytes_max: 1 << 26, ..Limits::default() };
    for case in cases() {
        let Ok(model) = case.import() else { continue };
        let (graph, weights) = (model.graph_bytes(), model.weights_bytes());
        // Some places of each model, other ones for each.
        let start = case.name.bytes().map(usize::from).sum::<usize>();
        for step in 0..24 {
            let mut flipped = graph.clone();
            let at = (start * 31 + step * graph.len() / 24) % graph.len();
            flipped[at] ^= 1 << (step % 8);
            if let Ok(other) = Model::from_parts(&flipped, &weights, &limits) {
                assert_eq!(other.graph_bytes(), flipped, "{}: byte {at}", case.name);
            }
        }
        let longer = [&weights[..], &[0]].concat();
        assert!(Model::from_parts(&graph, &longer, &limits).is_err(), "{}: a byte more", case.name);
        assert!(Model::from_parts(&graph[1..], &weights, &limits).is_err(), "{}: a byte less", case.name);
    }
}
