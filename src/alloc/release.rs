//! Blocks on their way from a magazine back to their slabs.
//!
//! Blocks that were allocated one behind the other tend to be freed so, too. A batch is therefore taken apart into runs
//! of one slab, and a run into words: one change of bits for each word, one look at the slab for each run.

use super::heap_core::Core;
use super::orphans::push_to_owner;
use super::size_class::{index_in_slab, slab_units};
use super::slab::{Returned, Slab};
use super::thread_heap::{ThreadHeap, add32, add64, is_medium};
use crate::format::SEGMENT_UNITS;
use crate::format::slab_entry::SlabEntry;
use crate::sync::Ordering;

impl ThreadHeap {
    /// Puts blocks back into their slabs.
    pub(super) unsafe fn release(heap: *mut Self, class: usize, blocks: *const *mut u8, count: u32) {
        // SAFETY: the thread's own; the blocks are ours (H1) and of the class.
        unsafe {
            let core = Self::core(heap);
            let mut run = Run::default();
            let mut returned = i64::from(count);
            for position in 0..count as usize {
                let address = blocks.add(position).read().addr();
                if is_medium(class) {
                    if let SlabEntry::LargeHead { .. } = core.entry(core.unit_of(address)) {
                        // A block that stood alone because no slab could be had.
                        core.free_large(address);
                        returned -= 1;
                        continue;
                    }
                }
                run.add(heap, core, class, address);
            }
            run.finish(heap, core, class);
            add64(&(&(*heap).live)[class], -returned);
        }
    }

    /// Lists a slab that got a block back, or gives it up if it is empty and not the last.
    #[inline(always)]
    pub(super) unsafe fn settle(heap: *mut Self, slab: Slab<'_>, outcome: Returned) {
        // SAFETY: the slab is ours (H3).
        unsafe {
            let list = &raw mut (*heap).lists[slab.class];
            if !slab.is_listed() && slab.has_blocks() {
                slab.link(list);
            }
            if outcome == Returned::Empty && (*list != slab.head as u32 + 1 || (*slab.local()).next != 0) {
                Self::give_up(heap, slab);
            }
        }
    }

    #[cold]
    pub(super) unsafe fn give_up(heap: *mut Self, slab: Slab<'_>) {
        // SAFETY: the slab is ours, empty, and listed (B3).
        unsafe {
            slab.unlink(&raw mut (*heap).lists[slab.class]);
            slab.dissolve();
            add32(&(&(*heap).slabs)[slab.class], -1);
            let units = slab_units(slab.class);
            let lease = &mut (*heap).lease;
            if lease.free != 0 && slab.head / SEGMENT_UNITS * SEGMENT_UNITS == lease.segment {
                lease.free |= (u64::MAX >> (SEGMENT_UNITS - units)) << (slab.head - lease.segment);
            } else {
                let core = Self::core(heap);
                let _guard = core.lock.lock();
                (*core.space.get()).give_run(slab.head, units);
            }
        }
    }
}

/// Freed blocks of one slab, one behind the other in a magazine: their bits are gathered by word, and the slab is
/// looked at once.
#[derive(Default)]
struct Run {
    head: usize,
    word: usize,
    mask: u64,
    count: u32,
    is_own: bool,
}

impl Run {
    /// # Safety
    /// `heap` is the calling thread's own, of `core`; the block at `address` is of the class and ours to free (H1). So it
    /// is for the others.
    #[inline(always)]
    unsafe fn add(&mut self, heap: *mut ThreadHeap, core: &Core, class: usize, address: usize) {
        let head = core.slab_head(class, address);
        let index = index_in_slab(class, address - core.address_of(head)) as usize;
        // SAFETY: the caller's promise.
        unsafe {
            if head != self.head || self.count == 0 {
                self.finish(heap, core, class);
                // Relaxed: if it is our number, we wrote it; any other one leads to the remote path, which puts up with
                // stale ones.
                let owner = (*core.slab_state(head)).owner.load(Ordering::Relaxed);
                *self = Self { head, word: index / 64, mask: 0, count: 0, is_own: owner == (*heap).number };
            } else if index / 64 != self.word {
                self.put_word(core, class);
                (self.word, self.mask) = (index / 64, 0);
            }
        }
        self.mask |= 1 << (index % 64);
        self.count += 1;
    }

    #[inline(always)]
    unsafe fn put_word(&self, core: &Core, class: usize) {
        // SAFETY: the slab is ours, or its bits are set where all may.
        unsafe {
            if self.is_own {
                Slab::new(core, self.head, class).put(self.word, self.mask);
            } else {
                core.remote(self.head, class).set(self.word, self.mask);
            }
        }
    }

    #[inline(always)]
    unsafe fn finish(&mut self, heap: *mut ThreadHeap, core: &Core, class: usize) {
        if self.count == 0 {
            return;
        }
        // SAFETY: the slab is ours; or, after the count was raised from zero, the push is (R1).
        unsafe {
            self.put_word(core, class);
            if self.is_own {
                let slab = Slab::new(core, self.head, class);
                ThreadHeap::settle(heap, slab, slab.credit(self.count));
                return self.count = 0;
            }
            let freed = &(*heap).remote_frees;
            // Relaxed: only this thread writes it.
            freed.store(freed.load(Ordering::Relaxed) + u64::from(self.count), Ordering::Relaxed);
            if core.remote(self.head, class).count(self.count) {
                let owner = (*core.slab_state(self.head)).owner.load(Ordering::Relaxed);
                push_to_owner(core, (*heap).threads, owner, self.head);
            }
        }
        self.count = 0;
    }
}
