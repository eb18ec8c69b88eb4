//! Sessions that are forgotten, nested, borrowed by other threads or begun through a handle.
#![cfg_attr(feature = "nightly", feature(allocator_api))]
#![allow(unsafe_code)]

mod support;

use sal::prelude::*;
use sal::{CloseError, HeapOptions};
use std::path::Path;
use std::sync::mpsc;
use support::fresh_path;
use support::heaps::unmap;

const LIST: Root<SalVec<SalString>> = Root::new("list");

fn open(path: &Path) -> Heap {
    // SAFETY: only these tests write to the file.
    unsafe { HeapOptions::new().open_or_create(path) }.unwrap()
}

#[test]
fn a_forgotten_session_does_not_keep_a_heap_from_closing() {
    let (_directory, path) = fresh_path();
    let heap = open(&path);
    std::mem::forget(heap.write().unwrap());
    std::mem::forget(heap.read().unwrap());
    unmap(heap);
    unmap(open(&path));
}

#[test]
fn dropping_a_heap_waits_for_sessions_that_others_began_through_a_handle() {
    let (_directory, path) = fresh_path();
    let heap = open(&path);
    heap.write().unwrap().root_or_default(LIST).unwrap().push(SalString::from("one"));
    let handle = heap.alloc();
    let (started, has_started) = mpsc::channel();
    let worker = std::thread::spawn(move || {
        handle
            .with_root_mut(LIST, |list| {
                started.send(()).unwrap();
                for _ in 0..1000 {
                    std::thread::yield_now();
                }
                list.push(SalString::from("two"));
            })
            .unwrap();
    });
    has_started.recv().unwrap();
    drop(heap);
    // Closed by now, and with what the session did: another process could open it.
    let [first, second] = [0, 4096].map(|at| std::fs::read(&path).map(|_| at).unwrap());
    assert_ne!(first, second);
    assert!(matches!(handle.with_root(LIST, |_| ()), Err(sal::RootError::Session(_))));
    worker.join().unwrap();
}

#[test]
fn guards_of_attached_threads_may_end_in_any_order() {
    let [one, two] = [(); 2].map(|()| HeapOptions::new().volatile().unwrap());
    let (first, second) = (one.write().unwrap(), two.write().unwrap());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (a, b) = (first.attach(), second.attach());
            assert_eq!(heap_of_a_string(), Some(two.alloc()));
            drop(a);
            assert_eq!(heap_of_a_string(), Some(two.alloc()));
            drop(b);
            assert_eq!(heap_of_a_string(), Some(SalAlloc::new()));
        });
    });
}

fn heap_of_a_string() -> Option<SalAlloc> {
    SalAlloc::of_address(SalString::from("long enough to need a block").as_ptr().addr())
}

#[test]
fn what_is_split_off_stays_in_the_heap_it_came_from() {
    let heap = HeapOptions::new().volatile().unwrap();
    let tx = heap.write().unwrap();
    let list = tx.root_or_default(LIST).unwrap();
    list.extend((0..10).map(|at| SalString::from(at.to_string().as_str())));
    std::thread::scope(|scope| {
        // This thread has no session of its own.
        let tail = scope.spawn(|| list.split_off(5)).join().unwrap();
        assert_eq!(SalAlloc::of_address(tail.as_ptr().addr()), Some(heap.alloc()));
    });
}

#[test]
#[cfg(any(debug_assertions, feature = "checked"))]
fn closing_says_that_a_root_holds_a_block_of_another_heap() {
    let (_directory, path) = fresh_path();
    let stranger = SalString::from("made before the session, in the default heap");
    let heap = open(&path);
    heap.write().unwrap().root_or_default(LIST).unwrap().push(stranger);
    let error = heap.close().unwrap_err();
    assert!(
        matches!(&error, CloseError::ForeignBlock { root, address } if root == "\"list\"" && *address != 0),
        "{error}"
    );
}
