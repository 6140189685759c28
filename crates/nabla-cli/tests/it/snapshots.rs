//! What the program prints, word for word, against committed files.

use std::{fs, path::Path};

use crate::program::{Dev, Ran, Sandbox, repository};

#[track_caller]
fn check(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/snapshots").join(name);
    if std::env::var_os("NABLA_BLESS").is_some() {
        fs::write(&path, text).expect("written");
        return;
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    let same = text.lines().zip(expected.lines()).take_while(|(got, expected)| got == expected).count();
    let (got, want) = (text.lines().nth(same), expected.lines().nth(same));
    assert!(
        text == expected,
        "{}:{}: expected {want:?}, got {got:?}; if that is meant, NABLA_BLESS=1 writes the file anew. All of it:\n{text}",
        path.display(),
        same + 1
    );
}

/// Take out what is different in every run: folders, ports, keys and what hangs on them, times, heights.
fn redact(sandbox: &Sandbox, ran: &Ran) -> String {
    let folder = sandbox.path("work").parent().expect("a folder").display().to_string();
    let text = ran.to_string().replace(&folder, "[SANDBOX]");
    let text = text.replace(&repository().display().to_string(), "[REPOSITORY]");
    let port: u16 = sandbox.url.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let text = (port..=port.saturating_add(9)).filter(|_| port > 1).fold(text, |text, at| {
        text.replace(&format!("127.0.0.1:{at}"), &format!("127.0.0.1:[PORT+{}]", at - port))
    });
    redact_words(&text)
}

/// A word is what stands between two characters that are no letters or digits.
fn redact_words(text: &str) -> String {
    let (mut out, mut word) = (String::new(), String::new());
    for character in text.chars().chain(['\n']) {
        if character.is_ascii_alphanumeric() {
            word.push(character);
            continue;
        }
        let before = out.trim_end_matches([' ', ':', '"', '(', '[']);
        let counted = ["block", "height", "_ms"].iter().any(|noun| before.ends_with(noun));
        let fraction = out.ends_with("[N].") && is_number(&word);
        out.push_str(match word.as_str() {
            hash if is_hex(hash, 64) => "[HASH]",
            hex if hex.strip_prefix("0x").is_some_and(|digits| is_hex(digits, 64)) => "[HEX]",
            address if address.strip_prefix("0x").is_some_and(|digits| is_hex(digits, 40)) => "[ADDRESS]",
            // Not the digits of a number: `2.3753678e-8` is one of the bits that never change.
            short if is_hex(short, 8) && !out.ends_with('.') => "[ID]",
            "avx512" | "avx2" | "neon" | "scalar" => "[KERNELS]",
            _ if fraction => "",
            number if counted && is_number(number) => "[N]",
            other => other,
        });
        word.clear();
        out.push(character);
    }
    out.pop();
    milliseconds(&out)
}

/// `(12 ms)` and `12 blocks`.
fn milliseconds(text: &str) -> String {
    let mut words: Vec<String> = text.split(' ').map(str::to_owned).collect();
    for index in 1..words.len() {
        let counted = words[index].starts_with("ms)") || words[index].starts_with("blocks,");
        let number = words[index - 1].trim_start_matches(['(', '"']).to_owned();
        if counted && is_number(&number) {
            words[index - 1] = words[index - 1].replace(&number, "[N]");
        }
    }
    words.join(" ")
}

fn is_hex(word: &str, length: usize) -> bool {
    word.len() == length && word.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

fn is_number(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit())
}

#[test]
fn redaction() {
    let hash = "0123456789abcdef".repeat(4);
    assert_eq!(redact_words(&format!("{hash} in block 12 (3 ms)")), "[HASH] in block [N] ([N] ms)");
    assert_eq!(redact_words("\"took_ms\": 17.25, node 6b92693a"), "\"took_ms\": [N]., node [ID]");
    assert_eq!(redact_words("2.3753678e-8 1.5 FP32"), "2.3753678e-8 1.5 FP32");
    assert_eq!(redact_words("\"21 blocks, 2 receipts\""), "\"[N] blocks, 2 receipts\"");
}

/// `--help` of the program and of every command that it names, however deep.
#[test]
fn help() {
    fn follow(sandbox: &Sandbox, path: &[&str], text: &mut String) {
        let ran = sandbox.ok(&[path, &["--help"]].concat());
        text.push_str(&format!("{ran}\n"));
        let commands = ran.stdout.split("Commands:\n").nth(1).unwrap_or_default();
        let names =
            commands.lines().map_while(|line| line.strip_prefix("  ")).filter(|line| !line.starts_with(' '));
        for name in names.filter_map(|line| line.split(' ').next()).filter(|name| *name != "help") {
            follow(sandbox, &[path, &[name]].concat(), text);
        }
    }
    let sandbox = Sandbox::new();
    let mut text = sandbox.ok(&["--version"]).to_string() + "\n";
    follow(&sandbox, &[], &mut text);
    assert!(text.matches("\n$ nabla ").count() >= 18, "the commands' help is not found: {text}");
    check("help.txt", &text.replace(&sandbox.url, "[URL]"));
}

/// Errors that need no network, for people and for programs.
#[test]
fn errors() {
    let commands: &[&[&str]] = &[
        &["frobnicate"],
        &["run", "nabla/digits"],
        &["run", "no-slash", "--input", "x.json"],
        &["wallet", "send", "0x12", "1"],
        &["push", "models/digits", "a/b", "--royalty", "cheap"],
        &["wallet", "balance"],
        &["push", "models/digits", "alice/digits"],
        &["push", "nowhere", "alice/digits"],
        &["run", "nabla/digits", "--input", "nowhere.json"],
        &["verify", "nowhere.cbor"],
        &["node", "start", "--config", "nowhere.toml"],
        &["search"],
        &["receipts", "0000000000000000000000000000000000000000000000000000000000000000"],
        &["receipts"],
        &["doctor"],
    ];
    let sandbox = Sandbox::new();
    let mut text = String::new();
    for arguments in commands {
        for flags in [&[][..], &["--json"]] {
            let ran = sandbox.nabla(&[arguments, flags].concat());
            if !flags.is_empty() {
                ran.document();
            }
            text.push_str(&format!("{}\n", redact(&sandbox, &ran)));
        }
    }
    check("errors.txt", &text);
}

/// What `nabla model` says of files that can be served and of one that cannot.
#[test]
fn model() {
    let commands: &[&[&str]] = &[
        &["model", "check", "open.onnx", "--dim", "length=7"],
        &["model", "check", "strange.onnx"],
        &["model", "check", "text.onnx"],
        &["model", "run", "open.onnx", "--input", "open.json", "--threads", "1"],
        &["model", "run", "fixed.onnx", "--input", "open.json"],
        &["model", "run", "fixed.onnx", "--input", "row.json", "--kernels", "abacus"],
    ];
    let sandbox = Sandbox::new();
    crate::model::write_files(&sandbox);
    let mut text = String::new();
    for arguments in commands {
        for flags in [&[][..], &["--json"]] {
            let ran = sandbox.nabla(&[arguments, flags].concat());
            text.push_str(&format!("{}\n", redact(&sandbox, &ran)));
        }
    }
    check("model.txt", &text);
}

/// A session on a development network, for people and for programs.
#[test]
fn session() {
    let mut sandbox = Sandbox::new();
    let mut dev = Dev::start(&mut sandbox, &[]);
    let commands: &[&[&str]] = &[
        &["search"],
        &["search", "nothing like it"],
        &["show", "nabla/digits"],
        &["run", "nabla/digits", "--input", "models/digits/examples/one.json"],
        &["push", "models/tumor", "my/tumor", "--royalty", "0.0002"],
        &["pull", "my/tumor", "pulled"],
        &["wallet", "balance"],
        &["wallet", "new"],
        &["wallet", "balance", "0x0000000000000000000000000000000000000001"],
        &["doctor"],
    ];
    let mut text = String::new();
    for arguments in commands {
        for flags in [&[][..], &["--json"]] {
            let ran = sandbox.nabla(&[arguments, flags].concat());
            assert!(!ran.stderr.contains("panicked"), "{ran}");
            text.push_str(&format!("{}\n", redact(&sandbox, &ran)));
        }
    }
    for receipt in sandbox.receipts().iter().take(1) {
        let receipt = receipt.join("receipt.cbor").display().to_string();
        for arguments in
            [&["verify", &receipt][..], &["verify", &receipt, "--replay"], &["verify", &receipt, "--json"]]
        {
            text.push_str(&format!("{}\n", redact(&sandbox, &sandbox.ok(arguments))));
        }
    }
    dev.process.stop("INT");
    text.push_str(&redact(
        &sandbox,
        &Ran {
            command: "nabla dev".to_owned(),
            code: Some(0),
            stdout: dev.process.stdout(),
            stderr: dev.process.stderr(),
        },
    ));
    check("session.txt", &text);
}

/// Whoever reads the output may stop reading, and the disk that it goes to may be full.
#[test]
fn output_that_cannot_be_written() {
    let sandbox = Sandbox::new();
    for arguments in [&["completions", "bash"][..], &["doctor"], &["doctor", "--json"]] {
        for (output, code) in [("reader that has gone", None), ("full disk", Some(1))] {
            let mut command = sandbox.command(env!("CARGO_BIN_EXE_nabla"));
            command.args(arguments);
            match output {
                "full disk" => command.stdout(fs::File::create("/dev/full").expect("a device")),
                _ => command.stdout(std::io::pipe().expect("a pipe").1),
            };
            let ended = command.output().expect("it runs");
            let stderr = String::from_utf8_lossy(&ended.stderr);
            assert!(!stderr.contains("panicked"), "{arguments:?} to a {output}: {stderr}");
            assert!(ended.status.code().is_some(), "{arguments:?} to a {output}: {}", ended.status);
            assert!(
                code.is_none() || ended.status.code() == code,
                "{arguments:?} to a {output}: {}",
                ended.status
            );
        }
    }
}
