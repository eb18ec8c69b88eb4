//! Frees that arrive from other threads.
//!
//! Only a slab's owner touches its free bits. A thread that frees blocks of someone else's slab sets their bits in the
//! slab's *remote* bits, then adds their number to the slab's remote count. Whoever raises the count from zero pushes
//! the slab on its owner's pending stack. The owner takes the whole stack in one swap when its own slabs run dry,
//! takes each slab's count, then its bits. Nothing is written to the blocks themselves, so a free dirties no page of
//! user data, and nothing is popped singly, so the stack cannot suffer from ABA.
//!
//! The owner may take bits whose count has not been added yet. It notes them as *early*; the count follows, with a
//! push. A slab with early frees must not be given up: its link is about to be used.
//!
//! # Invariants
//! - **R1** A slab is on at most one pending stack: only the thread that raised its count from zero pushes it, and only
//!   whoever popped it sets the count to zero.
//! - **R2** A set remote bit is a block that nobody else holds.
//! - **R3** For whoever has popped the slab: bits taken so far = counts taken so far + early, and early >= 0.
//! - **R4** If early is 0 and all handed-out blocks are back, no thread is between setting bits and pushing.
//!
//! # Volatile
//! None of this is durable; recovery clears it and marking finds which blocks are alive.

use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// Whether a stack is looked at before it is exchanged. Loom remembers only the last access to a word when it decides
/// what to reorder, and a thread's own look would hide an earlier one of another thread; to the models a look that sees
/// nothing is an exchange that comes later.
const LOOKS_FIRST: bool = cfg!(not(loom));

/// The words through which other threads free a slab's blocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RemoteSlab<'a> {
    pub(crate) bits: &'a [AtomicU64],
    pub(crate) count: &'a AtomicU32,
}

impl RemoteSlab<'_> {
    /// Frees the blocks of `mask` in one word; true if the caller must push the slab on its owner's stack.
    ///
    /// Frees in several words of a slab may be counted together: `set` for each word, then `count` once.
    #[cfg(loom)]
    #[must_use]
    pub(crate) fn free(&self, word: usize, mask: u64) -> bool {
        self.set(word, mask);
        self.count(mask.count_ones())
    }

    /// Sets the bits of freed blocks. A bit that was set already is a double free; the old word tells.
    pub(crate) fn set(&self, word: usize, mask: u64) -> u64 {
        // Release pairs with the Acquire in `take_word`: the freeing thread's last use of the blocks happens before
        // their next owner's first.
        self.bits[word].fetch_or(mask, Ordering::Release)
    }

    /// Counts frees whose bits are set; true if the caller must push the slab.
    #[must_use]
    pub(crate) fn count(&self, frees: u32) -> bool {
        // Release pairs with the Acquire in `take_count`: whoever sees the count sees the bits.
        self.count.fetch_add(frees, Ordering::Release) == 0
    }

    /// Takes the count; by whoever popped the slab, after reading its link.
    pub(crate) fn take_count(&self) -> u32 {
        // Acquire pairs with `count`. Release orders the read of the link before the next push may overwrite it.
        self.count.swap(0, Ordering::AcqRel)
    }

    /// Takes the bits of one word.
    pub(crate) fn take_word(&self, word: usize) -> u64 {
        // Relaxed: a bit that is missed here is either not counted yet or was seen by `take_count`'s Acquire.
        if self.bits[word].load(Ordering::Relaxed) == 0 {
            return 0;
        }
        // Acquire pairs with `set`.
        self.bits[word].swap(0, Ordering::Acquire)
    }
}

/// Pushes slab `index` on a pending stack.
pub(crate) fn push(stack: &AtomicU32, index: u32, next: &AtomicU32) {
    // Relaxed: the exchange below publishes the link.
    let mut head = if LOOKS_FIRST { stack.load(Ordering::Relaxed) } else { 0 };
    loop {
        next.store(head, Ordering::Relaxed);
        // Release pairs with the Acquire in `take_all`: the link is seen with the slab.
        match stack.compare_exchange_weak(head, index + 1, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => return,
            Err(now) => head = now,
        }
    }
}

/// The first slab of a stack, or the one behind a slab, if there is one; while nobody pushes or takes.
pub(crate) fn head_of(stack: &AtomicU32) -> Option<u32> {
    // Relaxed: nobody else is there.
    stack.load(Ordering::Relaxed).checked_sub(1)
}

/// Takes a whole pending stack; returns its first slab + 1, or 0.
fn take_all(stack: &AtomicU32) -> u32 {
    // Relaxed look first: an exchange on a line that others push to is dear. A push that is missed is seen next time.
    if LOOKS_FIRST && stack.load(Ordering::Relaxed) == 0 {
        return 0;
    }
    // Acquire pairs with `push`; later pushes build on this head's successors only through their own Release.
    stack.swap(0, Ordering::Acquire)
}

/// Takes a whole pending stack and calls `visit` with each slab, which is on no stack then (R1): `visit` takes its count
/// or pushes it elsewhere. `next_of` finds a slab's link.
pub(crate) fn for_each_taken<'a>(
    stack: &AtomicU32,
    next_of: impl Fn(u32) -> &'a AtomicU32,
    mut visit: impl FnMut(u32),
) {
    let mut at = take_all(stack);
    while at != 0 {
        let index = at - 1;
        // Before the visit, after which the next push may overwrite it.
        // Relaxed: written before the push that `take_all`'s Acquire saw.
        at = next_of(index).load(Ordering::Relaxed);
        visit(index);
    }
}

#[cfg(all(test, loom))]
mod loom_models;
