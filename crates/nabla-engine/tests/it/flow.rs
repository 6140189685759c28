//! `If`, `Loop` and `Scan`: what they answer, in any engine and from their canonical bytes, what they cost, and what
//! they say when a body fails.

use std::sync::Arc;

use nabla_engine::{Engine, Kernels, Limits, Model, Runtime};
use nabla_types::tensor::{NamedTensor, Tensor, TensorData, outputs_digest};

use crate::files::{
    BOOL, FLOAT, File, INT64, floats, int_attribute, integers, ints_attribute, scalar, truth,
};

/// A model, its inputs, and the shape and elements of each output.
struct Case {
    name: &'static str,
    file: File,
    inputs: Vec<NamedTensor>,
    expected: Vec<(Vec<u64>, Vec<f32>)>,
}

fn case(name: &'static str, file: File, inputs: Vec<NamedTensor>, expected: &[(&[u64], &[f32])]) -> Case {
    let expected = expected.iter().map(|(shape, values)| (shape.to_vec(), values.to_vec())).collect();
    Case { name, file, inputs, expected }
}

/// Inputs of a body of Loop, and of its node: `i`, `c`.
fn head() -> File {
    File::new().input("i", INT64, &[]).input("c", BOOL, &[])
}

fn whole(name: &str, value: i64) -> NamedTensor {
    NamedTensor::new(name, Tensor::i64(&[], vec![value]).unwrap())
}

fn flag(name: &str, value: bool) -> NamedTensor {
    NamedTensor::new(name, Tensor::new(vec![], TensorData::Bool(vec![value])).unwrap())
}

/// Adds the captured `x` to `v`, and leaves each sum behind: as often as `m` says.
fn sums(m: &str) -> File {
    let body = head().input("v", FLOAT, &["2"]).node("add", "Add", &["v", "x"], &["w"], &[]);
    let body = [body.output("c", BOOL).output("w", FLOAT).output("w", FLOAT).subgraph("body")];
    let file = File::new().input("x", FLOAT, &["2"]).part(5, &scalar("three", 3)).part(5, &truth("go", true));
    let file = if m == "m" { file.input("m", INT64, &[]) } else { file };
    file.node("loop", "Loop", &[m, "go", "x"], &["y", "all"], &body).output("y", FLOAT).output("all", FLOAT)
}

/// Doubles `v` while it has fewer than eight elements.
fn grows() -> File {
    let body = head().input("v", FLOAT, &["n"]).part(5, &scalar("eight", 8));
    let body = body.node("", "Concat", &["v", "v"], &["w"], &[int_attribute("axis", 0)]);
    let body =
        body.node("", "Size", &["w"], &["size"], &[]).node("", "Less", &["size", "eight"], &["on"], &[]);
    let body = [body.output("on", BOOL).output("w", FLOAT).output("size", INT64).subgraph("body")];
    let file = File::new().input("x", FLOAT, &["2"]).part(5, &truth("go", true));
    let file = file.node("loop", "Loop", &["", "go", "x"], &["y", "sizes"], &body);
    let to = [int_attribute("to", 1)];
    file.node("", "Cast", &["sizes"], &["s"], &to).output("y", FLOAT).output("s", FLOAT)
}

/// `state + a - b` over columns of `a` from the right and rows of `b`; pieces go along the last axis, reversed.
fn sides() -> File {
    let body = File::new().input("s", FLOAT, &[]).input("p", FLOAT, &[]).input("q", FLOAT, &[]);
    let body = body.node("", "Add", &["s", "p"], &["t"], &[]).node("", "Sub", &["t", "q"], &["u"], &[]);
    let body = body.output("u", FLOAT).output("u", FLOAT).subgraph("body");
    let attributes = [
        body,
        int_attribute("num_scan_inputs", 2),
        ints_attribute("scan_input_axes", &[1, 0]),
        ints_attribute("scan_input_directions", &[1, 0]),
        ints_attribute("scan_output_axes", &[-1]),
        ints_attribute("scan_output_directions", &[1]),
    ];
    let file = File::new().input("s0", FLOAT, &["2"]).input("a", FLOAT, &["2", "3"]);
    let file = file.input("b", FLOAT, &["3", "2"]);
    let file = file.node("scan", "Scan", &["s0", "a", "b"], &["y", "all"], &attributes);
    file.output("y", FLOAT).output("all", FLOAT)
}

/// `-x`, or `x` beside itself: their shapes differ.
fn chooses() -> File {
    let one = File::new().node("", "Neg", &["x"], &["z"], &[]).output("z", FLOAT);
    let two =
        File::new().node("", "Concat", &["x", "x"], &["z"], &[int_attribute("axis", 0)]).output("z", FLOAT);
    let branches = [one.subgraph("then_branch"), two.subgraph("else_branch")];
    let file = File::new().input("x", FLOAT, &["2"]).input("b", BOOL, &[]);
    file.node("if", "If", &["b"], &["y"], &branches).output("y", FLOAT)
}

/// A Loop in a branch in a Scan, each of which takes names from all around, and names that stand outside, too.
fn nested() -> File {
    let inner = head().input("v", FLOAT, &[]).node("", "Mul", &["v", "row"], &["y"], &[]);
    let inner = inner.node("", "Add", &["y", "x"], &["z"], &[]).output("c", BOOL).output("z", FLOAT);
    let inner = [inner.subgraph("body")];
    let one = File::new().node("", "Loop", &["two", "", "row"], &["w"], &inner).output("w", FLOAT);
    let two = File::new().node("", "Neg", &["row"], &["y"], &[]).output("y", FLOAT);
    let branches = [one.subgraph("then_branch"), two.subgraph("else_branch")];
    let body = File::new().input("row", FLOAT, &[]).node(
        "",
        "ReduceSum",
        &["row"],
        &["sum"],
        &[int_attribute("keepdims", 0)],
    );
    let body = body.node("", "Greater", &["sum", "limit"], &["b"], &[]);
    let body = body.node("", "If", &["b"], &["y"], &branches).output("y", FLOAT).subgraph("body");
    let file =
        File::new().input("x", FLOAT, &["2"]).input("rows", FLOAT, &["n", "2"]).input("limit", FLOAT, &[]);
    let file = file.part(5, &scalar("two", 2));
    file.node("", "Scan", &["rows"], &["y"], &[body, int_attribute("num_scan_inputs", 1)]).output("y", FLOAT)
}

fn tensor(name: &str, shape: &[u64], values: &[f32]) -> NamedTensor {
    NamedTensor::new(name, Tensor::f32(shape, values.to_vec()).unwrap())
}

fn cases() -> Vec<Case> {
    let x = || tensor("x", &[2], &[1.0, -2.0]);
    let three: &[(&[u64], &[f32])] = &[(&[2], &[4.0, -8.0]), (&[3, 2], &[2.0, -4.0, 3.0, -6.0, 4.0, -8.0])];
    let none: &[(&[u64], &[f32])] = &[(&[2], &[1.0, -2.0]), (&[0, 2], &[])];
    let grown: Vec<f32> = [1.0, -2.0].repeat(4);
    vec![
        case("a constant count", sums("three"), vec![x()], three),
        case("a count that is given", sums("m"), vec![x(), whole("m", 3)], three),
        case("no pass", sums("m"), vec![x(), whole("m", 0)], none),
        case("less than no pass", sums("m"), vec![x(), whole("m", -5)], none),
        case("a value that grows", grows(), vec![x()], &[(&[8], &grown), (&[2], &[4.0, 8.0])]),
        case(
            "sides",
            sides(),
            vec![
                tensor("s0", &[2], &[100.0, 200.0]),
                tensor("a", &[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
                tensor("b", &[3, 2], &[10.0, 20.0, 30.0, 40.0, 50.0, 60.0]),
            ],
            // 100 + 3 - 10, 200 + 6 - 20; then + 2 - 30, + 5 - 40; then + 1 - 50, + 4 - 60.
            &[(&[2], &[16.0, 95.0]), (&[2, 3], &[16.0, 65.0, 93.0, 95.0, 151.0, 186.0])],
        ),
        case("the first branch", chooses(), vec![x(), flag("b", true)], &[(&[2], &[-1.0, 2.0])]),
        case("the other branch", chooses(), vec![x(), flag("b", false)], &[(&[4], &[1.0, -2.0, 1.0, -2.0])]),
        case(
            "a loop in a branch in a scan",
            nested(),
            vec![x(), tensor("rows", &[2, 2], &[3.0, 4.0, 1.0, 1.0]), tensor("limit", &[], &[5.0])],
            // (3 * 3 + 1) * 3 + 1, (4 * 4 - 2) * 4 - 2; and the row turned.
            &[(&[2, 2], &[31.0, 54.0, -1.0, -1.0])],
        ),
    ]
}

fn run(model: &Arc<Model>, engine: &Engine, inputs: &[NamedTensor]) -> Vec<NamedTensor> {
    engine.prepare(model.clone()).unwrap().run(inputs).unwrap()
}

#[test]
fn bodies_answer() {
    for case in cases() {
        let model = Arc::new(case.file.import(&Limits::default()).expect(case.name));
        let outputs = run(&model, &Engine::new(Kernels::Auto).unwrap(), &case.inputs);
        assert_eq!(outputs.len(), case.expected.len());
        for (output, (shape, values)) in outputs.iter().zip(&case.expected) {
            let got = (output.tensor.shape(), output.tensor.as_f32().unwrap());
            assert_eq!(got, (&shape[..], &values[..]), "{}", case.name);
        }
    }
}

#[test]
fn all_engines_give_the_same_bits_from_the_bytes_of_a_model() {
    for case in cases() {
        let model = Arc::new(case.file.import(&Limits::default()).expect(case.name));
        let (graph, weights) = (model.graph_bytes(), model.weights_bytes());
        let again = Model::from_parts(&graph, &weights, &Limits::default()).expect(case.name);
        assert_eq!((again.graph_bytes(), again.cost()), (graph, model.cost()), "{}", case.name);
        let first = outputs_digest(&run(&model, &Engine::new(Kernels::Scalar).unwrap(), &case.inputs));
        let again = Arc::new(again);
        for kernels in [Kernels::Scalar, Kernels::Avx2, Kernels::Avx512, Kernels::Neon] {
            for threads in 1..=3 {
                let Ok(engine) = Engine::with_threads(kernels, threads) else { continue };
                let digest = outputs_digest(&run(&again, &engine, &case.inputs));
                assert_eq!(digest, first, "{} with {kernels} on {threads}", case.name);
            }
        }
    }
}

#[test]
fn foreign_bodies_are_refused_or_other_models() {
    let limits = Limits { macs_max: 1 << 26, peak_bytes_max: 1 << 26, ..Limits::default() };
    for case in cases() {
        let model = case.file.import(&Limits::default()).expect(case.name);
        let (graph, weights) = (model.graph_bytes(), model.weights_bytes());
        for at in 0..graph.len() {
            for bit in 0..8 {
                let mut flipped = graph.clone();
                flipped[at] ^= 1 << bit;
                let Ok(other) = Model::from_parts(&flipped, &weights, &limits) else { continue };
                assert_eq!(other.graph_bytes(), flipped, "{}: byte {at}", case.name);
                // Whatever it is now, it answers or refuses.
                if let Ok(session) = Engine::new(Kernels::Auto).unwrap().prepare(other.into()) {
                    let _ = session.run(&case.inputs);
                }
            }
        }
    }
}

/// The cost of a constant count is known before the run.
#[test]
fn passes_are_paid_before_the_run_where_their_number_is_known() {
    let fixed = sums("three").import(&Limits::default()).unwrap().cost();
    assert!(fixed.is_static && fixed.macs > 3 << 14, "{fixed:?}");
    let dynamic = sums("m").import(&Limits::default()).unwrap().cost();
    assert!(!dynamic.is_static);
    let small = Limits { macs_max: 30_000, ..Limits::default() };
    let error = sums("three").import(&small).unwrap_err().to_string();
    assert!(error.contains("(\"loop\", operator Loop): multiply-adds of all passes"), "{error}");
    let late = Limits { macs_max: 1 << 20, ..Limits::default() };
    let session =
        Engine::new(Kernels::Auto).unwrap().prepare(sums("m").import(&late).unwrap().into()).unwrap();
    let run = |count| session.run(&[floats("x", &[2]), whole("m", count)]);
    assert!(run(3).is_ok());
    let error = run(1_000_000).unwrap_err().to_string();
    assert!(error.contains("(\"loop\", operator Loop): multiply-adds of the run so far"), "{error}");
    // A run that was refused leaves the session as it was.
    assert!(run(3).is_ok());
}

#[test]
fn a_fault_in_a_body_names_both_nodes() {
    let body = head().input("v", INT64, &["1"]).node("divide", "Div", &["v", "d"], &["w"], &[]);
    let body = [body.output("c", BOOL).output("w", INT64).subgraph("body")];
    let file = File::new().input("d", INT64, &["1"]).part(5, &scalar("three", 3));
    let file = file.node("loop", "Loop", &["three", "", "d"], &["y"], &body).output("y", INT64);
    let limits = Limits::default();
    assert_eq!(file.run(&limits, &[integers("d", &[2])]).unwrap()[0].tensor.as_i64(), Some(&[0][..]));
    let error = file.run(&limits, &[integers("d", &[0])]).unwrap_err().to_string();
    let expect = "(\"loop\", operator Loop): in its body, node 0 (\"divide\", operator Div): ";
    assert!(error.contains(expect), "{error}");
}

/// A state of Scan keeps its shape.
#[test]
fn a_state_that_grows_is_refused() {
    let body = File::new().input("s", FLOAT, &["n"]).input("x_", FLOAT, &[]);
    let body = body.node("", "Concat", &["s", "s"], &["t"], &[int_attribute("axis", 0)]);
    let attributes = [body.output("t", FLOAT).subgraph("body"), int_attribute("num_scan_inputs", 1)];
    let file = File::new().input("x", FLOAT, &["4"]);
    let file = file.node("scan", "Scan", &["x", "x"], &["y"], &attributes).output("y", FLOAT);
    let error = file.import(&Limits::default()).unwrap_err().to_string();
    assert!(
        error.contains("operator Scan): state of Scan after a pass: expected FP32 [4], as before"),
        "{error}"
    );
}
