//! Sessions: how one works with a heap.
//!
//! A session passes the [gate](super::gate) when it begins and when it ends. Between the two, roots are borrowed through
//! it as plain references; the layer above keeps track of which session has which root and lets go of them when the
//! session ends. A session belongs to the thread that began it, and other threads may borrow it.

use super::gate::{self, Gate};
use super::handle::{Place, SalAlloc};
use super::owner::HeapInner;
use super::placement::{self, SessionScope};
use crate::error::SessionError;
use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;
use std::sync::atomic::Ordering;
use std::thread;

/// The calling thread has a session open or is attached to one.
#[derive(Debug)]
struct Hold {
    /// Whether it was panicking already, so that a panic is none of the session's.
    was_panicking: bool,
    /// It ends on the thread on which it began.
    not_send: PhantomData<*const ()>,
}

impl Hold {
    fn begin() -> Self {
        gate::hold_thread();
        Self { was_panicking: thread::panicking(), not_send: PhantomData }
    }

    /// Whether the thread has begun to panic since.
    fn panicked(&self) -> bool {
        !self.was_panicking && thread::panicking()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        gate::release_thread();
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Write,
    Read,
}

/// One session inside the gate.
struct Pass<'h> {
    heap: &'h HeapInner,
    number: u64,
    kind: Kind,
    by_handle: bool,
    hold: Hold,
}

impl<'h> Pass<'h> {
    #[track_caller]
    fn begin(heap: &'h HeapInner, kind: Kind, by_handle: bool) -> Result<Self, SessionError> {
        // In a forked child another thread may have had the locks for ever.
        if heap.is_forked() {
            return Err(SessionError::Forked);
        }
        let number = match kind {
            Kind::Read => heap.gate.enter_to_read(by_handle)?,
            Kind::Write => {
                let is_inner = || placement::has_session_of(heap.alloc());
                heap.gate.enter_to_write(by_handle, is_inner, Location::caller())?
            }
        };
        Ok(Self { heap, number, kind, by_handle, hold: Hold::begin() })
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        // As in `begin`.
        if self.heap.is_forked() {
            return;
        }
        self.heap.session_ended(self.number);
        match self.kind {
            Kind::Read => self.heap.gate.leave_reading(self.by_handle),
            Kind::Write => {
                if self.hold.panicked() {
                    self.heap.gate.poison();
                }
                self.heap.gate.leave_writing(self.number);
            }
        }
    }
}

/// A session that may change roots.
///
/// While it is open, values that are made on its thread without a heap of their own, such as a
/// [`SalString`](crate::collections::SalString) on the stack, take their blocks from its heap; [`Write::attach`] says the
/// same for a thread that borrows it.
///
/// Dropping it leaves all changes in memory, for the next sync to write: it is no rollback. If that happens because its
/// thread panics, what it changed may be half done, and the heap is *poisoned*: nothing is synced until
/// [`Heap::clear_poison`](crate::Heap::clear_poison) is called.
#[must_use = "a session ends when it is dropped"]
pub struct Write<'h> {
    pass: Pass<'h>,
    _scope: SessionScope,
}

/// A session that reads roots.
#[must_use = "a session ends when it is dropped"]
pub struct Read<'h> {
    pass: Pass<'h>,
}

// SAFETY: the pass must be dropped by its own thread, which owns it, as a session is not `Send`; through a shared
// reference there is only the heap, which is `Sync`, and a number.
unsafe impl Sync for Write<'_> {}
// SAFETY: as above.
unsafe impl Sync for Read<'_> {}

impl<'h> Write<'h> {
    /// Begins a session; `by_handle` if it does not borrow the heap's owner.
    #[track_caller]
    pub(crate) fn begin(heap: &'h HeapInner, by_handle: bool) -> Result<Self, SessionError> {
        if heap.is_read_only() {
            return Err(SessionError::ReadOnly);
        }
        let pass = Pass::begin(heap, Kind::Write, by_handle)?;
        // Relaxed: read when no session is open any more, behind the gate's mutex.
        heap.written.store(true, Ordering::Relaxed);
        Ok(Self { pass, _scope: SessionScope::enter(heap.alloc()) })
    }

    /// The handle of the session's heap.
    pub fn alloc(&self) -> SalAlloc {
        self.pass.heap.alloc()
    }

    /// Until the guard is dropped, values that are made on the calling thread take their blocks from the session's heap:
    /// for threads that borrow the session. Such a thread counts as one that has the session: it may begin inner ones at
    /// any time, it cannot sync, and its panic poisons the heap.
    pub fn attach(&self) -> Attached<'_> {
        let gate = &self.pass.heap.gate;
        Attached { gate, hold: Hold::begin(), _scope: SessionScope::enter(self.alloc()) }
    }

    /// The session's number, which no other session of the process has.
    pub(crate) fn number(&self) -> u64 {
        self.pass.number
    }

    pub(crate) fn heap_inner(&self) -> &'h HeapInner {
        self.pass.heap
    }
}

impl<'h> Read<'h> {
    /// Begins a session; `by_handle` if it does not borrow the heap's owner.
    pub(crate) fn begin(heap: &'h HeapInner, by_handle: bool) -> Result<Self, SessionError> {
        Ok(Self { pass: Pass::begin(heap, Kind::Read, by_handle)? })
    }

    /// The handle of the session's heap.
    pub fn alloc(&self) -> SalAlloc {
        self.pass.heap.alloc()
    }

    /// The session's number, which no other session of the process has.
    pub(crate) fn number(&self) -> u64 {
        self.pass.number
    }

    pub(crate) fn heap_inner(&self) -> &'h HeapInner {
        self.pass.heap
    }
}

/// The calling thread makes values in a session's heap; from [`Write::attach`].
#[must_use = "the thread is attached until this is dropped"]
pub struct Attached<'s> {
    gate: &'s Gate,
    hold: Hold,
    _scope: SessionScope,
}

impl Drop for Attached<'_> {
    fn drop(&mut self) {
        if self.hold.panicked() {
            self.gate.poison();
        }
    }
}

/// Runs `work` in a write session of a heap, if it has sessions.
///
/// # Errors
/// If none can begin.
#[track_caller]
pub(crate) fn in_session<R>(heap: SalAlloc, work: impl FnOnce() -> R) -> Result<R, SessionError> {
    if let Place::Default(_) = heap.place() {
        return Ok(work());
    }
    let inner = HeapInner::find(heap)?;
    let _session = Write::begin(&inner, true)?;
    Ok(work())
}

impl fmt::Debug for Write<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Write").field("heap", &self.alloc()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Read<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Read").field("heap", &self.alloc()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Attached<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attached").finish_non_exhaustive()
    }
}
