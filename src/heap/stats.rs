//! What a heap has in use.

use super::allocate::with_core;
use super::atomic::{Atomic, CommitStats};
use super::handle::SalAlloc;
use super::owner::{Heap, HeapInner};
use crate::alloc::heap_core::Core;
use crate::alloc::size_class::{CLASSES, class_size, slab_blocks, slab_units};
use crate::alloc::thread_heap::ThreadHeap;
use crate::alloc::threads::Threads;
use crate::format::UNIT;
use std::fmt;
use std::sync::PoisonError;

/// What a heap has in use, at about one moment: other threads go on while it is counted.
///
/// ```
/// use sal::HeapOptions;
///
/// let heap = HeapOptions::new().volatile()?;
/// let numbers = allocator_api2::vec![in heap.alloc(); 7_u64; 100];
/// let stats = heap.stats();
/// assert_eq!(stats.classes.iter().map(|class| class.live).sum::<u64>(), 1);
/// assert!(stats.live_bytes >= 800);
/// println!("{stats}");
/// # drop(numbers);
/// # Ok::<(), sal::OpenError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Most bytes that blocks may take.
    pub capacity: u64,
    /// Bytes that memory or disk space is reserved for.
    pub committed: u64,
    /// Bytes in slabs, large objects and what threads keep to cut slabs from or of freed large objects.
    pub used: u64,
    /// Bytes in live blocks, as large as the blocks really are.
    pub live_bytes: u64,
    /// Bytes in free blocks that threads keep at hand.
    pub cached_bytes: u64,
    /// Live large objects.
    pub large_objects: u64,
    /// Bytes in them.
    pub large_bytes: u64,
    /// Thread heaps that were ever in use at once.
    pub threads: u32,
    /// The size classes that have slabs, by size.
    pub classes: Vec<ClassStats>,
    /// Of an atomic heap that is open for writing, what commits have cost; only from [`Heap::stats`].
    pub commits: Option<CommitStats>,
}

/// What a heap has in use of one size class.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClassStats {
    /// Bytes of a block.
    pub size: usize,
    /// Slabs.
    pub slabs: u64,
    /// Blocks in these slabs.
    pub blocks: u64,
    /// Blocks that the program has.
    pub live: u64,
    /// Free blocks that threads keep at hand.
    pub cached: u64,
    /// Bytes of the slabs.
    pub bytes: u64,
}

impl ClassStats {
    /// Share of the slabs' bytes that is in live blocks, from 0 to 1.
    pub fn utilisation(&self) -> f64 {
        (self.live * self.size as u64) as f64 / (self.bytes as f64).max(1.0)
    }
}

/// `classes` has room for all: nothing is allocated here, because this very heap may serve it.
fn collect(core: &Core, mut classes: Vec<ClassStats>) -> Stats {
    let _guard = core.lock.lock();
    // SAFETY: under the lock; the counters of threads are atomic.
    let (space, soft, threads) = unsafe { (&mut *core.space.get(), core.soft(), &*core.threads.get()) };
    let (large_objects, large_bytes) = core.large_counters();
    let mut stats = Stats {
        capacity: (space.capacity_units * UNIT) as u64,
        committed: (space.committed_units() * UNIT) as u64,
        used: (space.used_units() * UNIT) as u64,
        large_objects,
        large_bytes,
        threads: threads.count(),
        ..Stats::default()
    };
    // What a file says of itself may be anything, so the sums must not overflow.
    stats.live_bytes = stats.large_bytes;
    for class in 0..CLASSES {
        // SAFETY: as above.
        let (mut out, mut slabs) = unsafe { ((*soft).locked.live[class], i64::from((*soft).locked.slabs[class])) };
        let mut cached = 0;
        for number in 1..=threads.count() {
            // SAFETY: thread heaps live as long as their heap.
            let counters = unsafe { ThreadHeap::counters(Threads::find(threads.table(), number), class) };
            out = out.saturating_add(counters.0);
            cached += u64::from(counters.1);
            slabs = slabs.saturating_add(i64::from(counters.2));
        }
        let slabs = u64::try_from(slabs).unwrap_or(0);
        if slabs > 0 {
            let size = class_size(class);
            let live = u64::try_from(out).unwrap_or(0).saturating_sub(cached);
            stats.live_bytes = stats.live_bytes.saturating_add(live.saturating_mul(size as u64));
            stats.cached_bytes = stats.cached_bytes.saturating_add(cached.saturating_mul(size as u64));
            classes.push(ClassStats {
                size,
                slabs,
                blocks: slabs.saturating_mul(u64::from(slab_blocks(class))),
                live,
                cached,
                bytes: slabs.saturating_mul((slab_units(class) * UNIT) as u64),
            });
        }
    }
    stats.classes = classes;
    stats
}

impl Heap {
    /// What the heap has in use.
    pub fn stats(&self) -> Stats {
        let mut stats = collect(self.inner().core(), Vec::with_capacity(CLASSES));
        stats.commits = self.atomic().map(Atomic::stats);
        stats
    }
}

impl SalAlloc {
    /// What the heap has in use; none if it is closed.
    pub fn stats(self) -> Option<Stats> {
        let classes = Vec::with_capacity(CLASSES);
        with_core(self.place(), |core| collect(core, classes))
            .or_else(|| HeapInner::find(self).ok()?.stats_if_only_read())
    }
}

impl HeapInner {
    /// Of a heap that threads cannot be inside of, since none allocates there.
    fn stats_if_only_read(&self) -> Option<Stats> {
        if !self.is_read_only() || self.is_forked() {
            return None;
        }
        let classes = Vec::with_capacity(CLASSES);
        // It is not closed meanwhile.
        let shut = self.shut.lock().unwrap_or_else(PoisonError::into_inner);
        (!*shut).then(|| collect(self.core(), classes))
    }
}

/// A number of bytes with a unit that keeps it short.
pub(super) struct Bytes(pub(super) u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
        let (mut value, mut unit) = (self.0 as f64, 0);
        while value >= 1024.0 && unit < UNITS.len() - 1 {
            (value, unit) = (value / 1024.0, unit + 1);
        }
        let digits = usize::from(unit > 0 && value < 100.0);
        f.pad(&format!("{value:.digits$} {}", UNITS[unit]))
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "capacity {}, committed {}, used {}, live {}, cached by {} threads {}",
            Bytes(self.capacity),
            Bytes(self.committed),
            Bytes(self.used),
            Bytes(self.live_bytes),
            self.threads,
            Bytes(self.cached_bytes)
        )?;
        if let Some(commits) = &self.commits {
            commits.fmt(f)?;
        }
        writeln!(f, "large objects: {} with {}", self.large_objects, Bytes(self.large_bytes))?;
        writeln!(
            f,
            "{:>10} {:>8} {:>10} {:>10} {:>10} {:>12} {:>6}",
            "block", "slabs", "blocks", "live", "cached", "bytes", "used"
        )?;
        for class in &self.classes {
            writeln!(
                f,
                "{:>10} {:>8} {:>10} {:>10} {:>10} {:>12} {:>5.1}%",
                class.size,
                class.slabs,
                class.blocks,
                class.live,
                class.cached,
                Bytes(class.bytes),
                class.utilisation() * 100.0
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HeapOptions;
    use allocator_api2::alloc::Allocator;
    use std::alloc::Layout;

    #[test]
    fn counts_are_exact_when_nobody_else_is_there() {
        let heap = HeapOptions::new().capacity(1 << 30).volatile().unwrap();
        let handle = heap.alloc();
        let blocks: Vec<_> = (0..5000).map(|_| handle.allocate(Layout::new::<[u64; 8]>()).unwrap()).collect();
        let large = Layout::from_size_align(3 << 20, 8).unwrap();
        let big = handle.allocate(large).unwrap();
        let stats = heap.stats();
        assert_eq!((stats.large_objects, stats.large_bytes), (1, 3 << 20));
        assert_eq!(stats.classes.len(), 1);
        let class = &stats.classes[0];
        assert_eq!((class.size, class.live, class.slabs), (64, 5000, 5));
        assert_eq!(stats.live_bytes, 5000 * 64 + (3 << 20));
        // SAFETY: allocated above with these layouts, freed once.
        unsafe {
            for block in blocks {
                handle.deallocate(block.cast(), Layout::new::<[u64; 8]>());
            }
            handle.deallocate(big.cast(), large);
        }
        let stats = heap.stats();
        assert_eq!((stats.large_objects, stats.live_bytes), (0, 0));
        assert_eq!(handle.stats(), Some(stats));
    }

    #[test]
    fn counts_that_a_damaged_file_could_have_do_not_overflow() {
        let heap = HeapOptions::new().capacity(1 << 30).volatile().unwrap();
        // SAFETY: nobody else uses the heap.
        let locked = unsafe { &mut (*heap.inner().core().soft()).locked };
        (locked.live, locked.large_bytes) = ([i64::MAX; CLASSES], u64::MAX);
        locked.slabs.fill(u32::MAX);
        let stats = heap.stats();
        assert_eq!((stats.live_bytes, stats.classes.len()), (u64::MAX, CLASSES));
        locked.live.fill(i64::MIN);
        assert!(heap.stats().classes.iter().all(|class| class.live == 0));
        (locked.live, locked.large_bytes) = ([0; CLASSES], 0);
        locked.slabs.fill(0);
    }

    #[test]
    fn bytes_are_shown_with_a_fitting_unit() {
        let shown: Vec<String> = [0, 1023, 1536, 200 << 20, u64::MAX].iter().map(|&n| Bytes(n).to_string()).collect();
        assert_eq!(shown, ["0 B", "1023 B", "1.5 KiB", "200 MiB", "16384 PiB"]);
    }
}
