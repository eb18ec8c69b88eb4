//! A mutual exclusion lock for the slow paths of the allocator.
//!
//! `std::sync::Mutex` cannot be used: over `fork` the lock must be taken by one handler and given back, in two
//! processes, by others. Three states, as in Drepper's "Futexes Are Tricky": free, held, held with waiters.
//!
//! # Invariants
//! - **L1** Whoever moved the state away from `FREE` holds the lock, and only the holder moves it back.
//! - **L2** A waiter sleeps only while the state is `CONTENDED`, and whoever frees a contended lock wakes one.

use core::ptr;
use core::sync::atomic::{AtomicU32, Ordering};

const FREE: u32 = 0;
const HELD: u32 = 1;
const CONTENDED: u32 = 2;

/// The lock; it guards nothing by type, its owner says what.
#[derive(Debug)]
pub(crate) struct Lock {
    state: AtomicU32,
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
    pub(crate) const fn new() -> Self {
        Self { state: AtomicU32::new(FREE) }
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

    #[cold]
    fn acquire_slow(&self) {
        for _ in 0..100 {
            // Relaxed: only a hint; the exchange below decides.
            if self.state.load(Ordering::Relaxed) == FREE
                && self.state.compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed).is_ok()
            {
                return;
            }
            core::hint::spin_loop();
        }
        // Acquire as in `acquire`. From here on the state says that somebody may sleep (L2).
        while self.state.swap(CONTENDED, Ordering::Acquire) != FREE {
            futex_wait(&self.state, CONTENDED);
        }
    }

    /// Gives the lock back.
    ///
    /// # Safety
    /// The caller, or the thread in whose place it stands after a fork, holds the lock.
    pub(crate) unsafe fn release(&self) {
        // Release pairs with the Acquire of the next holder.
        if self.state.swap(FREE, Ordering::Release) == CONTENDED {
            futex_wake_one(&self.state);
        }
    }
}

/// Sleeps while `word` is `expected`; may return early.
fn futex_wait(word: &AtomicU32, expected: u32) {
    let no_timeout = ptr::null::<libc::timespec>();
    // SAFETY: `word` is a live, aligned u32. Every outcome means: look again.
    unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG, expected, no_timeout)
    };
}

fn futex_wake_one(word: &AtomicU32) {
    // SAFETY: `word` is only an address to the kernel here.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, 1) };
}

#[cfg(test)]
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
