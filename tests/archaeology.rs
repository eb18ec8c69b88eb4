//! `Archaeology`: any heap file can be looked at, and what it says is right.
#![allow(unsafe_code)]

mod support;

use sal::prelude::*;
use sal::{Archaeology, Flaw, HeapOptions, Mode, OpenError, Tag};
use std::ops::ControlFlow;
use std::path::Path;
use support::bytes::{self, header};
use support::heaps::{log_of, opened, unmap};
use support::{alone, fresh_path, process};

const NUMBERS: Root<SalVec<u64>> = Root::new("numbers");
const PAIR: Root<(u32, f64)> = Root::class(77);
const WINDOW: u64 = 1 << 36;

fn fill(heap: &Heap) {
    let tx = heap.write().unwrap();
    tx.root_or_default(NUMBERS).unwrap().extend(0..100_000);
    tx.set_root(PAIR, (3, 0.25)).unwrap();
}

/// The numbers, by way of the root's value: a pointer, a length and a capacity in some order.
fn numbers(found: &Archaeology) -> Vec<u64> {
    let root = found.roots().into_iter().find(|root| root.info.tag == *NUMBERS.tag()).unwrap();
    let word = |at| u64::from_le_bytes(found.bytes(root.offset.unwrap() + at, 8).unwrap().try_into().unwrap());
    let words = [0, 8, 16].map(word);
    let place = words.iter().find_map(|&word| found.rebase(word).filter(|&offset| found.block_at(offset).is_some()));
    let len = *words.iter().filter(|&&word| word < 1 << 32).min().unwrap();
    let bytes = found.bytes(place.unwrap(), len * 8).unwrap();
    bytes.chunks(8).map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap())).collect()
}

#[test]
fn a_closed_heap_of_either_mode_shows_its_roots_types_blocks_and_bytes() {
    let _alone = alone();
    for mode in [Mode::Atomic, Mode::Shared] {
        let (_directory, path) = fresh_path();
        let heap = opened(&HeapOptions::new().mode(mode).capacity(1 << 30), &path);
        fill(&heap);
        let (id, start) = (heap.id(), heap.address_range().start as u64);
        let live: u64 = heap.stats().live_bytes;
        unmap(heap);
        let before = bytes::hash(&path);
        let mut found = Archaeology::open(&path).unwrap();
        assert!(found.damage().is_empty() && found.is_clean() && found.is_at_its_own_address());
        assert_eq!((found.mode(), found.id(), found.capacity()), (mode, id, 1 << 30));
        assert_eq!(found.bases().collect::<Vec<_>>(), [start]);
        assert_eq!(found.rebase(start + 5), Some(5));
        assert_eq!(found.rebase(start + found.len()), None);
        assert_eq!(found.rebase(5), None);
        let report = found.verify();
        assert!(report.is_good(), "{report}");
        assert_eq!((report.roots, report.types), (2, 2));
        let roots = found.roots();
        assert_eq!([&roots[0].info.tag, &roots[1].info.tag], [NUMBERS.tag(), &Tag::Class(77)]);
        assert!(roots[0].description.as_ref().unwrap().to_string().contains("u64"));
        assert_eq!(found.bytes(roots[1].offset.unwrap(), 4), Some(&[3, 0, 0, 0][..]));
        assert!(numbers(&found).into_iter().eq(0..100_000));
        assert!(found.knows_free_blocks());
        assert_eq!(found.blocks().map(|block| block.len).sum::<u64>(), live);
        for block in found.blocks() {
            assert_eq!(found.block_at(block.offset), Some(block));
            assert_eq!(found.block_at(block.offset + block.len - 1), Some(block));
        }
        assert_eq!(found.orphans().unwrap(), []);
        let scrubbed = found.scrub(|_| ControlFlow::Continue(()));
        assert!(scrubbed.is_good() && scrubbed.is_complete && scrubbed.has_checksums == (mode == Mode::Atomic));
        // A range past the end, ranges that wrap, an empty one.
        let len = found.len();
        assert_eq!(found.bytes(len - 1, 2), None);
        assert_eq!(found.bytes(u64::MAX, 2), None);
        assert_eq!(found.bytes(0, u64::MAX), None);
        assert_eq!(found.bytes(len, 0), Some(&[][..]));
        found.bytes_mut(roots[1].offset.unwrap(), 1).unwrap()[0] = 9;
        assert_eq!(found.bytes(roots[1].offset.unwrap(), 4), Some(&[9, 0, 0, 0][..]));
        drop(found);
        assert_eq!(bytes::hash(&path), before, "the file is as it was");
    }
}

#[test]
fn what_nothing_leads_to_is_an_orphan_and_what_was_freed_is_none() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let heap = opened(&HeapOptions::new(), &path);
    fill(&heap);
    let start = heap.address_range().start;
    let mut expected: Vec<(u64, u64)> = [100, 5000, 3 << 20]
        .into_iter()
        .map(|len| {
            let lost = allocator_api2::vec![in heap.alloc(); 0xAB_u8; len];
            let offset = (lost.as_ptr().addr() - start) as u64;
            lost.leak();
            (offset, len as u64)
        })
        .collect();
    drop(allocator_api2::vec![in heap.alloc(); 1_u8; 100]);
    unmap(heap);
    expected.sort_unstable();
    let found = Archaeology::open(&path).unwrap();
    let orphans = found.orphans().unwrap();
    assert_eq!(orphans.len(), 3, "{orphans:?}");
    for (orphan, (offset, len)) in orphans.iter().zip(expected) {
        assert!(orphan.offset == offset && orphan.len >= len);
        assert_eq!(found.bytes(orphan.offset, 3), Some(&[0xAB; 3][..]));
        assert_eq!(orphan.is_large, len > 1 << 20);
    }
}

#[test]
fn a_killed_heap_is_seen_as_of_its_last_sync_without_a_change_to_its_files() {
    let name = "a_killed_heap_is_seen_as_of_its_last_sync_without_a_change_to_its_files";
    if let Some((role, path)) = process::role() {
        let mode = if role == "shared" { Mode::Shared } else { Mode::Atomic };
        let heap = opened(&HeapOptions::new().mode(mode), &path);
        fill(&heap);
        heap.sync().unwrap();
        heap.with_root_mut(NUMBERS, |numbers| numbers.push(100_000)).unwrap();
        heap.sync().unwrap();
        heap.with_root_mut(NUMBERS, |numbers| numbers.clear()).unwrap();
        process::say("done");
        process::hear();
        return;
    }
    let _alone = alone();
    for role in ["atomic", "shared"] {
        let (_directory, path) = fresh_path();
        let mut child = process::start(name, role, &path);
        child.wait_for("done");
        let id = child.id();
        match Archaeology::open(&path) {
            Err(OpenError::Locked { holder }) => assert_eq!(holder, Some(id)),
            other => panic!("{other:?}"),
        }
        let found = Archaeology::options().ignore_lock(true).open(&path).unwrap();
        assert!(!found.is_clean());
        drop(found);
        child.kill();
        let before = bytes::hash(&path);
        let found = Archaeology::open(&path).unwrap();
        assert!(!found.is_clean() && found.damage().is_empty() && !found.knows_free_blocks());
        assert!(found.verify().is_good());
        if role == "atomic" {
            assert_eq!(found.commit(), 2);
            assert!(numbers(&found).into_iter().eq(0..=100_000));
            let report = found.scrub(|_| ControlFlow::Continue(()));
            assert!(report.is_good() && report.pages_checked > 190, "{report}");
        } else {
            assert!(numbers(&found).is_empty(), "the mapping was the file itself");
        }
        assert!(found.orphans().unwrap().iter().all(|orphan| found.bytes(orphan.offset, orphan.len).is_some()));
        drop(found);
        assert_eq!(bytes::hash(&path), before);
        if role == "atomic" {
            salvage(&path);
        }
    }
}

/// Of a heap with two commits in its log.
fn salvage(path: &Path) {
    let log = log_of(path);
    let good = std::fs::read(&log).unwrap();
    // The second record: behind the last image of the first.
    let second = (4096..good.len()).step_by(512).filter(|&at| good[at..].starts_with(b"\x8eSALrec\n")).nth(1).unwrap();
    // A bit of the second record, which was durable when nothing followed: a torn end.
    let mut torn = good.clone();
    torn[second + 100] ^= 1;
    std::fs::write(&log, &torn).unwrap();
    let found = Archaeology::open(path).unwrap();
    assert_eq!(found.commit(), 1);
    assert!(numbers(&found).into_iter().eq(0..100_000));
    drop(found);
    // A bit of the first, which the second says was durable: damage.
    let mut damaged = good.clone();
    damaged[4096 + 100] ^= 1;
    std::fs::write(&log, &damaged).unwrap();
    assert!(matches!(Archaeology::open(path), Err(OpenError::DamagedLog { offset: 4096 })));
    let found = Archaeology::options().salvage(true).open(path).unwrap();
    assert_eq!(found.commit(), 0);
    assert!(matches!(found.damage()[0].flaw, Flaw::Log { offset: 4096, .. }));
    assert!(!found.verify().is_good() && found.roots().is_empty());
    drop(found);
    std::fs::remove_file(&log).unwrap();
    assert!(matches!(Archaeology::open(path), Err(OpenError::LogMissing)));
    assert_eq!(Archaeology::options().salvage(true).open(path).unwrap().commit(), 0);
    std::fs::write(&log, &good).unwrap();
    assert_eq!(Archaeology::open(path).unwrap().commit(), 2);
}

#[test]
fn a_heap_whose_addresses_are_taken_is_seen_elsewhere() {
    let _alone = alone();
    let (directory, path) = fresh_path();
    let heap = opened(&HeapOptions::new(), &path);
    fill(&heap);
    unmap(heap);
    let copy = directory.path().join("copy");
    bytes::copy(&path, &copy);
    let heap = opened(&HeapOptions::new(), &path);
    let found = Archaeology::open(&copy).unwrap();
    assert!(!found.is_at_its_own_address());
    assert!(numbers(&found).into_iter().eq(0..100_000));
    assert_eq!(found.orphans().unwrap(), []);
    unmap(heap);
}

#[test]
fn pointers_of_every_generation_lead_to_the_same_bytes() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let heap = opened(&HeapOptions::new(), &path);
    fill(&heap);
    unmap(heap);
    let own = Archaeology::open(&path).unwrap().bases().next().unwrap();
    // Three generations: two windows of before, and the one of now.
    let bases = [own + 7 * WINDOW, own + 3 * WINDOW, own];
    bytes::edit_header(&path, |slot| {
        for (index, base) in bases.iter().enumerate() {
            bytes::put(slot, header::BASES + index * 8, base.to_le_bytes());
        }
    });
    let found = Archaeology::open(&path).unwrap();
    assert_eq!(found.bases().collect::<Vec<_>>(), bases);
    for base in bases {
        assert_eq!(found.rebase(base + 12_345), Some(12_345));
        assert_eq!(found.rebase(base + found.len()), None);
        assert_eq!(found.rebase(base.wrapping_sub(1)), None);
    }
    assert!(numbers(&found).into_iter().eq(0..100_000));
}

#[test]
fn damaged_headers_and_short_files_are_reported() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let heap = opened(&HeapOptions::new(), &path);
    fill(&heap);
    unmap(heap);
    let [(newest, slot), (older, _)] = bytes::slots(&path);
    bytes::write(&path, older + 60, &[0xEE]);
    let found = Archaeology::open(&path).unwrap();
    assert!(matches!(found.damage()[0].flaw, Flaw::HeaderSlot { part: "checksum", .. }));
    assert_eq!(found.damage()[0].offset, Some(older));
    assert!(numbers(&found).into_iter().eq(0..100_000));
    drop(found);
    bytes::write(&path, newest + 60, &[0xEE]);
    assert!(matches!(Archaeology::open(&path), Err(OpenError::Damaged)));
    bytes::write(&path, newest, &slot);
    let len = std::fs::metadata(&path).unwrap().len();
    let numbers_at = numbers_offset(&path);
    bytes::writable(&path).set_len(numbers_at + 8192).unwrap();
    let found = Archaeology::open(&path).unwrap();
    let truncated = Flaw::Truncated { expected: len, found: numbers_at + 8192 };
    assert!(found.damage().iter().any(|finding| finding.flaw == truncated), "{:?}", found.damage());
    assert_eq!(found.roots().len(), 2);
    assert!(found.bytes(numbers_at, 8192).is_some());
    assert_eq!(found.bytes(numbers_at, 8193), None);
    assert!(!found.missing_pages().is_empty());
    let report = found.scrub(|_| ControlFlow::Continue(()));
    assert_eq!(report.damaged[0].offset, numbers_at + 8192, "{report}");
    let _ = found.orphans().unwrap();
}

fn numbers_offset(path: &Path) -> u64 {
    let found = Archaeology::open(path).unwrap();
    found.blocks().find(|block| block.len >= 800_000).unwrap().offset
}

#[test]
fn what_is_no_heap_is_refused() {
    let (directory, path) = fresh_path();
    assert!(matches!(Archaeology::open(directory.path()), Err(OpenError::NotAFile)));
    assert!(matches!(Archaeology::open(&path), Err(OpenError::Os { .. })));
    for bytes in [&b""[..], b"text", &[0; 10_000]] {
        std::fs::write(&path, bytes).unwrap();
        assert!(matches!(Archaeology::open(&path), Err(OpenError::NotAHeap)));
    }
}
