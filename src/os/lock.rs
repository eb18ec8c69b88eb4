//! A mutual exclusion lock for the slow paths of the allocator.
//!
//! `std::sync::Mutex` cannot be used: over `fork` the lock must be taken by one handler and given back, in two
//! processes, by others. Three states, as in Drepper's "Futexes Are Tricky": free, held, held with waiters.
//!
//! # Invariants
//! - **L1** Whoever moved the state away from `FREE` holds the lock, and only the holder moves it back.
//! - **L2** A waiter sleeps only while the state is `CONTENDED`, and whoever frees a contended lock wakes one.

use super::futex::{Word, wait, wake_one};
use crate::sync::Ordering;

const FREE: u32 = 0;
const HELD: u32 = 1;
const CONTENDED: u32 = 2;

/// The lock; it guards nothing by type, its owner says what.
#[derive(Debug)]
pub(crate) struct Lock {
    state: Word,
}

/// Gives the lock back on drop.
#[derive(Debug)]
pub(crate) struct Guard<'a> {
    lock: &'a Lock,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        // SAFETY: a guard exists only while its maker holds the lock (L1).
        unsafe { self.lock.release() };
    }
}

impl Lock {
    #[cfg(not(loom))]
    pub(crate) const fn new() -> Self {
        Self { state: Word::new(FREE) }
    }

    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        Self { state: Word::new(FREE) }
    }

    /// Takes the lock until the guard is dropped.
    pub(crate) fn lock(&self) -> Guard<'_> {
        self.acquire();
        Guard { lock: self }
    }

    /// Takes the lock without a guard; [`Lock::release`] gives it back.
    pub(crate) fn acquire(&self) {
        // Acquire pairs with the Release in `release`: what the last holder wrote is seen.
        if self.state.compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed).is_err() {
            self.acquire_slow();
        }
    }

    /// Looks for a while whether the lock comes free; true if it was taken.
    fn spin(&self) -> bool {
        for _ in 0..100 {
            // Relaxed: only a hint; the exchange below decides. Acquire as in `acquire`.
            if self.state.load(Ordering::Relaxed) == FREE
                && self.state.compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed).is_ok()
            {
                return true;
            }
            core::hint::spin_loop();
        }
        false
    }

    #[cold]
    fn acquire_slow(&self) {
        // To the models, looking again is being first a moment later.
        if cfg!(not(loom)) && self.spin() {
            return;
        }
        // Acquire as in `acquire`. From here on the state says that somebody may sleep (L2).
        while self.state.swap(CONTENDED, Ordering::Acquire) != FREE {
            wait(&self.state, CONTENDED);
        }
    }

    /// Whether somebody holds the lock at this moment.
    pub(crate) fn is_held(&self) -> bool {
        // Relaxed: nothing follows from it but for who is alone.
        self.state.load(Ordering::Relaxed) != FREE
    }

    /// Gives the lock back.
    ///
    /// # Safety
    /// The caller, or the thread in whose place it stands after a fork, holds the lock.
    pub(crate) unsafe fn release(&self) {
        // Release pairs with the Acquire of the next holder.
        if self.state.swap(FREE, Ordering::Release) == CONTENDED {
            wake_one(&self.state);
        }
    }
}

#[cfg(all(test, loom))]
mod loom_models {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::thread;

    fn add_under_the_lock(threads: usize, rounds: usize, preemptions: Option<usize>) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = preemptions;
        builder.check(move || {
            let shared = Arc::new((Lock::new(), UnsafeCell::new(0)));
            let add = move |shared: &(Lock, UnsafeCell<usize>)| {
                for _ in 0..rounds {
                    let _guard = shared.0.lock();
                    // SAFETY: under the lock, which loom checks.
                    shared.1.with_mut(|count| unsafe { *count += 1 });
                }
            };
            let others: Vec<_> = (1..threads)
                .map(|_| {
                    let shared = Arc::clone(&shared);
                    thread::spawn(move || add(&shared))
                })
                .collect();
            add(&shared);
            for other in others {
                other.join().unwrap();
            }
            let _guard = shared.0.lock();
            // SAFETY: as above.
            assert_eq!(shared.1.with(|count| unsafe { *count }), threads * rounds);
        });
    }

    #[test]
    fn two_threads_exclude_each_other_and_no_wake_up_is_lost() {
        add_under_the_lock(2, 2, None);
    }

    #[test]
    fn three_threads_exclude_each_other_and_no_wake_up_is_lost() {
        add_under_the_lock(3, 1, Some(3));
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::cell::UnsafeCell;

    struct Counter(UnsafeCell<u64>);
    // SAFETY: the test touches it only under the lock.
    unsafe impl Sync for Counter {}

    #[test]
    fn increments_under_the_lock_are_never_lost() {
        static LOCK: Lock = Lock::new();
        static COUNTER: Counter = Counter(UnsafeCell::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        let _guard = LOCK.lock();
                        // SAFETY: under the lock.
                        unsafe { *COUNTER.0.get() += 1 };
                    }
                });
            }
        });
        // SAFETY: all threads have ended.
        assert_eq!(unsafe { *COUNTER.0.get() }, 80_000);
    }
}
