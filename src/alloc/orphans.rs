//! Slabs whose thread has ended, and frees that are on their way to them.
//!
//! A slab without a live owner is touched only under the heap's lock. Frees may still be pushed to the thread heap that
//! owned it, because whoever frees reads the owner without the lock: so the pending stacks of idle thread heaps are
//! looked through from time to time, and what is found there is taken in or passed on.

use super::heap_core::Core;
use super::prefault::event;
use super::remote_free;
use super::size_class::slab_units;
use super::slab::Slab;
use super::thread_heap::ThreadHeap;
use super::threads::Threads;
use crate::format::slab_entry::SlabEntry;
use crate::sync::{AtomicU32, Ordering};
use core::ptr;
use core::sync::atomic::{AtomicPtr, fence};

/// Pushes a slab with remote frees to its owner, or to the heap if it has none.
///
/// # Safety
/// The caller raised the slab's count from zero or popped the slab (R1).
pub(crate) unsafe fn push_to_owner(core: &Core, threads: *mut AtomicPtr<ThreadHeap>, owner: u32, head: usize) {
    let found = if owner == 0 { ptr::null_mut() } else { Threads::find(threads, owner) };
    // SAFETY: a thread heap lives as long as its heap; its pending stack is for everyone (T1).
    unsafe {
        let stack = if found.is_null() { &(*core.soft()).pending } else { ThreadHeap::pending(found) };
        remote_free::push(stack, head as u32, &(*core.slab_state(head)).pending_next);
        // Whoever maintains the heap takes it in, as no thread may. One whose owner ends at this moment is found with the next.
        if core.signal.is_heard() && (found.is_null() || ThreadHeap::remote_frees(found).is_none()) {
            core.tell_orphan();
        }
    }
}

impl Core {
    #[cold]
    fn tell_orphan(&self) {
        // Pairs with the fence in `take_orphans_in`: either the slab is found there, or what was told before is forgotten here.
        fence(Ordering::SeqCst);
        if !self.signal.is_told(event::FREED) {
            self.signal.tell(event::FREED);
        }
    }

    /// Takes over remote frees of slabs that no live thread owns, those of up to `sweep` idle thread heaps included.
    ///
    /// # Safety
    /// Under the heap's lock.
    pub(crate) unsafe fn collect_orphans(&self, sweep: u32) {
        // SAFETY: under the lock, slabs without a live owner are ours (K2).
        unsafe {
            self.collect_stack(&(*self.soft()).pending);
            let count = (*self.threads.get()).count();
            for _ in 0..sweep.min(count) {
                let heap = (*self.threads.get()).next_to_sweep();
                if !heap.is_null() && !(*heap).is_live {
                    self.collect_stack(ThreadHeap::pending(heap));
                }
            }
        }
    }

    unsafe fn collect_stack(&self, stack: &AtomicU32) {
        // SAFETY: as in `collect_orphans`; popped slabs are on no stack (R1).
        unsafe {
            let table = (*self.threads.get()).table();
            remote_free::for_each_taken(stack, self.pending_next(), |index| {
                let head = index as usize;
                let state = self.slab_state(head);
                let SlabEntry::SlabHead { class } = self.entry(head) else { return };
                let owner = (*state).owner.load(Ordering::Relaxed);
                let found = Threads::find(table, owner);
                if owner != 0 && !found.is_null() && (*found).is_live {
                    push_to_owner(self, table, owner, head);
                    return;
                }
                (*state).owner.store(0, Ordering::Relaxed);
                let slab = Slab::new(self, head, class as usize);
                slab.collect();
                if slab.is_listed() {
                    slab.unlink(self.orphans(slab.class));
                    self.ownerless.fetch_sub(1, Ordering::Relaxed);
                }
                self.settle_orphan(slab);
            });
        }
    }

    /// Lists an unlisted slab without owner, or makes it plain units if it is empty.
    ///
    /// # Safety
    /// Under the heap's lock.
    pub(super) unsafe fn settle_orphan(&self, slab: Slab<'_>) {
        // SAFETY: as in `collect_orphans`.
        unsafe {
            if slab.is_empty() {
                slab.dissolve();
                let slabs = self.slabs_of(slab.class);
                slabs.store(slabs.load(Ordering::Relaxed).wrapping_sub(1), Ordering::Relaxed);
                (*self.space.get()).give_run(slab.head, slab_units(slab.class));
            } else if slab.has_blocks() {
                slab.link(self.orphans(slab.class));
                self.ownerless.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}
