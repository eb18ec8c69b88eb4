//! What is kept in memory: what is read often, and what somebody asks for.

use super::SalRoots;
use super::key::Root;
use crate::error::{HotSetError, LockError};
use crate::heap::{Heap, HotSetOptions, HotSetStats, MemoryLock, SalAlloc, hot_set, memory_locks};
use crate::os::{CallError, memory_lock};
use crate::persist::{BlockVisitor, Persist};
use std::alloc::Layout;
use std::ops::Range;
use std::ptr::NonNull;
use std::time::Duration;

/// Keeping values in memory.
///
/// A *hot set* is for [handles](crate::Handle): reads are sampled, and the values that are read most often lie together, in memory that the
/// system does not page out. It is for heaps that are larger than what memory they may have: without one, each page stays for the sake of the
/// one value in it that is needed. Which values these are follows how often they are read, not how lately, so one pass through the
/// whole heap changes little.
///
/// ```
/// use sal::{HeapOptions, HotSetOptions, SalHotSet, SalMovable};
///
/// let heap = HeapOptions::new().volatile()?;
/// let all: Vec<_> = (0..50_000_u64).map(|n| heap.handle([n; 15])).collect();
/// heap.hot_set(HotSetOptions::new(2 << 20).sample_every(4))?;
/// for _ in 0..200 {
///     let pin = heap.pin();
///     assert!(all.iter().step_by(50).all(|handle| handle.get(&pin)[0] % 50 == 0));
/// }
/// let stats = heap.adjust_hot_set()?; // now and then, or a maintenance thread does it
/// assert!(stats.promotions >= 900 && stats.hot_bytes <= 2 << 20, "{stats}");
/// # Ok::<(), sal::Error>(())
/// ```
pub trait SalHotSet {
    /// The heap's handle.
    #[doc(hidden)]
    fn hot_set_heap(&self) -> SalAlloc;

    /// From now on the heap has a hot set, or another budget for the one that it has. Values come there when it is
    /// [adjusted](SalHotSet::adjust_hot_set).
    ///
    /// It costs a byte of memory for each handle whose reads were sampled, more or less.
    ///
    /// # Errors
    /// [`HotSetError::Session`] if the heap cannot be changed, [`HotSetError::BudgetTooSmall`] below 2 MiB,
    /// [`HotSetError::OutOfMemory`] without four gigabytes of addresses for each 64 of the heap's.
    fn hot_set(&self, options: HotSetOptions) -> Result<(), HotSetError> {
        hot_set::begin(self.hot_set_heap(), options)
    }

    /// Moves the values into the hot set that are read most often, and others out of it when there is no room otherwise.
    ///
    /// Readers and writers go on meanwhile; it is done in steps of a millisecond or so, each a write session of the heap. If the system lets this
    /// process lock less than the budget, the rest is only advised to be kept; the statistics say so. Values of more
    /// than 256 KiB stay where they are.
    ///
    /// In an atomic heap the next commit has the pages to which values were moved.
    ///
    /// # Errors
    /// [`HotSetError::Session`] if the heap cannot be changed, [`HotSetError::None`] without a hot set.
    fn adjust_hot_set(&self) -> Result<HotSetStats, HotSetError> {
        hot_set::adjust(self.hot_set_heap(), None)
    }

    /// As [`SalHotSet::adjust_hot_set`], and ends when the time is over, about; the next time goes on.
    ///
    /// # Errors
    /// As there.
    fn adjust_hot_set_within(&self, budget: Duration) -> Result<HotSetStats, HotSetError> {
        hot_set::adjust(self.hot_set_heap(), Some(budget))
    }

    /// What the hot set is like; none without one.
    fn hot_set_stats(&self) -> Option<HotSetStats> {
        hot_set::stats(self.hot_set_heap())
    }

    /// Ends the hot set: its memory is unlocked, and reads are sampled no more. Values stay where they are. Returns what it was like.
    fn end_hot_set(&self) -> Option<HotSetStats> {
        hot_set::end(self.hot_set_heap())
    }

    /// Locks the pages of a range of the heap's addresses in memory, and reads them in. Of an atomic heap none becomes part of a
    /// commit by this.
    ///
    /// # Errors
    /// [`LockError::OutsideHeap`]; [`LockError::Refused`] above what the process may lock; [`LockError::Os`] if pages cannot be had.
    ///
    /// ```
    /// use sal::prelude::*;
    /// use sal::{HeapOptions, LockError, SalHotSet};
    ///
    /// let heap = HeapOptions::new().volatile()?;
    /// let mut table = allocator_api2::vec::Vec::new_in(heap.alloc());
    /// table.resize(1_000, 7_u64);
    /// let range = table.as_ptr_range();
    /// match heap.lock_range(range.start.addr()..range.end.addr()) {
    ///     Ok(lock) => assert!(lock.bytes() >= 8_000), // until it is dropped
    ///     Err(LockError::Refused { limit, .. }) => println!("more than {limit:?} bytes"),
    ///     Err(error) => return Err(error.into()),
    /// }
    /// # Ok::<(), sal::Error>(())
    /// ```
    fn lock_range(&self, range: Range<usize>) -> Result<MemoryLock, LockError> {
        lock(self.hot_set_heap(), &[range])
    }

    /// Locks the pages in memory on which a root's value lies with all that it owns, and reads them in: as it is now. What handles lead to
    /// is not included, since it may be moved.
    ///
    /// # Errors
    /// As for [`SalHotSet::lock_range`]; [`LockError::Root`] if the root cannot be read.
    ///
    /// ```
    /// use sal::prelude::*;
    /// use sal::{HeapOptions, SalHotSet};
    ///
    /// const SQUARES: Root<SalVec<u64>> = Root::new("squares");
    /// let heap = HeapOptions::new().volatile()?;
    /// heap.write()?.root_or_default(SQUARES)?.extend((0..100_000).map(|n| n * n));
    /// if let Ok(lock) = heap.lock_root(SQUARES) {
    ///     assert!(lock.bytes() >= 800_000);
    /// }
    /// # Ok::<(), sal::Error>(())
    /// ```
    fn lock_root<T: Persist>(&self, key: Root<T>) -> Result<MemoryLock, LockError> {
        let heap = self.hot_set_heap();
        let window = heap.address_range().unwrap_or_default();
        heap.with_root(key, |value| {
            let mut ranges = Vec::new();
            let mut note = |start: NonNull<u8>, layout: Layout| {
                let start = start.addr().get();
                ranges.push(start..start.saturating_add(layout.size()));
            };
            // Blocks of other heaps are not this one's to lock.
            note(NonNull::from(value).cast(), Layout::new::<T>());
            let mut visitor = BlockVisitor::observing(window.clone(), heap, &mut note);
            visitor.value(value);
            drop(visitor);
            ranges.retain(|range| window.contains(&range.start) && range.end <= window.end);
            lock(heap, &ranges)
        })?
    }
}

/// Locks the pages of ranges, and reads them in.
fn lock(heap: SalAlloc, ranges: &[Range<usize>]) -> Result<MemoryLock, LockError> {
    let window = heap.address_range().unwrap_or_default();
    if let Some(range) = ranges.iter().find(|range| range.start < window.start || range.end > window.end) {
        return Err(LockError::OutsideHeap { range: range.clone() });
    }
    let pages = memory_locks::pages_of(ranges.iter().cloned());
    let read_in = || pages.iter().try_for_each(|range| memory_lock::read_in(range.start, range.len()));
    let locked = memory_locks::lock(pages.clone()).map_err(|error| {
        if !memory_lock::is_refused(error) {
            return LockError::os(error.call, error.errno);
        }
        // It is worth as much as that.
        let _ = read_in();
        let bytes = pages.iter().map(|range| range.len() as u64).sum();
        LockError::Refused { bytes, limit: memory_lock::limit(), source: error.errno.into() }
    })?;
    read_in().map_err(|CallError { call, errno }| LockError::os(call, errno))?;
    Ok(locked)
}

impl SalHotSet for SalAlloc {
    fn hot_set_heap(&self) -> SalAlloc {
        *self
    }
}

impl SalHotSet for Heap {
    fn hot_set_heap(&self) -> SalAlloc {
        self.alloc()
    }
}
