use super::*;

const NETWORK: NetworkId = NetworkId([1; 32]);

fn file_count(path: &Path) -> usize {
    entries(path).unwrap().len()
}

#[test]
fn a_folder_is_made_with_those_above_it_and_opened_again() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("a/b/shards");
    for _ in 0..2 {
        let folder = DataFolder::open(&path, "shards", NETWORK).unwrap();
        assert_eq!(folder.path(), path);
    }
    let marker = fs::read_to_string(path.join(MARKER)).unwrap();
    assert_eq!(marker, format!("nabla shards 1\nnetwork {NETWORK}\n"));
}

#[test]
fn a_second_user_is_refused_until_the_first_has_gone() {
    let home = tempfile::tempdir().unwrap();
    let first = DataFolder::open(home.path(), "shards", NETWORK).unwrap();
    let error = DataFolder::open(home.path(), "shards", NETWORK).unwrap_err();
    assert!(matches!(&error, Error::InUse { path } if path == home.path()), "{error}");
    drop(first);
    DataFolder::open(home.path(), "shards", NETWORK).unwrap();
}

#[test]
fn another_network_is_refused() {
    let home = tempfile::tempdir().unwrap();
    drop(DataFolder::open(home.path(), "shards", NETWORK).unwrap());
    let error = DataFolder::open(home.path(), "shards", NetworkId([2; 32])).unwrap_err();
    assert!(matches!(error, Error::WrongNetwork { expected: NetworkId([2, ..]), got: NETWORK, .. }));
}

#[test]
fn another_kind_or_a_spoilt_marker_is_refused() {
    let good = format!("nabla shards 1\nnetwork {NETWORK}\n");
    let spoilt = ["", "nabla shards 1\n", "nabla shards 2\nnetwork", "hello", "nabla shards 1\nnetwork 12"];
    for marker in spoilt.into_iter().chain([good.replace("shards", "blobs").as_str()]) {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join(MARKER), marker).unwrap();
        let error = DataFolder::open(home.path(), "shards", NETWORK).unwrap_err();
        assert!(matches!(error, Error::WrongFolder { .. }), "{marker:?}: {error}");
    }
}

#[test]
fn a_persons_folder_is_not_touched() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("thesis.txt"), "dear").unwrap();
    let error = DataFolder::open(home.path(), "shards", NETWORK).unwrap_err();
    assert!(matches!(&error, Error::WrongFolder { got, .. } if got == "thesis.txt"), "{error}");
    assert_eq!(file_count(home.path()), 1);
}

#[test]
fn an_interrupted_first_open_is_taken_up_again() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join(LOCK), "").unwrap();
    fs::create_dir(home.path().join(TEMPORARY)).unwrap();
    fs::write(home.path().join(TEMPORARY).join("0"), "nabla sha").unwrap();
    DataFolder::open(home.path(), "shards", NETWORK).unwrap();
    assert_eq!(file_count(&home.path().join(TEMPORARY)), 0);
}

#[test]
fn what_is_not_committed_disappears() {
    let home = tempfile::tempdir().unwrap();
    let folder = DataFolder::open(home.path(), "shards", NETWORK).unwrap();
    let (kept, dropped) = (folder.stage(b"kept").unwrap(), folder.stage(b"dropped").unwrap());
    assert_eq!(file_count(&home.path().join(TEMPORARY)), 2);
    kept.commit(&home.path().join("file")).unwrap();
    drop(dropped);
    assert_eq!(file_count(&home.path().join(TEMPORARY)), 0);
    assert_eq!(fs::read(home.path().join("file")).unwrap(), b"kept");
}

#[test]
fn a_commit_that_fails_leaves_nothing() {
    let home = tempfile::tempdir().unwrap();
    let folder = DataFolder::open(home.path(), "shards", NETWORK).unwrap();
    let error = folder.stage(b"x").unwrap().commit(&home.path().join("no such folder/file")).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");
    assert_eq!(file_count(&home.path().join(TEMPORARY)), 0);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_named() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let error = write_synced(full, b"x").map_err(Error::io("write", "/data/shard")).unwrap_err();
    assert!(matches!(error, Error::Full { .. }));
    assert_eq!(
        error.to_string(),
        "no room left to write \"/data/shard\"; free space or move the data folder"
    );
}
