//! `nabla model` of a language model's file: the same answer every way, and what bad input is told.

use serde_json::{Value, json};

use crate::{
    bad_input::{Case, case, check},
    program::Sandbox,
};

const FABULA: &str = "models/fabula/model.gguf";

/// Kernels, threads and pieces of the prompt change nothing; the seed does.
#[test]
fn every_way_to_ask_gives_the_same_answer() {
    let sandbox = Sandbox::new();
    let prompt = ["--prompt", "Tell me a story about a dragon", "--chat", "--temperature", "0.8"];
    let ask = |more: &[&str]| {
        let first = ["model", "run", FABULA, "--max-tokens", "40", "--json"];
        sandbox.ok(&[&first[..], &prompt, more].concat()).document()
    };
    let first = ask(&["--seed", "5", "--kernels", "scalar", "--threads", "1"]);
    let keys: Vec<_> = first.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        ["text", "tokens", "finish_reason", "prompt_tokens", "completion_tokens", "kernels", "output_digest"]
    );
    let tokens = first["tokens"].as_array().expect("tokens");
    assert_eq!(first["completion_tokens"], json!(tokens.len()));
    for more in
        [&["--threads", "2"][..], &["--prefill-chunk", "1"], &["--prefill-chunk", "5", "--threads", "3"]]
    {
        let other = ask(&[&["--seed", "5"], more].concat());
        for key in ["text", "tokens", "output_digest"] {
            assert_eq!(other[key], first[key], "{more:?}");
        }
    }
    assert_ne!(ask(&["--seed", "6"])["output_digest"], first["output_digest"]);
}

/// What is printed for people is the text, then the facts.
#[test]
fn an_answer_is_read_by_people() {
    let sandbox = Sandbox::new();
    let run = |more: &[&str]| {
        sandbox.ok(&[&["model", "run", FABULA, "--prompt", "Once upon a time"], more].concat())
    };
    let ran = run(&["--max-tokens", "12"]);
    let document = run(&["--max-tokens", "12", "--json"]).document();
    let text = document["text"].as_str().expect("a text");
    assert!(ran.stdout.starts_with(text) && ran.stdout.contains("12 written (length)"), "{ran}");
    let stop = run(&["--stop", ".", "--json"]).document();
    assert_eq!(stop["finish_reason"], "stop");
    assert!(!stop["text"].as_str().expect("a text").contains('.'), "{stop}");
}

/// A small model knows little; a schema it obeys all the same.
#[test]
fn a_schema_is_obeyed() {
    let sandbox = Sandbox::new();
    let schema = json!({
        "type": "object", "additionalProperties": false, "required": ["animal", "legs"],
        "properties": {"animal": {"enum": ["fox", "bird"]}, "legs": {"type": "integer", "minimum": 2, "maximum": 4}},
    });
    let file = sandbox.write("schema.json", schema.to_string()).display().to_string();
    let ask = ["model", "run", FABULA, "--chat", "--prompt", "Name an animal", "--schema", &file, "--json"];
    let document = sandbox.ok(&ask).document();
    let answer: Value = serde_json::from_str(document["text"].as_str().expect("a text")).expect("JSON");
    assert!(answer["animal"] == "fox" || answer["animal"] == "bird", "{answer}");
    assert!((2..=4).contains(&answer["legs"].as_i64().expect("a number")), "{answer}");
}

#[test]
fn bad_input_for_a_language_model_is_refused_with_a_reason() {
    let sandbox = Sandbox::new();
    crate::model::write_files(&sandbox);
    let whole = std::fs::read(sandbox.work(FABULA)).expect("the model");
    sandbox.write("cut.gguf", &whole[..whole.len() / 2]);
    sandbox.write("header.gguf", &whole[..1000]);
    let mut lies = whole[..64].to_vec();
    lies[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
    sandbox.write("lies.gguf", &lies);
    sandbox.write("never.json", r#"{"type":"integer","minimum":3,"maximum":2}"#);
    let long = "word ".repeat(2000);
    let run = |what, words: &[&str], message, hint| -> Case {
        let words: Vec<&str> = [&["model", "run"], words].concat();
        case(what, &words, 3, message, hint)
    };
    check(
        &sandbox,
        &[
            run("cut data", &["cut.gguf", "--prompt", "a"], "not a valid GGUF model", ""),
            run("cut header", &["header.gguf", "--prompt", "a"], "not a valid GGUF model", ""),
            run("a lie", &["lies.gguf", "--prompt", "a"], "tensors of a GGUF file", ""),
            run("no prompt", &[FABULA], "it takes no tensors", "--prompt TEXT"),
            run("tensors", &[FABULA, "--input", "row.json"], "it takes no tensors", "--prompt TEXT"),
            run("a prompt for tensors", &["fixed.onnx", "--prompt", "a"], "it takes tensors", "--input FILE"),
            run("too long", &[FABULA, "--prompt", &long], "more than the limit of 1024", ""),
            run(
                "temperature",
                &[FABULA, "--prompt", "a", "--temperature", "200"],
                "expected from 0 to 100",
                "",
            ),
            run("top-p", &[FABULA, "--prompt", "a", "--top-p", "NaN"], "expected from 0 to 1", ""),
            run("an empty stop", &[FABULA, "--prompt", "a", "--stop", ""], "stop string", ""),
            run("no schema", &[FABULA, "--prompt", "a", "--schema", "nowhere.json"], "nowhere.json", ""),
            run("no answer", &[FABULA, "--prompt", "a", "--schema", "never.json"], "JSON schema", ""),
        ],
    );
    assert_eq!(sandbox.nabla(&["model", "run", FABULA, "--prompt", "a", "--max-tokens", "0"]).code, Some(2));
    assert_eq!(sandbox.nabla(&["model", "run", FABULA, "--chat"]).code, Some(2));
}
