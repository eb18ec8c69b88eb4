//! What happens in a heap, counted for those who look on.
//!
//! Threads count in their thread heaps, in words that they write anyway or on slow paths, and hand their counts over when
//! they end. What happens under the heap's lock is counted here. Nobody who looks takes a lock or keeps anybody waiting:
//! every counter is an atomic that is stored plainly by whoever may, and loaded by all.
//!
//! # Invariants
//! - **N1** Nothing in the allocator follows from these counters; all their accesses are Relaxed. Read while others go on,
//!   they are of slightly different moments: a thread that ends at that moment may be counted twice.
//! - **N2** What a file says may be anything: sums saturate.
//!
//! # Volatile
//! They begin at zero whenever a heap is opened. What is in use is not counted here, but in the allocator's state.

use super::heap_core::Core;
use super::size_class::ALL_CLASSES;
use super::thread_counts::Counted;
use super::thread_heap::ThreadHeap;
use super::threads::Threads;
use core::sync::atomic::{AtomicU64, Ordering};

/// Adds to a counter that only one thread at a time writes.
pub(super) fn add(counter: &AtomicU64, change: i64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add_signed(change), Ordering::Relaxed);
}

/// What threads that ended have counted of one class.
#[derive(Debug)]
struct OfClass {
    allocations: AtomicU64,
    frees: AtomicU64,
    slow_paths: AtomicU64,
}

impl OfClass {
    const fn new() -> Self {
        Self { allocations: AtomicU64::new(0), frees: AtomicU64::new(0), slow_paths: AtomicU64::new(0) }
    }
}

/// What has happened in one heap since it was opened, but for what threads count that are alive.
#[derive(Debug)]
pub(crate) struct Totals {
    classes: [OfClass; ALL_CLASSES],
    /// Blocks freed that lie in slabs of other threads.
    pub(super) remote_frees: AtomicU64,
    large_allocations: AtomicU64,
    large_frees: AtomicU64,
    purges: AtomicU64,
    purged_bytes: AtomicU64,
}

/// What has happened in a heap as a whole, and what it has of large objects.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Events {
    pub(crate) remote_frees: u64,
    /// Live large objects, and their bytes.
    pub(crate) large_objects: u64,
    pub(crate) large_bytes: u64,
    pub(crate) large_allocations: u64,
    pub(crate) large_frees: u64,
    pub(crate) purges: u64,
    pub(crate) purged_bytes: u64,
}

/// What is in use of a class, and what has happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClassCount {
    pub(crate) slabs: i64,
    /// Blocks out of slabs.
    pub(crate) out: i64,
    /// Those of them in magazines.
    pub(crate) cached: u64,
    pub(crate) allocations: u64,
    pub(crate) frees: u64,
    pub(crate) slow_paths: u64,
}

impl ClassCount {
    fn add(&mut self, counted: &Counted) {
        self.slabs = self.slabs.saturating_add(i64::from(counted.slabs));
        self.out = self.out.saturating_add(counted.out);
        self.cached += u64::from(counted.cached);
        self.allocations = self.allocations.saturating_add(counted.allocations);
        self.frees = self.frees.saturating_add(counted.frees());
        self.slow_paths = self.slow_paths.saturating_add(counted.slow_paths);
    }
}

impl Totals {
    pub(super) const fn new() -> Self {
        Self {
            classes: [const { OfClass::new() }; ALL_CLASSES],
            remote_frees: AtomicU64::new(0),
            large_allocations: AtomicU64::new(0),
            large_frees: AtomicU64::new(0),
            purges: AtomicU64::new(0),
            purged_bytes: AtomicU64::new(0),
        }
    }

    /// Takes over what an ending thread has counted of a class. Under the heap's lock.
    pub(super) fn take_over(&self, class: usize, counted: &Counted) {
        let of_class = &self.classes[class];
        add(&of_class.allocations, counted.allocations as i64);
        add(&of_class.frees, counted.frees() as i64);
        add(&of_class.slow_paths, counted.slow_paths as i64);
    }

    /// Counts large objects that are new, and such that are gone. Under the heap's lock.
    pub(super) fn count_large(&self, allocations: i64, frees: i64) {
        add(&self.large_allocations, allocations);
        add(&self.large_frees, frees);
    }

    /// Counts memory that was given back to the system.
    pub(crate) fn count_purge(&self, bytes: usize) {
        self.purges.fetch_add(1, Ordering::Relaxed);
        self.purged_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl Core {
    /// Counts what threads have done and have, class by class into `classes`, which are zero and as many as the heap's ladder
    /// has; returns what concerns all classes, and how many thread heaps there are. Takes no lock, and time in proportion to
    /// the threads.
    pub(crate) fn count(&self, classes: &mut [ClassCount]) -> (Events, u32) {
        let mut events = Events::default();
        let mut large = [0_i64; 2];
        let mut threads = 0;
        loop {
            // They are numbered without gaps.
            let heap = Threads::find(self.thread_table, threads + 1);
            if heap.is_null() {
                break;
            }
            threads += 1;
            // SAFETY: thread heaps live as long as their heap.
            unsafe {
                let Some(remote) = ThreadHeap::remote_frees(heap) else { continue };
                events.remote_frees = events.remote_frees.saturating_add(remote);
                let counted = ThreadHeap::large_counters(heap);
                large = [large[0].saturating_add(counted.count()), large[1].saturating_add(counted.bytes)];
                events.large_allocations = events.large_allocations.saturating_add(counted.allocations as u64);
                events.large_frees = events.large_frees.saturating_add(counted.frees as u64);
                for (class, count) in classes.iter_mut().enumerate() {
                    count.add(&ThreadHeap::counters(heap, class));
                }
            }
        }
        // Last: what a thread that ends meanwhile has counted is there before it is gone from the thread's own words, so it may
        // be counted twice, and is not missed.
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        // SAFETY: mapped (K3); atomics, which all may share.
        let (objects, bytes) = unsafe { (&(*self.soft()).locked.large_count, &(*self.soft()).locked.large_bytes) };
        for (class, count) in classes.iter_mut().enumerate() {
            let of_class = &self.totals.classes[class];
            count.slabs = count.slabs.saturating_add(self.slabs_of(class).load(Ordering::Relaxed).into());
            count.out = count.out.saturating_add(self.live_of(class).load(Ordering::Relaxed));
            count.allocations = count.allocations.saturating_add(load(&of_class.allocations));
            count.frees = count.frees.saturating_add(load(&of_class.frees));
            count.slow_paths = count.slow_paths.saturating_add(load(&of_class.slow_paths));
        }
        let totals = &self.totals;
        events.remote_frees = events.remote_frees.saturating_add(load(&totals.remote_frees));
        events.large_allocations = events.large_allocations.saturating_add(load(&totals.large_allocations));
        events.large_frees = events.large_frees.saturating_add(load(&totals.large_frees));
        (events.purges, events.purged_bytes) = (load(&totals.purges), load(&totals.purged_bytes));
        // Whoever frees what another thread has allocated counts below zero; the heap may, too, when that one has ended.
        let sum = |own: i64, counter: &AtomicU64| u64::try_from(own.saturating_add(load(counter) as i64)).unwrap_or(0);
        events.large_objects = sum(large[0], objects);
        events.large_bytes = sum(large[1], bytes);
        (events, threads)
    }
}
