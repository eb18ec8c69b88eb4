//! A recovery on a thread of its own.
//!
//! The thread keeps the heap, by a [`Keeper`], and whoever began the recovery has a [`Background`], which tells its outcome,
//! gives it up and waits for the end of its thread.

use super::{Recovery, RecoveryError, RecoveryReport};
use crate::alloc::heap_core::Core;
use crate::os::{CallError, errno, process};
use std::mem::ManuallyDrop;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

/// Keeps a heap's core, its window and the image of a recovery valid as long as it lives.
pub(crate) trait Keeper: Send + Sync + 'static {
    /// The heap.
    fn core(&self) -> &Core;

    /// Everything is marked. Whether the image has shown its commit until now; it is not looked at any more.
    fn let_go_of_image(&self) -> bool {
        true
    }
}

/// A recovery on a thread of its own. Dropping it gives the recovery up and waits until its thread has ended.
#[derive(Debug)]
pub(crate) struct Background {
    shared: Arc<Shared>,
    thread: ManuallyDrop<JoinHandle<()>>,
    /// A forked child has no such thread.
    process: u64,
}

#[derive(Debug)]
struct Shared {
    recovery: Arc<Recovery>,
    outcome: Mutex<Option<Result<RecoveryReport, RecoveryError>>>,
    changed: Condvar,
}

impl Shared {
    fn outcome(&self) -> MutexGuard<'_, Option<Result<RecoveryReport, RecoveryError>>> {
        // Nothing panics while it is locked.
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end of the background thread, also by a panic: otherwise closing the heap would wait for ever.
struct End<K> {
    shared: Arc<Shared>,
    keeper: Option<Arc<K>>,
    outcome: Result<RecoveryReport, RecoveryError>,
}

impl<K> Drop for End<K> {
    fn drop(&mut self) {
        // Before anybody is told: who waits may take it that the thread has let go of the heap.
        self.keeper = None;
        *self.shared.outcome() = Some(self.outcome.clone());
        self.shared.changed.notify_all();
    }
}

/// Begins a recovery in the background, with so many threads.
///
/// The thread holds `keeper`, so that must not be what holds the [`Background`].
///
/// # Errors
/// If there can be no thread; then the heap is as it was.
///
/// # Safety
/// `recovery` was prepared for the keeper's heap. Until it is done, nobody closes the heap, and the program holds no
/// block of before that it has not got from the roots in the image.
pub(crate) unsafe fn start_background<K: Keeper>(
    keeper: Arc<K>,
    recovery: Arc<Recovery>,
    workers: usize,
) -> Result<Background, CallError> {
    let shared = Arc::new(Shared { recovery, outcome: Mutex::new(None), changed: Condvar::new() });
    let own = Arc::clone(&shared);
    let thread = thread::Builder::new().name("sal-recovery".into()).spawn(move || {
        let mut end = End { shared: own, keeper: Some(keeper), outcome: Err(RecoveryError::Aborted) };
        if let Some(keeper) = &end.keeper {
            // SAFETY: the caller's promise; the keeper is alive.
            end.outcome = unsafe { end.shared.recovery.run(keeper.core(), workers, None, || keeper.let_go_of_image()) };
        }
    });
    match thread {
        Ok(thread) => Ok(Background { shared, thread: ManuallyDrop::new(thread), process: process::incarnation() }),
        Err(error) => Err(CallError {
            call: "pthread_create",
            errno: error.raw_os_error().map_or(errno::NO_MEMORY, crate::os::Errno),
        }),
    }
}

impl Background {
    fn is_forked(&self) -> bool {
        self.process != process::incarnation()
    }

    /// What it does, or has done.
    pub(crate) fn recovery(&self) -> &Arc<Recovery> {
        &self.shared.recovery
    }

    /// Whether its thread is through with the heap, one way or the other.
    pub(crate) fn is_done(&self) -> bool {
        !self.is_forked() && self.shared.outcome().is_some()
    }

    /// Waits until it is done; says what came of it. In a forked child it never will be, and counts as aborted.
    pub(crate) fn wait(&self) -> Result<RecoveryReport, RecoveryError> {
        if self.is_forked() {
            return Err(RecoveryError::Aborted);
        }
        let mut outcome = self.shared.outcome();
        loop {
            if let Some(outcome) = &*outcome {
                return outcome.clone();
            }
            outcome = self.shared.changed.wait(outcome).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Gives it up, and waits until its thread is through with the heap. If it was done by then, says so.
    pub(crate) fn abort(&self) -> Result<RecoveryReport, RecoveryError> {
        // The locks of a forked child may be held for ever.
        if !self.is_forked() {
            self.shared.recovery.abort();
        }
        self.wait()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // SAFETY: taken out once, here.
        let thread = unsafe { ManuallyDrop::take(&mut self.thread) };
        if self.is_forked() {
            std::mem::forget(thread);
            return;
        }
        let _ = self.abort();
        // A keeper that is dropped by the thread must not wait for it.
        if thread.thread().id() != thread::current().id() {
            let _ = thread.join();
        }
    }
}
