//! Nothing on the way to a block allocates through the global allocator: it may be the one that serves it.
//!
//! The global allocator of this program passes every call on to SAL and ends the program when a call comes from inside
//! another of the same thread.
#![cfg_attr(feature = "nightly", feature(allocator_api))]
#![allow(unsafe_code)]

use sal::prelude::*;
use sal::{HeapOptions, SalAlloc};
use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;

struct NotFromInside(SalAlloc);

#[global_allocator]
static GLOBAL: NotFromInside = NotFromInside(SalAlloc::new());

thread_local! {
    static IS_INSIDE: Cell<bool> = const { Cell::new(false) };
}

fn once<R>(call: impl FnOnce() -> R) -> R {
    if IS_INSIDE.replace(true) {
        std::process::abort();
    }
    let result = call();
    IS_INSIDE.set(false);
    result
}

// SAFETY: every call is passed on.
unsafe impl GlobalAlloc for NotFromInside {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        once(|| unsafe { self.0.alloc(layout) })
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        once(|| unsafe { self.0.dealloc(block, layout) });
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        once(|| unsafe { self.0.alloc_zeroed(layout) })
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller's promise.
        once(|| unsafe { self.0.realloc(block, layout, new_size) })
    }
}

#[test]
fn the_guard_notices_a_call_from_inside() {
    let noticed = std::panic::catch_unwind(|| once(|| IS_INSIDE.get()));
    assert!(noticed.unwrap());
    assert!(!IS_INSIDE.get());
}

#[test]
fn allocations_of_every_size_on_many_threads_come_from_nowhere_else() {
    for round in 0..10 {
        let threads: Vec<_> = (0..8)
            .map(|thread| {
                std::thread::spawn(move || {
                    let mut kept: Vec<Vec<u8>> = Vec::new();
                    for step in 0..400_usize {
                        kept.push(vec![thread; (step * 37 + round) % 5000 * (1 + step % 97)]);
                        if step % 3 == 0 {
                            kept.swap_remove(step / 2 % kept.len());
                        }
                    }
                    kept
                })
            })
            .collect();
        // What the threads allocated is freed here.
        drop(threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>());
    }
    assert!(SalAlloc::new().stats().unwrap().live_bytes > 0);
}

#[test]
fn heaps_open_work_and_close_without_a_call_from_inside() {
    let directory = tempfile::tempdir().unwrap();
    const NUMBERS: Root<SalVec<u64>> = Root::new("numbers");
    // SAFETY: a file of our own.
    let file = unsafe { HeapOptions::new().create(directory.path().join("heap.sal")) }.unwrap();
    for heap in [file, HeapOptions::new().volatile().unwrap()] {
        let tx = heap.write().unwrap();
        tx.root_or_default(NUMBERS).unwrap().extend(0..100_000);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _attached = tx.attach();
                SalString::from("on another thread").len()
            });
        });
        drop(tx);
        println!("{}", heap.stats());
        heap.purge();
        heap.close().unwrap();
    }
    let boxed = allocator_api2::boxed::Box::new_in([1_u8; 300], SalAlloc::file_backed());
    assert_eq!(boxed[299], 1);
}
