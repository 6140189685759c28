//! `nabla model`: what it says of files that can be served, of those that cannot, and of bad input.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::{
    bad_input::{Case, case, check},
    onnx::Onnx,
    program::{Ran, Sandbox},
};

/// `y = exp(relu(x))` over a batch of sequences.
fn open() -> Onnx {
    let file = Onnx::default().named_input("x", &["batch", "length", "2"]).output("y");
    file.node("Relu", &["x"], "positive").node("Exp", &["positive"], "y")
}

/// `y = relu(x)` of one row of four.
fn fixed() -> Onnx {
    Onnx::default().input("x", &[1, 4]).output("y").node("Relu", &["x"], "y")
}

fn inputs(shape: &Value, datatype: &str, data: &Value) -> String {
    json!({"inputs": [{"name": "x", "shape": shape, "datatype": datatype, "data": data}]}).to_string()
}

/// Models and inputs that the tests share.
pub(crate) fn write_files(sandbox: &Sandbox) {
    let good = fixed().build();
    sandbox.write("open.onnx", open().build());
    sandbox.write("fixed.onnx", &good);
    sandbox.write("cut.onnx", &good[..good.len() / 2]);
    sandbox.write("text.onnx", "this is no model\n");
    sandbox.write("empty.onnx", "");
    let strange = Onnx::default()
        .input("x", &[1, 4])
        .output("y")
        .node("NoSuchThing", &["x"], "a")
        .node("Relu", &["a"], "b")
        .node("NorThis", &["b"], "c")
        .node("NoSuchThing", &["c"], "y");
    sandbox.write("strange.onnx", strange.build());
    let outside = Onnx::default().input("x", &[1, 4]).output("y").external("y", &[4], "../secret.bin");
    sandbox.write("outside.onnx", outside.build());
    sandbox.write("row.json", inputs(&json!([1, 4]), "FP32", &json!([-1.0, 0.5, "NaN", "Infinity"])));
    sandbox.write(
        "open.json",
        inputs(&json!([2, 3, 2]), "FP32", &json!([0, 1, -1, 2, 0, 0, 1, 1, 0.5, 3, -2, 1])),
    );
}

#[test]
fn a_model_is_described() {
    let sandbox = Sandbox::new();
    write_files(&sandbox);
    let report = sandbox.json(&["model", "check", "open.onnx", "--dim", "length=7"]);
    assert_eq!((&report["ok"], &report["format"]), (&json!(true), &json!("ONNX")), "{report}");
    assert_eq!(report["opsets"], json!([{"domain": "ai.onnx", "version": 17}]));
    let counts = json!([
        {"operator": "Exp", "domain": "ai.onnx", "count": 1},
        {"operator": "Relu", "domain": "ai.onnx", "count": 1},
    ]);
    assert_eq!(report["operators"], counts);
    let model = &report["model"];
    let port = |name: &str| json!({"name": name, "datatype": "FP32", "shape": [-1, -1, 2], "dims": ["batch", "length", 2]});
    assert_eq!((&model["inputs"], &model["outputs"]), (&json!([port("x")]), &json!([port("y")])));
    let dims: Vec<_> = model["dims"].as_array().expect("a list").iter().map(|dim| &dim["name"]).collect();
    assert_eq!(dims, ["batch", "length"]);
    assert_eq!(model["dims"][1]["max"], 7);
    assert_eq!((&model["batched"], &model["cost"]["row_elements"]), (&json!(true), &json!(14)));
    assert_eq!(model["model_id"].as_str().map(str::len), Some(64));
    // The bound is part of the model.
    let other = sandbox.json(&["model", "check", "open.onnx", "--dim", "length=8"]);
    assert_ne!(other["model"]["model_id"], model["model_id"]);
}

#[test]
fn all_missing_operators_are_named_at_once() {
    let sandbox = Sandbox::new();
    write_files(&sandbox);
    let ran = sandbox.nabla(&["model", "check", "strange.onnx", "--json"]);
    assert_eq!(ran.code, Some(3), "{ran}");
    let (code, message, hint) = ran.error();
    assert_eq!(code, "bad_file");
    assert!(message.contains("3 nodes") && message.contains("NoSuchThing, NorThis"), "{ran}");
    assert!(hint.contains("docs/models.md"), "{ran}");
    let node = |node: &str, operator: &str| json!({"node": node, "operator": operator, "domain": "ai.onnx"});
    let expect = json!([node("a", "NoSuchThing"), node("c", "NorThis"), node("y", "NoSuchThing")]);
    assert_eq!(ran.document()["unsupported"], expect);
    let text = sandbox.nabla(&["model", "check", "strange.onnx"]);
    for name in ["\"a\"", "\"c\"", "\"y\""] {
        assert!(text.stdout.contains(name), "{text}");
    }
}

fn digest(ran: &Ran) -> String {
    ran.document()["output_digest"].as_str().expect("a digest").to_owned()
}

#[test]
fn every_way_to_run_gives_the_same_digest() {
    let sandbox = Sandbox::new();
    write_files(&sandbox);
    let run = |more: &[&str]| {
        let first = ["model", "run", "open.onnx", "--input", "open.json", "--json"];
        sandbox.ok(&[&first[..], more].concat())
    };
    let ran = run(&[]);
    let document = ran.document();
    let keys: Vec<_> = document.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(keys, ["model_id", "kernels", "outputs", "output_digest"]);
    assert_eq!(document["outputs"][0]["shape"], json!([2, 3, 2]));
    assert_eq!(document["outputs"][0]["data"][0], json!(1.0));
    for more in [&["--kernels", "scalar"][..], &["--threads", "1"], &["--threads", "3"]] {
        assert_eq!(digest(&run(more)), digest(&ran));
    }
    // Another bound is another model, with the same bits.
    assert_eq!(digest(&run(&["--dim", "length=3"])), digest(&ran));
    let mut piped = sandbox.command("bash");
    piped.args(["-c", "nabla model run open.onnx --input - --json < open.json"]);
    assert_eq!(digest(&sandbox.finish(piped, "piped".to_owned())), digest(&ran));
    let text = sandbox.ok(&["model", "run", "open.onnx", "--input", "open.json"]);
    assert!(text.stdout.contains(&digest(&ran)), "{text}");
}

/// A bit that must never change: NaN is one NaN, infinities stay, and the digest is that of the specification.
#[test]
fn the_digest_is_known() {
    let sandbox = Sandbox::new();
    write_files(&sandbox);
    let document = sandbox.json(&["model", "run", "fixed.onnx", "--input", "row.json"]);
    assert_eq!(document["outputs"][0]["data"], json!([0.0, 0.5, "NaN", "Infinity"]));
    let digest = "c01dfeb04cc50b4c69b72c4172eff939210cc4114b6ae06dd9a9295155f23b76";
    assert_eq!(document["output_digest"], digest);
}

#[test]
fn a_bench_measures() {
    let sandbox = Sandbox::new();
    write_files(&sandbox);
    let bench = |more: &[&str]| sandbox.json(&[&["model", "bench"][..], more].concat());
    let open = bench(&["open.onnx", "--batch", "3", "--dim", "length=5", "--threads", "1"]);
    assert_eq!(open["inputs"][0]["shape"], json!([3, 5, 2]));
    assert_eq!((&open["rows"], &open["threads"]), (&json!(3), &json!(1)));
    for figure in ["wall_ms", "rows_per_s", "gflop_per_s", "import_ms", "prepare_ms"] {
        assert!(open[figure].as_f64().is_some_and(|figure| figure > 0.0), "{figure} in {open}");
    }
    assert!(open["runs"].as_u64() >= Some(5), "{open}");
    // A run of inputs that are given costs what the model costs at their sizes.
    let given = bench(&["open.onnx", "--input", "open.json"]);
    let same = bench(&["open.onnx", "--batch", "2", "--dim", "length=3"]);
    assert_eq!((&given["macs"], &given["rows"]), (&same["macs"], &same["rows"]));
    let text = sandbox.ok(&["model", "bench", "fixed.onnx", "--kernels", "scalar"]);
    assert!(text.stdout.contains("GFLOP/s") && text.stdout.contains("scalar"), "{text}");
}

fn file_cases() -> Vec<Case> {
    let check = |what, file: &str, message, hint| case(what, &["model", "check", file], 3, message, hint);
    vec![
        check("no file", "nowhere.onnx", "nowhere.onnx", "No such file"),
        check("a folder", "models", "models", "directory"),
        check("a truncated file", "cut.onnx", "not a valid ONNX file", "cut short"),
        check("not ONNX", "text.onnx", "not a valid ONNX file", "another format?"),
        check("an empty file", "empty.onnx", "it is empty", "ONNX"),
        check("missing operators", "strange.onnx", "NoSuchThing, NorThis", "docs/models.md"),
        check("weights outside the folder", "outside.onnx", "is refused", "inside the model's folder"),
        case(
            "an unknown dimension",
            &["model", "check", "open.onnx", "--dim", "width=5"],
            3,
            "no open dimension \"width\"",
            "batch, length",
        ),
        case(
            "a dimension of a fixed model",
            &["model", "check", "fixed.onnx", "--dim", "width=5"],
            3,
            "no open dimension \"width\"",
            "all its sizes are fixed",
        ),
        case(
            "a dimension twice",
            &["model", "check", "open.onnx", "--dim", "length=5", "--dim", "length=6"],
            3,
            "names \"length\" twice",
            "",
        ),
        case(
            "a bound that no machine bears",
            &["model", "check", "open.onnx", "--dim", "length=18446744073709551615"],
            3,
            "open.onnx",
            "",
        ),
        case(
            "a batch for a model without one",
            &["model", "bench", "fixed.onnx", "--batch", "2"],
            3,
            "the model has no batch",
            "--batch",
        ),
        case(
            "a batch past the bound",
            &["model", "bench", "open.onnx", "--batch", "1000000"],
            3,
            "expected at most",
            "smaller --batch",
        ),
    ]
}

fn input_cases(sandbox: &Sandbox) -> Vec<Case> {
    let run = |what: &'static str, text: &str, message, hint| {
        let name = format!("{what}.json");
        sandbox.write(&name, text);
        case(what, &["model", "run", "fixed.onnx", "--input", &name], 3, message, hint)
    };
    let row = |shape: Value, datatype, data: Value| inputs(&shape, datatype, &data);
    let four = || json!([1, 2, 3, 4]);
    let good = row(json!([1, 4]), "FP32", four());
    vec![
        case(
            "no file",
            &["model", "run", "fixed.onnx", "--input", "nowhere.json"],
            3,
            "nowhere.json",
            "No such file",
        ),
        run("garbage", "{\"inputs\": [", "EOF", "expected {\"inputs\""),
        run("no inputs", "{}", "missing field `inputs`", "expected {\"inputs\""),
        run("missing input", "{\"inputs\": []}", "input \"x\"", "got nothing"),
        run("another name", &good.replace("\"x\"", "\"z\""), "input \"z\"", "an unknown name"),
        run(
            "twice",
            &good.replace("[{", "[{\"name\":\"x\",\"shape\":[0],\"datatype\":\"FP32\",\"data\":[]},{"),
            "input \"x\"",
            "the same name twice",
        ),
        run("wrong dtype", &row(json!([1, 4]), "INT64", four()), "expected FP32 [1, 4]", "got INT64"),
        run("unknown dtype", &row(json!([1, 4]), "FP99", four()), "FP99", "expected one of"),
        run("wrong shape", &row(json!([2, 2]), "FP32", four()), "expected FP32 [1, 4]", "[2, 2]"),
        run("wrong rank", &row(json!([4]), "FP32", four()), "expected FP32 [1, 4]", "[4]"),
        run("too few", &row(json!([1, 4]), "FP32", json!([1])), "4", "got 1"),
        run("a bare NaN", &good.replace("[1,2", "[NaN,2"), "expected value", "expected {\"inputs\""),
        run("too large for FP32", &good.replace("[1,2", "[1e39,2"), "element 0", "FP32 range"),
        run("text in numbers", &row(json!([1, 4]), "FP32", json!(["a", 2, 3, 4])), "element 0", "got \"a\""),
        run(
            "huge shape",
            &row(json!([4_294_967_295_u64, 4_294_967_295_u64]), "FP32", four()),
            "4294967295",
            "too large",
        ),
        run("negative shape", &row(json!([-1, 4]), "FP32", four()), "-1", "expected {\"inputs\""),
        run(
            "unknown field",
            &good.replace("\"name\"", "\"colour\":\"red\",\"name\""),
            "unknown field `colour`",
            "expected {\"inputs\"",
        ),
    ]
}

#[test]
fn bad_input_is_refused_with_a_reason() {
    let sandbox = Sandbox::new();
    write_files(&sandbox);
    check(&sandbox, &file_cases());
    check(&sandbox, &input_cases(&sandbox));
    let open = |shape: Value, data: Value| sandbox.write("other.json", inputs(&shape, "FP32", &data));
    let sizes: [(Value, Value, &str); 3] = [
        (json!([2, 0, 2]), json!([]), "from 1 to"),
        (json!([5000, 1, 2]), json!(vec![0; 10_000]), "from 1 to"),
        (json!([1, 9, 2]), json!(vec![0; 18]), "from 1 to 8"),
    ];
    for (shape, data, message) in sizes {
        let file: PathBuf = open(shape, data);
        let file = file.display().to_string();
        let ran = sandbox.nabla(&["model", "run", "open.onnx", "--input", &file, "--dim", "length=8"]);
        assert_eq!(ran.code, Some(3), "{ran}");
        assert!(ran.stderr.contains(message), "{ran}");
    }
    for words in [
        &["model", "check"][..],
        &["model", "check", "fixed.onnx", "--dim", "length"],
        &["model", "check", "fixed.onnx", "--dim", "length=0"],
        &["model", "run", "fixed.onnx", "--input", "row.json", "--kernels", "abacus"],
        &["model", "run", "fixed.onnx", "--input", "row.json", "--threads", "0"],
        &["model", "bench", "open.onnx", "--input", "open.json", "--batch", "2"],
    ] {
        let ran = sandbox.nabla(words);
        assert_eq!(ran.code, Some(2), "{ran}");
    }
}
