//! How a heap deals with memory that is free, and how much it may take: to be set when it is opened, and while it is used.

#![allow(unsafe_code)]

use super::allocate::with_core;
use super::handle::SalAlloc;
use super::owner::{Heap, HeapInner};
use crate::alloc::current;
use crate::alloc::heap_core::Core;
use crate::alloc::idle::Idle;
use crate::alloc::prefault::event;
use crate::alloc::space::Growth as UnitGrowth;
use crate::alloc::thread_heap::ThreadHeap;
use crate::alloc::tracts;
use crate::alloc::tuning::purge;
use crate::format::{SEGMENT_UNITS, UNIT};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// When memory that is free goes back to the system. Whatever is set, [`Heap::purge`] gives back all of it.
///
/// What is given back has to be faulted in again when it is next used, which costs more than most things that a program does
/// with it. Of an atomic heap nothing is given back but by [`Heap::purge`], [`Heap::purge_idle`] and a thread for maintenance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Purge {
    /// Not by itself.
    Retain,
    /// With every large object that is freed, at once. The addresses are kept for the next one.
    Eager,
    /// When it was not needed for a whole period: looked after by threads that happen to take memory from the heap or to give
    /// some back to it. A program that does neither keeps what it has.
    Decay(Duration),
    /// The same, but done by a [thread for maintenance](Heap::start_maintenance) or by [`Heap::purge_idle`], and by no thread on
    /// its way.
    Background(Duration),
}

impl Default for Purge {
    /// In the background, after ten seconds.
    fn default() -> Self {
        Self::Background(Duration::from_secs(10))
    }
}

/// Shortest period: the clock that is asked is that coarse.
const SHORTEST: Duration = Duration::from_millis(10);

/// By how much the memory, or the disk space, that a heap has reserved grows when it needs more. Steps are whole multiples of
/// 2 MiB, and no longer than what is missing if that is all that can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Growth {
    /// By what is needed now.
    Exact,
    /// By so many bytes.
    Steps(u64),
    /// By a part of what is reserved already: an eighth for 8. No more than `most` bytes at once.
    Part {
        /// The part.
        divisor: u32,
        /// Bytes.
        most: u64,
    },
}

impl Default for Growth {
    /// An eighth, up to 64 MiB.
    fn default() -> Self {
        Self::Part { divisor: 8, most: 64 << 20 }
    }
}

impl Growth {
    fn in_units(self) -> UnitGrowth {
        let (part, least, most) = match self {
            Self::Exact => (usize::MAX, 0, 0),
            Self::Steps(bytes) => (usize::MAX, units(bytes), usize::MAX),
            Self::Part { divisor, most } => (divisor as usize, SEGMENT_UNITS, units(most)),
        };
        UnitGrowth { part, least, most }
    }
}

fn units(bytes: u64) -> usize {
    usize::try_from(bytes / UNIT as u64).unwrap_or(usize::MAX)
}

/// Settings of a heap's memory; the defaults of [`Purge`] and [`Growth`] count where nothing was ever set. What is not set stays as it is.
///
/// ```
/// use sal::{HeapOptions, Purge, Tuning};
///
/// let heap = HeapOptions::new().tuning(Tuning::new().thread_cache_bytes(16 << 20)).volatile()?;
/// // ... later, in a phase in which memory is scarce:
/// heap.alloc().tune(&Tuning::new().purge(Purge::Eager).thread_cache_bytes(0).max_bytes(1 << 30));
/// # Ok::<(), sal::OpenError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Tuning {
    purge: Option<Purge>,
    growth: Option<Growth>,
    thread_cache_bytes: Option<u64>,
    largest_cached: Option<u64>,
    max_bytes: Option<u64>,
    max_disk: Option<u64>,
}

impl Tuning {
    /// Nothing is set.
    pub const fn new() -> Self {
        Self {
            purge: None,
            growth: None,
            thread_cache_bytes: None,
            largest_cached: None,
            max_bytes: None,
            max_disk: None,
        }
    }

    /// When free memory goes back to the system.
    pub const fn purge(mut self, policy: Purge) -> Self {
        self.purge = Some(policy);
        self
    }

    /// By how much reserved memory grows.
    pub const fn growth(mut self, growth: Growth) -> Self {
        self.growth = Some(growth);
        self
    }

    /// Bytes of freed large objects (more than 256 KiB) that a thread keeps for the next one of that length; 64 MiB unless said
    /// otherwise. Zero turns this off. Twice as much is kept where all threads find it. What blocks of the default heap held that
    /// had grown is kept besides, unless this is zero, until the heap takes new memory.
    pub const fn thread_cache_bytes(mut self, bytes: u64) -> Self {
        self.thread_cache_bytes = Some(bytes);
        self
    }

    /// Bytes of the largest object that is kept so; 64 MiB unless said otherwise.
    pub const fn largest_cached(mut self, bytes: u64) -> Self {
        self.largest_cached = Some(bytes);
        self
    }

    /// Most bytes that may be in use, in units of 32 KiB, what threads keep at hand included: past it allocations fail. In the default
    /// heap blocks that had grown before there was a limit do not count, and none become such while there is one. The
    /// heap's [capacity](crate::HeapOptions::capacity) is a limit besides, and is the file's. [`u64::MAX`] takes the limit away. What
    /// is in use already stays.
    pub const fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// Most bytes of the file, or of memory, that may be reserved for blocks: past it allocations fail. A heap reserves more
    /// than it uses, first of all where large objects leave gaps. The log of an atomic heap has
    /// [its own limit](crate::HeapOptions::log_limit). [`u64::MAX`] takes the limit away.
    pub const fn max_disk(mut self, bytes: u64) -> Self {
        self.max_disk = Some(bytes);
        self
    }

    /// Makes the settings count.
    pub(super) fn apply(&self, core: &Core) {
        let tuning = &core.tuning;
        // Relaxed, all of them: each is read alone.
        if let Some(policy) = self.purge {
            let (mode, period) = match policy {
                Purge::Retain => (purge::RETAIN, SHORTEST),
                Purge::Eager => (purge::EAGER, SHORTEST),
                Purge::Decay(period) => (purge::DECAY, period),
                Purge::Background(period) => (purge::BACKGROUND, period),
            };
            let period = u64::try_from(period.max(SHORTEST).as_nanos()).unwrap_or(u64::MAX);
            tuning.period_len.store(period, Ordering::Relaxed);
            tuning.period_end.store(0, Ordering::Relaxed);
            tuning.purge.store(mode, Ordering::Relaxed);
        }
        if let Some(bytes) = self.thread_cache_bytes {
            tuning.thread_units.store(units(bytes), Ordering::Relaxed);
        }
        if let Some(bytes) = self.largest_cached {
            tuning.largest_units.store(units(bytes), Ordering::Relaxed);
        }
        if self.thread_cache_bytes.is_some() || self.largest_cached.is_some() {
            core.enforce_cache_limits();
        }
        let _guard = core.lock.lock();
        // SAFETY: under the lock (K1).
        let space = unsafe { &mut *core.space.get() };
        if let Some(growth) = self.growth {
            space.growth = growth.in_units();
        }
        if let Some(bytes) = self.max_bytes {
            space.most_used = units(bytes);
        }
        if let Some(bytes) = self.max_disk {
            space.most_committed = units(bytes);
        }
        if let Some(growers) = core.growers {
            // They count towards neither limit, so there are none where there is one.
            growers.pause(space.most_used.min(space.most_committed) < units(u64::MAX));
        }
        if self.purge.is_some() {
            // Whoever maintains the heap looks again at what it is to do.
            core.signal.tell(event::GROWN);
        }
    }
}

impl SalAlloc {
    /// Changes settings of the heap, which count from now on; false if it is closed.
    ///
    /// ```
    /// use sal::{Purge, SalAlloc, Tuning};
    /// use std::time::Duration;
    ///
    /// assert!(SalAlloc::new().tune(&Tuning::new().purge(Purge::Decay(Duration::from_secs(1)))));
    /// ```
    pub fn tune(self, tuning: &Tuning) -> bool {
        with_core(self.place(), |core| tuning.apply(core)).is_some()
    }
}

impl Heap {
    /// Gives memory back that was not needed since this was last called, whatever [`Purge`] is set; returns how many bytes. For
    /// programs that have a moment to spare from time to time, and no thread for maintenance.
    ///
    /// ```
    /// use sal::{HeapOptions, Region};
    ///
    /// let heap = HeapOptions::new().volatile()?;
    /// drop(Region::from_fn_in(1 << 20, heap.alloc(), |n| n));
    /// assert_eq!(heap.purge_idle(), 0); // it was needed a moment ago
    /// assert!(heap.purge_idle() >= 8 << 20); // but not since
    /// # Ok::<(), sal::OpenError>(())
    /// ```
    pub fn purge_idle(&self) -> usize {
        self.inner().purge_idle(usize::MAX).bytes
    }

    /// Does what [`Purge::Decay`] or [`Purge::Background`] asks for, if the period is over: what a
    /// [thread for maintenance](Heap::start_maintenance) does.
    /// Returns how many bytes were given back.
    pub fn purge_if_due(&self) -> usize {
        self.inner().purge_if_due(usize::MAX).bytes
    }
}

impl HeapInner {
    /// Gives back at most `most` bytes of what was idle in the period that ends with this. Of an atomic heap, `most` does not
    /// count, and only whole segments are given back.
    pub(crate) fn purge_idle(&self, most: usize) -> Idle {
        if self.is_read_only() || self.is_forked() {
            return Idle::default();
        }
        // It is not closed meanwhile.
        let shut = self.shut.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if *shut {
            return Idle::default();
        }
        self.purge_idle_open(1, most)
    }

    /// As [`HeapInner::purge_idle`], but only runs of at least `least` units, of a heap that is open for writing and is not
    /// closed meanwhile.
    pub(super) fn purge_idle_open(&self, least: usize, most: usize) -> Idle {
        let core = self.core();
        tracts::purge(&core.address_range());
        match &self.atomic {
            None => {
                let idle = core.purge_idle(least, most);
                if idle.bytes > 0 && !idle.leaves_some {
                    // It has shrunk: what is reserved for its growth goes, too.
                    core.purge_tail(self.maintenance.ready_end());
                }
                idle
            }
            Some(atomic) => {
                core.end_period();
                Idle { bytes: atomic.purge(core, SEGMENT_UNITS), leaves_some: core.keeps_runs() }
            }
        }
    }

    /// Has the calling thread give back what it keeps at hand, if it has used the heap.
    pub(super) fn flush_thread(&self) {
        // SAFETY: the calling thread's own thread heap.
        current::with_window_if_used(self.core().name(), |heap| unsafe { ThreadHeap::flush(heap) });
    }

    /// As [`HeapInner::purge_idle`], if the heap's policy asks for it and its time has come.
    pub(crate) fn purge_if_due(&self, most: usize) -> Idle {
        let tuning = &self.core().tuning;
        match tuning.purge.load(Ordering::Relaxed) {
            purge::DECAY | purge::BACKGROUND if self.core().is_period_over() => self.purge_idle(most),
            _ => Idle::default(),
        }
    }
}
