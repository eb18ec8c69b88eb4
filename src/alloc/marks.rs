//! Marks that a heap's use can pass, noted under its lock and told by whoever passed them when it holds no lock any more.

use super::growers::Unneeded;
use super::heap_core::Core;
use crate::sync::Ordering;
use core::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::OnceLock;

/// What a mark is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    /// Units in use.
    Used,
    /// Units that memory or disk space is reserved for.
    Committed,
}

/// A mark.
#[derive(Debug)]
pub(crate) struct Mark {
    measure: Measure,
    units: usize,
    /// Whether it has been passed; changes under the heap's lock.
    is_above: AtomicBool,
}

impl Mark {
    pub(crate) fn new(measure: Measure, units: usize) -> Self {
        Self { measure, units, is_above: AtomicBool::new(false) }
    }
}

/// Most marks of a heap: a bit for each.
pub(crate) const MOST_MARKS: usize = 64;

/// The marks of a heap.
#[derive(Debug)]
pub(crate) struct Marks {
    /// Set once, before the heap is used.
    marks: OnceLock<Box<[Mark]>>,
    /// A bit for each that was passed and has not been told.
    passed: AtomicU64,
}

impl Marks {
    pub(crate) const fn new() -> Self {
        Self { marks: OnceLock::new(), passed: AtomicU64::new(0) }
    }

    /// Sets the marks, at most [`MOST_MARKS`], of a heap that nobody uses yet.
    pub(crate) fn set(&self, marks: Box<[Mark]>) {
        debug_assert!(marks.len() <= MOST_MARKS);
        let _ = self.marks.set(marks);
    }

    /// Whether there is something to tell.
    #[inline(always)]
    pub(crate) fn has_news(&self) -> bool {
        // Relaxed: who passed a mark sees its own store, and it is for it to tell.
        self.passed.load(Ordering::Relaxed) != 0
    }

    /// The marks that are to be told: the caller tells them, nobody else does.
    pub(crate) fn take_news(&self) -> u64 {
        // Relaxed: the figures that are told are read by themselves.
        self.passed.swap(0, Ordering::Relaxed)
    }
}

impl Core {
    /// Notes which marks have been passed since this was last called. A mark counts as passed again only after the figure was
    /// an eighth below it. Also has growers make room. Under the lock.
    #[inline]
    pub(super) fn note_use(&self) {
        if let Some(marks) = self.marks.marks.get() {
            self.note_marks(marks);
        }
        if let Some(growers) = self.growers {
            // SAFETY: under the lock (K1).
            unsafe {
                if growers.is_new_end((*self.space.get()).peak_end()) {
                    self.purge_growers(Unneeded::All);
                }
            }
        }
    }

    #[cold]
    fn note_marks(&self, marks: &[Mark]) {
        // SAFETY: under the lock (K1).
        let ((used, least_used), (committed, least_committed)) = unsafe { (*self.space.get()).take_range() };
        for (index, mark) in marks.iter().enumerate() {
            let (now, least) = match mark.measure {
                Measure::Used => (used, least_used),
                Measure::Committed => (committed, least_committed),
            };
            // Relaxed: under the lock.
            let was_above = mark.is_above.load(Ordering::Relaxed) && least >= mark.units - mark.units / 8;
            let is_above = now >= mark.units;
            mark.is_above.store(was_above || is_above, Ordering::Relaxed);
            if is_above && !was_above {
                self.marks.passed.fetch_or(1 << index, Ordering::Relaxed);
            }
        }
    }
}
