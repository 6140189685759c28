//! `nabla demo`: all of it holds, and nothing is left behind.

use std::fs;

use serde_json::Value;

use crate::program::Sandbox;

/// The story's steps, each with a figure that it must have.
const STEPS: [(&str, &str); 13] = [
    ("start", "nodes"),
    ("publish", "digits_stored_bytes"),
    ("lose storage", "storage_left"),
    ("serve", "digits_accuracy"),
    ("pay", "call_median_ms"),
    ("verify offline", "receipt_bytes"),
    ("replay", "verdict"),
    ("chat", "completion_tokens"),
    ("embed", "near"),
    ("draw", "digest"),
    ("fraud: answer", "caught"),
    ("fraud: weights", "caught"),
    ("fraud: shard", "caught"),
];

#[track_caller]
fn nothing_left(sandbox: &Sandbox) {
    for folder in ["home", "tmp"] {
        let left: Vec<_> = fs::read_dir(sandbox.path(folder)).expect("a folder").flatten().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn as_one_document() {
    let sandbox = Sandbox::new();
    let story = sandbox.json(&["demo"]);
    nothing_left(&sandbox);
    assert_eq!(story["ok"], true);
    let steps = story["steps"].as_array().expect("steps");
    assert_eq!(steps.len(), STEPS.len());
    for (step, (name, figure)) in steps.iter().zip(STEPS) {
        assert_eq!((&step["name"], &step["ok"]), (&Value::from(name), &Value::from(true)), "{step}");
        assert!(!step["figures"][figure].is_null(), "{step}");
        assert!(step["figures"]["took_ms"].as_f64().is_some_and(|ms| ms >= 0.0), "{step}");
    }
    let figure = |step: usize, name: &str| steps[step]["figures"][name].clone();
    assert_eq!((figure(0, "nodes"), figure(2, "storage_left")), (10.into(), 3.into()));
    assert!(figure(3, "digits_accuracy").as_f64().is_some_and(|accuracy| accuracy >= 0.97));
    assert_eq!(figure(4, "total_before"), figure(4, "total_after"));
    assert_ne!(figure(4, "payer_before"), figure(4, "payer_after"));
    assert!(story["took_ms"].as_u64().is_some_and(|ms| ms < 60_000), "{}", story["took_ms"]);
}

#[test]
fn as_a_story() {
    let sandbox = Sandbox::new();
    let ran = sandbox.ok(&["demo"]);
    nothing_left(&sandbox);
    assert_eq!(ran.stderr, "");
    for (number, (name, _)) in STEPS.iter().enumerate() {
        assert!(ran.stdout.contains(&format!("\n{}. {name} (", number + 1)), "{ran}");
    }
    // Each fraud with the reason why it was caught.
    for reason in [
        "response: expected a commitment to these",
        "verdict \"different\" in block",
        "shard 0: expected hash",
        "Nothing is left behind.",
    ] {
        assert!(ran.stdout.contains(reason), "no {reason:?} in {ran}");
    }
}
