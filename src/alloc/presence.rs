//! Threads inside a heap, and how whoever closes it gets them out.
//!
//! A thread announces itself, then looks whether the heap is open; whoever closes the heap changes its state, then looks
//! for announcements. With a full barrier between the two steps on both sides, at least one sees the other
//! ([`barrier`] makes the thread's side cheap). A thread announces itself in a flag of its own; one that is ending, and
//! gives its flag away, in a counter.
//!
//! # Invariants
//! - **P1** A thread that entered is inside until it leaves: whoever closes the heap after that sees its announcement,
//!   and once that is gone everything the thread did.
//! - **P2** A thread that looks after the heap was closed does not enter.

use crate::os::barrier;
use crate::sync::{AtomicU32, Ordering};

/// A heap's state in which threads may enter.
pub(crate) const OPEN: u32 = 0;

/// Announces the calling thread in its flag; true if the heap is open and the thread inside. In both cases it must
/// [`leave`].
#[must_use]
#[inline(always)]
pub(crate) fn enter(flag: &AtomicU32, state: &AtomicU32) -> bool {
    // Relaxed, and then the barrier, whose partner is that of `close`.
    flag.store(1, Ordering::Relaxed);
    barrier::light();
    // Relaxed: the barrier orders it.
    state.load(Ordering::Relaxed) == OPEN
}

/// Takes the announcement back.
#[inline(always)]
pub(crate) fn leave(flag: &AtomicU32) {
    // Release pairs with the Acquire in `is_nobody`.
    flag.store(0, Ordering::Release);
}

/// As [`enter`], for a thread among others in a counter.
#[must_use]
pub(crate) fn enter_counted(counter: &AtomicU32, state: &AtomicU32) -> bool {
    // Relaxed as in `enter`.
    counter.fetch_add(1, Ordering::Relaxed);
    barrier::light();
    state.load(Ordering::Relaxed) == OPEN
}

/// As [`leave`], for a thread among others in a counter.
pub(crate) fn leave_counted(counter: &AtomicU32) {
    // Release pairs with the Acquire in `is_nobody`.
    counter.fetch_sub(1, Ordering::Release);
}

/// Between the change of a heap's state and the looks for announcements.
pub(crate) fn close() {
    barrier::heavy();
}

/// Whether a flag or a counter announces nobody; after [`close`].
pub(crate) fn is_nobody(announced: &AtomicU32) -> bool {
    // Acquire pairs with `leave`: the thread's work is seen whole.
    announced.load(Ordering::Acquire) == 0
}

#[cfg(all(test, loom))]
mod loom_models {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::thread;

    const CLOSED: u32 = 1;

    struct Heap {
        state: AtomicU32,
        flags: [AtomicU32; 2],
        leaving: AtomicU32,
        /// What each thread may touch while it is inside, and whoever closed the heap after that.
        data: [UnsafeCell<u32>; 2],
    }

    impl Heap {
        fn new() -> Arc<Self> {
            Arc::new(Self {
                state: AtomicU32::new(OPEN),
                flags: [AtomicU32::new(0), AtomicU32::new(0)],
                leaving: AtomicU32::new(0),
                data: [UnsafeCell::new(0), UnsafeCell::new(0)],
            })
        }

        fn touch(&self, thread: usize) {
            // SAFETY: that is what loom checks here.
            self.data[thread].with_mut(|data| unsafe { *data += 1 });
        }

        fn close_and_wait(&self) {
            self.state.store(CLOSED, Ordering::Relaxed);
            close();
            for announced in self.flags.iter().chain([&self.leaving]) {
                while !is_nobody(announced) {
                    thread::yield_now();
                }
            }
            self.touch(0);
            self.touch(1);
        }
    }

    #[test]
    fn whoever_closes_a_heap_is_alone_in_it_after_waiting() {
        loom::model(|| {
            let heap = Heap::new();
            let threads: Vec<_> = (0..2)
                .map(|at| {
                    let heap = Arc::clone(&heap);
                    thread::spawn(move || {
                        if enter(&heap.flags[at], &heap.state) {
                            heap.touch(at);
                        }
                        leave(&heap.flags[at]);
                    })
                })
                .collect();
            heap.close_and_wait();
            for thread in threads {
                thread.join().unwrap();
            }
        });
    }

    #[test]
    fn whoever_closes_a_heap_waits_for_threads_that_are_ending() {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(|| {
            let heap = Heap::new();
            let threads: Vec<_> = (0..2)
                .map(|at| {
                    let heap = Arc::clone(&heap);
                    thread::spawn(move || {
                        if enter_counted(&heap.leaving, &heap.state) {
                            heap.touch(at);
                        }
                        leave_counted(&heap.leaving);
                    })
                })
                .collect();
            heap.close_and_wait();
            for thread in threads {
                thread.join().unwrap();
            }
        });
    }
}
