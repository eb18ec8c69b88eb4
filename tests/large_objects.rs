//! Large objects: what threads keep of them, what is given back and when, and what happens at limits.
#![allow(unsafe_code)]

mod support;

use allocator_api2::alloc::Allocator;
use sal::prelude::*;
use sal::{Growth, HeapOptions, Mode, OpenError, Purge, Region, Tuning, Watermark};
use std::alloc::Layout;
use std::cell::RefCell;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;
use support::heaps::{open, opened, resident, run_and_kill, unmap, wait_for_the_kill};
use support::{Ends, Random, alone, bytes, fresh_path, process, seed};

const MIB: usize = 1 << 20;

/// A block that says whose it is at both ends.
struct Tagged {
    block: NonNull<u8>,
    layout: Layout,
    heap: SalAlloc,
    tag: u8,
}

// SAFETY: it has its block alone.
unsafe impl Send for Tagged {}

impl Tagged {
    fn new(heap: SalAlloc, size: usize, align: usize, tag: u8) -> Option<Self> {
        let layout = Layout::from_size_align(size, align).unwrap();
        let block: NonNull<u8> = heap.allocate(layout).ok()?.cast();
        assert_eq!(block.addr().get() % align, 0);
        for at in (0..size).step_by(4096).chain([size - 1]) {
            // SAFETY: within the block.
            unsafe { block.add(at).write(tag) };
        }
        Some(Self { block, layout, heap, tag })
    }
}

impl Drop for Tagged {
    fn drop(&mut self) {
        for at in (0..self.layout.size()).step_by(4096).chain([self.layout.size() - 1]) {
            // SAFETY: within the block.
            assert_eq!(unsafe { self.block.add(at).read() }, self.tag, "byte {at} of {:?}", self.layout);
        }
        // SAFETY: allocated with that layout, freed once.
        unsafe { self.heap.deallocate(self.block, self.layout) };
    }
}

fn volatile(capacity: usize, tuning: Tuning) -> Heap {
    HeapOptions::new().capacity(capacity as u64).tuning(tuning).volatile().unwrap()
}

#[test]
fn a_freed_object_comes_back_without_a_fault_to_its_thread_to_others_and_after_a_threads_end() {
    let heap = volatile(1 << 30, Tuning::new());
    let handle = heap.alloc();
    let place = |tagged: &Tagged| tagged.block.addr();
    let first = Tagged::new(handle, 2 * MIB, 8, 1).unwrap();
    let at = place(&first);
    drop(first);
    assert_eq!(heap.stats().live_bytes, 0);
    assert_eq!(place(&Tagged::new(handle, 2 * MIB - 5, 8, 2).unwrap()), at, "its own");
    std::thread::scope(|scope| {
        let stolen = scope.spawn(|| place(&Tagged::new(handle, 2 * MIB, 8, 3).unwrap()));
        assert_eq!(stolen.join().unwrap(), at, "another thread's");
    });
    assert_eq!(place(&Tagged::new(handle, 2 * MIB, 8, 4).unwrap()), at, "a thread's that has ended");
    assert!(heap.stats().used <= 2 * MIB as u64);
}

#[test]
fn four_threads_allocate_touch_and_free_four_mebibytes_in_turns_and_for_each_other() {
    let heap = volatile(4 << 30, Tuning::new().thread_cache_bytes(16 << 20));
    let handle = heap.alloc();
    let (sender, receiver) = mpsc::channel::<Tagged>();
    let receiver = Mutex::new(receiver);
    std::thread::scope(|scope| {
        let mut ends = Ends::default();
        for tag in 0..4 {
            let (sender, receiver) = (sender.clone(), &receiver);
            ends.of(scope.spawn(move || {
                for round in 0..500 {
                    let tagged = Tagged::new(handle, 4 * MIB, 8, tag).unwrap();
                    if round % 3 == 0 {
                        sender.send(tagged).unwrap();
                        drop(receiver.lock().unwrap().try_recv());
                    }
                }
            }));
        }
        drop(sender);
    });
    drop(receiver);
    assert_eq!((heap.stats().large_objects, heap.stats().live_bytes), (0, 0));
    assert!(heap.verify().is_good());
}

#[test]
fn batches_of_64_objects_are_freed_in_any_order_and_the_heap_does_not_grow() {
    let heap = volatile(1 << 30, Tuning::new());
    let handle = heap.alloc();
    let batch = |tag| (0..64).map(|_| Tagged::new(handle, 2 * MIB, 8, tag).unwrap()).collect::<Vec<_>>();
    drop(batch(0));
    let committed = heap.stats().committed;
    let mut random = Random(seed(11));
    for tag in 1..10 {
        let mut blocks = batch(tag);
        while !blocks.is_empty() {
            blocks.swap_remove(random.below(blocks.len()));
        }
        blocks = batch(tag);
        std::thread::spawn(move || drop(blocks)).join().unwrap();
    }
    assert_eq!(heap.stats().committed, committed);
    assert!(heap.verify().is_good());
}

#[test]
fn odd_sizes_and_all_alignments_keep_their_bytes_under_churn() {
    let seed = seed(12);
    println!("seed {seed}");
    let directory = tempfile::tempdir().unwrap();
    let options = HeapOptions::new().capacity(1 << 30);
    for heap in [options.volatile().unwrap(), options.clone().temporary_in(directory.path()).volatile().unwrap()] {
        let handle = heap.alloc();
        std::thread::scope(|scope| {
            let mut ends = Ends::default();
            for thread in 0..3 {
                ends.of(scope.spawn(move || {
                    let mut random = Random(seed + thread);
                    let mut live = Vec::new();
                    for round in 0..400 {
                        let power = 12 + random.below(11);
                        let size = (256 << 10) + 1 + random.below(1 << power);
                        let align = 1 << random.below(23);
                        live.push(Tagged::new(handle, size, align, round as u8).unwrap());
                        if live.len() > 12 {
                            live.swap_remove(random.below(live.len()));
                        }
                    }
                }));
            }
        });
        assert_eq!(heap.stats().live_bytes, 0);
        assert!(heap.verify().is_good());
    }
}

#[test]
fn after_everything_is_freed_and_purged_next_to_nothing_stays_in_memory_or_on_the_disk() {
    let heap = volatile(1 << 30, Tuning::new());
    let fill = |handle| (0..40).map(|tag| Tagged::new(handle, 3 * MIB + 7, 8, tag).unwrap()).collect::<Vec<_>>();
    let blocks = fill(heap.alloc());
    let peak = resident(&heap);
    assert!(peak >= 40 * 3 * MIB);
    drop(blocks);
    assert!(heap.purge() >= 40 * 3 * MIB);
    assert!(resident(&heap) <= peak / 20, "{} of {peak}", resident(&heap));
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let heap = opened(&HeapOptions::new().mode(Mode::Shared), &path);
    let blocks = fill(heap.alloc());
    let peak = bytes::disk(&path);
    assert!(peak >= 40 * 3 * MIB as u64);
    drop(blocks);
    heap.purge();
    assert!(bytes::disk(&path) <= peak / 20, "{} of {peak}", bytes::disk(&path));
    // What has lost its space gets it again before it is handed out.
    drop(fill(heap.alloc()));
    unmap(heap);
}

#[test]
fn what_is_idle_for_a_period_goes_and_what_is_used_in_turns_stays() {
    let heap = volatile(1 << 30, Tuning::new());
    let handle = heap.alloc();
    let fill = |count| (0..count).map(|tag| Tagged::new(handle, 8 * MIB, 8, tag).unwrap()).collect::<Vec<_>>();
    drop(fill(10));
    heap.purge_idle();
    for _ in 0..4 {
        drop(fill(4));
        heap.purge_idle();
    }
    let kept = resident(&heap);
    assert!((4 * 8 * MIB..6 * 8 * MIB).contains(&kept), "{kept}");
    let given: usize = (0..3).map(|_| heap.purge_idle()).sum();
    assert!(given >= 4 * 8 * MIB && resident(&heap) < 2 * MIB, "{given}, {}", resident(&heap));
}

#[test]
fn each_policy_gives_back_when_it_says() {
    let heap = volatile(1 << 30, Tuning::new().purge(Purge::Retain));
    let handle = heap.alloc();
    let use_some = || drop(Tagged::new(handle, 16 * MIB, 8, 1).unwrap());
    use_some();
    assert_eq!(heap.purge_if_due(), 0);
    assert!(resident(&heap) >= 16 * MIB, "retained");
    assert!(handle.tune(&Tuning::new().purge(Purge::Eager)));
    use_some();
    assert!(resident(&heap) < 2 * MIB, "given back at once");
    assert!(handle.tune(&Tuning::new().purge(Purge::Background(Duration::from_millis(1)))));
    use_some();
    let mut given = 0;
    // A period is as long as the clock is coarse; three have to pass.
    while given < 16 * MIB {
        given += heap.purge_if_due();
        std::thread::yield_now();
    }
    assert!(resident(&heap) < 2 * MIB, "given back in the background");
    assert!(handle.tune(&Tuning::new().purge(Purge::Decay(Duration::from_millis(1)))));
    use_some();
    while resident(&heap) >= 16 * MIB {
        // Whoever comes to the heap's units looks after it.
        drop(Tagged::new(handle, MIB / 2, 8, 1).unwrap());
        drop(Tagged::new(handle, MIB, 8, 1).unwrap());
        handle.tune(&Tuning::new().thread_cache_bytes(0));
    }
}

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

#[test]
fn threads_by_the_hundred_leave_what_they_kept_to_those_that_come() {
    let heap = volatile(1 << 30, Tuning::new());
    let handle = heap.alloc();
    for round in 0..300 {
        std::thread::spawn(move || drop([1, 2].map(|tag| Tagged::new(handle, MIB * tag, 8, round as u8))))
            .join()
            .unwrap();
    }
    assert!(heap.stats().used <= 8 << 20, "{}", heap.stats().used);
}

#[test]
fn large_objects_are_freed_in_destructors_of_thread_locals() {
    thread_local! {
        static LAST: RefCell<Vec<Tagged>> = const { RefCell::new(Vec::new()) };
    }
    let heap = volatile(1 << 30, Tuning::new());
    for handle in [heap.alloc(), SalAlloc::new()] {
        for tag in 0..20 {
            std::thread::spawn(move || {
                LAST.with_borrow_mut(|last| last.push(Tagged::new(handle, 5 * MIB, 8, tag).unwrap()));
                drop(Tagged::new(handle, MIB, 8, tag));
            })
            .join()
            .unwrap();
        }
    }
    assert_eq!(heap.stats().live_bytes, 0);
}

#[test]
fn zeroed_objects_are_zeros_whoever_had_the_memory_before_and_whatever_became_of_it() {
    let heap = volatile(1 << 30, Tuning::new());
    let handle = heap.alloc();
    let layout = Layout::from_size_align(3 * MIB, 8).unwrap();
    for policy in [Purge::Retain, Purge::Eager, Purge::Decay(Duration::ZERO)] {
        handle.tune(&Tuning::new().purge(policy));
        for round in 0..6 {
            let block = handle.allocate_zeroed(layout).unwrap();
            // SAFETY: our block of that size.
            let bytes = unsafe { std::slice::from_raw_parts_mut(block.cast::<u8>().as_ptr(), layout.size()) };
            assert!(bytes.iter().all(|&byte| byte == 0));
            bytes.fill(9);
            // SAFETY: as above.
            unsafe { handle.deallocate(block.cast(), layout) };
            if round % 2 == 1 {
                heap.purge();
            }
        }
    }
}

#[test]
fn growing_in_place_takes_what_a_thread_keeps_behind() {
    let heap = volatile(1 << 30, Tuning::new());
    let mut region = Region::<u8>::with_capacity_in(2 * MIB, heap.alloc());
    drop(Tagged::new(heap.alloc(), 2 * MIB, 8, 1));
    assert_eq!(heap.stats().used, 4 << 20, "one is kept");
    assert!(region.try_grow_in_place(4 * MIB));
}

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

#[test]
fn fifty_producers_and_fifty_freers_exchange_large_objects() {
    let heap = volatile(8 << 30, Tuning::new().thread_cache_bytes(4 << 20));
    let handle = heap.alloc();
    let freed = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let mut ends = Ends::default();
        for tag in 0..50 {
            let (sender, receiver) = mpsc::sync_channel::<Tagged>(4);
            ends.of(scope.spawn(move || {
                for round in 0..40 {
                    sender.send(Tagged::new(handle, (1 + round % 3) * MIB / 2, 8, tag).unwrap()).unwrap();
                }
            }));
            let freed = &freed;
            ends.of(scope.spawn(move || {
                for tagged in receiver {
                    drop(tagged);
                    freed.fetch_add(1, Ordering::Relaxed);
                }
            }));
        }
    });
    assert_eq!((freed.into_inner(), heap.stats().live_bytes), (2000, 0));
    assert!(heap.verify().is_good());
}
