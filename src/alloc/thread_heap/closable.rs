//! The magazines of a heap that can be closed at any moment.
//!
//! A block is taken, or given, without a word to whoever may be closing the heap: the store to the magazine's word says it
//! ([`presence::take`]). Such a thread touches only its own thread heap, which stays where it is while the thread has it;
//! everything that leads to the heap's memory is done by a thread that has [entered](presence::enter).

use super::{Magazine, ONE_TAKEN, ThreadHeap};
use crate::alloc::presence;
use crate::alloc::size_class::ALL_CLASSES;
use crate::sync::{AtomicU32, Ordering};

impl ThreadHeap {
    /// As [`ThreadHeap::allocate`]; also none if the heap is not open.
    ///
    /// # Safety
    /// As for [`ThreadHeap::allocate`], and the thread heap is empty or one for which [`presence::take`] will do.
    #[inline(always)]
    pub(crate) unsafe fn allocate_unless_closed(heap: *mut Self, class: usize) -> Option<*mut u8> {
        // SAFETY: H1; the empty one has nothing to pop, so that its heap is not looked at (H2). Another one's heap lives as
        // long as its thread has it.
        unsafe {
            debug_assert!(class < ALL_CLASSES);
            let magazine: *const Magazine = (&raw const (*heap).magazines).cast::<Magazine>().add(class);
            // Relaxed: only whoever closes the heap stores there, too, after which nothing comes of what is loaded.
            let now = (*magazine).state.load(Ordering::Relaxed);
            if now as u16 == (*magazine).floor {
                return None;
            }
            if !presence::take(&(*magazine).state, now, now.wrapping_add(ONE_TAKEN - 1), Self::open_state(heap)) {
                return None;
            }
            Some((&raw const (*heap).slots).cast::<*mut u8>().add(now as u16 as usize - 1).read())
        }
    }

    /// As [`ThreadHeap::free`]; also false if the heap is not open.
    ///
    /// # Safety
    /// As for [`ThreadHeap::allocate_unless_closed`]; `block` is a block of the class that nobody uses any more.
    #[inline(always)]
    pub(crate) unsafe fn free_unless_closed(heap: *mut Self, class: usize, block: *mut u8) -> bool {
        // SAFETY: as in `allocate_unless_closed`; the empty one has no room. Whoever closes the heap reads slots below the
        // top only, after the store that raised it.
        unsafe {
            debug_assert!(class < ALL_CLASSES);
            let magazine: *const Magazine = (&raw const (*heap).magazines).cast::<Magazine>().add(class);
            let now = (*magazine).state.load(Ordering::Relaxed);
            if now as u16 == (*magazine).ceiling || !presence::is_open(Self::open_state(heap)) {
                return false;
            }
            (&raw mut (*heap).slots).cast::<*mut u8>().add(now as u16 as usize).write(block);
            presence::put(&(*magazine).state, now.wrapping_add(1));
            true
        }
    }

    /// # Safety
    /// Not the empty one.
    #[inline(always)]
    unsafe fn open_state<'a>(heap: *mut Self) -> &'a AtomicU32 {
        // SAFETY: a heap outlives its thread heaps.
        unsafe { &(*(*heap).core).state }
    }
}
