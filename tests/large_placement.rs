//! Where large objects go: into memory that has been used before, if any of it will do, and into the hole that fits best.
#![allow(unsafe_code)]

use allocator_api2::alloc::Allocator;
use sal::{HeapOptions, SalAlloc, Tuning};
use std::alloc::Layout;
use std::ptr::NonNull;

const MIB: usize = 1 << 20;

fn layout(mib: usize) -> Layout {
    Layout::from_size_align(mib * MIB, 8).unwrap()
}

fn take(heap: SalAlloc, mib: usize) -> NonNull<u8> {
    heap.allocate(layout(mib)).unwrap().cast()
}

fn give(heap: SalAlloc, block: NonNull<u8>, mib: usize) {
    // SAFETY: each test takes blocks of the size that it gives back, and gives each back once.
    unsafe { heap.deallocate(block, layout(mib)) }
}

#[test]
fn what_is_kept_at_hand_serves_other_lengths_before_the_heap_grows() {
    let heap = HeapOptions::new().capacity(1 << 30).volatile().unwrap();
    let handle = heap.alloc();
    let kept = take(handle, 24);
    give(handle, kept, 24);
    let first = take(handle, 16);
    assert_eq!(first, kept);
    assert_eq!(take(handle, 8).addr().get(), kept.addr().get() + 16 * MIB);
    // Nothing is left of it, so this grows the heap.
    assert!(take(handle, 4) > kept);
    assert_eq!(heap.stats().used, 28 * MIB as u64);
}

#[test]
fn an_object_goes_where_it_fits_best() {
    let heap = HeapOptions::new().capacity(1 << 30).volatile().unwrap();
    let handle = heap.alloc();
    let [large, _, small, _, medium, _] = [12, 2, 6, 2, 8, 2].map(|mib| take(handle, mib));
    for (block, mib) in [(large, 12), (small, 6), (medium, 8)] {
        give(handle, block, mib);
    }
    // None of these lengths was freed, so all three holes are units again.
    assert_eq!([7, 5, 11].map(|mib| take(handle, mib)), [medium, small, large]);
}

#[test]
fn the_last_units_below_a_limit_serve_small_blocks() {
    const UNIT: usize = 32 << 10;
    let limit = Tuning::new().max_bytes(32 << 20);
    let heap = HeapOptions::new().capacity(1 << 30).tuning(limit).volatile().unwrap();
    let handle = heap.alloc();
    // A hole that is larger than what is left of the limit, in a segment that is in use.
    for units in [40, 980] {
        handle.allocate(Layout::from_size_align(units * UNIT, 8).unwrap()).unwrap();
    }
    handle.allocate(Layout::new::<[u64; 8]>()).unwrap();
}
