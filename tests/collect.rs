//! Looking through a live heap: what lies where, what no root reaches, and giving that back.
#![allow(unsafe_code)]

use allocator_api2::alloc::Allocator;
use allocator_api2::boxed::Box as SalBox;
use allocator_api2::vec::Vec as SalVector;
use sal::prelude::*;
use sal::{HeapOptions, Offset, SalCollect};
use std::alloc::Layout;
use std::collections::BTreeSet;
use std::ptr::NonNull;
use std::thread;

const MAP: Root<SalHashMap<SalString, SalVec<u64>>> = Root::new("map");
const TREE: Root<SalBTreeMap<u64, SalString>> = Root::new("tree");
const LINK: Root<SalVec<Offset<u64>>> = Root::new("link");

fn volatile() -> Heap {
    HeapOptions::new().capacity(4 << 30).volatile().unwrap()
}

fn fill(heap: &Heap) {
    let tx = heap.write().unwrap();
    let map = tx.root_or_default(MAP).unwrap();
    let tree = tx.root_or_default(TREE).unwrap();
    for number in 0..2000_u64 {
        map.insert(SalString::from(format!("a key that is not short: {number}").as_str()), (0..number % 50).collect());
        tree.insert(number * 7 % 2003, SalString::from(format!("a value that is not short: {number}").as_str()));
    }
    map.insert(SalString::from("large"), (0..100_000).collect());
}

fn intact(heap: &Heap) {
    let tx = heap.read().unwrap();
    let (map, tree) = (tx.root(MAP).unwrap(), tx.root(TREE).unwrap());
    assert_eq!((map.len(), tree.len()), (2001, 2000));
    for number in 0..2000_u64 {
        let values = &map[format!("a key that is not short: {number}").as_str()];
        assert!(values.iter().copied().eq(0..number % 50));
        assert_eq!(tree[&(number * 7 % 2003)].as_str(), format!("a value that is not short: {number}"));
    }
    assert!(map["large"].iter().copied().eq(0..100_000));
}

fn collect(heap: &Heap) -> sal::CollectReport {
    // SAFETY: the tests hold nothing but roots, and have no other threads, when they call this.
    unsafe { heap.collect() }.unwrap()
}

#[test]
fn a_heap_that_never_had_a_root_can_be_collected_and_used_again() {
    for heap in [volatile(), HeapOptions::new().temporary_in(std::env::temp_dir()).volatile().unwrap()] {
        for _ in 0..3 {
            for _ in 0..10_000 {
                SalBox::leak(SalBox::new_in([0_u64; 8], heap.alloc()));
            }
            // SAFETY: nobody else uses the heap.
            assert_eq!(unsafe { heap.leak_report() }.unwrap().blocks, 10_000);
            assert_eq!(collect(&heap).reclaimed_blocks, 10_000);
        }
    }
}

#[test]
fn what_roots_reach_survives_and_what_was_forgotten_is_given_back() {
    let heap = volatile();
    fill(&heap);
    assert_eq!(collect(&heap).reclaimed_blocks, 0);
    let before = heap.stats();
    let (mut blocks, mut bytes) = (0, 0);
    for size in [10_usize, 100, 1000, 10_000, 200_000, 1 << 20].repeat(100) {
        let mut garbage = SalVector::with_capacity_in(size, heap.alloc());
        garbage.resize(size, 0xA5_u8);
        blocks += 1;
        bytes += heap.locate(garbage.as_ptr() as usize).unwrap().len as u64;
        std::mem::forget(garbage);
    }
    let report = collect(&heap);
    assert_eq!((report.reclaimed_blocks, report.reclaimed_bytes), (blocks, bytes));
    assert_eq!((report.reclaimed_large, report.reclaimed_large_bytes), (100, 100 << 20));
    intact(&heap);
    let after = heap.stats();
    assert_eq!(after.live_bytes, before.live_bytes);
    assert_eq!(report.marked_bytes, after.live_bytes);
    assert_eq!(collect(&heap).reclaimed_blocks, 0);
    // What was given back can be had again.
    fill(&heap);
    intact(&heap);
    heap.close().unwrap();
}

#[test]
fn blocks_that_other_threads_left_in_their_magazines_are_not_freed_twice() {
    let heap = volatile();
    fill(&heap);
    let (alive, quiet) = (std::sync::Barrier::new(3), std::sync::Barrier::new(3));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let boxes: Vec<_> = (0..300_u64).map(|number| SalBox::new_in([number; 4], heap.alloc())).collect();
                drop(boxes);
                std::mem::forget(SalBox::new_in([1_u64; 4], heap.alloc()));
                alive.wait();
                quiet.wait();
                let again: Vec<_> = (0..300_u64).map(|number| SalBox::new_in([number; 4], heap.alloc())).collect();
                let places: BTreeSet<usize> = again.iter().map(|boxed| boxed.as_ptr() as usize).collect();
                assert_eq!(places.len(), 300);
            });
        }
        alive.wait();
        let report = collect(&heap);
        quiet.wait();
        assert_eq!(report.reclaimed_blocks, 2);
    });
    intact(&heap);
    // The bookkeeping is checked here.
    heap.close().unwrap();
}

#[test]
fn an_offset_keeps_what_it_leads_to() {
    let heap = volatile();
    let boxed = SalBox::leak(SalBox::new_in(7_u64, heap.alloc()));
    heap.write().unwrap().root_or_default(LINK).unwrap().extend(Offset::of(heap.alloc(), boxed));
    assert_eq!(collect(&heap).reclaimed_blocks, 0);
    assert_eq!(*boxed, 7);
    drop(heap.write().unwrap().take_root(LINK).unwrap());
    assert_eq!(collect(&heap).reclaimed_blocks, 1);
}

#[test]
fn a_leak_report_names_what_is_not_reached_and_frees_nothing() {
    let heap = volatile();
    fill(&heap);
    let small = SalBox::leak(SalBox::new_in([0x11_u8; 20], heap.alloc()));
    let large = SalBox::leak(SalBox::new_in([0x22_u8; 300_000], heap.alloc()));
    for _ in 0..2 {
        // SAFETY: no other thread uses the heap.
        let report = unsafe { heap.leak_report() }.unwrap();
        assert_eq!((report.blocks, report.bytes), (2, 32 + 303_104));
        let found: Vec<_> =
            report.largest.iter().map(|leak| (leak.block.start, leak.first_bytes[..20].to_vec())).collect();
        let place = |bytes: *const u8| bytes as usize;
        assert_eq!(found, [(place(large.as_ptr()), vec![0x22; 20]), (place(small.as_ptr()), vec![0x11; 20])]);
        assert!(report.largest[0].block.is_large && report.to_string().contains("22 22 22"));
    }
}

#[test]
fn objects_are_the_allocated_blocks() {
    let heap = volatile();
    let mut held = Vec::new();
    for size in [1_usize, 40, 400, 4000, 40_000, 400_000].repeat(30) {
        held.push(SalVector::<u8, _>::with_capacity_in(size, heap.alloc()));
    }
    held.retain(|block| block.as_ptr() as usize / 64 % 3 != 0);
    let expected: BTreeSet<usize> = held.iter().map(|block| block.as_ptr() as usize).collect();
    // SAFETY: no other thread uses the heap.
    let objects: Vec<_> = unsafe { heap.objects() }.unwrap().collect();
    assert!(objects.windows(2).all(|pair| pair[0].start + pair[0].len <= pair[1].start));
    assert_eq!(objects.iter().map(|object| object.start).collect::<BTreeSet<_>>(), expected);
    for object in objects {
        let inside = heap.locate(object.start + object.len - 1).unwrap();
        assert_eq!((inside.start, inside.len, inside.is_large), (object.start, object.len, object.is_large));
    }
}

#[test]
fn any_address_can_be_located() {
    let heap = volatile();
    let range = heap.address_range();
    fill(&heap);
    let boxed = SalBox::new_in([0_u8; 300_000], heap.alloc());
    let last = boxed.as_ptr() as usize + boxed.len() - 1;
    assert_eq!(heap.locate(last).unwrap().start, boxed.as_ptr() as usize);
    // Behind the last page of a large object there is nothing, though the unit is its own.
    assert!(heap.locate(boxed.as_ptr() as usize + 303_104).is_none());
    for address in
        [0, 1, usize::MAX, range.start, range.start + 65_536, range.end - 1, range.end, &raw const heap as usize]
    {
        assert!(heap.locate(address).is_none(), "{address:#x}");
    }
    let address = thread::scope(|scope| {
        scope.spawn(|| SalBox::leak(SalBox::new_in([7_u64; 300], heap.alloc())).as_ptr() as usize).join().unwrap()
    });
    // Its thread has ended, so the slab can be asked.
    assert_eq!(heap.locate(address + 5).unwrap().is_allocated, Some(true));
    assert_eq!(heap.locate(address + 5 * 2560).unwrap().is_allocated, Some(false));
}

#[test]
fn a_heap_that_scrubs_what_is_freed_scrubs_what_is_collected() {
    let heap = HeapOptions::new().capacity(1 << 30).scrub_freed(true).volatile().unwrap();
    let keeps_its_slab = SalBox::new_in([1_u8; 100], heap.alloc());
    let lost = SalBox::leak(SalBox::new_in([0x5A_u8; 100], heap.alloc())).as_ptr();
    const BYTES: Root<SalVec<Offset<u8>>> = Root::new("bytes");
    heap.write()
        .unwrap()
        .root_or_default(BYTES)
        .unwrap()
        .push(Offset::of(heap.alloc(), keeps_its_slab.as_ptr()).unwrap());
    assert_eq!(collect(&heap).reclaimed_blocks, 1);
    // SAFETY: the block is free, and its slab is still there.
    assert!((0..100).all(|at| unsafe { lost.add(at).read_volatile() } == 0));
    assert_eq!(*keeps_its_slab, [1; 100]);
}

#[test]
fn ten_million_allocations_with_a_collection_after_each_hundredth_of_them_are_counted_exactly() {
    const ROUNDS: u64 = 100;
    const EACH: u64 = 100_000;
    const KEPT: u64 = 20_000;
    const RING: Root<SalVec<Offset<u64>>> = Root::new("ring");
    /// A number that is no position in a heap.
    const TAG: u64 = !0 << 40;
    let heap = volatile();
    let handle = heap.alloc();
    let layout = |number: u64| Layout::array::<u64>(2 + number as usize * 7 % 31).unwrap();
    let take = |number: u64| {
        let block: NonNull<u64> = handle.allocate(layout(number)).unwrap().cast();
        // SAFETY: a new block of that size. All of it: what lies there of an earlier one could look like a position.
        unsafe { (0..layout(number).size() / 8).for_each(|at| block.add(at).write(TAG | number)) };
        block
    };
    let mut held: Vec<u64> = (0..KEPT).collect();
    {
        let tx = heap.write().unwrap();
        let ring = tx.root_or_default(RING).unwrap();
        ring.reserve_exact(KEPT as usize);
        ring.extend(held.iter().map(|&number| Offset::of(handle, take(number).as_ptr()).unwrap()));
    }
    let kept_blocks = collect(&heap).marked_blocks;
    for round in 1..=ROUNDS {
        let mut lost = 0;
        let tx = heap.write().unwrap();
        let ring = tx.root_mut(RING).unwrap();
        for number in (round * EACH..).take(EACH as usize) {
            let block = take(number);
            match number % 10 {
                // SAFETY: it was allocated just now, with that layout.
                0..=5 => unsafe { handle.deallocate(block.cast(), layout(number)) },
                6..=8 => lost += 1,
                _ => {
                    let at = (number / 10 * 7919 % KEPT) as usize;
                    (ring[at], held[at]) = (Offset::of(handle, block.as_ptr()).unwrap(), number);
                    lost += 1;
                }
            }
        }
        drop(tx);
        let report = collect(&heap);
        assert_eq!((report.reclaimed_blocks, report.marked_blocks), (lost, kept_blocks), "round {round}");
        let tx = heap.read().unwrap();
        for (block, &number) in tx.root(RING).unwrap().iter().zip(&held) {
            let words = layout(number).size() / 8;
            let block = block.to_ptr(handle).unwrap().as_ptr();
            // SAFETY: the ring keeps the block, which has so many words.
            assert!((0..words).all(|at| unsafe { block.add(at).read() } == TAG | number), "round {round}");
        }
    }
    assert!(heap.stats().allocations() >= ROUNDS * EACH);
    assert!(heap.verify().is_good());
}
