//! What the workers of a marking share.

use crate::gc::pool::Pool;
use std::sync::atomic::{AtomicU64, Ordering};

/// What the workers of one marking share, and others may look at meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Job {
    pub(crate) pool: Pool,
    pub(crate) counters: Counters,
}

/// How far marking has come.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Blocks that were marked, and bytes of them.
    pub(crate) blocks: AtomicU64,
    pub(crate) bytes: AtomicU64,
    /// Bytes that were looked at.
    pub(crate) scanned: AtomicU64,
    /// How often what was put aside had to be taken up.
    pub(crate) rounds: AtomicU64,
}

impl Counters {
    /// Begins with nothing again, but for the bytes that were looked at.
    fn begin_again(&self) {
        // Relaxed: the workers have been joined.
        for counter in [&self.blocks, &self.bytes, &self.rounds] {
            counter.store(0, Ordering::Relaxed);
        }
    }

    /// The same once more.
    pub(crate) fn copy(&self) -> Self {
        // Relaxed: nobody counts any more.
        let copy = |counter: &AtomicU64| AtomicU64::new(counter.load(Ordering::Relaxed));
        Self {
            blocks: copy(&self.blocks),
            bytes: copy(&self.bytes),
            scanned: copy(&self.scanned),
            rounds: copy(&self.rounds),
        }
    }
}

impl Job {
    /// Marking begins once more, without types. When no worker runs.
    pub(crate) fn begin_again(&self) {
        self.pool.begin_again();
        self.counters.begin_again();
    }
}
