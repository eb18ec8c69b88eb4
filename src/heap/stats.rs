//! What a heap has in use, and what has happened in it.
//!
//! Counting is spread over those who do what is counted ([`crate::alloc::counters`]); asking adds it up, without a lock and
//! without memory. [`Residency`] asks the kernel.

mod classes;
mod display;
#[cfg(feature = "prometheus")]
mod prometheus;
mod residency;
#[cfg(test)]
mod tests;

pub use classes::{ClassStats, Classes};
pub(super) use display::Bytes;
pub use residency::Residency;

use super::allocate::with_core;
use super::atomic::{Atomic, CommitStats};
use super::handle::SalAlloc;
use super::maintenance::MaintenanceStats;
use super::owner::{Heap, HeapInner};
use super::seal::{SealStats, protect};
use crate::alloc::counters::ClassCount;
use crate::alloc::heap_core::Core;
use crate::alloc::size_class::{ALL_CLASSES, CLASSES, Ladder};
use crate::format::{UNIT, WINDOW};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

/// What a heap has in use, and what has happened in it since it was opened.
///
/// Asking takes no lock, allocates nothing, and keeps nobody waiting: less than a microsecond with one thread, and some
/// tenths of one more for each further thread that is alive. Other threads go on meanwhile, so the figures are of about one
/// moment: a block that is just being allocated or freed may be missing in one and not in another, and what a thread has
/// counted that ends at that very moment may be counted twice. When nobody else is there they are exact.
///
/// With the feature `serde` it can be serialized, with the feature `prometheus` written as text for that.
///
/// ```
/// use sal::HeapOptions;
///
/// let heap = HeapOptions::new().volatile()?;
/// let numbers = allocator_api2::vec![in heap.alloc(); 7_u64; 100];
/// let stats = heap.stats();
/// assert_eq!(stats.classes.iter().map(|class| class.live).sum::<u64>(), 1);
/// assert_eq!((stats.allocations(), stats.frees()), (1, 0));
/// assert!(stats.live_bytes >= 800 && stats.utilisation() > 0.0);
/// println!("{stats}");
/// # drop(numbers);
/// # Ok::<(), sal::OpenError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Stats {
    /// Most bytes that blocks may take.
    pub capacity: u64,
    /// Bytes of address space that the heap takes.
    pub mapped: u64,
    /// Bytes that memory or disk space is reserved for.
    pub committed: u64,
    /// Bytes in slabs, large objects and what threads keep to cut slabs from or of freed large objects.
    pub used: u64,
    /// Bytes in live blocks, as large as the blocks really are.
    pub live_bytes: u64,
    /// Bytes in free blocks that threads keep at hand.
    pub cached_bytes: u64,
    /// Bytes of the allocator's own tables, as far as they are in use.
    pub table_bytes: u64,
    /// Live large objects; blocks of the default heap that have grown are among them, also short ones.
    pub large_objects: u64,
    /// Bytes in them.
    pub large_bytes: u64,
    /// Large objects that were allocated, and freed.
    pub large_allocations: u64,
    /// See `large_allocations`.
    pub large_frees: u64,
    /// Thread heaps that were ever in use at once.
    pub threads: u32,
    /// Freed blocks that were other threads', as far as they have gone back to their slabs.
    pub remote_frees: u64,
    /// How often free memory was given back to the system.
    pub purges: u64,
    /// Bytes that these gave back.
    pub purged_bytes: u64,
    /// The size classes that have slabs or ever had a block since, by size.
    pub classes: Classes,
    /// Of an atomic heap that is open for writing, what commits have cost; only from [`Heap::stats`].
    pub commits: Option<CommitStats>,
    /// Of a heap with [`SealPolicy::Mprotect`](crate::SealPolicy::Mprotect), what is read-only; only from [`Heap::stats`].
    pub seals: Option<SealStats>,
    /// Of a heap that was ever maintained, what that has done; only from [`Heap::stats`].
    pub maintenance: Option<MaintenanceStats>,
}

impl Stats {
    /// Blocks that the program took, large objects included.
    pub fn allocations(&self) -> u64 {
        self.classes.iter().fold(self.large_allocations, |sum, class| sum.saturating_add(class.allocations))
    }

    /// Blocks that the program gave back, large objects included.
    pub fn frees(&self) -> u64 {
        self.classes.iter().fold(self.large_frees, |sum, class| sum.saturating_add(class.frees))
    }

    /// How often a thread had nothing at hand, or too much, and turned to its slabs; large objects are no part of it.
    pub fn slow_paths(&self) -> u64 {
        self.classes.iter().fold(0, |sum, class| sum.saturating_add(class.slow_paths))
    }

    /// Share of the bytes in use that is in live blocks, from 0 to 1.
    pub fn utilisation(&self) -> f64 {
        (self.live_bytes as f64 / (self.used as f64).max(1.0)).min(1.0)
    }

    /// Bytes in use that are in no live block: of slabs, leases and kept runs, and of the allocator's tables.
    pub fn overhead(&self) -> u64 {
        self.used.saturating_sub(self.live_bytes).saturating_add(self.table_bytes)
    }
}

/// Where the figures stay, so that they are not copied about.
fn collect(core: &Core, stats: &mut Stats) {
    match core.ladder {
        Ladder::Usual => collect_in(core, &mut [ClassCount::default(); CLASSES], stats),
        Ladder::Fine => collect_in(core, &mut [ClassCount::default(); ALL_CLASSES], stats),
    }
}

/// With room for the counts of the heap's classes, which are zero.
fn collect_in(core: &Core, counts: &mut [ClassCount], stats: &mut Stats) {
    let (events, threads) = core.count(counts);
    // SAFETY: mapped as long as the core lives; atomics, which all may share. Relaxed: the figures are shown.
    let (committed, used) = unsafe {
        let soft = core.soft();
        ((*soft).committed_units.load(Ordering::Relaxed), (*soft).locked.used_units.load(Ordering::Relaxed))
    };
    stats.capacity = core.capacity;
    stats.mapped = u64::from(core.layout.windows()) * WINDOW as u64;
    stats.committed = committed.saturating_mul(UNIT as u64);
    stats.used = used.saturating_mul(UNIT as u64);
    stats.live_bytes = events.large_bytes;
    stats.table_bytes = core.layout.soft.len.saturating_add(committed.saturating_mul(classes::TABLE_BYTES_PER_UNIT));
    stats.large_objects = events.large_objects;
    stats.large_bytes = events.large_bytes;
    stats.large_allocations = events.large_allocations;
    stats.large_frees = events.large_frees;
    stats.threads = threads;
    stats.remote_frees = events.remote_frees;
    stats.purges = events.purges;
    stats.purged_bytes = events.purged_bytes;
    if let Some(growers) = core.growers {
        let grown = growers.count();
        stats.committed = stats.committed.saturating_add(grown.opened);
        stats.used = stats.used.saturating_add(grown.bytes);
        stats.live_bytes = stats.live_bytes.saturating_add(grown.bytes);
        stats.large_objects = stats.large_objects.saturating_add(grown.live);
        stats.large_bytes = stats.large_bytes.saturating_add(grown.bytes);
        stats.large_allocations = stats.large_allocations.saturating_add(grown.taken);
        stats.large_frees = stats.large_frees.saturating_add(grown.taken.saturating_sub(grown.live));
    }
    for class in (0..counts.len()).map(|rank| core.ladder.class_at(rank)) {
        let count = &counts[class];
        if *count == ClassCount::default() {
            continue;
        }
        let class = ClassStats::new(class, count);
        if class.slabs == 0 && class.allocations == 0 && class.frees == 0 {
            continue;
        }
        // What a file says of itself may be anything, so the sums must not overflow.
        let bytes = |blocks: u64| blocks.saturating_mul(class.size as u64);
        stats.live_bytes = stats.live_bytes.saturating_add(bytes(class.live));
        stats.cached_bytes = stats.cached_bytes.saturating_add(bytes(class.cached));
        stats.classes.push(class);
    }
}

fn collected(core: &Core) -> Stats {
    let mut stats = Stats::default();
    collect(core, &mut stats);
    stats
}

impl Heap {
    /// What the heap has in use, and what has happened in it since it was opened.
    pub fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        collect(self.inner().core(), &mut stats);
        stats.commits = self.atomic().map(Atomic::stats);
        stats.seals = protect::stats(&self.inner().core().protection);
        stats.maintenance = self.inner().maintenance.stats();
        stats
    }
}

impl SalAlloc {
    /// What the heap has in use; none if it is closed.
    pub fn stats(self) -> Option<Stats> {
        let mut stats = Stats::default();
        match with_core(self.place(), |core| collect(core, &mut stats)) {
            Some(()) => Some(stats),
            None => HeapInner::find(self).ok()?.stats_if_only_read(),
        }
    }
}

impl HeapInner {
    /// Of a heap that threads cannot be inside of, since none allocates there.
    fn stats_if_only_read(&self) -> Option<Stats> {
        if !self.is_read_only() || self.is_forked() {
            return None;
        }
        // It is not closed meanwhile.
        let shut = self.shut.lock().unwrap_or_else(PoisonError::into_inner);
        (!*shut).then(|| collected(self.core()))
    }
}
