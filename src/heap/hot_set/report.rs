//! What a hot set is like.

use crate::os::{CallError, memory_lock};
use std::fmt;

/// Why part of a hot set is not locked in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub enum Unlocked {
    /// The system does not let this process lock so much: see [`HotSetStats::limit`].
    Refused,
    /// [`HotSetOptions::without_lock`](crate::HotSetOptions::without_lock) was asked for.
    NotWanted,
    /// The call failed otherwise.
    #[non_exhaustive]
    Failed {
        /// The system's number of the error.
        errno: i32,
    },
}

impl From<CallError> for Unlocked {
    fn from(error: CallError) -> Self {
        if memory_lock::is_refused(error) { Self::Refused } else { Self::Failed { errno: error.errno.0 } }
    }
}

impl fmt::Display for Unlocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("this process may not lock more"),
            Self::NotWanted => f.write_str("no lock is wanted"),
            Self::Failed { errno } => write!(f, "the system reports error {errno}"),
        }
    }
}

/// What a hot set is like, and what was done for it since there is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct HotSetStats {
    /// Bytes that it may have.
    pub budget: u64,
    /// Bytes that it has; never more than the budget.
    pub hot_bytes: u64,
    /// Bytes of these that are locked in memory.
    pub locked_bytes: u64,
    /// Bytes of the values in it.
    pub object_bytes: u64,
    /// Values that were moved into it.
    pub promotions: u64,
    /// Values that were moved out of it.
    pub demotions: u64,
    /// How often all counts were halved.
    pub halvings: u64,
    /// Reads that were sampled.
    pub samples: u64,
    /// Reads of these whose value was in the hot set.
    pub hits: u64,
    /// Bytes that this process may lock altogether (`RLIMIT_MEMLOCK`) unless it is privileged; none without a limit.
    pub limit: Option<u64>,
    /// Why not all of it is locked, if that is so.
    pub unlocked_because: Option<Unlocked>,
}

impl HotSetStats {
    /// Which part of the reads fell into the hot set, from 0 to 1; of those since other, earlier statistics, if there are such.
    ///
    /// ```
    /// use sal::HotSetStats;
    /// assert_eq!(HotSetStats::default().hit_rate(None), 0.0);
    /// ```
    pub fn hit_rate(&self, since: Option<&Self>) -> f64 {
        let (samples, hits) = since.map_or((0, 0), |before| (before.samples, before.hits));
        let samples = self.samples.saturating_sub(samples);
        if samples == 0 { 0.0 } else { self.hits.saturating_sub(hits) as f64 / samples as f64 }
    }
}

impl fmt::Display for HotSetStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        write!(
            f,
            "{:.1} of {:.1} MiB, {:.1} MiB locked; {:.1} % of {} sampled reads hit; {} promoted, {} demoted",
            mib(self.hot_bytes),
            mib(self.budget),
            mib(self.locked_bytes),
            self.hit_rate(None) * 100.0,
            self.samples,
            self.promotions,
            self.demotions
        )?;
        if let Some(reason) = self.unlocked_because {
            write!(f, "; not all is locked: {reason}")?;
            if let (Unlocked::Refused, Some(limit)) = (reason, self.limit) {
                write!(f, " than {:.1} MiB", mib(limit))?;
            }
        }
        Ok(())
    }
}
