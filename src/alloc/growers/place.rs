//! Where the slots of a heap lie, how long they are, and how much of one a block claims.
//!
//! In groups of sixty-four: first the near ones, side by side, then the far ones, each at a multiple of its length behind the base.

use super::{ALIGN, Growers, slot};
use crate::alloc::size_class::MAX_SMALL;
use crate::format::{PAGE, WINDOW};
use core::sync::atomic::Ordering;

/// Slots are looked for by sixty-four.
pub(super) const GROUP: usize = 64;
pub(super) const NEAR_GROUPS: usize = 4;
const FAR_GROUPS: usize = 2;
pub(super) const GROUPS: usize = NEAR_GROUPS + FAR_GROUPS;
pub(super) const NEAR: usize = NEAR_GROUPS * GROUP;
pub(super) const FAR: usize = FAR_GROUPS * GROUP;
pub(super) const NEAR_SHIFT: u32 = 21;
pub(super) const FAR_SHIFT: u32 = 31;
/// Bytes of all slots; all near ones lie where the first far one would.
pub(super) const LEN: usize = (FAR + 1) << FAR_SHIFT;
/// Windows that are kept for them, all of which have the same number when it is divided by how many they are.
pub(super) const WINDOWS: u32 = LEN.next_power_of_two().div_ceil(WINDOW) as u32;
/// The first of those of the default heap: below those that files choose, and above those that heaps in memory get.
const PLACE: u32 = 376;
const _: () = assert!(PLACE % WINDOWS == 0 && WINDOWS.is_power_of_two());
/// Near blocks do not all begin at the same place of their slots, which would be the same place in every cache, too.
const STAGGER: usize = PAGE + ALIGN;
/// Bytes of the longest near block.
pub(super) const MOST_NEAR: usize = (1 << NEAR_SHIFT) - (GROUP * STAGGER).next_multiple_of(PAGE);
/// Bytes of the longest block.
pub(super) const MOST: usize = 1 << FAR_SHIFT;
/// The owner of a near block claims so many times what it needs, rounded up to a power of two,
const CLAIM: usize = 8;
/// and at least this; that of a far one only so many times: limits on a process's memory count what is accessible.
const LEAST_CLAIM: usize = 16 << 10;
const FAR_CLAIM: usize = 2;
/// Where no address is.
pub(super) const NOWHERE: usize = usize::MAX - LEN;

const _: () = assert!(NEAR << NEAR_SHIFT <= MOST && MOST_NEAR > 1 << 20 && MOST <= slot::MOST_CLAIMED);
const _: () =
    assert!(MOST_NEAR % PAGE == 0 && MOST_NEAR > MAX_SMALL && LEAST_CLAIM.is_power_of_two() && slot::PAGE == PAGE);

/// Where those of the default heap begin, if there are any.
pub(crate) const DEFAULT_PLACE: Option<u32> = Some(PLACE);

/// Whether an address lies where growers of the default heap do: no load, so that whoever asks for blocks that are none pays
/// next to nothing. [`Growers::has`] is sure.
#[inline(always)]
pub(crate) fn is_near(address: usize) -> bool {
    address / (WINDOWS as usize * WINDOW) == (PLACE / WINDOWS) as usize
}

impl Growers {
    #[inline(always)]
    pub(super) fn base(&self) -> usize {
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
    pub(super) fn number_of(&self, address: usize) -> usize {
        let offset = address.wrapping_sub(self.base());
        if offset < NEAR << NEAR_SHIFT {
            offset >> NEAR_SHIFT
        } else {
            // Behind the near slots up to the first far one nothing lies; an address there is no block of any slot.
            NEAR + ((offset >> FAR_SHIFT).wrapping_sub(1) & (FAR - 1))
        }
    }

    pub(super) fn address_of(&self, number: usize) -> usize {
        let base = self.base();
        if number < NEAR {
            base + (number << NEAR_SHIFT) + number % GROUP * STAGGER
        } else {
            base + ((number - NEAR + 1) << FAR_SHIFT)
        }
    }
}

/// Bytes of the longest block of a slot.
#[inline(always)]
pub(super) fn most_of(number: usize) -> usize {
    if number < NEAR { MOST_NEAR } else { MOST }
}

/// What a block of `size` bytes claims in a slot that it fits into (Z2, Z6).
#[inline(always)]
pub(super) fn claim_for(number: usize, size: usize) -> usize {
    if number < NEAR {
        (size.next_power_of_two() * CLAIM).clamp(LEAST_CLAIM, MOST_NEAR)
    } else {
        (size * FAR_CLAIM).next_multiple_of(PAGE).clamp(FAR_CLAIM * MAX_SMALL, MOST)
    }
}
