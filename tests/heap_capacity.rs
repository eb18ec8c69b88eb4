//! Heaps at their limit: the capacity, raised and lowered, and what works on afterwards.
#![cfg_attr(feature = "nightly", feature(allocator_api))]
#![allow(unsafe_code)]

mod support;

use allocator_api2::alloc::Allocator;
use allocator_api2::vec::Vec as SalVector;
use sal::{Heap, HeapOptions, Mode, OpenError, Root, RootError, SalAlloc};
use std::alloc::Layout;
use std::path::Path;
use std::ptr::NonNull;
use support::heaps::unmap;
use support::{alone, fresh_path};

type Numbers = SalVector<u64, SalAlloc>;
const NUMBERS: Root<Numbers> = Root::new("numbers");

fn open(path: &Path, capacity: Option<u64>) -> Result<Heap, OpenError> {
    let options = capacity.map_or(HeapOptions::new(), |bytes| HeapOptions::new().capacity(bytes));
    // SAFETY: only these tests write to the file.
    unsafe { options.open_or_create(path) }
}

/// Takes blocks until there are no more.
fn exhaust(heap: SalAlloc, layout: Layout) -> Vec<NonNull<u8>> {
    let mut blocks = Vec::new();
    while let Ok(block) = heap.allocate(layout) {
        // SAFETY: a new block of at least that size.
        unsafe { block.cast::<u8>().write_bytes(0xAB, layout.size()) };
        blocks.push(block.cast());
        assert!(blocks.len() < 1 << 24);
    }
    blocks
}

fn free_all(heap: SalAlloc, layout: Layout, blocks: Vec<NonNull<u8>>) {
    for block in blocks {
        // SAFETY: allocated with that layout, freed once.
        unsafe { heap.deallocate(block, layout) };
    }
}

const CAPACITY: u64 = 24 << 20;

fn fill_to_the_brim(heap: &Heap) {
    assert_eq!(heap.capacity(), CAPACITY);
    for round in 0..2 {
        for size in [16_usize, 100, 1000, 9000, 33_000, 100_000, 250_000, 300_000, 1 << 20, 5 << 20] {
            let layout = Layout::from_size_align(size, 8).unwrap();
            let blocks = exhaust(heap.alloc(), layout);
            let bytes = blocks.len() * size;
            // A slab or a large object wastes a part of its units; whatever other sizes left at hand is little.
            let least = CAPACITY as usize * 70 / 100;
            assert!(bytes <= CAPACITY as usize && bytes >= least, "round {round}, size {size}: {bytes} bytes");
            assert!(heap.stats().used <= CAPACITY);
            let larger = size.max(7 << 20);
            assert!(heap.alloc().allocate(Layout::from_size_align(larger, 8).unwrap()).is_err());
            let mut growing: SalVector<u8, SalAlloc> = SalVector::new_in(heap.alloc());
            assert!(growing.try_reserve(larger).is_err());
            free_all(heap.alloc(), layout, blocks);
        }
    }
    assert!(heap.alloc().allocate(Layout::from_size_align(CAPACITY as usize + 1, 8).unwrap()).is_err());
    let whole = Layout::from_size_align(CAPACITY as usize, 8).unwrap();
    let all = heap.alloc().allocate(whole).expect("nothing is in use, so everything can be had at once");
    free_all(heap.alloc(), whole, vec![all.cast()]);
}

#[test]
fn a_full_heap_in_memory_says_so_at_every_size_and_works_on_after_frees() {
    let heap = HeapOptions::new().capacity(CAPACITY).volatile().unwrap();
    fill_to_the_brim(&heap);
    heap.close().unwrap();
}

#[test]
fn a_full_heap_file_says_so_at_every_size_and_works_on_after_frees() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let heap = open(&path, Some(CAPACITY)).unwrap();
    fill_to_the_brim(&heap);
    unmap(heap);
    let heap = open(&path, None).unwrap();
    fill_to_the_brim(&heap);
    unmap(heap);
}

#[test]
fn threads_share_the_capacity_and_all_of_them_see_the_end() {
    let heap = HeapOptions::new().capacity(CAPACITY).volatile().unwrap();
    let layout = Layout::from_size_align(2000, 8).unwrap();
    let taken: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| exhaust(heap.alloc(), layout).len())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert!(taken * 2000 > CAPACITY as usize * 70 / 100 && taken * 2000 <= CAPACITY as usize, "{taken} blocks");
}

#[test]
fn a_root_that_does_not_fit_is_an_error_and_the_value_is_dropped() {
    let heap = HeapOptions::new().capacity(4 << 20).volatile().unwrap();
    let handle = heap.alloc();
    let layout = Layout::from_size_align(64, 8).unwrap();
    let tx = heap.write().unwrap();
    tx.set_root(Root::new("first"), [1_u64; 8]).unwrap();
    let large = exhaust(handle, Layout::from_size_align(300_000, 8).unwrap());
    let mut blocks = exhaust(handle, layout);
    let error = tx.set_root(Root::new("second"), [2_u64; 8]).unwrap_err();
    assert!(matches!(&error, RootError::OutOfMemory { root } if root == "\"second\""), "{error:?}");
    // Room for the value, but none for the name.
    free_all(handle, layout, vec![blocks.pop().unwrap()]);
    let long = "x".repeat(40_000);
    let before = heap.stats().live_bytes;
    assert!(matches!(tx.set_root(Root::named(&long), [3_u64; 8]), Err(RootError::OutOfMemory { .. })));
    assert_eq!(heap.stats().live_bytes, before);
    assert_eq!(tx.roots().unwrap().len(), 1);
    free_all(handle, Layout::from_size_align(300_000, 8).unwrap(), large);
    tx.set_root(Root::named(long), [3_u64; 8]).unwrap();
    assert_eq!(tx.roots().unwrap().len(), 2);
    drop(tx);
    free_all(handle, layout, blocks);
}

#[test]
fn the_capacity_can_be_raised_and_lowered_at_every_opening() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let heap = open(&path, Some(8 << 20)).unwrap();
    let mut numbers = SalVector::new_in(heap.alloc());
    assert!(numbers.try_reserve(2 << 20).is_err());
    numbers.extend(0..400_000_u64);
    heap.write().unwrap().set_root(NUMBERS, numbers).unwrap();
    unmap(heap);

    let heap = open(&path, Some(32 << 20)).unwrap();
    assert_eq!(heap.capacity(), 32 << 20);
    heap.write().unwrap().root_mut(NUMBERS).unwrap().extend(400_000..2_000_000);
    unmap(heap);

    // It is kept.
    let heap = open(&path, None).unwrap();
    assert_eq!(heap.capacity(), 32 << 20);
    unmap(heap);

    let before = support::bytes::hash(&path);
    let error = open(&path, Some(4 << 20)).unwrap_err();
    assert!(matches!(error, OpenError::CapacityBelowUse { asked, used } if asked == 4 << 20 && used >= 16_000_000));
    assert!(matches!(open(&path, Some(0)), Err(OpenError::ZeroCapacity)));
    let error = open(&path, Some(61 << 30)).unwrap_err();
    assert!(
        matches!(error, OpenError::CapacityTooLarge { asked, largest } if asked == 61 << 30 && largest == 60 << 30)
    );
    assert!(matches!(open(&path, Some(u64::MAX)), Err(OpenError::CapacityTooLarge { .. })));
    assert_eq!(support::bytes::hash(&path), before);

    let heap = open(&path, Some(60 << 30)).unwrap();
    heap.write().unwrap().root_mut(NUMBERS).unwrap().truncate(1000);
    heap.write().unwrap().root_mut(NUMBERS).unwrap().shrink_to_fit();
    unmap(heap);

    let heap = open(&path, Some(1 << 20)).unwrap();
    assert!(heap.read().unwrap().root(NUMBERS).unwrap().iter().zip(0..).all(|(number, expected)| *number == expected));
    let mut more: Numbers = SalVector::new_in(heap.alloc());
    assert!(more.try_reserve(1 << 17).is_err());
    unmap(heap);
}

#[test]
fn a_capacity_that_spans_several_windows_works() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let heap = open(&path, Some(600 << 30)).unwrap();
    assert!(heap.address_range().len() > 600 << 30);
    let last = std::ptr::without_provenance::<u8>(heap.address_range().end - 1);
    assert_eq!(SalAlloc::of_address(last.addr()), Some(heap.alloc()));
    heap.write().unwrap().set_root(Root::new("seven"), 7_u64).unwrap();
    let taken = open(&path, None).unwrap_err();
    assert!(matches!(taken, OpenError::Locked { .. }));
    unmap(heap);
    let heap = open(&path, None).unwrap();
    assert_eq!(*heap.read().unwrap().root(Root::<u64>::new("seven")).unwrap(), 7);
    unmap(heap);
}

#[test]
fn a_file_follows_what_it_holds_up_and_down_again() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    // SAFETY: only these tests write to the file.
    let heap = unsafe { HeapOptions::new().mode(Mode::Shared).create(&path) }.unwrap();
    let empty = (std::fs::metadata(&path).unwrap().len(), support::bytes::disk(&path));
    let layouts = [40, 3000, 70_000, 900_000].map(|size| Layout::from_size_align(size, 8).unwrap());
    let blocks: Vec<_> = layouts
        .iter()
        .flat_map(|&layout| (0..(40 << 20) / layout.size()).map(move |_| layout))
        .map(|layout| (heap.alloc().allocate(layout).unwrap().cast::<u8>(), layout))
        .inspect(|&(block, layout)| {
            // SAFETY: a new block of that size.
            unsafe { block.write_bytes(1, layout.size()) };
        })
        .collect();
    let peak = support::bytes::disk(&path);
    assert!(peak > 160 << 20);
    for (block, layout) in blocks {
        // SAFETY: allocated with that layout, freed once.
        unsafe { heap.alloc().deallocate(block, layout) };
    }
    assert!(heap.purge() > 100 << 20);
    let purged = support::bytes::disk(&path);
    assert!(purged <= peak / 20 + empty.1, "{} of {} KiB are left", purged >> 10, peak >> 10);
    unmap(heap);
    assert!(std::fs::metadata(&path).unwrap().len() <= empty.0 + (2 << 20));
    assert!(support::bytes::disk(&path) <= peak / 20 + empty.1);
}

#[test]
fn short_runs_that_each_store_a_little_share_the_slabs_of_the_earlier_ones() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    for run in 0..40_u64 {
        let heap = open(&path, None).unwrap();
        let tx = heap.write().unwrap();
        let list = tx
            .root_or_insert_with(Root::new("list"), || {
                SalVector::<SalVector<u64, SalAlloc>, SalAlloc>::new_in(heap.alloc())
            })
            .unwrap();
        let mut values = SalVector::new_in(heap.alloc());
        values.extend([run; 5]);
        list.push(values);
        drop(tx);
        let slabs: u64 = heap.stats().classes.iter().map(|class| class.slabs).sum();
        assert!(slabs <= 20, "run {run}: {}", heap.stats());
        unmap(heap);
    }
}

#[test]
fn blocks_that_stand_alone_in_a_heap_that_is_nearly_full_are_aligned() {
    let heap = HeapOptions::new().capacity(4 << 20).volatile().unwrap();
    // Odd units, so that no aligned run of many is left.
    let unit = Layout::from_size_align(300 << 10, 1).unwrap();
    let mut blocks = Vec::new();
    while let Ok(block) = heap.alloc().allocate(unit) {
        blocks.push(block);
    }
    for block in blocks.into_iter().step_by(2) {
        // SAFETY: allocated above with this layout, freed once.
        unsafe { heap.alloc().deallocate(block.cast(), unit) };
    }
    for align in [64 << 10, 128 << 10, 256 << 10] {
        let layout = Layout::from_size_align(align, align).unwrap();
        let mut got = Vec::new();
        while let Ok(block) = heap.alloc().allocate(layout) {
            assert_eq!(block.cast::<u8>().addr().get() % align, 0, "{align}");
            got.push(block);
        }
        for block in got {
            // SAFETY: as above.
            unsafe { heap.alloc().deallocate(block.cast(), layout) };
        }
    }
}
