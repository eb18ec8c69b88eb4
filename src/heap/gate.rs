//! Who works in a heap at the moment.
//!
//! Sessions pass the gate when they begin and when they end. Reading and writing sessions may run at once, because each
//! root is borrowed by the rules of references; the gate only counts them, so that a heap is not closed, and later not
//! captured, under them.

use crate::error::SessionError;
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

thread_local! {
    /// Sessions of any heap that the thread has open.
    static SESSIONS_OF_THREAD: Cell<usize> = const { Cell::new(0) };
}

static NEXT_SESSION: AtomicU64 = AtomicU64::new(1);

/// Counts the sessions of a heap.
#[derive(Debug, Default)]
pub(super) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Sessions that were begun through a handle and may outlive the heap's owner. The others borrow the owner: when it
    /// goes, none of them can be alive, whether it ended or was forgotten.
    by_handle: usize,
    is_closed: bool,
}

impl Gate {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is locked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a session; returns its number, which no other session of the process has.
    pub(super) fn enter(&self, by_handle: bool) -> Result<u64, SessionError> {
        let mut state = self.state();
        if state.is_closed {
            return Err(SessionError::Closed);
        }
        state.by_handle += usize::from(by_handle);
        SESSIONS_OF_THREAD.set(SESSIONS_OF_THREAD.get() + 1);
        // Relaxed: only uniqueness counts.
        Ok(NEXT_SESSION.fetch_add(1, Ordering::Relaxed))
    }

    /// Ends a session, on the thread that began it.
    pub(super) fn leave(&self, by_handle: bool) {
        SESSIONS_OF_THREAD.set(SESSIONS_OF_THREAD.get() - 1);
        self.state().by_handle -= usize::from(by_handle);
        self.changed.notify_all();
    }

    /// Whether the calling thread has a session of any heap open.
    pub(super) fn is_held_by_this_thread() -> bool {
        SESSIONS_OF_THREAD.get() > 0
    }

    /// Lets no session begin any more; returns how many are open that were begun through a handle.
    pub(super) fn close(&self) -> usize {
        let mut state = self.state();
        state.is_closed = true;
        state.by_handle
    }

    /// Waits until no session is open that was begun through a handle.
    pub(super) fn wait_until_empty(&self) {
        let mut state = self.state();
        while state.by_handle > 0 {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
