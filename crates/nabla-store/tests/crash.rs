//! What a killed process and a full disk leave behind: each shard whole or absent, and no more.
//!
//! The tests run this very binary again as a child, with one test chosen and a folder named in the
//! environment. Without that folder, the children's tests do nothing.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

use std::{
    env, fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use nabla_store::{Code, Encoded, Error, FolderConfig, ShardStore, encode};
use nabla_types::{LayoutId, NetworkId};

/// Names the folder that a child is to work in.
const FOLDER: &str = "NABLA_STORE_TEST_FOLDER";

fn open(path: &Path) -> Result<ShardStore, Error> {
    ShardStore::open(FolderConfig { path: path.to_owned(), network: NetworkId([1; 32]), bytes_max: None })
}

fn content(number: u32, size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn coded(bytes: &[u8]) -> Encoded<'_> {
    encode(bytes, Code::new(2, 3).unwrap()).unwrap()
}

fn temporary_files(folder: &Path) -> usize {
    fs::read_dir(folder.join("tmp")).unwrap().count()
}

/// This binary, with one of its tests.
fn this_test(name: &str) -> [String; 5] {
    let exe = env::current_exe().unwrap().to_str().unwrap().to_owned();
    [exe, name.to_owned(), "--exact".to_owned(), "--nocapture".to_owned(), "--test-threads=1".to_owned()]
}

fn start(name: &str, folder: &Path) -> Child {
    let [exe, arguments @ ..] = this_test(name);
    Command::new(exe).args(arguments).env(FOLDER, folder).stdout(Stdio::piped()).spawn().unwrap()
}

#[expect(clippy::disallowed_methods, reason = "how the parent tells its child what to do")]
fn childs_folder() -> Option<PathBuf> {
    env::var_os(FOLDER).map(PathBuf::from)
}

/// Puts shards of many sizes until it is killed, and says each that is acknowledged.
#[test]
fn child_that_writes() {
    let Some(folder) = childs_folder() else { return };
    let store = open(&folder).unwrap();
    let first = u32::try_from(store.list().len() / 3).unwrap();
    for number in first.. {
        let bytes = content(number, [8_000_000, 100, 16_000_000][number as usize % 3]);
        let encoded = coded(&bytes);
        for index in 0..3 {
            store.put(&encoded.layout, index, &encoded.shards[usize::from(index)]).unwrap();
            println!("\nheld {} {index}", encoded.layout.id());
        }
    }
}

/// Reads `count` acknowledgements, or all that are left.
fn acknowledged(lines: &mut impl Iterator<Item = String>, count: usize) -> Vec<(LayoutId, u16)> {
    let parse = |line: String| {
        let (layout, index) = line.strip_prefix("held ")?.split_once(' ')?;
        Some((layout.parse().unwrap(), index.parse().unwrap()))
    };
    lines.filter_map(parse).take(count).collect()
}

/// Kill the child at many moments; each time on the same folder, so that it also meets what was left.
#[test]
fn a_kill_at_any_moment_leaves_whole_shards() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("shards");
    for round in 0..32_usize {
        let random = content(round.try_into().unwrap(), 4);
        let mut child = start("child_that_writes", &folder);
        let mut lines =
            BufReader::new(child.stdout.take().unwrap()).lines().map(|line| line.unwrap_or_default());
        let mut held = acknowledged(&mut lines, 1 + usize::from(random[0] % 4));
        assert!(matches!(open(&folder), Err(Error::InUse { .. })), "round {round}: the child has it open");
        let spins = usize::from(random[1]) << (random[2] % 15);
        std::hint::black_box((0..spins).fold(0, |sum, i| std::hint::black_box(sum ^ i)));
        child.kill().unwrap(); // SIGKILL
        child.wait().unwrap();
        held.extend(acknowledged(&mut lines, usize::MAX));

        let store = open(&folder).unwrap();
        assert_eq!(temporary_files(&folder), 0, "round {round}");
        let report = store.scrub();
        assert!(report.bad.is_empty(), "round {round}: {:?}", report.bad);
        for (layout, index) in held {
            assert!(store.get(layout, index).is_ok(), "round {round}: {layout} {index} was acknowledged");
        }
    }
}

/// Puts one shard that fits, then one that does not, and looks at what there is.
#[test]
fn child_that_runs_out_of_room() {
    let Some(folder) = childs_folder() else { return };
    let store = open(&folder).unwrap();
    let (small, large) = (content(1, 2_000), content(2, 4_000_000));
    let (small, large) = (coded(&small), coded(&large));
    store.put(&small.layout, 0, &small.shards[0]).unwrap();

    let error = store.put(&large.layout, 0, &large.shards[0]).unwrap_err();
    assert!(matches!(error, Error::Full { .. }), "{error:?}");
    assert_eq!(temporary_files(&folder), 0);
    assert!(!store.has(large.layout.id(), 0));
    assert_eq!(store.used_bytes(), small.layout.shard_bytes());

    // The store goes on: it reads, it removes, and it takes what fits.
    assert!(store.get(small.layout.id(), 0).unwrap() == *small.shards[0]);
    assert!(store.remove(small.layout.id(), 0).unwrap());
    store.put(&small.layout, 1, &small.shards[1]).unwrap();
    drop(store);
    let store = open(&folder).unwrap();
    assert_eq!((store.list().len(), store.scrub().good), (1, 1));
}

/// Run the child above behind a line of shell, in which `$0 $@` is the child.
fn run_out_of_room(shell: &str, folder: &Path) {
    let mut command = Command::new("sh");
    command.args(["-c", shell]).args(this_test("child_that_runs_out_of_room"));
    let output = command.env(FOLDER, folder).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "{output:?}");
}

/// The limit on a file's size stands in for a full disk where we may not mount one.
#[test]
fn no_room_for_a_file_leaves_nothing() {
    let home = tempfile::tempdir().unwrap();
    run_out_of_room(r#"trap '' XFSZ && ulimit -f 200 && exec "$0" "$@""#, home.path());
}

/// A really full disk, where the system lets us mount a small one (the test above runs everywhere).
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_nothing() {
    let home = tempfile::tempdir().unwrap();
    let mount = format!(r#"mount -t tmpfs -o size=1m tmpfs "${FOLDER}""#);
    let probe = Command::new("unshare").args(["-rm", "sh", "-c", &mount]).env(FOLDER, home.path()).output();
    if probe.is_ok_and(|output| output.status.success()) {
        run_out_of_room(
            &format!(r#"exec unshare -rm sh -c '{mount} && exec "$0" "$@"' "$0" "$@""#),
            home.path(),
        );
    }
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0, "nothing reached the disk below");
}
