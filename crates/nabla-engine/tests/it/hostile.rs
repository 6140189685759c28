//! Files and inputs that claim, or would unfold to, far more than there is; and graphs that contradict
//! themselves. Each is refused by an error that names what is wrong, in bounded memory and time.
//!
//! Each is thrown in a process of its own, whose memory and seconds of CPU time the shell limits: an allocation
//! that fails, or a second too many, ends the process and with it the test.
#![cfg(target_os = "linux")]

use std::process::Command;

use nabla_engine::{Engine, Error, Folder, Kernels, Limits, Runtime, import_onnx};
use nabla_types::tensor::NamedTensor;

use crate::files::{
    BOOL, FLOAT, File, INT64, bytes, floats, int, int_attribute, integers, node, scalar, text, truth, varint,
};

/// Address space of the process that is thrown at.
const KIB_MAX: u64 = 1 << 20;
const CPU_SECONDS_MAX: u64 = 10;
/// Longest text of an error: the one that lists all operators is the longest.
const TEXT_BYTES_MAX: usize = 4096;
pub(crate) const BOMB: &str = "NABLA_TEST_BOMB";

struct Bomb {
    name: &'static str,
    throw: fn(&Limits) -> Result<Vec<NamedTensor>, Error>,
    /// What the error says: one of these for each set of limits.
    says: &'static [&'static str],
}

const fn bomb(
    name: &'static str,
    throw: fn(&Limits) -> Result<Vec<NamedTensor>, Error>,
    says: &'static [&'static str],
) -> Bomb {
    Bomb { name, throw, says }
}

const NODE: &str = "(\"bomb\", operator ";

/// Values that a file asks for outright.
const LARGE: [Bomb; 11] = [
    bomb("Tile", |l| constant(l, "Tile", &[1 << 60]), &["Tile): "]),
    bomb("Expand", |l| constant(l, "Expand", &[1 << 30, 1 << 30]), &["Expand): "]),
    bomb("Expand that overflows", |l| constant(l, "Expand", &[1 << 62, 1 << 62, 1 << 62]), &["Expand): "]),
    bomb("Pad", |l| constant(l, "Pad", &[1 << 60, 0]), &["Pad): "]),
    bomb("Reshape", |l| constant(l, "Reshape", &[1 << 60]), &["Reshape): "]),
    bomb("ConstantOfShape", |l| of_shape(l, &[1 << 30, 1 << 30]), &["ConstantOfShape): "]),
    bomb("ConstantOfShape of a negative size", |l| of_shape(l, &[-1, i64::MIN]), &["ConstantOfShape): "]),
    bomb("Range", |l| range(l, 1 << 62), &["Range): "]),
    bomb("OneHot", |l| one_hot(l, 1 << 40), &["OneHot): "]),
    bomb("Tile forty times", doubling, &["Tile): "]),
    bomb(
        "an input of an exabyte",
        |l| run(l, &identity(&["1152921504606846976"])),
        &["tensor \"x\": size of a value"],
    ),
];

/// What the file itself is made of.
const FILES: [Bomb; 15] = [
    bomb("a node that takes its own output", own_output, &["(a cycle)"]),
    bomb("a cycle", cycle, &["(a cycle)"]),
    bomb(
        "a constant of 2^40 without data",
        |l| weight(l, &[int(1, 1 << 40), int(2, FLOAT)].concat()),
        &["bytes of constants", "tensor \"w\""],
    ),
    bomb(
        "a tensor with raw and typed data",
        both_data,
        &["tensor \"w\": constant: its value is given in more than one place"],
    ),
    bomb("external data outside the folder", outside, &["external data \"../../etc/passwd\" is refused"]),
    bomb(
        "an operator set in two versions",
        |l| run(l, &identity(&["1"]).extra(&bytes(8, &int(2, 16)))),
        &["imported in two versions"],
    ),
    bomb(
        "as many empty tensors as the file may hold",
        |l| run(l, &empty(5)),
        &["tensors of the graph", "nodes, names, tensors"],
    ),
    bomb("10^5 nodes", chain, &["nodes of the graph"]),
    bomb(
        "inputs with a size of their own each",
        many_inputs,
        &["inputs of the graph", "nodes, names, tensors"],
    ),
    bomb("a node with 10^6 inputs", wide_node, &["tensors of the graph", "nodes, names, tensors"]),
    bomb("functions that double their calls", |l| functions(l, 12, 16), &["nodes, with functions inlined"]),
    bomb(
        "functions that call each other 40 deep",
        |l| functions(l, 40, 1),
        &["functions and branches inside each other"],
    ),
    bomb("a function that calls itself", calls_itself, &["functions and branches inside each other"]),
    bomb("subgraphs 1000 deep", nested, &["graphs inside each other"]),
    bomb("a branch that takes an unknown name", branch, &["nobody makes a value that is needed: \"ghost\""]),
];

/// What only the run knows.
const RUNS: [Bomb; 7] = [
    bomb("late Reshape", |l| late(l, "Reshape", &[1 << 30, 1 << 30]), &["Reshape): "]),
    bomb("late Tile", |l| late(l, "Tile", &[1 << 30, 1 << 30]), &["Tile): "]),
    bomb("late Tile by the least number", |l| late(l, "Tile", &[i64::MIN, -1]), &["Tile): "]),
    bomb("late Expand", |l| late(l, "Expand", &[1 << 60, 1 << 60]), &["Expand): "]),
    bomb("late Pad", |l| late(l, "Pad", &[1 << 61, 1 << 61]), &["Pad): "]),
    bomb("late Tiles that add up", late_tiles, &["Tile): bytes of the run so far", "Tile): size of a value"]),
    bomb("late Range", late_range, &["Range): "]),
];

/// Bodies: passes without end, passes that grow, and bodies that do not fit their node.
const BODIES: [Bomb; 16] = [
    bomb(
        "a Loop for ever",
        |l| ever(l, &["", "go"]),
        &["Loop): Loop: neither a count nor a condition ends it"],
    ),
    bomb("a Loop of 2^63 passes", |l| ever(l, &["many", "go"]), &["Loop): size of a value"]),
    bomb("a Loop whose condition stays", stays, &["Loop): multiply-adds of the run so far"]),
    bomb("a Loop that doubles a value", |l| doubles(l, true), &GROWS),
    bomb("a Loop that doubles a value for a count", |l| doubles(l, false), &GROWS),
    bomb("a Loop that piles up", piles_up, &["Loop): multiply-adds of the run", "Loop): bytes of the run"]),
    bomb("Loops inside each other, 10^5 passes each", towers, &["Loop): in its body, node 0"]),
    bomb("a body that takes an unknown name", ghost, &["nobody makes a value that is needed: \"ghost\""]),
    bomb("a body that takes its node's output", own_body, &["(a cycle)"]),
    bomb("bodies 12 deep", deep, &["bodies inside each other"]),
    bomb("a Loop without a body", |l| bodiless(l, "Loop"), &["Loop): attribute \"body\""]),
    bomb("a Scan without a body", |l| bodiless(l, "Scan"), &["Scan): attribute \"body\""]),
    bomb("an If without branches", |l| bodiless(l, "If"), &["If): attribute \"else_branch\""]),
    bomb("a Scan of no inputs", |l| scan(l, &["x"], 0), &["Scan): attribute \"num_scan_inputs\""]),
    bomb("a Scan of 2^62 inputs", |l| scan(l, &["x"], 1 << 62), &["Scan): attribute \"num_scan_inputs\""]),
    bomb("a Scan of lengths 4 and 5", |l| scan(l, &["x", "z"], 2), &["Scan): length of a scanned input"]),
];

const GROWS: [&str; 2] = ["Loop): in its body, node 0", "Loop): bytes of the run so far"];

fn bombs() -> impl Iterator<Item = &'static Bomb> {
    LARGE.iter().chain(&FILES).chain(&RUNS).chain(&BODIES)
}

fn run(limits: &Limits, file: &File) -> Result<Vec<NamedTensor>, Error> {
    file.run(limits, &[])
}

fn identity(dims: &[&str]) -> File {
    File::new().input("x", FLOAT, dims).node("bomb", "Relu", &["x"], &["y"], &[]).output("y", FLOAT)
}

/// An operator on one number and this constant.
fn constant(limits: &Limits, operator: &str, values: &[i64]) -> Result<Vec<NamedTensor>, Error> {
    let file = File::new().input("x", FLOAT, &["1"]).integers("c", values);
    run(limits, &file.node("bomb", operator, &["x", "c"], &["y"], &[]).output("y", FLOAT))
}

fn of_shape(limits: &Limits, shape: &[i64]) -> Result<Vec<NamedTensor>, Error> {
    let file = File::new().integers("c", shape).node("bomb", "ConstantOfShape", &["c"], &["y"], &[]);
    run(limits, &file.output("y", FLOAT))
}

fn range(limits: &Limits, end: i64) -> Result<Vec<NamedTensor>, Error> {
    let file = File::new().part(5, &scalar("0", 0)).part(5, &scalar("1", 1)).part(5, &scalar("end", end));
    run(limits, &file.node("bomb", "Range", &["0", "end", "1"], &["y"], &[]).output("y", INT64))
}

fn one_hot(limits: &Limits, depth: i64) -> Result<Vec<NamedTensor>, Error> {
    let file = File::new().input("x", INT64, &["1"]).part(5, &scalar("depth", depth)).integers("v", &[0, 1]);
    run(limits, &file.node("bomb", "OneHot", &["x", "depth", "v"], &["y"], &[]).output("y", INT64))
}

/// Each node doubles a value; no single step looks large.
fn doubling(limits: &Limits) -> Result<Vec<NamedTensor>, Error> {
    let mut file = File::new().input("v0", FLOAT, &["1"]).integers("two", &[2]);
    for step in 0..40 {
        file = file.node("bomb", "Tile", &[&format!("v{step}"), "two"], &[&format!("v{}", step + 1)], &[]);
    }
    run(limits, &file.output("v40", FLOAT))
}

fn own_output(limits: &Limits) -> Result<Vec<NamedTensor>, Error> {
    let file = File::new().input("x", FLOAT, &["1"]);
    run(limits, &file.node("bomb", "Add", &["x", "y"], &["y"], &[]).output("y", FLOAT))
}

fn cycle(limits: &Limits) -> Result<Vec<NamedTensor>, Error> {
    let mut file = File::new().input("x", FLOAT, &["1"]);
    for step in 0..1000 {
        let (next, this) = (format!("v{}", (step + 1) % 1000), format!("v{step}"));
        file = file.node("bomb", "Add", &["x", &next], &[&this], &[]);
    }
    run(limits, &file.output("v0", FLOAT))
}

/// A graph whose one node takes this tensor.
fn weight(limits: &Limits, tensor: &[u8]) -> Result<Vec<NamedTensor>, Error> {
    let file = File::new().part(5, &[tensor, &text(8, "w")].concat());
    run(limits, &file.node("bomb", "Relu", &["w"], &["y"], &[]).output("y", FLOAT))
}

fn both_data(limits: &Limits) -> Result<Vec<NamedTensor>, Error> {
    let floats = bytes(4, &1.0_f32.to_le_bytes());
    weight(limits, &[int(1, 1), int(2, FLOAT), floats, bytes(9, &2.0_f32.to_le_bytes())].concat())
}

fn outside(limits: &Limits) -> Result<Vec<NamedTensor>, Error> {
    let place = bytes(13, &[text(1, "location"), text(2, "../../etc/passwd")].concat());
    let tensor = [int(1, 1), int(2, FLOAT), text(8, "w"), int(14, 1), place].concat();
    let file = File::new().part(5, &tensor).output("w", FLOAT);
    let folder = Folder::new(env!("CARGO_MANIFEST_DIR"))?;
    import_onnx(&file.build(), &folder, limits).map(|_| Vec::new())
}

/// Parts of the graph with nothing in them.
fn empty(number: u64) -> File {
    File::new().output("y", FLOAT).append(&bytes(number, &[]).repeat(5 << 20))
}

/// A chain of cheap nodes.
fn chain(limits: &Limits) -> Result<Vec<NamedTensor>, Error> {
    let mut file = File::new().input("v0", FLOAT, &["1"]);
    for step in 0..100_000 {
        file = file.node("bomb", "Neg", &[&format!("v{step}")], &[&format!("v{}", step + 1)], &[]);
    }
    run(limits, &file.output("v100000", FLOAT))
}

/// Names of sizes are few: comparing each with all others would take hours here.
fn many_inputs(limits: &Limits) -> Result<Vec<NamedTensor>, Error> {
    let mut file = File::new();
    for index in 0..200_000 {
        let dims: Vec<String> = (0..4).map(|dim| format!("size{index}_{dim}")).collect();
        let dims: Vec<&str> = dims.iter().map(String::as_str).collect();
        file = file.input(&format!("x{index}"), FLOAT, &dims);
    }
    run(limits, &file.output("x0", FLOAT))
}

fn wide_node(limits: &Limits) -> Result<Vec<NamedTensor>, Error> {
    let inputs = vec!["x"; 1 << 20];
    let file = File::new().input("x", FLOAT, &["1"]);
    run(limits, &file.node("bomb", "Max", &inputs, &["y"], &[]).output("y", FLOAT))
}

/// A function of one input and output.
fn function(name: &str, nodes: &[Vec<u8>]) -> Vec<u8> {
    let nodes = nodes.concat();
    let opsets = [bytes(9, &int(2, 17)), bytes(9, &[text(1, "own"), int(2, 1)].concat())].concat();
    bytes(25, &[text(1, name), text(10, "own"), text(4, "a"), text(5, "out"), nodes, opsets].concat())
}

/// Functions that call the next one, so often and so deep.
fn functions(limits: &Limits, depth: usize, calls: usize) -> Result<Vec<NamedTensor>, Error> {
    let own = bytes(8, &[text(1, "own"), int(2, 1)].concat());
    let mut file = File::new().input("x", FLOAT, &["1"]).output("y", FLOAT).extra(&own);
    file = file.part(1, &node("bomb", "F0", "own", &["x"], &["y"], &[]));
    for level in 0..depth {
        let (mut nodes, mut last) = (Vec::new(), "a".to_owned());
        for call in 0..calls {
            let next = if call + 1 == calls { "out".to_owned() } else { format!("v{call}") };
            let callee = format!("F{}", level + 1);
            nodes.push(bytes(7, &node("bomb", &callee, "own", &[&last], &[&next], &[])));
            last = next;
        }
        file = file.extra(&function(&format!("F{level}"), &nodes));
    }
    let last = [bytes(7, &node("bomb", "Neg", "", &["a"], &["out"], &[]))];
    run(limits, &file.extra(&function(&format!("F{depth}"), &last)))
}

fn calls_itself(limits: &Limits) -> Result<Vec<NamedTensor>, Error> {
    let own = bytes(8, &[text(1, "own"), int(2, 1)].concat());
    let file = File::new().input("x", FLOAT, &["1"]).output("y", FLOAT).extra(&own);
    let file = file.part(1, &node("bomb", "F", "own", &["x"], &["y"], &[]));
    let call = [bytes(7, &node("bomb", "F", "own", &["a"], &["out"], &[]))];
    run(limits, &file.extra(&function("F", &call)))
}

/// A branch in a branch in a branch.
fn nested(limits: &Limits) -> Result<Vec<NamedTensor>, Error> {
    let truth = [int(2, BOOL), text(8, "c"), bytes(9, &[1])].concat();
    let mut inner = File::new().node("bomb", "Neg", &["x"], &["z"], &[]).output("z", FLOAT);
    for _ in 0..1000 {
        let branches = [inner.subgraph("then_branch")];
        inner = File::new().node("bomb", "If", &["c"], &["z"], &branches).output("z", FLOAT);
    }
    let branches = [inner.subgraph("then_branch"), identity(&["1"]).subgraph("else_branch")];
    let file = File::new().input("x", FLOAT, &["1"]).part(5, &truth);
    run(limits, &file.node("bomb", "If", &["c"], &["y"], &branches).output("y", FLOAT))
}

fn branch(limits: &Limits) -> Result<Vec<NamedTensor>, Error> {
    let truth = [int(2, BOOL), text(8, "c"), bytes(9, &[1])].concat();
    let inner = File::new().node("inner", "Neg", &["ghost"], &["z"], &[]).output("z", FLOAT);
    let branches = [inner.subgraph("then_branch"), inner.subgraph("else_branch")];
    let file = File::new().input("x", FLOAT, &["1"]).part(5, &truth);
    run(limits, &file.node("bomb", "If", &["c"], &["y"], &branches).output("y", FLOAT))
}

/// An operator whose constant is an input of the run.
fn late(limits: &Limits, operator: &str, values: &[i64]) -> Result<Vec<NamedTensor>, Error> {
    let file = File::new().input("x", FLOAT, &["1", "4"]).input("c", INT64, &["2"]);
    // Pad takes begins and ends of both dimensions.
    let second = if operator == "Pad" { "twice" } else { "c" };
    let file = file.node("before", "Concat", &["c", "c"], &["twice"], &[int_attribute("axis", 0)]);
    let file = file.node("bomb", operator, &["x", second], &["y"], &[]).output("y", FLOAT);
    let session =
        Engine::new(Kernels::Auto)?.prepare(file.import(limits).expect("harmless so far").into())?;
    session.run(&[floats("x", &[1, 4]), integers("c", values)])
}

/// Each value is allowed; all of them, which live at the same time, are not.
fn late_tiles(limits: &Limits) -> Result<Vec<NamedTensor>, Error> {
    let mut file = File::new().input("x", FLOAT, &["1"]).input("c", INT64, &["1"]);
    for step in 0..20 {
        let name = format!("v{step}");
        file = file.node("bomb", "Tile", &["x", "c"], &[&name], &[]).output(&name, FLOAT);
    }
    let limits = Limits { peak_bytes_max: limits.peak_bytes_max.min(1 << 28), ..limits.clone() };
    let session =
        Engine::new(Kernels::Auto)?.prepare(file.import(&limits).expect("harmless so far").into())?;
    session.run(&[floats("x", &[1]), integers("c", &[1 << 24])])
}

fn late_range(limits: &Limits) -> Result<Vec<NamedTensor>, Error> {
    let file = File::new().input("end", INT64, &[]).part(5, &scalar("0", 0)).part(5, &scalar("1", 1));
    let file = file.node("bomb", "Range", &["0", "end", "1"], &["y"], &[]).output("y", INT64);
    let session =
        Engine::new(Kernels::Auto)?.prepare(file.import(limits).expect("harmless so far").into())?;
    let end = nabla_types::tensor::Tensor::i64(&[], vec![1 << 62]).unwrap();
    session.run(&[NamedTensor::new("end", end)])
}

/// Inputs of a body of Loop.
fn head() -> File {
    File::new().input("i", INT64, &[]).input("c", BOOL, &[])
}

/// Constants `go` (true) and `many` (2^63 - 1).
fn constants() -> File {
    File::new().part(5, &truth("go", true)).part(5, &scalar("many", i64::MAX))
}

/// As few passes as a test has time for.
fn patience(limits: &Limits) -> Limits {
    Limits { macs_max: limits.macs_max.min(1 << 33), ..limits.clone() }
}

/// A body that carries nothing and goes on.
fn ever(limits: &Limits, inputs: &[&str]) -> Result<Vec<NamedTensor>, Error> {
    let body = head().output("c", BOOL).output("i", INT64).subgraph("body");
    run(limits, &constants().node("bomb", "Loop", inputs, &["y"], &[body]).output("y", INT64))
}

/// The condition is computed, and always true.
fn stays(limits: &Limits) -> Result<Vec<NamedTensor>, Error> {
    let body = head().node("", "Equal", &["i", "i"], &["again"], &[]).output("again", BOOL);
    let body = body.input("v", FLOAT, &[]).output("v", FLOAT).subgraph("body");
    let file = constants().input("x", FLOAT, &["1"]).node("bomb", "Loop", &["", "go", "x"], &["y"], &[body]);
    file.output("y", FLOAT).run(&patience(limits), &[floats("x", &[1])])
}

/// Each pass doubles the value.
fn doubles(limits: &Limits, endless: bool) -> Result<Vec<NamedTensor>, Error> {
    let body = head().input("v", FLOAT, &["n"]);
    let body = body.node("grow", "Concat", &["v", "v"], &["w"], &[int_attribute("axis", 0)]);
    let body = body.node("", "Equal", &["i", "i"], &["again"], &[]);
    let goes_on = if endless { "again" } else { "c" };
    let body = body.output(goes_on, BOOL).output("w", FLOAT).subgraph("body");
    let file = constants().input("x", FLOAT, &["1"]);
    let file = file.node("bomb", "Loop", &["many", "go", "x"], &["y"], &[body]).output("y", FLOAT);
    let limits = Limits { peak_bytes_max: limits.peak_bytes_max.min(1 << 28), ..patience(limits) };
    file.run(&limits, &[floats("x", &[1])])
}

/// Each pass leaves a page behind.
fn piles_up(limits: &Limits) -> Result<Vec<NamedTensor>, Error> {
    let body = head().node("", "Equal", &["i", "i"], &["again"], &[]).output("again", BOOL);
    let body = body.node("", "Neg", &["x"], &["page"], &[]).output("page", FLOAT).subgraph("body");
    let file = constants().input("x", FLOAT, &["1024"]);
    let file = file.node("bomb", "Loop", &["many", "go"], &["y"], &[body]).output("y", FLOAT);
    let limits = Limits { peak_bytes_max: limits.peak_bytes_max.min(1 << 24), ..patience(limits) };
    file.run(&limits, &[floats("x", &[1024])])
}

fn towers(limits: &Limits) -> Result<Vec<NamedTensor>, Error> {
    let mut body = head().input("v", FLOAT, &[]).node("", "Neg", &["v"], &["w"], &[]);
    for _ in 0..4 {
        let inner = [body.output("c", BOOL).output("w", FLOAT).subgraph("body")];
        body = head().input("v", FLOAT, &[]).node("bomb", "Loop", &["m", "go", "v"], &["w"], &inner);
    }
    let inner = [body.output("c", BOOL).output("w", FLOAT).subgraph("body")];
    let file = constants().part(5, &scalar("m", 100_000)).input("x", FLOAT, &["1"]);
    run(limits, &file.node("bomb", "Loop", &["m", "go", "x"], &["y"], &inner).output("y", FLOAT))
}

fn ghost(limits: &Limits) -> Result<Vec<NamedTensor>, Error> {
    let body = head().node("", "Neg", &["ghost"], &["z"], &[]).output("c", BOOL).output("z", FLOAT);
    let body = [body.subgraph("body")];
    run(limits, &constants().node("bomb", "Loop", &["many", "go"], &["y"], &body).output("y", FLOAT))
}

fn own_body(limits: &Limits) -> Result<Vec<NamedTensor>, Error> {
    let body = head().node("", "Neg", &["y"], &["z"], &[]).output("c", BOOL).output("z", FLOAT);
    let body = [body.subgraph("body")];
    run(limits, &constants().node("bomb", "Loop", &["many", "go"], &["y"], &body).output("y", FLOAT))
}

/// One body deeper than is read, in a file that is not too deep.
fn deep(limits: &Limits) -> Result<Vec<NamedTensor>, Error> {
    let mut body = head().node("", "Neg", &["x"], &["w"], &[]);
    for _ in 0..11 {
        let inner = [body.output("c", BOOL).output("w", FLOAT).subgraph("body")];
        body = head().node("bomb", "Loop", &["m", "go"], &["w"], &inner);
    }
    let inner = [body.output("c", BOOL).output("w", FLOAT).subgraph("body")];
    let file = constants().part(5, &scalar("m", 1)).input("x", FLOAT, &["1"]);
    let limits = Limits { nesting_max: 1000, ..limits.clone() };
    run(&limits, &file.node("bomb", "Loop", &["m", "go"], &["y"], &inner).output("y", FLOAT))
}

fn bodiless(limits: &Limits, operator: &str) -> Result<Vec<NamedTensor>, Error> {
    let file = File::new().input("x", BOOL, &["1"]);
    run(limits, &file.node("bomb", operator, &["x"], &["y"], &[]).output("y", BOOL))
}

fn scan(limits: &Limits, inputs: &[&str], scanned: i64) -> Result<Vec<NamedTensor>, Error> {
    let body = inputs.iter().fold(File::new(), |body, name| body.input(&format!("{name}_"), FLOAT, &[]));
    let body = body.node("", "Neg", &["x_"], &["w"], &[]).output("w", FLOAT).subgraph("body");
    let file = File::new().input("x", FLOAT, &["4"]).input("z", FLOAT, &["5"]);
    let attributes = [body, int_attribute("num_scan_inputs", scanned)];
    run(limits, &file.node("bomb", "Scan", inputs, &["y"], &attributes).output("y", FLOAT))
}

/// A file, by its name.
type Odd = (&'static str, fn() -> File);

/// Graphs that are odd but allowed: they must not take time that grows with the square of their size.
const ODD: [Odd; 3] = [
    ("a chain of 60 000 nodes", || {
        let step = |file: File, step: usize| {
            file.node("", "Neg", &[&format!("v{step}")], &[&format!("v{}", step + 1)], &[])
        };
        (0..60_000).fold(File::new().input("v0", FLOAT, &["N"]), step).output("v60000", FLOAT)
    }),
    ("a value that 60 000 nodes take", || {
        let step = |file: File, step: usize| file.node("", "Neg", &["v0"], &[&format!("v{}", step + 1)], &[]);
        let names: Vec<String> = (0..60_000).map(|step| format!("v{}", step + 1)).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let file = (0..60_000).fold(File::new().input("v0", FLOAT, &["N"]), step);
        file.node("", "Concat", &names, &["y"], &[int_attribute("axis", 0)]).output("y", FLOAT)
    }),
    ("a node of 200 000 inputs", || {
        let file = File::new().input("x", FLOAT, &["N"]);
        file.node("", "Max", &vec!["x"; 200_000], &["y"], &[]).output("y", FLOAT)
    }),
];

/// The default, and what a small machine may give.
fn limits() -> [Limits; 2] {
    let small = Limits {
        nodes_max: 4096,
        tensors_max: 1 << 14,
        elements_max: 1 << 20,
        macs_max: 1 << 24,
        peak_bytes_max: 1 << 22,
        weight_bytes_max: 1 << 22,
        ..Limits::default()
    };
    [Limits::default(), small]
}

fn check(bomb: &Bomb) -> Result<(), String> {
    for limits in limits() {
        let text = match (bomb.throw)(&limits) {
            Ok(_) => return Err("it was accepted".to_owned()),
            Err(error) => error.to_string(),
        };
        let named = bomb.says.iter().any(|says| {
            text.contains(says) && (!says.contains("): ") || text.contains(&format!("{NODE}{says}")))
        });
        if !named || text.len() > TEXT_BYTES_MAX {
            return Err(format!("expected {:?} of at most {TEXT_BYTES_MAX} bytes, got {text:?}", bomb.says));
        }
    }
    Ok(())
}

/// The child: throws the bomb that the environment names.
#[test]
#[expect(clippy::disallowed_methods, reason = "the parent says by the environment what to do")]
fn victim() {
    let Ok(name) = std::env::var(BOMB) else { return };
    if let Some((_, odd)) = ODD.iter().find(|(odd, _)| *odd == name) {
        let model = std::sync::Arc::new(odd().import(&Limits::default()).expect(&name));
        let input = floats(&model.inputs()[0].name, &[2]);
        let session = Engine::new(Kernels::Auto).unwrap().prepare(model).expect(&name);
        session.run(&[input]).expect(&name);
        return;
    }
    let bomb = bombs().find(|bomb| bomb.name == name).expect("a bomb of this name");
    assert_eq!(check(bomb), Ok(()), "{name}");
}

/// This test again, as the child that does one thing within the limits.
pub(crate) fn child(test: &str, bomb: &str) -> std::process::Output {
    let limits = format!("ulimit -v {KIB_MAX} && ulimit -t {CPU_SECONDS_MAX} && exec \"$0\" \"$@\"");
    Command::new("sh")
        .args(["-c", &limits])
        .arg(std::env::current_exe().expect("this test"))
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(BOMB, bomb)
        .output()
        .expect("this test runs again")
}

#[test]
fn bombs_are_refused_by_name_in_bounded_memory_and_time() {
    let mut failures = Vec::new();
    let names: Vec<&str> = bombs().map(|bomb| bomb.name).chain(ODD.map(|(name, _)| name)).collect();
    for name in &names {
        let output = child("hostile::victim", name);
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let said: String = said.chars().take(600).collect();
            failures.push(format!("{name}: {}\n{said}", output.status));
        }
    }
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), names.len(), failures.join("\n"));
}

/// The limits are limits: what takes more memory than they allow dies.
#[test]
#[expect(clippy::disallowed_methods, reason = "the parent says by the environment what to do")]
fn the_limits_hold() {
    const HOG: &str = "hog";
    if std::env::var(BOMB).is_ok_and(|name| name == HOG) {
        let length = usize::try_from(KIB_MAX << 10).expect("64 bits");
        std::hint::black_box(vec![1_u8; length]);
        return;
    }
    assert!(!child("hostile::the_limits_hold", HOG).status.success(), "{KIB_MAX} KiB and more were given");
}

/// Lengths that point behind the end, at every level.
#[test]
fn lengths_that_lie_are_refused() {
    for number in [1, 5, 11, 12] {
        let claim = [varint(number << 3 | 2), varint(1_000_000_000_000)].concat();
        for file in
            [[int(1, 8), bytes(7, &claim)].concat(), [int(1, 8), bytes(7, &bytes(number, &claim))].concat()]
        {
            let error = import_onnx(&file, &nabla_engine::NoExternalData, &Limits::default()).unwrap_err();
            assert!(error.to_string().contains("not a valid ONNX file"), "{error}");
        }
    }
}
