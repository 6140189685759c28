//! Torn, cut, flipped, foreign and full: what a disk can do to a journal.

use std::fs;

use nabla_types::{Address, Opg, chain::Tx};
use tempfile::TempDir;

use super::*;
use crate::validator::sequencer::world::{Chain, World};

/// A folder whose journal holds `count` blocks, and the state after them.
fn written(count: u64) -> (TempDir, Chain) {
    let folder = TempDir::new().expect("a folder");
    let mut chain = Chain::new();
    let (mut journal, state) =
        Journal::open(folder.path(), chain.world.genesis.clone()).expect("a new journal");
    assert_eq!(state, chain.state);
    for number in 0..count {
        let block = chain.push(vec![payment(&chain.world, number)]);
        journal.append(&block).expect("room on the disk");
    }
    (folder, chain)
}

fn payment(world: &World, number: u64) -> Tx {
    world.transfer(&world.bob, Address([9; 20]), Opg::from_units(1), number)
}

fn open(folder: &TempDir) -> Result<(Journal, State), JournalError> {
    Journal::open(folder.path(), World::new().genesis)
}

fn bytes(folder: &TempDir) -> Vec<u8> {
    fs::read(folder.path().join(FILE)).expect("the journal is there")
}

fn write(folder: &TempDir, bytes: &[u8]) {
    fs::write(folder.path().join(FILE), bytes).expect("the journal can be written");
}

/// Where each record ends.
fn ends(bytes: &[u8]) -> Vec<usize> {
    let (mut ends, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let length: [u8; 4] = bytes[at + 12..at + 16].try_into().expect("4 bytes");
        at += HEAD_BYTES + u32::from_be_bytes(length) as usize + HASH_BYTES;
        ends.push(at);
    }
    ends
}

#[test]
fn what_was_written_is_read_again() {
    let (folder, mut chain) = written(3);
    let (mut journal, state) = open(&folder).expect("a good journal");
    assert_eq!(state, chain.state);
    let block = chain.push(vec![payment(&chain.world, 3)]);
    journal.append(&block).expect("room on the disk");
    drop(journal);
    assert_eq!(open(&folder).expect("a good journal").1, chain.state);
}

/// Cut anywhere: every whole record before the cut is there, the torn one is gone for good, and the
/// journal goes on from there.
#[test]
fn a_torn_end_is_cut_off() {
    let (folder, chain) = written(3);
    let (whole, ends) = (bytes(&folder), ends(&bytes(&folder)));
    let edges = ends.iter().flat_map(|end| [end - 1, *end]).filter(|cut| *cut < whole.len());
    for cut in (0..whole.len()).step_by(11).chain(edges) {
        write(&folder, &whole[..cut]);
        let (mut journal, state) = open(&folder).unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
        let kept = ends.iter().filter(|end| **end <= cut).count();
        assert_eq!(state.height(), kept as u64, "cut at {cut}");
        assert_eq!(bytes(&folder).len(), ends[..kept].last().copied().unwrap_or(0));
        if cut % 97 == 0 {
            let next = payment(&chain.world, state.height());
            let sealed =
                state.propose(vec![next], chain.time_ms).expect("conserves").seal(&chain.world.validator);
            journal.append(&sealed.block).expect("room on the disk");
            drop(journal);
            assert_eq!(open(&folder).expect("a good journal").1.height(), kept as u64 + 1);
        }
    }
}

/// No flipped bit passes: not in a head, a block or a checksum, the last record included. The error names
/// the record.
#[test]
fn damage_is_refused_and_located() {
    let (folder, _) = written(3);
    let (whole, ends) = (bytes(&folder), ends(&bytes(&folder)));
    for at in (0..whole.len()).step_by(7) {
        let mut damaged = whole.clone();
        damaged[at] ^= 1 << (at % 8);
        write(&folder, &damaged);
        let before = ends.iter().filter(|end| **end <= at).count();
        let begins = ends[..before].last().copied().unwrap_or(0);
        match open(&folder) {
            Err(JournalError::Damaged { offset, height, .. }) => {
                assert_eq!((offset, height), (begins as u64, before as u64 + 1), "byte {at}");
            }
            other => panic!("byte {at}: {:?}", other.map(|(_, state)| state.height())),
        }
        assert_eq!(bytes(&folder), damaged, "a damaged journal is left as it is");
    }
}

/// Records with good checksums but other blocks: left out, twice, in another order, made by another.
#[test]
fn blocks_that_do_not_follow_are_refused() {
    let (folder, chain) = written(3);
    let (whole, ends) = (bytes(&folder), ends(&bytes(&folder)));
    let (first, second, third) = (&whole[..ends[0]], &whole[ends[0]..ends[1]], &whole[ends[1]..]);
    for wrong in [[first, third].concat(), [first, first].concat(), [second, first].concat(), third.to_vec()]
    {
        write(&folder, &wrong);
        assert!(matches!(open(&folder), Err(JournalError::Damaged { .. })));
    }
    let mut forged = chain.block(vec![payment(&chain.world, 3)]);
    forged.header.signature.0[0] ^= 1;
    write(&folder, &[&whole[..], &record(&forged)].concat());
    match open(&folder) {
        Err(JournalError::Apply { offset, height: 4, .. }) => assert_eq!(offset, whole.len() as u64),
        other => panic!("{:?}", other.map(|(_, state)| state.height())),
    }
}

#[test]
fn one_process_and_one_network() {
    let (folder, chain) = written(1);
    let held = open(&folder).expect("a good journal");
    assert!(matches!(open(&folder), Err(JournalError::Folder(nabla_store::Error::InUse { .. }))));
    drop(held);
    let mut other = chain.world.genesis.clone();
    other.name = "another".to_owned();
    let error = Journal::open(folder.path(), other).expect_err("of another network");
    assert!(matches!(error, JournalError::Folder(nabla_store::Error::WrongNetwork { .. })), "{error}");
}

/// A write that fails ends the journal: nothing of it stays, and nothing is written after it.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_ends_the_journal() {
    let (folder, mut chain) = written(2);
    let (mut journal, _) = open(&folder).expect("a good journal");
    journal.fill_disk();
    let block = chain.push(vec![payment(&chain.world, 2)]);
    match journal.append(&block) {
        Err(JournalError::Io { source, .. }) => assert_eq!(source.kind(), io::ErrorKind::StorageFull),
        other => panic!("{other:?}"),
    }
    journal.file = open_file(&journal.path).expect("the disk has room again");
    assert!(matches!(journal.append(&block), Err(JournalError::Ended { .. })), "the handle has ended");
    drop(journal);
    assert_eq!(open(&folder).expect("a good journal").1.height(), 2);
}

/// What a failed write left behind is cut off at once.
#[test]
fn a_half_written_record_is_taken_back() {
    let (folder, chain) = written(2);
    let (mut journal, _) = open(&folder).expect("a good journal");
    let half = record(&chain.block(vec![]));
    journal.file.write_all(&half[..half.len() / 2]).expect("room");
    journal.cut_back(u64::MAX).expect("it can be cut");
    drop(journal);
    assert_eq!(bytes(&folder).len(), *ends(&bytes(&folder)).last().expect("two records"));
    assert_eq!(open(&folder).expect("a good journal").1.height(), 2);
}
