//! Large objects that notice when somebody else writes to them.

use allocator_api2::alloc::Allocator;
use sal::{Heap, HeapOptions, SalAlloc, Tuning};
use std::alloc::Layout;
use std::ptr::NonNull;

pub(crate) const MIB: usize = 1 << 20;

/// A block that says whose it is at both ends.
#[derive(Debug)]
pub(crate) struct Tagged {
    pub(crate) block: NonNull<u8>,
    layout: Layout,
    heap: SalAlloc,
    tag: u8,
}

// SAFETY: it has its block alone.
unsafe impl Send for Tagged {}

impl Tagged {
    pub(crate) fn new(heap: SalAlloc, size: usize, align: usize, tag: u8) -> Option<Self> {
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

/// A heap in memory.
pub(crate) fn volatile(capacity: usize, tuning: Tuning) -> Heap {
    HeapOptions::new().capacity(capacity as u64).tuning(tuning).volatile().unwrap()
}
