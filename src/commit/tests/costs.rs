//! What a commit costs, and that a fold beside it costs it nothing but time.

use super::model::{GROWTH, PAGE_LEN, World, page_of};
use crate::commit::journal::{Commit, Durability};
use std::time::Duration;

#[test]
fn a_commit_of_one_page_is_one_write_and_one_sync() {
    let world = World::new(1);
    let commit = Commit {
        pages: &[20],
        images: &page_of(20, 5),
        direct: &[],
        direct_checksums: &[],
        data_len: world.journal.data_len(),
    };
    world.journal.append(&commit, Durability::Durable).unwrap();
    let (calls, operations) = (world.disk.calls(), world.disk.operations());
    world.journal.append(&commit, Durability::Durable).unwrap();
    assert_eq!((world.disk.calls(), world.disk.operations()), (calls + 2, operations + 2));
    world.journal.append(&commit, Durability::Written).unwrap();
    assert_eq!(world.disk.calls(), calls + 3);
}

#[test]
fn a_clean_heap_that_nothing_was_done_to_is_not_written_to() {
    let world = World::new(1);
    let operations = world.disk.operations();
    world.journal.fold().unwrap();
    world.journal.finish(|_| Ok(()), |_| {}).unwrap();
    assert_eq!(world.disk.operations(), operations);
}

#[test]
fn a_log_that_is_folded_in_time_does_not_grow() {
    let world = World::new(1);
    for number in 1..500 {
        let commit = Commit {
            pages: &[20],
            images: &page_of(20, number),
            direct: &[],
            direct_checksums: &[],
            data_len: world.journal.data_len(),
        };
        world.journal.append(&commit, Durability::Durable).unwrap();
        if number % 3 == 0 {
            world.journal.fold().unwrap();
        }
        assert!(world.journal.log_bytes() <= 4 * 2 * PAGE_LEN + PAGE_LEN);
    }
    use crate::commit::storage::{Part, Storage};
    assert!(world.disk.len(Part::Log).unwrap() <= PAGE_LEN + 2 * GROWTH.least);
}

#[test]
fn commits_and_folds_beside_each_other_keep_every_page() {
    let world = World::new(1);
    let journal = &world.journal;
    std::thread::scope(|scope| {
        let folder = scope.spawn(|| {
            let mut pages = 0;
            while journal.last_commit() < 2000 {
                pages += journal.fold().unwrap().pages;
            }
            pages + journal.fold().unwrap().pages
        });
        for number in 1..=2000_u64 {
            let pages = [20 + number % 3, 30 + number % 5];
            let images = pages.map(|page| page_of(page, number)).concat();
            let commit = Commit {
                pages: &pages,
                images: &images,
                direct: &[],
                direct_checksums: &[],
                data_len: journal.data_len(),
            };
            journal.append(&commit, Durability::Durable).unwrap();
            let mut bytes = [0; PAGE_LEN as usize];
            for (back, page) in [(0, pages[0]), (1, 20 + (number + 2) % 3)] {
                if number > back {
                    journal.committed_page(page, &mut bytes).unwrap();
                    assert!(bytes == page_of(page, number - back));
                }
            }
        }
        assert!(folder.join().unwrap() > 0);
    });
    assert_eq!(journal.log_bytes(), 0);
}

#[test]
fn whoever_waits_for_a_turn_gets_it_between_two_pauses() {
    let world = World::new(1);
    let journal = &world.journal;
    for number in 1..=50 {
        let commit = Commit {
            pages: &[20],
            images: &page_of(20, number),
            direct: &[],
            direct_checksums: &[],
            data_len: journal.data_len(),
        };
        let pause = journal.pause_folding();
        journal.append(&commit, Durability::Written).unwrap();
        assert_eq!(journal.fold_within(Duration::ZERO), Ok(None));
        std::thread::scope(|scope| {
            let folder = scope.spawn(|| journal.fold_within(Duration::MAX).unwrap().unwrap());
            while !journal.is_fold_awaited() {
                std::thread::yield_now();
            }
            let outer = journal.pause_folding();
            drop(pause);
            // Nobody can fold, so it does not wait.
            journal.let_fold();
            assert!(!journal.is_folded());
            drop(outer);
            journal.let_fold();
            let _again = journal.pause_folding();
            assert!(journal.is_folded());
            assert_eq!(folder.join().unwrap().pages, 1);
        });
    }
}
