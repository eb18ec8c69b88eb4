//! Sessions: how one works with a heap.
//!
//! A session passes the [gate](super::gate) when it begins and when it ends. Between the two, roots are borrowed through
//! it as plain references; the layer above keeps track of which session has which root and lets go of them when the
//! session ends. A session belongs to the thread that began it, and other threads may borrow it.

use super::gate::Gate;
use super::handle::SalAlloc;
use super::owner::HeapInner;
use super::placement::SessionScope;
use crate::error::{SessionError, SyncError};
use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::Ordering;

/// One session inside the gate.
struct Pass<'h> {
    heap: &'h HeapInner,
    number: u64,
    by_handle: bool,
    /// It ends on the thread on which it began.
    not_send: PhantomData<*const ()>,
}

impl<'h> Pass<'h> {
    fn begin(heap: &'h HeapInner, by_handle: bool) -> Result<Self, SessionError> {
        if heap.is_forked() {
            return Err(SessionError::Forked);
        }
        Ok(Self { heap, number: heap.gate.enter(by_handle)?, by_handle, not_send: PhantomData })
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        // In a forked child another thread may have had the locks for ever.
        if !self.heap.is_forked() {
            self.heap.session_ended(self.number);
            self.heap.gate.leave(self.by_handle);
        }
    }
}

/// A session that may change roots.
///
/// While it is open, values that are made on its thread without a heap of their own, such as a
/// [`SalString`](crate::collections::SalString) on the stack, take their blocks from its heap; [`Write::attach`] says the
/// same for a thread that borrows it.
///
/// Dropping it leaves all changes in memory, for the next sync to write: it is no rollback.
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
    pub(crate) fn begin(heap: &'h HeapInner, by_handle: bool) -> Result<Self, SessionError> {
        if heap.is_read_only() {
            return Err(SessionError::ReadOnly);
        }
        let pass = Pass::begin(heap, by_handle)?;
        // Relaxed: read when no session is open any more, behind the gate's mutex.
        heap.written.store(true, Ordering::Relaxed);
        Ok(Self { pass, _scope: SessionScope::enter(heap.alloc()) })
    }

    /// The handle of the session's heap.
    pub fn alloc(&self) -> SalAlloc {
        self.pass.heap.alloc()
    }

    /// Until the guard is dropped, values that are made on the calling thread take their blocks from the session's heap:
    /// for threads that borrow the session.
    pub fn attach(&self) -> Attached<'_> {
        Attached { _scope: SessionScope::enter(self.alloc()), session: PhantomData }
    }

    /// Ends the session and writes the heap to the disk; returns how many syncs the heap has had. What that is worth
    /// says [`Heap::sync`](crate::Heap::sync).
    ///
    /// # Errors
    /// As for [`Heap::sync`](crate::Heap::sync): also when the calling thread has another session open. The session has
    /// ended all the same, and its changes are in memory.
    pub fn sync(self) -> Result<u64, SyncError> {
        let heap = self.pass.heap;
        drop(self);
        if Gate::is_held_by_this_thread() {
            return Err(SyncError::SessionHeld);
        }
        heap.sync()
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
        Ok(Self { pass: Pass::begin(heap, by_handle)? })
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
#[derive(Debug)]
pub struct Attached<'s> {
    _scope: SessionScope,
    session: PhantomData<&'s ()>,
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
