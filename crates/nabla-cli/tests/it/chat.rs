//! `nabla chat`: a language model is published, talked with, paid, and every token of it checked again.

use std::{
    fs::{self, File},
    process::Stdio,
};

use crate::program::{Dev, Sandbox};

const NAME: &str = "my/fabula";

#[test]
fn a_model_is_pushed_talked_with_and_replayed() {
    let mut sandbox = Sandbox::new();
    let mut dev = Dev::start(&mut sandbox, &[]);
    let pushed = sandbox.ok(&["push", "models/fabula/model.gguf", NAME]);
    assert!(pushed.stdout.contains("nabla chat my/fabula"), "{pushed}");

    // One question: its answer alone on stdout, what it cost on stderr.
    let question = ["chat", NAME, "Tell me a story about a fox.", "--seed", "5", "--max-tokens", "30"];
    let ran = sandbox.ok(&question);
    assert!(ran.stdout.trim().split(' ').count() > 5, "{ran}");
    assert!(ran.stderr.contains("OPG to node") && ran.stderr.contains("verified"), "{ran}");
    let document = sandbox.json(&question);
    assert_eq!(document["text"].as_str().map(str::trim), Some(ran.stdout.trim()));
    assert_eq!(document["usage"]["completion_tokens"], document["tokens"].as_array().expect("tokens").len());

    // What was said on this machine alone is the same.
    let alone = ["model", "run", "models/fabula/model.gguf", "--chat", "--prompt", question[2], "--json"];
    let alone =
        sandbox.ok(&[&alone[..], &["--temperature", "1", "--seed", "5", "--max-tokens", "30"]].concat());
    assert_eq!(alone.document()["tokens"], document["tokens"]);

    // Checked offline, then token by token.
    let folder = document["receipt_folder"].as_str().expect("a folder").to_owned();
    let receipt = format!("{folder}/receipt.cbor");
    let offline = sandbox.ok(&["verify", &receipt]);
    assert!(offline.stdout.contains("skip  inputs") && offline.stdout.contains("ok    outputs"), "{offline}");
    let replayed = sandbox.ok(&["verify", &receipt, "--replay"]);
    assert!(replayed.stdout.contains("ok    replay"), "{replayed}");

    // An answer that was changed is no longer the receipt's.
    let response = format!("{folder}/response.json");
    let honest = fs::read_to_string(&response).expect("the answer");
    fs::write(&response, honest.replacen("\"tokens\":[", "\"tokens\":[1,", 1)).expect("written");
    let changed = sandbox.nabla(&["verify", &receipt, "--replay"]);
    assert_eq!(changed.code, Some(7), "{changed}");

    let unknown = sandbox.nabla(&["chat", "my/nobody", "Hello"]);
    assert_eq!(unknown.code, Some(4), "{unknown}");
    let dear = sandbox.nabla(&["chat", NAME, "Hello", "--max-price", "0.000001"]);
    assert_eq!(dear.code, Some(5), "{dear}");
    let tensors = sandbox.nabla(&["chat", "nabla/digits", "Hello"]);
    assert_eq!(tensors.code, Some(3), "{tensors}");
    dev.process.stop("INT");
}

/// Each line of standard input is a turn, and the turns before it are remembered.
#[test]
fn a_conversation_goes_on_line_by_line() {
    let mut sandbox = Sandbox::new();
    let mut dev = Dev::start(&mut sandbox, &[]);
    sandbox.ok(&["push", "models/fabula", NAME]);
    let lines = sandbox.write("lines", "Tell me a story about a cat.\n\nTell me another.\n");
    let mut command = sandbox.command(env!("CARGO_BIN_EXE_nabla"));
    command.args(["chat", NAME, "--max-tokens", "8", "--temperature", "0"]);
    command.stdin(Stdio::from(File::open(lines).expect("the lines")));
    let ran = sandbox.finish(command, "nabla chat".to_owned());
    assert_eq!(ran.code, Some(0), "{ran}");
    let read: Vec<u32> = ran
        .stderr
        .lines()
        .filter_map(|line| line.strip_prefix('[')?.split_once(" tokens read")?.0.parse().ok())
        .collect();
    assert!(read.len() == 2 && read[1] > read[0] + 8, "{ran}");
    let mut command = sandbox.command(env!("CARGO_BIN_EXE_nabla"));
    command.args(["chat", NAME, "--json"]);
    let ran = sandbox.finish(command, "nabla chat --json".to_owned());
    assert_eq!((ran.code, ran.error().0.as_str()), (Some(3), "bad_argument"), "{ran}");
    dev.process.stop("INT");
}
