//! The workspace is tidy. The tables say what that means here; `xtask/src` says how it is checked.

use xtask::{
    Exception, Finding, Tree, code, documents,
    imports::{self, Place},
};

/// The floors of ARCHITECTURE.md. Imports go down only.
const PLACES: &[Place] = &[
    Place {
        name: "nabla-types",
        floor: 1,
        never: &["tokio", "reqwest", "axum"],
        only: Some(&[
            "base64",
            "blake3",
            "ed25519-dalek",
            "half",
            "hex",
            "minicbor",
            "serde",
            "serde_json",
            "sha2",
            "thiserror",
        ]),
    },
    Place {
        name: "nabla-text",
        floor: 1,
        never: &["tokio", "reqwest", "getrandom", "rand"],
        only: Some(&[
            "aho-corasick",
            "icu_normalizer",
            "llguidance",
            "minijinja",
            "minijinja-contrib",
            "regex-automata",
            "serde_json",
            "thiserror",
        ]),
    },
    Place { name: "nabla-engine", floor: 2, never: &["nabla-store", "tokio", "reqwest"], only: None },
    Place { name: "nabla-store", floor: 2, never: &["tokio", "reqwest", "axum"], only: None },
    Place {
        name: "nabla-verify",
        floor: 2,
        never: &["tokio", "reqwest", "getrandom"],
        only: Some(&["serde", "serde_json", "sha2", "thiserror"]),
    },
    Place {
        name: "nabla-pay",
        floor: 2,
        never: &["tokio", "reqwest", "getrandom"],
        only: Some(&["k256", "sha3", "thiserror"]),
    },
    Place {
        name: "nabla-ledger",
        floor: 3,
        never: &["tokio", "reqwest", "axum", "getrandom", "nabla-store", "nabla-engine"],
        only: Some(&["minicbor", "sha2", "thiserror"]),
    },
    Place { name: "nabla-client", floor: 3, never: &["nabla-engine", "axum"], only: None },
    Place {
        name: "nabla-gateway",
        floor: 3,
        never: &["nabla-engine", "nabla-store", "nabla-ledger", "reqwest"],
        only: None,
    },
    Place { name: "nabla-node", floor: 4, never: &["clap", "anyhow"], only: None },
    Place { name: "nabla-cli", floor: 5, never: &[], only: None },
    Place { name: "nabla-benches", floor: 5, never: &[], only: None },
    Place { name: "nabla-fuzz", floor: 5, never: &[], only: None },
    Place { name: "nabla-llama-peer", floor: 5, never: &[], only: None },
    Place { name: "xtask", floor: 5, never: &[], only: Some(&["proc-macro2", "toml"]) },
];

/// Lints of the workspace that a crate has at another level, on purpose.
const OTHER_LINTS: &[(&str, &str)] = &[
    // `deny`, not `forbid`: the island lifts it.
    ("nabla-engine", "rust::unsafe_code"),
];

/// Functions over 70 lines, files over 800.
const LONG: &[Exception] = &[];

/// Tests that wait by the clock, and the like.
const WORDS: &[Exception] = &[Exception {
    path: "crates/nabla-cli/tests/it/program.rs",
    name: "sleep",
    reason: "the pause of the one loop that asks another process again and again, with a deadline",
}];

/// The only files with `unsafe`.
const ISLANDS: &[&str] = &[
    "crates/nabla-engine/src/kernels/neon.rs",
    "crates/nabla-engine/src/kernels/steps.rs",
    "crates/nabla-engine/src/kernels/x86.rs",
    "crates/nabla-engine/src/kernels/x86/avx2.rs",
    "crates/nabla-engine/src/kernels/x86/avx512.rs",
    "crates/nabla-engine/src/kernels/x86/lanes2.rs",
    "crates/nabla-engine/src/kernels/x86/lanes512.rs",
    "crates/nabla-engine/src/residency/map.rs",
];

/// Words that show what a crate's own code never does.
const NEVER_SAID: &[(&str, &[&str], &str)] = &[
    ("crates/nabla-types/src", CLOCKS, "types know no clock; times are handed in"),
    ("crates/nabla-verify/src", CLOCKS, "a check has the same outcome at any time; times are handed in"),
    ("crates/nabla-pay/src", CLOCKS, "times are handed in"),
    ("crates/nabla-ledger/src", CLOCKS, "the block has the time"),
    ("crates/nabla-store/src", CLOCKS, "the store knows no time"),
    ("crates/nabla-text/src", CLOCKS, "a template's time is handed in"),
    ("crates/nabla-text/src", ASYNC, "text only computes"),
    ("crates/nabla-engine/src", CLOCKS, "a result does not depend on the time"),
    (
        "crates/nabla-engine/src",
        &["OpenOptions", "TcpStream"],
        "the engine reads one folder, and writes nothing",
    ),
    ("crates/nabla-types/src", ASYNC, "types are data"),
    ("crates/nabla-verify/src", ASYNC, "a check only computes"),
    ("crates/nabla-pay/src", ASYNC, "pricing only computes"),
    ("crates/nabla-ledger/src", ASYNC, "the ledger only computes"),
    ("crates/nabla-store/src", ASYNC, "see `crates/nabla-store/src/store.rs`, why it is not async"),
    ("crates/nabla-engine/src", ASYNC, "the engine only computes"),
    ("crates/nabla-verify/src", &["f32", "f64"], "no floats in a decision"),
    ("crates/nabla-pay/src", &["f32", "f64"], "money is integers"),
    ("crates/nabla-ledger/src", &["f32", "f64"], "money is integers"),
    ("crates/nabla-ledger/src", &["HashMap", "HashSet"], "their order differs between runs: use a BTreeMap"),
];
const CLOCKS: &[&str] = &["Instant", "SystemTime"];
const ASYNC: &[&str] = &["async", "await"];

/// Paths that documents and comments name and that need not exist.
const PATHS: &[Exception] = &[];

#[track_caller]
fn report(mut findings: Vec<Finding>) {
    findings.sort();
    let lines: Vec<_> = findings.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "{} to tidy:\n{}\n", lines.len(), lines.join("\n"));
}

#[test]
fn imports_go_down_only() {
    report(imports::check(&Tree::of_repository(), PLACES));
}

#[test]
fn lints_are_the_workspaces() {
    report(imports::check_lints(&Tree::of_repository(), OTHER_LINTS));
}

#[test]
fn functions_and_files_are_short() {
    report(code::check_sizes(&Tree::of_repository(), LONG));
}

#[test]
fn nothing_is_left_unwritten_ignored_or_waiting() {
    report(code::check_words(&Tree::of_repository(), WORDS));
}

#[test]
fn what_a_crate_never_does_is_not_said_in_it() {
    report(code::check_absent(&Tree::of_repository(), NEVER_SAID));
}

#[test]
fn unsafe_stands_on_its_island_with_a_reason() {
    report(code::check_unsafe(&Tree::of_repository(), ISLANDS));
}

#[test]
fn paths_in_documents_exist() {
    report(documents::check_paths(&Tree::of_repository(), PATHS));
}

#[test]
fn paths_in_comments_exist() {
    report(documents::check_comment_paths(&Tree::of_repository(), &[]));
}

#[test]
fn architecture_names_every_crate_and_no_other() {
    report(documents::check_architecture(&Tree::of_repository()));
}

#[test]
fn each_crate_says_one_sentence() {
    report(documents::check_sentences(&Tree::of_repository()));
}

#[test]
fn nothing_is_of_one_machine() {
    report(documents::check_machine(&Tree::of_repository()));
}
