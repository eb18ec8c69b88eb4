//! The thread heaps of one heap: making them, finding them by number, taking them back when a thread ends.
//!
//! A thread heap's number stays with its memory. When its thread ends it becomes *idle*: its blocks go back to their
//! slabs, its slabs with free blocks to the heap's orphan lists, and the next thread that comes takes number and memory
//! over. Slabs without a free block keep the number of their owner, alive or idle; so a number that nobody has any more
//! (after a restart, say) means the same as none.
//!
//! # Invariants
//! - **T1** Only the thread a live thread heap belongs to uses it, but for its pending stack.
//! - **T2** A thread heap changes between live and idle only under the heap's lock.

use super::heap_core::{Core, state};
use super::thread_heap::ThreadHeap;
use crate::os::CallError;
use crate::os::mapping::{self, Access, Source};
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

/// More than the kernel lets exist at once.
const MOST_THREADS: usize = 1 << 22;
const TABLE_LEN: usize = MOST_THREADS * size_of::<usize>();

/// Where the thread heaps of a heap are; under the heap's lock, but for [`Threads::find`].
#[derive(Debug)]
pub(crate) struct Threads {
    table: *mut AtomicPtr<ThreadHeap>,
    /// Numbers given out: 1 to this.
    count: u32,
    /// First of the idle ones, or 0; linked through `ThreadHeap::next_idle`.
    idle: u32,
    /// Whose pending stack was looked at last.
    swept: u32,
}

impl Threads {
    pub(crate) fn new() -> Result<Self, CallError> {
        let table = mapping::map_anywhere(TABLE_LEN, Access::ReadWrite, Source::Anonymous)?;
        Ok(Self { table: ptr::with_exposed_provenance_mut(table), count: 0, idle: 0, swept: 0 })
    }

    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// The thread heap behind the one that was asked for last, in a circle.
    pub(crate) fn next_to_sweep(&mut self) -> *mut ThreadHeap {
        self.swept = if self.swept >= self.count { 1 } else { self.swept + 1 };
        Self::find(self.table, self.swept)
    }

    pub(crate) fn has_idle(&self) -> bool {
        self.idle != 0
    }

    /// The thread heap of that number, if this process has made one; needs no lock.
    #[inline]
    pub(crate) fn find(table: *mut AtomicPtr<ThreadHeap>, number: u32) -> *mut ThreadHeap {
        if number as usize >= MOST_THREADS {
            return ptr::null_mut();
        }
        // SAFETY: in bounds of the table, which lives as long as its heap. Entries that nobody set are null.
        // Acquire pairs with the Release in `take`: the thread heap is initialised.
        unsafe { (*table.add(number as usize)).load(Ordering::Acquire) }
    }

    pub(crate) fn table(&self) -> *mut AtomicPtr<ThreadHeap> {
        self.table
    }

    /// An idle thread heap, or a new one made by `make` with its number; null if there is no memory for one.
    pub(crate) fn take(&mut self, make: impl FnOnce(u32) -> *mut ThreadHeap) -> *mut ThreadHeap {
        if self.idle != 0 {
            let heap = Self::find(self.table, self.idle);
            // SAFETY: idle thread heaps are used under the lock only (T2).
            unsafe {
                self.idle = (*heap).next_idle;
                (*heap).is_live = true;
                // Relaxed: whoever counts may see it late.
                (*heap).counts.store(1, Ordering::Relaxed);
            }
            return heap;
        }
        let number = self.count + 1;
        if number as usize >= MOST_THREADS {
            return ptr::null_mut();
        }
        let heap = make(number);
        if !heap.is_null() {
            self.count = number;
            // SAFETY: in bounds; Release pairs with `find`.
            unsafe { (*self.table.add(number as usize)).store(heap, Ordering::Release) };
        }
        heap
    }

    /// Takes a thread heap back, whose thread uses it no more.
    pub(crate) fn give(&mut self, heap: *mut ThreadHeap) {
        // SAFETY: under the lock, and its thread is done with it (T2).
        unsafe {
            (*heap).is_live = false;
            (*heap).next_idle = self.idle;
            self.idle = (*heap).number;
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // SAFETY: the table is ours, and a heap that is dropped is used by nobody.
        let _ = unsafe { mapping::unmap(self.table.expose_provenance(), TABLE_LEN) };
    }
}

impl Core {
    /// A thread heap for the calling thread; null without memory, or if the heap is no longer open.
    pub(crate) fn take_thread_heap(&self) -> *mut ThreadHeap {
        let _guard = self.lock.lock();
        // Relaxed: whoever closes the heap sets the state before it takes the lock to look which threads there are. So
        // from then on their number and their state stay as they are.
        if self.state.load(Ordering::Relaxed) != state::OPEN {
            return ptr::null_mut();
        }
        // SAFETY: under the lock (K1).
        let threads = unsafe { &mut *self.threads.get() };
        let table = threads.table();
        let was_idle = threads.has_idle();
        let heap = threads.take(|number| ThreadHeap::create(self, number, table));
        if was_idle {
            self.ownerless.fetch_sub(1, Ordering::Relaxed);
        }
        heap
    }
}
