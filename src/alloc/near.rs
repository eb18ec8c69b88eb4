//! A block beside another one.
//!
//! Blocks that are used together are cheaper side by side: their counts share cache lines, and a commit has fewer pages to write.
//! What the thread would get anyway is often such a block, because magazines are filled in the order of addresses; otherwise
//! the slab of the other block is looked at, if it is the thread's own.

use super::heap_core::Run;
use super::magazine::ONE_TAKEN;
use super::size_class::{class_size, index_in_slab};
use super::slab::Slab;
use super::thread_counts::add64;
use super::thread_heap::ThreadHeap;
use crate::sync::Ordering;
use core::ptr;

/// Blocks that are no further from each other than so many places of their slab are near.
pub(super) const NEAR: usize = 16;

impl ThreadHeap {
    /// Takes a block of the class near the block at `address`; none if there is no such block at hand.
    ///
    /// # Safety
    /// As for [`ThreadHeap::allocate`], and not the empty one.
    pub(crate) unsafe fn allocate_near(heap: *mut Self, class: usize, address: usize) -> Option<*mut u8> {
        // SAFETY: the thread's own.
        unsafe {
            let core = Self::core(heap);
            let Some(Run::Slab { head, class: found }) = core.run_of(address) else { return None };
            if found != class {
                return None;
            }
            if let Some(next) = Self::peek(heap, class) {
                if next.abs_diff(address) <= NEAR * class_size(class) {
                    return Self::allocate(heap, class);
                }
            }
            // Relaxed: a slab gets this thread for its owner only by this thread (K2).
            if (*core.slab_state(head)).owner.load(Ordering::Relaxed) != (*heap).number {
                return None;
            }
            let slab = Slab::new(core, head, class);
            let index = index_in_slab(class, address - core.address_of(head)) as usize;
            let block = slab.take_near(index)?;
            if !slab.has_blocks() && slab.is_listed() {
                slab.unlink(&raw mut (*heap).lists[class]);
            }
            add64(&(&(*heap).live)[class], 1);
            (&(*heap).magazines)[class].add(ONE_TAKEN);
            Some(block)
        }
    }

    /// The address of the block that would be taken next.
    unsafe fn peek(heap: *mut Self, class: usize) -> Option<usize> {
        // SAFETY: H1.
        unsafe {
            let magazine = &(&(*heap).magazines)[class];
            let top = magazine.top();
            let slots = (&raw const (*heap).slots).cast::<*mut u8>();
            (top != magazine.floor).then(|| slots.add(top as usize - 1).read().addr())
        }
    }
}

impl Slab<'_> {
    /// Takes the free block that is nearest to the one of that number, and near.
    fn take_near(self, index: usize) -> Option<*mut u8> {
        // SAFETY: the holder's rights (K2).
        let state = unsafe { &mut *self.local() };
        let place = |index: usize| -> *mut u8 {
            ptr::with_exposed_provenance_mut(self.core.address_of(self.head) + index * class_size(self.class))
        };
        if state.free > 0 {
            // SAFETY: the block's word is the slab's.
            let word = unsafe { &mut *self.core.free_bits(self.head).add(index / 64) };
            if let Some(bit) = nearest(*word, index % 64) {
                *word &= !(1 << bit);
                state.free -= 1;
                return Some(place(index / 64 * 64 + bit));
            }
        }
        let fresh = state.fresh as usize;
        if state.fresh == state.blocks || fresh.abs_diff(index) > NEAR {
            return None;
        }
        state.fresh += 1;
        Some(place(fresh))
    }
}

/// The set bit nearest to another one, if it is near.
fn nearest(word: u64, bit: usize) -> Option<usize> {
    let below = word & ((1 << bit) - 1);
    let above = word & !((1 << bit) - 1);
    let below = (below != 0).then(|| 63 - below.leading_zeros() as usize);
    let above = (above != 0).then(|| above.trailing_zeros() as usize);
    let nearer = match (below, above) {
        (Some(below), Some(above)) if bit - below <= above - bit => Some(below),
        (below, above) => above.or(below),
    };
    nearer.filter(|found| found.abs_diff(bit) <= NEAR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_bit_is_found_on_either_side_and_none_that_is_far() {
        assert_eq!(nearest(0, 5), None);
        assert_eq!(nearest(1 << 5, 5), Some(5));
        assert_eq!(nearest(1 << 3 | 1 << 9, 5), Some(3));
        assert_eq!(nearest(1 << 1 | 1 << 7, 5), Some(7));
        assert_eq!(nearest(1 << 63, 0), None);
        assert_eq!(nearest(1, 63), None);
        assert_eq!(nearest(1 << 16, 0), Some(16));
        assert_eq!(nearest(1 << 63 | 1 << 62, 63), Some(63));
    }
}
