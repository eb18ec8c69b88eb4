//! `SalAlloc` as a program's global allocator.

use super::allocate;
use super::grow;
use super::handle::SalAlloc;
use core::alloc::{GlobalAlloc, Layout};

// SAFETY: blocks stay valid until they are freed, are disjoint, aligned and at least as large as asked for. Nothing on
// the way allocates through the global allocator, and nothing unwinds. A closed heap keeps its memory readable.
unsafe impl GlobalAlloc for SalAlloc {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        allocate::allocate(*self, layout)
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { allocate::free(*self, block, layout) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        allocate::allocate_zeroed(*self, layout)
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller promises that the size, rounded up to the alignment, does not overflow.
        unsafe {
            let new = Layout::from_size_align_unchecked(new_size, layout.align());
            grow::reallocate(*self, block, layout, new)
        }
    }
}
