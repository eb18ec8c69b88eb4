//! How much is kept in memory, and how reads are counted.

use crate::alloc::tracts::TRACT;
use crate::handle::sample;
use std::time::Duration;

/// Reads from one sample to the next, unless something else is said.
const SAMPLE_EVERY: u32 = 64;

/// How often a maintenance thread adjusts it, unless something else is said.
const ADJUST_EVERY: Duration = Duration::from_secs(1);

/// How large a hot set may be, and how it is found out what belongs there; for [`SalHotSet::hot_set`](crate::SalHotSet::hot_set).
///
/// ```
/// use sal::HotSetOptions;
/// let options = HotSetOptions::new(64 << 20).sample_every(16);
/// # let _ = options;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct HotSetOptions {
    pub(super) budget: u64,
    pub(super) sample_every: u32,
    pub(super) is_locked: bool,
    pub(super) adjust_every: Duration,
}

impl HotSetOptions {
    /// Keeps at most that many bytes together, in parts of 2 MiB.
    pub const fn new(budget: u64) -> Self {
        Self { budget, sample_every: SAMPLE_EVERY, is_locked: true, adjust_every: ADJUST_EVERY }
    }

    /// Counts one read of so many, on average; one of 64 by default, of 2^20 at most. If several heaps of a process have hot sets, the smallest
    /// number counts for all. A read takes some 0.2 nanoseconds longer while there is a hot set, and one that is counted some 10.
    pub const fn sample_every(mut self, reads: u32) -> Self {
        self.sample_every = match reads {
            0 => 1,
            sample::LONGEST.. => sample::LONGEST,
            reads => reads,
        };
        self
    }

    /// Locks nothing in memory: the system is told what will be needed, and may decide otherwise.
    pub const fn without_lock(mut self) -> Self {
        self.is_locked = false;
        self
    }

    /// How often the [maintenance thread](crate::Heap::start_maintenance) adjusts it, if the heap has one: each second by default.
    pub const fn adjust_every(mut self, time: Duration) -> Self {
        self.adjust_every = time;
        self
    }

    /// Tracts that fit the budget.
    pub(super) const fn tracts(&self) -> usize {
        (self.budget / TRACT as u64) as usize
    }
}
