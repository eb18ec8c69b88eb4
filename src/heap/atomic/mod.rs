//! Heaps that are safe against power loss: nothing reaches the file but commits.
//!
//! The file is mapped privately ([`map`]), so what the program stores stays in its memory. A sync takes aside what was
//! written since the last one ([`capture`]) and appends it to the commit log as one record
//! ([`crate::commit::journal`]). From time to time the log is folded into the file, on a thread of its own.
//!
//! # What survives a crash
//! Exactly the last commit: opening replays the log. The allocator's state is no part of commits; it is rebuilt from the
//! slab table, and what was lost is found by marking ([`crate::gc`]).

mod capture;
mod close;
mod map;
#[cfg(any(test, feature = "testing"))]
mod on_storage;
mod open;
mod page_runs;
mod prefault;
mod preserve;
mod purge;
mod read_only;
mod recover;
mod regions;
mod snapshot;
mod stats;
#[cfg(test)]
mod tests;
mod upkeep;

pub(super) use close::finish;
#[cfg(any(test, feature = "testing"))]
pub(crate) use on_storage::open_or_create_on;
pub(super) use open::open_file;
pub(super) use recover::data_of_file;
pub use snapshot::SnapshotProgress;
pub use stats::CommitStats;

use super::owner::HeapInner;
use super::sync::SyncLevel;
use crate::alloc::prefault::event;
use crate::commit::fold::Folded;
use crate::commit::journal::{AppendError, Durability, Journal};
use crate::error::SyncError;
use crate::os::dirty_pages::Tracking;
use crate::os::errno;
use capture::Capture;
use stats::Counters;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use upkeep::Upkeep;

/// Whether nothing but room on the disk was missing.
fn lacks_space(error: &SyncError) -> bool {
    let SyncError::Os { source, .. } = error else { return false };
    [errno::NO_SPACE, errno::OVER_QUOTA].iter().any(|errno| source.raw_os_error() == Some(errno.0))
}

/// Folds the log, if that need not wait: for a snapshot, say, since commits may wait for this. Also what was only written:
/// otherwise the log of a program that never waits would grow without end.
fn fold_written(journal: &Journal) -> Result<Option<Folded>, AppendError> {
    journal.make_durable()?;
    journal.try_fold()
}

/// How much longer than wanted the log may become before a sync waits until it has been folded.
const MOST_LOGS: u64 = 4;

/// What an atomic heap has besides what all heaps have.
pub(crate) struct Atomic {
    journal: Arc<Journal>,
    capture: Arc<Mutex<Capture>>,
    /// None if nobody wants huge pages.
    upkeep: Option<Upkeep>,
    tracking: Tracking,
    /// Whether the last purge left memory that is free because the last commit held it.
    leaves_free: AtomicBool,
    /// From which offset on nothing of the file was ever mapped.
    plain_from: usize,
    counters: Counters,
    /// Bytes of the log from which on it is folded.
    fold_at: u64,
    /// Bytes that it may have while it cannot be folded.
    log_limit: u64,
    folding: Mutex<Option<JoinHandle<()>>>,
    /// Whether closing drops what was not committed.
    discard: bool,
    /// Whether the file's allocator state is that of an earlier close.
    is_soft_stale: bool,
    recovery: Mutex<recover::State>,
    /// What a recovery that was given up would go on over.
    kept: Arc<preserve::Kept>,
}

impl From<AppendError> for SyncError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Os(error) => Self::os(error.call, error.errno),
            AppendError::Broken => Self::Broken,
        }
    }
}

impl Atomic {
    pub(super) fn journal(&self) -> &Arc<Journal> {
        &self.journal
    }

    fn capture(&self) -> MutexGuard<'_, Capture> {
        // Whoever panicked had noted everything before.
        self.capture.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last commit's number.
    pub(super) fn last_commit(&self) -> u64 {
        self.journal.last_commit()
    }

    /// Commits what was written since the last commit; returns the commit's number, or that of the last one if nothing
    /// was.
    pub(super) fn commit(&self, heap: &HeapInner, level: SyncLevel, limit: Option<Duration>) -> Result<u64, SyncError> {
        self.keep_log_short(limit)?;
        let mut capture = self.capture();
        self.journal.check_files()?;
        capture.look_first(heap.core()).map_err(|error| SyncError::os(error.call, error.errno))?;
        self.with_room(|| self.capture_and_append(&mut capture, heap, level, limit))?;
        // Relaxed: who sees it late tells with the next commit.
        if self.leaves_free.load(Ordering::Relaxed) {
            self.leaves_free.store(false, Ordering::Relaxed);
            heap.core().signal.tell(event::FREED | event::FREED_AGAIN);
        }
        let has_work = capture.regions.captured();
        // Others may commit while this one waits.
        drop(capture);
        if let (true, Some(upkeep)) = (has_work, &self.upkeep) {
            if heap.core().signal.is_heard() {
                heap.core().signal.tell(event::SPLIT);
            } else {
                upkeep.begin(&self.capture);
            }
        }
        if level == SyncLevel::Full {
            self.wait_for_fold();
            self.journal.fold()?;
        } else {
            self.fold_if_long(heap, limit);
        }
        Ok(self.journal.last_commit())
    }

    /// Where the log has reached its limit, waits until it has been folded. Before any lock: whoever has paused folding may
    /// want it.
    fn keep_log_short(&self, limit: Option<Duration>) -> Result<(), SyncError> {
        let bytes = self.journal.log_bytes();
        if bytes < self.log_limit || !self.journal.is_folding_paused() {
            return Ok(());
        }
        let folded = self.journal.fold_within(limit.unwrap_or(Duration::MAX))?;
        folded.map(drop).ok_or(SyncError::LogFull { bytes })
    }

    fn capture_and_append(
        &self,
        capture: &mut Capture,
        heap: &HeapInner,
        level: SyncLevel,
        limit: Option<Duration>,
    ) -> Result<(), SyncError> {
        {
            let closed_gate = heap.close_gate(limit)?;
            let closed = Instant::now();
            heap.before_sync()?;
            heap.seal(&closed_gate);
            capture.take(heap.core(), &self.journal).map_err(|error| SyncError::os(error.call, error.errno))?;
            self.counters.paused(closed.elapsed());
        }
        self.append(capture, level)
    }

    /// Runs `commit`; if nothing but room on the disk was missing, once more after a fold, which frees the log's.
    fn with_room(&self, mut commit: impl FnMut() -> Result<(), SyncError>) -> Result<(), SyncError> {
        let committed = commit();
        if !committed.as_ref().is_err_and(lacks_space) {
            return committed;
        }
        // One may be under way.
        self.wait_for_fold();
        if matches!(self.journal.try_empty(), Ok(Some(_))) { commit() } else { committed }
    }

    /// Appends what was captured, if it is anything.
    fn append(&self, capture: &mut Capture, level: SyncLevel) -> Result<(), SyncError> {
        let durability = if level == SyncLevel::Async { Durability::Written } else { Durability::Durable };
        if capture.is_empty() {
            // An earlier commit may only have been written.
            if durability == Durability::Durable {
                self.journal.make_durable()?;
            }
        } else {
            let written = capture.write_out(&self.journal).map_err(|error| SyncError::os(error.call, error.errno));
            let appended = written.and_then(|()| Ok(self.journal.append(&capture.commit(), durability)?));
            appended.inspect_err(|_| capture.failed())?;
            self.counters.committed(capture.len());
        }
        capture.committed();
        Ok(())
    }

    /// Has the log folded if it is long, by whoever maintains the heap or on a thread of its own; waits for that if it is far
    /// too long. While folding is paused it grows up to its limit.
    fn fold_if_long(&self, heap: &HeapInner, limit: Option<Duration>) {
        let len = self.journal.unfolded_bytes();
        if len < self.fold_at || self.journal.is_folding_paused() {
            return;
        }
        let signal = &heap.core().signal;
        if signal.is_heard() {
            signal.tell(event::LOG_GREW);
            if len >= self.fold_at.saturating_mul(MOST_LOGS) {
                // An error is found by the next sync, as below.
                let _ = self.journal.fold_within(limit.unwrap_or(Duration::MAX));
            }
            return;
        }
        let mut folding = self.folding.lock().unwrap_or_else(PoisonError::into_inner);
        let is_running = folding.as_ref().is_some_and(|thread| !thread.is_finished());
        if is_running && len < self.fold_at.saturating_mul(MOST_LOGS) {
            return;
        }
        if let Some(thread) = folding.take() {
            let _ = thread.join();
        }
        let journal = Arc::clone(&self.journal);
        // An error is found by the next sync: the journal is broken, or the disk still full.
        let fold = move || {
            let _ = fold_written(&journal);
        };
        match std::thread::Builder::new().name("sal-fold".into()).spawn(fold) {
            Ok(thread) => *folding = Some(thread),
            Err(_) => {
                let _ = fold_written(&self.journal);
            }
        }
    }

    /// Folds the log if it has at least a part of the length that is too long, and nobody else folds it; returns the bytes
    /// that were folded.
    pub(super) fn fold_now(&self, part: u64) -> Result<Option<u64>, AppendError> {
        if self.journal.unfolded_bytes() < self.fold_at / part || self.journal.is_broken() {
            return Ok(None);
        }
        Ok(fold_written(&self.journal)?.map(|folded| folded.bytes))
    }

    /// Notes whether memory stays that is free: the next commit may let go of it.
    pub(super) fn note_left(&self, leaves_free: bool) {
        self.leaves_free.store(leaves_free, Ordering::Relaxed);
    }

    /// Makes huge pages whole that have been quiet for long, for a while.
    pub(super) fn make_huge_pages_whole(&self) {
        if let Some(upkeep) = &self.upkeep {
            upkeep.run_here(&self.capture);
        }
    }

    /// Waits until no thread folds the log.
    fn wait_for_fold(&self) {
        if let Some(thread) = self.folding.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = thread.join();
        }
        // Whoever maintains the heap may be at it.
        drop(self.journal.pause_folding());
    }

    /// Ends what goes on in the background over the heap's memory.
    fn end_upkeep(&self) {
        if let Some(upkeep) = &self.upkeep {
            upkeep.end();
        }
    }

    /// Closes the files. Before the memory goes.
    pub(super) fn close(&self) {
        self.end_upkeep();
        self.wait_for_fold();
        self.journal.storage().close();
    }
}

impl fmt::Debug for Atomic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Atomic").field("commit", &self.journal.last_commit()).finish_non_exhaustive()
    }
}
