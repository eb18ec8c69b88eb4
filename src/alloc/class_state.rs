//! What a heap's allocator state says of each class, wherever in the state that stands.
//!
//! The usual classes have their words where they always were; those that only the fine ladder has follow further behind in the
//! same page.

use super::heap_core::Core;
use super::size_class::CLASSES;
use crate::format::soft::SoftHeader;
use crate::sync::AtomicU32;
use core::sync::atomic::AtomicI64;

/// The first slab of a class with free blocks that no thread owns: its head unit + 1, or 0.
///
/// # Safety
/// `soft` is the state of a heap, and mapped; `class` is one.
#[inline]
pub(super) unsafe fn orphans(soft: *mut SoftHeader, class: usize) -> *mut u32 {
    // SAFETY: the caller's promise; no reference covers more than the one list (F1).
    unsafe {
        match class.checked_sub(CLASSES) {
            None => &raw mut (*soft).locked.orphans[class],
            Some(finer) => &raw mut (*soft).finer.orphans[finer],
        }
    }
}

impl Core {
    /// As [`orphans`], of this heap. Used under the heap's lock.
    #[inline]
    pub(super) fn orphans(&self, class: usize) -> *mut u32 {
        // SAFETY: mapped (K3); an index that is too large panics.
        unsafe { orphans(self.soft(), class) }
    }

    /// Slabs of a class, less what live threads have counted. Stored to under the heap's lock.
    #[inline]
    pub(crate) fn slabs_of(&self, class: usize) -> &AtomicU32 {
        // SAFETY: mapped (K3); an atomic, which all may share.
        unsafe {
            match class.checked_sub(CLASSES) {
                None => &(&(*self.soft()).locked.slabs)[class],
                Some(finer) => &(&(*self.soft()).finer.slabs)[finer],
            }
        }
    }

    /// Blocks of a class that are out of their slabs, less what live threads have counted. Stored to under the heap's lock.
    #[inline]
    pub(crate) fn live_of(&self, class: usize) -> &AtomicI64 {
        // SAFETY: as in `slabs_of`.
        unsafe {
            match class.checked_sub(CLASSES) {
                None => &(&(*self.soft()).locked.live)[class],
                Some(finer) => &(&(*self.soft()).finer.live)[finer],
            }
        }
    }
}
