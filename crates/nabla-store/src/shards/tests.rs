use std::{fs, path::PathBuf, thread};

use nabla_types::NetworkId;
use tempfile::TempDir;

use super::*;
use crate::{Code, Encoded, encode};

struct Rig {
    home: TempDir,
    store: ShardStore,
    encoded: Encoded<'static>,
}

fn config(home: &TempDir, bytes_max: Option<u64>) -> FolderConfig {
    FolderConfig { path: home.path().to_owned(), network: NetworkId([1; 32]), bytes_max }
}

fn encoded() -> Encoded<'static> {
    encode(&[7; 1_000], Code::new(3, 5).unwrap()).map(into_owned).unwrap()
}

fn into_owned(encoded: Encoded<'_>) -> Encoded<'static> {
    let shards = encoded.shards.into_iter().map(|shard| shard.into_owned().into()).collect();
    Encoded { layout: encoded.layout, shards }
}

impl Rig {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let store = ShardStore::open(config(&home, None)).unwrap();
        Self { home, store, encoded: encoded() }
    }

    fn put(&self, index: u16) -> Result<Put, Error> {
        self.store.put(&self.encoded.layout, index, self.bytes(index))
    }

    fn bytes(&self, index: u16) -> &[u8] {
        &self.encoded.shards[usize::from(index)]
    }

    fn layout(&self) -> LayoutId {
        self.encoded.layout.id()
    }

    fn file(&self, index: u16) -> PathBuf {
        let shard = self.encoded.layout.shards[usize::from(index)];
        let name = HeldShard { layout: self.layout(), index, shard }.file_name();
        self.home.path().join(&name[..2]).join(name)
    }

    fn reopen(self) -> Self {
        let Self { home, store, encoded } = self;
        drop(store);
        let store = ShardStore::open(config(&home, None)).unwrap();
        Self { home, store, encoded }
    }
}

#[test]
fn shards_are_kept_listed_and_removed() {
    let rig = Rig::new();
    assert_eq!(rig.put(4).unwrap(), Put::Written);
    assert_eq!(rig.put(0).unwrap(), Put::Written);
    assert_eq!(rig.put(4).unwrap(), Put::Held);

    let rig = rig.reopen();
    let indices: Vec<u16> = rig.store.list().iter().map(|held| held.index).collect();
    assert_eq!(indices, [0, 4]);
    assert_eq!(rig.store.used_bytes(), 2 * 384);
    assert!(rig.store.get(rig.layout(), 4).unwrap() == rig.bytes(4));
    assert!(rig.store.has(rig.layout(), 0));

    assert!(rig.store.remove(rig.layout(), 4).unwrap());
    assert!(!rig.store.remove(rig.layout(), 4).unwrap());
    assert!(!rig.file(4).exists());
    let error = rig.store.get(rig.layout(), 4).unwrap_err();
    assert!(matches!(error, Error::MissingShard { index: 4, .. }), "{error}");
    assert_eq!(rig.reopen().store.used_bytes(), 384);
}

#[test]
fn a_liars_shard_is_not_kept() {
    let rig = Rig::new();
    let layout = &rig.encoded.layout;
    let mut wrong = rig.bytes(1).to_vec();
    wrong[100] ^= 1;
    assert!(matches!(rig.store.put(layout, 1, &wrong), Err(Error::ShardHash { index: 1, .. })));
    assert!(matches!(rig.store.put(layout, 1, rig.bytes(4)), Err(Error::ShardHash { index: 1, .. })));
    assert!(matches!(rig.store.put(layout, 9, rig.bytes(1)), Err(Error::ShardIndex { index: 9, .. })));
    assert!(matches!(rig.store.put(layout, 1, b""), Err(Error::ShardLength { got: 0, .. })));
    assert!(rig.store.list().is_empty());
    assert_eq!(rig.store.used_bytes(), 0);
}

/// Replicas have the same bytes, and are still shards of their own.
#[test]
fn equal_shards_do_not_share_a_fate() {
    let home = tempfile::tempdir().unwrap();
    let store = ShardStore::open(config(&home, None)).unwrap();
    let Encoded { layout, shards } = encode(b"replica", Code::new(1, 3).unwrap()).unwrap();
    store.put(&layout, 0, &shards[0]).unwrap();
    store.put(&layout, 1, &shards[1]).unwrap();
    assert!(store.remove(layout.id(), 0).unwrap());
    assert!(store.get(layout.id(), 1).is_ok());
}

/// What a disk may make of a file's bytes.
type Damage = fn(&[u8]) -> Vec<u8>;

#[test]
fn every_kind_of_damage_is_found_removed_and_repaired() {
    let damages: [Damage; 5] = [
        |bytes| {
            let mut bytes = bytes.to_vec();
            bytes[17] ^= 0x80;
            bytes
        },
        |bytes| bytes[..bytes.len() - 1].to_vec(),
        |bytes| [bytes, &[0]].concat(),
        |bytes| vec![0; bytes.len()],
        |_| vec![],
    ];
    for (number, damage) in damages.into_iter().enumerate() {
        for reopened in [false, true] {
            let mut rig = Rig::new();
            rig.put(2).unwrap();
            fs::write(rig.file(2), damage(rig.bytes(2))).unwrap();
            if reopened {
                rig = rig.reopen();
            }
            let error = rig.store.get(rig.layout(), 2).unwrap_err();
            let expect = rig.encoded.layout.shards[2];
            assert!(
                matches!(error, Error::DamagedShard { index: 2, expected, .. } if expected == expect),
                "damage {number}: {error}"
            );
            assert!(!rig.file(2).exists());
            assert_eq!(rig.store.used_bytes(), 0);
            assert!(matches!(rig.store.get(rig.layout(), 2), Err(Error::MissingShard { .. })));
            assert_eq!(rig.put(2).unwrap(), Put::Written);
            assert!(rig.store.get(rig.layout(), 2).unwrap() == rig.bytes(2));
        }
    }
}

/// A node must not sign for a shard that has rotted since it was first put.
#[test]
fn putting_again_repairs() {
    let rig = Rig::new();
    rig.put(2).unwrap();
    fs::write(rig.file(2), b"rotten").unwrap();
    assert_eq!(rig.put(2).unwrap(), Put::Written);
    fs::remove_file(rig.file(2)).unwrap();
    assert_eq!(rig.put(2).unwrap(), Put::Written);
    assert!(rig.store.get(rig.layout(), 2).unwrap() == rig.bytes(2));
    assert_eq!(rig.store.used_bytes(), 384);
}

#[test]
fn a_scrub_names_what_is_bad() {
    let rig = Rig::new();
    for index in 0..5 {
        rig.put(index).unwrap();
    }
    fs::write(rig.file(1), b"rotten").unwrap();
    let report = rig.store.scrub();
    assert_eq!(report.good, 4);
    assert_eq!(report.bad.len(), 1);
    assert_eq!(report.bad[0].0.index, 1);
    assert!(matches!(report.bad[0].1, Error::DamagedShard { index: 1, .. }));
    let report = rig.store.scrub();
    assert_eq!((report.good, report.bad.len()), (4, 0));
}

#[test]
fn half_written_and_foreign_files_are_not_shards() {
    let rig = Rig::new();
    rig.put(3).unwrap();
    let torn = rig.home.path().join("tmp/12");
    fs::write(&torn, &rig.bytes(3)[..10]).unwrap();
    let foreign = rig.file(3).with_file_name("notes.txt");
    fs::write(&foreign, "by hand").unwrap();
    let name = rig.file(3).file_name().unwrap().to_str().unwrap().replace(".3.", ".03.");
    fs::write(rig.file(3).with_file_name(name), "another spelling").unwrap();

    let rig = rig.reopen();
    assert!(!torn.exists());
    assert!(foreign.exists());
    assert_eq!(rig.store.list().len(), 1);
    assert_eq!(rig.store.scrub().good, 1);
}

#[test]
fn a_quota_is_a_wall_and_moves_with_removals() {
    let home = tempfile::tempdir().unwrap();
    let store = ShardStore::open(config(&home, Some(2 * 384))).unwrap();
    let Encoded { layout, shards } = encoded();
    store.put(&layout, 0, &shards[0]).unwrap();
    store.put(&layout, 1, &shards[1]).unwrap();
    let error = store.put(&layout, 2, &shards[2]).unwrap_err();
    assert!(matches!(error, Error::Quota { needed_bytes: 384, used_bytes: 768, bytes_max: 768 }), "{error}");
    assert_eq!(store.put(&layout, 1, &shards[1]).unwrap(), Put::Held, "what is here needs no room");
    store.remove(layout.id(), 0).unwrap();
    assert_eq!(store.put(&layout, 2, &shards[2]).unwrap(), Put::Written);
}

/// Each round, some threads put and some remove the same shards: an answer of `put` is never undone but
/// by a later removal, and the count of bytes stays that of the files.
#[test]
fn threads_put_and_remove_the_same_shards() {
    let rig = Rig::new();
    thread::scope(|scope| {
        for worker in 0..4_u16 {
            let rig = &rig;
            scope.spawn(move || {
                for round in 0..20_u16 {
                    let index = (worker + round) % 5;
                    if worker == 3 {
                        rig.store.remove(rig.layout(), index).unwrap();
                    } else {
                        rig.put(index).unwrap();
                    }
                }
            });
        }
    });
    let held = rig.store.list();
    assert_eq!(rig.store.used_bytes(), 384 * held.len() as u64);
    assert_eq!(rig.store.scrub().good, held.len() as u64);
    let rig = rig.reopen();
    assert_eq!(rig.store.list(), held);
}
