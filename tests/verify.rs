//! `Heap::verify`: good heaps of every mode are good, also while threads use them; damage is found, and where it lies.
#![allow(unsafe_code)]

mod support;

use sal::prelude::*;
use sal::{Flaw, HeapOptions, Mode, VerifyReport};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use support::bytes::{self, header};
use support::heaps::{opened, unmap};
use support::{SetAtEnd, alone, fresh_path};

const NUMBERS: Root<SalVec<u64>> = Root::new("numbers");
const WORDS: Root<SalHashMap<u64, SalString>> = Root::new("words");

fn options(mode: Mode) -> HeapOptions {
    HeapOptions::new().mode(mode)
}

fn fill(heap: &Heap) {
    let tx = heap.write().unwrap();
    tx.root_or_default(NUMBERS).unwrap().extend(0..10_000);
    let words = tx.root_or_default(WORDS).unwrap();
    for key in 0..1000 {
        words.insert(key, SalString::from("a word that takes a block of its own"));
    }
    for key in 0..500 {
        words.remove(&(key * 2));
    }
}

fn verify_quiet(heap: &Heap) -> VerifyReport {
    // SAFETY: no other thread uses the heap.
    unsafe { heap.verify_quiet() }
}

/// Verifies a file that is opened for reading only.
fn verify_file(path: &Path) -> VerifyReport {
    let heap = opened(&HeapOptions::new().read_only(true), path);
    let report = heap.verify();
    unmap(heap);
    report
}

/// What is found when these bytes are damaged, and must be found there.
fn found_at(path: &Path, at: u64, damage: &[u8]) -> Vec<Flaw> {
    let good = bytes::read(path, at, damage.len());
    bytes::write(path, at, damage);
    let report = verify_file(path);
    bytes::write(path, at, &good);
    println!("{report}");
    report
        .findings
        .into_iter()
        .filter(|finding| finding.offset.is_some_and(|offset| at & !63 <= offset && offset <= at))
        .map(|finding| finding.flaw)
        .collect()
}

#[test]
fn good_heaps_of_all_modes_are_good_open_read_only_and_opened_again() {
    let _alone = alone();
    let volatile = HeapOptions::new().volatile().unwrap();
    fill(&volatile);
    assert!(verify_quiet(&volatile).is_good());
    for mode in [Mode::Shared, Mode::Atomic] {
        let (_directory, path) = fresh_path();
        let heap = opened(&options(mode), &path);
        assert!(verify_quiet(&heap).is_good(), "{mode:?}");
        fill(&heap);
        let report = verify_quiet(&heap);
        assert!(report.is_good(), "{report}");
        assert_eq!((report.roots, report.roots_unvisited, report.types), (2, 0, 2));
        heap.sync().unwrap();
        let report = verify_quiet(&heap);
        assert!(report.is_good(), "{report}");
        unmap(heap);
        let report = verify_file(&path);
        assert!(report.is_good(), "{report}");
        assert_eq!((report.roots, report.roots_unvisited), (2, 2), "nobody has asked for their types");
        let heap = opened(&options(mode), &path);
        let report = verify_quiet(&heap);
        assert!(report.is_good(), "{report}");
        unmap(heap);
    }
}

#[test]
fn a_heap_is_good_while_threads_allocate_and_sync_and_hold_sessions() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let heap = opened(&options(Mode::Atomic).fold_at(1 << 20), &path);
    fill(&heap);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stops = SetAtEnd(&stop);
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                heap.with_root_mut(NUMBERS, |numbers| numbers.extend(0..1000)).unwrap();
                heap.sync().unwrap();
            }
        });
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let blocks: Vec<_> =
                    (1..200).map(|len| allocator_api2::vec![in heap.alloc(); 1_u8; len * len]).collect();
                drop(blocks);
            }
        });
        for _ in 0..300 {
            let report = heap.verify();
            assert!(report.is_good(), "{report}");
        }
    });
    let tx = heap.write().unwrap();
    let _held = tx.root_mut(NUMBERS).unwrap();
    let report = heap.verify();
    assert!(report.is_good(), "{report}");
    assert_eq!(report.roots_unvisited, 1, "a session has it");
    drop(tx);
    unmap(heap);
}

#[test]
fn damage_to_directory_types_table_and_headers_is_found_where_it_lies() {
    let _alone = alone();
    for mode in [Mode::Shared, Mode::Atomic] {
        let (_directory, path) = fresh_path();
        let heap = opened(&options(mode), &path);
        fill(&heap);
        unmap(heap);
        let newest = bytes::newest(&path);
        let [table, roots, types, soft] =
            [header::SLAB_TABLE, header::ROOTS, header::TYPES, header::SOFT].map(|field| bytes::word(&newest, field));
        for field in [0, 4, 8, 16, 24, 32, 40, 44, 48, 56] {
            let found = found_at(&path, roots + 64 + field, &[0xEE; 3]);
            assert!(matches!(found[..], [Flaw::Root { .. }]), "{field}: {found:?}");
        }
        assert!(matches!(found_at(&path, roots + 8, &[9])[..], [Flaw::Root { part: "count", .. }]));
        for field in [0, 4, 8] {
            assert!(found_at(&path, types + field, &[0xEE; 3]).contains(&Flaw::TypeRecord), "{field}");
        }
        assert!(matches!(found_at(&path, table + 8, &[0xEE])[..], [Flaw::TableEntry { .. }]));
        let [(_, _), (older, _)] = bytes::slots(&path);
        let found = found_at(&path, older, &[0xEE]);
        assert!(matches!(found[..], [Flaw::HeaderSlot { part: "magic number", .. }]), "{found:?}");
        // Large objects are counted at this place.
        let good = bytes::read(&path, soft + 32, 1);
        bytes::write(&path, soft + 32, &[9]);
        let report = verify_file(&path);
        assert!(matches!(report.findings[0].flaw, Flaw::Bookkeeping { .. }), "{report}");
        bytes::write(&path, soft + 32, &good);
        assert!(verify_file(&path).is_good());
    }
}

#[test]
fn a_header_that_somebody_else_wrote_is_found_in_an_open_heap() {
    let _alone = alone();
    for mode in [Mode::Shared, Mode::Atomic] {
        let (_directory, path) = fresh_path();
        let heap = opened(&options(mode), &path);
        fill(&heap);
        heap.sync().unwrap();
        let good = bytes::slots(&path);
        bytes::edit_header(&path, |slot| {
            let generation = bytes::word(slot, header::GENERATION) + 2;
            bytes::put(slot, header::GENERATION, generation.to_le_bytes());
        });
        let report = heap.verify();
        assert!(report.findings.iter().any(|finding| finding.flaw == Flaw::OtherHeader), "{report}");
        bytes::write(&path, good[0].0, &good[0].1);
        assert!(heap.verify().is_good());
        unmap(heap);
    }
}

#[test]
fn a_block_of_another_heap_is_found_in_a_root() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let heap = opened(&options(Mode::Atomic), &path);
    let other = HeapOptions::new().volatile().unwrap();
    fill(&heap);
    other.with_session(|tx| tx.set_root(NUMBERS, (0..3).collect())).unwrap();
    let swap = || {
        let (tx, other) = (heap.write().unwrap(), other.write().unwrap());
        std::mem::swap(tx.root_mut(NUMBERS).unwrap(), other.root_mut(NUMBERS).unwrap());
    };
    swap();
    let report = heap.verify();
    assert!(matches!(report.findings[0].flaw, Flaw::ForeignBlock { .. }), "{report}");
    assert!(!other.verify().is_good());
    swap();
    assert!(heap.verify().is_good() && other.verify().is_good());
    unmap(heap);
}
