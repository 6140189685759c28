//! `nabla dev`: what is there stays there, and two of them do not tread on each other.

use crate::program::{Dev, Sandbox, ten_ports};

/// Models by name and id, and the wallet's balance: what a restart must not change.
fn state(sandbox: &Sandbox) -> (Vec<(String, String)>, String) {
    let found = sandbox.json(&["search"]);
    let models = found["models"].as_array().expect("models").iter().map(|repo| {
        let id = &repo["revisions"].as_array().and_then(|all| all.last()).expect("a revision")["model"];
        (repo["name"].to_string(), id.to_string())
    });
    (models.collect(), sandbox.json(&["wallet", "balance"]).to_string())
}

#[test]
fn state_stays_until_it_is_wiped() {
    let mut sandbox = Sandbox::new();
    let mut dev = Dev::start(&mut sandbox, &[]);
    let port = dev.port;
    sandbox.ok(&["push", "models/tumor", "my/tumor"]);
    // A start tops the account up if it holds less than 10 OPG: it holds more.
    sandbox.ok(&["wallet", "fund"]);
    let input = ["--input", "models/tumor/examples/one.json"];
    let run = ["run", "my/tumor", input[0], input[1]];
    let first = sandbox.json(&run);
    let before = state(&sandbox);
    assert_eq!(before.0.len(), 4, "{before:?}");
    dev.process.stop("INT");
    assert!(dev.process.stdout().contains("stopping"));

    // Killed without warning the second time, on other ports the third.
    let mut dev = Dev::start_at(&mut sandbox, port, &[]).expect("its ports are free again");
    assert_eq!(state(&sandbox), before);
    dev.process.kill();
    let mut dev = Dev::start(&mut sandbox, &[]);
    assert_ne!(dev.port, port);
    assert_eq!(state(&sandbox), before);
    let receipt = first["receipt_id"].as_str().expect("an id").to_owned();
    sandbox.ok(&["receipts", &receipt]);
    assert_eq!(sandbox.json(&run)["outputs"], first["outputs"]);
    sandbox.ok(&["doctor"]);
    dev.process.stop("TERM");

    let mut dev = Dev::start(&mut sandbox, &["--reset"]);
    let wiped = state(&sandbox);
    assert_eq!(wiped.0.len(), 3, "only the bundled models: {wiped:?}");
    assert_eq!(sandbox.nabla(&["receipts", &receipt]).code, Some(4), "the ledger has begun anew");
    dev.process.stop("INT");
}

/// A second one with the same home or the same ports is turned away, with `--reset` too, and does no harm.
#[test]
fn a_second_one_is_turned_away() {
    let mut sandbox = Sandbox::new();
    let mut dev = Dev::start(&mut sandbox, &[]);
    let before = state(&sandbox);
    let (same, other) = (dev.port.to_string(), ten_ports().to_string());
    let elsewhere = sandbox.path("elsewhere").display().to_string();
    let cases: [(&[&str], &str, &str); 4] = [
        (&["dev", "--port", &same], "in use by another process", "stop it first"),
        (&["dev", "--port", &other], "in use by another process", "stop it first"),
        (&["dev", "--port", &other, "--reset"], "in use by another process", "stop it first"),
        (
            &["--home", &elsewhere, "dev", "--port", &same],
            "cannot listen on 127.0.0.1:",
            "choose another port",
        ),
    ];
    for (arguments, message, hint) in cases {
        let ran = sandbox.nabla(arguments);
        assert_eq!(ran.code, Some(1), "{ran}");
        assert!(ran.stderr.contains(message) && ran.stderr.contains(hint), "{ran}");
        assert_eq!(ran.stdout, "", "{ran}");
        assert_eq!(state(&sandbox), before, "{ran}");
    }
    sandbox.ok(&["run", "nabla/digits", "--input", "models/digits/examples/one.json"]);
    dev.process.stop("INT");
}
