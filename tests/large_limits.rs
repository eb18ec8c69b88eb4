//! Limits and marks: what large objects may take and keep, and what happens when they reach it.

mod support;

use sal::{Growth, Heap, HeapOptions, OpenError, Region, Tuning, Watermark};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use support::tagged::{MIB, Tagged, volatile};

#[test]
fn objects_above_the_limits_are_not_kept_and_limits_change_while_the_heap_is_used() {
    let heap = volatile(1 << 30, Tuning::new().largest_cached(4 << 20));
    let handle = heap.alloc();
    let at_hand = || heap.stats().used;
    drop(Tagged::new(handle, 8 * MIB, 8, 1).unwrap());
    assert_eq!(at_hand(), 0);
    drop(Tagged::new(handle, 4 * MIB, 8, 1).unwrap());
    assert_eq!(at_hand(), 4 << 20);
    handle.tune(&Tuning::new().thread_cache_bytes(0));
    assert_eq!(at_hand(), 0);
    drop(Tagged::new(handle, 4 * MIB, 8, 1).unwrap());
    assert_eq!(at_hand(), 0);
    handle.tune(&Tuning::new().thread_cache_bytes(64 << 20).largest_cached(64 << 20));
    drop(Tagged::new(handle, 8 * MIB, 8, 1).unwrap());
    assert_eq!(at_hand(), 8 << 20);
    heap.close().unwrap();
    assert!(!handle.tune(&Tuning::new()), "closed");
}

#[test]
fn reserved_memory_grows_as_it_is_told() {
    for (growth, committed) in [
        (Growth::Exact, 4 * MIB),
        (Growth::Steps(16 << 20), 16 * MIB),
        (Growth::Part { divisor: 1, most: 8 << 20 }, 4 * MIB),
        (Growth::default(), 4 * MIB),
    ] {
        let heap = volatile(1 << 30, Tuning::new().growth(growth));
        let _block = Tagged::new(heap.alloc(), 3 * MIB, 8, 1).unwrap();
        assert_eq!(heap.stats().committed as usize, committed, "{growth:?}");
        let _next = Tagged::new(heap.alloc(), 13 * MIB, 8, 1).unwrap();
        assert!(heap.stats().committed as usize <= 32 * MIB);
    }
}

#[test]
fn at_a_limit_allocations_fail_until_something_is_freed_or_the_limit_is_raised() {
    let directory = tempfile::tempdir().unwrap();
    for tuning in [Tuning::new().max_bytes(32 << 20), Tuning::new().max_disk(32 << 20)] {
        let options = HeapOptions::new().capacity(1 << 30).tuning(tuning).temporary_in(directory.path());
        let heap = options.volatile().unwrap();
        let handle = heap.alloc();
        let take = |size| Tagged::new(handle, size, 8, 7);
        let mut blocks: Vec<_> = std::iter::from_fn(|| take(5 * MIB)).collect();
        assert_eq!(blocks.len(), if tuning == Tuning::new().max_bytes(32 << 20) { 6 } else { 5 });
        let small: Vec<_> = std::iter::from_fn(|| take(1000)).collect();
        assert!(small.len() > 1000 && take(16).is_none());
        let is_disk = tuning == Tuning::new().max_disk(32 << 20);
        assert!(heap.stats().used <= 32 << 20 && (!is_disk || heap.stats().committed <= 32 << 20));
        blocks.pop();
        assert!(take(4 * MIB).is_some() && take(16).is_some(), "also from what was kept at another length");
        assert!(take(12 * MIB).is_none());
        assert!(handle.tune(&Tuning::new().max_bytes(u64::MAX).max_disk(u64::MAX)));
        assert!(take(100 * MIB).is_some());
    }
}

#[test]
fn a_watermark_is_told_once_for_each_time_it_is_reached() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let listener = |told: &Arc<Mutex<Vec<_>>>| {
        let told = Arc::clone(told);
        move |reached: &sal::WatermarkReached| {
            // It may use the heap, and be told of what it does there.
            let handle = reached.heap;
            drop(Tagged::new(handle, 100, 8, 1));
            drop(Tagged::new(handle, 300 << 10, 8, 1));
            told.lock().unwrap().push(reached.mark);
        }
    };
    let (low, high, disk) = (Watermark::Used(10 << 20), Watermark::Used(20 << 20), Watermark::Disk(40 << 20));
    let tuning = Tuning::new().thread_cache_bytes(0).growth(Growth::Exact);
    let options = HeapOptions::new().capacity(1 << 30).tuning(tuning);
    let heap = options.on_watermark(low, listener(&told)).on_watermark(high, listener(&told));
    let heap = heap.on_watermark(disk, listener(&told)).volatile().unwrap();
    let handle = heap.alloc();
    let news = || std::mem::take(&mut *told.lock().unwrap());
    let take = |size| Tagged::new(handle, size, 8, 7).unwrap();
    let first = take(9 * MIB);
    assert_eq!(news(), []);
    let second = take(2 * MIB);
    assert_eq!(news(), [low]);
    drop(second);
    let second = take(3 * MIB);
    assert_eq!(news(), [], "it had not fallen far enough");
    drop((first, second));
    let first = take(19 * MIB);
    assert_eq!(news(), [low], "it had been at nothing since");
    let small: Vec<_> = (0..5000).map(|_| take(1000)).collect();
    assert_eq!(news(), [high], "small blocks count");
    drop((first, small));
    for expected in [&[low, high, disk][..], &[low, high]] {
        let region = Region::<u8>::with_capacity_in(40 << 20, handle);
        assert_eq!(news(), expected, "what is reserved stays reserved");
        drop(region);
    }
}

#[test]
fn a_watermark_that_panics_or_closes_the_heap_does_not_reach_the_allocation() {
    let kept: Arc<Mutex<Option<Heap>>> = Arc::default();
    let calls = Arc::new(AtomicUsize::new(0));
    let (in_callback, counter) = (Arc::clone(&kept), Arc::clone(&calls));
    let heap = HeapOptions::new()
        .capacity(1 << 30)
        .on_watermark(Watermark::Used(1), move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
            panic!("as asked for");
        })
        .on_watermark(Watermark::Used(4 << 20), move |_| drop(in_callback.lock().unwrap().take()))
        .volatile()
        .unwrap();
    let handle = heap.alloc();
    *kept.lock().unwrap() = Some(heap);
    let block = Tagged::new(handle, MIB, 8, 3).unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    let last = Tagged::new(handle, 8 * MIB, 8, 4).expect("it was done when the heap was closed");
    assert!(Tagged::new(handle, 16, 8, 1).is_none(), "closed");
    drop((block, last));
}

#[test]
fn too_many_watermarks_are_refused() {
    let mut options = HeapOptions::new();
    for bytes in 0..65 {
        options = options.on_watermark(Watermark::Used(bytes), |_| {});
    }
    assert!(matches!(options.volatile(), Err(OpenError::InvalidOptions { .. })));
}
