//! How many pointers share a counted block.
//!
//! A count is one word in a table of its own ([`count_table`](super::count_table)), so that taking and dropping a pointer
//! writes to no page that a commit holds. A word of zeros means that nothing is known yet: the block is of before a crash, and
//! how many pointers to it there are in the heap is still being counted. Until that is known only differences are noted, and
//! the block is neither free nor anybody's alone; who drops a pointer is told that, and keeps it until the number is known.
//!
//! | bits | field |
//! |---|---|
//! | 0 | whether the number is known; if not, it is a difference |
//! | 1 | whether there may be weak pointers |
//! | 2 | whether a sync has sealed the value: it is not changed in place any more |
//! | 3 | whether all that is known of the block is that words in a file look like pointers to it, and it counts as sealed |
//! | 4..32 | the number, or the difference, with its sign |
//!
//! A number that has grown past [`STUCK`] never comes back: the block is never freed, which loses it, and nothing else.
//!
//! # Invariants
//! - **N1** While the number is known it is at least that of the pointers there are.
//! - **N2** Who drops the last pointer is told so, once, and sees everything that was done through the others.
//! - **N3** A difference reaches zero without anybody being told that it is the last.
//! - **N4** A value that is sealed stays so as long as its block is in use.
//! - **N5** A number that is known, at least one, sealed, and not only found, is that of a counted block with a finished value. A
//!   block that is free, or not a counted one, has no such number.
//!
//! # Volatile
//! All of it; recovery counts again.

use crate::sync::{AtomicU32, Ordering, fence};

/// What the word of a pointer that is counted is more than its block's address.
pub(crate) const COUNTED: usize = 1;

const KNOWN: u32 = 1;
const WEAK: u32 = 2;
const SEALED: u32 = 4;
/// Only together with the bit before. What looks like a pointer may be none: so may the block not be a counted one.
const FOUND: u32 = 8;
const ONE: u32 = 1 << NUMBER_SHIFT;
const NUMBER_SHIFT: u32 = 4;
/// What says nothing of the number.
const NOTES: u32 = WEAK | SEALED | FOUND;
/// What stands in place of the number of a block that is to be freed, and cannot be yet. No number is like it.
const WITHHELD: u32 = KNOWN | SEALED | 1 << 31;

/// From here on a number is not lowered any more: a quarter of what fits.
const STUCK: i32 = 1 << 30;
/// What a number is set to then: as far from both ends as can be.
const STUCK_AT: u32 = (STUCK as u32) + (1 << 29);

/// The number of pointers to one block.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct RefCount(AtomicU32);

/// What is left after a pointer was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// There are others.
    Shared,
    /// Nothing was done: whether it is the last is not known.
    Unknown,
    /// It was the last.
    Last {
        /// There may be weak pointers.
        is_weakly_held: bool,
    },
}

impl RefCount {
    #[cfg(all(test, loom))]
    pub(super) fn of(pointers: u32) -> Self {
        Self(AtomicU32::new(KNOWN + pointers * ONE))
    }

    /// The block has its value, and its only pointer is the caller's.
    #[inline(always)]
    pub(crate) fn begin(&self) {
        // Release pairs with the Acquire in `seal`: whoever finds the number finds the value written. Whoever gets a pointer from
        // the caller gets this with it.
        self.0.store(KNOWN | ONE, Ordering::Release);
    }

    /// As [`RefCount::begin`], of a block that goes on being written to after it was sealed: nothing more is known of it than of one
    /// that was found (N5).
    #[cfg(not(loom))]
    #[inline(always)]
    pub(crate) fn begin_as_found(&self) {
        // Release: as in `begin`.
        self.0.store(KNOWN | ONE | SEALED | FOUND, Ordering::Release);
    }

    /// The block has been allocated, and there is no pointer to it yet but weak ones.
    #[cfg(not(loom))]
    pub(crate) fn begin_weak(&self) {
        // Relaxed: whoever gets a weak pointer from the caller gets this with it.
        self.0.store(KNOWN | WEAK, Ordering::Relaxed);
    }

    /// As [`RefCount::begin`], of a block whose value there is, or is again, and to which there may be weak pointers.
    #[cfg(not(loom))]
    pub(crate) fn begin_late(&self) {
        // Release pairs with the Acquire of `try_retain`: who gets a pointer from a weak one sees the value.
        self.0.fetch_add(ONE, Ordering::Release);
    }

    /// The block is free.
    #[inline(always)]
    pub(crate) fn end(&self) {
        // Relaxed: whoever gets the block next gets this with it.
        self.0.store(0, Ordering::Relaxed);
    }

    /// One more pointer, made from one that exists.
    #[inline(always)]
    pub(crate) fn retain(&self) {
        // Relaxed: whoever has a pointer keeps the block alive, and gives the new one on by other means.
        let before = self.0.fetch_add(ONE, Ordering::Relaxed);
        if before as i32 >= STUCK {
            self.stick(before);
        }
    }

    /// So many more pointers.
    pub(crate) fn retain_many(&self, pointers: u32) {
        debug_assert!(pointers < 1 << 20);
        // Relaxed: as in `retain`.
        let before = self.0.fetch_add(pointers * ONE, Ordering::Relaxed);
        if before as i32 >= STUCK {
            self.stick(before);
        }
    }

    /// So many pointers less, of which the caller knows that they are not the last.
    pub(crate) fn release_many(&self, pointers: u32) {
        // Relaxed: what was done through them, the caller's last pointer tells.
        let before = self.0.fetch_sub(pointers * ONE, Ordering::Relaxed);
        if before as i32 >= STUCK {
            self.stick(before);
        }
    }

    /// One pointer less.
    #[inline(always)]
    #[must_use]
    pub(crate) fn release(&self) -> Dropped {
        // Relaxed: once a number is known it stays so as long as there are pointers.
        if self.0.load(Ordering::Relaxed) & KNOWN == 0 {
            return Dropped::Unknown;
        }
        self.release_noted()
    }

    /// As [`RefCount::release`]; where the number is not known the difference is noted.
    #[inline(always)]
    #[must_use]
    pub(crate) fn release_noted(&self) -> Dropped {
        // Release pairs with the fence below: what was done through this pointer is over (N2).
        let before = self.0.fetch_sub(ONE, Ordering::Release);
        if before & !NOTES == KNOWN | ONE {
            // Acquire pairs with the Release of those who dropped theirs before (N2).
            fence(Ordering::Acquire);
            return Dropped::Last { is_weakly_held: before & WEAK != 0 };
        }
        if before as i32 >= STUCK {
            self.stick(before);
        }
        debug_assert!(before & KNOWN == 0 || before >= ONE, "a pointer was dropped twice");
        Dropped::Shared
    }

    #[cold]
    #[inline(never)]
    fn stick(&self, before: u32) {
        // Relaxed: no number near this one means anything but "for ever".
        self.0.store(STUCK_AT | before & (KNOWN | NOTES), Ordering::Relaxed);
    }

    /// One more pointer, unless the last one was dropped: for weak ones.
    pub(crate) fn try_retain(&self) -> bool {
        // Relaxed: the exchange decides.
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            // Where the number is not known, nobody is told that a pointer is the last (N3).
            if word & !NOTES == KNOWN {
                return false;
            }
            if word as i32 >= STUCK {
                return true;
            }
            // Acquire: pairs with the Release of those who had a pointer before, as when it had come from them.
            match self.0.compare_exchange_weak(word, word.wrapping_add(ONE), Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(found) => word = found,
            }
        }
    }

    /// Drops the caller's pointer if it is the last; otherwise nothing happens, and the answer is [`Dropped::Shared`].
    #[must_use]
    pub(crate) fn release_if_last(&self) -> Dropped {
        // Relaxed: the exchange decides.
        let word = self.0.load(Ordering::Relaxed);
        if word & !NOTES != KNOWN | ONE {
            return Dropped::Shared;
        }
        // Acquire: as in `release`. It fails if a weak pointer was made to a strong one just now.
        match self.0.compare_exchange(word, word - ONE, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => Dropped::Last { is_weakly_held: word & WEAK != 0 },
            Err(_) => Dropped::Shared,
        }
    }

    /// Whether the value may be changed in place: the caller's pointer is the only one, there are no weak ones either, and it is
    /// not sealed.
    #[inline(always)]
    pub(crate) fn is_only(&self) -> bool {
        // Acquire pairs with the Release of those who dropped theirs.
        self.0.load(Ordering::Acquire) == KNOWN | ONE
    }

    /// Whether the caller's pointer is the only one, and there are no weak ones either; sealed or not.
    #[inline(always)]
    pub(crate) fn is_alone(&self) -> bool {
        // Acquire: as in `is_only`.
        self.0.load(Ordering::Acquire) & !(SEALED | FOUND) == KNOWN | ONE
    }

    /// Whether the caller's pointer is the only one that is not weak; sealed or not.
    pub(crate) fn is_only_strong(&self) -> bool {
        // Acquire: as in `is_only`.
        self.0.load(Ordering::Acquire) & !NOTES == KNOWN | ONE
    }

    /// Whether the value is sealed.
    #[inline(always)]
    pub(crate) fn is_sealed(&self) -> bool {
        // Relaxed: who may change the value was not there, or was waited for, when it was sealed.
        self.0.load(Ordering::Relaxed) & SEALED != 0
    }

    /// Whether it is certain that the value is not sealed: not where the number is not known.
    #[inline(always)]
    pub(crate) fn is_known_and_unsealed(&self) -> bool {
        // Relaxed: as in `is_sealed`.
        self.0.load(Ordering::Relaxed) & (KNOWN | SEALED) == KNOWN
    }

    /// Seals the value, if the block has one; whether it has, and so is sealed now.
    pub(crate) fn seal(&self) -> bool {
        // Acquire pairs with the Release in `begin`.
        let mut word = self.0.load(Ordering::Acquire);
        loop {
            // Where the number is not known yet, the value is sealed when it becomes known.
            if word & KNOWN == 0 || word < ONE {
                return false;
            }
            if word & SEALED != 0 {
                return true;
            }
            // Acquire: as above. If the block is another by now, that one is sealed early.
            match self.0.compare_exchange_weak(word, word | SEALED, Ordering::Acquire, Ordering::Acquire) {
                Ok(_) => return true,
                Err(found) => word = found,
            }
        }
    }

    /// Whether it is certain that the block is a counted one whose value is finished and sealed (N5).
    #[inline(always)]
    pub(crate) fn is_finished(&self) -> bool {
        // Relaxed: who gives the last pointer up does so before it looks for what the caller has made known before.
        let word = self.0.load(Ordering::Relaxed);
        word & (KNOWN | SEALED | FOUND) == KNOWN | SEALED && word as i32 >= ONE as i32
    }

    /// The number becomes zero, where it is known: of a pointer that is the only one, whatever the number is. From then on nobody
    /// seals the value.
    #[inline]
    pub(crate) fn give_up(&self) {
        // Relaxed: once a number is known it stays so as long as there are pointers.
        if self.0.load(Ordering::Relaxed) & KNOWN != 0 {
            // Relaxed: only the caller frees the block.
            self.0.fetch_and(KNOWN | NOTES, Ordering::Relaxed);
        }
    }

    /// Notes that the block is to be freed later.
    pub(crate) fn withhold(&self) {
        // Relaxed: under a lock, as the next is.
        self.0.store(WITHHELD, Ordering::Relaxed);
    }

    /// The block is free if it was to be freed later; whether that is so.
    pub(crate) fn end_if_withheld(&self) -> bool {
        let is_withheld = self.0.load(Ordering::Relaxed) == WITHHELD;
        if is_withheld {
            self.end();
        }
        is_withheld
    }

    /// Notes that there are weak pointers.
    pub(crate) fn note_weak(&self) {
        // Relaxed: the pointer that the caller has is dropped after this, and so the last one is.
        self.0.fetch_or(WEAK, Ordering::Relaxed);
    }

    /// Notes that there are none any more. Only with the only pointer.
    pub(crate) fn forget_weak(&self) {
        // Relaxed: as in `note_weak`.
        self.0.fetch_and(!WEAK, Ordering::Relaxed);
    }

    /// The pointers there are at this moment; none if that is not known.
    pub(crate) fn number(&self) -> Option<usize> {
        // Relaxed: a figure.
        let word = self.0.load(Ordering::Relaxed);
        (word & KNOWN != 0).then_some((word >> NUMBER_SHIFT) as usize)
    }

    /// Adds the pointers that were counted in the heap to the difference noted since, and makes the number known; the value is
    /// sealed then, or not. If it is known, the block is a newer one, and nothing happens.
    pub(crate) fn join(&self, counted: u32, is_sealed: bool) {
        let known = if is_sealed { KNOWN | SEALED | FOUND } else { KNOWN };
        // Relaxed: the exchange decides.
        let mut word = self.0.load(Ordering::Relaxed);
        while word & KNOWN == 0 {
            let number = i64::from(word as i32 >> NUMBER_SHIFT) + i64::from(counted);
            let joined = if number >= i64::from(STUCK >> NUMBER_SHIFT) {
                STUCK_AT | known | word & WEAK
            } else {
                word.wrapping_add(counted * ONE + known)
            };
            // Relaxed: whoever is told that its pointer is the last passes a fence.
            match self.0.compare_exchange_weak(word, joined, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(found) => word = found,
            }
        }
    }

    /// Makes the number what was counted. Only if nobody has a pointer but those.
    #[cfg(not(loom))]
    pub(crate) fn set(&self, counted: u32, is_sealed: bool) {
        let before = self.0.load(Ordering::Relaxed);
        // Whatever has a number that is known has been made a counted block (N5), or found before.
        let found = if is_sealed && before & KNOWN == 0 { FOUND } else { 0 };
        let notes = before & NOTES | found | if is_sealed { SEALED } else { 0 };
        // Relaxed: nobody else is there.
        let number = if counted >= STUCK as u32 >> NUMBER_SHIFT { STUCK_AT } else { counted * ONE };
        self.0.store(number | KNOWN | notes, Ordering::Relaxed);
    }
}

#[cfg(all(test, loom))]
mod loom_models;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn count() -> RefCount {
        let count = RefCount(AtomicU32::new(0));
        count.begin();
        count
    }

    const LAST: Dropped = Dropped::Last { is_weakly_held: false };

    #[test]
    fn the_last_pointer_is_told_and_no_other() {
        let count = count();
        assert!(count.is_only());
        count.retain();
        count.retain_many(2);
        assert!(!count.is_only() && count.number() == Some(4));
        for _ in 0..3 {
            assert_eq!(count.release(), Dropped::Shared);
        }
        assert!(count.is_only());
        assert_eq!(count.release(), LAST);
    }

    #[test]
    fn a_number_that_is_not_known_is_nobodys_last() {
        let count = RefCount(AtomicU32::new(0));
        assert_eq!(count.release(), Dropped::Unknown);
        for _ in 0..3 {
            assert_eq!(count.release_noted(), Dropped::Shared);
        }
        count.retain();
        assert!(!count.is_only() && count.number().is_none() && count.try_retain());
        assert_eq!((count.release_if_last(), count.release_noted()), (Dropped::Shared, Dropped::Shared));
        // Two less than before; four were counted in the heap.
        count.join(4, false);
        assert_eq!(count.number(), Some(2));
        // What is known is not told again: the block may be another by then.
        count.join(7, false);
        assert_eq!(count.release(), Dropped::Shared);
        assert_eq!(count.release(), LAST);
    }

    #[test]
    fn numbers_that_are_told_do_not_wrap() {
        for (noted, counted) in [(0, u32::MAX), (1 << 20, (1 << 26) - 1), (0, 1 << 26)] {
            let count = RefCount(AtomicU32::new(0));
            count.0.store(noted * ONE, Ordering::Relaxed);
            count.join(counted, false);
            assert!(count.0.load(Ordering::Relaxed) as i32 >= STUCK, "{counted}");
            assert_eq!((count.release(), count.release()), (Dropped::Shared, Dropped::Shared));
            count.set(counted, false);
            assert!(count.0.load(Ordering::Relaxed) as i32 >= STUCK - 64);
        }
    }

    #[test]
    fn a_number_that_is_too_large_loses_the_block_and_nothing_else() {
        let count = count();
        for _ in 0..1 << 7 {
            count.retain_many((1 << 20) - 1);
        }
        for _ in 0..1000 {
            count.retain();
            assert_eq!(count.release(), Dropped::Shared);
            assert!(count.try_retain() && !count.is_only());
        }
        let number = count.number();
        for _ in 0..1000 {
            assert_eq!(count.release(), Dropped::Shared);
        }
        assert_eq!(count.number(), number);
    }

    #[test]
    fn weak_pointers_are_noted_and_bring_back_what_is_not_gone() {
        let count = count();
        count.note_weak();
        assert!(!count.is_only() && count.is_only_strong() && count.try_retain());
        assert_eq!(count.release(), Dropped::Shared);
        assert_eq!(count.release(), Dropped::Last { is_weakly_held: true });
        assert!(!count.try_retain());
        count.end();
        count.begin_weak();
        assert!(!count.try_retain() && !count.seal() && count.is_known_and_unsealed());
        count.begin_late();
        assert!(count.is_only_strong() && count.try_retain() && count.number() == Some(2));
    }

    #[test]
    fn what_is_sealed_is_not_changed_in_place_and_ends_as_all_others() {
        let free = RefCount(AtomicU32::new(0));
        assert!(!free.seal() && !free.is_sealed());
        let count = count();
        assert!(count.seal() && count.seal() && count.is_sealed());
        assert!(!count.is_only() && count.is_alone() && count.is_only_strong());
        count.retain();
        assert!(!count.is_alone() && count.number() == Some(2));
        assert_eq!((count.release(), count.release()), (Dropped::Shared, LAST));
        assert!(!count.try_retain() && !count.seal());
        count.begin();
        assert!(count.is_only() && !count.is_sealed());
        count.note_weak();
        assert!(count.seal() && !count.is_alone() && count.is_only_strong());
        count.forget_weak();
        assert_eq!(count.release_if_last(), LAST);
        for is_sealed in [false, true] {
            let old = RefCount(AtomicU32::new(0));
            old.retain();
            assert!(!old.seal());
            old.join(2, is_sealed);
            assert_eq!((old.number(), old.is_sealed()), (Some(3), is_sealed));
            old.set(1, false);
            assert_eq!((old.number(), old.is_only()), (Some(1), !is_sealed));
        }
    }

    #[test]
    fn only_a_value_that_was_made_here_and_sealed_is_known_to_be_finished() {
        let free = RefCount(AtomicU32::new(0));
        let count = count();
        assert!(!free.is_finished() && !count.is_finished());
        count.seal();
        assert!(count.is_finished());
        count.retain();
        count.note_weak();
        assert!(count.is_finished());
        // Looked for in the heap and found again: it was made here all the same.
        count.set(1, true);
        assert!(count.is_finished());
        count.give_up();
        assert!(!count.is_finished() && count.is_sealed() && !count.end_if_withheld());
        count.withhold();
        assert!(!count.is_finished() && count.end_if_withheld() && !count.end_if_withheld());
        count.begin();
        count.give_up();
        assert!(!count.seal() && count.is_known_and_unsealed());

        for found in [RefCount::join, RefCount::set] {
            let old = RefCount(AtomicU32::new(0));
            old.give_up();
            found(&old, 1, true);
            assert!(old.is_sealed() && old.is_alone() && !old.is_finished());
            old.set(1, true);
            assert!(!old.is_finished());
            assert_eq!(old.release(), LAST);
            old.begin();
            old.seal();
            assert!(old.is_finished());
        }
    }
}
