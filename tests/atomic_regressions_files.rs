//! What once went wrong with the files of atomic heaps, their logs, and callbacks. Each test says what broke, and why.
#![allow(unsafe_code)]

mod support;

use sal::prelude::*;
use sal::{HeapOptions, OpenError, Recovery, RecoveryPhase, SyncError, SyncLevel};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;
use support::heaps::unmap;
use support::{alone, fresh_path, process};

const NUMBERS: Root<SalVec<u64>> = Root::new("numbers");
const SECOND: Root<SalVec<u64>> = Root::new("second");
const LISTS: Root<SalVec<SalVec<u64>>> = Root::new("lists");

fn options() -> HeapOptions {
    HeapOptions::new().capacity(256 << 20).recovery(Recovery::Eager)
}

fn open_file(options: &HeapOptions, path: &Path) -> Result<Heap, OpenError> {
    // SAFETY: the tests write these files through this crate only.
    unsafe { options.open_or_create(path) }
}

/// Adds numbers to a root.
fn extend(heap: &Heap, root: Root<SalVec<u64>>, numbers: std::ops::Range<u64>) {
    heap.write().unwrap().root_or_default(root).unwrap().extend(numbers);
}

fn holds(heap: &Heap, root: Root<SalVec<u64>>, numbers: std::ops::Range<u64>) -> bool {
    heap.read().unwrap().root(root).unwrap().iter().copied().eq(numbers)
}

/// Waits for the good end of another process, which may hang.
fn must_end(mut process: process::Process) {
    let lines = process.listen();
    let mut said = String::new();
    loop {
        match lines.recv_timeout(Duration::from_secs(60)) {
            Ok(line) => said.push_str(&line),
            Err(RecvTimeoutError::Timeout) => panic!("it hangs; it said:\n{said}"),
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let (status, _) = process.end();
    assert!(status.success() && said.contains("1 passed"), "{status}; it said:\n{said}");
}

/// Pages in bulk go straight to the heap file, and the log has only their checksums, which nobody looked at when the
/// heap was opened. A plain copy of the files of a heap in use, first the heap file, then, after such a commit, the log,
/// opened with zeros in place of those pages.
#[test]
fn a_heap_file_that_is_older_than_its_log_is_refused() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let [copy, log, log_of_copy] = ["copy", "heap.sal-log", "copy-log"].map(|name| path.with_file_name(name));
    let heap = open_file(&options(), &path).unwrap();
    extend(&heap, NUMBERS, 0..10);
    heap.sync().unwrap();
    support::bytes::copy(&path, &copy);
    extend(&heap, SECOND, 1..1_000_001);
    heap.sync().unwrap();
    std::fs::copy(&log, &log_of_copy).unwrap();
    unmap(heap);
    for reads_only in [true, false] {
        let options = options().read_only(reads_only);
        // SAFETY: as above.
        if let Ok(heap) = unsafe { options.open(&copy) } {
            assert!(holds(&heap, NUMBERS, 0..10));
            // Without that commit there is no such root.
            let read = heap.read().unwrap();
            assert!(read.root(SECOND).map_or(true, |second| second.iter().copied().eq(1..1_000_001)));
            drop(read);
            unmap(heap);
        }
    }
}

/// The names of the log and of its directory were made from the path as it was given. A program that opened a heap by a
/// relative path and then went to another directory put the log there: after a crash the heap was without one.
#[test]
fn the_log_lies_beside_the_heap_file_wherever_the_program_goes() {
    let name = "the_log_lies_beside_the_heap_file_wherever_the_program_goes";
    if let Some((_, path)) = process::role() {
        let (here, elsewhere) = (path.parent().unwrap(), path.with_file_name("elsewhere"));
        std::fs::create_dir(&elsewhere).unwrap();
        std::env::set_current_dir(here).unwrap();
        let heap = open_file(&options(), Path::new("heap.sal")).unwrap();
        std::env::set_current_dir(&elsewhere).unwrap();
        extend(&heap, NUMBERS, 0..10);
        heap.sync().unwrap();
        extend(&heap, NUMBERS, 10..20);
        // It ends without a close.
        std::mem::forget(heap);
        return;
    }
    let _alone = alone();
    let (_directory, path) = fresh_path();
    process::run(name, "work", &path);
    assert!(path.with_file_name("heap.sal-log").exists());
    assert_eq!(std::fs::read_dir(path.with_file_name("elsewhere")).unwrap().count(), 0);
    let heap = open_file(&options(), &path).unwrap();
    assert!(holds(&heap, NUMBERS, 0..10));
    unmap(heap);
}

/// The callback is called by one of the marking threads. When it panicked, the others waited for ever for work that this
/// one had taken, and the heap's window stayed taken.
#[test]
fn a_panic_in_the_recovery_callback_comes_out_of_open_and_leaves_its_place_free() {
    let name = "a_panic_in_the_recovery_callback_comes_out_of_open_and_leaves_its_place_free";
    const PAYLOAD: u64 = 0x5A1;
    if let Some((role, path)) = process::role() {
        let lists = role.parse().unwrap();
        if !path.exists() {
            let heap = open_file(&options(), &path).unwrap();
            let tx = heap.write().unwrap();
            tx.root_or_default(LISTS).unwrap().extend((0..lists).map(|number| SalVec::from([number])));
            drop(tx);
            heap.sync().unwrap();
            // It ends without a close.
            std::mem::forget(heap);
            return;
        }
        let calls = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&calls);
        let panics = options().on_recovery(move |progress| {
            if progress.phase != RecoveryPhase::Marking {
                return ControlFlow::Continue(());
            }
            counter.fetch_add(1, Ordering::Relaxed);
            std::panic::resume_unwind(Box::new(PAYLOAD));
        });
        match catch_unwind(AssertUnwindSafe(|| open_file(&panics, &path))) {
            Ok(heap) => {
                assert_eq!(calls.load(Ordering::Relaxed), 0, "the panic was swallowed");
                unmap(heap.unwrap());
            }
            Err(payload) => assert_eq!(payload.downcast_ref::<u64>(), Some(&PAYLOAD)),
        }
        let heap = open_file(&options(), &path).unwrap();
        let read = heap.read().unwrap();
        assert!(read.root(LISTS).unwrap().iter().map(|list| list[0]).eq(0..lists));
        drop(read);
        unmap(heap);
        if calls.load(Ordering::Relaxed) > 0 {
            std::fs::write(path.with_file_name("called"), []).unwrap();
        }
        return;
    }
    let _alone = alone();
    // The callback is not called by a recovery that is over at once.
    for lists in [100_000, 400_000, 1_600_000, 6_400_000] {
        let (_directory, path) = fresh_path();
        for _ in 0..2 {
            must_end(process::start(name, &u64::to_string(&lists), &path));
        }
        if path.with_file_name("called").exists() {
            return;
        }
    }
    panic!("the callback was never called");
}

/// Callbacks run while folding is paused and locks may be held. One that uses the heap that it is told about gets an
/// error, or nothing done; it does not wait for itself.
#[test]
fn a_progress_callback_that_syncs_purges_or_copies_the_same_heap_does_not_wait_for_itself() {
    let name = "a_progress_callback_that_syncs_purges_or_copies_the_same_heap_does_not_wait_for_itself";
    if let Some((_, path)) = process::role() {
        let heap = open_file(&options().fold_at(1), &path).unwrap();
        extend(&heap, NUMBERS, 0..100_000);
        extend(&heap, SECOND, 0..1_000_000);
        heap.sync().unwrap();
        *heap.write().unwrap().root_mut(SECOND).unwrap() = SalVec::default();
        heap.sync_with(SyncLevel::Full).unwrap();
        let inner = path.with_file_name("inner");
        let mut next = 100_000;
        let mut disturb = || {
            extend(&heap, NUMBERS, next..next + 1);
            next += 1;
            assert!(matches!(heap.sync(), Err(SyncError::SessionHeld)));
            assert!(matches!(heap.sync_with(SyncLevel::Full), Err(SyncError::SessionHeld)));
            assert!(matches!(heap.sync_with(SyncLevel::Async), Err(SyncError::SessionHeld)));
            assert!(matches!(heap.try_sync(), Err(SyncError::SessionHeld)));
            assert!(matches!(heap.write().unwrap().sync(), Err(SyncError::SessionHeld)));
            assert!(matches!(heap.snapshot_to(&inner), Err(SyncError::SessionHeld)));
            assert_eq!(heap.purge(), 0);
        };
        let mut calls = [0, 0];
        heap.snapshot_with(path.with_file_name("copy"), |_| {
            disturb();
            let scrubbed = heap.scrub(|_| ControlFlow::Continue(()));
            assert!(scrubbed.is_good());
            calls[0] += 1;
            ControlFlow::Continue(())
        })
        .unwrap();
        let scrubbed = heap.scrub(|_| {
            disturb();
            calls[1] += 1;
            ControlFlow::Continue(())
        });
        assert!(scrubbed.is_good() && scrubbed.is_complete && calls[0] > 0 && calls[1] > 0);
        assert!(!inner.exists());
        // Afterwards all of it works.
        heap.sync_with(SyncLevel::Full).unwrap();
        heap.snapshot_to(&inner).unwrap();
        assert!(heap.purge() > 0);
        assert!(holds(&heap, NUMBERS, 0..next));
        return unmap(heap);
    }
    let _alone = alone();
    let (_directory, path) = fresh_path();
    must_end(process::start(name, "work", &path));
}

/// Of the log the copy has the beginning, and of the heap file its header, as they were before a fold, and the rest as it
/// was afterwards: what `cp` makes of a heap in use when the log comes first. The header leads to a commit that the file
/// has left behind, and it opened as a mixture of both.
#[test]
fn a_copy_of_a_log_and_of_a_header_that_are_older_than_the_rest_of_the_heap_file_is_refused() {
    let _alone = alone();
    for folds_by_opening in [false, true] {
        let (_directory, path) = fresh_path();
        let [copy, log, log_of_copy] = ["copy", "heap.sal-log", "copy-log"].map(|name| path.with_file_name(name));
        let set = |heap: &Heap, number: u64| {
            for (root, len) in [(NUMBERS, 5000), (SECOND, 10)] {
                let tx = heap.write().unwrap();
                let numbers = tx.root_mut(root).unwrap();
                numbers.clear();
                numbers.extend((0..len).map(|_| number));
            }
            heap.sync().unwrap()
        };
        let heap = open_file(&options(), &path).unwrap();
        extend(&heap, NUMBERS, 0..10);
        extend(&heap, SECOND, 0..10);
        heap.sync_with(SyncLevel::Full).unwrap();
        let older = set(&heap, 1);
        std::fs::copy(&log, &log_of_copy).unwrap();
        let headers = support::bytes::read(&path, 0, 2 * support::bytes::SLOT as usize);
        let newer = set(&heap, 2);
        assert_eq!((older, newer), (2, 3));
        if folds_by_opening {
            // The log and the header stay as they are, and the heap file gets what the log holds.
            support::bytes::copy(&path, &copy);
            let whole_log = std::fs::read(&log).unwrap();
            unmap(heap);
            std::fs::remove_file(&path).unwrap();
            support::bytes::copy(&copy, &path);
            std::fs::write(&log, whole_log).unwrap();
            let heap = open_file(&options(), &path).unwrap();
            support::bytes::copy(&path, &copy);
            unmap(heap);
        } else {
            heap.sync_with(SyncLevel::Full).unwrap();
            support::bytes::copy(&path, &copy);
            unmap(heap);
        }
        support::bytes::write(&copy, 0, &headers);
        for reads_only in [true, false] {
            // SAFETY: as above.
            let opened = unsafe { options().read_only(reads_only).open(&copy) };
            let is_refused = matches!(opened, Err(OpenError::CommitsMissing { found: 2, expected: 3 }));
            assert!(is_refused, "{folds_by_opening}: {opened:?}");
        }
    }
}

/// The heap file was long enough, because it grows before its pages arrive.
#[test]
fn a_heap_file_without_the_pages_that_its_log_names_is_refused_however_long_it_is() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let [copy, log, log_of_copy] = ["copy", "heap.sal-log", "copy-log"].map(|name| path.with_file_name(name));
    let heap = open_file(&options(), &path).unwrap();
    extend(&heap, NUMBERS, 0..10);
    heap.sync().unwrap();
    support::bytes::copy(&path, &copy);
    extend(&heap, SECOND, 1..1_000_001);
    heap.sync().unwrap();
    std::fs::copy(&log, &log_of_copy).unwrap();
    let len = std::fs::metadata(&path).unwrap().len();
    support::bytes::writable(&copy).set_len(len).unwrap();
    let before = support::bytes::hash(&copy);
    for reads_only in [true, false] {
        // SAFETY: as above.
        let opened = unsafe { options().read_only(reads_only).open(&copy) };
        assert!(matches!(opened, Err(OpenError::DamagedPage { .. })), "{opened:?}");
    }
    assert_eq!(support::bytes::hash(&copy), before);
    // With them it is good.
    support::bytes::copy(&path, &copy);
    unmap(heap);
    let heap = open_file(&options(), &copy).unwrap();
    assert!(holds(&heap, NUMBERS, 0..10) && holds(&heap, SECOND, 1..1_000_001));
    unmap(heap);
}

fn log_bytes(heap: &Heap) -> u64 {
    heap.stats().commits.unwrap().log_bytes
}

const LOG_LIMIT: u64 = 1 << 20;
/// What a commit of [`change`] may add to the log.
const ONE_COMMIT: u64 = 300_000;

fn change(heap: &Heap, round: u64) -> Result<u64, SyncError> {
    let tx = heap.write().unwrap();
    let numbers = tx.root_or_default(NUMBERS).unwrap();
    numbers.clear();
    numbers.extend((0..20_000).map(|_| round));
    drop(tx);
    heap.sync()
}

/// While a snapshot is copied nothing is folded, and the log grew for as long as that took. The syncs of another thread wait
/// at its limit, and give up where the snapshot waits for them.
#[test]
fn the_log_has_a_limit_while_a_snapshot_is_made_even_if_that_waits_for_a_sync() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let options = options().fold_at(256 << 10).log_limit(LOG_LIMIT).sync_timeout(Duration::from_millis(200));
    let heap = open_file(&options, &path).unwrap();
    change(&heap, 1).unwrap();
    let mut full = 0;
    heap.snapshot_with(path.with_file_name("copy"), |_| {
        let sync = || {
            for round in 2..100 {
                match change(&heap, round) {
                    Ok(_) => assert!(log_bytes(&heap) <= LOG_LIMIT + ONE_COMMIT),
                    Err(SyncError::LogFull { bytes }) if bytes >= LOG_LIMIT => return,
                    Err(error) => panic!("{error}"),
                }
            }
            panic!("{} bytes of log", log_bytes(&heap));
        };
        std::thread::scope(|scope| scope.spawn(sync).join().unwrap());
        full += 1;
        if full < 2 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })
    .unwrap_err();
    assert_eq!(full, 2);
    for round in 100..110 {
        change(&heap, round).unwrap();
    }
    assert!(log_bytes(&heap) <= LOG_LIMIT + ONE_COMMIT);
    assert!(heap.read().unwrap().root(NUMBERS).unwrap().iter().all(|&number| number == 109));
    unmap(heap);
}

/// A sync that waits at the limit goes on when the snapshot, or a step of a scrub, has ended.
#[test]
fn syncs_at_the_limit_of_the_log_go_on_as_soon_as_it_can_be_folded() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let options = options().fold_at(256 << 10).log_limit(LOG_LIMIT).sync_timeout(Duration::MAX);
    let heap = open_file(&options, &path).unwrap();
    extend(&heap, SECOND, 0..1_000_000);
    heap.sync_with(SyncLevel::Full).unwrap();
    for scrubs in [false, true] {
        let (sender, reports) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let heap = &heap;
            scope.spawn(move || {
                for round in 0..40 {
                    change(heap, round).unwrap();
                    assert!(log_bytes(heap) <= LOG_LIMIT + 2 * ONE_COMMIT);
                    // Nobody listens any more at last.
                    let _ = sender.send(log_bytes(heap));
                }
            });
            // The first time it goes on when the log is full.
            let mut is_full = false;
            let mut wait = || {
                while !is_full {
                    is_full = reports.recv_timeout(Duration::from_secs(60)).unwrap() >= LOG_LIMIT;
                }
                ControlFlow::Continue(())
            };
            if scrubs {
                assert!(heap.scrub(|_| wait()).is_good());
            } else {
                heap.snapshot_with(path.with_file_name("copy"), |_| wait()).unwrap();
            }
        });
    }
    assert!(holds(&heap, SECOND, 0..1_000_000));
    unmap(heap);
}
