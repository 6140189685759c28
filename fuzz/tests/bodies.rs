//! Every body, briefly, on stable: first its seeds, then mutated inputs.
//!
//! One seed decides everything and is printed when a body fails, together with the input. `NABLA_FUZZ_SEED`
//! sets another, `NABLA_FUZZ_ROUNDS` multiplies the rounds: a nightly run takes a fresh seed and many rounds.
#![expect(clippy::print_stdout, reason = "says which input broke a body")]

use std::path::Path;

use nabla_fuzz::{BODIES, Body, mutate::Random};
use nabla_text::{ChatTemplate, Vocabulary};

/// What a run on each change begins from.
const SEED: u64 = 20_260_101;

fn setting(name: &str, otherwise: u64) -> u64 {
    let Ok(text) = std::env::var(name) else { return otherwise };
    text.parse().unwrap_or_else(|_| panic!("{name}: expected a number, got {text:?}"))
}

/// Says which input it was, if the body panics.
struct Running<'a> {
    body: &'a Body,
    seed: u64,
    round: String,
    input: &'a [u8],
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self { body, seed, round, input } = &*self;
            let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{}.input", body.name));
            let kept = std::fs::write(&path, input);
            println!("body {}, NABLA_FUZZ_SEED={seed}, {round}, {} bytes", body.name, input.len());
            println!(
                "input in {} ({kept:?}); first bytes {}",
                path.display(),
                hex::encode(&input[..input.len().min(200)])
            );
        }
    }
}

#[track_caller]
fn check(name: &str) {
    let body = BODIES.iter().find(|body| body.name == name).expect("a body of this name");
    let (seed, factor) = (setting("NABLA_FUZZ_SEED", SEED), setting("NABLA_FUZZ_ROUNDS", 1));
    let run = |round: String, input: &[u8]| {
        let running = Running { body, seed, round, input };
        (body.run)(running.input);
    };
    let corpus = (body.seeds)();
    assert!(!corpus.is_empty(), "a body begins from something valid");
    for (index, input) in corpus.iter().enumerate() {
        run(format!("seed input {index}"), input);
    }
    let mut random = Random::new(seed);
    for round in 0..u64::from(body.rounds) * factor {
        run(format!("round {round}"), &random.input(&corpus));
    }
}

#[test]
fn receipt() {
    check("receipt");
}

#[test]
fn small_types() {
    ["layout", "manifest", "revision", "genesis", "inclusion_proof", "holder_ack"]
        .iter()
        .for_each(|name| check(name));
}

#[test]
fn transaction() {
    check("transaction");
}

#[test]
fn block() {
    check("block");
}

#[test]
fn tensor() {
    check("tensor");
    check("tensor_json");
}

#[test]
fn text_and_json() {
    ["text", "infer", "chat", "api", "payment", "terms"].iter().for_each(|name| check(name));
}

#[test]
fn onnx() {
    check("onnx");
}

#[test]
fn gguf() {
    check("gguf");
}

#[test]
fn model() {
    check("model");
}

#[test]
fn safetensors_and_folders() {
    ["safetensors", "folder"].iter().for_each(|name| check(name));
}

#[test]
fn talk() {
    check("talk");
}

#[test]
fn vocabulary() {
    check("vocabulary");
}

#[test]
fn template() {
    check("template");
}

#[test]
fn grammar() {
    check("grammar");
}

#[test]
fn shards_and_codes() {
    check("shards");
    check("code");
}

#[test]
fn verify() {
    check("verify");
}

#[test]
fn files() {
    ["journal", "journal_block", "config"].iter().for_each(|name| check(name));
}

/// Inputs that once broke something: `regressions/<body>-<what it was>`.
#[test]
fn what_was_broken_stays_whole() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions");
    let entries = std::fs::read_dir(&folder).expect("the folder is committed");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("it can be read").path()).collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let body = BODIES.iter().find(|body| name.starts_with(&format!("{}-", body.name)));
        let body = body.unwrap_or_else(|| panic!("{name}: no body of this name"));
        println!("{name}");
        (body.run)(&std::fs::read(&file).expect("it can be read"));
    }
}

/// Seeds are worth mutating only if the body gets past the decoder with them.
#[test]
fn seeds_are_accepted() {
    let whole = |file: &Vec<u8>| {
        let gguf = nabla_engine::gguf::Gguf::open(file).ok()?;
        nabla_engine::language::Config::from_metadata(&gguf.metadata).ok()?.check(&gguf.tensors).ok()
    };
    let loaded = |bytes: &Vec<u8>| {
        let engine = nabla_engine::Engine::with_threads(nabla_engine::Kernels::Scalar, 1).ok()?;
        nabla_engine::language::TextModel::load(&engine, bytes, &nabla_fuzz::engine::limits()).ok()
    };
    let ids = nabla_text::SpecialIds::default();
    let vocabularies = nabla_fuzz::seeds::vocabularies();
    let vocabularies = vocabularies.iter().filter_map(|json| Vocabulary::from_tokenizer_json(json, ids).ok());
    let templates = nabla_fuzz::seeds::templates();
    let templates =
        templates.iter().filter_map(|bytes| ChatTemplate::new(std::str::from_utf8(bytes).ok()?).ok());
    let accepted: [(&str, usize, usize); 7] = [
        ("talkers", nabla_fuzz::seeds::talkers().iter().filter_map(loaded).count(), 3),
        ("vocabularies", vocabularies.count(), 2),
        ("templates", templates.count(), 4),
        ("gguf", nabla_fuzz::seeds::gguf().iter().filter_map(whole).count(), 3),
        ("onnx", nabla_fuzz::seeds::models().len(), nabla_fuzz::seeds::onnx().len()),
        ("transactions", nabla_fuzz::seeds::transactions().len(), 20),
        ("readers", nabla_fuzz::seeds::readers().len(), 5),
    ];
    for (name, got, wanted) in accepted {
        assert!(got * 10 >= wanted * 9, "{name}: {got} of {wanted}");
    }
}

/// Each body can also be run for long: a target of its name stands beside it and in the manifest.
#[test]
fn every_body_has_a_target() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).expect("our own manifest");
    for Body { name, .. } in BODIES {
        let target =
            std::fs::read_to_string(folder.join(format!("fuzz_targets/{name}.rs"))).unwrap_or_default();
        assert!(target.contains(&format!("nabla_fuzz::{name}(bytes)")), "fuzz_targets/{name}.rs");
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "Cargo.toml lacks {name}");
    }
}
