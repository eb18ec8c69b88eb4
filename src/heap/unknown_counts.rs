//! Pointers that were dropped before it was known whether they were the last.
//!
//! While recovery counts the pointers in a heap, who drops one cannot be told whether the value goes with it. So the pointer waits,
//! still counted, until the numbers are known; then it is dropped once more, for good. A heap that is closed before that forgets
//! what waits: what its roots do not reach is found by the next opening.
//!
//! # Invariants
//! - **L1** A pointer waits only while its heap is in the list, and is dropped once.
//! - **L2** A heap is in the list until all numbers have been told to its counts.

use super::SalAlloc;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Drops a pointer to a counted block.
pub(crate) type DropPointer = unsafe fn(NonNull<u8>);

struct Waiting {
    block: NonNull<u8>,
    drop: DropPointer,
}

// SAFETY: a pointer that may wait is one to a value in a heap file, which any thread may drop (`Persist: Send + Sync`).
unsafe impl Send for Waiting {}

static HEAPS: Mutex<Option<HashMap<SalAlloc, Vec<Waiting>>>> = Mutex::new(None);

fn heaps() -> MutexGuard<'static, Option<HashMap<SalAlloc, Vec<Waiting>>>> {
    // Nothing panics while it is locked.
    HEAPS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on pointers of the heap wait.
pub(super) fn begin(heap: SalAlloc) {
    heaps().get_or_insert_default().insert(heap, Vec::new());
}

/// Lets a pointer wait; false if nothing of its heap does, because all numbers are known or never will be.
///
/// # Safety
/// `drop` may be called for the block once, by any thread, if this returns true.
pub(crate) unsafe fn wait(heap: SalAlloc, block: NonNull<u8>, drop: DropPointer) -> bool {
    match heaps().as_mut().and_then(|heaps| heaps.get_mut(&heap)) {
        Some(waiting) => {
            waiting.push(Waiting { block, drop });
            true
        }
        None => false,
    }
}

/// All numbers are known: drops what has waited, and nothing waits any more.
pub(super) fn end(heap: SalAlloc) {
    // Not while the list is locked: dropping a value may drop others.
    let waiting = heaps().as_mut().and_then(|heaps| heaps.remove(&heap)).unwrap_or_default();
    for Waiting { block, drop } in waiting {
        // SAFETY: promised to `wait`. What a value says when it is dropped concerns nobody here.
        let _ = catch_unwind(AssertUnwindSafe(|| unsafe { drop(block) }));
    }
}

/// Nothing waits any more, and nothing that has waited is dropped.
pub(super) fn forget(heap: SalAlloc) {
    if let Some(heaps) = heaps().as_mut() {
        heaps.remove(&heap);
    }
}
