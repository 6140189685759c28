//! Bodies for files: the ledger's journal and a node's configuration. Each thread has a folder of its own.

use std::{cell::OnceCell, fs, path::Path};

use nabla_node::{Config, validator::journal::Journal};
use nabla_types::{cbor, chain::Genesis};
use tempfile::TempDir;

use crate::{check::accepted, seeds};

thread_local! {
    static FOLDER: OnceCell<TempDir> = const { OnceCell::new() };
}

fn in_folder<T>(work: impl FnOnce(&Path) -> T) -> T {
    FOLDER.with(|folder| work(folder.get_or_init(|| TempDir::new().expect("a temporary folder")).path()))
}

/// A journal's file: refused, or opened to a state in which no money was made, and opened to the same again.
pub fn journal(bytes: &[u8]) {
    in_folder(|folder| {
        let (folder, file) = (folder.join("ledger"), folder.join("ledger/journal"));
        fs::create_dir_all(&folder).expect("the folder is ours");
        fs::write(&file, bytes).expect("the folder is ours");
        let genesis: Genesis =
            cbor::decode("genesis", &seeds::ledger_genesis(), Genesis::BYTES_MAX).expect("golden");
        let Some((journal, state)) = accepted(Journal::open(&folder, genesis.clone()), bytes) else {
            return assert_eq!(fs::read(&file).expect("still there"), bytes, "a refused journal was changed");
        };
        drop(journal);
        assert!(state.recount().is_some(), "money was made or lost");
        let kept = fs::read(&file).expect("still there");
        assert!(bytes.starts_with(&kept), "opening only cuts a torn end");
        let (_, again) = Journal::open(&folder, genesis).expect("it was opened before");
        assert!(again == state, "opened to another state");
    });
}

/// The bytes of one block, framed as a record whose checksums are right: the first one after the genesis.
pub fn journal_block(bytes: &[u8]) {
    journal(&seeds::journal_record(1, bytes));
}

/// A configuration: what is read can be written and reads the same.
pub fn config(bytes: &[u8]) {
    in_folder(|folder| {
        let file = folder.join("node.toml");
        fs::write(&file, bytes).expect("the folder is ours");
        let Some(config) = accepted(Config::read(&file), bytes) else { return };
        let text = toml::to_string(&config).expect("a configuration is TOML");
        fs::write(&file, text).expect("the folder is ours");
        assert_eq!(Config::read(&file).ok().as_ref(), Some(&config), "reads as another configuration");
    });
}
