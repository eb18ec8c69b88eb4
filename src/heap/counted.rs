//! Blocks whose pointers are counted.

use super::SalAlloc;
use super::allocate::{self, Kind, kind_of, usable_size};
use super::placement::heap_of_address;
use super::seal::protect;
use super::withheld;
use crate::alloc::count_table;
use crate::alloc::current::Withholding;
use crate::alloc::ref_count::RefCount;
use crate::alloc::size_class::Ladder;
use crate::alloc::young;
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
pub(super) const fn whole(layout: Layout) -> Layout {
    match Layout::from_size_align(usable_size(Ladder::Usual, layout), layout.align()) {
        Ok(layout) => layout,
        // Not for layouts that can be served.
        Err(_) => layout,
    }
}

/// Allocates a block of a layout with a size; none if the heap has no room or is not open, or there is no room for counts. When it
/// has its value its count [begins](begin).
#[inline]
pub(crate) fn allocate(heap: SalAlloc, layout: Layout) -> Option<NonNull<u8>> {
    let block = NonNull::new(allocate::allocate(heap, whole(layout)))?;
    if count_table::ensure(block.addr().get()).is_err() {
        // SAFETY: allocated just now.
        unsafe { allocate::free(heap, block.as_ptr(), whole(layout)) };
        return None;
    }
    Some(block)
}

/// A new block has its value, and the caller the only pointer to it.
///
/// # Safety
/// The block was allocated by [`allocate`] or [`allocate_near`] with this layout, and nobody else has it.
#[inline(always)]
pub(crate) unsafe fn begin(block: NonNull<u8>, layout: Layout) {
    // SAFETY: its counts are mapped.
    unsafe { count_of(block, layout) }.begin();
    young::note(block.addr().get());
}

/// As [`begin`], of a block that a seal neither passes nor makes read-only.
///
/// # Safety
/// As for [`begin`].
#[inline(always)]
pub(crate) unsafe fn begin_unsealed(block: NonNull<u8>, layout: Layout) {
    // SAFETY: its counts are mapped.
    let count = unsafe { count_of(block, layout) };
    if young::is_noted(block.addr().get()) {
        count.begin_as_found();
    } else {
        count.begin();
    }
}

/// As [`begin`], of a block to which there are weak pointers already ([`RefCount::begin_weak`]).
///
/// # Safety
/// As for [`begin`].
pub(crate) unsafe fn begin_late(block: NonNull<u8>, layout: Layout) {
    // SAFETY: its counts are mapped.
    unsafe { count_of(block, layout) }.begin_late();
    young::note(block.addr().get());
}

/// Whether a block may have been made since its heap last sealed: then it has not been sealed.
#[inline(always)]
pub(crate) fn is_young(count: &RefCount) -> bool {
    count.is_known_and_unsealed()
}

/// Whether a block is sealed. One whose number of pointers is not known yet is, if its heap seals.
///
/// # Safety
/// As for [`count_of`].
pub(crate) unsafe fn is_sealed(block: NonNull<u8>, layout: Layout) -> bool {
    // SAFETY: the caller's promise.
    let count = unsafe { count_of(block, layout) };
    !is_young(count) && (count.is_sealed() || young::is_noted(block.addr().get()))
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

/// The only pointer to a block goes, whatever the block's count says of their number: from here on nobody seals the value, or has
/// done so before, and the count says that.
///
/// # Safety
/// As for [`count_of`].
#[inline(always)]
pub(crate) unsafe fn give_up(block: NonNull<u8>, layout: Layout) {
    if young::is_noted(block.addr().get()) {
        // SAFETY: the caller's promise.
        unsafe { count_of(block, layout) }.give_up();
    }
}

/// Frees a block.
///
/// # Safety
/// As for [`count_of`], and nobody uses the block any more; the last pointer to it was dropped, or [given up](give_up).
#[inline]
pub(crate) unsafe fn free(block: NonNull<u8>, layout: Layout) {
    // SAFETY: the caller's promise.
    unsafe {
        let count = count_of(block, layout);
        if is_young(count) || !keep_sealed(block, layout) {
            free_counted(block, layout, count);
        }
    }
}

/// Ends a block's count and gives the block back.
///
/// # Safety
/// As for [`free`], and nobody keeps it.
#[inline(always)]
unsafe fn free_counted(block: NonNull<u8>, layout: Layout, count: &RefCount) {
    count.end();
    // SAFETY: the caller's promise; a heap that was closed takes nothing back.
    unsafe { allocate::free(heap_of(block), block.as_ptr(), whole(layout)) };
}

/// Keeps a block that is being freed and may be sealed, if that is not to be used again yet: because the last commit leads to it, or
/// because nobody can write where it lies.
///
/// # Safety
/// As for [`free`], if the answer is that it is kept.
#[cold]
#[inline(never)]
unsafe fn keep_sealed(block: NonNull<u8>, layout: Layout) -> bool {
    // SAFETY: the caller's promise.
    withheld::note_counted(heap_of(block), block, layout) || unsafe { protect::free_sealed(block, layout) }
}

/// Frees a block that no commit leads to any more.
///
/// # Safety
/// The block was kept by [`withheld::note_counted`], with this layout, and is freed once.
pub(super) unsafe fn free_kept(block: NonNull<u8>, layout: Layout) {
    // SAFETY: the caller's promise.
    unsafe {
        if !protect::free_sealed(block, layout) {
            free_counted(block, layout, count_of(block, layout));
        }
    }
}

/// As long as the answer lives, what the thread frees of the heap that has a sealed block is withheld, if that heap does so: for
/// what the block's value frees when it is dropped.
pub(crate) fn withhold(block: NonNull<u8>) -> Option<Withholding> {
    withheld::withhold(heap_of(block))
}

/// Whether a value must not be moved out of its block, because what it owns must stay as it is.
///
/// # Safety
/// As for [`count_of`].
#[inline]
pub(crate) unsafe fn is_withheld(block: NonNull<u8>, layout: Layout) -> bool {
    // SAFETY: the caller's promise.
    unsafe { is_sealed(block, layout) && withheld::is_withheld(heap_of(block)) }
}

/// As [`allocate`], in the heap of another counted block and as near to it as there is room.
#[inline]
pub(crate) fn allocate_near(other: NonNull<u8>, layout: Layout) -> Option<NonNull<u8>> {
    let heap = heap_of(other);
    let near = class_of(layout).and_then(|class| allocate::allocate_near(heap, class, other.addr().get()));
    let Some(block) = near else { return allocate(heap, layout) };
    #[cfg(feature = "checked")]
    let block = super::checked::allocated(heap.place(), whole(layout), block);
    // The other block's counts are mapped, and this one lies in the same slab.
    NonNull::new(block)
}
