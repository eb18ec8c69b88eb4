//! What statistics cost, and how they leave the program.
#![allow(unsafe_code)]

use allocator_api2::alloc::{Allocator, Layout};
use sal::HeapOptions;
use std::time::{Duration, Instant};

/// The shortest of many calls: what disturbs the machine only makes them longer.
fn shortest(mut call: impl FnMut()) -> Duration {
    let timed = |_| {
        let began = Instant::now();
        call();
        began.elapsed()
    };
    (0..20_000).map(timed).min().unwrap()
}

#[test]
fn asking_takes_less_than_a_microsecond_whatever_the_heap_holds() {
    let heap = HeapOptions::new().capacity(1 << 30).volatile().unwrap();
    let handle = heap.alloc();
    let blocks: Vec<_> = (0..20_000)
        .map(|number| Layout::from_size_align(16 + number * 13 % 8000, 8).unwrap())
        .map(|layout| (handle.allocate(layout).unwrap(), layout))
        .collect();
    let took = shortest(|| _ = std::hint::black_box(heap.stats()));
    println!("{took:?} with {} classes", heap.stats().classes.len());
    // Unoptimised code is another matter.
    assert!(took < if cfg!(debug_assertions) { Duration::from_micros(50) } else { Duration::from_micros(1) });
    for (block, layout) in blocks {
        // SAFETY: allocated above, freed once.
        unsafe { handle.deallocate(block.cast(), layout) };
    }
}

#[test]
fn residency_follows_what_is_touched_and_purged() {
    let heap = HeapOptions::new().capacity(1 << 30).huge_pages(false).volatile().unwrap();
    let before = heap.residency().unwrap();
    let block = allocator_api2::vec![in heap.alloc(); 1_u8; 8 << 20];
    let with = heap.residency().unwrap();
    let gained = (with.resident + with.swapped) - (before.resident + before.swapped);
    assert!((8 << 20..9 << 20).contains(&gained), "{before}, then {with}");
    assert_eq!(with.private, with.resident);
    drop(block);
    heap.purge();
    let after = heap.residency().unwrap();
    assert!(after.resident + after.swapped < before.resident + before.swapped + (1 << 20), "{after}");
}

#[cfg(feature = "serde")]
#[test]
fn statistics_are_serialized_with_their_classes() {
    let heap = HeapOptions::new().capacity(1 << 30).volatile().unwrap();
    let block = allocator_api2::vec![in heap.alloc(); 1_u8; 64];
    let value = serde_json::to_value(heap.stats()).unwrap();
    assert_eq!(value["classes"][0]["size"], 64);
    assert_eq!(value["classes"].as_array().unwrap().len(), 1);
    assert_eq!(value["capacity"], 1_u64 << 30);
    drop(block);
}
