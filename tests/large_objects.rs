//! Large objects: what threads keep of them, for themselves and for others.
#![allow(unsafe_code)]

mod support;

use allocator_api2::alloc::Allocator;
use sal::{HeapOptions, Purge, Region, SalAlloc, Tuning};
use std::alloc::Layout;
use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::Duration;
use support::tagged::{MIB, Tagged, volatile};
use support::{Ends, Random, all_are, seed};

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
            assert!(all_are(bytes, 0));
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
