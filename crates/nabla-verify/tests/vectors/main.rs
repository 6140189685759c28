//! The golden vectors of `spec/vectors`, as this code makes and reads them.
//!
//! A vector that changes is a change of the protocol. When that is meant, write the files anew and read
//! the difference before you commit it:
//!
//! ```text
//! NABLA_BLESS=1 cargo test -p nabla-verify --test vectors
//! ```

#![expect(
    clippy::disallowed_methods,
    reason = "vectors are files, and blessing them is asked for by the environment"
)]

#[path = "../fixture/mod.rs"]
mod fixture;
mod receipt;
mod wire;

use std::path::PathBuf;

use serde::Serialize;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../spec/vectors").join(name)
}

/// The file says exactly what the code makes.
#[track_caller]
fn check(name: &str, made: &impl Serialize) {
    let made = serde_json::to_string_pretty(made).expect("plain data") + "\n";
    if std::env::var_os("NABLA_BLESS").is_some() {
        std::fs::write(path(name), &made).expect("spec/vectors can be written");
    }
    let stands = std::fs::read_to_string(path(name)).expect("the file is committed");
    let differs = made.lines().zip(stands.lines()).position(|(a, b)| a != b);
    assert!(
        made == stands,
        "spec/vectors/{name} differs from what the code makes, first at line {:?}; if the change is meant: \
         NABLA_BLESS=1 cargo test -p nabla-verify --test vectors",
        differs.map(|line| line + 1)
    );
}

/// The file is what we make; read back as bytes, every vector of it ends as it says.
#[test]
fn receipts_are_as_committed_and_end_as_they_say() {
    check("receipt.json", &receipt::make());
    let text = std::fs::read_to_string(path("receipt.json")).expect("the file is committed");
    receipt::run(&serde_json::from_str(&text).expect("it is what we write"));
}

#[test]
fn wire_is_as_committed() {
    let mut made = wire::make();
    made.sort_all_objects();
    check("wire.json", &made);
}
