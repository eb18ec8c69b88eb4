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
//! the heap itself, or another grower, takes much new memory ([`Growers::purge`]): what is kept never makes the peak higher
//! than it would be. The same goes for what lies behind a live block, far enough that its owner does not look there without
//! asking: an owner *claims* bytes, eight times what it needs, and behind the claim anybody may give memory back.
//!
//! # Invariants
//! - **Z1** A slot whose word says neither live nor purging belongs to nobody. Who says either of it by an exchange has it: the
//!   block and its claim, or what lies behind the claim.
//! - **Z2** The claim of a live block is a multiple of a page and, up to [`MAX_SMALL`], the size of a class: the block has the
//!   claimed bytes, and so what any layout of that length or less may expect. Only its owner changes the claim.
//! - **Z3** Of a slot, bytes behind what it holds were not touched since they were last given back, and what it holds is at least
//!   its claim. While its word says purging, what lies behind the claim may be dropped; nobody raises the claim or takes the slot.
//! - **Z4** The claimed bytes of a slot are readable and writable.
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
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// Blocks of so many bytes or less are no growers,
pub(crate) const LEAST: usize = LOOKED_UP;
/// and of so many bytes or less do not become growers: copying them costs less.
pub(crate) const LEAST_TAKEN: usize = 2 << 10;
/// Growers lie at multiples of this.
pub(crate) const ALIGN: usize = 64;

/// Slots are looked for by sixty-four.
const GROUP: usize = 64;
const NEAR_GROUPS: usize = 4;
const FAR_GROUPS: usize = 2;
pub(crate) const GROUPS: usize = NEAR_GROUPS + FAR_GROUPS;
const NEAR: usize = NEAR_GROUPS * GROUP;
const FAR: usize = FAR_GROUPS * GROUP;
const NEAR_SHIFT: u32 = 21;
const FAR_SHIFT: u32 = 31;
/// Bytes of all slots; all near ones lie where the first far one would.
const LEN: usize = (FAR + 1) << FAR_SHIFT;
/// Windows that are kept for them, all of which have the same number when it is divided by how many they are.
const WINDOWS: u32 = LEN.next_power_of_two().div_ceil(WINDOW) as u32;
/// The first of those of the default heap: below those that files choose, and above those that heaps in memory get.
const PLACE: u32 = 376;
const _: () = assert!(PLACE % WINDOWS == 0 && WINDOWS.is_power_of_two());
/// Near blocks do not all begin at the same place of their slots, which would be the same place in every cache, too.
const STAGGER: usize = PAGE + ALIGN;
/// Bytes of the longest near block.
const MOST_NEAR: usize = (1 << NEAR_SHIFT) - (GROUP * STAGGER).next_multiple_of(PAGE);
/// Bytes of the longest block.
const MOST: usize = 1 << FAR_SHIFT;
/// Near slots are made accessible by so many.
const NEAR_STEP: usize = 16;
/// Far ones by so many bytes: a huge page.
const FAR_STEP: usize = 2 << 20;
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

const _: () = assert!(NEAR << NEAR_SHIFT <= MOST && NEAR / NEAR_STEP <= 32 && MOST_NEAR > 1 << 20);
const _: () = assert!(LEAST_TAKEN >= LEAST);
const _: () = assert!(MOST_NEAR % PAGE == 0 && MOST_NEAR > MAX_SMALL && LEAST_CLAIM.is_power_of_two());

/// A slot's word: whether it is live, whether somebody gives memory of it back, the claimed bytes, and the pages that it holds.
mod word {
    pub(super) const LIVE: u64 = 1;
    pub(super) const PURGING: u64 = 2;
    pub(super) const CLAIMED: u64 = 0xFFFF_F000;
    const HELD_SHIFT: u32 = 32;
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

/// What is known of a slot, away from what others write.
#[derive(Debug)]
#[repr(align(128))]
struct Slot {
    word: AtomicU64,
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
        word: AtomicU64::new(0),
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
    /// A bit for each [`NEAR_STEP`] near slots that are accessible.
    opened: AtomicU32,
    /// Whether a group seemed to have no free slot. One that is freed at that moment may be overlooked until the next is.
    is_full: [AtomicBool; GROUPS],
    /// Whether moving pages has failed.
    cannot_move: AtomicBool,
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

/// Where those of the default heap begin, if there are any.
pub(crate) const DEFAULT_PLACE: Option<u32> = Some(PLACE);

/// Whether an address lies where growers of the default heap do: no load, so that whoever asks for blocks that are none pays
/// next to nothing. [`Growers::has`] is sure.
#[inline(always)]
pub(crate) fn is_near(address: usize) -> bool {
    address / (WINDOWS as usize * WINDOW) == (PLACE / WINDOWS) as usize
}

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

/// What came of moving pages into a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moved {
    Yes,
    /// It was not tried.
    No,
    /// It failed, and the block is gone.
    Lost,
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
        Self {
            base: AtomicUsize::new(0),
            core: AtomicPtr::new(ptr::null_mut()),
            has_huge_pages: AtomicBool::new(false),
            is_ready: AtomicBool::new(false),
            opened: AtomicU32::new(0),
            is_full: [const { AtomicBool::new(false) }; GROUPS],
            cannot_move: AtomicBool::new(false),
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

    #[inline(always)]
    fn base(&self) -> usize {
        // Relaxed: whoever has a grower got it after there were any.
        self.base.load(Ordering::Relaxed).wrapping_add(NOWHERE)
    }

    /// Whether a block is a grower.
    #[inline(always)]
    pub(crate) fn has(&self, address: usize) -> bool {
        address.wrapping_sub(self.base()) < LEN
    }

    /// The number of the slot that an address lies in.
    #[inline(always)]
    fn number_of(&self, address: usize) -> usize {
        let offset = address.wrapping_sub(self.base());
        if offset < NEAR << NEAR_SHIFT {
            offset >> NEAR_SHIFT
        } else {
            // Behind the near slots up to the first far one nothing lies; an address there is no block of any slot.
            NEAR + ((offset >> FAR_SHIFT).wrapping_sub(1) & (FAR - 1))
        }
    }

    fn address_of(&self, number: usize) -> usize {
        let base = self.base();
        if number < NEAR {
            base + (number << NEAR_SHIFT) + number % GROUP * STAGGER
        } else {
            base + ((number - NEAR + 1) << FAR_SHIFT)
        }
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
        if !self.open(number, word::claimed(slot.word.load(Ordering::Relaxed))) {
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
        // Relaxed: the exchange decides.
        let old = slot.word.load(Ordering::Relaxed);
        if old & (word::LIVE | word::PURGING) != 0 {
            return false;
        }
        let (claim, held) = (claim_for(number, size), word::held(old));
        self.note_claim(number, claim, held);
        let new = word::new(word::LIVE, claim, claim.max(held));
        // Acquire pairs with the Release in `give` and `purge`: what was done with the slot is over.
        slot.word.compare_exchange(old, new, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Gives a slot back. Its owner does.
    #[inline(always)]
    fn give(&self, slot: &Slot, number: usize) {
        // Release pairs with the Acquire of whoever takes it, or gives its memory back.
        slot.word.fetch_and(!(word::LIVE | word::CLAIMED), Ordering::Release);
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
        let most = if number < NEAR { MOST_NEAR } else { MOST };
        if size > most || !self.is_ready.load(Ordering::Relaxed) {
            return false;
        }
        let claim = claim_for(number, size);
        self.note_claim(number, claim, word::held(slot.word.load(Ordering::Relaxed)));
        if !self.open(number, claim) || !Self::set_claim(slot, claim) {
            return false;
        }
        slot.len.store(size, Ordering::Relaxed);
        true
    }

    /// Moves what `len` bytes of the heap from `from` on hold to the start of a live far block, instead of copying it.
    ///
    /// In the heap nothing is unmapped, so its mapping stays one; in a slot there are never more than three.
    ///
    /// # Safety
    /// The bytes and the block are the caller's, and nobody relies on what either holds at the end. The bytes are whole pages of
    /// anonymous memory, and at most as many as the block has.
    pub(crate) unsafe fn move_in(&self, address: usize, from: usize, len: usize) -> Moved {
        const LEAST_MOVED: usize = 4 << 20;
        // Relaxed: read alone.
        if self.number_of(address) < NEAR || len < LEAST_MOVED || self.cannot_move.load(Ordering::Relaxed) {
            return Moved::No;
        }
        // SAFETY: the caller's promise; the block begins its slot, and has these bytes (Z2).
        if unsafe { mapping::move_pages(from, address, len) }.is_ok() {
            return Moved::Yes;
        }
        // The kernel is too old, or a limit is reached. Whether the slot's addresses are still ours cannot be told: another thread
        // may have got them. So the slot stays live for ever, and this is not tried again.
        self.cannot_move.store(true, Ordering::Relaxed);
        self.slots[self.number_of(address)].len.store(0, Ordering::Relaxed);
        Moved::Lost
    }

    /// Changes the claim of a live block, unless somebody gives back what lies behind it.
    fn set_claim(slot: &Slot, claim: usize) -> bool {
        // Acquire pairs with the Release in `purge`: what it drops is dropped. Release pairs with its Acquire.
        let claimed = slot.word.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |old| {
            (old & word::PURGING == 0).then(|| word::new(word::LIVE, claim, claim.max(word::held(old))))
        });
        claimed.is_ok()
    }

    /// Makes a live block `size` bytes long where it is, and much shorter than it was: memory behind it may go.
    pub(crate) fn shrink(&self, address: usize, size: usize) {
        let number = self.number_of(address);
        let slot = &self.slots[number];
        // If it cannot be lowered now, it stays as it is.
        Self::set_claim(slot, claim_for(number, size).min(word::claimed(slot.word.load(Ordering::Relaxed))));
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

    /// Before a slot that holds `held` bytes comes to hold a claim: others give back what they hold for nobody.
    #[inline(always)]
    fn note_claim(&self, number: usize, claim: usize, held: usize) {
        if claim >= held + MUCH {
            self.make_room(number);
        }
    }

    #[cold]
    fn make_room(&self, number: usize) {
        // SAFETY: set by `begin`, as there is a slot; never let go.
        let core = unsafe { &*self.core.load(Ordering::Relaxed) };
        let _guard = core.lock.lock();
        // SAFETY: under the lock.
        unsafe { core.purge_growers(Unneeded::AllBut(number)) };
    }

    /// Makes the first `claim` bytes of a slot's block accessible (Z4). Its owner calls this.
    #[inline(always)]
    fn open(&self, number: usize, claim: usize) -> bool {
        // Relaxed: whoever reads a bit, or the bytes of its own slot, has the rights that were given before in this process.
        if number < NEAR {
            let step = number / NEAR_STEP;
            self.opened.load(Ordering::Relaxed) >> step & 1 != 0 || self.open_near(step)
        } else {
            claim <= self.slots[number].opened.load(Ordering::Relaxed) || self.open_far(number, claim)
        }
    }

    #[cold]
    fn open_near(&self, step: usize) -> bool {
        const BYTES: usize = NEAR_STEP << NEAR_SHIFT;
        let start = self.base() + step * BYTES;
        // Two threads may do it at once, which does no harm.
        // SAFETY: the addresses are those of slots, and more rights hurt nobody.
        if unsafe { mapping::protect(start, BYTES, Access::ReadWrite) }.is_err() {
            return false;
        }
        // Where there is no such advice there are no huge pages, or the blocks take more memory.
        let _ = mapping::advise(start, BYTES, Advice::NoHugePage);
        self.opened.fetch_or(1 << step, Ordering::Relaxed);
        true
    }

    #[cold]
    fn open_far(&self, number: usize, claim: usize) -> bool {
        let slot = &self.slots[number];
        let start = self.address_of(number);
        let opened = slot.opened.load(Ordering::Relaxed);
        let end = claim.next_multiple_of(FAR_STEP);
        // SAFETY: as in `open_near`.
        if unsafe { mapping::protect(start + opened, end - opened, Access::ReadWrite) }.is_err() {
            return false;
        }
        if opened == 0 && self.has_huge_pages.load(Ordering::Relaxed) {
            // Without it everything works, only slower.
            let _ = mapping::advise(start, 1 << FAR_SHIFT, Advice::HugePage);
        }
        slot.opened.store(end, Ordering::Relaxed);
        true
    }

    /// Gives memory back that lies in free slots, or behind the claims of live blocks; returns how many bytes at most.
    ///
    /// # Safety
    /// Under the heap's lock, so that nobody forks meanwhile.
    pub(crate) unsafe fn purge(&self, what: Unneeded) -> usize {
        let mut bytes = 0;
        for (number, slot) in self.slots.iter().enumerate() {
            if what == Unneeded::AllBut(number) {
                continue;
            }
            let taken = slot.taken.load(Ordering::Relaxed);
            if what == Unneeded::SinceLast && slot.seen.swap(taken, Ordering::Relaxed) != taken {
                continue;
            }
            // SAFETY: the caller's promise.
            bytes += unsafe { self.purge_slot(number) };
        }
        bytes
    }

    /// As [`Growers::purge`], of one slot.
    ///
    /// # Safety
    /// As there.
    unsafe fn purge_slot(&self, number: usize) -> usize {
        let slot = &self.slots[number];
        let word = slot.word.load(Ordering::Relaxed);
        let (claimed, held) = (word::claimed(word), word::held(word));
        if held.saturating_sub(claimed) < LEAST_PURGE || word & word::PURGING != 0 {
            return 0;
        }
        // Acquire pairs with the Release in `give` and `set_claim`: who wrote behind the claim has given it up.
        let begun = slot.word.compare_exchange(word, word | word::PURGING, Ordering::Acquire, Ordering::Relaxed);
        if begun.is_err() {
            return 0;
        }
        let start = self.address_of(number);
        let (from, to) = ((start + claimed).next_multiple_of(PAGE), (start + held).next_multiple_of(PAGE));
        // SAFETY: nobody has what lies behind the claim (Z3). The pages lie in the slot, and no block reaches its last ones.
        let is_gone = unsafe { mapping::discard(from, to - from) }.is_ok();
        let left = if is_gone { claimed } else { held };
        // Release pairs with the Acquire of whoever takes the slot or raises the claim. Its owner may have freed the block.
        let _ = slot.word.fetch_update(Ordering::Release, Ordering::Relaxed, |now| {
            Some(now & !(word::PURGING | word::HELD) | word::new(0, 0, left))
        });
        if is_gone { to - from } else { 0 }
    }

    /// Gives the memory back that a slot held whose block has been freed.
    #[cold]
    pub(crate) fn discard(&self, core: &Core, address: usize) {
        let _guard = core.lock.lock();
        // SAFETY: under the lock. If the slot has another block by now, that keeps what it has claimed.
        let bytes = unsafe { self.purge_slot(self.number_of(address)) };
        if bytes > 0 {
            core.totals.count_purge(bytes);
        }
    }

    /// Whether any slot holds what could be given back.
    pub(crate) fn holds_some(&self) -> bool {
        self.slots.iter().any(|slot| {
            let word = slot.word.load(Ordering::Relaxed);
            word::held(word).saturating_sub(word::claimed(word)) >= LEAST_PURGE
        })
    }

    /// Whether the heap's memory up to unit `end` is about to be touched for the first time. Under the heap's lock.
    pub(super) fn is_new_end(&self, end: usize) -> bool {
        // Relaxed: under the lock.
        let is_new = end > self.heap_end.load(Ordering::Relaxed);
        if is_new {
            self.heap_end.store(end, Ordering::Relaxed);
        }
        is_new
    }

    /// Whether blocks are to become growers, and growers to get more memory.
    pub(crate) fn pause(&self, is_paused: bool) {
        // Relaxed: read alone.
        self.is_ready.store(!is_paused && !self.core.load(Ordering::Relaxed).is_null(), Ordering::Relaxed);
    }

    /// What there is, at about one moment.
    pub(crate) fn count(&self) -> Grown {
        let near = self.opened.load(Ordering::Relaxed).count_ones() as u64 * (NEAR_STEP << NEAR_SHIFT) as u64;
        let mut grown = Grown { opened: near, ..Grown::default() };
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

impl Core {
    /// Gives back what growers hold for nobody.
    ///
    /// # Safety
    /// Under the lock.
    pub(super) unsafe fn purge_growers(&self, what: Unneeded) -> usize {
        // SAFETY: the caller's promise.
        let bytes = self.growers.map_or(0, |growers| unsafe { growers.purge(what) });
        if bytes > 0 {
            self.totals.count_purge(bytes);
        }
        bytes
    }
}

/// What a block of `size` bytes claims in a slot that it fits into (Z2).
#[inline(always)]
fn claim_for(number: usize, size: usize) -> usize {
    let most = if number < NEAR { MOST_NEAR } else { MOST };
    (size.next_power_of_two() * CLAIM).clamp(LEAST_CLAIM, most)
}

#[cfg(all(test, not(loom)))]
mod tests;
