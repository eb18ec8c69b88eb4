//! Chunks: runs of slots for objects of one type.
//!
//! A chunk is a block of the heap, aligned to its size, so that an object's address leads to it. It begins with a head of
//! [`HEAD`] bytes; then come a bit for each slot that is taken and one for each object that is old; then the slots.
//! [`Geometry`] says where.
//!
//! # Invariants
//! - **K1** A [`Chunk`] is the start of a live block of `geometry.chunk` bytes that a pool of that geometry owns alone.
//! - **K2** A slot's taken bit is set if and only if an object lies there. Bits behind the last slot are zero.
//! - **K3** An object that is old is taken.
//! - **K4** `used` is the number of taken bits.
//!
//! # What survives a crash
//! A chunk as the last commit found it: bits and objects change within sessions only.
#![allow(unsafe_code)]

use crate::collections::raw_block;
use crate::gc::trace::layouts::pool::{Geometry, HEAD, MAGIC};
use core::alloc::Layout;
use core::ptr::NonNull;
use std::hash::{BuildHasher, RandomState};

/// What a chunk begins with.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Head {
    pub(super) magic: u64,
    /// Tells this chunk from others that lie, or lay, at the same place.
    pub(super) stamp: u64,
    /// A bit for each 64th part of the chunk in which an object begins that may have been changed since the last collection.
    pub(super) dirty: u64,
    /// Objects that were freed explicitly, ever.
    pub(super) freed: u64,
    /// Slots that are taken.
    pub(super) used: u64,
    /// Neighbours in the list of chunks with free slots; 0 at its ends.
    pub(super) next: usize,
    pub(super) previous: usize,
    /// Whether it is in that list.
    pub(super) is_listed: u64,
}

const _: () = assert!(size_of::<Head>() == HEAD);

/// Parts of a chunk that are told apart when objects have been changed.
const CARDS: usize = 64;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chunk(NonNull<u8>);

/// The layout of a chunk.
pub(super) fn layout(geometry: &Geometry) -> Layout {
    let size = geometry.chunk;
    debug_assert!(size.is_power_of_two());
    // SAFETY: a power of two, so it is its own alignment, and far from overflowing.
    unsafe { Layout::from_size_align_unchecked(size, size) }
}

impl Chunk {
    /// Makes a new block an empty chunk.
    ///
    /// # Safety
    /// The block is the caller's, of the chunk's layout.
    pub(super) unsafe fn make(block: NonNull<u8>, geometry: &Geometry) -> Self {
        let stamp = RandomState::new().hash_one(block.addr().get());
        let head = Head { magic: MAGIC, stamp, dirty: 0, freed: 0, used: 0, next: 0, previous: 0, is_listed: 0 };
        // SAFETY: head and bits lie in the block.
        unsafe {
            block.cast::<Head>().write(head);
            block.add(HEAD).write_bytes(0, 16 * geometry.words);
        }
        Self(block)
    }

    /// The chunk at an address of a pool's table.
    ///
    /// # Safety
    /// K1.
    #[inline(always)]
    pub(super) unsafe fn at(address: usize) -> Self {
        // SAFETY: an address of a block is not zero.
        Self(unsafe { NonNull::new_unchecked(core::ptr::with_exposed_provenance_mut(address)) })
    }

    #[inline(always)]
    pub(super) fn address(self) -> usize {
        self.0.addr().get()
    }

    pub(super) fn block(self) -> NonNull<u8> {
        self.0
    }

    /// The head. Its fields are read and written through the pointer.
    #[inline(always)]
    pub(super) fn head(self) -> *mut Head {
        self.0.as_ptr().cast()
    }

    /// A word of the bits of slots that are taken.
    ///
    /// # Safety
    /// K1, and the geometry has that word. So it is for the next ones.
    #[inline(always)]
    pub(super) unsafe fn taken(self, word: usize) -> *mut u64 {
        // SAFETY: in the block, which is aligned to more than a word.
        unsafe { self.0.as_ptr().add(HEAD + word * 8).cast() }
    }

    /// A word of the bits of objects that are old.
    ///
    /// # Safety
    /// As for [`Chunk::taken`].
    #[inline(always)]
    pub(super) unsafe fn old(self, geometry: &Geometry, word: usize) -> *mut u64 {
        // SAFETY: as above.
        unsafe { self.0.as_ptr().add(HEAD + (geometry.words + word) * 8).cast() }
    }

    /// Where a slot is.
    ///
    /// # Safety
    /// K1, and the geometry has that slot.
    #[inline(always)]
    pub(super) unsafe fn slot(self, geometry: &Geometry, slot: usize) -> NonNull<u8> {
        // SAFETY: in the block.
        unsafe { self.0.add(geometry.position(slot)) }
    }

    /// Whether an object lies in a slot.
    ///
    /// # Safety
    /// As for [`Chunk::slot`].
    #[inline(always)]
    pub(super) unsafe fn is_taken(self, slot: usize) -> bool {
        // SAFETY: the caller's promise.
        unsafe { *self.taken(slot / 64) >> (slot % 64) & 1 != 0 }
    }

    /// Notes that the object in a slot may be changed.
    ///
    /// # Safety
    /// As for [`Chunk::slot`], and nobody else uses the chunk.
    #[inline(always)]
    pub(super) unsafe fn note_change(self, geometry: &Geometry, slot: usize) {
        let card = geometry.position(slot) / (geometry.chunk / CARDS);
        // SAFETY: the caller's promise.
        unsafe {
            let dirty = &raw mut (*self.head()).dirty;
            if *dirty >> card & 1 == 0 {
                *dirty |= 1 << card;
            }
        }
    }

    /// The slots that begin in a card.
    pub(super) fn slots_of_card(geometry: &Geometry, card: usize) -> core::ops::Range<usize> {
        let len = geometry.chunk / CARDS;
        let first_from = |position: usize| position.saturating_sub(geometry.first).div_ceil(geometry.slot);
        first_from(card * len).min(geometry.slots)..first_from((card + 1) * len).min(geometry.slots)
    }

    /// Whether slots are to be overwritten when their objects have gone.
    pub(super) fn is_scrubbed(self) -> bool {
        raw_block::heap_of_block(self.0).scrubs_freed()
    }

    /// Overwrites a slot.
    ///
    /// # Safety
    /// As for [`Chunk::note_change`], and the slot is free.
    pub(super) unsafe fn scrub(self, geometry: &Geometry, slot: usize) {
        // SAFETY: the slot lies in the block.
        unsafe { self.slot(geometry, slot).write_bytes(0, geometry.slot) };
    }

    /// Takes a slot off: an object lay there and does no more.
    ///
    /// # Safety
    /// As for [`Chunk::note_change`], and the slot is taken.
    #[inline(always)]
    pub(super) unsafe fn vacate(self, geometry: &Geometry, slot: usize) {
        let (word, bit) = (slot / 64, 1 << (slot % 64));
        // SAFETY: the caller's promise.
        unsafe {
            *self.taken(word) &= !bit;
            *self.old(geometry, word) &= !bit;
            (*self.head()).used -= 1;
        }
    }

    /// Panics if K2 to K4 do not hold.
    ///
    /// # Safety
    /// K1, and nobody changes the chunk meanwhile.
    pub(super) unsafe fn check(self, geometry: &Geometry) {
        // SAFETY: the caller's promise.
        unsafe {
            assert_eq!((*self.head()).magic, MAGIC, "K1: no chunk");
            let mut used = 0;
            for word in 0..geometry.words {
                let (taken, old) = (*self.taken(word), *self.old(geometry, word));
                assert_eq!(taken & !geometry.mask(word), 0, "K2: a bit behind the last slot");
                assert_eq!(old & !taken, 0, "K3: an old object that is not there");
                used += u64::from(taken.count_ones());
            }
            assert_eq!((*self.head()).used, used, "K4: the number of slots that are taken");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gc::trace::layouts::{Shape, pool::geometry};

    #[test]
    fn the_cards_of_a_chunk_have_every_slot_once() {
        for size in [16, 24, 100, 5000, 70_000, 1 << 20] {
            let geometry = geometry(Shape { size, align: 1 }).unwrap();
            let slots: Vec<_> = (0..CARDS).flat_map(|card| Chunk::slots_of_card(&geometry, card)).collect();
            assert!(slots.into_iter().eq(0..geometry.slots), "{size}");
        }
    }
}
