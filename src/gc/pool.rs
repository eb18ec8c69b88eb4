//! What all workers together still have to look at.
//!
//! A worker asks for a task when it has nothing left, and gives part of what it has when others wait. The last one to run
//! dry looks whether something was put aside for want of room; if so, it goes through the blocks there, and if not, marking
//! is done.
//!
//! # Invariants
//! - **D1** Everything marked and not yet looked at is in the pool, with a busy worker, or within `dropped`.
//! - **D2** `busy` counts the workers that have a task and have not asked for the next one.

use super::stack::Span;
use core::ops::Range;
use core::time::Duration;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Ranges that a worker takes at once.
const BATCH: usize = 64;

/// What a worker does next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// Look at the roots.
    Roots,
    /// Look at these ranges.
    Spans(Vec<Span>),
    /// Look at the blocks of these units that were put aside.
    Again(Range<usize>),
    /// Nothing for so long; ask again.
    Wait,
    /// All is done, or given up.
    Done,
}

#[derive(Debug, Default)]
struct State {
    has_begun: bool,
    spans: Vec<Span>,
    busy: usize,
    /// Units of blocks that were marked and put aside.
    dropped: Option<Range<usize>>,
    is_done: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    state: Mutex<State>,
    changed: Condvar,
    /// Workers that wait.
    waiting: AtomicUsize,
    /// Why all stop: [`ABORTED`], [`REFUSED`], or both.
    stopped: AtomicU8,
}

/// Somebody gave it up.
const ABORTED: u8 = 1;
/// What was found cannot be of the types that it is said to be.
const REFUSED: u8 = 2;

impl Pool {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is locked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether somebody waits for work.
    #[inline(always)]
    pub(crate) fn is_hungry(&self) -> bool {
        // Relaxed: a hint.
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Whether workers are to stop, for whatever reason.
    #[inline(always)]
    pub(crate) fn is_stopped(&self) -> bool {
        // Relaxed: nothing follows from it but to stop.
        self.stopped.load(Ordering::Relaxed) != 0
    }

    /// Whether somebody gave it up.
    pub(crate) fn is_aborted(&self) -> bool {
        // Relaxed: as above.
        self.stopped.load(Ordering::Relaxed) & ABORTED != 0
    }

    /// Whether types cannot be followed.
    pub(crate) fn is_refused(&self) -> bool {
        // Relaxed: asked by who has joined the workers.
        self.stopped.load(Ordering::Relaxed) & REFUSED != 0
    }

    /// Begins once more, from the roots, with types no more. When no worker runs; that somebody gave it up stays.
    pub(crate) fn begin_again(&self) {
        let mut state = self.state();
        *state = State::default();
        self.stopped.fetch_and(!REFUSED, Ordering::Relaxed);
    }

    /// Lets all workers stop as soon as they can: it is given up.
    pub(crate) fn abort(&self) {
        self.stop(ABORTED);
    }

    /// Lets all workers stop as soon as they can: types cannot be followed.
    pub(crate) fn refuse(&self) {
        self.stop(REFUSED);
    }

    fn stop(&self, why: u8) {
        self.stopped.fetch_or(why, Ordering::Relaxed);
        // With the lock: whoever is about to wait has not looked yet, or waits already.
        let _state = self.state();
        self.changed.notify_all();
    }

    /// Whether everything has been looked at.
    pub(crate) fn is_done(&self) -> bool {
        self.state().is_done
    }

    /// Gives ranges to whoever waits, unless there are some already.
    pub(crate) fn give(&self, spans: impl FnOnce(&mut Vec<Span>)) {
        let mut state = self.state();
        if state.spans.is_empty() {
            spans(&mut state.spans);
            self.changed.notify_all();
        }
    }

    /// The next task of a worker, which says whether it had one before, and what units it dropped blocks of.
    pub(crate) fn next(&self, had_task: bool, dropped: Option<Range<usize>>, patience: Duration) -> Task {
        let mut state = self.state();
        state.busy -= usize::from(had_task);
        if let Some(more) = dropped {
            state.dropped = Some(match state.dropped.take() {
                Some(before) => before.start.min(more.start)..before.end.max(more.end),
                None => more,
            });
        }
        if let Some(task) = self.task(&mut state) {
            return task;
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let (mut state, _) = self.changed.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner);
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        self.task(&mut state).unwrap_or(Task::Wait)
    }

    fn task(&self, state: &mut State) -> Option<Task> {
        if state.is_done || self.is_stopped() {
            return Some(Task::Done);
        }
        let task = if !std::mem::replace(&mut state.has_begun, true) {
            Task::Roots
        } else if !state.spans.is_empty() {
            let from = state.spans.len().saturating_sub(BATCH);
            Task::Spans(state.spans.split_off(from))
        } else if state.busy > 0 {
            return None;
        } else if let Some(units) = state.dropped.take() {
            Task::Again(units)
        } else {
            state.is_done = true;
            self.changed.notify_all();
            return Some(Task::Done);
        };
        state.busy += 1;
        Some(task)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(1);

    #[test]
    fn nobody_is_done_before_all_are() {
        let pool = Pool::default();
        assert_eq!(pool.next(false, None, SOON), Task::Roots);
        assert_eq!(pool.next(false, None, SOON), Task::Wait);
        pool.give(|spans| spans.push(Span::words(0, 8)));
        assert_eq!(pool.next(false, None, SOON), Task::Spans(vec![Span::words(0, 8)]));
        assert_eq!(pool.next(true, Some(5..9), SOON), Task::Wait);
        // The other one dropped something too; it is the last one.
        assert_eq!(pool.next(true, Some(2..3), SOON), Task::Again(2..9));
        assert_eq!(pool.next(true, None, SOON), Task::Done);
        assert_eq!(pool.next(false, None, SOON), Task::Done);
    }

    #[test]
    fn whoever_waits_is_told_of_an_abort() {
        let pool = Pool::default();
        assert_eq!(pool.next(false, None, SOON), Task::Roots);
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| pool.next(false, None, Duration::from_secs(600)));
            while !pool.is_hungry() {
                std::thread::yield_now();
            }
            pool.abort();
            assert_eq!(waiter.join().unwrap(), Task::Done);
        });
    }
}
