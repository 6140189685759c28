//! Tests of the importer: what must not matter, and what must be refused.

use std::fs;
use std::sync::Arc;

use proptest::prelude::*;

use super::testing::{FLOAT, File, Value, bytes, int, run, small_network, tensor, text};
use crate::{
    Dim, Engine, Error, ExternalData, Folder, Kernels, Limits, Model, NoExternalData, Runtime, import_onnx,
};

fn identity(model: &Model) -> (Vec<u8>, Vec<u8>) {
    (model.graph_bytes(), model.weights_bytes())
}

fn refused(file: &File, expect: &str) {
    let error = file.import().expect_err(expect).to_string();
    assert!(error.contains(expect), "{error:?} does not say {expect:?}");
}

#[test]
fn what_does_not_matter_leaves_no_trace() {
    let expected = identity(&small_network().import().unwrap());
    let softmax = |file: File| file.node("Softmax", &["other"], &["y"], &[]);
    let relu = |file: File| file.node("Relu", &["h"], &["other"], &[]);
    let gemm = |file: File| file.node("Gemm", &["x", "w", "b"], &["h"], &[("alpha", Value::Float(1.0))]);
    let weights = |file: File| {
        file.weight("b", &[2], &[0.125, -0.5]).weight("w", &[3, 2], &[0.5, -1.0, 2.0, 0.25, -0.75, 1.5])
    };
    let start = || File::new().input("x", FLOAT, &["N", "3"]).output("y");

    // Other names, nodes and weights in another order, defaults written out, dead nodes, documentation.
    let mut shuffled = weights(softmax(relu(gemm(start().node("Exp", &["h"], &["dead"], &[])))));
    shuffled.extra = vec![text(2, "producer"), text(6, "documentation")];
    assert_eq!(identity(&shuffled.import().unwrap()), expected);

    // A constant as a node; elements as float_data instead of raw bytes; detours that compute nothing.
    let floats: Vec<u8> =
        [0.5_f32, -1.0, 2.0, 0.25, -0.75, 1.5].iter().flat_map(|x| x.to_le_bytes()).collect();
    let w = [int(1, 3), int(1, 2), int(2, FLOAT), text(8, "w"), bytes(4, &floats)].concat();
    let detours = start()
        .raw(5, &w)
        .node("Constant", &[], &["b"], &[("value", Value::Tensor(tensor("any", &[2], &[0.125, -0.5])))])
        .node("Identity", &["x"], &["x2"], &[])
        .node("Dropout", &["x2"], &["x3"], &[("ratio", Value::Float(0.5))]);
    let detours = softmax(relu(detours.node("Gemm", &["x3", "w", "b"], &["h"], &[])));
    assert_eq!(identity(&detours.import().unwrap()), expected);
}

#[test]
fn golden_bytes_of_a_graph() {
    let model = small_network().import().unwrap();
    let hash = |bytes: &[u8]| hex::encode(<sha2::Sha256 as sha2::Digest>::digest(bytes));
    assert_eq!(
        hash(&model.graph_bytes()),
        "f74def6ac163d9131369d9ea3dc4d7c09e2418f352a15fb828a245e26ed574c5"
    );
    assert_eq!(
        hash(&model.weights_bytes()),
        "f84e155096a634cc02580356adaca90f63264049caa477f43d5c1dcd5cde029d"
    );
    let outputs = run(model, &[("x", &[2, 3], &[1.0, 2.0, 3.0, -1.0, 0.5, f32::NAN])]).unwrap();
    assert_eq!(
        hex::encode(outputs[0].digest()),
        "1224437fc8a9e259c5ee311ad354e7035d5c05ebf375804fa65294ec6861a73b"
    );
}

#[test]
fn ports_and_cost_are_known_before_a_run() {
    let model = small_network().import().unwrap();
    assert_eq!(model.inputs()[0].shape, [Dim::Symbol("N".into()), Dim::Fixed(3)]);
    assert_eq!(
        (model.outputs()[0].name.as_str(), &model.outputs()[0].shape[..]),
        ("y", &[Dim::Symbol("N".into()), Dim::Fixed(2)][..])
    );
    let cost = model.cost();
    // Gemm 3 * 2, softmax 21 * 2, and one per output element of three nodes.
    assert_eq!((cost.macs, cost.weight_bytes), (6 + 42 + 6, 64 + 8));
}

#[test]
fn aliases_may_be_outputs() {
    let file = File::new()
        .input("x", FLOAT, &["N", "2"])
        .weight("c", &[1], &[7.0])
        .node("Identity", &["x"], &["same"], &[])
        .node_of("ai.onnx.ml", "ZipMap", &["same"], &["z"], &[("classlabels_int64s", Value::Ints(&[0, 1]))])
        .output("z")
        .output("c")
        .output("x");
    let outputs = run(file.import().unwrap(), &[("x", &[1, 2], &[1.0, 2.0])]).unwrap();
    assert_eq!(outputs[0].as_f32(), Some(&[1.0, 2.0][..]));
    assert_eq!(outputs[1].as_f32(), Some(&[7.0][..]));
    assert_eq!(outputs[2], outputs[0]);
}

#[test]
fn an_unknown_operator_is_named_with_those_that_are_known() {
    let file = File::new().input("x", FLOAT, &["1"]).node("Strange", &["x"], &["y"], &[]).output("y");
    refused(&file, "\"Strange\"");
    refused(&file, "Softmax, Softplus");
    let file =
        File::new().input("x", FLOAT, &["1"]).node_of("ai.onnx.ml", "Relu", &["x"], &["y"], &[]).output("y");
    refused(&file, "domain \"ai.onnx.ml\"");
}

#[test]
fn broken_graphs_are_refused() {
    let start = || File::new().input("x", FLOAT, &["N", "2"]);
    refused(&start().node("Add", &["x", "y"], &["y"], &[]).output("y"), "cycle");
    let circle = start().node("Add", &["x", "b"], &["a"], &[]).node("Relu", &["a"], &["b"], &[]);
    refused(&circle.output("b"), "cycle");
    refused(&start().node("Relu", &["ghost"], &["y"], &[]).output("y"), "\"ghost\"");
    refused(&start().output("ghost"), "nobody makes");
    refused(&start(), "no outputs");
    let twice = start().node("Relu", &["x"], &["y"], &[]).node("Exp", &["x"], &["y"], &[]);
    refused(&twice.output("y"), "made twice");
    refused(&start().node("Relu", &["x"], &["y"], &[]).output("y").output("y"), "two outputs");
    refused(
        &start().node("Relu", &["x"], &["y"], &[("alpha", Value::Int(1))]).output("y"),
        "no such attribute",
    );
    refused(&start().node("Relu", &["x", "x"], &["y"], &[]).output("y"), "inputs at most");
    refused(&start().node("Gemm", &["x"], &["y"], &[]).output("y"), "inputs at least");
    let misfit = start().weight("w", &[3, 2], &[0.0; 6]).node("MatMul", &["x", "w"], &["y"], &[]);
    refused(&misfit.output("y"), "expected 2 rows");
    let mut old = start().node("Relu", &["x"], &["y"], &[]).output("y");
    old.opsets = vec![("", 29)];
    refused(&old, "operator set");
    old.opsets = vec![];
    refused(&old, "no opset_import");
}

#[test]
fn one_tensor_has_one_value() {
    let both = [tensor("w", &[1], &[1.0]), bytes(4, &2.0_f32.to_le_bytes())].concat();
    let file = |w: &[u8]| File::new().raw(5, w).output("w");
    refused(&file(&both), "more than one place");
    refused(&file(&[tensor("w", &[1], &[1.0]), bytes(9, &[0; 4])].concat()), "twice");
    let hidden = [int(1, 1), int(2, FLOAT), text(8, "w"), bytes(10, &[0; 8])].concat();
    refused(&file(&hidden), "another type");
    let attribute = [text(1, "value_int"), int(3, 1), text(4, "hidden"), int(20, 2)].concat();
    let node = [text(2, "y"), text(4, "Constant"), bytes(5, &attribute)].concat();
    refused(&File::new().raw(1, &node).output("y"), "also has a value of type 3");
}

#[test]
fn sizes_are_checked_before_memory_is_taken() {
    let huge = [int(1, 1 << 40), int(1, 1 << 20), int(2, FLOAT), text(8, "w"), bytes(9, &[0; 4])].concat();
    refused(&File::new().raw(5, &huge).output("w"), "too large");
    let negative = [int(1, u64::MAX), int(2, FLOAT), text(8, "w")].concat();
    refused(&File::new().raw(5, &negative).output("w"), "sizes from 0");
    refused(
        &File::new().input("x", FLOAT, &["N", "1000000000000"]).output("x"),
        "at most 268435456 elements",
    );
    let wide = File::new().input("x", FLOAT, &["65536", "1"]).input("z", FLOAT, &["1", "65536"]);
    refused(&wide.node("Add", &["x", "z"], &["y"], &[]).output("y"), "at most 268435456 elements");
    let costly = File::new().input("x", FLOAT, &["8192", "16384"]).input("z", FLOAT, &["16384", "16384"]);
    refused(&costly.node("MatMul", &["x", "z"], &["y"], &[]).output("y"), "multiply-adds of one row");
    let pool = [("kernel_shape", Value::Ints(&[i64::MAX, 2]))];
    let file = File::new()
        .input("x", FLOAT, &["1", "1", "8", "8"])
        .node("MaxPool", &["x"], &["y"], &pool)
        .output("y");
    refused(&file, "kernel_shape");
}

#[test]
fn counts_are_checked_before_they_are_stored() {
    let limits = Limits { tensors_max: 1000, nodes_max: 100, ..Limits::default() };
    let import = |file: &File| import_onnx(&file.build(), &NoExternalData, &limits).unwrap_err();
    let mut bomb = File::new();
    bomb.graph = vec![bytes(5, &[]); 5000];
    assert!(matches!(import(&bomb), Error::Limit { .. }));
    bomb.graph = vec![bytes(1, &[]); 101];
    assert!(matches!(import(&bomb), Error::Limit { what: "nodes of the graph", .. }));
    bomb.graph = vec![bytes(1, &text(1, "").repeat(5000))];
    assert!(matches!(import(&bomb), Error::Limit { .. }));
    bomb.graph = vec![bytes(12, &[]); 5000];
    assert!(matches!(import(&bomb), Error::Limit { .. }));
    bomb.graph = vec![bytes(5, &int(1, 1).repeat(9))];
    assert!(matches!(import(&bomb), Error::Limit { what: "dimensions of a tensor", .. }));
}

/// Sixty nodes that share one weight of 64 KiB, where 1 MiB is allowed.
#[test]
fn a_weight_that_many_nodes_share_counts_for_each() {
    let limits = Limits { weight_bytes_max: 1 << 20, ..Limits::default() };
    let mut file = File::new().input("x", FLOAT, &["1", "128"]).weight("w", &[128, 128], &[0.0; 128 * 128]);
    let mut last = "x".to_owned();
    for index in 0..60 {
        let next = format!("v{index}");
        file = file.node("MatMul", &[&last, "w"], &[&next], &[]);
        last = next;
    }
    let model = import_onnx(&file.output(&last).build(), &NoExternalData, &limits).unwrap();
    let error = Engine::new(Kernels::Auto).unwrap().prepare(Arc::new(model)).unwrap_err();
    assert!(matches!(error, Error::Limit { what: "bytes of weights as kernels keep them", .. }), "{error}");
}

#[test]
fn empty_tensors_do_not_hide_large_products() {
    let shape = ["0", "268435456", "268435456", "16"];
    refused(&File::new().input("x", FLOAT, &shape).output("x"), "at most 268435456 elements");
    let empty = File::new().input("x", FLOAT, &["0", "4096", "4096"]).node("Transpose", &["x"], &["y"], &[]);
    let outputs = run(empty.output("y").import().unwrap(), &[("x", &[0, 4096, 4096], &[])]).unwrap();
    assert_eq!(outputs[0].shape(), [4096, 4096, 0]);
    let stacks =
        File::new().input("a", FLOAT, &["4096", "1", "0", "1"]).input("b", FLOAT, &["1", "4096", "1", "1"]);
    let stacks = stacks.node("MatMul", &["a", "b"], &["y"], &[]).output("y");
    let inputs: [(&str, &[u64], &[f32]); 2] =
        [("a", &[4096, 1, 0, 1], &[]), ("b", &[1, 4096, 1, 1], &[0.0; 4096])];
    assert!(run(stacks.import().unwrap(), &inputs).unwrap()[0].data().is_empty());
}

#[test]
fn long_labels_are_refused() {
    let long = "x".repeat(1000);
    let attributes = [
        ("classlabels_strings", Value::Texts(&[&long, "b"])),
        ("coefficients", Value::Floats(&[1.0, 2.0])),
        ("intercepts", Value::Floats(&[0.0, 0.0])),
    ];
    let file = File::new().input("x", FLOAT, &["N", "1"]);
    let file = file.node_of("ai.onnx.ml", "LinearClassifier", &["x"], &["label", "scores"], &attributes);
    refused(&file.output("label"), "texts of at most 256 bytes");
}

/// A chain as long as the limit allows is walked without recursion.
#[test]
fn a_long_chain_needs_no_stack() {
    let mut file = File::new().input("x", FLOAT, &["1"]);
    let mut last = "x".to_owned();
    for index in 0..20_000 {
        let next = format!("v{index}");
        file = file.node("Neg", &[&last], &[&next], &[]);
        last = next;
    }
    let model = file.output(&last).import().unwrap();
    assert_eq!(run(model, &[("x", &[1], &[3.0])]).unwrap()[0].as_f32(), Some(&[3.0][..]));
}

#[test]
fn features_that_hide_meaning_are_refused() {
    refused(&small_network().raw(15, &[]), "sparse");
    let subgraphs = [text(1, "body"), bytes(11, &[]), int(20, 10)].concat();
    refused(&small_network().raw(1, &bytes(5, &subgraphs)), "list of graphs");
    let mut twice = small_network();
    twice.extra = vec![bytes(7, &[])];
    refused(&twice, "field graph stands there twice");
}

/// What mixes rows is taken: whoever batches requests asks [`crate::Interface::is_batched`] and tests its model.
#[test]
fn rows_may_meet() {
    let start = || File::new().input("x", FLOAT, &["N", "3"]).weight("w", &[3, 3], &[1.0; 9]);
    type Mixing =
        (&'static str, &'static [&'static str], Vec<(&'static str, Value<'static>)>, &'static [u64]);
    let mixing: [Mixing; 7] = [
        ("Softmax", &["x"], vec![("axis", Value::Int(0))], &[2, 3]),
        ("ReduceMean", &["x"], vec![("axes", Value::Ints(&[0]))], &[1, 3]),
        ("ArgMax", &["x"], vec![("axis", Value::Int(0))], &[1, 3]),
        ("Concat", &["x", "x"], vec![("axis", Value::Int(0))], &[4, 3]),
        ("Transpose", &["x"], vec![], &[3, 2]),
        ("Flatten", &["x"], vec![("axis", Value::Int(0))], &[1, 6]),
        ("MatMul", &["x", "w"], vec![], &[2, 3]),
    ];
    for (operator, inputs, attributes, shape) in mixing {
        let model = start().node(operator, inputs, &["y"], &attributes).output("y").import().unwrap();
        assert!(model.interface().is_batched());
        let outputs = run(model, &[("x", &[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])]).unwrap();
        assert_eq!(outputs[0].shape(), shape, "{operator}");
    }
    // A node that does not bear every number of rows leaves one row.
    let add = start().node("Add", &["x", "w"], &["y"], &[]).output("y").import().unwrap();
    assert_eq!(add.interface().symbols()[0].max, 1);
    assert!(run(add.clone(), &[("x", &[1, 3], &[0.0; 3])]).is_ok());
    let error = run(add, &[("x", &[2, 3], &[0.0; 6])]).unwrap_err().to_string();
    assert!(error.contains("with N from 1 to 1, got FP32 [2, 3]"), "{error}");
}

/// A function of the file, with these formal inputs and outputs.
fn function(name: &str, inputs: &[&str], outputs: &[&str], nodes: &File) -> Vec<u8> {
    let mut all = [text(1, name), text(10, "own")].concat();
    all.extend(inputs.iter().flat_map(|name| text(4, name)));
    all.extend(outputs.iter().flat_map(|name| text(5, name)));
    // A node is field 1 of a graph and field 7 of a function, with the same kind of bytes.
    all.extend(nodes.graph.iter().flat_map(|node| [&[7 << 3 | 2], &node[1..]].concat()));
    all.extend(bytes(9, &int(2, 17)));
    all.extend(bytes(9, &[text(1, "own"), int(2, 1)].concat()));
    bytes(25, &all)
}

#[test]
fn functions_are_inlined() {
    let expected = identity(&small_network().import().unwrap());
    let layer = File::new().node("Gemm", &["a", "m", "v"], &["t"], &[]).node("Relu", &["t"], &["out"], &[]);
    let mut file = File::new()
        .input("x", FLOAT, &["N", "3"])
        .output("y")
        .weight("w", &[3, 2], &[0.5, -1.0, 2.0, 0.25, -0.75, 1.5])
        .weight("b", &[2], &[0.125, -0.5])
        .node_of("own", "Layer", &["x", "w", "b"], &["r"], &[])
        .node("Softmax", &["r"], &["y"], &[("axis", Value::Int(-1))]);
    file.extra = vec![function("Layer", &["a", "m", "v"], &["out"], &layer)];
    file.opsets.push(("own", 1));
    assert_eq!(identity(&file.import().unwrap()), expected);
    // A name of the caller is not seen inside.
    let peeks = File::new().node("Add", &["a", "w"], &["out"], &[]);
    file.extra = vec![function("Layer", &["a", "m", "v"], &["out"], &peeks)];
    refused(&file, "nobody makes a value that is needed: \"w\"");
    file.extra = vec![function("Layer", &["a"], &["out"], &peeks)];
    refused(&file, "more inputs or outputs than its function: \"Layer\"");
    file.extra.push(file.extra[0].clone());
    refused(&file, "two functions have the same name");
}

#[test]
fn a_branch_of_a_constant_condition_is_inlined() {
    let branch = |name: &str, op: &str| {
        let graph = File::new().node(op, &["x"], &["z"], &[]).output("z").graph.concat();
        bytes(5, &[text(1, name), bytes(6, &graph), int(20, 5)].concat())
    };
    let file = |condition: u8| {
        let tensor = [int(2, 9), text(8, "c"), bytes(9, &[condition])].concat();
        let node = [text(1, "c"), text(2, "y"), text(4, "If")].concat();
        let node = [node, branch("then_branch", "Relu"), branch("else_branch", "Neg")].concat();
        File::new().input("x", FLOAT, &["N", "2"]).raw(5, &tensor).raw(1, &node).output("y")
    };
    for (condition, expect) in [(1, [0.0, 2.0]), (0, [1.0, -2.0])] {
        let outputs = run(file(condition).import().unwrap(), &[("x", &[1, 2], &[-1.0, 2.0])]).unwrap();
        assert_eq!(outputs[0].as_f32(), Some(&expect[..]));
    }
    let computed = [text(1, "x"), text(2, "y"), text(4, "If"), branch("then_branch", "Relu")].concat();
    let computed = File::new().input("x", 9, &["1"]).raw(1, &computed).output("y");
    refused(&computed, "attribute \"else_branch\": expected a graph, got nothing");
}

fn external(location: &str, more: &[(&str, &str)]) -> File {
    let mut entries = vec![("location", location)];
    entries.extend(more);
    let mut tensor = [int(1, 2), int(2, FLOAT), text(8, "w"), int(14, 1)].concat();
    for (key, value) in entries {
        tensor.extend(bytes(13, &[text(1, key), text(2, value)].concat()));
    }
    File::new().raw(5, &tensor).output("w")
}

#[test]
#[expect(clippy::disallowed_methods, reason = "this test is about files")]
fn external_data_stays_in_its_folder() {
    let outside = tempfile::tempdir().unwrap();
    let inside = outside.path().join("model");
    fs::create_dir_all(inside.join("data")).unwrap();
    fs::write(outside.path().join("secret.bin"), [1; 64]).unwrap();
    let values: Vec<u8> = [0.0_f32, 1.5, 2.5].iter().flat_map(|x| x.to_le_bytes()).collect();
    fs::write(inside.join("data/w.bin"), values).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink("../secret.bin", inside.join("link.bin")).unwrap();
    let folder = Folder::new(&inside).unwrap();
    let import = |file: &File| import_onnx(&file.build(), &folder, &Limits::default());

    let model = import(&external("data/w.bin", &[("offset", "4")])).unwrap();
    assert_eq!(run(model, &[]).unwrap()[0].as_f32(), Some(&[1.5, 2.5][..]));

    let absolute = outside.path().join("secret.bin").display().to_string();
    let escapes = [
        "../secret.bin",
        "data/../../secret.bin",
        &absolute,
        "link.bin",
        "",
        ".",
        "data",
        "missing.bin",
        "a\\..\\b",
        "#../secret.bin",
    ];
    for location in escapes {
        let error = import(&external(location, &[])).expect_err(location);
        assert!(matches!(error, Error::External { .. }), "{error}");
    }
    for (key, value) in [
        ("offset", "8"),
        ("offset", "18446744073709551615"),
        ("length", "4"),
        ("offset", "-1"),
        ("length", "x"),
    ] {
        let error = import(&external("data/w.bin", &[(key, value)])).expect_err(value);
        assert!(matches!(error, Error::External { .. }), "{error}");
    }
    let nowhere = import_onnx(&external("data/w.bin", &[]).build(), &NoExternalData, &Limits::default());
    assert!(matches!(nowhere, Err(Error::External { .. })));
    assert_eq!(folder.read("data/w.bin", 8, None).unwrap(), 2.5_f32.to_le_bytes());
}

#[test]
fn a_file_cut_at_any_byte_is_refused() {
    let file = small_network().build();
    let graph_end = file.len() - 20;
    for end in 0..file.len() {
        let result = import_onnx(&file[..end], &NoExternalData, &Limits::default());
        assert!(result.is_err() || end > graph_end, "cut at {end} of {}", file.len());
    }
    for junk in [&b"not a model"[..], b"PK\x03\x04", b"{\"a\": 1}", &[0xff; 64], &[0; 64]] {
        let error = import_onnx(junk, &NoExternalData, &Limits::default()).unwrap_err().to_string();
        assert!(error.contains("not a valid ONNX file"), "{error}");
    }
}

#[test]
fn parts_that_are_cut_or_flipped_are_refused_or_another_model() {
    let limits = Limits::default();
    let (graph, weights) = identity(&small_network().import().unwrap());
    for end in 0..graph.len() {
        assert!(Model::from_parts(&graph[..end], &weights, &limits).is_err());
    }
    for end in 0..weights.len() {
        assert!(Model::from_parts(&graph, &weights[..end], &limits).is_err());
    }
    for bit in 0..graph.len() * 8 {
        let mut flipped = graph.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        if let Ok(model) = Model::from_parts(&flipped, &weights, &limits) {
            assert_eq!(model.graph_bytes(), flipped, "bit {bit}");
            let _ = run(model, &[("x", &[1, 3], &[1.0, 2.0, 3.0])]);
        }
    }
    let mut longer = weights.clone();
    longer.push(0);
    assert!(Model::from_parts(&graph, &longer, &limits).is_err());
    let mut padded = weights.clone();
    padded[30] = 1;
    assert!(Model::from_parts(&graph, &padded, &limits).is_err(), "padding must be zero");
}

fn forest() -> File {
    tree(&[1, 0, 3, 0, 0], &[2, 0, 4, 0, 0])
}

/// One tree of five nodes with these children.
fn tree(yes: &[i64], no: &[i64]) -> File {
    let tree = [
        ("nodes_treeids", Value::Ints(&[0, 0, 0, 0, 0])),
        ("nodes_nodeids", Value::Ints(&[0, 1, 2, 3, 4])),
        ("nodes_modes", Value::Texts(&["BRANCH_LEQ", "LEAF", "BRANCH_GT", "LEAF", "LEAF"])),
        ("nodes_featureids", Value::Ints(&[0, 0, 1, 0, 0])),
        ("nodes_values", Value::Floats(&[0.5, 0.0, -1.0, 0.0, 0.0])),
        ("nodes_truenodeids", Value::Ints(yes)),
        ("nodes_falsenodeids", Value::Ints(no)),
        ("target_treeids", Value::Ints(&[0, 0, 0])),
        ("target_nodeids", Value::Ints(&[1, 3, 4])),
        ("target_ids", Value::Ints(&[0, 0, 0])),
        ("target_weights", Value::Floats(&[1.0, 2.0, 3.0])),
        ("n_targets", Value::Int(1)),
    ];
    let file = File::new().input("x", FLOAT, &["N", "2"]);
    file.node_of("ai.onnx.ml", "TreeEnsembleRegressor", &["x"], &["y"], &tree).output("y")
}

#[test]
fn a_tree_is_walked() {
    let rows = [0.0, 0.0, 1.0, 0.0, 1.0, -2.0, f32::NAN, f32::NAN];
    let outputs = run(forest().import().unwrap(), &[("x", &[4, 2], &rows)]).unwrap();
    assert_eq!(outputs[0].as_f32(), Some(&[1.0, 2.0, 3.0, 3.0][..]));
}

#[test]
fn hostile_trees_are_refused() {
    let (graph, weights) = identity(&forest().import().unwrap());
    let mut accepted = 0;
    for bit in 0..weights.len() * 8 {
        let mut flipped = weights.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        if let Ok(model) = Model::from_parts(&graph, &flipped, &Limits::default()) {
            run(model, &[("x", &[1, 2], &[0.25, 0.25])]).unwrap();
            accepted += 1;
        }
    }
    assert!(accepted > 0, "thresholds and weights are free");
    refused(&tree(&[0, 0, 3, 0, 0], &[2, 0, 4, 0, 0]), "its own ancestor");
    refused(&tree(&[1, 0, 3, 0, 0], &[2, 0, 1, 0, 0]), "two parents");
    refused(&tree(&[1, 0, 3, 0, 0], &[2, 0, 9, 0, 0]), "no child 9");
    refused(&tree(&[1, 0, 3, 0, 0], &[3, 0, 4, 0, 0]), "cannot be reached");
    refused(&tree(&[1, 0, 3, 0], &[2, 0, 4, 0, 0]), "5 entries");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn flipped_files_never_panic(flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), trees in any::<bool>()) {
        let mut file = if trees { forest().build() } else { small_network().build() };
        for (place, value) in flips {
            let at = place.index(file.len());
            file[at] = value;
        }
        let limits = Limits { macs_max: 1 << 24, peak_bytes_max: 1 << 24, ..Limits::default() };
        if let Ok(model) = import_onnx(&file, &NoExternalData, &limits) {
            let again = Model::from_parts(&model.graph_bytes(), &model.weights_bytes(), &limits).unwrap();
            prop_assert_eq!(identity(&again), identity(&model));
            let _ = run(model, &[("x", &[1, 3], &[1.0, 2.0, 3.0])]);
        }
    }

    #[test]
    fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(import_onnx(&bytes, &NoExternalData, &Limits::default()).is_err());
        prop_assert!(Model::from_parts(&bytes, &bytes, &Limits::default()).is_err());
    }
}
