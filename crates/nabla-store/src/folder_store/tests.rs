use std::{
    fs,
    io::{Read, Seek, SeekFrom},
    path::PathBuf,
};

use nabla_types::NetworkId;
use tempfile::TempDir;

use super::*;
use crate::{ShardStore, conformance};

fn config(home: &TempDir) -> FolderConfig {
    FolderConfig { path: home.path().to_owned(), network: NetworkId([1; 32]), bytes_max: None }
}

fn file(home: &TempDir, blob: BlobId) -> PathBuf {
    let name = blob.to_string();
    home.path().join(&name[..2]).join(name)
}

#[test]
fn a_folder_conforms_also_when_opened_again() {
    let home = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        conformance::run(&FolderStore::open(config(&home)).unwrap());
    }
}

#[test]
fn damage_on_disk_is_caught() {
    let home = tempfile::tempdir().unwrap();
    let store = FolderStore::open(config(&home)).unwrap();
    let damages: [fn(&mut Vec<u8>); 4] =
        [|bytes| bytes[0] ^= 1, |bytes| bytes.truncate(10), |bytes| bytes.push(0), |bytes| bytes.clear()];
    for damage in damages {
        conformance::damage_is_caught(&store, |blob| {
            let mut bytes = fs::read(file(&home, blob)).unwrap();
            damage(&mut bytes);
            fs::write(file(&home, blob), bytes).unwrap();
        });
    }
    conformance::damage_is_caught(&store, |blob| fs::remove_file(file(&home, blob)).unwrap());
}

#[test]
fn damage_outside_of_the_range_is_caught_too() {
    let home = tempfile::tempdir().unwrap();
    let store = FolderStore::open(config(&home)).unwrap();
    let blob = store.put(&[1; 1_000]).unwrap().blob;
    let mut bytes = vec![1; 1_000];
    bytes[999] = 0;
    fs::write(file(&home, blob), bytes).unwrap();
    let error = store.get_range(blob, 0..10).unwrap_err();
    assert!(matches!(error, Error::DamagedBlob { expected, .. } if expected == blob), "{error}");
    assert!(!store.has(blob).unwrap());
}

#[test]
fn an_open_file_was_checked_and_outlives_its_name() {
    let home = tempfile::tempdir().unwrap();
    let store = FolderStore::open(config(&home)).unwrap();
    let bytes: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
    let blob = store.put(&bytes).unwrap().blob;
    let mut open = store.open_file(blob, bytes.len() as u64).unwrap();
    assert!(matches!(store.open_file(blob, 10), Err(Error::TooLarge { .. })));
    assert!(store.remove(blob).unwrap());
    let mut read = vec![0; 4];
    open.seek(SeekFrom::Start(400_000)).unwrap();
    open.read_exact(&mut read).unwrap();
    assert_eq!(read, 100_000_u32.to_le_bytes());
    assert!(matches!(store.open_file(blob, u64::MAX), Err(Error::MissingBlob { .. })));

    let damages: [fn(&mut Vec<u8>); 3] =
        [|bytes| bytes[0] ^= 1, |bytes| bytes.truncate(10), |bytes| bytes.push(0)];
    for damage in damages {
        store.put(&bytes).unwrap();
        let mut damaged = bytes.clone();
        damage(&mut damaged);
        fs::write(file(&home, blob), damaged).unwrap();
        assert!(matches!(store.open_file(blob, u64::MAX), Err(Error::DamagedBlob { .. })));
        assert!(!store.has(blob).unwrap());
    }
}

#[test]
fn blobs_are_listed_removed_and_counted() {
    let home = tempfile::tempdir().unwrap();
    let store = FolderStore::open(config(&home)).unwrap();
    let (a, b) = (store.put(b"a").unwrap().blob, store.put(b"bc").unwrap().blob);
    let mut expect = vec![a, b];
    expect.sort_unstable();
    assert_eq!((store.list(), store.used_bytes()), (expect, 3));
    assert!(store.remove(a).unwrap());
    assert!(!store.remove(a).unwrap());
    assert_eq!((store.list(), store.used_bytes()), (vec![b], 2));
}

#[test]
fn a_folder_of_shards_is_refused() {
    let home = tempfile::tempdir().unwrap();
    drop(ShardStore::open(config(&home)).unwrap());
    let error = FolderStore::open(config(&home)).unwrap_err();
    assert!(matches!(&error, Error::WrongFolder { got, .. } if got == "nabla shards 1"), "{error}");
}
