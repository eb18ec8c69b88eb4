//! `Heap::scrub`: every damaged page that a commit has written is found, at its offset, with what lies there.
#![allow(unsafe_code)]

mod support;

use sal::prelude::*;
use sal::{HeapOptions, Mode, PageDamage, Place, ScrubReport, SyncLevel};
use std::ops::ControlFlow;
use std::path::Path;
use support::bytes::{self, header};
use support::heaps::{opened, unmap};
use support::{alone, fresh_path};

const NUMBERS: Root<SalVec<u64>> = Root::new("numbers");
const PAGE: u64 = 4096;

fn scrub(heap: &Heap) -> ScrubReport {
    heap.scrub(|_| ControlFlow::Continue(()))
}

fn scrub_file(path: &Path) -> ScrubReport {
    let heap = opened(&HeapOptions::new().read_only(true), path);
    let report = scrub(&heap);
    unmap(heap);
    report
}

/// A closed heap; returns the offset of the numbers.
fn create(path: &Path) -> u64 {
    let heap = opened(&HeapOptions::new(), path);
    let tx = heap.write().unwrap();
    let numbers = tx.root_or_default(NUMBERS).unwrap();
    numbers.extend(0..100_000);
    let offset = numbers.as_ptr().addr() - heap.address_range().start;
    drop(tx);
    unmap(heap);
    offset as u64
}

#[test]
fn heaps_are_good_with_commits_in_the_log_and_folded_and_closed() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let heap = opened(&HeapOptions::new(), &path);
    assert!(scrub(&heap).is_complete);
    for round in 0..5_u64 {
        heap.with_session(|tx| {
            tx.root_or_default(NUMBERS)?.extend(0..30_000 * round);
            Ok(())
        })
        .unwrap();
        let level = if round == 3 { SyncLevel::Full } else { SyncLevel::Data };
        heap.sync_with(level).unwrap();
        let report = scrub(&heap);
        assert!(report.is_good() && report.is_complete, "{report}");
        assert!(report.pages_checked > round * 30, "{report}");
    }
    unmap(heap);
    let report = scrub_file(&path);
    assert!(report.is_good() && report.is_complete && report.pages_checked > 500, "{report}");
    let heap = opened(&HeapOptions::new(), &path);
    heap.with_root_mut(NUMBERS, |numbers| numbers.clear()).unwrap();
    heap.sync().unwrap();
    assert!(scrub(&heap).is_good());
    unmap(heap);
    assert!(scrub_file(&path).is_good());
}

#[test]
fn heaps_without_checksums_say_so() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let heap = opened(&HeapOptions::new().mode(Mode::Shared), &path);
    let report = scrub(&heap);
    assert!(!report.has_checksums && report.pages_checked == 0);
    unmap(heap);
}

#[test]
fn a_damaged_page_is_found_at_its_offset_with_what_lies_there() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let numbers = create(&path);
    let newest = bytes::newest(&path);
    let [table, roots, types, segments] =
        [header::SLAB_TABLE, header::ROOTS, header::TYPES, header::SEGMENTS].map(|field| bytes::word(&newest, field));
    let good = scrub_file(&path);
    assert!(good.is_good());
    let cases = [
        (table + 1000, Some(Place::SlabTable)),
        (roots + 4000, Some(Place::Roots)),
        (types + 3000, Some(Place::Types)),
        (numbers + 500_000, None),
        (numbers, None),
    ];
    for (at, place) in cases {
        let good = bytes::read(&path, at, 1);
        bytes::write(&path, at, &[good[0] ^ 4]);
        let report = scrub_file(&path);
        assert_eq!(report.damaged.len(), 1, "{report}");
        let page = &report.damaged[0];
        assert_eq!((page.offset, page.damage), (at / PAGE * PAGE, PageDamage::Checksum));
        match (place, page.place) {
            (Some(place), found) => assert_eq!(place, found),
            (None, Place::Blocks { offset, len, count: 1 }) => {
                assert!(offset == numbers && len >= 800_000, "{report}");
            }
            (None, other) => panic!("{other:?}"),
        }
        bytes::write(&path, at, &good);
    }
    // A page that was lost and reads as zeros.
    let at = (numbers + 400_000) / PAGE * PAGE;
    let page = bytes::read(&path, at, PAGE as usize);
    bytes::write(&path, at, &[0; PAGE as usize]);
    assert_eq!(scrub_file(&path).damaged[0].offset, at);
    bytes::write(&path, at, &page);
    assert!(scrub_file(&path).is_good());
    // The first slab holds the root's name and its value: small blocks.
    bytes::write(&path, segments + 100, &[0xEE]);
    let report = scrub_file(&path);
    let found = report.damaged[0].place;
    assert!(matches!(found, Place::Blocks { count: 2.., .. }), "{found:?}");
}

#[test]
fn pages_that_only_the_log_holds_are_looked_at_there() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    create(&path);
    let heap = opened(&HeapOptions::new(), &path);
    heap.with_root_mut(NUMBERS, |numbers| numbers[50_000] = 1).unwrap();
    heap.sync().unwrap();
    assert!(scrub(&heap).is_good());
    let mut log = path.clone().into_os_string();
    log.push("-log");
    // The first record begins at the second page; its images fill it to the end.
    let at = PAGE + 96 + 2000;
    let good = bytes::read(log.as_ref(), at, 1);
    bytes::write(log.as_ref(), at, &[good[0] ^ 1]);
    let report = scrub(&heap);
    assert!(matches!(report.damaged[..], [ref page] if matches!(page.damage, PageDamage::LogImage { .. })), "{report}");
    bytes::write(log.as_ref(), at, &good);
    assert!(scrub(&heap).is_good());
    unmap(heap);
}

#[test]
fn progress_goes_from_front_to_back_and_can_break_off() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    create(&path);
    let heap = opened(&HeapOptions::new(), &path);
    let (mut last, mut calls) = (0, 0);
    let report = heap.scrub(|progress| {
        assert!(progress.done > last && progress.done <= progress.total);
        (last, calls) = (progress.done, calls + 1);
        ControlFlow::Continue(())
    });
    assert!(report.is_complete && calls > 1);
    let report = heap.scrub(|_| ControlFlow::Break(()));
    assert!(!report.is_complete && report.pages_checked < 1024);
    unmap(heap);
}

#[test]
fn a_heap_is_good_while_it_is_written_and_folded() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    create(&path);
    let heap = opened(&HeapOptions::new().fold_at(1 << 20), &path);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for round in 0..300_u64 {
                heap.with_root_mut(NUMBERS, |numbers| {
                    for at in 0..50 {
                        numbers[(at * 1999 + round as usize * 7) % 100_000] = round;
                    }
                    numbers.push(round);
                })
                .unwrap();
                heap.sync().unwrap();
            }
        });
        while !writer.is_finished() {
            let report = scrub(&heap);
            assert!(report.is_good() && report.is_complete, "{report}");
        }
    });
    unmap(heap);
    assert!(scrub_file(&path).is_good());
}
