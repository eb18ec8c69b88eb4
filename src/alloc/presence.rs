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
