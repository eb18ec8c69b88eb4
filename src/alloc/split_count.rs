//! A word with a pointer that may be taken by many while others replace it.
//!
//! Between reading a pointer and counting itself as one who has it, a thread could lose the block. So it counts itself in the word
//! first, beside the pointer, by one addition; then in the block's count; then it takes its part out of the word again. If
//! the pointer is not there any more, whoever replaced it leaves the word's parts in the block's count, and the thread takes
//! its part out there. That may happen before they have been left: so the word's pointer does not count as one but as so many
//! ([`BIAS`]) that the count cannot come to zero meanwhile, and whoever replaces it takes out what is too much. Parts are
//! alike, so it does not matter whose is taken.
//!
//! | bits | field |
//! |---|---|
//! | 0..48 | the pointer |
//! | 48..64 | threads that are between the first step and the last |
//!
//! # Invariants
//! - **E1** As long as a thread is counted in the word, or its part has not been taken out of the block's count, the block is
//!   not freed.
//! - **E2** The word's pointer counts as [`BIAS`] in its block's count, which is more than there are parts.

use super::ref_count::{Dropped, RefCount};
use crate::sync::{AtomicU64, Ordering};
#[cfg(not(loom))]
use core::hint::spin_loop;
#[cfg(loom)]
use loom::hint::spin_loop;

const HOLDER: u64 = 1 << 48;
const POINTER: u64 = HOLDER - 1;
/// Half of the threads that the field can count.
const MANY: u64 = 1 << 15;

/// What the pointer in the word counts as.
const BIAS: u32 = 1 << 17;
const _: () = assert!(BIAS as u64 > u64::MAX / HOLDER + 1);

/// The word.
#[derive(Debug)]
pub(crate) struct SplitCount(AtomicU64);

/// A pointer that counts as one.
pub(crate) struct Held(pub(crate) u64);

impl SplitCount {
    /// With a pointer that counts as one.
    pub(crate) fn new<'a>(pointer: u64, count_of: impl Fn(u64) -> &'a RefCount) -> Self {
        debug_assert!(pointer & !POINTER == 0);
        count_of(pointer).retain_many(BIAS - 1);
        Self(AtomicU64::new(pointer))
    }

    /// The pointer, which counts as one from now on, and is not used here any more. Only if nobody else is there.
    pub(crate) fn end<'a>(&self, count_of: impl Fn(u64) -> &'a RefCount) -> u64 {
        // Acquire: whoever was there has gone.
        Self::take_over(self.0.load(Ordering::Acquire), count_of)
    }

    /// The pointer, once more.
    pub(crate) fn hold<'a>(&self, count_of: impl Fn(u64) -> &'a RefCount) -> Held {
        // Relaxed: so many threads between two steps that the field overflows are threads that are not given time; the others
        // wait for them, and no more than there are can have passed here at once.
        while self.0.load(Ordering::Relaxed) >> 48 >= MANY {
            spin_loop();
        }
        // Acquire pairs with the Release of whoever put the pointer there: its value is whole.
        let word = self.0.fetch_add(HOLDER, Ordering::Acquire).wrapping_add(HOLDER);
        let pointer = word & POINTER;
        // Not freed meanwhile (E1).
        count_of(pointer).retain();
        self.let_go(word, pointer, &count_of);
        Held(pointer)
    }

    /// Takes this thread's part out of the word, or of the count that it was moved to.
    fn let_go<'a>(&self, mut word: u64, pointer: u64, count_of: &impl Fn(u64) -> &'a RefCount) {
        while word & POINTER == pointer && word >= HOLDER {
            // Release pairs with the Acquire of whoever replaces the pointer: what this thread counted, it finds.
            match self.0.compare_exchange_weak(word, word - HOLDER, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(found) => word = found,
            }
        }
        // Not the last: the caller's own counts too (E2).
        let dropped = count_of(pointer).release_noted();
        debug_assert_eq!(dropped, Dropped::Shared);
    }

    /// Puts another pointer there, which counts as one; the one that was, which still does.
    pub(crate) fn swap<'a>(&self, pointer: u64, count_of: impl Fn(u64) -> &'a RefCount) -> u64 {
        debug_assert!(pointer & !POINTER == 0);
        count_of(pointer).retain_many(BIAS - 1);
        // Release: whoever takes the pointer finds its value whole. Acquire: what those counted who let go, is found.
        let word = self.0.swap(pointer, Ordering::AcqRel);
        Self::take_over(word, count_of)
    }

    /// As [`SplitCount::swap`], if `current` is there; otherwise none.
    pub(crate) fn compare_exchange<'a>(
        &self,
        current: u64,
        pointer: u64,
        count_of: impl Fn(u64) -> &'a RefCount,
    ) -> Option<u64> {
        count_of(pointer).retain_many(BIAS - 1);
        // Relaxed: the exchange decides.
        let mut word = self.0.load(Ordering::Relaxed);
        while word & POINTER == current {
            // As in `swap`.
            match self.0.compare_exchange_weak(word, pointer, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Some(Self::take_over(word, count_of)),
                Err(found) => word = found,
            }
        }
        count_of(pointer).release_many(BIAS - 1);
        None
    }

    /// Leaves in the count of a word's block what the word counted, and one for the caller.
    fn take_over<'a>(word: u64, count_of: impl Fn(u64) -> &'a RefCount) -> u64 {
        let (pointer, holders) = (word & POINTER, (word >> 48) as u32);
        count_of(pointer).release_many(BIAS - 1 - holders);
        pointer
    }
}

#[cfg(all(test, loom))]
mod loom_models;
