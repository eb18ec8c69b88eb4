//! Copies of a heap that is in use: each is a heap of its own with exactly one commit.
#![allow(unsafe_code)]

mod support;

use sal::prelude::*;
use sal::{HeapOptions, Mode, SnapshotProgress, SyncError, SyncLevel};
use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use support::heaps::{open, open_with, run_and_kill, unmap};
use support::{SetAtEnd, alone, bytes, fresh_path, process};

const NUMBERS: Root<SalVec<u64>> = Root::new("numbers");
const WORDS: Root<SalHashMap<u64, SalString>> = Root::new("words");

fn fill(heap: &Heap, numbers: std::ops::Range<u64>) {
    heap.with_session(|tx| {
        tx.root_or_default(WORDS)?.extend(numbers.clone().map(|n| (n, SalString::from(n.to_string().as_str()))));
        tx.root_or_default(NUMBERS)?.extend(numbers);
        Ok(())
    })
    .unwrap();
}

fn assert_holds(heap: &Heap, end: u64) {
    let read = heap.read().unwrap();
    assert!(read.root(NUMBERS).unwrap().iter().copied().eq(0..end));
    let words = read.root(WORDS).unwrap();
    assert_eq!(words.len() as u64, end);
    assert!((0..end).all(|n| words.get(&n).unwrap().as_str() == n.to_string()));
}

/// Files in the directory of a path.
fn files(path: &Path) -> usize {
    std::fs::read_dir(path.parent().unwrap()).unwrap().count()
}

#[test]
fn a_snapshot_is_a_heap_of_its_own_that_holds_exactly_the_last_commit() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let at = |name: &str| path.with_file_name(name);
    let heap = open(&path);
    assert_eq!(heap.snapshot_to(at("empty")).unwrap(), 0);
    fill(&heap, 0..5000);
    let first = heap.sync().unwrap();
    fill(&heap, 5000..6000);
    assert_eq!(heap.snapshot_to(at("first")).unwrap(), first, "what no sync has seen is not in it");
    let second = heap.sync_with(SyncLevel::Async).unwrap();
    assert_eq!(heap.alloc().snapshot_to(at("second")).unwrap(), second);
    fill(&heap, 6000..6001);
    let id = heap.id();
    let third = heap.sync().unwrap();
    unmap(heap);
    assert_eq!(files(&path), 4, "no copy has a log");
    let mut ids = vec![id];
    for (name, commit, end) in [("first", first, 5000), ("second", second, 6000), ("heap.sal", third, 6001)] {
        let mut heap = open(&at(name));
        for generation in 0..3 {
            assert_eq!(heap.mode(), Mode::Atomic);
            let last = heap.last_commit().unwrap();
            // Closing commits what it gives back.
            assert!(last == commit || last > commit && (generation > 0 || name == "heap.sal"), "{name}: {last}");
            assert_holds(&heap, end + generation);
            // It can be changed, synced, closed and opened like any other.
            fill(&heap, end + generation..end + generation + 1);
            heap.sync().unwrap();
            ids.push(heap.id());
            unmap(heap);
            heap = open(&at(name));
        }
        unmap(heap);
    }
    let empty = open(&at("empty"));
    assert!(empty.read().unwrap().root(NUMBERS).is_err());
    ids.push(empty.id());
    unmap(empty);
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 4, "each has an id of its own");
}

#[test]
fn a_snapshot_can_be_opened_while_its_original_goes_on_elsewhere_and_does_not_change_with_it() {
    let name = "a_snapshot_can_be_opened_while_its_original_goes_on_elsewhere_and_does_not_change_with_it";
    if let Some((_, path)) = process::role() {
        let heap = open(&path);
        assert_holds(&heap, 1000);
        fill(&heap, 1000..1500);
        return heap.close().unwrap();
    }
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let heap = open(&path);
    fill(&heap, 0..1000);
    heap.sync().unwrap();
    let copy = path.with_file_name("copy");
    heap.snapshot_to(&copy).unwrap();
    fill(&heap, 1000..3000);
    heap.sync_with(SyncLevel::Full).unwrap();
    process::run(name, "copy", &copy);
    fill(&heap, 3000..3001);
    heap.sync().unwrap();
    unmap(heap);
    for (path, end) in [(path, 3001), (copy, 1500)] {
        let heap = open(&path);
        assert_holds(&heap, end);
        unmap(heap);
    }
}

#[test]
fn a_snapshot_of_a_snapshot_and_of_a_heap_that_was_not_closed_is_good() {
    let name = "a_snapshot_of_a_snapshot_and_of_a_heap_that_was_not_closed_is_good";
    if let Some((_, path)) = process::role() {
        let heap = open(&path);
        fill(&heap, 0..2000);
        heap.sync().unwrap();
        fill(&heap, 2000..3000);
        process::say("done");
        process::hear();
        return;
    }
    let _alone = alone();
    let (_directory, path) = fresh_path();
    run_and_kill(name, "writer", &path);
    let mut from = path.clone();
    for number in 0..4 {
        let heap = open(&from);
        assert_holds(&heap, 2000 + number / 2);
        if number % 2 == 1 {
            let last = 2000 + number / 2;
            fill(&heap, last..last + 1);
            heap.sync().unwrap();
        }
        from = path.with_file_name(format!("copy{number}"));
        heap.snapshot_to(&from).unwrap();
        unmap(heap);
    }
    let heap = open(&from);
    assert_holds(&heap, 2002);
    unmap(heap);
}

#[test]
fn snapshots_beside_two_writers_hold_whole_sessions_and_everything_acknowledged_before() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let pairs: [Root<[u64; 2]>; 2] = [Root::new("pair 0"), Root::new("pair 1")];
    let bulk: [Root<SalVec<u64>>; 2] = [Root::new("bulk 0"), Root::new("bulk 1")];
    let heap = open_with(&HeapOptions::new().fold_at(64 << 10), &path).unwrap();
    let stop = AtomicBool::new(false);
    let acknowledged = [AtomicU64::new(0), AtomicU64::new(0)];
    let mut taken: Vec<(PathBuf, [u64; 2], u64)> = Vec::new();
    std::thread::scope(|scope| {
        let _stops = SetAtEnd(&stop);
        for writer in 0..2 {
            let (heap, stop, acknowledged, pairs, bulk) = (&heap, &stop, &acknowledged, &pairs, &bulk);
            scope.spawn(move || {
                let _stops = SetAtEnd(stop);
                for round in 1.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let tx = heap.write().unwrap();
                    let pair = tx.root_or_default(pairs[writer].clone()).unwrap();
                    pair[0] = round;
                    let list = tx.root_or_default(bulk[writer].clone()).unwrap();
                    list.clear();
                    list.extend(std::iter::repeat_n(round, 1 + round as usize % 5 * 40_000));
                    pair[1] = round;
                    drop(tx);
                    heap.sync().unwrap();
                    // Release: with the Acquire below.
                    acknowledged[writer].store(round, Ordering::Release);
                }
            });
        }
        // So that the writers have something.
        let wait_for = |writer: usize, round| {
            while acknowledged[writer].load(Ordering::Acquire) < round && !stop.load(Ordering::Relaxed) {
                std::thread::yield_now();
            }
        };
        wait_for(0, 2);
        wait_for(1, 2);
        for number in 0..8 {
            let before = [0, 1].map(|writer: usize| acknowledged[writer].load(Ordering::Acquire));
            let copy = path.with_file_name(format!("copy{number}"));
            let commit = heap
                .snapshot_with(&copy, |_| {
                    // The writers' syncs go on, though the log is far longer than it should be.
                    if number < 3 {
                        wait_for(0, acknowledged[0].load(Ordering::Acquire) + 3);
                    }
                    ControlFlow::Continue(())
                })
                .unwrap();
            taken.push((copy, before, commit));
        }
    });
    unmap(heap);
    for (copy, before, commit) in taken {
        let heap = open(&copy);
        assert_eq!(heap.last_commit().unwrap(), commit);
        let read = heap.read().unwrap();
        for writer in 0..2 {
            let pair = read.root(pairs[writer].clone()).unwrap();
            assert!(pair[0] == pair[1] && pair[0] >= before[writer], "{pair:?}, {before:?}");
            let list = read.root(bulk[writer].clone()).unwrap();
            assert_eq!(list.len(), 1 + pair[0] as usize % 5 * 40_000);
            assert!(list.iter().all(|&number| number == pair[0]));
        }
        drop(read);
        unmap(heap);
    }
}

#[test]
fn progress_rises_to_the_end_and_breaking_off_leaves_no_file() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let copy = path.with_file_name("copy");
    let heap = open(&path);
    fill(&heap, 0..60_000);
    heap.sync().unwrap();
    let mut told: Vec<SnapshotProgress> = Vec::new();
    heap.snapshot_with(&copy, |progress| {
        told.push(progress);
        ControlFlow::Continue(())
    })
    .unwrap();
    assert!(told.windows(2).all(|pair| pair[0].done <= pair[1].done && pair[0].total == pair[1].total));
    let last = told[told.len() - 1];
    assert!(last.done == last.total && last.total == std::fs::metadata(&copy).unwrap().len());
    std::fs::remove_file(&copy).unwrap();
    for at in 0..told.len() {
        let mut calls = 0;
        let broken_off = heap.snapshot_with(&copy, |_| {
            calls += 1;
            if calls > at { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert!(matches!(broken_off, Err(SyncError::Os { source, .. }) if source.kind() == ErrorKind::Interrupted));
        assert!(!copy.exists() && files(&path) == 2, "the heap and its log");
    }
    fill(&heap, 60_000..60_001);
    heap.sync_with(SyncLevel::Full).unwrap();
    unmap(heap);
}

#[test]
fn a_snapshot_is_refused_where_there_is_a_file_or_no_directory_and_in_a_session() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let heap = open(&path);
    fill(&heap, 0..10);
    heap.sync().unwrap();
    let copy = path.with_file_name("copy");
    std::fs::write(&copy, "somebody's").unwrap();
    for taken in [&copy, &path] {
        let refused = heap.snapshot_to(taken);
        assert!(matches!(refused, Err(SyncError::Os { source, .. }) if source.kind() == ErrorKind::AlreadyExists));
    }
    assert_eq!(std::fs::read(&copy).unwrap(), b"somebody's");
    let refused = heap.snapshot_to(path.with_file_name("none").join("copy"));
    assert!(matches!(refused, Err(SyncError::Os { source, .. }) if source.kind() == ErrorKind::NotFound));
    let tx = heap.write().unwrap();
    assert!(matches!(heap.snapshot_to(path.with_file_name("other")), Err(SyncError::SessionHeld)));
    drop(tx);
    assert_eq!(files(&path), 3);
    fill(&heap, 10..11);
    heap.sync().unwrap();
    unmap(heap);
    let read_only = open_with(&HeapOptions::new().read_only(true), &path).unwrap();
    assert!(matches!(read_only.snapshot_to(path.with_file_name("other")), Err(SyncError::ReadOnly)));
    unmap(read_only);
}

#[test]
fn a_snapshot_keeps_holes_and_is_for_its_owner_alone() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let heap = open(&path);
    // A hole of 64 MiB, once it is punched at a close.
    heap.with_session(|tx| {
        tx.set_root(NUMBERS, SalVec::from_iter(0..8 << 20))?;
        tx.root_or_default(WORDS)?.insert(0, SalString::from("0"));
        Ok(())
    })
    .unwrap();
    heap.with_session(|tx| tx.take_root(NUMBERS).map(drop)).unwrap();
    unmap(heap);
    let heap = open(&path);
    fill(&heap, 0..1000);
    heap.sync_with(SyncLevel::Full).unwrap();
    let copy = path.with_file_name("copy");
    heap.snapshot_to(&copy).unwrap();
    assert_eq!(std::fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    let (of_heap, of_copy) = (bytes::disk(&path), bytes::disk(&copy));
    assert!(of_copy <= of_heap + (64 << 10), "{of_copy} bytes for {of_heap}");
    assert!(of_copy < std::fs::metadata(&copy).unwrap().len() / 4);
    unmap(heap);
    let heap = open(&copy);
    assert_holds(&heap, 1000);
    unmap(heap);
}

#[test]
fn a_snapshot_that_the_disk_has_no_room_for_leaves_no_file() {
    let name = "a_snapshot_that_the_disk_has_no_room_for_leaves_no_file";
    if let Some((_, path)) = process::role() {
        let heap = open(&path);
        fill(&heap, 0..100_000);
        heap.sync_with(SyncLevel::Full).unwrap();
        let filler = process::fill_disk(path.parent().unwrap());
        let copy = path.with_file_name("copy");
        let refused = heap.snapshot_to(&copy);
        assert!(matches!(refused, Err(SyncError::Os { source, .. }) if source.kind() == ErrorKind::StorageFull));
        assert!(!copy.exists());
        drop(filler);
        heap.snapshot_to(&copy).unwrap();
        fill(&heap, 100_000..100_001);
        heap.sync().unwrap();
        unmap(heap);
        let heap = open(&copy);
        assert_holds(&heap, 100_000);
        unmap(heap);
        return;
    }
    let (_directory, path) = fresh_path();
    if let Some(child) = process::start_on_small_disk(name, "fill", &path, 100) {
        child.succeed();
    }
}
