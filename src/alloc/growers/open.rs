//! Making the memory of slots accessible as it is claimed, and moving pages into it.

use super::Growers;
use super::place::{FAR_SHIFT, NEAR, NEAR_SHIFT};
use crate::os::mapping::{self, Access, Advice};
use core::sync::atomic::Ordering;

/// Near slots are made accessible by so many.
pub(super) const NEAR_STEP: usize = 16;
/// Far ones by so many bytes: a huge page.
const FAR_STEP: usize = 2 << 20;
const _: () = assert!(NEAR / NEAR_STEP <= 32);

/// What came of moving pages into a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moved {
    Yes,
    /// It was not tried.
    No,
    /// It failed, and the block is gone.
    Lost,
}

impl Growers {
    /// Makes the first `claim` bytes of a slot's block accessible (Z4). Its owner calls this.
    #[inline(always)]
    pub(super) fn open(&self, number: usize, claim: usize) -> bool {
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

    /// Bytes of near slots that are accessible.
    pub(super) fn opened_near(&self) -> usize {
        // Relaxed: a figure.
        self.opened.load(Ordering::Relaxed).count_ones() as usize * (NEAR_STEP << NEAR_SHIFT)
    }

    /// In a forked child: its mappings are more than one where they were one before, and some kernels that move several at once
    /// may stop halfway.
    pub(crate) fn begin_child(&self) {
        self.cannot_move.store(true, Ordering::Relaxed);
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
}
