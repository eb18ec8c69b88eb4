//! Jumps of the log: where they are still needed, and what they may lead to.

use super::model::{GROWTH, World, open, page_of, read_header};
use crate::commit::journal::{Commit, Durability, Journal};
use crate::commit::simulated::crash::{Strategy, Unit};
use crate::commit::simulated::hooked::Hooked;
use crate::commit::simulated::{Call, CallKind, Effect, Fault, SimulatedDisk};
use crate::commit::storage::{Part, Storage};
use crate::format::log_record::{BLOCK, JUMP, RECORD_HEADER_LEN, RECORDS_START, RecordHeader};
use crate::os::errno;
use std::sync::Arc;
use zerocopy::FromBytes;

const FIRST: u64 = 20;
/// Its last image is the one to which all that was written has come.
pub(super) const ENDS: Strategy = Strategy { unit: Unit::Page, most: 2, seed: 0 };

/// Commits so many pages, all with this stamp.
pub(super) fn commit(journal: &Journal, stamp: u64, pages: u64, durability: Durability) -> u64 {
    let pages: Vec<u64> = (FIRST..FIRST + pages).collect();
    let images: Vec<u8> = pages.iter().flat_map(|&page| page_of(page, stamp)).collect();
    let commit =
        Commit { pages: &pages, images: &images, direct: &[], direct_checksums: &[], data_len: journal.data_len() };
    journal.append(&commit, durability).unwrap()
}

fn stamp_of(journal: &Journal) -> u64 {
    let mut bytes = [0; 4096];
    journal.committed_page(FIRST, &mut bytes).unwrap();
    let stamp = u64::from_le_bytes(*bytes.first_chunk().unwrap());
    assert!(bytes == page_of(FIRST, stamp));
    stamp
}

/// A fold says in the header where the chain goes on: behind its last record. What was appended there while the fold
/// was under way could be a jump, because the log's start had been free since the fold before. The fold then freed all
/// that lies before the next *record*, the jump with it; a later record was written over the jump, and the header led
/// to the middle of something: the heap did not open again.
#[test]
fn a_jump_that_is_appended_at_any_call_of_a_fold_is_not_overwritten() {
    let mut jumps = 0;
    for (before, pages) in (1..=5).flat_map(|before| [1, 2, 3].map(|pages| (before, pages))) {
        for call in 0.. {
            let disk = Arc::clone(&World::new(1).disk);
            let hooked = Hooked::new(&disk);
            let journal = Journal::of_clean(Arc::<Hooked>::clone(&hooked), read_header(&*disk));
            let journal = Arc::new(journal.with_growth(GROWTH));
            // So that the next fold has something to fold, and the start of the log is free.
            for stamp in 1..=before {
                commit(&journal, stamp, 1, Durability::Durable);
            }
            journal.fold().unwrap();
            commit(&journal, before + 1, 1, Durability::Durable);
            let appender = Arc::downgrade(&journal);
            hooked.before(
                |_| true,
                call,
                move || {
                    let journal = appender.upgrade().unwrap();
                    commit(&journal, before + 2, pages, Durability::Durable);
                },
            );
            journal.fold().unwrap();
            if !hooked.has_happened() {
                assert!(call > 5, "a fold has more calls than {call}");
                break;
            }
            jumps += u64::from(jump(&disk).is_some());
            for stamp in before + 3..before + 10 {
                assert_eq!(commit(&journal, stamp, 1 + stamp % 2, Durability::Durable), stamp);
                let found = Journal::inspect(&*disk, &read_header(&*disk)).map(|inspected| inspected.commit);
                let case = format!("{before} commits before, {pages} pages at call {call}");
                assert!(matches!(found, Ok(found) if found == stamp), "{case}: commit {stamp} is lost: {found:?}");
            }
            let strategy = Strategy { unit: Unit::Sector, most: 4, seed: call };
            for image in disk.trace().crash_images(disk.operations(), strategy) {
                let journal = open(&Arc::new(SimulatedDisk::new(&image).unwrap()));
                assert_eq!(stamp_of(&journal), before + 9);
            }
        }
    }
    assert!(jumps > 20, "only {jumps} of the appended commits jumped");
}

/// The log's bytes.
fn log(disk: &SimulatedDisk) -> Vec<u8> {
    let mut bytes = vec![0; disk.len(Part::Log).unwrap() as usize];
    disk.read_at(Part::Log, &mut bytes, 0).unwrap();
    bytes
}

/// Where the first jump lies, and where it leads to.
pub(super) fn jump(disk: &SimulatedDisk) -> Option<(u64, u64)> {
    let log = log(disk);
    (RECORDS_START..log.len() as u64).step_by(BLOCK as usize).find_map(|at| {
        let bytes = log.get(at as usize..at as usize + RECORD_HEADER_LEN)?;
        let header = RecordHeader::read_from_bytes(bytes).ok()?;
        (header.kind == JUMP && header.is_sealed(&[]) && header.commit > 0).then_some((at, header.target))
    })
}

/// Where the chain begins with a jump, nothing is known of the checksum of the record before, so whatever had the right
/// number counted as the record that the jump leads to. A power cut takes a jump and leaves the record; the next opening
/// goes on from the commit before, and makes that commit again, in the same place; a second power cut leaves its jump
/// and takes its record. Then a commit came back that an opening had already found to be missing.
#[test]
fn a_jump_does_not_lead_to_a_record_of_an_earlier_opening() {
    let disk = Arc::clone(&World::new(2).disk);
    let journal = open(&disk);
    let mut last = 0;
    // Until the next commit jumps; all before it has been folded then.
    loop {
        last = commit(&journal, last + 1, 1, Durability::Durable);
        journal.fold().unwrap();
        assert!(last < 20, "the log does not go round");
        let trial = disk.trace().crash_images(disk.operations(), ENDS).pop().unwrap();
        let trial = Arc::new(SimulatedDisk::new(&trial).unwrap());
        commit(&open(&trial), 77, 1, Durability::Written);
        if jump(&trial).is_some() {
            break;
        }
    }
    commit(&journal, 1001, 1, Durability::Written);
    let (at, target) = jump(&disk).unwrap();
    let first = log(&disk);
    let record = target as usize..target as usize + 8192;
    drop(journal);

    // The jump is lost, its record is not.
    disk.write_at(Part::Log, &[0; BLOCK as usize], at).unwrap();
    let journal = open(&disk);
    assert_eq!((journal.last_commit(), stamp_of(&journal)), (last, last));
    commit(&journal, 2002, 1, Durability::Written);
    assert_eq!(jump(&disk), Some((at, target)), "the second opening does as the first did");
    drop(journal);

    // The record is lost, its jump is not.
    assert!(log(&disk)[record.clone()] != first[record.clone()]);
    disk.write_at(Part::Log, &first[record], target).unwrap();
    let journal = open(&disk);
    assert_eq!((journal.last_commit(), stamp_of(&journal)), (last, last));
}

/// As above, but the chain is led to the start of the log where the lost record lies, without a jump.
#[test]
fn an_emptied_log_does_not_begin_with_a_record_of_an_earlier_opening() {
    let disk = Arc::clone(&World::new(2).disk);
    let journal = open(&disk);
    let mut last = 0;
    let trial = loop {
        last = commit(&journal, last + 1, 1, Durability::Durable);
        journal.fold().unwrap();
        assert!(last < 20, "the log does not go round");
        let trial = disk.trace().crash_images(disk.operations(), ENDS).pop().unwrap();
        let trial = Arc::new(SimulatedDisk::new(&trial).unwrap());
        commit(&open(&trial), 77, 1, Durability::Written);
        if let Some((at, target)) = jump(&trial) {
            assert_eq!(target, RECORDS_START);
            trial.write_at(Part::Log, &[0; BLOCK as usize], at).unwrap();
            break trial;
        }
    };
    let journal = open(&trial);
    assert_eq!(journal.last_commit(), last);
    assert!(journal.try_empty().unwrap().is_some());
    assert_eq!(journal.header().log_start, RECORDS_START);
    drop(journal);
    let journal = open(&trial);
    assert_eq!((journal.last_commit(), stamp_of(&journal)), (last, last));
}

#[test]
fn a_log_that_ends_within_a_block_goes_on_at_a_whole_one() {
    for extra in [512, 1024, 4095] {
        let disk = Arc::clone(&World::new(1).disk);
        let journal = open(&disk);
        commit(&journal, 1, 1, Durability::Durable);
        drop(journal);
        // A growing write that was broken off by the process's end.
        disk.open_log().unwrap();
        disk.set_len(Part::Log, disk.len(Part::Log).unwrap() + extra).unwrap();
        let journal = open(&disk);
        for stamp in 2..60 {
            if stamp % 5 == 0 {
                journal.fold().unwrap();
            }
            let last = commit(&journal, stamp, 1 + stamp % 3, Durability::Durable);
            let found = Journal::inspect(&*disk, &read_header(&*disk)).unwrap();
            assert_eq!(found.commit, last, "{extra} bytes too many");
        }
    }
}

#[test]
fn a_log_that_was_emptied_by_half_on_a_full_disk_loses_no_later_commit() {
    for later in [1, 2] {
        let disk = Arc::clone(&World::new(1).disk);
        let journal = open(&disk);
        commit(&journal, 1, 1, Durability::Durable);
        commit(&journal, 2, 1, Durability::Durable);
        journal.fold().unwrap();
        // With nothing to fold, only the two headers are written to the heap file.
        let matches = |call: &Call| call.kind == CallKind::Write && call.part == Part::Data;
        let (errno, effect) = (errno::NO_SPACE, Effect::Nothing);
        disk.inject(Fault { matches: Box::new(matches), skip: 1, times: 1, errno, effect });
        assert!(journal.try_empty().is_err() && !journal.is_broken());
        assert_eq!(disk.heal(), 1);
        let last = (0..later).map(|stamp| commit(&journal, 3 + stamp, 1, Durability::Durable)).last().unwrap();
        assert_eq!(Journal::inspect(&*disk, &read_header(&*disk)).unwrap().commit, last);
    }
}
