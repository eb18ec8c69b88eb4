//! How much of a heap's memory is read-only, because nobody is to write to it any more.
//!
//! The kernel has a mapping for each run of pages that are alike, and a process may have some 65,000 of them; after that nobody in it
//! can map anything. A range of read-only memory in the midst of other memory costs two. So there is a limit to their number.
//!
//! # Invariants
//! - **E1** All heaps of the process together have no more than [`MOST_RANGES`] ranges.
//!
//! # Volatile
//! All of it.

use crate::os::lock::Lock;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// Ranges that are read-only, in the whole process: an eighth of the mappings that it may have.
const MOST_RANGES: u32 = 4096;

/// Those that there are.
static RANGES: AtomicU32 = AtomicU32::new(0);

/// What of a heap is read-only. The numbers are changed under the lock, and read by whoever wants to show them: all Relaxed.
#[derive(Debug)]
pub(crate) struct Protection {
    /// Held by who changes what is read-only.
    pub(crate) lock: Lock,
    /// Whether anything is to be. Set before the heap is known to others.
    pub(crate) is_wanted: AtomicBool,
    /// Segments that are.
    pub(crate) segments: AtomicU32,
    /// Runs of such segments that follow each other.
    pub(crate) ranges: AtomicU32,
    /// Most such runs of this heap.
    pub(crate) most_ranges: AtomicU32,
    /// Bytes of blocks that wait there to be freed.
    pub(crate) withheld: AtomicU64,
    /// Segments that stayed as they were because there were too many ranges.
    pub(crate) unprotected: AtomicU64,
    /// Calls that failed.
    pub(crate) failed: AtomicU64,
}

impl Protection {
    pub(super) fn new() -> Self {
        Self {
            lock: Lock::new(),
            is_wanted: AtomicBool::new(false),
            segments: AtomicU32::new(0),
            ranges: AtomicU32::new(0),
            most_ranges: AtomicU32::new(MOST_RANGES),
            withheld: AtomicU64::new(0),
            unprotected: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }

    /// Adds a range, if there may be one more. Under the lock.
    pub(crate) fn add_range(&self) -> bool {
        // Relaxed: numbers, of which nothing follows but themselves.
        let own = self.ranges.load(Ordering::Relaxed);
        if own >= self.most_ranges.load(Ordering::Relaxed) {
            return false;
        }
        if RANGES.fetch_add(1, Ordering::Relaxed) >= MOST_RANGES {
            RANGES.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        self.ranges.store(own + 1, Ordering::Relaxed);
        true
    }

    /// A range less. Under the lock.
    pub(crate) fn remove_range(&self) {
        self.ranges.fetch_sub(1, Ordering::Relaxed);
        RANGES.fetch_sub(1, Ordering::Relaxed);
    }
}
