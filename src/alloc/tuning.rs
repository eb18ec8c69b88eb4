//! What can be set while a heap is in use.

use crate::format::UNIT;
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize};

/// When free memory is given back to the system.
pub(crate) mod purge {
    /// When somebody asks for it.
    pub(crate) const RETAIN: u32 = 0;
    /// With every large object that is freed.
    pub(crate) const EAGER: u32 = 1;
    /// When it has not been needed for a while, by whichever thread comes to the heap's units.
    pub(crate) const DECAY: u32 = 2;
    /// The same, by a thread that does nothing else.
    pub(crate) const BACKGROUND: u32 = 3;
}

/// The settings. All of them are read alone, and a change counts from the next look on: so relaxed loads will do.
#[derive(Debug)]
pub(crate) struct Tuning {
    /// Units in free runs that a thread may keep.
    pub(crate) thread_units: AtomicUsize,
    /// Units of the longest run that is kept.
    pub(crate) largest_units: AtomicUsize,
    /// See [`purge`].
    pub(crate) purge: AtomicU32,
    /// Nanoseconds of a period: what was not needed for a whole one is idle.
    pub(crate) period_len: AtomicU64,
    /// The periods that have passed.
    pub(crate) period: AtomicU32,
    /// When the current one ends, by the system's clock; 0 if none has begun.
    pub(crate) period_end: AtomicU64,
}

/// What a thread keeps at most unless something else is set: 64 MiB.
pub(crate) const THREAD_BYTES: u64 = 64 << 20;
/// Period of ten seconds.
pub(crate) const PERIOD: u64 = 10_000_000_000;

impl Tuning {
    pub(crate) const fn new() -> Self {
        Self {
            thread_units: AtomicUsize::new(THREAD_BYTES as usize / UNIT),
            largest_units: AtomicUsize::new(THREAD_BYTES as usize / UNIT),
            purge: AtomicU32::new(purge::BACKGROUND),
            period_len: AtomicU64::new(PERIOD),
            period: AtomicU32::new(0),
            period_end: AtomicU64::new(0),
        }
    }
}
