//! Who works in a heap at the moment, and how those who change it are kept out while it is captured.
//!
//! Sessions pass the gate when they begin and when they end. Reading and writing sessions may run at once, because each
//! root is borrowed by the rules of references. Writing sessions are registered, so that somebody who waits for them can
//! say whom for; reading ones change nothing and only count when the heap is closed.
//!
//! A commit closes the gate: [`Gate::close_for_capture`] waits until no writing session is open and keeps others from
//! beginning until the [`Capture`] is dropped. A thread that has such a session already passes while the gate is closing,
//! since the session that the gate waits for may need the inner one to end. Whoever had to wait at the gate is let in
//! before it closes again, so commits in close succession do not lock writers out.
//!
//! A session during which its thread panicked may have left something half done: it poisons the heap, and nothing is
//! committed until somebody says that the contents are good.
//!
//! # Invariants
//! - **G1** While a [`Capture`] exists, no writing session of the heap is open, but for those that were forgotten with the
//!   heap's owner: the phase is `Captured`, in which none begins.
//! - **G2** A phase other than `Open` belongs to one thread, the one inside [`Gate::close_for_capture`] or with the
//!   capture; it alone goes back to `Open`.
//! - **G3** Nothing panics while the mutex is held, and no code of other modules runs but the look at the thread's own
//!   sessions.

use crate::error::{SessionError, SessionHolder};
use std::cell::Cell;
use std::panic::Location;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

thread_local! {
    /// Sessions of any heap that the thread has open or is attached to.
    static SESSIONS_OF_THREAD: Cell<usize> = const { Cell::new(0) };
}

static NEXT_SESSION: AtomicU64 = AtomicU64::new(1);

/// A number that no other session of the process has.
fn next_session() -> u64 {
    // Relaxed: only uniqueness counts.
    NEXT_SESSION.fetch_add(1, Ordering::Relaxed)
}

/// Whether the calling thread has a session of any heap open, or is attached to one.
pub(super) fn is_held_by_this_thread() -> bool {
    SESSIONS_OF_THREAD.get() > 0
}

/// The calling thread begins a session, or attaches itself to one.
pub(super) fn hold_thread() {
    SESSIONS_OF_THREAD.set(SESSIONS_OF_THREAD.get() + 1);
}

/// The counterpart of [`hold_thread`], on the same thread.
pub(super) fn release_thread() {
    SESSIONS_OF_THREAD.set(SESSIONS_OF_THREAD.get() - 1);
}

/// Runs `work`, in which a sync is an error as in a session: it might wait for what the caller holds.
pub(super) fn without_syncs<R>(work: impl FnOnce() -> R) -> R {
    struct Release;
    impl Drop for Release {
        fn drop(&mut self) {
            release_thread();
        }
    }
    hold_thread();
    let _release = Release;
    work()
}

/// Registers the sessions of a heap.
#[derive(Debug, Default)]
pub(super) struct Gate {
    state: Mutex<State>,
    /// For all who wait: to begin, to capture, to close.
    changed: Condvar,
    poisoned: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    phase: Phase,
    writers: Vec<Writer>,
    /// Sessions, reading ones too, that were begun through a handle and may outlive the heap's owner. The others borrow
    /// the owner: when it goes, none of them can be alive, whether it ended or was forgotten.
    by_handle: usize,
    /// Syncs under way.
    syncs: usize,
    /// Writers that wait since the gate was last closed.
    waiting: usize,
    /// Writers that waited when the gate was reopened and have not begun yet.
    admitted: usize,
    /// How often the gate has been reopened.
    reopened: u64,
    /// Closed for good.
    is_closed: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Open,
    /// Somebody waits for the writers to leave.
    Closing,
    Captured,
}

/// A writing session that is open.
#[derive(Debug)]
struct Writer {
    session: u64,
    thread: Thread,
    begun: Instant,
    begun_at: &'static Location<'static>,
    by_handle: bool,
}

impl State {
    /// The writing sessions that a capture waits for.
    fn open_writers(&self) -> impl Iterator<Item = &Writer> {
        self.writers.iter().filter(|writer| writer.by_handle || !self.is_closed)
    }

    fn holders(&self) -> Vec<SessionHolder> {
        let holder = |writer: &Writer| SessionHolder {
            thread: writer.thread.name().map_or_else(|| format!("{:?}", writer.thread.id()), str::to_owned),
            open_for: writer.begun.elapsed(),
            begun_at: writer.begun_at,
        };
        self.open_writers().map(holder).collect()
    }
}

impl Gate {
    fn state(&self) -> MutexGuard<'_, State> {
        // Whole in any case (G3).
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'g>(&self, state: MutexGuard<'g, State>) -> MutexGuard<'g, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a reading session; returns its number, which no other session of the process has.
    pub(super) fn enter_to_read(&self, by_handle: bool) -> Result<u64, SessionError> {
        let mut state = self.state();
        if state.is_closed {
            return Err(SessionError::Closed);
        }
        state.by_handle += usize::from(by_handle);
        Ok(next_session())
    }

    /// Begins a writing session, as soon as the gate is open; returns its number, which no other session of the process
    /// has. `is_inner` says whether the calling thread works in such a session already.
    pub(super) fn enter_to_write(
        &self,
        by_handle: bool,
        is_inner: impl FnOnce() -> bool,
        begun_at: &'static Location<'static>,
    ) -> Result<u64, SessionError> {
        let session = next_session();
        let mut writer = Writer { session, thread: thread::current(), begun: Instant::now(), begun_at, by_handle };
        let mut state = self.state();
        let may_pass = match state.phase {
            Phase::Open => true,
            // The outer session is open, so nobody captures before the inner one has begun.
            Phase::Closing => is_inner(),
            // None is open (G1): a thread that believes to be inside has forgotten a session of an earlier heap.
            Phase::Captured => false,
        };
        if !may_pass {
            state = self.wait_to_enter(state);
            writer.begun = Instant::now();
        }
        if state.is_closed {
            return Err(SessionError::Closed);
        }
        state.by_handle += usize::from(by_handle);
        state.writers.push(writer);
        Ok(session)
    }

    /// Waits until the gate has been reopened and is not captured, or is closed for good.
    #[cold]
    fn wait_to_enter<'g>(&'g self, mut state: MutexGuard<'g, State>) -> MutexGuard<'g, State> {
        let arrival = state.reopened;
        state.waiting += 1;
        while !state.is_closed && (state.reopened == arrival || state.phase == Phase::Captured) {
            state = self.wait(state);
        }
        if state.reopened == arrival {
            state.waiting -= 1;
        } else {
            // `reopen` has counted it there.
            state.admitted -= 1;
        }
        if state.phase == Phase::Closing {
            // Who captures next waits for those who were admitted.
            self.changed.notify_all();
        }
        state
    }

    /// Ends a reading session.
    pub(super) fn leave_reading(&self, by_handle: bool) {
        let mut state = self.state();
        state.by_handle -= usize::from(by_handle);
        self.left(state);
    }

    /// Ends a writing session.
    pub(super) fn leave_writing(&self, session: u64) {
        let mut state = self.state();
        if let Some(index) = state.writers.iter().rposition(|writer| writer.session == session) {
            let writer = state.writers.swap_remove(index);
            state.by_handle -= usize::from(writer.by_handle);
        }
        self.left(state);
    }

    fn left(&self, state: MutexGuard<'_, State>) {
        let is_awaited = state.phase == Phase::Closing || state.is_closed;
        drop(state);
        if is_awaited {
            self.changed.notify_all();
        }
    }

    /// Who has writing sessions open.
    pub(super) fn holders(&self) -> Vec<SessionHolder> {
        self.state().holders()
    }

    /// Lets no writing session begin any more, but for inner ones, and waits until none is open; they may begin again when
    /// the capture is dropped. Without a limit it waits for as long as it takes. One capture at a time: the next one waits.
    ///
    /// Whoever commits what is captured looks at [`Gate::is_poisoned`] after this, not before.
    ///
    /// # Errors
    /// The limit has passed: those who have writing sessions open, at least one. The gate is open again.
    pub(super) fn close_for_capture(&self, limit: Option<Duration>) -> Result<Capture<'_>, Vec<SessionHolder>> {
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        let left = || deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let mut state = self.state();
        while state.phase != Phase::Open {
            state = match left() {
                Some(left) if !left.is_zero() => self.wait_for(state, left),
                Some(_) if state.phase == Phase::Closing && state.open_writers().next().is_some() => {
                    return Err(state.holders());
                }
                // Captured, or about to be: that ends by itself.
                _ => self.wait(state),
            };
        }
        state.phase = Phase::Closing;
        loop {
            let left = left();
            let is_late = left.is_some_and(|left| left.is_zero());
            if state.open_writers().next().is_none() && (state.admitted == 0 || is_late) {
                state.phase = Phase::Captured;
                return Ok(Capture { gate: self });
            }
            state = match left {
                None => self.wait(state),
                Some(left) if !is_late => self.wait_for(state, left),
                Some(_) => {
                    let holders = state.holders();
                    self.reopen(state);
                    return Err(holders);
                }
            };
        }
    }

    fn wait_for<'g>(&self, state: MutexGuard<'g, State>, limit: Duration) -> MutexGuard<'g, State> {
        self.changed.wait_timeout(state, limit).unwrap_or_else(PoisonError::into_inner).0
    }

    fn reopen(&self, mut state: MutexGuard<'_, State>) {
        state.phase = Phase::Open;
        state.reopened += 1;
        state.admitted += std::mem::take(&mut state.waiting);
        drop(state);
        self.changed.notify_all();
    }

    /// A sync begins, for which closing waits; none does any more once the gate is closed for good.
    pub(super) fn begin_sync(&self) -> Option<Syncing<'_>> {
        let mut state = self.state();
        if state.is_closed {
            return None;
        }
        state.syncs += 1;
        Some(Syncing { gate: self })
    }

    /// Lets no session and no sync begin any more; returns how many sessions are open that were begun through a handle. If
    /// there are none, the syncs under way have ended.
    pub(super) fn close(&self) -> usize {
        let mut state = self.state();
        state.is_closed = true;
        self.changed.notify_all();
        while state.by_handle == 0 && state.syncs > 0 {
            state = self.wait(state);
        }
        state.by_handle
    }

    /// Lets no session and no sync begin any more, and waits for none: what is open goes on.
    pub(super) fn shut(&self) {
        self.state().is_closed = true;
        self.changed.notify_all();
    }

    /// Waits until no session is open that was begun through a handle, and no sync is under way.
    pub(super) fn wait_until_empty(&self) {
        let mut state = self.state();
        while state.by_handle > 0 || state.syncs > 0 {
            state = self.wait(state);
        }
    }

    /// Somebody panicked in a writing session.
    pub(super) fn poison(&self) {
        // Relaxed: it is read behind the mutex, which the session passes when it ends.
        self.poisoned.store(true, Ordering::Relaxed);
    }

    /// Whether somebody panicked in a writing session. Certain of those that have ended, during a capture above all.
    pub(super) fn is_poisoned(&self) -> bool {
        // Relaxed: see `poison`.
        self.poisoned.load(Ordering::Relaxed)
    }

    /// What was left half done is good after all.
    pub(super) fn clear_poison(&self) {
        // Relaxed: as in `poison`.
        self.poisoned.store(false, Ordering::Relaxed);
    }
}

/// No writing session is open, and none begins, until this is dropped.
#[must_use = "the gate reopens when this is dropped"]
#[derive(Debug)]
pub(super) struct Capture<'g> {
    gate: &'g Gate,
}

impl Drop for Capture<'_> {
    fn drop(&mut self) {
        self.gate.reopen(self.gate.state());
    }
}

/// A sync is under way; closing waits until this is dropped.
#[must_use = "closing does not wait once this is dropped"]
#[derive(Debug)]
pub(super) struct Syncing<'g> {
    gate: &'g Gate,
}

impl Drop for Syncing<'_> {
    fn drop(&mut self) {
        let mut state = self.gate.state();
        state.syncs -= 1;
        self.gate.left(state);
    }
}

#[cfg(test)]
mod tests;
