//! What maintenance has done, and what went wrong.

use super::lock;
use crate::commit::journal::AppendError;
use crate::error::MaintenanceError;
use crate::os::CallError;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// What the maintenance of a heap has done since the heap was opened, by its threads and by hand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct MaintenanceStats {
    /// How often a thread was woken, or began.
    pub wakeups: u64,
    /// Bytes that were made ready before anybody needed them.
    pub prefaulted_bytes: u64,
    /// Bytes of free memory that were given back to the system.
    pub purged_bytes: u64,
    /// Bytes of values that were moved together.
    pub moved_bytes: u64,
    /// Folds of the log.
    pub folds: u64,
    /// Bytes that these wrote into the heap file.
    pub folded_bytes: u64,
    /// What went wrong.
    pub errors: u64,
}

/// What maintenance has done, and what went wrong last.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct MaintenanceReport {
    /// What was done: of [`Heap::maintain`](crate::Heap::maintain) in that call, else since the heap was opened.
    pub done: MaintenanceStats,
    /// What went wrong last, if anything did.
    pub last_error: Option<MaintenanceError>,
}

/// What went wrong.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    Call(CallError),
    Broken,
    Panicked,
    Forked,
    ReadOnly,
}

impl From<CallError> for Fault {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

impl From<AppendError> for Fault {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Os(error) => Self::Call(error),
            AppendError::Broken => Self::Broken,
        }
    }
}

impl From<Fault> for MaintenanceError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Call(error) => Self::os(error.call, error.errno),
            Fault::Broken => Self::Broken,
            Fault::Panicked => Self::Panicked,
            Fault::Forked => Self::Forked,
            Fault::ReadOnly => Self::ReadOnly,
        }
    }
}

/// The counters behind [`MaintenanceStats`]. All Relaxed: nothing follows from them.
#[derive(Debug, Default)]
pub(super) struct Counters {
    wakeups: AtomicU64,
    prefaulted_bytes: AtomicU64,
    purged_bytes: AtomicU64,
    moved_bytes: AtomicU64,
    folds: AtomicU64,
    folded_bytes: AtomicU64,
    errors: AtomicU64,
    last: Mutex<Option<Fault>>,
}

fn add(counter: &AtomicU64, number: u64) {
    counter.fetch_add(number, Ordering::Relaxed);
}

impl Counters {
    pub(super) fn woken(&self) {
        add(&self.wakeups, 1);
    }

    pub(super) fn prefaulted(&self, bytes: usize) {
        add(&self.prefaulted_bytes, bytes as u64);
    }

    pub(super) fn purged(&self, bytes: usize) {
        add(&self.purged_bytes, bytes as u64);
    }

    pub(super) fn moved(&self, bytes: u64) {
        add(&self.moved_bytes, bytes);
    }

    pub(super) fn folded(&self, bytes: u64) {
        add(&self.folds, 1);
        add(&self.folded_bytes, bytes);
    }

    pub(super) fn failed(&self, fault: Fault) {
        *lock(&self.last) = Some(fault);
        add(&self.errors, 1);
    }

    pub(super) fn done(&self) -> MaintenanceStats {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        MaintenanceStats {
            wakeups: load(&self.wakeups),
            prefaulted_bytes: load(&self.prefaulted_bytes),
            purged_bytes: load(&self.purged_bytes),
            moved_bytes: load(&self.moved_bytes),
            folds: load(&self.folds),
            folded_bytes: load(&self.folded_bytes),
            errors: load(&self.errors),
        }
    }

    /// None if nothing was ever done.
    pub(super) fn stats(&self) -> Option<MaintenanceStats> {
        Some(self.done()).filter(|done| *done != MaintenanceStats::default())
    }

    pub(super) fn report(&self) -> MaintenanceReport {
        MaintenanceReport { done: self.done(), last_error: lock(&self.last).map(Into::into) }
    }

    /// Adds what somebody else has counted.
    pub(super) fn add(&self, other: &Self) {
        let done = other.done();
        add(&self.wakeups, done.wakeups);
        add(&self.prefaulted_bytes, done.prefaulted_bytes);
        add(&self.purged_bytes, done.purged_bytes);
        add(&self.moved_bytes, done.moved_bytes);
        add(&self.folds, done.folds);
        add(&self.folded_bytes, done.folded_bytes);
        if let Some(fault) = *lock(&other.last) {
            *lock(&self.last) = Some(fault);
            add(&self.errors, done.errors);
        }
    }
}
