//! The suite that every [`Store`] passes. Ordinary functions, so that any crate's tests can call them.
//!
//! ```
//! nabla_store::conformance::run(&nabla_store::MemoryStore::default());
//! ```
//!
//! The store need not be empty, and keeps the suite's blobs afterwards (under 1 MiB). A store that waits
//! on an async runtime is to be tested from a thread outside of it, as it is to be used.
//!
//! # Panics
//! That is how a failure is reported: every function here panics when the store breaks a rule.

use std::{ops::Range, thread};

use nabla_types::{BlobId, manifest::BlobRef};

use crate::{Error, Store};

/// Lengths with an edge in them: nothing, one byte, and both sides of units of 64 bytes and 16 KiB.
const SIZES_BYTES: [usize; 9] = [0, 1, 63, 64, 65, 191, 16_384, 16_385, 100_000];

/// Every rule that holds for a store whose medium is sound.
pub fn run(store: &dyn Store) {
    what_was_put_comes_back(store);
    putting_again_changes_nothing(store);
    a_missing_blob_is_named(store);
    a_limit_is_kept(store);
    ranges_are_cut_exactly(store);
    ranges_outside_are_refused(store);
    threads_do_not_disturb_each_other(store);
}

/// Damage one blob by `damage`: the store must not return wrong bytes, and must take the blob anew.
pub fn damage_is_caught(store: &dyn Store, damage: impl FnOnce(BlobId)) {
    let bytes = content("damage", 5_000);
    let reference = put(store, &bytes);
    damage(reference.blob);
    match store.get(reference.blob, reference.size_bytes) {
        Ok(got) => assert!(got == bytes, "a damaged blob was returned as good"),
        Err(Error::MissingBlob { blob }) => assert_eq!(blob, reference.blob),
        Err(Error::DamagedBlob { expected, got }) => {
            assert_eq!(expected, reference.blob);
            assert_ne!(got, expected);
        }
        Err(Error::TooFewShards { blob, needed, found, .. }) => {
            assert_eq!(blob, reference.blob);
            assert!(found < needed, "{found} of {needed} shards suffice");
        }
        Err(other) => panic!("damage must be named as such, got: {other}"),
    }
    assert_eq!(put(store, &bytes), reference);
    assert!(get(store, reference) == bytes, "a blob put again after damage must be good");
}

fn what_was_put_comes_back(store: &dyn Store) {
    for size in SIZES_BYTES {
        let bytes = content("round trip", size);
        let reference = put(store, &bytes);
        assert_eq!(reference, BlobRef::of(&bytes), "identity is the content's hash and length");
        assert!(get(store, reference) == bytes, "{size} bytes came back changed");
        assert_eq!(store.size_bytes(reference.blob).expect("size"), Some(size as u64));
        assert!(store.has(reference.blob).expect("has"));
    }
}

fn putting_again_changes_nothing(store: &dyn Store) {
    let bytes = content("again", 1_000);
    let first = put(store, &bytes);
    assert_eq!(put(store, &bytes), first);
    assert!(get(store, first) == bytes);
}

fn a_missing_blob_is_named(store: &dyn Store) {
    let missing = BlobId::of(b"conformance: never put");
    let is_named = |error: Error| matches!(error, Error::MissingBlob { blob } if blob == missing);
    assert!(is_named(store.get(missing, u64::MAX).expect_err("get of a missing blob")));
    assert!(is_named(store.get_range(missing, 0..1).expect_err("range of a missing blob")));
    assert_eq!(store.size_bytes(missing).expect("size"), None);
    assert!(!store.has(missing).expect("has"));
}

fn a_limit_is_kept(store: &dyn Store) {
    let reference = put(store, &content("limit", 1_000));
    assert!(store.get(reference.blob, 1_000).is_ok());
    match store.get(reference.blob, 999) {
        Err(Error::TooLarge { blob, got: 1_000, max: 999 }) => assert_eq!(blob, reference.blob),
        other => panic!("1000 bytes with a limit of 999 gave {:?}", other.map(|bytes| bytes.len())),
    }
}

fn ranges_are_cut_exactly(store: &dyn Store) {
    for size in SIZES_BYTES {
        let bytes = content("range", size);
        let blob = put(store, &bytes).blob;
        for Range { start, end } in
            [0..0, 0..size, size..size, 0..size / 2, size / 2..size, size / 3..size / 2]
        {
            let got = store.get_range(blob, start as u64..end as u64).expect("a range within the blob");
            assert!(got == bytes[start..end], "bytes {start}..{end} of {size}");
        }
    }
}

fn ranges_outside_are_refused(store: &dyn Store) {
    let blob = put(store, &content("outside", 1_000)).blob;
    for (start, end) in [(0, 1_001), (1_001, 1_001), (5, 4), (u64::MAX - 1, u64::MAX), (0, u64::MAX)] {
        match store.get_range(blob, start..end) {
            Err(Error::Range { size_bytes: 1_000, .. }) => {}
            other => panic!("{start}..{end} of 1000 gave {:?}", other.map(|bytes| bytes.len())),
        }
    }
}

fn threads_do_not_disturb_each_other(store: &dyn Store) {
    thread::scope(|scope| {
        for worker in 0..4 {
            scope.spawn(move || {
                for round in 0..8 {
                    let shared = content("shared", 2_000 + round);
                    assert!(get(store, put(store, &shared)) == shared);
                    let own = content(&format!("worker {worker}"), 2_000 + round);
                    assert!(get(store, put(store, &own)) == own);
                }
            });
        }
    });
}

fn put(store: &dyn Store, bytes: &[u8]) -> BlobRef {
    store.put(bytes).expect("put into a sound store")
}

fn get(store: &dyn Store, reference: BlobRef) -> Vec<u8> {
    store.get(reference.blob, reference.size_bytes).expect("get of what was put")
}

/// `size` bytes that look random and depend on `label`.
fn content(label: &str, size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    blake3::Hasher::new_derive_key("nabla store conformance v1")
        .update(label.as_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}
