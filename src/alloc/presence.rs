//! Threads inside a heap, and how whoever closes it gets them out.
//!
//! A thread announces itself, then looks whether the heap is open; whoever closes the heap changes its state, then looks
//! for announcements. With a full barrier between the two steps on both sides, at least one sees the other
//! ([`barrier`] makes the thread's side cheap). A thread announces itself in a flag of its own; one that is ending, and
//! gives its flag away, in a counter.
//!
//! What is done most is to take a block from a magazine and to give one back, and an announcement would cost more than
//! that. There the work is a single store, to a word that whoever closes the heap reads, and so the store itself is the
//! announcement: a thread takes a block by it, then looks whether the heap is open, and if not undoes it and has no block.
//! If the closing side does not see the store, the thread sees that the heap is closed. A block that is given need not be
//! announced: seen, it is free, and unseen, it stays in use, as all do that are freed after the heap was closed.
//! Whoever closes the heap may see a block as taken that the thread then does not get; such a block stays in use as well.
//!
//! # Invariants
//! - **P1** A thread that entered is inside until it leaves: whoever closes the heap after that sees its announcement,
//!   and once that is gone everything the thread did.
//! - **P2** A thread that looks after the heap was closed does not enter.
//! - **P3** What a thread took by [`take`], whoever closes the heap finds taken; and what it finds given by [`put`], it finds
//!   whole.

use crate::os::barrier;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

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

/// Whether threads may enter. Right only for the moment, unless it was closed before by the thread's own knowledge.
#[must_use]
#[inline(always)]
pub(crate) fn is_open(state: &AtomicU32) -> bool {
    // Relaxed: a thread that knows of the closing, because it has a block of a heap that was opened at the place later,
    // say, got that knowledge through something that orders the change of state before this.
    state.load(Ordering::Relaxed) == OPEN
}

/// Whether threads may use [`take`]: where announcements need no fence.
pub(crate) fn can_take() -> bool {
    barrier::is_one_sided()
}

/// Takes something by storing `to` in a word that held `from` and that only the calling thread changes while the heap is
/// open; false, and nothing is taken, if the heap is not open. Only if [`can_take`].
#[must_use]
#[inline(always)]
pub(crate) fn take(word: &AtomicU64, from: u64, to: u64, state: &AtomicU32) -> bool {
    // Release: it hides an earlier `put` from `what_is_left`, which must be seen whole all the same.
    word.store(to, Ordering::Release);
    // The partner of that of `close`.
    barrier::light_when_one_sided();
    // Relaxed: the barrier orders it.
    if state.load(Ordering::Relaxed) == OPEN {
        return true;
    }
    take_back(word, from);
    false
}

#[cold]
#[inline(never)]
fn take_back(word: &AtomicU64, from: u64) {
    // Relaxed: behind a barrier, whose partner is that of `close`.
    word.store(from, Ordering::Relaxed);
}

/// Gives something, which has been written where the word says, by storing `to` in the word.
#[inline(always)]
pub(crate) fn put(word: &AtomicU64, to: u64) {
    // Release pairs with the Acquire in `what_is_left`.
    word.store(to, Ordering::Release);
}

/// What a word that threads [`take`] and [`put`] by says; after [`close`], and when its thread is not inside.
pub(crate) fn what_is_left(word: &AtomicU64) -> u64 {
    // Acquire pairs with the Release in `put`.
    word.load(Ordering::Acquire)
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

    /// A magazine of one thread: how many slots are filled, and with what.
    struct Magazine {
        state: AtomicU32,
        word: AtomicU64,
        slots: [UnsafeCell<u32>; 4],
    }

    impl Magazine {
        /// With the blocks 1 and 2.
        fn new() -> Arc<Self> {
            Arc::new(Self {
                state: AtomicU32::new(OPEN),
                word: AtomicU64::new(2),
                slots: [1, 2, 0, 0].map(UnsafeCell::new),
            })
        }

        fn allocate(&self) -> Option<u32> {
            let top = self.word.load(Ordering::Relaxed);
            // SAFETY: that is what loom checks here.
            take(&self.word, top, top - 1, &self.state)
                .then(|| self.slots[top as usize - 1].with(|slot| unsafe { *slot }))
        }

        fn free(&self, block: u32) -> bool {
            if !is_open(&self.state) {
                return false;
            }
            let top = self.word.load(Ordering::Relaxed);
            // SAFETY: that is what loom checks here.
            self.slots[top as usize].with_mut(|slot| unsafe { *slot = block });
            put(&self.word, top + 1);
            true
        }

        fn close_and_read(&self) -> Vec<u32> {
            self.state.store(CLOSED, Ordering::Relaxed);
            close();
            let top = what_is_left(&self.word) as usize;
            // SAFETY: that is what loom checks here.
            self.slots[..top].iter().map(|slot| slot.with(|slot| unsafe { *slot })).collect()
        }
    }

    /// Runs `work`, which says which blocks it has at the end, beside a thread that closes the heap: nobody else has these.
    fn check_beside_closing(work: fn(&Magazine) -> Vec<u32>) {
        loom::model(move || {
            let magazine = Magazine::new();
            let closing = Arc::clone(&magazine);
            let closing = thread::spawn(move || closing.close_and_read());
            let kept = work(&magazine);
            let mut left = closing.join().unwrap();
            assert!(left.iter().all(|block| !kept.contains(block)), "{left:?} are free, and the thread has {kept:?}");
            left.sort_unstable();
            left.dedup();
            assert!(left.len() + kept.len() <= 4);
        });
    }

    #[test]
    fn a_block_that_a_thread_took_is_not_left_to_whoever_closes_the_heap() {
        check_beside_closing(|magazine| [magazine.allocate(), magazine.allocate()].into_iter().flatten().collect());
    }

    #[test]
    fn blocks_taken_after_others_were_given_are_not_left_either() {
        check_beside_closing(|magazine| {
            let mut kept = Vec::new();
            if !magazine.free(3) {
                kept.push(3);
            }
            kept.extend(magazine.allocate());
            if let Some(first) = kept.pop() {
                if !magazine.free(first) {
                    kept.push(first);
                }
            }
            kept.extend(magazine.allocate());
            kept
        });
    }

    #[test]
    fn what_lies_below_a_block_that_was_taken_is_left_whole() {
        check_beside_closing(|magazine| {
            let mut kept: Vec<u32> = [3, 4].into_iter().filter(|&block| !magazine.free(block)).collect();
            kept.extend(magazine.allocate());
            kept
        });
    }

    #[test]
    fn what_was_given_before_the_heap_was_closed_is_left() {
        loom::model(|| {
            let magazine = Magazine::new();
            let other = Arc::clone(&magazine);
            let thread = thread::spawn(move || {
                let block = other.allocate().unwrap();
                assert!(other.free(block) && other.free(3));
            });
            thread.join().unwrap();
            assert_eq!(magazine.close_and_read(), [1, 2, 3]);
        });
    }
}
