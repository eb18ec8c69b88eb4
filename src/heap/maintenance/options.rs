//! What a maintenance thread is to do.

use crate::error::MaintenanceError;
use std::time::Duration;

/// Default for [`MaintenanceOptions::prefault`]: 8 MiB.
pub(super) const PREFAULT: u64 = 8 << 20;

/// When free memory is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PurgeAfter {
    /// As the heap's [`Purge`](crate::Purge) says at that moment.
    Policy,
    Time(Duration),
    Never,
}

/// What a maintenance thread is to do besides folding the log and making huge pages whole.
///
/// ```
/// use sal::{HeapOptions, MaintenanceError, MaintenanceOptions};
/// use std::time::Duration;
///
/// let heap = HeapOptions::new().volatile()?;
/// let never = MaintenanceOptions::new().purge_after(Some(Duration::ZERO));
/// assert!(matches!(heap.start_maintenance(never), Err(MaintenanceError::InvalidOptions { .. })));
/// # Ok::<(), sal::OpenError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct MaintenanceOptions {
    pub(super) prefault: u64,
    pub(super) purge_after: PurgeAfter,
    pub(super) compact: bool,
    pub(super) compact_rate: Option<u64>,
}

impl Default for MaintenanceOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl MaintenanceOptions {
    /// 8 MiB are kept ready, and memory is given back as the heap's [`Purge`](crate::Purge) says: what was not needed for ten
    /// seconds, unless something else is set.
    pub const fn new() -> Self {
        Self { prefault: PREFAULT, purge_after: PurgeAfter::Policy, compact: false, compact_rate: None }
    }

    /// Bytes that are to be ready behind the end of what the heap has in use, rounded up to whole segments of 2 MiB, and made so again
    /// when half of them are used: whoever touches them first does not wait for the kernel. They are in memory from then on, and in
    /// the file of a shared heap with its next sync. Nothing is made ready of an atomic heap that has neither huge pages nor write
    /// protection ([`DirtyTracking`](crate::DirtyTracking)), where it would be committed. Zero for none.
    pub const fn prefault(mut self, bytes: u64) -> Self {
        self.prefault = bytes;
        self
    }

    /// How long memory stays with the heap when it is free, whatever its [`Purge`](crate::Purge) says. When that time is over
    /// what was not needed in it is given back: freed large objects that nobody has taken again, and as many free bytes as the
    /// heap did not have in use besides; so memory goes after twice that time at most. If more is freed meanwhile the time
    /// starts again, at most eight times: a program that frees all the time would soon need what was given back. Runs below
    /// 2 MiB stay, as huge pages would be split for them. None: until somebody calls [`Heap::purge`](crate::Heap::purge).
    pub const fn purge_after(mut self, time: Option<Duration>) -> Self {
        self.purge_after = match time {
            Some(time) => PurgeAfter::Time(time),
            None => PurgeAfter::Never,
        };
        self
    }

    /// Whether values that handles lead to are moved together when less than half of the two megabytes that they lie in is alive. Not
    /// by default: it takes time of a processor, and makes the commits of an atomic heap larger.
    pub const fn compact(mut self, compacts: bool) -> Self {
        self.compact = compacts;
        self
    }

    /// How many bytes of values are moved in a second at most, as long as [`compact`](MaintenanceOptions::compact) is set; as many as can be
    /// by default. What is moved takes time of a processor and of its caches, and in an atomic heap it is in the next commit.
    pub const fn compact_rate(mut self, bytes_per_second: u64) -> Self {
        self.compact_rate = Some(bytes_per_second);
        self
    }

    pub(super) fn check(&self) -> Result<(), MaintenanceError> {
        if self.purge_after == PurgeAfter::Time(Duration::ZERO) {
            return Err(MaintenanceError::InvalidOptions { reason: "free memory would be purged without a pause" });
        }
        if self.compact_rate == Some(0) {
            return Err(MaintenanceError::InvalidOptions { reason: "nothing could be moved at a rate of zero" });
        }
        Ok(())
    }
}
