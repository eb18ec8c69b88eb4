//! What memory holds that was asked for as zeros, and what it holds once it was freed in a heap that clears it.
#![allow(unsafe_code)]

mod support;

use allocator_api2::alloc::Allocator;
use sal::{HeapOptions, Purge, Region, SalAlloc, Tuning};
use std::alloc::Layout;
use std::ptr::NonNull;
use support::heaps::{each_kind, resident};
use support::{alone, bytes, fresh_path};

const SIZES: [usize; 9] = [9, 100, 1000, 5000, 33_000, 100_000, 200_001, 300_001, 3 << 20];

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 8).unwrap()
}

/// A block all of whose bytes are written, those behind its size too.
fn filled(heap: SalAlloc, size: usize) -> NonNull<[u8]> {
    let block = heap.allocate(layout(size)).unwrap();
    // SAFETY: a new block of that many bytes.
    unsafe { block.cast::<u8>().write_bytes(0xA5, block.len()) };
    block
}

fn is_clear(block: NonNull<[u8]>) -> bool {
    // SAFETY: what was freed stays mapped, and nobody else is there to write to it.
    *unsafe { block.as_ref() } == *vec![0; block.len()]
}

#[test]
fn freed_blocks_are_cleared_to_their_last_byte_if_the_heap_is_to() {
    let directory = tempfile::tempdir().unwrap();
    let options = HeapOptions::new().capacity(1 << 30).scrub_freed(true);
    for (kind, heap, _) in each_kind(&options, directory.path()) {
        let handle = heap.alloc();
        // So that slabs and segments stay.
        let _others = SIZES.map(|size| filled(handle, size));
        for size in SIZES {
            let block = filled(handle, size);
            // SAFETY: allocated just now.
            unsafe { handle.deallocate(block.cast(), layout(size)) };
            assert!(is_clear(block), "{size} bytes in a heap {kind}");
        }
    }
}

#[test]
fn what_a_block_loses_when_it_shrinks_or_moves_is_cleared_if_the_heap_is_to() {
    let directory = tempfile::tempdir().unwrap();
    let options = HeapOptions::new().capacity(1 << 30).scrub_freed(true);
    for (kind, heap, _) in each_kind(&options, directory.path()) {
        let handle = heap.alloc();
        let _others = SIZES.map(|size| filled(handle, size));
        for (old, new) in [(111, 98), (1000, 10), (300_001, 1000), (3 << 20, 600_000), (3 << 20, (3 << 20) - 5000)] {
            let block = filled(handle, old);
            // SAFETY: allocated just now; each block is freed once.
            let moved = unsafe { handle.shrink(block.cast(), layout(old), layout(new)) }.unwrap().cast::<u8>();
            // SAFETY: as above.
            unsafe { handle.deallocate(moved, layout(new)) };
            assert!(is_clear(block), "{old} to {new} bytes in a heap {kind}");
        }
        for (old, new) in [(100, 2000), (1000, 300_001), (300_001, 9 << 20)] {
            let block = filled(handle, old);
            let _behind = filled(handle, old);
            // SAFETY: as above.
            unsafe {
                let grown = handle.grow(block.cast(), layout(old), layout(new)).unwrap().cast::<u8>();
                handle.deallocate(grown, layout(new));
            }
            assert!(is_clear(block), "{old} to {new} bytes in a heap {kind}");
        }
        let mut region = Region::<u8>::with_capacity_in(4 << 20, handle);
        region.extend_from_slice(&vec![0xA5; 4 << 20]);
        let all = NonNull::slice_from_raw_parts(NonNull::new(region.as_mut_ptr()).unwrap(), 4 << 20);
        region.truncate(10_000);
        region.shrink_to_fit();
        drop(region);
        assert!(is_clear(all), "a region in a heap {kind}");
    }
}

#[test]
fn a_file_holds_nothing_of_what_was_freed_in_it_if_the_heap_is_to_clear_it() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    for (scrubs, found) in [(true, false), (false, true)] {
        let _ = std::fs::remove_file(&path);
        let heap = support::heaps::opened(&HeapOptions::new().mode(sal::Mode::Shared).scrub_freed(scrubs), &path);
        // Its slab stays in the file.
        let _neighbour = filled(heap.alloc(), 1000);
        let secret = heap.alloc().allocate(layout(1000)).unwrap().cast::<u8>();
        // SAFETY: a new block of that size, freed once.
        unsafe {
            secret.copy_from_nonoverlapping(NonNull::from(b"correct horse battery staple").cast(), 28);
            heap.alloc().deallocate(secret, layout(1000));
        }
        support::heaps::unmap(heap);
        let holds = bytes::pages(&path)
            .iter()
            .any(|(_, page)| page.windows(28).any(|at| at == b"correct horse battery staple"));
        assert_eq!(holds, found, "cleared: {scrubs}");
    }
}

#[test]
fn zeros_from_memory_that_nobody_used_are_not_written() {
    let _alone = alone();
    let heap = HeapOptions::new().capacity(1 << 30).huge_pages(false).volatile().unwrap();
    for size in [20_000, 200_000, 300_000, 8 << 20] {
        let before = resident(&heap);
        let count = (64 << 20) / size;
        let blocks: Vec<_> = (0..count).map(|_| heap.alloc().allocate_zeroed(layout(size)).unwrap()).collect();
        assert!(resident(&heap) < before + (2 << 20), "{size}");
        assert!(blocks.iter().all(|&block| is_clear(block)), "{size}");
    }
}

#[test]
fn zeros_are_zeros_at_every_size_whoever_had_the_memory_before() {
    let directory = tempfile::tempdir().unwrap();
    for (kind, heap, _) in each_kind(&HeapOptions::new().capacity(1 << 30), directory.path()) {
        let handle = heap.alloc();
        for policy in [Purge::Retain, Purge::Eager] {
            handle.tune(&Tuning::new().purge(policy));
            for round in 0..6 {
                let blocks = SIZES.map(|size| filled(handle, size));
                for (block, size) in blocks.into_iter().zip(SIZES) {
                    // SAFETY: allocated above, freed once.
                    unsafe { handle.deallocate(block.cast(), layout(size)) };
                }
                if round % 2 == 1 {
                    heap.purge();
                }
                for size in SIZES {
                    let block = handle.allocate_zeroed(layout(size)).unwrap();
                    assert!(is_clear(block), "{size} bytes in a heap {kind}");
                    // SAFETY: ours, of that many bytes; freed once.
                    unsafe {
                        block.cast::<u8>().write_bytes(0x5A, block.len());
                        handle.deallocate(block.cast(), layout(size));
                    }
                }
            }
        }
    }
}
