//! Bad input: what was expected, what was got, what to do, the documented exit code; no panic, nothing lost.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::{
    onnx::{Onnx, linear},
    program::{Dev, Sandbox, ten_ports},
};

/// A command, the exit code and parts of the text that it must end with.
pub(crate) struct Case {
    what: &'static str,
    arguments: Vec<String>,
    exit: i32,
    message: &'static str,
    hint: &'static str,
}

pub(crate) fn case(
    what: &'static str,
    arguments: &[&str],
    exit: i32,
    message: &'static str,
    hint: &'static str,
) -> Case {
    let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
    Case { what, arguments, exit, message, hint }
}

/// Run each case, for people and for programs.
#[track_caller]
pub(crate) fn check(sandbox: &Sandbox, cases: &[Case]) {
    for Case { what, arguments, exit, message, hint } in cases {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let text = sandbox.nabla(&arguments);
        assert_eq!(text.code, Some(*exit), "{what}: {text}");
        assert!(!text.stderr.contains("panicked"), "{what}: {text}");
        assert!(text.stderr.contains(message), "{what}: expected {message:?} in {text}");
        assert!(text.stderr.contains(hint), "{what}: expected {hint:?} in {text}");
        assert!(text.stderr.len() < 4000, "{what}: too long to be read: {text}");
        let json = sandbox.nabla(&[&arguments[..], &["--json"]].concat());
        assert_eq!(json.code, Some(*exit), "{what}: {json}");
        let (code, error, advice) = json.error();
        assert!(!code.is_empty() && error.contains(message), "{what}: {json}");
        assert!((error + &advice).contains(hint), "{what}: {json}");
    }
}

/// Folders that are no models.
fn write_models(sandbox: &Sandbox) {
    let model = linear(4, 4, 1).build();
    let onnx = |name: &str, file: &Onnx| drop(sandbox.write(&format!("{name}/model.onnx"), file.build()));
    let square = Onnx::default().input("x", &[8192, 8192]).output("c");
    let costly = square.node("MatMul", &["x", "x"], "a").node("MatMul", &["a", "x"], "b").node(
        "MatMul",
        &["b", "x"],
        "c",
    );
    let outside = |location: &str| {
        let file = Onnx::default().input("x", &[1, 4]).output("y").external("w", &[4, 4], location);
        file.node("MatMul", &["x", "w"], "y")
    };
    sandbox.write("text/model.onnx", "this is no model\n");
    sandbox.write("empty/model.onnx", "");
    sandbox.write("cut/model.onnx", &model[..model.len() / 2]);
    sandbox.write("two/a.onnx", &model);
    sandbox.write("two/b.onnx", &model);
    sandbox.write("none/README.md", "# no model\n");
    sandbox.write("secret.bin", [7; 64]);
    onnx("operator", &Onnx::default().input("x", &[1, 4]).output("y").node("NoSuchThing", &["x"], "y"));
    onnx("costly", &costly);
    onnx("outside", &outside("../secret.bin"));
    onnx("absolute", &outside("/etc/passwd"));
    onnx("link", &outside("link.bin"));
    std::os::unix::fs::symlink(sandbox.work("secret.bin"), sandbox.work("link/link.bin")).expect("a link");
    onnx("missing", &outside("weights.bin"));
    onnx("loop", &Onnx::default().input("x", &[1, 4]).output("y").node("Relu", &["y"], "y"));
    onnx("good", &linear(4, 4, 2));
}

fn model_cases() -> Vec<Case> {
    let push =
        |what, folder: &str, message, hint| case(what, &["push", folder, "my/model"], 3, message, hint);
    vec![
        push("no folder", "nowhere", "nowhere", "No such file"),
        push("a file that is not ONNX", "text", "not a valid ONNX file", "another format?"),
        push("an empty file", "empty", "ONNX", "model.onnx"),
        push("a file that was cut short", "cut", "not a valid ONNX file", "cut short"),
        push("two models", "two", "expected exactly one .onnx or .gguf file, found 2", "a folder of its own"),
        push("no model", "none", "expected exactly one .onnx or .gguf file, found 0", "a folder of its own"),
        push("an unsupported operator", "operator", "operator \"NoSuchThing\"", "supported are"),
        push(
            "a graph over the cost bound",
            "costly",
            "multiply-adds",
            "is more than the limit of 1099511627776",
        ),
        push(
            "weights outside the folder",
            "outside",
            "\"../secret.bin\" is refused",
            "inside the model's folder",
        ),
        push(
            "weights at an absolute path",
            "absolute",
            "\"/etc/passwd\" is refused",
            "inside the model's folder",
        ),
        push("weights behind a link", "link", "leads out of the folder", "inside the model's folder"),
        push("weights that are not there", "missing", "\"weights.bin\" is refused", "No such file"),
        push("a graph that goes in a circle", "loop", "graph is not valid", "y"),
        case(
            "a bad code",
            &["push", "good", "my/model", "--code", "5/3"],
            3,
            "expected a code such as 3/5",
            "",
        ),
        case(
            "another's name",
            &["push", "good", "nabla/digits", "--home", "rich"],
            3,
            "expected the owner of this name's prefix",
            "",
        ),
    ]
}

/// Inputs that do not fit `nabla/digits`.
fn input_cases(sandbox: &Sandbox) -> Vec<Case> {
    let good: Value = serde_json::from_slice(
        &fs::read(sandbox.work("models/digits/examples/one.json")).expect("an example"),
    )
    .expect("JSON");
    let run = |what, text: String, message, hint| {
        let name = format!("{}.json", what);
        sandbox.write(&name, text);
        case(what, &["run", "nabla/digits", "--input", &name], 3, message, hint)
    };
    let with = |what, change: &dyn Fn(&mut Value), message, hint| {
        let mut input = good.clone();
        change(&mut input["inputs"][0]);
        run(what, input.to_string(), message, hint)
    };
    vec![
        run("garbage", "{\"inputs\": [".to_owned(), "EOF", "expected {\"inputs\""),
        run("no JSON", "inputs\0\u{1}".to_owned(), "expected value", "expected {\"inputs\""),
        run("no inputs", "{}".to_owned(), "missing field `inputs`", "expected {\"inputs\""),
        run("an empty list", "{\"inputs\": []}".to_owned(), "image", "released"),
        with("another name", &|input| input["name"] = json!("picture"), "picture", "image"),
        with("another type", &|input| input["datatype"] = json!("FP64"), "FP64", "released"),
        with("an unknown type", &|input| input["datatype"] = json!("FP99"), "FP99", ""),
        with("another shape", &|input| input["shape"] = json!([1, 1, 4, 16]), "[1, 1, 4, 16]", "released"),
        with("too few values", &|input| input["data"] = json!([1.0]), "64", ""),
        with("no numbers", &|input| input["data"] = json!(["a"]), "a", ""),
        with(
            "a huge shape",
            &|input| input["shape"] = json!([4294967295_u64, 4294967295_u64, 8, 8]),
            "4294967295",
            "",
        ),
        with(
            "too many rows",
            &|input| {
                input["shape"] = json!([5000, 1, 8, 8]);
                input["data"] = json!(vec![0; 5000 * 64]);
            },
            "from 1 to 4096",
            "released",
        ),
        with(
            "a negative shape",
            &|input| input["shape"] = json!([-1, 1, 8, 8]),
            "-1",
            "expected {\"inputs\"",
        ),
    ]
}

fn name_cases() -> Vec<Case> {
    let input = "models/digits/examples/one.json";
    let unknown = "1111111111111111111111111111111111111111111111111111111111111111";
    vec![
        case(
            "an unknown model",
            &["run", "nobody/nothing", "--input", input],
            4,
            "nobody/nothing",
            "nabla search",
        ),
        case("an unknown model", &["show", "nobody/nothing"], 4, "nobody/nothing", "nabla search"),
        case("an unknown model", &["pull", "nobody/nothing"], 4, "nobody/nothing", "nabla search"),
        case("an unknown receipt", &["receipts", unknown], 4, unknown, "nabla receipts"),
        case(
            "a file in the way",
            &["pull", "nabla/digits", "in the way"],
            3,
            "another file of this name",
            "another folder",
        ),
    ]
}

fn money_cases() -> Vec<Case> {
    let input = "models/digits/examples/one.json";
    let to = "0x0000000000000000000000000000000000000001";
    let run = ["run", "nabla/digits", "--input", input];
    let poor = ["--home", "poor"];
    vec![
        case("an empty wallet", &[&run[..], &poor].concat(), 5, "0 OPG", "nabla wallet fund"),
        case(
            "an empty wallet",
            &["push", "good", "my/model", poor[0], poor[1]],
            5,
            "0 OPG",
            "nabla wallet fund",
        ),
        case(
            "an empty wallet",
            &["wallet", "send", to, "1", poor[0], poor[1]],
            5,
            "0 OPG",
            "nabla wallet fund",
        ),
        case(
            "more than there is",
            &["wallet", "send", to, "1000"],
            5,
            "1000 OPG are needed",
            "nabla wallet fund",
        ),
        case(
            "a price above the limit",
            &[&run[..], &["--max-price", "0.0001"]].concat(),
            5,
            "0.0001 OPG are allowed",
            "--max-price",
        ),
    ]
}

#[test]
fn nothing_is_lost() {
    let mut sandbox = Sandbox::new();
    let mut dev = Dev::start(&mut sandbox, &[]);
    write_models(&sandbox);
    sandbox.write("in the way/model.onnx", "mine");
    for home in ["poor", "rich"] {
        sandbox.ok(&["wallet", "new", "--home", home]);
    }
    sandbox.ok(&["wallet", "fund", "--home", "rich"]);
    let purses = || {
        ["poor", "rich", ""].map(|home| match home {
            "" => sandbox.json(&["wallet", "balance"]),
            home => sandbox.json(&["wallet", "balance", "--home", home]),
        })
    };
    let before = purses();
    check(&sandbox, &model_cases());
    check(&sandbox, &input_cases(&sandbox));
    check(&sandbox, &name_cases());
    check(&sandbox, &money_cases());
    assert_eq!(purses(), before, "bad input has cost money");
    assert_eq!(sandbox.receipts().len(), 0);
    assert_eq!(fs::read(sandbox.work("in the way/model.onnx")).expect("a file"), b"mine");
    // After all of that, good input is served as ever.
    sandbox.ok(&["push", "good", "my/model"]);
    sandbox.ok(&["run", "nabla/digits", "--input", "models/digits/examples/one.json"]);
    check_receipts(&sandbox);
    check_nodes(&sandbox);
    dev.process.stop("INT");
    assert!(!dev.process.stderr().contains("panicked"), "{}", dev.process.stderr());
}

/// Copy the files of a folder, not those in folders in it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder").flatten().filter(|entry| entry.path().is_file()) {
        fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
    }
}

/// A receipt that was cut short, changed by one bit, moved to another network, or told with other files.
fn check_receipts(sandbox: &Sandbox) {
    let folder = sandbox.receipts().pop().expect("a receipt");
    let verify = |folder: &Path, more: &[&str]| {
        let receipt = folder.join("receipt.cbor").display().to_string();
        sandbox.nabla(&[&["verify", &receipt], more].concat())
    };
    let good = verify(&folder, &[]);
    assert_eq!(good.code, Some(0), "{good}");
    // Among one's own receipts, where the file `network` counts.
    let forged = sandbox.home().join("receipts/forged");
    let refuse = |file: &str, bytes: &[u8], what: String| {
        copy(&folder, &forged);
        fs::write(forged.join(file), bytes).expect("written");
        let ran = verify(&forged, &["--json"]);
        assert_eq!(ran.code, Some(7), "{file} {what}: {ran}");
        assert!(
            !ran.stderr.contains("panicked") && ran.stderr.starts_with("error: "),
            "{file} {what}: {ran}"
        );
        assert_eq!(ran.document()["ok"], false, "{file} {what}: {ran}");
    };
    let receipt = fs::read(folder.join("receipt.cbor")).expect("a receipt");
    for length in [0, 1, receipt.len() / 2, receipt.len() - 1] {
        refuse("receipt.cbor", &receipt[..length], format!("cut to {length} bytes"));
    }
    refuse("receipt.cbor", &[&receipt[..], &[0]].concat(), "with a byte more".to_owned());
    for file in ["receipt.cbor", "request.json", "response.json", "inclusion.cbor"] {
        let bytes = fs::read(folder.join(file)).expect("a file");
        let step = bytes.len().div_ceil(if file == "receipt.cbor" { 48 } else { 6 });
        for place in (0..bytes.len()).step_by(step) {
            let mut flipped = bytes.clone();
            flipped[place] ^= 1 << (place % 8);
            refuse(file, &flipped, format!("with bit {} of byte {place} flipped", place % 8));
        }
    }
    for file in ["salt", "network"] {
        let text = fs::read_to_string(folder.join(file)).expect("a file");
        let digit = if text.starts_with('0') { "1" } else { "0" };
        refuse(file, format!("{digit}{}", &text[1..]).as_bytes(), "with another digit".to_owned());
    }
    // A folder from elsewhere cannot say of itself which network it must be of.
    let foreign = sandbox.work("foreign");
    copy(&folder, &foreign);
    fs::write(foreign.join("network"), "22".repeat(32)).expect("written");
    let ran = verify(&foreign, &[]);
    assert!(ran.code == Some(0) && ran.stdout.contains("skip  network"), "{ran}");
    // Without the request nothing can be run again, and nobody is told that it was.
    fs::remove_file(foreign.join("request.json")).expect("removed");
    let ran = verify(&foreign, &["--replay"]);
    assert_eq!(ran.code, Some(3), "{ran}");
    assert!(ran.stderr.contains("a replay needs the request and the salt"), "{ran}");
    let other = "22".repeat(32);
    for (more, exit, message) in [
        (["--network", &other], 7, "network: expected"),
        (["--payer", "0x0000000000000000000000000000000000000001"], 7, "payer: expected"),
        (["--salt", &other[..32]], 2, "salt"),
        (["--request", "nowhere.json"], 3, "nowhere.json"),
        (["--proof", "models/digits/model.onnx"], 7, "inclusion: expected"),
    ] {
        let ran = verify(&folder, &more);
        assert_eq!(ran.code, Some(exit), "{ran}");
        assert!(ran.stderr.contains(message) && !ran.stderr.contains("panicked"), "{ran}");
    }
}

/// Configurations that no node starts from.
fn check_nodes(sandbox: &Sandbox) {
    let port = ten_ports().to_string();
    sandbox.ok(&["network", "init", "net", "--port", &port]);
    let config = fs::read_to_string(sandbox.work("net/storage-1/node.toml")).expect("a configuration");
    let ledger = config.lines().find(|line| line.starts_with("ledger = ")).expect("a ledger");
    let of_dev = format!("ledger = {:?}", ledger_of(sandbox));
    sandbox.write("net/garbage.cbor", "no genesis");
    let start = |what, name: &str, text: String, exit, message, hint| {
        let path = sandbox.write(&format!("net/storage-1/{name}.toml"), text).display().to_string();
        case(what, &["node", "start", "--config", &path], exit, message, hint)
    };
    // A folder that belongs to the network of `nabla dev`.
    let dev_folder = sandbox.home().join("dev/storage-1/data").display().to_string();
    let taken = sandbox.work("taken");
    copy(Path::new(&dev_folder), &taken);
    let with = |from: &str, to: &str| {
        assert!(config.contains(from), "no {from:?} in {config}");
        config.replace(from, to)
    };
    check(
        sandbox,
        &[
            case(
                "no file",
                &["node", "start", "--config", "nowhere.toml"],
                3,
                "nowhere.toml",
                "No such file",
            ),
            start("no TOML", "a", "name = ".to_owned(), 3, "a.toml", ""),
            start(
                "an unknown key",
                "b",
                format!("colour = \"red\"\n{config}"),
                3,
                "unknown field `colour`",
                "expected one of",
            ),
            start("an unknown role", "c", with("[\"storage\"]", "[\"king\"]"), 3, "king", "validator"),
            start("no genesis", "d", with("../genesis.cbor", "../garbage.cbor"), 3, "is not a genesis", ""),
            start(
                "another network's ledger",
                "e",
                with(ledger, &of_dev),
                1,
                "is of network",
                "must belong to the same network",
            ),
            start(
                "another network's folder",
                "f",
                with("data_dir = \"data\"", &format!("data_dir = {taken:?}")),
                1,
                "belongs to network",
                "",
            ),
            case(
                "a network already",
                &["network", "init", "net"],
                3,
                "there is a network already",
                "name another folder",
            ),
        ],
    );
}

/// The URL of the ledger behind the sandbox's gateway.
fn ledger_of(sandbox: &Sandbox) -> String {
    let port: u16 = sandbox.url.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    format!("http://127.0.0.1:{}", port + 1)
}
