//! README.md and docs/ do what they say: their shell blocks run, their configuration is read.

use std::{collections::BTreeSet, fs, path::PathBuf, process::Command};

use nabla_engine::{Limits, supported_operators};
use nabla_node::{
    Config,
    config::{EngineConfig, GatewayConfig, InferenceConfig, StorageConfig, ValidatorConfig, VerifierConfig},
};

use crate::program::{Dev, Ran, Sandbox, repository, ten_ports};

/// A fenced block: its language, the name in the `<!-- test: name -->` before it, its text.
#[derive(Debug)]
struct Block {
    file: PathBuf,
    language: String,
    test: Option<String>,
    text: String,
}

/// Blocks that no test here runs, by a line of theirs, and why.
const NOT_RUN: [(&str, &str); 3] = [
    ("cargo run --release -- demo", "the module `demo` runs the same command's binary"),
    ("./test.sh", "it is what runs this test"),
    (
        "cargo build --release",
        "cargo has built the binary that these tests start; `nabla dev` is started by them",
    ),
];

/// The names that blocks may be marked with.
const TESTS: [&str; 4] = ["walkthrough", "ten processes", "config", "models"];

fn blocks() -> Vec<Block> {
    let root = repository();
    let mut files = vec![root.join("README.md")];
    let docs = fs::read_dir(root.join("docs")).expect("docs").flatten().map(|entry| entry.path());
    files.extend(docs.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    files.sort();
    files.into_iter().flat_map(blocks_of).collect()
}

fn blocks_of(file: PathBuf) -> Vec<Block> {
    let text = fs::read_to_string(&file).expect("a document");
    let (mut blocks, mut test) = (Vec::new(), None);
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(name) = line.strip_prefix("<!-- test: ") {
            test = name.strip_suffix(" -->").map(str::to_owned);
        } else if let Some(language) = line.strip_prefix("```") {
            let text =
                lines.by_ref().take_while(|line| *line != "```").map(|line| format!("{line}\n")).collect();
            blocks.push(Block { file: file.clone(), language: language.to_owned(), test: test.take(), text });
        } else if !line.trim().is_empty() {
            test = None;
        }
    }
    blocks
}

fn marked(test: &str) -> Vec<Block> {
    let blocks: Vec<Block> =
        blocks().into_iter().filter(|block| block.test.as_deref() == Some(test)).collect();
    assert!(!blocks.is_empty(), "no block is marked {test:?}");
    blocks
}

#[test]
fn every_shell_block_is_run_or_says_why_not() {
    let mut used = BTreeSet::new();
    for block in blocks() {
        if let Some(test) = &block.test {
            assert!(TESTS.contains(&test.as_str()), "{}: no test is named {test:?}", block.file.display());
        } else if ["sh", "bash", "console"].contains(&block.language.as_str()) {
            let reason = NOT_RUN.iter().find(|(line, _)| block.text.lines().any(|text| text == *line));
            let (line, _) = reason.unwrap_or_else(|| panic!("mark or list this block: {block:?}"));
            used.insert(*line);
        }
    }
    assert_eq!(used.len(), NOT_RUN.len(), "the list names blocks that are not there: {used:?}");
}

/// Run a script as a reader would type it: the first line that fails ends it.
fn bash(sandbox: &Sandbox, script: &str) -> Ran {
    let mut bash: Command = sandbox.command("bash");
    bash.args(["-euo", "pipefail", "-c", script]);
    sandbox.finish(bash, script.to_owned())
}

#[track_caller]
fn check_ran(ran: &Ran, texts: &[&str]) {
    assert_eq!(ran.code, Some(0), "{ran}");
    assert!(!ran.stderr.contains("panicked"), "{ran}");
    for text in texts {
        assert!(ran.stdout.contains(text), "no {text:?} in {ran}");
    }
}

#[test]
fn readme_walkthrough() {
    let mut sandbox = Sandbox::new();
    let mut dev = Dev::start(&mut sandbox, &[]);
    let pulled = sandbox.path("pulled");
    let has_curl = Command::new("curl").arg("--version").output().is_ok();
    if !has_curl {
        eprintln!("THERE IS NO curl ON THIS MACHINE: the README's curl block was NOT run");
    }
    let mut said = String::new();
    for block in marked("walkthrough") {
        if has_curl || !block.text.contains("curl") {
            let text = block.text.replace("11400", &dev.port.to_string());
            let text = text.replace("/tmp/nabla-pulled", &pulled.display().to_string());
            let ran = bash(&sandbox, &text);
            check_ran(&ran, &[]);
            said += &ran.stdout;
        }
    }
    for text in ["nabla/digits", "published  my/tumor", "every byte checked", "exactly this answer"] {
        assert!(said.contains(text), "no {text:?} in {said}");
    }
    if has_curl {
        for text in ["\"name\":\"nabla-dev\"", "\"x402Version\":2", "payment_required", "\"payTo\""] {
            assert!(said.contains(text), "no {text:?} in {said}");
        }
    }
    assert!(pulled.join("model.onnx").exists());
    dev.process.stop("INT");
}

/// The ten processes of docs/operate.md: started by its first block, used by its second, all of them stopped
/// by SIGTERM and ending with 0.
#[test]
fn ten_processes() {
    const TRAP: &str = "trap 'kill -9 $(jobs -p) 2> /dev/null || true' EXIT\n";
    // A person reads on while the nodes come up; a script has to ask whether they are.
    const WAIT: &str = "
for attempt in $(seq 600); do
  up=$(nabla --url http://127.0.0.1:21400 doctor 2> /dev/null | grep -cE '5 of 5|2 of 2|1 of 1' || true)
  [ \"$up\" = 4 ] && break
  sleep 0.05
done
";
    const STOP: &str = "
nodes=$(jobs -p)
[ \"$(echo $nodes | wc -w)\" = 10 ]
kill -TERM $nodes
for node in $nodes; do wait $node; done
trap - EXIT
echo all stopped
";
    let blocks: Vec<String> = marked("ten processes").into_iter().map(|block| block.text).collect();
    // Somebody else may take a port between its being found free and its being used.
    let ran = (0..5).map(|_| {
        let script = blocks.join(WAIT).replace("21400", &ten_ports().to_string());
        bash(&Sandbox::new(), &(TRAP.to_owned() + &script + STOP))
    });
    let ran = ran.into_iter().find(|ran| !ran.stderr.contains("cannot listen")).expect("free ports");
    check_ran(
        &ran,
        &["received   10 OPG", "published  alice/digits", "5 of 5 answer", "2 of 2 answer", "all stopped"],
    );
    assert!(!ran.stdout.contains("FAIL"), "{ran}");
}

/// The commands of docs/models.md.
#[test]
fn models_commands() {
    let sandbox = Sandbox::new();
    for block in marked("models") {
        let ran = bash(&sandbox, &block.text);
        check_ran(&ran, &["can be served", "the same on every machine"]);
        if block.text.contains("model bench") {
            check_ran(&ran, &["GFLOP/s"]);
        }
    }
}

/// The generated parts of docs/models.md are what the engine says. `NABLA_BLESS=1` writes them anew.
#[test]
fn models_generated() {
    let path = repository().join("docs/models.md");
    let mut text = fs::read_to_string(&path).expect("a document");
    let operators = supported_operators().iter().map(|name| format!("- `{name}`\n")).collect::<String>();
    for (name, made) in [("operators", operators), ("limits", limits_table())] {
        let start = format!("<!-- generated: {name} -->\n");
        let from = text.find(&start).expect("a generated part") + start.len();
        let length = text[from..].find("<!-- end -->").expect("its end");
        if std::env::var_os("NABLA_BLESS").is_some() {
            text.replace_range(from..from + length, &made);
            fs::write(&path, &text).expect("written");
            continue;
        }
        let stands = &text[from..from + length];
        assert!(stands == made, "{name} of docs/models.md: NABLA_BLESS=1 writes it anew. Expected:\n{made}");
    }
}

/// Every limit that an upload meets, with its default.
fn limits_table() -> String {
    let Limits {
        file_bytes_max,
        nodes_max,
        tensors_max,
        rank_max,
        elements_max,
        nesting_max,
        macs_max,
        peak_bytes_max,
        weight_bytes_max,
        batch_max,
        symbol_max,
        symbols,
    } = Limits::default();
    assert!(symbols.is_empty(), "no open dimension has a bound of its own by default");
    let rows = [
        ("bytes of the file", file_bytes_max),
        ("bytes of all weights", weight_bytes_max),
        ("nodes", nodes_max),
        ("tensors and edges between nodes", tensors_max),
        ("dimensions of a tensor", rank_max),
        ("elements of a tensor", elements_max),
        ("graphs inside each other", nesting_max),
        ("multiply-adds of a run", macs_max),
        ("bytes of inputs, values, outputs and scratch of a run", peak_bytes_max),
        ("rows of a batch", batch_max),
        ("size of any other open dimension, unless `--dim` says otherwise", symbol_max),
    ];
    let line = |(what, most): (&str, u64)| format!("| {what} | {most} |\n");
    format!("| what | at most |\n|---|---:|\n{}", rows.map(line).concat())
}

/// The example configuration is read, names every key there is, and shows the defaults.
#[test]
fn configuration() {
    for block in marked("config") {
        let config: Config = toml::from_str(&block.text).expect("a configuration");
        assert_eq!(
            (
                &config.engine,
                &config.validator,
                &config.storage,
                &config.inference,
                &config.verifier,
                &config.gateway
            ),
            (
                &EngineConfig::default(),
                &ValidatorConfig::default(),
                &StorageConfig::default(),
                &InferenceConfig::default(),
                &VerifierConfig::default(),
                &GatewayConfig::default()
            )
        );
        let validator =
            ValidatorConfig { faucet_key: Some("faucet.key".into()), ..ValidatorConfig::default() };
        let full = Config { validator, endpoint: config.endpoint.clone().or(Some(String::new())), ..config };
        let table = toml::Table::try_from(&full).expect("a configuration is TOML");
        for (name, value) in &table {
            let keys = value.as_table().map_or(vec![name], |table| table.keys().collect());
            let missing: Vec<_> =
                keys.iter().filter(|key| !block.text.contains(&format!("{key} = "))).collect();
            assert!(missing.is_empty(), "the example does not show {missing:?} of {name}");
            assert!(!value.is_table() || block.text.contains(&format!("[{name}]")), "no section [{name}]");
        }
    }
}
