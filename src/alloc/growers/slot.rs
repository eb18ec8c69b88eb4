//! Who has a slot, and how much of it: one word each.
//!
//! Threads that look for a slot, the owner of the block in it and whoever gives memory back meet in this word and nowhere else.
//! A free slot is taken by an exchange; its owner raises and lowers the claim; whoever purges says so first, drops what lies
//! behind the claim, and says what is left. Nobody waits: whoever finds a purge under way does without.
//!
//! # Invariants
//! - **Z1** A slot whose word says neither live nor purging belongs to nobody. Who says either of it by an exchange has it: the
//!   block and its claim, or what lies behind the claim.
//! - **Z2** The claim of a live block is a multiple of [`PAGE`]: the block has the claimed bytes, and so what any layout of that
//!   length or less may expect. Only its owner changes the claim.
//! - **Z3** Of a slot, bytes behind what it holds were not touched since they were last given back, and what it holds is at least
//!   its claim. While its word says purging, what lies behind the claim may be dropped; nobody raises the claim or takes the slot.
//!
//! # Volatile
//! All of it.

use crate::sync::{AtomicU64, Ordering};

/// Claims are multiples of this, and what is held is counted in it.
pub(super) const PAGE: usize = 1 << CLAIMED.trailing_zeros();
/// No claim is longer.
pub(super) const MOST_CLAIMED: usize = CLAIMED as usize;

const LIVE: u64 = 1;
const PURGING: u64 = 2;
const CLAIMED: u64 = 0xFFFF_F000;
const HELD_SHIFT: u32 = 32;
const HELD: u64 = u64::MAX << HELD_SHIFT;
const _: () = assert!((LIVE | PURGING) & CLAIMED == 0 && CLAIMED & HELD == 0);

/// What a word says: whether the slot is live, whether somebody gives memory of it back, the claimed bytes, and the pages that
/// it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State(u64);

impl State {
    #[inline(always)]
    const fn new(flags: u64, claimed: usize, held: usize) -> Self {
        Self(flags | claimed as u64 | ((held / PAGE) as u64) << HELD_SHIFT)
    }

    /// Whether nobody has the slot.
    #[inline(always)]
    pub(super) const fn is_free(self) -> bool {
        self.0 & (LIVE | PURGING) == 0
    }

    /// Bytes that the block has; 0 if there is none.
    #[inline(always)]
    pub(super) const fn claimed(self) -> usize {
        (self.0 & CLAIMED) as usize
    }

    /// Bytes that may have been touched.
    #[inline(always)]
    pub(super) const fn held(self) -> usize {
        (self.0 >> HELD_SHIFT) as usize * PAGE
    }

    /// Bytes that are held for nobody.
    #[inline(always)]
    pub(super) const fn unneeded(self) -> usize {
        self.held().saturating_sub(self.claimed())
    }
}

/// A slot's word.
#[derive(Debug)]
pub(super) struct Word(AtomicU64);

impl Word {
    /// That of a free slot that holds nothing.
    #[cfg(not(loom))]
    pub(super) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    #[cfg(loom)]
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// What it says at the moment.
    #[inline(always)]
    pub(super) fn look(&self) -> State {
        // Relaxed: what depends on it is decided by an exchange, or is the owner's claim, which nobody else changes (Z2).
        State(self.0.load(Ordering::Relaxed))
    }

    /// Takes a slot that said that it is free, for a block that claims so much; false if it says anything else by now.
    #[must_use]
    #[inline(always)]
    pub(super) fn take(&self, free: State, claim: usize) -> bool {
        debug_assert!(free.is_free());
        let new = State::new(LIVE, claim, claim.max(free.held()));
        // Acquire pairs with the Release in `give` and `end_purge`: what was done with the slot is over. A word that was changed
        // and says the same again means the same (Z1, Z3).
        self.0.compare_exchange(free.0, new.0, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Gives a slot back. Its owner does.
    #[inline(always)]
    pub(super) fn give(&self) {
        // Release pairs with the Acquire of whoever takes it, or gives its memory back.
        self.0.fetch_and(!(LIVE | CLAIMED), Ordering::Release);
    }

    /// Changes the claim of a live block, unless somebody gives back what lies behind it. Its owner does.
    pub(super) fn set_claim(&self, claim: usize) -> bool {
        // Acquire pairs with the Release in `end_purge`: what was dropped is dropped. Release pairs with the Acquire in
        // `begin_purge`: nothing is done any more to what is no longer claimed.
        let claimed = self.0.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |old| {
            (old & PURGING == 0).then(|| State::new(LIVE, claim, claim.max(State(old).held())).0)
        });
        claimed.is_ok()
    }

    /// Gets what lies behind the claim, up to what is held, if those are `least` bytes: the claim and what is held. They are the
    /// caller's until [`Word::end_purge`].
    #[must_use]
    #[inline]
    pub(super) fn begin_purge(&self, least: usize) -> Option<State> {
        let state = self.look();
        if state.unneeded() < least || state.0 & PURGING != 0 {
            return None;
        }
        // Acquire pairs with the Release in `give` and `set_claim`: who wrote behind the claim has given it up. It also pairs with
        // that in `end_purge`.
        let begun = self.0.compare_exchange(state.0, state.0 | PURGING, Ordering::Acquire, Ordering::Relaxed);
        begun.is_ok().then_some(state)
    }

    /// Gives back what [`Word::begin_purge`] got, of which so much is held now.
    #[inline]
    pub(super) fn end_purge(&self, held: usize) {
        // Release pairs with the Acquire of whoever takes the slot, raises the claim or purges next. The block's owner may have freed the block.
        let _ = self.0.fetch_update(Ordering::Release, Ordering::Relaxed, |now| {
            Some(now & !(PURGING | HELD) | State::new(0, 0, held).0)
        });
    }
}

#[cfg(all(test, loom))]
mod loom_models;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_word_says_what_it_was_told_up_to_the_longest_claim() {
        for (claim, held) in [(0, 0), (PAGE, PAGE), (PAGE, MOST_CLAIMED), (MOST_CLAIMED, 1 << 40)] {
            for flags in [0, LIVE, PURGING, LIVE | PURGING] {
                let state = State::new(flags, claim, held);
                assert_eq!((state.claimed(), state.held(), state.is_free()), (claim, held, flags == 0));
                assert_eq!(state.unneeded(), held - claim);
            }
        }
    }

    #[test]
    fn a_slot_holds_what_was_claimed_until_a_purge_says_less() {
        let word = Word::new();
        assert!(word.take(word.look(), 4 * PAGE) && !word.look().is_free());
        assert!(word.set_claim(PAGE));
        assert_eq!((word.look().claimed(), word.look().held()), (PAGE, 4 * PAGE));
        assert_eq!(word.begin_purge(4 * PAGE), None, "so much is not held for nobody");
        let state = word.begin_purge(3 * PAGE).unwrap();
        assert_eq!((state.claimed(), state.held()), (PAGE, 4 * PAGE));
        assert!(word.begin_purge(PAGE).is_none() && !word.set_claim(2 * PAGE) && !word.set_claim(PAGE));
        word.give();
        assert!(!word.look().is_free(), "a purge is under way");
        word.end_purge(PAGE);
        assert_eq!(word.look(), State::new(0, 0, PAGE));
    }
}
