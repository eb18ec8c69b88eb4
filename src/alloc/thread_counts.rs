//! What a thread counts of what it does in a heap: its own words, which only it writes and all may read.
//!
//! When a thread ends, what it has counted is added to what its heap has ([`super::counters`]).

use super::heap_core::Core;
use super::thread_heap::ThreadHeap;
use crate::sync::{AtomicU64, Ordering};
use core::sync::atomic::{AtomicI32, AtomicI64};

/// What one thread has counted of one class, as far as it has not been added to what its heap has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    /// Blocks taken out of slabs less those put back.
    pub(crate) out: i64,
    /// Blocks of them that lie in the magazine.
    pub(crate) cached: u32,
    /// Slabs made less slabs given up.
    pub(crate) slabs: i32,
    /// Blocks that the program took.
    pub(crate) allocations: u64,
    /// Refills of the magazine, and halves of it given back.
    pub(crate) slow_paths: u64,
}

impl Counted {
    /// Blocks that the program gave back: what was taken and is neither out nor in the magazine. Not below zero, also
    /// where the counters were read at different moments.
    pub(crate) fn frees(&self) -> u64 {
        let in_use = self.out.saturating_sub(i64::from(self.cached));
        u64::try_from((self.allocations as i64).saturating_sub(in_use)).unwrap_or(0)
    }
}

/// What one thread has counted of large objects, as far as it has not been added to what its heap has.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CountedLarge {
    /// Bytes allocated less those freed.
    pub(crate) bytes: i64,
    pub(crate) allocations: i64,
    pub(crate) frees: i64,
}

impl CountedLarge {
    /// Those allocated less those freed.
    pub(crate) fn count(&self) -> i64 {
        self.allocations.wrapping_sub(self.frees)
    }
}

impl ThreadHeap {
    /// Adds what the thread has counted of a class to what the heap has; its magazine is empty. Under the heap's lock.
    ///
    /// # Safety
    /// As for [`ThreadHeap::retire`].
    pub(super) unsafe fn hand_over(heap: *mut Self, core: &Core, class: usize) {
        // SAFETY: the thread's own; the areas are mapped (K3).
        unsafe {
            let counted = Self::counters(heap, class);
            if counted == Counted::default() {
                return;
            }
            core.totals.take_over(class, &counted);
            // First there, then here: who looks meanwhile counts twice, which is shown, and not less than nothing.
            let (live, slabs) = (core.live_of(class), core.slabs_of(class));
            live.store(live.load(Ordering::Relaxed).saturating_add(counted.out), Ordering::Relaxed);
            slabs.store(slabs.load(Ordering::Relaxed).wrapping_add_signed(counted.slabs), Ordering::Relaxed);
            (&(*heap).live)[class].store(0, Ordering::Relaxed);
            (&(*heap).slabs)[class].store(0, Ordering::Relaxed);
            (&(*heap).slow_paths)[class].store(0, Ordering::Relaxed);
            let magazine = &(&(*heap).magazines)[class];
            magazine.state.store(magazine.floor.into(), Ordering::Relaxed);
        }
    }

    /// What this thread has counted of a class.
    ///
    /// # Safety
    /// `heap` comes from [`ThreadHeap::create`] and has not been destroyed. Any thread may ask: no reference is made but
    /// to the counters and the magazine, whose plain fields never change.
    #[inline]
    pub(crate) unsafe fn counters(heap: *const Self, class: usize) -> Counted {
        // Relaxed: the figures are shown, nothing follows from them.
        // SAFETY: the caller's promise.
        unsafe {
            let (cached, allocations) = (&(*heap).magazines)[class].counts();
            Counted {
                out: (&(*heap).live)[class].load(Ordering::Relaxed),
                cached,
                slabs: (&(*heap).slabs)[class].load(Ordering::Relaxed),
                allocations,
                slow_paths: (&(*heap).slow_paths)[class].load(Ordering::Relaxed),
            }
        }
    }

    /// Blocks that the thread has freed and that lie in slabs of others; none if no thread has it, and all its counters
    /// are zero.
    ///
    /// # Safety
    /// As for [`ThreadHeap::counters`].
    pub(crate) unsafe fn remote_frees(heap: *const Self) -> Option<u64> {
        // Relaxed: as above.
        // SAFETY: the caller's promise.
        unsafe {
            let counts = (*heap).counts.load(Ordering::Relaxed) != 0;
            counts.then(|| (*heap).remote_frees.load(Ordering::Relaxed))
        }
    }

    /// What the thread has counted of large objects.
    ///
    /// # Safety
    /// As for [`ThreadHeap::counters`].
    pub(crate) unsafe fn large_counters(heap: *const Self) -> CountedLarge {
        // Relaxed as in `counters`.
        // SAFETY: the caller's promise.
        unsafe {
            CountedLarge {
                bytes: (*heap).large_bytes.load(Ordering::Relaxed),
                allocations: (*heap).large_allocations.load(Ordering::Relaxed),
                frees: (*heap).large_frees.load(Ordering::Relaxed),
            }
        }
    }

    /// Adds what the thread has counted of large objects to what the heap has. Under the heap's lock.
    ///
    /// # Safety
    /// As for [`ThreadHeap::retire`].
    pub(super) unsafe fn hand_over_large(heap: *mut Self, core: &Core) {
        // SAFETY: the thread's own.
        unsafe {
            let counted = Self::large_counters(heap);
            // First there, then here, as in `hand_over`.
            core.count_large_bytes(counted.bytes, counted.count());
            core.totals.count_large(counted.allocations, counted.frees);
            for counter in [&(*heap).large_bytes, &(*heap).large_allocations, &(*heap).large_frees] {
                counter.store(0, Ordering::Relaxed);
            }
        }
    }
}

/// Adds to a counter that only its thread writes.
#[inline(always)]
pub(super) fn add64(counter: &AtomicI64, change: i64) {
    counter.store(counter.load(Ordering::Relaxed) + change, Ordering::Relaxed);
}

/// Adds to a counter that only its thread writes.
#[inline(always)]
pub(super) fn add32(counter: &AtomicI32, change: i32) {
    counter.store(counter.load(Ordering::Relaxed) + change, Ordering::Relaxed);
}

/// Adds one to a counter that only its thread writes.
pub(super) fn count_up(counter: &AtomicU64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}
