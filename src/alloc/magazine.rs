//! One class's stack of free blocks at hand.
//!
//! The blocks lie in slots of the thread heap ([`super::thread_heap`]); a magazine says which of the slots are its own and how
//! many hold one.

use super::thread_heap::MOST_SLOTS;
use crate::sync::{AtomicU64, Ordering};

/// One class's stack, as positions in the slots, and how many blocks were taken from it.
///
/// The count shares a word with the position, so that one addition changes both: allocating counts, and costs no more
/// than if it did not. The word is atomic only for those who look on; its thread loads and stores it plainly (Relaxed).
#[derive(Debug)]
#[repr(C)]
pub(super) struct Magazine {
    /// The position behind the topmost block, and from bit [`TAKEN_SHIFT`] on the blocks taken.
    pub(super) state: AtomicU64,
    pub(super) floor: u16,
    pub(super) ceiling: u16,
}

/// Where the blocks taken stand in a magazine's word: enough bits for a million allocations a second over nine years.
const TAKEN_SHIFT: u32 = 16;
pub(super) const ONE_TAKEN: u64 = 1 << TAKEN_SHIFT;
const _: () = assert!(MOST_SLOTS < 1 << TAKEN_SHIFT && cfg!(target_endian = "little"));

impl Magazine {
    /// Of a thread heap that has no blocks and no room.
    pub(super) const fn nothing() -> Self {
        Self { state: AtomicU64::new(0), floor: 0, ceiling: 0 }
    }

    /// An empty one over the slots from `floor` to `ceiling`.
    pub(super) fn new(floor: u16, ceiling: u16) -> Self {
        Self { state: AtomicU64::new(floor.into()), floor, ceiling }
    }

    /// The position behind the topmost block.
    ///
    /// # Safety
    /// The calling thread is the only one that stores to the word.
    #[inline(always)]
    pub(super) unsafe fn top(&self) -> u16 {
        // SAFETY: the low half of the word, on a little-endian machine; nobody stores to it meanwhile.
        unsafe { self.state.as_ptr().cast::<u16>().read() }
    }

    /// Changes the word, which only its thread stores to.
    #[inline(always)]
    pub(super) fn add(&self, change: u64) {
        self.state.store(self.state.load(Ordering::Relaxed).wrapping_add(change), Ordering::Relaxed);
    }

    /// Moves the top, and counts blocks taken.
    pub(super) fn set_top(&self, top: u32, taken: u64) {
        let counted = self.state.load(Ordering::Relaxed) >> TAKEN_SHIFT;
        self.state.store((counted + taken) << TAKEN_SHIFT | u64::from(top), Ordering::Relaxed);
    }

    /// The blocks in it and the blocks taken, for any thread.
    pub(super) fn counts(&self) -> (u32, u64) {
        let state = self.state.load(Ordering::Relaxed);
        ((state as u16).saturating_sub(self.floor).into(), state >> TAKEN_SHIFT)
    }

    pub(super) fn room(&self) -> u32 {
        u32::from(self.ceiling - self.floor)
    }
}
