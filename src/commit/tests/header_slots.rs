//! One header slot is damaged, and the one before counts: no commit that was acknowledged is missing without an error, and
//! what ordinary crashes leave beside a clean header is none.

use super::jumps::{ENDS, commit, jump};
use super::model::{PAGE_LEN, World, check, open, page_of, read_header};
use crate::commit::journal::{Commit, Durability, Journal};
use crate::commit::simulated::crash::{CrashImage, Strategy, Unit};
use crate::commit::simulated::hooked::Hooked;
use crate::commit::simulated::{CallKind, Effect, Fault, SimulatedDisk};
use crate::commit::storage::{Part, Storage};
use crate::error::OpenError;
use crate::format::header::{CLEAN, HEADER_LEN, newest};
use crate::format::log_record::BLOCK;
use crate::os::errno;
use std::sync::Arc;

/// What opening gives when the newest header is gone; none if there is no other.
fn open_without_newest(image: &CrashImage) -> Option<Result<Journal, OpenError>> {
    let mut image = image.clone();
    let offset = read_header(&SimulatedDisk::new(&image).unwrap()).slot_offset();
    image.data.write(offset, &[0x5A; HEADER_LEN]);
    let disk = Arc::new(SimulatedDisk::new(&image).unwrap());
    let mut slots = [[0; HEADER_LEN]; 2];
    for (slot, at) in slots.iter_mut().zip([0, PAGE_LEN]) {
        disk.read_at(Part::Data, slot, at).unwrap();
    }
    let header = newest([&slots[0], &slots[1]]).ok()?;
    let (calls, operations) = (disk.operations(), disk.trace().len());
    let inspected = Journal::inspect(&*disk, &header).map(|inspected| inspected.commit);
    let opened = Journal::open(Arc::<SimulatedDisk>::clone(&disk), header).map(|(journal, _)| journal);
    match (&inspected, &opened) {
        (Ok(commit), Ok(journal)) => assert_eq!(*commit, journal.last_commit()),
        (Err(inspected), Err(opened)) => {
            assert_eq!(inspected.to_string(), opened.to_string());
            // Nothing but the log's opening, which changes nothing, is noted.
            assert!(disk.operations() <= calls + 2 && disk.trace().len() <= operations + 2);
        }
        (inspected, opened) => panic!("{inspected:?} without changing anything, {opened:?}"),
    }
    Some(opened)
}

#[test]
fn damage_of_the_newest_header_at_any_moment_is_an_error_or_loses_nothing() {
    let seeds = if cfg!(debug_assertions) { 4 } else { 40 };
    let (mut missing, mut opened) = (0, 0);
    for seed in 0..seeds {
        println!("seed {seed}");
        let mut world = World::new(500 + seed);
        for _ in 0..30 {
            world.step().unwrap();
        }
        let trace = world.disk.trace();
        let mut moment = trace.start();
        for point in 0..=trace.len() {
            moment.advance_to(point);
            let expected = world.expected_at(point);
            for image in moment.crash_images(Strategy { unit: Unit::Sector, most: 2, seed }) {
                match open_without_newest(&image) {
                    None => {}
                    Some(Ok(journal)) => {
                        let last = journal.last_commit();
                        assert!(last >= expected.least, "commit {last} where {} was acknowledged", expected.least);
                        check(&journal, &expected.commits[&last], world.first_len());
                        opened += 1;
                    }
                    Some(Err(OpenError::CommitsMissing { found, expected: later })) => {
                        assert!(later > found && later <= *expected.commits.keys().next_back().unwrap());
                        missing += 1;
                    }
                    Some(Err(
                        OpenError::LogMissing
                        | OpenError::ForeignLog
                        | OpenError::DamagedLog { .. }
                        | OpenError::DamagedPage { .. }
                        | OpenError::Truncated { .. },
                    )) => {}
                    Some(Err(other)) => panic!("{other}"),
                }
            }
        }
    }
    assert!(missing > 30 && opened > 100, "{missing} errors, {opened} openings");
}

/// Not even the first record, which was known to be durable, is whole.
#[test]
fn a_clean_header_beside_a_log_whose_first_record_is_damaged_is_an_error_if_a_later_one_says_so() {
    let world = World::new(1);
    for stamp in 1..=3 {
        commit(&world.journal, stamp, 1, Durability::Durable);
    }
    world.disk.write_at(Part::Log, &[0; 8], PAGE_LEN).unwrap();
    let image = world.disk.trace().crash_images(world.disk.operations(), ENDS).pop().unwrap();
    let opened = open_without_newest(&image).unwrap().map(drop);
    assert!(matches!(opened, Err(OpenError::CommitsMissing { found: 0, expected: 1 })), "{opened:?}");
}

/// The last image that a close leaves which is killed before it removes the log.
fn close_without_unlink(disk: &Arc<SimulatedDisk>) -> CrashImage {
    let journal = open(disk);
    let matches = Box::new(|call: &crate::commit::simulated::Call| call.kind == CallKind::RemoveLog);
    disk.inject(Fault { matches, skip: 0, times: 1, errno: errno::IO, effect: Effect::Nothing });
    assert!(journal.finish(|_| Ok(()), |header| header.epoch += 1).is_err());
    disk.heal();
    let image = disk.trace().crash_images(disk.operations(), ENDS).pop().unwrap();
    assert!(image.log.is_some());
    image
}

/// Of a commit that a power cut took, the record can be there and the jump to it not, and it lies where the first record
/// of a log does. It is no sign of damage.
#[test]
fn a_lost_record_at_the_start_of_a_log_that_was_to_be_removed_is_no_damage() {
    let disk = Arc::clone(&World::new(2).disk);
    let journal = open(&disk);
    let mut last = 0;
    let trial = loop {
        last = commit(&journal, last + 1, 1, Durability::Durable);
        journal.fold().unwrap();
        assert!(last < 20, "the log does not go round");
        let image = disk.trace().crash_images(disk.operations(), ENDS).pop().unwrap();
        let trial = Arc::new(SimulatedDisk::new(&image).unwrap());
        // The opening that writes it has found no record.
        commit(&open(&trial), 77, 1, Durability::Written);
        if let Some((at, PAGE_LEN)) = jump(&trial) {
            trial.write_at(Part::Log, &[0; BLOCK as usize], at).unwrap();
            break trial;
        }
    };
    assert_eq!(open(&trial).last_commit(), last, "the record is lost");
    let image = close_without_unlink(&trial);
    let trial = Arc::new(SimulatedDisk::new(&image).unwrap());
    let header = read_header(&*trial);
    assert_eq!((header.state, header.commit), (CLEAN, last));
    assert_eq!(Journal::inspect(&*trial, &header).unwrap().commit, last);
    assert_eq!(open(&trial).last_commit(), last);
}

/// Commits that were only written: a power cut takes the first of them and leaves the others, whole.
#[test]
fn records_behind_a_lost_one_in_a_log_that_was_to_be_removed_are_no_damage() {
    for closes_at in [0, 1] {
        let world = World::new(3);
        for stamp in 1..=closes_at {
            commit(&world.journal, stamp, 1, Durability::Durable);
        }
        let lost = PAGE_LEN + closes_at * 8192;
        for stamp in 5..8 {
            commit(&world.journal, stamp, 1, Durability::Written);
        }
        world.disk.write_at(Part::Log, &[0; BLOCK as usize], lost + BLOCK).unwrap();
        let image = close_without_unlink(&world.disk);
        let disk = Arc::new(SimulatedDisk::new(&image).unwrap());
        assert_eq!(read_header(&*disk).state, CLEAN);
        assert_eq!(open(&disk).last_commit(), closes_at);
    }
}

#[test]
fn a_log_that_was_begun_without_a_whole_record_beside_a_clean_header_is_no_damage() {
    for call in 0.. {
        let disk = Arc::clone(&World::new(4).disk);
        let hooked = Hooked::new(&disk);
        let journal = Journal::of_clean(Arc::<Hooked>::clone(&hooked), read_header(&*disk));
        let of_hook = Arc::downgrade(&hooked);
        hooked.before(
            |_| true,
            call,
            move || {
                if let Some(storage) = of_hook.upgrade() {
                    storage.cut();
                }
            },
        );
        let page = page_of(20, 9);
        let commit =
            Commit { pages: &[20], images: &page, direct: &[], direct_checksums: &[], data_len: journal.data_len() };
        let is_whole = journal.append(&commit, Durability::Durable).is_ok();
        let strategy = Strategy { unit: Unit::Sector, most: 30, seed: call };
        for image in disk.trace().crash_images(disk.operations(), strategy) {
            assert!(open(&Arc::new(SimulatedDisk::new(&image).unwrap())).last_commit() <= 1);
        }
        if is_whole {
            assert!(call > 5);
            return;
        }
    }
}
