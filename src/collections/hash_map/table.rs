//! The table under a map: one block of control bytes and entries.
//!
//! | offset in the block | what |
//! |---|---|
//! | 0 | control bytes, see [`control`](super::control): `max(slots, 16)` of them |
//! | that, rounded up to the alignment of an entry | `slots` entries |
//!
//! The block is aligned to 16 or the entry's alignment, whichever is more. The group of a hash is the bits from
//! 4 up of it, modulo the number of groups; a search that meets no empty byte goes on 1, 3, 6, 10.. groups
//! further, which visits every group once. Positions and tags come from the hash alone, never from the CPU.
//!
//! # Invariants
//! - **T1** `block` is null just when `slots`, and then `len` and `growth_left`, are 0.
//! - **T2** Else `slots` is 4, 8, or 16 times a power of two, and `block` is a block of [`layout`]`(slots)` that
//!   only this table uses, with all its control bytes initialised.
//! - **T3** The entry of slot `i` is an initialised value the table owns just when control byte `i` is a tag.
//!   Control bytes past `slots` are empty.
//! - **T4** `len` bytes are tags, and `len`, `growth_left` and the number of deleted bytes add up to
//!   [`capacity`]`(slots)`, which is less than `slots`: some slot is empty, so every search ends.
//! - **T5** In a *settled* table no group before that of an entry, in the order of its hash, has an empty byte, and
//!   the entry's byte is the tag of its hash. Only answers depend on this, never memory safety.
#![allow(unsafe_code)]

use super::control::{DELETED, EMPTY, GROUP, Group, is_full, tag};
use super::raw_iter::RawIter;
use crate::SalAlloc;
use crate::collections::{TryReserveError, raw_block};
use crate::gc::trace::layouts::sal_hash_map;
use crate::heap::placement::heap_for_value_at;
use core::alloc::Layout;
use core::marker::PhantomData;
use core::mem::{needs_drop, offset_of};
use core::ptr::NonNull;

/// See the module's documentation. Dropping it frees nothing.
#[repr(C)]
pub(super) struct RawTable<T> {
    pub(super) block: Option<NonNull<u8>>,
    pub(super) slots: usize,
    pub(super) len: usize,
    pub(super) growth_left: usize,
    pub(super) entries: PhantomData<T>,
}

const _: () = {
    type Any = RawTable<u64>;
    assert!(size_of::<Any>() == 4 * size_of::<usize>());
    assert!(offset_of!(Any, block) == 0 && offset_of!(Any, slots) == size_of::<usize>());
    assert!(offset_of!(Any, len) == 2 * size_of::<usize>());
    assert!(offset_of!(Any, growth_left) == 3 * size_of::<usize>());
    // What follows types says the same.
    assert!(offset_of!(Any, block) == sal_hash_map::BLOCK && offset_of!(Any, slots) == sal_hash_map::SLOTS);
    assert!(entries_offset::<u8>(4) == sal_hash_map::pairs(4, 1) && sal_hash_map::GROUP == GROUP);
    assert!(entries_offset::<u64>(64) == sal_hash_map::pairs(64, 8));
    assert!(!sal_hash_map::is_full(EMPTY) && !sal_hash_map::is_full(DELETED) && sal_hash_map::is_full(tag(u64::MAX)));
};

/// How many entries a table of so many slots may hold.
#[inline]
pub(super) const fn capacity(slots: usize) -> usize {
    if slots < 16 { slots.saturating_sub(1) } else { slots / 8 * 7 }
}

/// The smallest number of slots with at least this capacity, which is not 0.
pub(super) fn slots_for(wanted: usize) -> Result<usize, TryReserveError> {
    match wanted {
        0..=3 => Ok(4),
        4..=7 => Ok(8),
        8..=14 => Ok(16),
        _ => (wanted.checked_mul(8).map(|eighths| eighths.div_ceil(7)))
            .and_then(usize::checked_next_power_of_two)
            .ok_or(TryReserveError::CapacityOverflow),
    }
}

/// Where the entries of a table of so many slots begin.
#[inline]
pub(super) const fn entries_offset<T>(slots: usize) -> usize {
    let controls = if slots < GROUP { GROUP } else { slots };
    if align_of::<T>() <= GROUP {
        controls // a multiple of 16 already
    } else {
        (controls + align_of::<T>() - 1) & !(align_of::<T>() - 1)
    }
}

/// The layout of the block of a table of so many slots.
pub(super) fn layout<T>(slots: usize) -> Result<Layout, TryReserveError> {
    let align = if align_of::<T>() > GROUP { align_of::<T>() } else { GROUP };
    let size = (slots.checked_add(GROUP + align))
        .and_then(|_| slots.checked_mul(size_of::<T>()))
        .and_then(|entries| entries.checked_add(entries_offset::<T>(slots)));
    size.and_then(|size| Layout::from_size_align(size, align).ok()).ok_or(TryReserveError::CapacityOverflow)
}

impl<T> RawTable<T> {
    pub(super) const fn new() -> Self {
        Self { block: None, slots: 0, len: 0, growth_left: 0, entries: PhantomData }
    }

    /// The address by which the heap of a first block is chosen.
    #[inline]
    pub(super) fn place(&self) -> usize {
        self as *const Self as usize
    }

    /// The heap from which the table takes its blocks.
    pub(super) fn heap(&self) -> SalAlloc {
        match self.block {
            Some(block) => raw_block::heap_of_block(block),
            None => heap_for_value_at(self.place()),
        }
    }

    /// The address of control byte `slot`.
    ///
    /// # Safety
    /// The table has a block, and `slot < max(slots, 16)`.
    #[inline]
    pub(super) unsafe fn control(&self, slot: usize) -> *mut u8 {
        debug_assert!(self.block.is_some() && slot < self.slots.max(GROUP));
        // SAFETY: the caller says there is a block; by T2 so many control bytes begin it.
        unsafe { self.block.unwrap_unchecked().as_ptr().add(slot) }
    }

    /// The address of the entry of `slot`.
    ///
    /// # Safety
    /// The table has a block, and `slot < slots`.
    #[inline]
    pub(super) unsafe fn entry(&self, slot: usize) -> *mut T {
        debug_assert!(self.block.is_some() && slot < self.slots);
        // SAFETY: the caller says there is a block; by T2 it has `layout(slots)`, which has `slots` entries from
        // `entries_offset` on.
        unsafe { self.block.unwrap_unchecked().as_ptr().add(entries_offset::<T>(self.slots)).cast::<T>().add(slot) }
    }

    /// The first group of a search, as the slot it begins with.
    #[inline]
    fn first_group(&self, hash: u64) -> usize {
        hash as usize & self.slots.wrapping_sub(1) & !(GROUP - 1)
    }

    /// The slot of the entry with this hash that `is_it`.
    #[inline]
    pub(super) fn find(&self, hash: u64, mut is_it: impl FnMut(&T) -> bool) -> Option<usize> {
        self.block?;
        let (mut position, mut stride) = (self.first_group(hash), 0);
        loop {
            // SAFETY: there is a block; `position` is a multiple of 16 below `max(slots, 16)`, so sixteen
            // initialised (T2) aligned control bytes follow.
            let group = unsafe { Group::load(self.control(position)) };
            for i in group.matching(tag(hash)) {
                // SAFETY: byte `position + i` is a tag, so by T3 it is one of `slots` and its entry is a value.
                if is_it(unsafe { &*self.entry(position + i) }) {
                    return Some(position + i);
                }
            }
            if group.empty().any() {
                return None;
            }
            stride += GROUP;
            position = (position + stride) & (self.slots - 1);
        }
    }

    /// As [`find`](Self::find), else the slot where such an entry is to be [filled in](Self::fill).
    #[inline]
    pub(super) fn find_or_free(&self, hash: u64, mut is_it: impl FnMut(&T) -> bool) -> Result<usize, usize> {
        if self.block.is_none() {
            return Err(0);
        }
        let (mut position, mut stride, mut free) = (self.first_group(hash), 0, None);
        loop {
            // SAFETY: as in `find`.
            let group = unsafe { Group::load(self.control(position)) };
            for i in group.matching(tag(hash)) {
                // SAFETY: as in `find`.
                if is_it(unsafe { &*self.entry(position + i) }) {
                    return Ok(position + i);
                }
            }
            if free.is_none() {
                free = group.free().first().map(|i| position + i);
            }
            if group.empty().any() {
                // An empty byte is free, so one was found. In a table of one small group the lowest is one of
                // `slots`, because by T4 one of those is empty.
                return Err(free.unwrap_or(position));
            }
            stride += GROUP;
            position = (position + stride) & (self.slots - 1);
        }
    }

    /// As [`find`](Self::find), in a table whose positions mean nothing.
    #[cold]
    pub(super) fn find_by_scan(&self, mut is_it: impl FnMut(&T) -> bool) -> Option<usize> {
        let mut entries = self.iter();
        while let Some(slot) = entries.next_slot() {
            // SAFETY: `iter` names full slots, whose entries by T3 are values.
            if is_it(unsafe { &*self.entry(slot) }) {
                return Some(slot);
            }
        }
        None
    }

    /// The slot where an entry with this hash belongs, whatever else is there.
    ///
    /// # Safety
    /// The table has a block.
    #[inline]
    pub(super) unsafe fn find_free(&self, hash: u64) -> usize {
        let (mut position, mut stride) = (self.first_group(hash), 0);
        loop {
            // SAFETY: as in `find`; there is a block by the caller's promise.
            if let Some(i) = unsafe { Group::load(self.control(position)) }.free().first() {
                return position + i; // one of `slots`: as in `find_or_free`
            }
            stride += GROUP;
            position = (position + stride) & (self.slots - 1);
        }
    }

    /// Whether there must be room made before `slot`, which [`find_or_free`](Self::find_or_free) gave, is filled.
    #[inline]
    pub(super) fn is_out_of_room(&self, slot: usize) -> bool {
        // SAFETY: if there is a block, the slot is one of its.
        self.growth_left == 0 && (self.block.is_none() || unsafe { *self.control(slot) } == EMPTY)
    }

    /// Fills a slot.
    ///
    /// # Safety
    /// The table has a block, `slot < slots` is empty or deleted, `tag` is a tag, and `growth_left` is not 0 if
    /// the slot is empty.
    #[inline]
    pub(super) unsafe fn fill(&mut self, slot: usize, tag: u8, entry: T) {
        debug_assert!(is_full(tag));
        // SAFETY: the slot exists; it is free, so by T3 no value is overwritten, and T3 and T4 hold again.
        unsafe {
            let control = self.control(slot);
            debug_assert!(!is_full(*control));
            self.growth_left -= usize::from(*control == EMPTY);
            self.entry(slot).write(entry);
            *control = tag;
        }
        self.len += 1;
    }

    /// Empties a slot and returns its entry.
    ///
    /// # Safety
    /// The table has a block, and `slot` is full.
    #[inline]
    pub(super) unsafe fn take(&mut self, slot: usize) -> T {
        // SAFETY: the slot and its group exist; by T3 its entry is a value, which is not used again, because
        // the control byte is no tag any more. T4 is kept by counting either way.
        unsafe {
            // Where the group has an empty byte no search goes past it, so (T5) another does no harm.
            let open = Group::load(self.control(slot & !(GROUP - 1))).empty().any();
            *self.control(slot) = if open { EMPTY } else { DELETED };
            self.growth_left += usize::from(open);
            self.len -= 1;
            self.entry(slot).read()
        }
    }

    /// The full slots.
    #[inline]
    pub(super) fn iter(&self) -> RawIter<T> {
        RawIter::new(self)
    }

    /// Makes all slots empty without dropping anything.
    pub(super) fn forget_entries(&mut self) {
        if let Some(block) = self.block {
            // SAFETY: by T2 the block begins with so many control bytes.
            unsafe { block.as_ptr().write_bytes(EMPTY, self.slots.max(GROUP)) };
            self.len = 0;
            self.growth_left = capacity(self.slots);
        }
    }

    /// Drops all entries. If one panics the others are dropped and then it goes on.
    pub(super) fn clear(&mut self) {
        struct Forget<'a, T>(&'a mut RawTable<T>);
        impl<T> Drop for Forget<'_, T> {
            fn drop(&mut self) {
                self.0.forget_entries();
            }
        }
        if self.len != 0 || self.growth_left != capacity(self.slots) {
            let this = Forget(self);
            if needs_drop::<T>() {
                // SAFETY: `iter` names the full slots, whose entries are values (T3) and are forgotten next.
                unsafe { this.0.iter().drop_all() };
            }
        }
    }

    /// Frees the block.
    ///
    /// # Safety
    /// The table is not used again, but for being overwritten. What entries there are leak.
    #[inline]
    pub(super) unsafe fn free_block(&self) {
        if let Some(block) = self.block {
            // SAFETY: by T2 the block came from `raw_block` with this layout, and it is not used again.
            unsafe { raw_block::deallocate(block, layout::<T>(self.slots).unwrap_unchecked()) };
        }
    }
}
