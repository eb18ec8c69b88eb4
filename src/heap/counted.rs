//! Blocks whose pointers are counted.

use super::SalAlloc;
use super::allocate::{self, Kind, kind_of, usable_size};
use super::placement::heap_of_address;
use crate::alloc::count_table;
use crate::alloc::ref_count::RefCount;
use crate::alloc::size_class::Ladder;
use core::alloc::Layout;
use core::ptr::NonNull;

/// The layout's class, if its block lies in a slab.
#[inline(always)]
const fn class_of(layout: Layout) -> Option<usize> {
    match kind_of(Ladder::Usual, layout) {
        Kind::Small(class) => Some(class),
        Kind::Large => None,
    }
}

/// The layout with as many bytes as its class has: so the class is the same in heaps with a finer ladder, and follows from the layout.
#[inline(always)]
const fn whole(layout: Layout) -> Layout {
    match Layout::from_size_align(usable_size(Ladder::Usual, layout), layout.align()) {
        Ok(layout) => layout,
        // Not for layouts that can be served.
        Err(_) => layout,
    }
}

/// Allocates a block of a layout with a size, to which there is one pointer; none if the heap has no room or is not open, or
/// there is no room for counts.
#[inline]
pub(crate) fn allocate(heap: SalAlloc, layout: Layout) -> Option<NonNull<u8>> {
    let block = NonNull::new(allocate::allocate(heap, whole(layout)))?;
    if count_table::ensure(block.addr().get()).is_err() {
        // SAFETY: allocated just now.
        unsafe { allocate::free(heap, block.as_ptr(), whole(layout)) };
        return None;
    }
    // SAFETY: its counts are mapped.
    unsafe { count_of(block, layout) }.begin();
    Some(block)
}

/// The count of a block.
///
/// # Safety
/// The block was allocated by [`allocate`] with this layout, or is one of a heap file that an earlier process allocated so, and
/// its heap has not been unmapped since.
#[inline(always)]
pub(crate) unsafe fn count_of<'a>(block: NonNull<u8>, layout: Layout) -> &'a RefCount {
    // SAFETY: mapped since the block was allocated, or its heap opened; atomic, and zeros are a count.
    unsafe { count_table::place_of(block.addr().get(), class_of(layout)).as_ref() }
}

/// The heap that has a counted block.
#[inline]
pub(crate) fn heap_of(block: NonNull<u8>) -> SalAlloc {
    heap_of_address(block.addr().get()).unwrap_or(SalAlloc::new())
}

/// Frees a block.
///
/// # Safety
/// As for [`count_of`], and nobody uses the block any more.
#[inline]
pub(crate) unsafe fn free(block: NonNull<u8>, layout: Layout) {
    // SAFETY: the caller's promise; a heap that was closed takes nothing back.
    unsafe {
        count_of(block, layout).end();
        allocate::free(heap_of(block), block.as_ptr(), whole(layout));
    }
}

/// As [`allocate`], in the heap of another counted block and as near to it as there is room.
#[inline]
pub(crate) fn allocate_near(other: NonNull<u8>, layout: Layout) -> Option<NonNull<u8>> {
    let heap = heap_of(other);
    let near = class_of(layout).and_then(|class| allocate::allocate_near(heap, class, other.addr().get()));
    let Some(block) = near else { return allocate(heap, layout) };
    #[cfg(feature = "checked")]
    let block = super::checked::allocated(heap.place(), whole(layout), block);
    let block = NonNull::new(block)?;
    // SAFETY: the other block's counts are mapped, and this one lies in the same slab.
    unsafe { count_of(block, layout) }.begin();
    Some(block)
}
