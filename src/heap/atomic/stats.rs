//! What commits have cost so far.

use super::Atomic;
use crate::heap::options::DirtyTracking;
use crate::os::dirty_pages::Tracking;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What the commits of an atomic heap have cost since it was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct CommitStats {
    /// How written pages are found.
    pub tracking: DirtyTracking,
    /// The number of the last commit.
    pub last_commit: u64,
    /// Commits since the heap was opened.
    pub commits: u64,
    /// Pages of 4 KiB that these commits held.
    pub pages: u64,
    /// Bytes of the log that have not been folded into the heap file.
    pub log_bytes: u64,
    /// For how long the last commit kept write sessions out.
    pub last_pause: Duration,
    /// The longest such pause.
    pub longest_pause: Duration,
    /// Whether an earlier failure keeps anything more from becoming durable.
    pub is_broken: bool,
}

/// The counters behind [`CommitStats`]. All Relaxed: nothing follows from them.
#[derive(Debug, Default)]
pub(super) struct Counters {
    commits: AtomicU64,
    pages: AtomicU64,
    last_pause: AtomicU64,
    longest_pause: AtomicU64,
}

impl Counters {
    pub(super) fn paused(&self, pause: Duration) {
        let nanoseconds = u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX);
        self.last_pause.store(nanoseconds, Ordering::Relaxed);
        self.longest_pause.fetch_max(nanoseconds, Ordering::Relaxed);
    }

    pub(super) fn committed(&self, pages: u64) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.pages.fetch_add(pages, Ordering::Relaxed);
    }
}

impl Atomic {
    pub(in crate::heap) fn stats(&self) -> CommitStats {
        let seen = self.journal.seen();
        CommitStats {
            tracking: match self.tracking {
                Tracking::WriteProtect => DirtyTracking::WriteProtect,
                Tracking::Compare => DirtyTracking::Compare,
            },
            last_commit: seen.last_commit(),
            commits: self.counters.commits.load(Ordering::Relaxed),
            pages: self.counters.pages.load(Ordering::Relaxed),
            log_bytes: seen.log_bytes(),
            last_pause: Duration::from_nanos(self.counters.last_pause.load(Ordering::Relaxed)),
            longest_pause: Duration::from_nanos(self.counters.longest_pause.load(Ordering::Relaxed)),
            is_broken: seen.is_broken(),
        }
    }
}

impl fmt::Display for CommitStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tracking = match self.tracking {
            DirtyTracking::WriteProtect => "write protection",
            DirtyTracking::Compare => "comparison",
        };
        writeln!(
            f,
            "commit {}, {} commits with {} pages, log {} bytes, pages found by {tracking}, last pause {:?}, longest {:?}{}",
            self.last_commit,
            self.commits,
            self.pages,
            self.log_bytes,
            self.last_pause,
            self.longest_pause,
            if self.is_broken { ", broken" } else { "" }
        )
    }
}
