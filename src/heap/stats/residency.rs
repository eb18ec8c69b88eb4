//! What of a heap is in memory, as the kernel says.

use super::display::Bytes;
use crate::format::UNIT;
use crate::heap::owner::Heap;
use crate::os::residency::{self, Pages};
use std::fmt;
use std::io;
use std::sync::atomic::Ordering;

/// What of a heap is in memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Residency {
    /// In memory and mapped by this process.
    pub resident: u64,
    /// What of that is this process's own: plain memory, and copies of pages of a file. The rest is the page cache's.
    pub private: u64,
    /// In swap space.
    pub swapped: u64,
    /// Bytes that were looked at: the tables, and the segments as far as memory is reserved.
    pub looked_at: u64,
}

impl fmt::Display for Residency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} resident, {} of them private, {} swapped",
            Bytes(self.resident),
            Bytes(self.looked_at),
            Bytes(self.private),
            Bytes(self.swapped)
        )
    }
}

impl Heap {
    /// What of the heap is in memory. Exact, page by page, at about one moment, and slow: some 50 ns for each page of 4 KiB.
    ///
    /// ```
    /// let heap = sal::HeapOptions::new().volatile()?;
    /// let block = allocator_api2::vec![in heap.alloc(); 1_u8; 1 << 20];
    /// let residency = heap.residency()?;
    /// assert!(residency.resident + residency.swapped >= 1 << 20);
    /// # drop(block);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Where `/proc` is missing, or in a forked child.
    pub fn residency(&self) -> io::Result<Residency> {
        if self.inner().is_forked() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let core = self.inner().core();
        // SAFETY: mapped as long as the core lives; an atomic. Relaxed: what is reserved meanwhile is not looked at.
        let committed = unsafe { (*core.soft()).committed_units.load(Ordering::Relaxed) };
        let committed = committed.min(core.layout.units) as usize;
        let len = core.layout.segments.offset as usize + committed * UNIT;
        let Pages { present, private, swapped } = residency::pages(core.base, len).map_err(|error| error.errno)?;
        let bytes = |pages: u64| pages * crate::format::PAGE as u64;
        Ok(Residency {
            resident: bytes(present),
            private: bytes(private),
            swapped: bytes(swapped),
            looked_at: len as u64,
        })
    }
}
