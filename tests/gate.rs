//! Syncs beside sessions: who waits for whom, for how long, and what a panic leaves behind.
#![cfg_attr(feature = "nightly", feature(allocator_api))]
#![allow(unsafe_code)]

mod support;

use sal::prelude::*;
use sal::{HeapOptions, Mode, SessionHolder, SyncError, SyncLevel};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use support::{Random, fresh_path, seed};

const SUM: Root<u64> = Root::new("sum");
const LEVELS: [SyncLevel; 5] = [SyncLevel::None, SyncLevel::Seal, SyncLevel::Async, SyncLevel::Data, SyncLevel::Full];

/// A heap whose syncs wait for sessions for so long.
fn open(path: &Path, timeout: Duration) -> Heap {
    // SAFETY: only these tests write to the file.
    unsafe { HeapOptions::new().mode(Mode::Shared).sync_timeout(timeout).open_or_create(path) }.unwrap()
}

fn holders<T: std::fmt::Debug>(outcome: Result<T, SyncError>) -> Vec<SessionHolder> {
    match outcome {
        Err(SyncError::GateTimeout { holders }) => holders,
        other => panic!("{other:?}"),
    }
}

/// Runs `work`, which panics.
fn panics(work: impl FnOnce()) {
    assert!(catch_unwind(AssertUnwindSafe(work)).is_err());
}

#[test]
fn a_sync_that_waited_too_long_names_thread_and_place() {
    let (_directory, path) = fresh_path();
    let limit = Duration::from_millis(30);
    let heap = open(&path, limit);
    let handle = heap.alloc();
    handle.set_root(SUM, 1).unwrap();
    let (release, released) = mpsc::channel::<()>();
    let (sender, begun) = mpsc::channel();
    let work = move || {
        let line = line!() + 1;
        let changed = handle.with_root_mut(SUM, |sum| {
            sender.send(line).unwrap();
            let _ = released.recv();
            *sum += 1;
        });
        changed.unwrap();
    };
    let worker = thread::Builder::new().name("slow worker".into()).spawn(work).unwrap();
    let line = begun.recv().unwrap();
    let error = heap.sync().unwrap_err();
    assert!(error.to_string().contains("slow worker") && error.to_string().contains("gate.rs"), "{error}");
    let holders = holders(Err::<(), _>(error));
    assert_eq!(holders.len(), 1);
    assert_eq!((holders[0].begun_at.file(), holders[0].begun_at.line()), (file!(), line));
    assert!(holders[0].open_for >= limit);
    // The gate is open again, for others too.
    thread::scope(|scope| {
        scope.spawn(|| drop(heap.write().unwrap()));
    });
    drop(release);
    worker.join().unwrap();
    assert_eq!(heap.sync().unwrap(), 1);
}

#[test]
fn try_sync_waits_for_no_write_session_and_minds_no_reading_one() {
    let (_directory, path) = fresh_path();
    let heap = open(&path, Duration::MAX);
    let tx = heap.write().unwrap();
    thread::scope(|scope| {
        // Neither does it wait for a sync that waits.
        let waiting = scope.spawn(|| heap.sync());
        for _ in 0..100 {
            let held = scope.spawn(|| holders(heap.try_sync())).join().unwrap();
            assert_eq!(held.len(), 1);
            assert_eq!(held[0].thread, thread::current().name().unwrap());
        }
        drop(tx);
        waiting.join().unwrap().unwrap();
    });
    let reading = heap.read().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| heap.try_sync().unwrap());
        scope.spawn(|| heap.sync().unwrap());
    });
    drop(reading);
    let last = heap.last_commit().unwrap();
    assert_eq!(heap.try_sync().unwrap(), last + 1);
}

#[test]
fn a_thread_with_a_session_of_any_heap_cannot_sync() {
    let (_directory, path) = fresh_path();
    let heap = open(&path, Duration::MAX);
    let other = HeapOptions::new().volatile().unwrap();
    let refused = || {
        for level in LEVELS {
            assert!(matches!(heap.sync_with(level), Err(SyncError::SessionHeld)));
            assert!(matches!(heap.alloc().sync_with(level), Err(SyncError::SessionHeld)));
        }
        assert!(matches!(heap.try_sync(), Err(SyncError::SessionHeld)));
        assert!(matches!(heap.snapshot_to("copy"), Err(SyncError::SessionHeld)));
    };
    let reading = other.read().unwrap();
    refused();
    let outer = heap.write().unwrap();
    assert!(matches!(heap.write().unwrap().sync(), Err(SyncError::SessionHeld)));
    drop(reading);
    refused();
    thread::scope(|scope| {
        scope.spawn(|| {
            let attached = outer.attach();
            refused();
            drop(attached);
            assert_eq!(holders(heap.try_sync()).len(), 1);
        });
    });
    outer.sync().unwrap();
}

#[test]
fn inner_sessions_go_on_while_a_sync_waits_for_the_outer_one() {
    let (_directory, path) = fresh_path();
    let heap = open(&path, Duration::MAX);
    let handle = heap.alloc();
    handle.set_root(SUM, 0).unwrap();
    for _ in 0..20 {
        let outer = heap.write().unwrap();
        thread::scope(|scope| {
            let sync = scope.spawn(|| handle.sync());
            for _ in 0..200 {
                handle.with_root_mut(SUM, |sum| *sum += 1).unwrap();
                let inner = heap.write().unwrap();
                *inner.root_mut(SUM).unwrap() += 1;
                thread::yield_now();
            }
            drop(outer);
            sync.join().unwrap().unwrap();
        });
    }
    assert_eq!(handle.take_root(SUM).unwrap(), 8000);
}

#[test]
fn a_panic_in_a_write_session_poisons_the_heap_until_it_is_cleared() {
    let (_directory, path) = fresh_path();
    let heap = open(&path, Duration::MAX);
    let handle = heap.alloc();
    handle.set_root(SUM, 0).unwrap();
    let half_done: [&dyn Fn(); 3] = [
        &|| {
            let tx = heap.write().unwrap();
            *tx.root_mut(SUM).unwrap() += 1;
            panic!("in a session");
        },
        &|| handle.with_root_mut(SUM, |_| panic!("in a session through a handle")).unwrap(),
        &|| {
            let tx = heap.write().unwrap();
            thread::scope(|scope| {
                let work = || {
                    let _attached = tx.attach();
                    panic!("in an attached thread");
                };
                // Whoever joins it does not panic.
                assert!(scope.spawn(work).join().is_err());
            });
            drop(tx);
            panic!("as the others");
        },
    ];
    for work in half_done {
        assert!(!heap.is_poisoned());
        panics(work);
        assert!(heap.is_poisoned());
        for level in LEVELS {
            assert!(matches!(heap.sync_with(level), Err(SyncError::Poisoned)));
        }
        assert!(matches!(heap.try_sync(), Err(SyncError::Poisoned)));
        // It can be read, put right, and is still poisoned.
        handle.with_root_mut(SUM, |sum| *sum = 0).unwrap();
        assert!(matches!(heap.write().unwrap().sync(), Err(SyncError::Poisoned)));
        heap.clear_poison();
        heap.sync().unwrap();
    }
    panics(|| {
        let _reading = heap.read().unwrap();
        panic!("in a reading session");
    });
    panics(|| {
        drop(heap.write().unwrap());
        panic!("after a session");
    });
    assert!(!heap.is_poisoned());
}

#[test]
fn a_session_that_begins_and_ends_while_its_thread_panics_already_poisons_nothing() {
    struct CleansUp<'a>(&'a Heap);
    impl Drop for CleansUp<'_> {
        fn drop(&mut self) {
            self.0.write().unwrap().set_root(SUM, 5).unwrap();
        }
    }
    let heap = HeapOptions::new().volatile().unwrap();
    panics(|| {
        let _cleaning = CleansUp(&heap);
        panic!("outside of any session");
    });
    assert!(!heap.is_poisoned());
    assert_eq!(heap.alloc().take_root(SUM).unwrap(), 5);
}

#[test]
fn only_levels_that_commit_count_and_errors_say_why_nothing_can_be_committed() {
    let (_directory, path) = fresh_path();
    let heap = open(&path, Duration::MAX);
    let handle = heap.alloc();
    assert_eq!(handle.last_commit().unwrap(), 0);
    assert_eq!(LEVELS.map(|level| handle.sync_with(level).unwrap()), [0, 0, 1, 2, 3]);
    assert_eq!(handle.sync().unwrap(), 4);
    assert_eq!(heap.write().unwrap().sync_with(SyncLevel::Full).unwrap(), 5);
    assert_eq!((heap.last_commit().unwrap(), SalSync::last_commit(&heap).unwrap()), (5, 5));
    assert!(matches!(handle.snapshot_to("copy"), Err(SyncError::Os { .. })));
    heap.close().unwrap();
    assert!(matches!(handle.sync(), Err(SyncError::Closed)));
    assert!(matches!(handle.last_commit(), Err(SyncError::Closed)));
    assert!(matches!(SalAlloc::new().sync(), Err(SyncError::Volatile)));
    let volatile = HeapOptions::new().volatile().unwrap();
    assert_eq!([SyncLevel::None, SyncLevel::Seal].map(|level| volatile.sync_with(level).unwrap()), [0, 0]);
    assert!(matches!(volatile.sync_with(SyncLevel::Async), Err(SyncError::Volatile)));
}

#[test]
fn closing_waits_for_syncs_that_others_began_through_a_handle() {
    for _ in 0..3 {
        let (_directory, path) = fresh_path();
        let heap = open(&path, Duration::MAX);
        let handle = heap.alloc();
        handle.set_root(SUM, 0).unwrap();
        thread::scope(|scope| {
            let (sender, synced) = mpsc::channel();
            for _ in 0..3 {
                let sender = sender.clone();
                scope.spawn(move || {
                    loop {
                        match handle.sync() {
                            Ok(commit) => sender.send(commit).unwrap(),
                            Err(SyncError::Closed) => break,
                            Err(error) => panic!("{error}"),
                        }
                    }
                });
            }
            drop(sender);
            for _ in 0..5 {
                synced.recv().unwrap();
            }
            heap.close().unwrap();
        });
    }
}

#[test]
fn sessions_and_syncs_of_many_threads_do_not_disturb_each_other() {
    let seed = seed(0x5a1_6a7e);
    println!("seed {seed}");
    let (_directory, path) = fresh_path();
    let heap = open(&path, Duration::from_secs(60));
    let handle = heap.alloc();
    const ROOTS: [Root<u64>; 8] = [
        Root::new("0"),
        Root::new("1"),
        Root::new("2"),
        Root::new("3"),
        Root::new("4"),
        Root::new("5"),
        Root::new("6"),
        Root::new("7"),
    ];
    let sums: Vec<u64> = thread::scope(|scope| {
        let heap = &heap;
        let work = |thread: usize| {
            let mut random = Random(seed.wrapping_add(thread as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let (mut sum, mut last) = (0, 0);
            for _ in 0..150 {
                let tx = heap.write().unwrap();
                *tx.root_or_default(ROOTS[thread].clone()).unwrap() += 1;
                sum += 1;
                let outcome = match random.below(12) {
                    0 => tx.sync(),
                    1 => tx.sync_with(LEVELS[random.below(LEVELS.len())]),
                    2 => {
                        drop(tx);
                        match heap.try_sync() {
                            Err(SyncError::GateTimeout { holders }) => {
                                assert!(!holders.is_empty());
                                continue;
                            }
                            other => other,
                        }
                    }
                    3 => {
                        let inner = heap.write().unwrap();
                        drop(tx);
                        thread::yield_now();
                        drop(inner);
                        handle.sync()
                    }
                    4 => {
                        handle.set_root(Root::new("shared"), sum).ok();
                        continue;
                    }
                    _ => continue,
                };
                let commit = outcome.unwrap();
                assert!(commit >= last && heap.last_commit().unwrap() >= commit);
                last = commit;
            }
            sum
        };
        let threads: Vec<_> = (0..ROOTS.len()).map(|thread| scope.spawn(move || work(thread))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let stored: Vec<u64> = ROOTS.into_iter().map(|root| handle.take_root(root).unwrap()).collect();
    assert_eq!(stored, sums);
    heap.sync().unwrap();
}
