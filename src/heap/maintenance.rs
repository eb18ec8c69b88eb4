//! What a heap can have done ahead of its threads, or behind them: memory is made ready, free memory given back, the log
//! folded, huge pages made whole.
//!
//! [`Heap::start_maintenance`] does it on one thread, which sleeps until a [signal](crate::os::signal) tells it of something
//! to do: the heap has grown by a segment, units were freed or kept at hand, the log has become long. It does not look by
//! itself, so an idle heap costs nothing. What is given back is what was idle for a period ([`crate::alloc::idle`]). [`Heap::maintain`] does it by hand.
//!
//! # Invariants
//! - **M1** The thread ends before its heap is closed: closing ends it first ([`Slot::end`]). So it may use the heap
//!   as if it had it.
//! - **M2** While a [`Shared`] holds the thread, the heap is open, since closing takes the thread out and waits for it. So
//!   whoever holds that lock, and finds the thread there, may tell the heap's signal.
//!
//! # After a fork
//! The child has no such thread. Its guards and heaps forget the thread of the parent, and take none of its locks.

mod options;
mod report;
mod run;
mod work;

#[cfg(test)]
mod tests;

pub use options::MaintenanceOptions;
pub use report::{MaintenanceReport, MaintenanceStats};

use super::owner::{Heap, HeapInner};
use crate::alloc::heap_core::Core;
use crate::alloc::prefault::event;
use crate::error::MaintenanceError;
use crate::os::process;
use report::{Counters, Fault};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// What an open heap has of its maintenance.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// Of the thread that was started last.
    shared: Mutex<Option<Arc<Shared>>>,
    counters: Arc<Counters>,
    /// The unit that all before it have been made ready, as far as they were to be.
    ready_end: AtomicUsize,
}

/// What a thread, its guard and its heap share.
#[derive(Debug)]
struct Shared {
    /// The thread, until somebody ends it (M2).
    thread: Mutex<Option<JoinHandle<()>>>,
    core: NonNull<Core>,
    counters: Arc<Counters>,
}

// SAFETY: the core is only used as M2 says, and it is shared by all threads.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

/// Whatever a panic leaves behind is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Ends the thread, unless that has been done, and returns when it has ended.
    fn end(&self) {
        let mut thread = lock(&self.thread);
        let Some(running) = thread.take() else { return };
        // SAFETY: the heap is open (M2), and stays so until the lock is given back.
        unsafe { self.core.as_ref() }.signal.tell(event::STOP);
        let _ = running.join();
    }
}

impl Slot {
    /// Ends the thread, if there is one.
    pub(super) fn end(&self) {
        let shared = lock(&self.shared).take();
        if let Some(shared) = shared {
            shared.end();
        }
    }

    /// The unit that all before it have been made ready, as far as they were to be.
    pub(super) fn ready_end(&self) -> usize {
        // Relaxed: a figure; what is made ready meanwhile may be given back, and is faulted in.
        self.ready_end.load(Ordering::Relaxed)
    }

    /// What was made ready may have been given back.
    pub(super) fn forget_ready(&self) {
        // Relaxed: whoever makes it ready once more does too much, and nothing wrong.
        self.ready_end.store(0, Ordering::Relaxed);
    }

    /// In a forked child: leaves the parent's thread alone.
    pub(super) fn forget(&mut self) {
        let shared = self.shared.get_mut().unwrap_or_else(PoisonError::into_inner);
        std::mem::forget(shared.take());
    }

    pub(super) fn stats(&self) -> Option<MaintenanceStats> {
        self.counters.stats()
    }
}

/// A pointer to the heap for its thread.
struct Maintained(NonNull<HeapInner>);
// SAFETY: the heap is shared by all threads, and outlives the thread that gets this (M1).
unsafe impl Send for Maintained {}

/// A running maintenance thread; dropping it ends the thread and waits for that, which takes as long as what it is doing.
///
/// A heap that is closed ends its thread, too. In a forked child the guard does nothing.
#[derive(Debug)]
#[must_use = "the thread ends when this is dropped"]
pub struct Maintenance {
    /// None when it is being dropped.
    shared: Option<Arc<Shared>>,
    process: u64,
}

impl Maintenance {
    /// Ends the thread, waits for it, and says what maintenance has done since the heap was opened.
    pub fn stop(self) -> MaintenanceReport {
        if let (Some(shared), true) = (&self.shared, self.process == process::incarnation()) {
            shared.end();
        }
        self.report()
    }

    /// What maintenance has done since the heap was opened, and what went wrong last.
    pub fn report(&self) -> MaintenanceReport {
        match &self.shared {
            Some(shared) if self.process == process::incarnation() => shared.counters.report(),
            _ => MaintenanceReport { last_error: Some(MaintenanceError::Forked), ..Default::default() },
        }
    }

    /// Whether the thread runs: not after the heap was closed.
    pub fn is_running(&self) -> bool {
        let Some(shared) = self.shared.as_ref().filter(|_| self.process == process::incarnation()) else {
            return false;
        };
        lock(&shared.thread).as_ref().is_some_and(|thread| !thread.is_finished())
    }
}

impl Drop for Maintenance {
    fn drop(&mut self) {
        let Some(shared) = self.shared.take() else { return };
        if self.process == process::incarnation() {
            shared.end();
        } else {
            // The thread is the parent's.
            std::mem::forget(shared);
        }
    }
}

impl Heap {
    /// Starts the heap's maintenance thread. It sleeps until there is something to do: it makes the memory ready that the
    /// heap will grow into, gives memory back that has been free for long, adjusts the [hot set](crate::SalHotSet) if there is one, folds
    /// the log of an atomic heap and makes huge pages whole, which are otherwise done on threads that come and go. The guard that is returned
    /// ends it; so does closing the heap.
    ///
    /// What goes wrong is counted in [`Stats::maintenance`](crate::Stats::maintenance), and [`Maintenance::report`] names it.
    ///
    /// ```
    /// use sal::{HeapOptions, MaintenanceOptions};
    /// use std::time::Duration;
    ///
    /// let heap = HeapOptions::new().volatile()?;
    /// let options = MaintenanceOptions::new().prefault(32 << 20).purge_after(Some(Duration::from_secs(30)));
    /// let maintenance = heap.start_maintenance(options)?;
    /// // ... the program does its work ...
    /// let report = maintenance.stop();
    /// assert!(report.last_error.is_none());
    /// println!("{} bytes were ready before anybody asked", report.done.prefaulted_bytes);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`MaintenanceError::AlreadyRunning`], [`MaintenanceError::InvalidOptions`], [`MaintenanceError::ReadOnly`],
    /// [`MaintenanceError::Forked`]; [`MaintenanceError::Os`] if there can be no thread.
    pub fn start_maintenance(&self, options: MaintenanceOptions) -> Result<Maintenance, MaintenanceError> {
        options.check()?;
        let heap = self.inner();
        if heap.is_forked() {
            return Err(MaintenanceError::Forked);
        }
        if heap.is_read_only() {
            return Err(MaintenanceError::ReadOnly);
        }
        let mut slot = lock(&heap.maintenance.shared);
        if let Some(shared) = &*slot {
            let mut thread = lock(&shared.thread);
            if thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
                return Err(MaintenanceError::AlreadyRunning);
            }
            // It panicked.
            thread.take().map(JoinHandle::join);
        }
        // Before the thread: what happens from now on is told. At first it looks at everything.
        let sparse = if options.compact { event::SPARSE } else { 0 };
        heap.core().signal.listen(event::GROWN | event::FREED | event::LOG_GREW | event::HOT_SET | sparse);
        let maintained = Maintained(NonNull::from(&**heap));
        let work = move || {
            let Maintained(heap) = { maintained };
            // SAFETY: M1.
            run::run(unsafe { heap.as_ref() }, options);
        };
        let spawned = thread::Builder::new().name("sal-maintenance".into()).spawn(work);
        let thread = spawned.map_err(|error| {
            heap.core().signal.deafen();
            MaintenanceError::Os { call: "pthread_create", source: error }
        })?;
        let shared = Arc::new(Shared {
            thread: Mutex::new(Some(thread)),
            core: NonNull::from(heap.core()),
            counters: Arc::clone(&heap.maintenance.counters),
        });
        *slot = Some(Arc::clone(&shared));
        Ok(Maintenance { shared: Some(shared), process: process::incarnation() })
    }

    /// Does by hand what a maintenance thread would do, and what there is to do now: folds the log of an atomic heap if it
    /// is half as long as it may become, makes huge pages whole, gives free memory back (in runs of 2 MiB at least), makes
    /// the next 8 MiB ready, and adjusts the hot set if there is one. Begins nothing more when `budget` is over; what has begun is finished.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let heap = sal::HeapOptions::new().volatile()?;
    /// // ... between two requests:
    /// let report = heap.maintain(Duration::from_millis(5));
    /// assert!(report.last_error.is_none());
    /// # Ok::<(), sal::OpenError>(())
    /// ```
    pub fn maintain(&self, budget: Duration) -> MaintenanceReport {
        let heap = self.inner();
        let counters = Counters::default();
        let refused =
            if heap.is_forked() { Some(Fault::Forked) } else { heap.is_read_only().then_some(Fault::ReadOnly) };
        if let Some(fault) = refused {
            return MaintenanceReport { last_error: Some(fault.into()), ..Default::default() };
        }
        run::by_hand(heap, budget, &counters);
        heap.maintenance.counters.add(&counters);
        counters.report()
    }
}
