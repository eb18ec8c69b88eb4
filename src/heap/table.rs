//! Which heaps of this process have which windows, and from which files.
//!
//! # Invariants
//! - **N1** The list is touched only under the lock, which is also held over `fork`, so a child finds it whole.

use super::owner::HeapInner;
use crate::os::lock::Lock;
use std::cell::UnsafeCell;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

/// All heaps whose addresses are taken, the closed ones too; the default heaps excepted.
pub(super) static HEAPS: Heaps = Heaps { lock: Lock::new(), list: UnsafeCell::new(Vec::new()) };

/// See [`HEAPS`].
pub(super) struct Heaps {
    lock: Lock,
    list: UnsafeCell<Vec<Entry>>,
}

// SAFETY: N1.
unsafe impl Sync for Heaps {}

struct Entry {
    windows: Range<u32>,
    heap: Weak<HeapInner>,
    path: Option<PathBuf>,
}

impl Heaps {
    /// Nothing in `work` drops a heap, which would come back here.
    fn with<R>(&self, work: impl FnOnce(&mut Vec<Entry>) -> R) -> R {
        let _guard = self.lock.lock();
        // SAFETY: under the lock (N1).
        work(unsafe { &mut *self.list.get() })
    }

    /// Adds a heap that has just been opened.
    pub(super) fn add(&self, heap: &Arc<HeapInner>) {
        let core = heap.core();
        let windows = core.window..core.window + core.layout.windows();
        self.with(|list| list.push(Entry { windows, heap: Arc::downgrade(heap), path: heap.path.clone() }));
    }

    /// Takes out the heap that begins at a window, whose addresses are free from now on.
    pub(super) fn remove(&self, window: u32) {
        self.with(|list| list.retain(|entry| entry.windows.start != window));
    }

    /// The open heap that begins at a window.
    pub(super) fn find(&self, window: u32) -> Option<Arc<HeapInner>> {
        self.with(|list| list.iter().find(|entry| entry.windows.start == window)?.heap.upgrade())
    }

    /// The file of a heap, open or closed, that has one of the windows.
    pub(super) fn path_of(&self, windows: &Range<u32>) -> Option<PathBuf> {
        let overlaps = |entry: &&Entry| entry.windows.start < windows.end && windows.start < entry.windows.end;
        self.with(|list| list.iter().filter(overlaps).find_map(|entry| entry.path.clone()))
    }

    /// Before a fork.
    pub(super) fn acquire(&self) {
        self.lock.acquire();
    }

    /// Behind a fork.
    ///
    /// # Safety
    /// [`Heaps::acquire`] was called by this thread, or by the one in whose place it stands.
    pub(super) unsafe fn release(&self) {
        // SAFETY: the caller's promise.
        unsafe { self.lock.release() };
    }
}
