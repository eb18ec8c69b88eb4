//! Large objects in files: what threads kept at hand is free after a close and after a kill.

mod support;

use sal::prelude::*;
use sal::{HeapOptions, Mode, Region};
use support::heaps::{open, opened, run_and_kill, unmap, wait_for_the_kill};
use support::tagged::{MIB, Tagged};
use support::{alone, fresh_path, process};

#[test]
fn objects_kept_at_hand_when_a_process_is_killed_are_free_when_the_heap_is_opened_again() {
    const TEST: &str = "objects_kept_at_hand_when_a_process_is_killed_are_free_when_the_heap_is_opened_again";
    const KEPT: sal::Root<u64> = sal::Root::new("kept");
    if let Some((_, path)) = process::role() {
        let heap = open(&path);
        let blocks: Vec<_> = (0..9).map(|tag| Tagged::new(heap.alloc(), 2 * MIB + 4096, 8, tag).unwrap()).collect();
        drop(blocks);
        assert!(heap.stats().used >= 18 << 20);
        // One of them is in use again, with a shorter length, and nothing refers to it.
        std::mem::forget(Tagged::new(heap.alloc(), 2 * MIB + 1, 8, 9));
        heap.with_session(|tx| tx.set_root(KEPT, 7)).unwrap();
        heap.sync().unwrap();
        wait_for_the_kill();
    }
    let _alone = alone();
    let (_directory, path) = fresh_path();
    run_and_kill(TEST, "keep", &path);
    let heap = open(&path);
    heap.wait_for_recovery().unwrap();
    let stats = heap.stats();
    assert_eq!((stats.large_objects, stats.large_bytes), (0, 0));
    assert!(stats.used <= 1 << 20, "{}", stats.used);
    assert!(heap.verify().is_good());
    assert_eq!(*heap.read().unwrap().root(KEPT).unwrap(), 7);
    unmap(heap);
}

#[test]
fn what_is_kept_at_hand_is_given_back_when_a_file_is_closed() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    for mode in [Mode::Shared, Mode::Atomic] {
        let path = path.with_extension(format!("{mode:?}"));
        let heap = opened(&HeapOptions::new().mode(mode), &path);
        let handle = heap.alloc();
        std::thread::spawn(move || drop(Tagged::new(handle, 9 * MIB, 8, 1))).join().unwrap();
        drop(Tagged::new(heap.alloc(), 5 * MIB, 8, 1));
        unmap(heap);
        let heap = open(&path);
        assert_eq!((heap.stats().used, heap.stats().large_objects), (0, 0));
        assert!(heap.verify().is_good());
        unmap(heap);
    }
}

#[test]
fn a_region_over_a_heap_file_is_free_again_after_a_kill() {
    const TEST: &str = "a_region_over_a_heap_file_is_free_again_after_a_kill";
    if let Some((_, path)) = process::role() {
        let heap = open(&path);
        let region = Region::from_fn_in(MIB, heap.alloc(), |n| n as u64);
        heap.sync().unwrap();
        assert_eq!(region.iter().sum::<u64>(), (MIB as u64 - 1) * MIB as u64 / 2);
        wait_for_the_kill();
    }
    let _alone = alone();
    let (_directory, path) = fresh_path();
    run_and_kill(TEST, "fill", &path);
    let heap = open(&path);
    assert_eq!(heap.wait_for_recovery().map(|_| heap.stats().live_bytes), Some(0));
    unmap(heap);
}
