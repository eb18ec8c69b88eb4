//! The blocks of handle-free collections: taken, grown, shrunk and freed here and nowhere else.
//!
//! A collection stores no handle, so the heap is found anew at each call. The first block comes from the
//! heap of the *place*, which is the address of the collection itself; everything later is done by the heap
//! whose window holds the block. A block in no window belongs to the process's default heap.
//!
//! # Invariants
//! - **B1** A block is given back to the heap that served it, whoever calls and wherever the collection has
//!   been moved since.
//! - **B2** A collection that lies in a window is never given more of a heap with another window.
//!
//! # What survives a crash
//! Nothing is kept here. Whether a block is in use after a crash follows from what the sealed roots reach.
#![allow(unsafe_code)]

use super::TryReserveError;
use crate::SalAlloc;
use crate::heap::placement::{heap_for_value_at, heap_of_address};
use allocator_api2::alloc::Allocator;
use core::alloc::Layout;
use core::ptr::NonNull;

/// The heap that served `block`.
#[inline]
pub(crate) fn heap_of_block(block: NonNull<u8>) -> SalAlloc {
    heap_of_address(block.addr().get()).unwrap_or(SalAlloc::new())
}

/// Whether a collection in the window of heap `place`, if in any, must not grow a block of heap `block`.
#[inline]
fn is_foreign<H: PartialEq>(place: Option<H>, block: H) -> bool {
    place.is_some_and(|place| place != block)
}

/// Takes the first block of a collection that lies at address `place`.
///
/// The slice may be longer than `layout` asks for. The block is freed with [`deallocate`] and a layout of
/// the same alignment whose size is anything from the one asked for to the length of the slice.
///
/// # Errors
/// [`TryReserveError::AllocError`] if the heap cannot serve it.
#[inline]
pub(crate) fn allocate_for(place: usize, layout: Layout) -> Result<NonNull<[u8]>, TryReserveError> {
    debug_assert!(layout.size() != 0, "a block without bytes is not a block");
    #[cfg(test)]
    refusal::next(layout)?;
    heap_for_value_at(place).allocate(layout).map_err(|_| TryReserveError::AllocError { layout })
}

/// Takes another block in the heap of `block`, which belongs to the collection at address `place`.
///
/// # Errors
/// As [`grow`].
#[inline]
pub(crate) fn allocate_beside(
    place: usize,
    block: NonNull<u8>,
    layout: Layout,
) -> Result<NonNull<[u8]>, TryReserveError> {
    debug_assert!(layout.size() != 0, "a block without bytes is not a block");
    #[cfg(test)]
    refusal::next(layout)?;
    let heap = heap_of_block(block);
    if is_foreign(heap_of_address(place), heap) {
        return Err(TryReserveError::ForeignHeap);
    }
    heap.allocate(layout).map_err(|_| TryReserveError::AllocError { layout })
}

/// Makes `block`, which belongs to the collection at address `place`, larger, and moves it if it must; the
/// first `old.size()` bytes keep their values. After an error `block` is as it was.
///
/// # Errors
/// [`TryReserveError::ForeignHeap`] if `place` lies in the window of a heap and `block` in another heap;
/// [`TryReserveError::AllocError`] if the heap cannot serve it.
///
/// # Safety
/// `block` is in use, came from this module, `old` fits it, and `new.size() >= old.size()`. After success
/// only the block returned may be used.
#[inline]
pub(crate) unsafe fn grow(
    place: usize,
    block: NonNull<u8>,
    old: Layout,
    new: Layout,
) -> Result<NonNull<[u8]>, TryReserveError> {
    let heap = heap_of_block(block);
    if is_foreign(heap_of_address(place), heap) {
        return Err(TryReserveError::ForeignHeap);
    }
    // SAFETY: by B1 `heap` served `block`; the rest is the caller's promise.
    unsafe { heap.grow(block, old, new) }.map_err(|_| TryReserveError::AllocError { layout: new })
}

/// Makes `block` smaller, and moves it within its heap if it must; the first `new.size()` bytes keep their
/// values. After an error `block` is as it was.
///
/// # Errors
/// [`TryReserveError::AllocError`] if the heap cannot do it.
///
/// # Safety
/// `block` is in use, came from this module, `old` fits it, and `0 < new.size() <= old.size()`. After
/// success only the block returned may be used.
#[inline]
pub(crate) unsafe fn shrink(block: NonNull<u8>, old: Layout, new: Layout) -> Result<NonNull<[u8]>, TryReserveError> {
    debug_assert!(new.size() != 0, "a block without bytes is not a block");
    // SAFETY: by B1 this heap served `block`; the rest is the caller's promise.
    unsafe { heap_of_block(block).shrink(block, old, new) }.map_err(|_| TryReserveError::AllocError { layout: new })
}

/// Frees `block`.
///
/// # Safety
/// `block` is in use, came from this module, and `layout` fits it. It is not used again.
#[inline]
pub(crate) unsafe fn deallocate(block: NonNull<u8>, layout: Layout) {
    // SAFETY: by B1 this heap served `block`; the rest is the caller's promise.
    unsafe { heap_of_block(block).deallocate(block, layout) }
}

/// A full disk, for tests: blocks that are new are refused, those that grow are not.
#[cfg(test)]
pub(crate) mod refusal {
    use super::{Layout, TryReserveError};
    use core::cell::Cell;

    std::thread_local! {
        static LEFT: Cell<Option<usize>> = const { Cell::new(None) };
    }

    /// Lets this thread have so many more blocks; `None` ends that.
    pub(crate) fn allow(blocks: Option<usize>) {
        LEFT.set(blocks);
    }

    pub(super) fn next(layout: Layout) -> Result<(), TryReserveError> {
        match LEFT.get() {
            Some(0) => return Err(TryReserveError::AllocError { layout }),
            Some(left) => LEFT.set(Some(left - 1)),
            None => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_foreign_only_to_a_place_in_another_window() {
        assert!(!is_foreign(None, 1));
        assert!(!is_foreign(Some(1), 1));
        assert!(is_foreign(Some(2), 1));
    }

    #[test]
    fn bytes_survive_growing_and_shrinking() {
        let small = Layout::from_size_align(24, 8).unwrap();
        let large = Layout::from_size_align(4096, 8).unwrap();
        let place = &small as *const Layout as usize;
        let block = allocate_for(place, small).unwrap().cast::<u8>();
        // SAFETY: the block has 24 bytes, then 4096, then 24 again, and each layout is the one it was
        // last given.
        unsafe {
            block.write_bytes(0x5A, 24);
            let block = grow(place, block, small, large).unwrap().cast::<u8>();
            let block = shrink(block, large, small).unwrap().cast::<u8>();
            assert_eq!(core::slice::from_raw_parts(block.as_ptr(), 24), [0x5A; 24]);
            deallocate(block, small);
        }
    }

    #[test]
    fn a_block_that_cannot_be_served_is_an_error() {
        let layout = Layout::from_size_align(isize::MAX as usize - 4095, 1).unwrap();
        assert_eq!(allocate_for(0, layout), Err(TryReserveError::AllocError { layout }));
    }
}
