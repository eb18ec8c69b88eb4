//! A thread heap for threads that have none: those whose exit hook has run, and those that no memory was left for.
//!
//! The C library frees and allocates in a thread after the last destructor of its thread-specific data has run. A thread
//! heap that it got then would never be given back. So such threads share one, under a lock: slowly, but they do not do
//! much any more.
//!
//! # Invariants
//! - **Y1** The stray thread heap is used by whoever holds `LOCK`, which stands for the thread it would belong to (T1).
//!   It never becomes idle.

use super::heap_core::Core;
use super::thread_heap::ThreadHeap;
use crate::os::lock::Lock;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

/// Taken before a heap's own lock, and held over `fork`.
pub(crate) static LOCK: Lock = Lock::new();
static STRAY: AtomicPtr<ThreadHeap> = AtomicPtr::new(ptr::null_mut());

/// Runs `work` with the stray thread heap of `core`, which must be the same one at each call and never be closed; none
/// without memory for it.
#[cold]
pub(crate) fn with_stray<R>(core: &Core, work: impl FnOnce(*mut ThreadHeap) -> R) -> Option<R> {
    let _guard = LOCK.lock();
    // Relaxed: under the lock.
    let mut heap = STRAY.load(Ordering::Relaxed);
    if heap.is_null() {
        heap = core.take_thread_heap();
        STRAY.store(heap, Ordering::Relaxed);
    }
    (!heap.is_null()).then(|| work(heap))
}
