//! `SalAlloc` as the allocator of a container.
//!
//! The trait is that of allocator-api2 0.2; with the feature `nightly` it is the standard library's own, and with
//! `allocator-api2-04` that of allocator-api2 0.4 comes beside it.

use super::allocate;
use super::grow;
use super::handle::SalAlloc;
use core::alloc::Layout;
use core::ptr::{NonNull, slice_from_raw_parts_mut};

/// A dangling, aligned pointer to nothing, for layouts without a size.
fn dangling(layout: Layout) -> NonNull<[u8]> {
    let start = core::ptr::without_provenance_mut(layout.align());
    // SAFETY: an alignment is not zero.
    unsafe { NonNull::new_unchecked(slice_from_raw_parts_mut(start, 0)) }
}

impl SalAlloc {
    /// All of the block that was made for `layout`.
    #[inline(always)]
    fn whole_block(self, block: *mut u8, layout: Layout) -> Option<NonNull<[u8]>> {
        NonNull::new(slice_from_raw_parts_mut(block, self.usable_size(layout)))
    }

    #[inline(always)]
    fn take(self, layout: Layout, zeroed: bool) -> Option<NonNull<[u8]>> {
        if layout.size() == 0 {
            return Some(dangling(layout));
        }
        let block = if zeroed { allocate::allocate_zeroed(self, layout) } else { allocate::allocate(self, layout) };
        self.whole_block(block, layout)
    }

    /// # Safety
    /// As for `Allocator::deallocate`.
    #[inline(always)]
    unsafe fn give(self, block: NonNull<u8>, layout: Layout) {
        if layout.size() != 0 {
            // SAFETY: the caller's promise.
            unsafe { allocate::free(self, block.as_ptr(), layout) }
        }
    }

    /// # Safety
    /// As for `Allocator::grow` and `Allocator::shrink`.
    #[inline]
    unsafe fn resize(self, block: NonNull<u8>, old: Layout, new: Layout, zeroed: bool) -> Option<NonNull<[u8]>> {
        if old.size() == 0 {
            return self.take(new, zeroed);
        }
        // SAFETY: the caller's promise; a block is freed once its contents have been taken.
        unsafe {
            if new.size() == 0 {
                self.give(block, old);
                return Some(dangling(new));
            }
            let moved = if new.align() <= old.align() {
                grow::reallocate(self, block.as_ptr(), old, new)
            } else {
                let moved = allocate::allocate(self, new);
                if !moved.is_null() {
                    let len = old.size().min(new.size());
                    core::ptr::copy_nonoverlapping(block.as_ptr(), moved, len);
                    allocate::free(self, block.as_ptr(), old);
                }
                moved
            };
            if zeroed && !moved.is_null() && new.size() > old.size() {
                // All that is returned, the excess too.
                moved.add(old.size()).write_bytes(0, self.usable_size(new) - old.size());
            }
            self.whole_block(moved, new)
        }
    }
}

macro_rules! implement_allocator {
    ($api:ident) => {
        // SAFETY: blocks stay valid until they are freed, also when the heap is closed; copies of a handle are
        // interchangeable; the slices returned are as large as the blocks really are.
        unsafe impl $api::alloc::Allocator for SalAlloc {
            #[inline(always)]
            fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, $api::alloc::AllocError> {
                self.take(layout, false).ok_or($api::alloc::AllocError)
            }

            #[inline]
            fn allocate_zeroed(&self, layout: Layout) -> Result<NonNull<[u8]>, $api::alloc::AllocError> {
                self.take(layout, true).ok_or($api::alloc::AllocError)
            }

            #[inline(always)]
            unsafe fn deallocate(&self, block: NonNull<u8>, layout: Layout) {
                // SAFETY: the caller's promise.
                unsafe { self.give(block, layout) }
            }

            #[inline]
            unsafe fn grow(
                &self,
                block: NonNull<u8>,
                old: Layout,
                new: Layout,
            ) -> Result<NonNull<[u8]>, $api::alloc::AllocError> {
                // SAFETY: the caller's promise.
                unsafe { self.resize(block, old, new, false) }.ok_or($api::alloc::AllocError)
            }

            #[inline]
            unsafe fn grow_zeroed(
                &self,
                block: NonNull<u8>,
                old: Layout,
                new: Layout,
            ) -> Result<NonNull<[u8]>, $api::alloc::AllocError> {
                // SAFETY: the caller's promise.
                unsafe { self.resize(block, old, new, true) }.ok_or($api::alloc::AllocError)
            }

            #[inline]
            unsafe fn shrink(
                &self,
                block: NonNull<u8>,
                old: Layout,
                new: Layout,
            ) -> Result<NonNull<[u8]>, $api::alloc::AllocError> {
                // SAFETY: the caller's promise.
                unsafe { self.resize(block, old, new, false) }.ok_or($api::alloc::AllocError)
            }
        }
    };
}

implement_allocator!(allocator_api2);
#[cfg(feature = "allocator-api2-04")]
implement_allocator!(allocator_api2_04);
