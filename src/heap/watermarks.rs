//! Being told when a heap fills up.
//!
//! Whoever passes a mark notes it under the heap's lock ([`crate::alloc::marks`]) and tells it when its allocation is done:
//! outside of the heap and without any lock of this crate's allocator, so that what is told may allocate, free, purge, tune or
//! close.

use super::handle::SalAlloc;
use super::options::HeapOptions;
use super::owner::HeapInner;
use crate::alloc::heap_core::Core;
use crate::alloc::marks::{MOST_MARKS, Mark, Measure};
use crate::error::OpenError;
use crate::format::UNIT;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// A figure of a heap, in bytes, that is to be told when it is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Watermark {
    /// So many bytes are in use, as in [`Stats::used`](crate::Stats::used).
    Used(u64),
    /// So many bytes of the file, or of memory, are reserved for blocks, as in [`Stats::committed`](crate::Stats::committed).
    Disk(u64),
}

/// What is told when a heap has reached a [`Watermark`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WatermarkReached {
    /// Which one.
    pub mark: Watermark,
    /// The heap.
    pub heap: SalAlloc,
    /// Bytes in use now.
    pub used: u64,
    /// Bytes reserved now.
    pub committed: u64,
}

type Tell = dyn Fn(&WatermarkReached) + Send + Sync;

/// Watermarks, and whom to tell.
#[derive(Clone, Default)]
pub(super) struct Watermarks(Vec<(Watermark, Arc<Tell>)>);

impl fmt::Debug for Watermarks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(mark, _)| mark)).finish()
    }
}

impl Watermarks {
    pub(super) const NONE: Self = Self(Vec::new());

    /// Gives a new heap its marks.
    pub(super) fn set_in(&self, core: &Core) -> Result<(), OpenError> {
        if self.0.len() > MOST_MARKS {
            return Err(OpenError::InvalidOptions { reason: "more than 64 watermarks" });
        }
        if !self.0.is_empty() {
            let of = |&(mark, _): &(Watermark, Arc<Tell>)| match mark {
                Watermark::Used(bytes) => Mark::new(Measure::Used, units(bytes)),
                Watermark::Disk(bytes) => Mark::new(Measure::Committed, units(bytes)),
            };
            core.marks.set(self.0.iter().map(of).collect());
        }
        Ok(())
    }
}

fn units(bytes: u64) -> usize {
    usize::try_from(bytes.div_ceil(UNIT as u64)).unwrap_or(usize::MAX)
}

impl HeapOptions {
    /// Has `tell` called when the heap reaches a mark: once, and again only after the figure was an eighth below the mark. It
    /// is called by the thread that reached it, when its allocation is done and it holds no lock of the allocator: `tell` may
    /// allocate, free, [purge](crate::Heap::purge) and [tune](SalAlloc::tune). Since that thread may hold locks of the program,
    /// and be in the middle of changing a root, `tell` should begin no session. A panic of `tell` ends there.
    ///
    /// Limits are set apart from marks, with [`Tuning::max_bytes`](crate::Tuning::max_bytes),
    /// [`Tuning::max_disk`](crate::Tuning::max_disk) and [`HeapOptions::capacity`]. Reaching those is an error of the
    /// allocation, never the end of the process.
    ///
    /// ```
    /// use sal::{HeapOptions, Region, RegionError, Tuning, Watermark};
    /// use std::sync::atomic::{AtomicU64, Ordering};
    ///
    /// static WARNED_AT: AtomicU64 = AtomicU64::new(0);
    /// let heap = HeapOptions::new()
    ///     .tuning(Tuning::new().max_bytes(16 << 20))
    ///     .on_watermark(Watermark::Used(12 << 20), |reached| WARNED_AT.store(reached.used, Ordering::Relaxed))
    ///     .volatile()?;
    /// let first = Region::<u8>::with_capacity_in(10 << 20, heap.alloc());
    /// assert_eq!(WARNED_AT.load(Ordering::Relaxed), 0);
    /// let second = Region::<u8>::with_capacity_in(4 << 20, heap.alloc());
    /// assert_eq!(WARNED_AT.load(Ordering::Relaxed), 14 << 20);
    /// let third = Region::<u8>::try_with_capacity_in(4 << 20, heap.alloc());
    /// assert_eq!(third, Err(RegionError::NoRoom { bytes: 4 << 20 }));
    /// # Ok::<(), sal::OpenError>(())
    /// ```
    pub fn on_watermark(mut self, mark: Watermark, tell: impl Fn(&WatermarkReached) + Send + Sync + 'static) -> Self {
        self.watermarks.0.push((mark, Arc::new(tell)));
        self
    }
}

/// Tells what has been reached in a heap; the caller is not inside.
#[cold]
#[inline(never)]
pub(super) fn tell_news(name: u32) {
    if let Ok(heap) = HeapInner::find(SalAlloc::of_name(name)) {
        heap.tell_news();
    }
}

impl HeapInner {
    fn tell_news(&self) {
        let news = self.core().marks.take_news();
        if news == 0 {
            return;
        }
        let (used, committed) = {
            let _guard = self.core().lock.lock();
            // SAFETY: under the lock (K1).
            let space = unsafe { &mut *self.core().space.get() };
            ((space.used_units() * UNIT) as u64, (space.committed_units() * UNIT) as u64)
        };
        for (index, (mark, tell)) in self.watermarks.0.iter().enumerate() {
            if news >> index & 1 != 0 {
                let reached = WatermarkReached { mark: *mark, heap: self.alloc(), used, committed };
                // Whoever allocates must not be unwound through.
                let _ = catch_unwind(AssertUnwindSafe(|| tell(&reached)));
            }
        }
    }
}
