//! The sizes that blocks come in, as a program sees them.
#![allow(unsafe_code)]

mod support;

use allocator_api2::alloc::Allocator;
use sal::{HeapOptions, SalAlloc, SizeClasses};
use std::alloc::Layout;
use std::ptr::NonNull;
use support::{Random, seed};

const LARGEST: usize = 256 << 10;

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 1).unwrap()
}

#[test]
fn a_block_is_as_large_as_its_class_and_all_of_it_may_be_used() {
    let ladder = blocks_are_as_large_as_their_classes(SizeClasses::default());
    // No more than one byte in eight is lost above 128 bytes, and no more than 15 below.
    for step in ladder.windows(2) {
        let waste = step[1] - step[0] - 1;
        assert!(waste < 16 || waste * 8 <= step[1], "{step:?}");
    }
}

#[test]
fn a_block_of_the_fine_ladder_is_as_large_as_its_class_and_loses_less_than_a_sixteenth() {
    let ladder = blocks_are_as_large_as_their_classes(SizeClasses::fine());
    for step in ladder.windows(2) {
        let waste = step[1] - step[0] - 1;
        assert!(waste < 16 || waste * 16 < step[1], "{step:?}");
    }
}

fn blocks_are_as_large_as_their_classes(classes: SizeClasses) -> Vec<usize> {
    let heap = HeapOptions::new().size_classes(classes).capacity(1 << 30).volatile().unwrap();
    assert_eq!((heap.size_classes(), heap.alloc().size_classes()), (classes, classes));
    let mut ladder = Vec::new();
    let sizes = (1..=5000).chain((5000..=LARGEST).step_by(127)).chain([LARGEST, LARGEST + 1, LARGEST + 4097]);
    for size in sizes {
        let block = heap.alloc().allocate(layout(size)).unwrap();
        assert!(block.len() >= size);
        assert_eq!(heap.alloc().usable_size(layout(size)), block.len());
        assert_eq!(classes.usable_size(layout(size)), block.len());
        if size <= LARGEST && ladder.last() != Some(&block.len()) {
            ladder.push(block.len());
        }
        let neighbour = heap.alloc().allocate(layout(size)).unwrap();
        // SAFETY: both are ours, with all the bytes that they were said to have; a layout of any size between fits.
        unsafe {
            block.cast::<u8>().write_bytes(1, block.len());
            neighbour.cast::<u8>().write_bytes(2, neighbour.len());
            assert!(block.as_ref().iter().all(|&byte| byte == 1), "{size}");
            heap.alloc().deallocate(block.cast(), layout(block.len()));
            heap.alloc().deallocate(neighbour.cast(), layout(size));
        }
    }
    assert_eq!(heap.stats().live_bytes, 0);
    assert!(ladder.is_sorted());
    // Statistics name the same sizes.
    let counted: Vec<_> = heap.stats().classes.iter().map(|class| class.size).collect();
    assert_eq!(counted, ladder);
    assert_eq!(classes.sizes().collect::<Vec<_>>(), ladder);
    // Above that, whole pages.
    for size in [LARGEST + 1, (2 << 20) + 1, (16 << 20) + 1] {
        let block = heap.alloc().allocate(layout(size)).unwrap();
        assert_eq!(block.len(), size.next_multiple_of(4096));
        // SAFETY: allocated just now.
        unsafe { heap.alloc().deallocate(block.cast(), layout(size)) };
    }
    ladder
}

#[test]
fn a_slab_gives_its_lowest_free_blocks_first() {
    let heap = HeapOptions::new().capacity(1 << 30).volatile().unwrap();
    let handle = heap.alloc();
    let take = |handle: SalAlloc| handle.allocate(layout(640)).unwrap().cast::<u8>();
    let seed = seed(3);
    let mut random = Random(seed);
    for _ in 0..20 {
        // Fewer than a slab has, so that all of them lie in one.
        let mut blocks: Vec<_> = (0..40).map(|_| take(handle).addr()).collect();
        let lowest = blocks.iter().copied().min().unwrap();
        while !blocks.is_empty() {
            let block = blocks.swap_remove(random.below(blocks.len()));
            let block = NonNull::new(std::ptr::with_exposed_provenance_mut(block.get())).unwrap();
            // SAFETY: allocated above, freed once.
            unsafe { handle.deallocate(block, layout(640)) };
        }
        // Out of the magazine, back to the slab.
        heap.purge();
        let again: Vec<_> = (0..8).map(|_| take(handle)).collect();
        assert!(again.is_sorted() && again[0].addr() <= lowest, "seed {seed}: {again:?}, {lowest:#x}");
        for block in again {
            // SAFETY: as above.
            unsafe { handle.deallocate(block, layout(640)) };
        }
        heap.purge();
    }
}

#[test]
fn each_class_tells_how_much_of_its_slabs_is_used() {
    let heap = HeapOptions::new().capacity(1 << 30).volatile().unwrap();
    let blocks: Vec<_> = (0..100_000).map(|_| heap.alloc().allocate(layout(89)).unwrap()).collect();
    let stats = heap.stats();
    let class = stats.classes.iter().find(|class| class.size >= 89).unwrap();
    assert_eq!((class.size, class.live), (96, 100_000));
    assert!(class.utilisation() > 0.95, "{}", class.utilisation());
    // All but the rest of a lease.
    assert!(stats.overhead() < 4 << 20 && stats.utilisation() > 0.75, "{stats}");
    for block in blocks {
        // SAFETY: allocated above, freed once.
        unsafe { heap.alloc().deallocate(block.cast(), layout(89)) };
    }
    let stats = heap.stats();
    assert!(stats.classes.iter().all(|class| class.live == 0 && class.utilisation() == 0.0));
}
