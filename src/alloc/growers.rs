//! Growers: blocks that have grown once and can go on growing where they are.
//!
//! A block that `realloc` has to move, and that is not quite small, moves to a *slot*: addresses of its own, in windows beside
//! those of the heap. From then on growing is one comparison and one store, because addresses cost nothing and memory only
//! where it is touched. There are *near* slots of two megabytes, in small pages, so that a block of some kilobytes takes no
//! more, and *far* ones of two gigabytes, in huge pages if the heap has such, for blocks that have become longer than that: so
//! no more than two megabytes are ever copied. There are few slots. The smaller the block, the fewer it may have; a block that
//! finds none free goes where it would go if there were none. Only the default heap in memory has growers, so a block's
//! address alone says that it is one.
//!
//! A slot that is free keeps its memory, so a program that grows and frees in turns never waits for a page. It loses it before
//! the heap itself, or another grower, takes much new memory ([`purge`]): what is kept never makes the peak higher
//! than it would be. The same goes for what lies behind a live block, far enough that its owner does not look there without
//! asking: an owner *claims* bytes, eight times what it needs, or twice if that is much, and behind the claim anybody may give memory back.
//!
//! # Invariants
//! Z1 to Z3 are those of a slot's word ([`slot`]).
//! - **Z4** The claimed bytes of a live block are readable and writable.
//! - **Z5** The layout of a live block here is longer than [`LEAST`], and demands no more than [`ALIGN`].
//! - **Z6** A claim up to [`MAX_SMALL`](super::size_class::MAX_SMALL) is the size of a class.
//!
//! # Volatile
//! All of it.

mod open;
mod place;
mod purge;
mod slot;

pub(crate) use open::Moved;
pub(crate) use place::{DEFAULT_PLACE, is_near};
pub(crate) use purge::Unneeded;

use super::heap_core::Core;
use super::size_class::LOOKED_UP;
use super::windows;
use crate::format::{PAGE, WINDOW};
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use place::{FAR, GROUP, GROUPS, LEN, MOST, MOST_NEAR, NEAR, NEAR_GROUPS, NOWHERE, WINDOWS, claim_for, most_of};

/// Blocks of so many bytes or less are no growers,
pub(crate) const LEAST: usize = LOOKED_UP;
/// and of so many bytes or less do not become growers: copying them costs less.
pub(crate) const LEAST_TAKEN: usize = 2 << 10;
/// Growers lie at multiples of this.
pub(crate) const ALIGN: usize = 64;
const _: () = assert!(LEAST_TAKEN >= LEAST);

/// What is known of a slot, away from what others write.
#[derive(Debug)]
#[repr(align(128))]
struct Slot {
    word: slot::Word,
    /// Bytes of the block; 0 if there is none. For those who look on: its owner alone writes it.
    len: AtomicUsize,
    /// Of a far slot, bytes that are accessible. Its owner's.
    opened: AtomicUsize,
    /// Blocks that were ever here. Its owner's.
    taken: AtomicU64,
    /// What `taken` was when a period ended. Under the heap's lock.
    seen: AtomicU64,
}

impl Slot {
    #[expect(clippy::declare_interior_mutable_const, reason = "each slot begins as a copy of it")]
    const NEW: Self = Self {
        word: slot::Word::new(),
        len: AtomicUsize::new(0),
        opened: AtomicUsize::new(0),
        taken: AtomicU64::new(0),
        seen: AtomicU64::new(0),
    };
}

/// The slots of a heap.
#[derive(Debug)]
pub(crate) struct Growers {
    /// Where the slots begin, less [`NOWHERE`]: that is where they begin before there are any. So all of this is zeros then, and
    /// takes no room in the program's file.
    base: AtomicUsize,
    /// The heap, which is never let go; null before [`Growers::begin`].
    core: AtomicPtr<Core>,
    has_huge_pages: AtomicBool,
    /// Whether blocks may be taken, or get more memory: not if the heap has limits, which do not count what is here.
    is_ready: AtomicBool,
    /// A bit for each [`open::NEAR_STEP`] near slots that are accessible.
    opened: AtomicU32,
    /// Whether a group seemed to have no free slot. One that is freed at that moment may be overlooked until the next is.
    is_full: [AtomicBool; GROUPS],
    /// Whether moving pages has failed.
    cannot_move: AtomicBool,
    /// Whether giving memory back has failed.
    cannot_purge: AtomicBool,
    /// The heap's end when memory was given back last for its sake.
    heap_end: AtomicUsize,
    slots: [Slot; NEAR + FAR],
}

/// Where a thread looks for free slots: of each group the one that it freed last, then all others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hints {
    freed: [u8; GROUPS],
    /// With which of a group it begins.
    first: u8,
}

impl Hints {
    /// Those of a thread that has freed none. Threads begin apart, and each comes back to the same slots.
    pub(crate) const fn of_thread(number: u32) -> Self {
        let first = (number.wrapping_sub(1).wrapping_mul(8) % GROUP as u32) as u8;
        Self { freed: [first; GROUPS], first }
    }
}

/// Those of the default heap in memory.
pub(crate) static GROWERS: Growers = Growers::new();

/// What there is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Grown {
    pub(crate) live: u64,
    /// Bytes of live ones.
    pub(crate) bytes: u64,
    /// Bytes that are accessible.
    pub(crate) opened: u64,
    /// Blocks that ever were growers.
    pub(crate) taken: u64,
}

impl Growers {
    const fn new() -> Self {
        Self {
            base: AtomicUsize::new(0),
            core: AtomicPtr::new(ptr::null_mut()),
            has_huge_pages: AtomicBool::new(false),
            is_ready: AtomicBool::new(false),
            opened: AtomicU32::new(0),
            is_full: [const { AtomicBool::new(false) }; GROUPS],
            cannot_move: AtomicBool::new(false),
            cannot_purge: AtomicBool::new(false),
            heap_end: AtomicUsize::new(0),
            slots: [const { Slot::NEW }; NEAR + FAR],
        }
    }

    /// Gets the slots of a heap that is being made; without room for them there are none, and everything else works.
    /// Once for each value, and before others know of the heap, which is never let go.
    pub(crate) fn begin(&self, core: &Core, place: Option<u32>) {
        let Ok(first) = windows::reserve_beside(core.window, place, WINDOWS, LEN) else { return };
        // Relaxed: the heap is published behind it.
        self.base.store((first as usize * WINDOW).wrapping_sub(NOWHERE), Ordering::Relaxed);
        self.core.store(ptr::from_ref(core).cast_mut(), Ordering::Relaxed);
        self.has_huge_pages.store(core.backing.has_huge_pages(), Ordering::Relaxed);
        self.is_ready.store(true, Ordering::Relaxed);
    }

    /// Bytes of the live block that starts at an address; none if there is none.
    pub(crate) fn len_of(&self, address: usize) -> Option<usize> {
        let number = self.number_of(address);
        // Relaxed: the block's owner asks, or nothing depends on the answer.
        let len = self.slots[number].len.load(Ordering::Relaxed);
        (self.has(address) && self.address_of(number) == address && len > 0).then_some(len)
    }

    /// A slot for a block of `size` bytes, which is longer than [`LEAST`]: its address, and `size` bytes of unknown contents. None if
    /// there is none, or none for blocks of that size.
    pub(crate) fn take(&self, size: usize, hints: &Hints) -> Option<*mut u8> {
        const SMALL: usize = 16 << 10;
        const MEDIUM: usize = 256 << 10;
        debug_assert!(size > LEAST);
        // Of those for smaller blocks the longer ones take only what they find no other place for.
        let groups: &[u8] = match size {
            0..SMALL => &[0],
            SMALL..MEDIUM => &[1, 0],
            MEDIUM..=MOST_NEAR => &[2, 3, 1, 0],
            _ => &[4, 5],
        };
        const { assert!(NEAR_GROUPS == 4 && GROUPS == 6) };
        // Relaxed: a setting.
        if size > MOST || !self.is_ready.load(Ordering::Relaxed) {
            return None;
        }
        let number = groups.iter().find_map(|&group| self.take_from(group.into(), size, hints))?;
        let slot = &self.slots[number];
        if !self.open(number, slot.word.look().claimed()) {
            // Nobody has seen a block there.
            self.give(slot, number);
            return None;
        }
        slot.len.store(size, Ordering::Relaxed);
        slot.taken.store(slot.taken.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        Some(ptr::with_exposed_provenance_mut(self.address_of(number)))
    }

    /// Takes a slot of a group: that which the thread has freed last, or another one.
    #[inline(always)]
    fn take_from(&self, group: usize, size: usize, hints: &Hints) -> Option<usize> {
        let number = group * GROUP + usize::from(hints.freed[group]);
        if self.take_slot(number, size) { Some(number) } else { self.take_another(group, size, hints) }
    }

    #[cold]
    #[inline(never)]
    fn take_another(&self, group: usize, size: usize, hints: &Hints) -> Option<usize> {
        // Relaxed: a hint.
        if self.is_full[group].load(Ordering::Relaxed) {
            return None;
        }
        let first = usize::from(hints.first);
        let mut numbers = (first..first + GROUP).map(|at| group * GROUP + at % GROUP);
        let number = numbers.find(|&number| self.take_slot(number, size));
        if number.is_none() {
            self.is_full[group].store(true, Ordering::Relaxed);
        }
        number
    }

    #[inline(always)]
    fn take_slot(&self, number: usize, size: usize) -> bool {
        let slot = &self.slots[number];
        let state = slot.word.look();
        if !state.is_free() {
            return false;
        }
        let claim = claim_for(number, size);
        self.note_claim(number, claim, state.held());
        slot.word.take(state, claim)
    }

    /// Gives a slot back. Its owner does.
    #[inline(always)]
    fn give(&self, slot: &Slot, number: usize) {
        slot.word.give();
        // Relaxed: a hint.
        if self.is_full[number / GROUP].load(Ordering::Relaxed) {
            self.is_full[number / GROUP].store(false, Ordering::Relaxed);
        }
    }

    /// Makes a live block `size` bytes long where it is; false if it cannot be.
    ///
    /// The caller owns the block.
    #[inline(always)]
    pub(crate) fn resize(&self, address: usize, size: usize) -> bool {
        let slot = &self.slots[self.number_of(address)];
        if size <= slot.word.look().claimed() {
            slot.len.store(size, Ordering::Relaxed);
            return true;
        }
        self.resize_slow(address, size)
    }

    #[cold]
    #[inline(never)]
    fn resize_slow(&self, address: usize, size: usize) -> bool {
        let number = self.number_of(address);
        let slot = &self.slots[number];
        if size > most_of(number) || !self.is_ready.load(Ordering::Relaxed) {
            return false;
        }
        let claim = claim_for(number, size);
        self.note_claim(number, claim, slot.word.look().held());
        if !self.open(number, claim) || !slot.word.set_claim(claim) {
            return false;
        }
        slot.len.store(size, Ordering::Relaxed);
        true
    }

    /// Makes a live block `size` bytes long where it is, and much shorter than it was: memory behind it may go.
    pub(crate) fn shrink(&self, address: usize, size: usize) {
        let number = self.number_of(address);
        let slot = &self.slots[number];
        // If it cannot be lowered now, it stays as it is.
        slot.word.set_claim(claim_for(number, size).min(slot.word.look().claimed()));
        slot.len.store(size, Ordering::Relaxed);
    }

    /// Gives a live block's slot back.
    ///
    /// # Safety
    /// The block is the caller's, and not used again.
    #[inline]
    pub(crate) unsafe fn free(&self, address: usize, hints: &mut Hints) {
        let number = self.number_of(address);
        let slot = &self.slots[number];
        debug_assert!(self.len_of(address).is_some(), "a grower is freed that is none");
        slot.len.store(0, Ordering::Relaxed);
        hints.freed[number / GROUP] = (number % GROUP) as u8;
        self.give(slot, number);
    }

    /// Whether blocks are to become growers, and growers to get more memory.
    pub(crate) fn pause(&self, is_paused: bool) {
        // Relaxed: read alone.
        let can_be = !self.core.load(Ordering::Relaxed).is_null() && !self.cannot_purge.load(Ordering::Relaxed);
        self.is_ready.store(!is_paused && can_be, Ordering::Relaxed);
    }

    /// What there is, at about one moment.
    pub(crate) fn count(&self) -> Grown {
        let mut grown = Grown { opened: self.opened_near() as u64, ..Grown::default() };
        for slot in &self.slots {
            // Relaxed: figures.
            let len = slot.len.load(Ordering::Relaxed);
            grown.live += u64::from(len > 0);
            grown.bytes += len.next_multiple_of(PAGE) as u64;
            grown.opened += slot.opened.load(Ordering::Relaxed) as u64;
            grown.taken += slot.taken.load(Ordering::Relaxed);
        }
        grown
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
