//! Growers: blocks that have grown once and can go on growing where they are.
//!
//! A block that `realloc` has to move, and that is not quite small, moves to a *slot*: two gigabytes of addresses of its own, in
//! windows beside those of the heap. From then on growing is one comparison and one store, because addresses cost nothing and
//! memory only where it is touched. There are few slots. The smaller the block, the fewer it may have; a block that finds none
//! free goes where it went before there were any. Only the default heap in memory has growers, so a block's address alone
//! says that it is one.
//!
//! The first two megabytes of a slot are small pages, so that a block of some kilobytes takes no more; what lies behind are huge
//! pages, if the heap has such. A slot that is free keeps its memory, so a program that grows and frees in turns never waits
//! for a page. It loses it before the heap itself, or another grower, takes much new memory ([`Growers::purge`]): what is
//! kept never makes the peak higher than it would be. The same goes for what lies behind a live block, far enough that its owner
//! does not look there without asking: an owner *claims* bytes, eight times what it needs, and behind the claim anybody may
//! give memory back.
//!
//! # Invariants
//! - **Z1** A slot belongs to whoever cleared its bit in `free`, or got the block from there; who gives it back sets the bit.
//! - **Z2** The word of a slot that belongs to a block says live. Its claim is a multiple of a page and, up to
//!   [`MAX_SMALL`], the size of a class: the block has the claimed bytes, and so what any layout of that length or less may
//!   expect. Only its owner changes the claim.
//! - **Z3** Of a slot, bytes behind what it holds read as zeros, and what it holds is at least its claim. Who sets the word's purging
//!   bit may drop what lies behind the claim; until it clears the bit, nobody raises the claim or takes the slot.
//! - **Z4** The claimed bytes of a slot are readable and writable: they lie below `opened`.
//! - **Z5** The layout of a live block here is longer than [`LEAST`], and demands no more than [`ALIGN`].
//!
//! # Volatile
//! All of it.

use super::heap_core::Core;
use super::size_class::{LOOKED_UP, MAX_SMALL};
use super::windows;
use crate::format::{PAGE, WINDOW};
use crate::os::mapping::{self, Access, Advice};
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};

/// Blocks of so many bytes or less are no growers.
pub(crate) const LEAST: usize = LOOKED_UP;
/// Growers lie at multiples of this.
pub(crate) const ALIGN: usize = 64;

const SLOTS: usize = 256;
const SLOT_SHIFT: u32 = 31;
const SLOT: usize = 1 << SLOT_SHIFT;
/// Bytes of all slots.
const LEN: usize = SLOTS * SLOT;
const WINDOWS: u32 = (LEN / WINDOW) as u32;
/// Blocks do not all begin at the same place of their slots, which would be the same place in every cache, too.
const STAGGER: usize = PAGE + ALIGN;
const STAGGERS: usize = 64;
/// Bytes of the longest grower.
const MOST: usize = SLOT - (STAGGERS * STAGGER).next_multiple_of(1 << 20);
/// How much of a slot has small pages: a huge one.
const SMALL_PAGES: usize = 2 << 20;
/// An owner claims so many times what it needs, rounded up to a power of two,
const CLAIM: usize = 8;
/// and at least this.
const LEAST_CLAIM: usize = 16 << 10;
/// Less memory than this is not worth a system call.
const LEAST_PURGE: usize = 64 << 10;
/// Who claims so much that was not held before gives back first what nobody needs.
const MUCH: usize = 4 << 20;
/// Where no address is.
const NOWHERE: usize = usize::MAX - LEN;

const _: () = assert!(LEN % WINDOW == 0 && MOST % PAGE == 0 && SLOTS % 64 == 0);
const _: () = assert!(STAGGERS * STAGGER + (LEAST_CLAIM << 3) <= SMALL_PAGES && LEAST_CLAIM <= MAX_SMALL);

/// A slot's word: whether it is live, whether somebody gives memory of it back, the claimed bytes, and the pages that it holds.
mod word {
    pub(super) const LIVE: u64 = 1;
    pub(super) const PURGING: u64 = 2;
    pub(super) const CLAIMED: u64 = 0xFFFF_F000;
    pub(super) const HELD_SHIFT: u32 = 32;
    pub(super) const HELD: u64 = u64::MAX << HELD_SHIFT;

    pub(super) const fn new(flags: u64, claimed: usize, held: usize) -> u64 {
        flags | claimed as u64 | ((held / super::PAGE) as u64) << HELD_SHIFT
    }

    #[inline(always)]
    pub(super) const fn claimed(word: u64) -> usize {
        (word & CLAIMED) as usize
    }

    pub(super) const fn held(word: u64) -> usize {
        (word >> HELD_SHIFT) as usize * super::PAGE
    }
}

const _: () = assert!(MOST as u64 <= word::CLAIMED);

/// What is known of a slot, on a line of its own.
#[derive(Debug)]
#[repr(align(64))]
struct Slot {
    word: AtomicU64,
    /// Bytes of the block; 0 if there is none. For those who look on: its owner alone writes it.
    len: AtomicUsize,
    /// Bytes from the slot's start that are accessible, a multiple of [`SMALL_PAGES`]. Its owner's.
    opened: AtomicUsize,
    /// Blocks that were ever here. Its owner's.
    taken: AtomicU64,
    /// What `taken` was when a period ended. Under the heap's lock.
    seen: AtomicU64,
}

/// The slots of a heap.
#[derive(Debug)]
pub(crate) struct Growers {
    base: AtomicUsize,
    /// The heap, which is never let go; null before [`Growers::begin`].
    core: AtomicPtr<Core>,
    /// Whether what lies behind the small pages are huge ones.
    has_huge_pages: AtomicBool,
    /// Whether no block is to be taken, or to get more memory: the heap has limits, which do not count what is here.
    is_paused: AtomicBool,
    /// The heap's end when memory was given back last for its sake.
    heap_end: AtomicUsize,
    free: [AtomicU64; SLOTS / 64],
    slots: [Slot; SLOTS],
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

/// What [`Growers::purge`] gives back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unneeded {
    /// All that nobody has claimed.
    All,
    /// The same, but for the slot of that number.
    AllBut(usize),
    /// What nobody has taken since this was last asked for.
    SinceLast,
}

impl Growers {
    const fn new() -> Self {
        const SLOT: Slot = Slot {
            word: AtomicU64::new(0),
            len: AtomicUsize::new(0),
            opened: AtomicUsize::new(0),
            taken: AtomicU64::new(0),
            seen: AtomicU64::new(0),
        };
        Self {
            base: AtomicUsize::new(NOWHERE),
            core: AtomicPtr::new(ptr::null_mut()),
            has_huge_pages: AtomicBool::new(false),
            is_paused: AtomicBool::new(false),
            heap_end: AtomicUsize::new(0),
            free: [const { AtomicU64::new(0) }; SLOTS / 64],
            slots: [const { SLOT }; SLOTS],
        }
    }

    /// Gets the slots of a heap that is being made; without room for them there are none, and everything else works.
    /// Once for each value, and before others know of the heap, which is never let go.
    pub(crate) fn begin(&self, core: &Core) {
        let Ok(first) = windows::reserve_beside(core.window, WINDOWS) else { return };
        // Relaxed: the heap is published behind it.
        self.base.store(first as usize * WINDOW, Ordering::Relaxed);
        self.core.store(ptr::from_ref(core).cast_mut(), Ordering::Relaxed);
        self.has_huge_pages.store(core.backing.has_huge_pages(), Ordering::Relaxed);
        for free in &self.free {
            free.store(u64::MAX, Ordering::Relaxed);
        }
    }

    /// Whether a block is a grower.
    #[inline(always)]
    pub(crate) fn has(&self, address: usize) -> bool {
        // Relaxed: whoever has a grower got it after there were any.
        address.wrapping_sub(self.base.load(Ordering::Relaxed)) < LEN
    }

    /// The number of a grower's slot.
    #[inline(always)]
    fn number_of(&self, address: usize) -> usize {
        (address.wrapping_sub(self.base.load(Ordering::Relaxed)) >> SLOT_SHIFT) & (SLOTS - 1)
    }

    fn slot_start(&self, number: usize) -> usize {
        self.base.load(Ordering::Relaxed) + number * SLOT
    }

    fn address_of(&self, number: usize) -> usize {
        self.slot_start(number) + number % STAGGERS * STAGGER
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
    pub(crate) fn take(&self, size: usize) -> Option<*mut u8> {
        debug_assert!(size > LEAST);
        const SMALL: usize = 16 << 10;
        const MEDIUM: usize = 256 << 10;
        // Of those for smaller blocks the larger ones take only what they find no other place for.
        let words: &[usize] = match size {
            0..SMALL => &[0],
            SMALL..MEDIUM => &[1, 0],
            _ => &[2, 3, 1, 0],
        };
        // Relaxed: a setting.
        if size > MOST || self.is_paused.load(Ordering::Relaxed) {
            return None;
        }
        let number = words.iter().find_map(|&word| self.take_slot(word))?;
        let slot = &self.slots[number];
        // The word of a slot without a block changes only in the hands of whoever has it (Z1).
        let held = word::held(slot.word.load(Ordering::Relaxed));
        let claim = claim_for(size);
        self.note_claim(number, claim, held);
        if !self.open(number, claim) {
            self.give_slot(number);
            return None;
        }
        slot.len.store(size, Ordering::Relaxed);
        slot.taken.store(slot.taken.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        // Release pairs with the Acquire in `purge`: it finds the length and the claim of this block.
        slot.word.store(word::new(word::LIVE, claim, claim.max(held)), Ordering::Release);
        Some(ptr::with_exposed_provenance_mut(self.address_of(number)))
    }

    /// Takes the first free slot of a word.
    fn take_slot(&self, word: usize) -> Option<usize> {
        let free = &self.free[word];
        let mut bits = free.load(Ordering::Relaxed);
        while bits != 0 {
            let bit = bits & bits.wrapping_neg();
            // Acquire pairs with the Release in `give_slot`: what was done with the slot is over.
            bits = free.fetch_and(!bit, Ordering::Acquire);
            if bits & bit != 0 {
                return Some(word * 64 + bit.trailing_zeros() as usize);
            }
        }
        None
    }

    fn give_slot(&self, number: usize) {
        // Release pairs with the Acquire in `take_slot` and `purge`.
        self.free[number / 64].fetch_or(1 << (number % 64), Ordering::Release);
    }

    /// Makes a live block `size` bytes long where it is; false if it cannot be.
    ///
    /// The caller owns the block.
    #[inline(always)]
    pub(crate) fn resize(&self, address: usize, size: usize) -> bool {
        let slot = &self.slots[self.number_of(address)];
        // Relaxed: only the owner changes the claim (Z2).
        if size <= word::claimed(slot.word.load(Ordering::Relaxed)) {
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
        if size > MOST || self.is_paused.load(Ordering::Relaxed) {
            return false;
        }
        let claim = claim_for(size);
        self.note_claim(number, claim, word::held(slot.word.load(Ordering::Relaxed)));
        if !self.open(number, claim) || !self.set_claim(slot, claim) {
            return false;
        }
        slot.len.store(size, Ordering::Relaxed);
        true
    }

    /// Changes the claim of a live block, unless somebody gives back what lies behind it.
    fn set_claim(&self, slot: &Slot, claim: usize) -> bool {
        // Acquire pairs with the Release in `purge`: what it drops is dropped. Release pairs with its Acquire.
        let claimed = slot.word.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |old| {
            (old & word::PURGING == 0).then(|| word::new(word::LIVE, claim, claim.max(word::held(old))))
        });
        claimed.is_ok()
    }

    /// Makes a live block `size` bytes long where it is, and much shorter than it was: memory behind it may go.
    pub(crate) fn shrink(&self, address: usize, size: usize) {
        let slot = &self.slots[self.number_of(address)];
        // If it cannot be lowered now, it stays as it is.
        self.set_claim(slot, claim_for(size).min(word::claimed(slot.word.load(Ordering::Relaxed))));
        slot.len.store(size, Ordering::Relaxed);
    }

    /// Gives a live block's slot back.
    ///
    /// # Safety
    /// The block is the caller's, and not used again.
    #[inline]
    pub(crate) unsafe fn free(&self, address: usize) {
        let number = self.number_of(address);
        let slot = &self.slots[number];
        slot.len.store(0, Ordering::Relaxed);
        // Release pairs with the Acquire in `purge`: its owner is done with the block.
        let old = slot.word.fetch_and(!(word::LIVE | word::CLAIMED), Ordering::Release);
        debug_assert!(old & word::LIVE != 0, "a grower is freed that is none");
        // Otherwise whoever gives memory of it back gives the slot back (Z3).
        if old & word::PURGING == 0 {
            self.give_slot(number);
        }
    }

    /// Before a slot that holds `held` bytes comes to hold a claim: others give back what they hold for nobody.
    fn note_claim(&self, number: usize, claim: usize, held: usize) {
        if claim >= held + MUCH {
            // SAFETY: set by `begin`, as there is a slot; never let go.
            let core = unsafe { &*self.core.load(Ordering::Relaxed) };
            let _guard = core.lock.lock();
            // SAFETY: under the lock.
            unsafe { self.purge(Unneeded::AllBut(number)) };
        }
    }

    /// Makes the first `claim` bytes of a slot's block accessible (Z4). Its owner calls this.
    fn open(&self, number: usize, claim: usize) -> bool {
        let slot = &self.slots[number];
        let start = self.slot_start(number);
        let opened = slot.opened.load(Ordering::Relaxed);
        let end = (self.address_of(number) + claim - start).next_multiple_of(SMALL_PAGES).min(SLOT);
        if end <= opened {
            return true;
        }
        // SAFETY: the addresses are the slot's, and more rights hurt nobody.
        if unsafe { mapping::protect(start + opened, end - opened, Access::ReadWrite) }.is_err() {
            return false;
        }
        // Without the one or the other everything works, only slower, or with more memory.
        if opened == 0 {
            let _ = mapping::advise(start, SMALL_PAGES, Advice::NoHugePage);
        }
        if opened <= SMALL_PAGES && end > SMALL_PAGES && self.has_huge_pages.load(Ordering::Relaxed) {
            let _ = mapping::advise(start + SMALL_PAGES, SLOT - SMALL_PAGES, Advice::HugePage);
        }
        slot.opened.store(end, Ordering::Relaxed);
        true
    }

    /// Gives memory back that lies in free slots, or behind the claims of live blocks; returns how many bytes at most.
    ///
    /// # Safety
    /// Under the heap's lock, so that no two do it at once and nobody forks meanwhile.
    pub(crate) unsafe fn purge(&self, what: Unneeded) -> usize {
        let mut bytes = 0;
        for (number, slot) in self.slots.iter().enumerate() {
            if what == Unneeded::AllBut(number) {
                continue;
            }
            let word = slot.word.load(Ordering::Relaxed);
            if word::held(word).saturating_sub(word::claimed(word)) < LEAST_PURGE {
                continue;
            }
            let taken = slot.taken.load(Ordering::Relaxed);
            if what == Unneeded::SinceLast && slot.seen.swap(taken, Ordering::Relaxed) != taken {
                continue;
            }
            let is_live = word & word::LIVE != 0;
            let is_ours = if is_live {
                // Acquire pairs with the Release in `take` and `set_claim`.
                let begun = slot.word.compare_exchange(word, word | word::PURGING, Ordering::Acquire, Ordering::Relaxed);
                begun.is_ok()
            } else {
                let bit = 1 << (number % 64);
                // Acquire as in `take_slot`.
                self.free[number / 64].fetch_and(!bit, Ordering::Acquire) & bit != 0
            };
            if !is_ours {
                continue;
            }
            // Of a free slot the word may have changed until it was ours.
            let word = if is_live { word } else { slot.word.load(Ordering::Relaxed) };
            let (claimed, mut held) = (word::claimed(word), word::held(word));
            let start = self.address_of(number);
            let from = (start + claimed).next_multiple_of(PAGE);
            let to = (start + held).next_multiple_of(PAGE);
            // SAFETY: nobody has what lies behind the claim (Z3), and the pages lie in the slot, whose last part no block reaches.
            if to > from && unsafe { mapping::discard(from, to - from) }.is_ok() {
                bytes += to - from;
                held = claimed;
            }
            // Release pairs with the Acquire in `set_claim`; of a freed block also with that in `take_slot`.
            let ended = slot.word.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |now| {
                Some(now & !(word::PURGING | word::HELD) | word::new(0, 0, held))
            });
            // Either the slot was free, or its block was freed meanwhile, and it was left to us.
            if ended.is_ok_and(|before| before & word::LIVE == 0) {
                self.give_slot(number);
            }
        }
        bytes
    }

    /// Before memory of the heap up to unit `end` is touched for the first time. Under the heap's lock.
    ///
    /// # Safety
    /// As for [`Growers::purge`].
    pub(super) unsafe fn note_heap_end(&self, end: usize) {
        // Relaxed: under the lock.
        if end > self.heap_end.load(Ordering::Relaxed) {
            self.heap_end.store(end, Ordering::Relaxed);
            // SAFETY: the caller's promise.
            unsafe { self.purge(Unneeded::All) };
        }
    }

    /// Whether blocks are to become growers, and growers to get more memory.
    pub(crate) fn pause(&self, is_paused: bool) {
        // Relaxed: read alone.
        self.is_paused.store(is_paused, Ordering::Relaxed);
    }

    /// What there is, at about one moment.
    pub(crate) fn count(&self) -> Grown {
        let mut grown = Grown::default();
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

/// What a block of `size` bytes claims (Z2).
fn claim_for(size: usize) -> usize {
    (size.next_power_of_two() * CLAIM).clamp(LEAST_CLAIM, MOST)
}
