//! Shared heaps that were not closed, for callers who vouch for what they hold.
#![allow(unsafe_code)]

mod support;

use sal::prelude::*;
use sal::{HeapOptions, Mode, OpenError};
use std::path::Path;
use support::heaps::run_and_kill;
use support::{alone, fresh_path, process};

const NUMBERS: Root<SalVec<u64>> = Root::new("numbers");

fn open(path: &Path) -> Result<Heap, OpenError> {
    // SAFETY: the tests write these files through this crate only.
    unsafe { HeapOptions::new().mode(Mode::Shared).open_or_create(path) }
}

#[test]
fn a_killed_shared_heap_is_refused_unless_the_caller_vouches_for_it_and_then_has_all_its_memory() {
    let name = "a_killed_shared_heap_is_refused_unless_the_caller_vouches_for_it_and_then_has_all_its_memory";
    if let Some((_, path)) = process::role() {
        let heap = open(&path).unwrap();
        heap.with_session(|tx| tx.set_root(NUMBERS, (0..50_000).collect())).unwrap();
        let handle = heap.alloc();
        // Reachable from this stack only.
        let lost: Vec<_> = (0..2000_u64).map(|n| allocator_api2::boxed::Box::new_in([n; 16], handle)).collect();
        let large = allocator_api2::vec![in handle; 7_u8; 5 << 20];
        process::say("done");
        process::hear();
        drop((lost, large));
        return;
    }
    let _alone = alone();
    let (_directory, path) = fresh_path();
    run_and_kill(name, "writer", &path);
    assert!(matches!(open(&path), Err(OpenError::PlainRoots { roots }) if roots == ["numbers"]));
    // SAFETY: the process was killed while it wrote nothing, and the machine went on.
    let heap = unsafe { HeapOptions::new().accept_unclean().open(&path) }.unwrap();
    assert!(heap.read().unwrap().root(NUMBERS).unwrap().iter().copied().eq(0..50_000));
    let stats = heap.stats();
    assert!(stats.large_objects <= 1 && stats.live_bytes < 1 << 20, "{stats}");
    heap.with_root_mut(NUMBERS, |numbers| numbers.push(50_000)).unwrap();
    // SAFETY: nothing of the heap is used afterwards.
    unsafe { heap.close_and_unmap() }.unwrap();
    let heap = open(&path).unwrap();
    assert!(heap.read().unwrap().root(NUMBERS).unwrap().iter().copied().eq(0..=50_000));
    heap.close().unwrap();
}
