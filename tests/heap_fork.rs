//! Heaps over `fork`: a file heap stays the parent's, the default heap works in both.
#![cfg_attr(feature = "nightly", feature(allocator_api))]
#![allow(unsafe_code)]

mod support;

use allocator_api2::alloc::Allocator;
use allocator_api2::boxed::Box as SalBox;
use allocator_api2::vec::Vec as SalVector;
use sal::{CloseError, Heap, OpenError, Root, SalAlloc, SalRoots, SalSync, SessionError, SyncError};
use std::alloc::Layout;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use support::heaps::open;
use support::{SetAtEnd, alone, fresh_path, process};

type Numbers = SalVector<u64, SalAlloc>;
const NUMBERS: Root<Numbers> = Root::new("numbers");

/// Runs `work` in a forked child, which ends without running anything of the parent's; returns its exit code.
fn in_child(work: impl FnOnce()) -> i32 {
    // SAFETY: the child only runs `work`, which takes no lock that a thread of the parent may have had, and ends.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        let outcome = std::panic::catch_unwind(AssertUnwindSafe(work));
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(if outcome.is_ok() { 7 } else { 1 }) };
    }
    wait(child)
}

fn wait(child: i32) -> i32 {
    let mut status = 0;
    // SAFETY: our child, waited for once.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { -libc::WTERMSIG(status) }
}

fn filled(heap: &Heap) -> Numbers {
    let mut numbers = SalVector::new_in(heap.alloc());
    numbers.extend(0..10_000);
    let mut root = SalVector::new_in(heap.alloc());
    root.extend(0..50_000_u64);
    heap.write().unwrap().set_root(NUMBERS, root).unwrap();
    numbers
}

#[test]
fn in_the_child_a_file_heap_gives_nothing_takes_nothing_and_begins_no_session() {
    let (_directory, path) = fresh_path();
    let heap = open(&path);
    let mut numbers = filled(&heap);
    let boxed = SalBox::new_in([1_u8; 1000], heap.alloc());
    let handle = heap.alloc();
    let live = heap.stats().live_bytes;
    let code = in_child(|| {
        for size in [1, 500, 50_000, 4 << 20] {
            assert!(handle.allocate(Layout::from_size_align(size, 1).unwrap()).is_err());
        }
        assert!(numbers.try_reserve(100_000).is_err());
        assert!(numbers.iter().zip(0..).all(|(number, expected)| *number == expected));
        let address = (&raw const *boxed).addr();
        // SAFETY: the block is the parent's, and freeing it here must do nothing, however often.
        unsafe {
            let block = std::ptr::NonNull::new(std::ptr::with_exposed_provenance_mut(address)).unwrap();
            for _ in 0..100 {
                handle.deallocate(block, Layout::new::<[u8; 1000]>());
            }
        }
        assert!(matches!(heap.write(), Err(SessionError::Forked)));
        assert!(matches!(heap.read(), Err(SessionError::Forked)));
        assert!(matches!(heap.sync(), Err(SyncError::Forked)));
        assert!(matches!(handle.with_session(|_| Ok(())), Err(sal::RootError::Session(SessionError::Forked))));
        assert_eq!(heap.purge(), 0);
        // Values of the child's own come from the default heap.
        let made = sal::collections::SalString::from("made in the child");
        assert_eq!(made.as_str(), "made in the child");
    });
    assert_eq!(code, 7);
    assert_eq!(heap.stats().live_bytes, live);
    drop(boxed);
    numbers.push(1);
    heap.close().unwrap();
}

#[test]
fn a_child_waits_for_no_session_and_no_sync_that_its_parent_had() {
    let (_directory, path) = fresh_path();
    let heap = open(&path);
    let handle = heap.alloc();
    let outer = heap.write().unwrap();
    std::thread::scope(|scope| {
        let syncing = scope.spawn(|| heap.sync());
        for _ in 0..20 {
            std::thread::yield_now();
            let mut inner = Some(heap.write().unwrap());
            let code = in_child(|| {
                assert!(matches!(heap.sync(), Err(SyncError::Forked)));
                drop(inner.take());
                assert!(matches!(heap.write(), Err(SessionError::Forked)));
                assert!(matches!(heap.try_sync(), Err(SyncError::Forked)));
                assert!(matches!(heap.last_commit(), Err(SyncError::Forked)));
                assert!(matches!(handle.sync(), Err(SyncError::Forked)));
                assert!(!heap.is_poisoned());
            });
            assert_eq!(code, 7);
        }
        drop(outer);
        syncing.join().unwrap().unwrap();
    });
}

#[test]
fn a_session_that_ended_in_the_child_does_not_keep_it_from_syncing_a_heap_of_its_own() {
    let (_directory, path) = fresh_path();
    let heap = open(&path);
    let mut session = Some(heap.write().unwrap());
    let code = in_child(|| {
        drop(session.take());
        let own = open(&path.with_extension("own"));
        own.sync().unwrap();
        own.close().unwrap();
    });
    assert_eq!(code, 7);
}

#[test]
fn a_childs_close_drop_and_exit_leave_heap_and_lock_to_the_parent() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    for way in 0..3 {
        let heap = open(&path);
        let mut slot = Some(heap);
        let code = in_child(|| {
            let heap = slot.take().unwrap();
            match way {
                0 => assert!(matches!(heap.close(), Err(CloseError::Forked))),
                1 => drop(heap),
                // SAFETY: refused, so nothing is unmapped.
                _ => assert!(matches!(unsafe { heap.close_and_unmap() }, Err(CloseError::Forked))),
            }
        });
        assert_eq!(code, 7, "way {way}");
        let heap = slot.unwrap();
        // SAFETY: only these tests write to the file.
        assert!(matches!(unsafe { Heap::open(&path) }, Err(OpenError::Locked { .. })), "way {way}");
        *heap.write().unwrap().root_or_default(Root::<u64>::new("ways")).unwrap() += 1;
        assert_eq!(*heap.read().unwrap().root(Root::<u64>::new("ways")).unwrap(), way + 1);
        // SAFETY: nothing of it is used again.
        unsafe { heap.close_and_unmap() }.unwrap();
    }
}

#[test]
fn a_child_that_dropped_the_heap_can_use_the_handle_and_fork_again() {
    let (_directory, path) = fresh_path();
    // No block was ever taken, so nobody but the owner keeps the heap's state.
    let heap = open(&path);
    let handle = heap.alloc();
    let mut slot = Some(heap);
    let code = in_child(|| {
        drop(slot.take());
        assert!(handle.allocate(Layout::new::<u64>()).is_err());
        assert!(matches!(handle.with_session(|_| Ok(())), Err(sal::RootError::Session(SessionError::Closed))));
        assert_eq!(in_child(|| assert!(handle.allocate(Layout::new::<u64>()).is_err())), 7);
    });
    assert_eq!(code, 7);
    slot.unwrap().close().unwrap();
}

#[test]
fn what_a_child_and_its_children_write_stays_with_them() {
    let (_directory, path) = fresh_path();
    let heap = open(&path);
    let mut numbers = filled(&heap);
    heap.sync().unwrap();
    let before = support::bytes::hash(&path);
    let code = in_child(|| {
        numbers.fill(13);
        let code = in_child(|| {
            assert!(numbers.iter().all(|number| *number == 13), "the grandchild has what its parent wrote");
            numbers.fill(14);
        });
        assert_eq!(code, 7);
        assert!(numbers.iter().all(|number| *number == 13));
    });
    assert_eq!(code, 7);
    assert!(numbers.iter().zip(0..).all(|(number, expected)| *number == expected));
    assert_eq!(support::bytes::hash(&path), before);
    heap.close().unwrap();
}

#[test]
fn the_parent_goes_on_and_its_lock_goes_with_it_though_the_child_lives() {
    let name = "the_parent_goes_on_and_its_lock_goes_with_it_though_the_child_lives";
    if let Some((_, path)) = process::role() {
        let heap = open(&path);
        assert_eq!(heap.read().unwrap().root(NUMBERS).unwrap().len(), 50_001);
        return heap.close().unwrap();
    }
    let (_directory, path) = fresh_path();
    let heap = open(&path);
    let numbers = filled(&heap);
    let mut ends = [0; 2];
    // SAFETY: room for both ends.
    assert_eq!(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) }, 0);
    // SAFETY: the child only waits and ends.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let mut byte = 0_u8;
        // SAFETY: plain calls; the read ends when the parent closes its end.
        unsafe {
            libc::close(ends[1]);
            libc::read(ends[0], (&raw mut byte).cast(), 1);
            libc::_exit(i32::from(byte));
        }
    }
    let tx = heap.write().unwrap();
    tx.root_mut(NUMBERS).unwrap().push(5);
    drop((tx, numbers));
    heap.close().unwrap();
    process::run(name, "open", &path);
    // SAFETY: our end of the pipe.
    unsafe { libc::write(ends[1], [7_u8].as_ptr().cast(), 1) };
    assert_eq!(wait(child), 7);
}

#[test]
fn the_default_heap_works_in_children_of_a_busy_threaded_parent() {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stops = SetAtEnd(&stop);
        for thread in 0..3_usize {
            let stop = &stop;
            scope.spawn(move || {
                let mut held: Vec<SalVector<u8, SalAlloc>> = Vec::new();
                let mut round = thread;
                while !stop.load(Ordering::Relaxed) {
                    round += 1;
                    let mut block = SalVector::new_in(SalAlloc::new());
                    block.resize(1 + round * 37 % 20_000, thread as u8);
                    held.push(block);
                    if held.len() > 200 {
                        held.swap_remove(round % 200);
                    }
                }
            });
        }
        for round in 0..30_u64 {
            let mut mine = SalVector::new_in(SalAlloc::new());
            mine.extend(0..round * 100);
            // The parent's own threads use another allocator, whose locks the C library sees to over the fork.
            let code = in_child(|| {
                mine.extend(0..5000);
                let boxes: SalVector<_, SalAlloc> = {
                    let mut boxes = SalVector::new_in(SalAlloc::new());
                    boxes.extend((0..2000_u64).map(|at| SalBox::new_in([at; 9], SalAlloc::new())));
                    boxes
                };
                assert!(boxes.iter().zip(0..).all(|(block, at)| block[8] == at));
                drop(boxes);
                assert_eq!(mine.len() as u64, round * 100 + 5000);
                let mut large: SalVector<u8, SalAlloc> = SalVector::new_in(SalAlloc::new());
                large.resize(3 << 20, 4);
            });
            assert_eq!(code, 7, "round {round}");
            assert_eq!(mine.len() as u64, round * 100);
        }
    });
}

#[test]
fn what_a_parent_keeps_at_hand_its_child_has_for_itself() {
    for handle in [SalAlloc::new(), SalAlloc::file_backed()] {
        let filled = |byte| {
            [20, 5000, 300_000, 2 << 20].map(|len| {
                let mut bytes: SalVector<u8, SalAlloc> = SalVector::new_in(handle);
                bytes.resize(len, byte);
                bytes
            })
        };
        let is_all = |kept: &[SalVector<u8, SalAlloc>; 4], byte| {
            kept.iter().all(|bytes| bytes.iter().step_by(13).all(|&is| is == byte))
        };
        // Freed: small blocks in magazines, large ones as runs.
        drop((filled(1), filled(1)));
        // SAFETY: the child only allocates, looks, and ends.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let mut is_right = true;
            for byte in 2..8 {
                let (one, other) = (filled(byte), filled(byte + 100));
                is_right &= is_all(&one, byte) && is_all(&other, byte + 100);
            }
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(if is_right { 7 } else { 1 }) };
        }
        // Meanwhile the parent takes the very same memory.
        for byte in 50..56 {
            let (one, other) = (filled(byte), filled(byte + 100));
            assert!(is_all(&one, byte) && is_all(&other, byte + 100));
        }
        assert_eq!(wait(child), 7);
    }
}

#[test]
fn a_volatile_heap_over_a_temporary_file_is_the_parents_too() {
    let directory = tempfile::tempdir().unwrap();
    let heap = sal::HeapOptions::new().temporary_in(directory.path()).volatile().unwrap();
    let mut numbers: Numbers = SalVector::new_in(heap.alloc());
    numbers.extend(0..100_000);
    let code = in_child(|| {
        assert!(numbers.try_reserve(1 << 20).is_err());
        numbers.fill(3);
    });
    assert_eq!(code, 7);
    assert!(numbers.iter().zip(0..).all(|(number, expected)| *number == expected));
    heap.close().unwrap();
}
