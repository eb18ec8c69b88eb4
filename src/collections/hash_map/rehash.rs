//! Making a table larger or smaller, and putting its entries where they belong.
#![allow(unsafe_code)]

use super::control::{DELETED, EMPTY, GROUP, is_full, tag};
use super::table::{RawTable, capacity, layout, slots_for};
use crate::collections::{TryReserveError, raw_block};
use core::ptr;

impl<T> RawTable<T> {
    /// An empty table in a new block: beside the block of `self` if it has one, else where `self` belongs.
    fn with_slots(&self, slots: usize) -> Result<Self, TryReserveError> {
        let layout = layout::<T>(slots)?;
        let block = match self.block {
            Some(block) => raw_block::allocate_beside(self.place(), block, layout)?,
            None => raw_block::allocate_for(self.place(), layout)?,
        };
        let mut table = Self { block: Some(block.cast()), slots, ..Self::new() };
        table.forget_entries(); // T2 to T4 hold from here on
        Ok(table)
    }

    /// Sees to it that `additional` more entries find room, which they do not yet. If `hasher` panics all entries are
    /// still there, but the table may be unsettled (T5).
    #[cold]
    #[inline(never)]
    pub(super) fn reserve_slow(
        &mut self,
        additional: usize,
        hasher: impl Fn(&T) -> u64,
    ) -> Result<(), TryReserveError> {
        let wanted = self.len.checked_add(additional).ok_or(TryReserveError::CapacityOverflow)?;
        let capacity = capacity(self.slots);
        if wanted <= capacity / 2 {
            // Deleted slots take up more than half.
            self.rehash_in_place(hasher);
            Ok(())
        } else {
            self.resize(slots_for(wanted.max(capacity + 1))?, hasher)
        }
    }

    /// Moves all entries to a new block of so many slots. If `hasher` panics nothing has changed.
    ///
    /// The caller must see to it that they find room.
    pub(super) fn resize(&mut self, slots: usize, hasher: impl Fn(&T) -> u64) -> Result<(), TryReserveError> {
        struct Free<T>(RawTable<T>);
        impl<T> Drop for Free<T> {
            fn drop(&mut self) {
                // SAFETY: the table is not used again; its entries live on in the other table.
                unsafe { self.0.free_block() }
            }
        }
        assert!(capacity(slots) >= self.len, "the entries must find room");
        let mut new = Free(self.with_slots(slots)?);
        let mut entries = self.iter();
        while let Some(entry) = entries.next() {
            // SAFETY: full slots have values (T3). The new table has a block and, by the assertion, an empty slot for
            // each. The bits are copied: until the swap below the old table owns the value, after it the new one
            // does.
            unsafe {
                let hash = hasher(&*entry);
                let slot = new.0.find_free(hash);
                *new.0.control(slot) = tag(hash);
                ptr::copy_nonoverlapping(entry, new.0.entry(slot), 1);
            }
        }
        new.0.len = self.len;
        new.0.growth_left -= self.len;
        core::mem::swap(self, &mut new.0);
        Ok(()) // drops the old block
    }

    /// Puts all entries where they belong in the same block; no slot is deleted afterwards. If `hasher` panics all
    /// entries are still there, but the table is unsettled (T5).
    pub(super) fn rehash_in_place(&mut self, hasher: impl Fn(&T) -> u64) {
        /// While it runs, a deleted byte is that of an entry which still has to find its place.
        struct Settle<'a, T>(&'a mut RawTable<T>);
        impl<T> Drop for Settle<'_, T> {
            fn drop(&mut self) {
                for slot in 0..self.0.slots {
                    // SAFETY: the slot is one of the block's. Deleted means that there is a value (see above), so any
                    // tag is right (T3). After the loop below there is none.
                    unsafe {
                        let control = self.0.control(slot);
                        if *control == DELETED {
                            *control = 0;
                        }
                    }
                }
                self.0.growth_left = capacity(self.0.slots) - self.0.len;
            }
        }
        if self.block.is_none() {
            return;
        }
        let this = Settle(self);
        let table = &*this.0;
        for slot in 0..table.slots {
            // SAFETY: the slot is one of the block's.
            unsafe {
                let control = table.control(slot);
                *control = if is_full(*control) { DELETED } else { EMPTY };
            }
        }
        for slot in 0..table.slots {
            // SAFETY: `slot` is one of the block's, and `target` is too (see `find_free`; at most `len` bytes are
            // tags, so one is free). An entry is read, moved or swapped only where its byte is deleted, which here
            // says that it is a value.
            unsafe {
                while *table.control(slot) == DELETED {
                    let hash = hasher(&*table.entry(slot));
                    let target = table.find_free(hash);
                    if target / GROUP == slot / GROUP {
                        *table.control(slot) = tag(hash); // already in the first group with room
                        continue;
                    }
                    let before = *table.control(target);
                    *table.control(target) = tag(hash);
                    if before == EMPTY {
                        *table.control(slot) = EMPTY;
                        ptr::copy_nonoverlapping(table.entry(slot), table.entry(target), 1);
                    } else {
                        ptr::swap_nonoverlapping(table.entry(slot), table.entry(target), 1);
                    }
                }
            }
        }
    }

    /// Gives back what room `min` entries do not need; frees the block if there is nothing in it.
    pub(super) fn shrink_to(&mut self, min: usize, hasher: impl Fn(&T) -> u64) -> Result<(), TryReserveError> {
        let wanted = self.len.max(min);
        if wanted == 0 {
            // SAFETY: the table is overwritten, and it has no entries.
            unsafe { self.free_block() };
            *self = Self::new();
            return Ok(());
        }
        let slots = slots_for(wanted)?;
        if slots < self.slots { self.resize(slots, hasher) } else { Ok(()) }
    }

    /// Fills `self`, which must be new, with copies that `clone` makes: each in the same slot of a block of the same
    /// size. If `clone` panics, `self` holds the copies made before.
    pub(super) fn copy_from(&mut self, other: &Self, mut clone: impl FnMut(&T) -> T) -> Result<(), TryReserveError> {
        assert!(self.block.is_none(), "the table must be new");
        if other.len == 0 {
            return Ok(());
        }
        *self = self.with_slots(other.slots)?;
        for slot in 0..other.slots {
            // SAFETY: both blocks have the slot. It is empty here, and counting deleted ones as used keeps T4.
            unsafe {
                if *other.control(slot) == DELETED {
                    *self.control(slot) = DELETED;
                    self.growth_left -= 1;
                }
            }
        }
        let mut entries = other.iter();
        while let Some(slot) = entries.next_slot() {
            // SAFETY: the slot is full there, so its entry is a value, and empty here, with room by T4 of `other`.
            unsafe {
                let entry = clone(&*other.entry(slot));
                self.fill(slot, *other.control(slot), entry);
            }
        }
        Ok(())
    }
}
