//! Slabs: taking blocks out, putting them back, and the lists of slabs with free blocks.
//!
//! # Invariants
//! - **B1** `free` is the number of set free bits; bits of blocks at and behind `fresh` are clear.
//! - **B2** A set free bit is a block that nobody holds: it is in no magazine, has no remote bit, and is not alive.
//! - **B3** A slab that is listed is in its owner's list of its class. One with a block to give is listed, unless it has
//!   just been made or is being taken from.
//! - **B4** Free bits of a unit that belongs to no slab are clear.

use super::heap_core::Core;
use super::size_class::{class_size, slab_blocks, slab_units};
use crate::format::slab_entry::SlabEntry;
use crate::format::soft::{SlabLocal, SlabState};
use crate::sync::Ordering;

/// A slab whose owner's rights the holder has (K2).
#[derive(Clone, Copy)]
pub(crate) struct Slab<'a> {
    pub(crate) core: &'a Core,
    pub(crate) head: usize,
    pub(crate) class: usize,
}

/// What became of a slab when a block came back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Returned {
    /// It has blocks out.
    Used,
    /// All its blocks are back.
    Empty,
}

impl<'a> Slab<'a> {
    /// # Safety
    /// `head` is the head of a slab of `class` in `core`, and while this value is used the caller has the owner's rights.
    #[inline(always)]
    pub(crate) unsafe fn new(core: &'a Core, head: usize, class: usize) -> Self {
        Self { core, head, class }
    }

    #[inline(always)]
    pub(crate) fn state(&self) -> *mut SlabState {
        self.core.slab_state(self.head)
    }

    /// The owner's part of the state.
    #[inline(always)]
    pub(crate) fn local(&self) -> *mut SlabLocal {
        // SAFETY: the area has a state for each unit (K3).
        unsafe { &raw mut (*self.state()).local }
    }

    /// Makes units into a slab: its state first, then its table entries, the head last.
    ///
    /// # Safety
    /// The units from `head` on belong to the caller and to no run, and their free bits are clear (B4).
    pub(crate) unsafe fn create(core: &'a Core, head: usize, class: usize, owner: u32, is_zeroed: bool) -> Self {
        let state = core.slab_state(head);
        // SAFETY: the units are the caller's, so nobody else touches their state. Remote words are zero: a slab is only
        // given up when they are (R4).
        unsafe {
            (*state).owner.store(owner, Ordering::Relaxed);
            (*state).local = SlabLocal {
                free: 0,
                fresh: 0,
                blocks: slab_blocks(class),
                next: 0,
                previous: 0,
                is_listed: 0,
                remote_early: 0,
                is_zeroed: u32::from(is_zeroed),
                unused: [0; 7],
            };
        }
        for back in 1..slab_units(class) {
            core.set_entry(head + back, SlabEntry::SlabTail { back: back as u64 });
        }
        core.set_entry(head, SlabEntry::SlabHead { class: class as u8 });
        #[cfg(feature = "preload")]
        super::unit_classes::note(core, head, slab_units(class), class + 1);
        Self { core, head, class }
    }

    /// Makes the slab's units plain units again.
    ///
    /// # Safety
    /// All blocks are back, no remote free is under way (R4), and the slab is in no list.
    pub(crate) unsafe fn dissolve(self) {
        // SAFETY: the holder's rights.
        let fresh = unsafe { (*self.local()).fresh } as usize;
        for word in 0..fresh.div_ceil(64) {
            // SAFETY: the words belong to the slab.
            unsafe { *self.core.free_bits(self.head).add(word) = 0 };
        }
        #[cfg(feature = "preload")]
        super::unit_classes::note(self.core, self.head, slab_units(self.class), 0);
        for unit in self.head..self.head + slab_units(self.class) {
            self.core.set_entry(unit, SlabEntry::Free);
        }
    }

    /// Takes up to `want` blocks and writes them downwards from `end`, in the order of their addresses: a stack that
    /// ends there pops the lowest first.
    ///
    /// # Safety
    /// There is room for `want` pointers below `end`.
    #[inline]
    pub(crate) unsafe fn take(self, end: *mut *mut u8, want: u32) -> u32 {
        // SAFETY: the holder's rights (K2); the reference ends before anyone else's turn.
        let state = unsafe { &mut *self.local() };
        let size = class_size(self.class);
        let start = self.core.address_of(self.head);
        let n = want.min(state.free + (state.blocks - state.fresh));
        let mut slot = end;
        let mut put = |address: usize| {
            // SAFETY: called `n <= want` times.
            unsafe {
                slot = slot.sub(1);
                slot.write(core::ptr::with_exposed_provenance_mut(address));
            }
        };
        let mut from_bits = n.min(state.free);
        let from_fresh = n - from_bits;
        state.free -= from_bits;
        let (mut word, mut first) = (self.core.free_bits(self.head), start);
        while from_bits > 0 {
            // SAFETY: as long as set bits are left (B1), the word is the slab's.
            let mut bits = unsafe { *word };
            if bits == u64::MAX && from_bits >= 64 {
                (0..64).for_each(|index| put(first + index * size));
                (bits, from_bits) = (0, from_bits - 64);
            }
            while bits != 0 && from_bits > 0 {
                put(first + bits.trailing_zeros() as usize * size);
                bits &= bits - 1;
                from_bits -= 1;
            }
            // SAFETY: as above.
            unsafe {
                *word = bits;
                word = word.add(1);
            }
            first += 64 * size;
        }
        (state.fresh..state.fresh + from_fresh).for_each(|index| put(start + index as usize * size));
        state.fresh += from_fresh;
        n
    }

    /// Takes one block that was never handed out and reads as zeros, if there is one.
    pub(crate) fn take_zeroed(self) -> Option<*mut u8> {
        // SAFETY: the holder's rights (K2).
        let state = unsafe { &mut *self.local() };
        if state.is_zeroed == 0 || state.fresh == state.blocks {
            return None;
        }
        let offset = state.fresh as usize * class_size(self.class);
        state.fresh += 1;
        Some(core::ptr::with_exposed_provenance_mut(self.core.address_of(self.head) + offset))
    }

    /// Puts the blocks of `mask` in one word back; [`Slab::credit`] counts them.
    ///
    /// # Safety
    /// They are blocks of this slab that nobody holds any more.
    #[inline(always)]
    pub(crate) unsafe fn put(self, word: usize, mask: u64) {
        // SAFETY: the holder's rights (K2); the word is the slab's.
        unsafe {
            let bits = &mut *self.core.free_bits(self.head).add(word);
            debug_assert!(*bits & mask == 0, "a block that was free is freed");
            *bits |= mask;
        }
    }

    /// Counts blocks whose free bits have been set.
    #[inline(always)]
    pub(crate) fn credit(self, count: u32) -> Returned {
        // SAFETY: the holder's rights (K2).
        let state = unsafe { &mut *self.local() };
        state.free += count;
        Self::returned(state)
    }

    #[inline(always)]
    fn returned(state: &SlabLocal) -> Returned {
        if state.free == state.fresh && state.remote_early == 0 { Returned::Empty } else { Returned::Used }
    }

    /// Takes over what other threads freed; the slab has been popped from a pending stack and its link read.
    pub(crate) fn collect(self) -> Returned {
        let remote = self.core.remote(self.head, self.class);
        let counted = remote.take_count();
        let mut taken = 0;
        for word in 0..remote.bits.len() {
            let bits = remote.take_word(word);
            if bits != 0 {
                taken += bits.count_ones();
                // SAFETY: the holder's rights (K2); the word is the slab's.
                unsafe { *self.core.free_bits(self.head).add(word) |= bits };
            }
        }
        // SAFETY: the holder's rights (K2).
        let state = unsafe { &mut *self.local() };
        state.free += taken;
        // Cannot wrap below zero (R3).
        state.remote_early = state.remote_early.wrapping_add(taken).wrapping_sub(counted);
        Self::returned(state)
    }

    /// Whether all its blocks are back.
    pub(crate) fn is_empty(self) -> bool {
        // SAFETY: the holder's rights (K2).
        Self::returned(unsafe { &*self.local() }) == Returned::Empty
    }

    pub(crate) fn has_blocks(self) -> bool {
        // SAFETY: the holder's rights (K2).
        let state = unsafe { &*self.local() };
        state.free > 0 || state.fresh < state.blocks
    }

    #[inline(always)]
    pub(crate) fn is_listed(self) -> bool {
        // SAFETY: the holder's rights (K2).
        unsafe { (*self.local()).is_listed != 0 }
    }

    /// Puts the slab at the front of a list.
    ///
    /// # Safety
    /// `list` is the list of this class of the slab's owner, and the slab is in none.
    pub(crate) unsafe fn link(self, list: *mut u32) {
        // SAFETY: all slabs of a list have the same owner, whose rights the holder has (K2).
        unsafe {
            let state = &mut *self.local();
            state.is_listed = 1;
            state.previous = 0;
            state.next = *list;
            if *list != 0 {
                (*self.core.slab_state(*list as usize - 1)).local.previous = self.head as u32 + 1;
            }
            *list = self.head as u32 + 1;
        }
    }

    /// Takes the slab out of its list.
    ///
    /// # Safety
    /// The slab is in `list`.
    pub(crate) unsafe fn unlink(self, list: *mut u32) {
        // SAFETY: as in `link`.
        unsafe {
            let state = &mut *self.local();
            state.is_listed = 0;
            if state.previous == 0 {
                *list = state.next;
            } else {
                (*self.core.slab_state(state.previous as usize - 1)).local.next = state.next;
            }
            if state.next != 0 {
                (*self.core.slab_state(state.next as usize - 1)).local.previous = state.previous;
            }
        }
    }

    /// Whether the slab's counters agree with its bits (B1).
    pub(crate) fn check(self) -> bool {
        // SAFETY: the holder's rights (K2).
        let state = unsafe { &*self.local() };
        // What a file says may be anything.
        if state.blocks != slab_blocks(self.class) || state.fresh > state.blocks {
            return false;
        }
        let mut set = 0;
        for word in 0..(state.blocks as usize).div_ceil(64) {
            // SAFETY: the words are the slab's.
            let bits = unsafe { *self.core.free_bits(self.head).add(word) };
            let handed_out = (state.fresh as usize).saturating_sub(word * 64).min(64);
            if handed_out < 64 && bits >> handed_out != 0 {
                return false;
            }
            set += bits.count_ones();
        }
        set == state.free
    }
}
