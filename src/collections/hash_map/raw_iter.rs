//! Walking over the full slots of a table.
#![allow(unsafe_code)]

use super::control::{GROUP, Group, Mask};
use super::table::{RawTable, entries_offset};
use crate::ptr::drop_moved::drop_element;
use core::ptr::NonNull;

/// The full slots of a table, as raw as it gets: it borrows nothing.
///
/// Slots that are emptied after the walk passed them do no harm; slots still ahead must stay full and the block
/// must stay in place, else the walk must end. Each use says why that is so.
pub(super) struct RawIter<T> {
    /// Control bytes of the group after the one in `ahead`.
    next_group: *const u8,
    entries: *mut T,
    /// Slot of byte 0 of the group in `ahead`.
    base: usize,
    ahead: Mask,
    /// Full slots not yet named.
    pub(super) remaining: usize,
}

impl<T> Clone for RawIter<T> {
    #[inline]
    fn clone(&self) -> Self {
        Self { ..*self }
    }
}

impl<T> RawIter<T> {
    /// A walk over nothing.
    pub(super) const fn empty() -> Self {
        let entries = NonNull::dangling().as_ptr();
        Self { next_group: core::ptr::null(), entries, base: 0, ahead: Mask(0), remaining: 0 }
    }

    #[inline]
    pub(super) fn new(table: &RawTable<T>) -> Self {
        let Some(block) = table.block else {
            return Self::empty();
        };
        // SAFETY: by T2 the block begins with at least one group of initialised control bytes, and is aligned to
        // 16; its entries begin at the offset.
        unsafe {
            Self {
                next_group: block.as_ptr().add(GROUP),
                entries: block.as_ptr().add(entries_offset::<T>(table.slots)).cast(),
                base: 0,
                ahead: Group::load(block.as_ptr()).full(),
                remaining: table.len,
            }
        }
    }

    /// The next full slot.
    #[inline]
    pub(super) fn next_slot(&mut self) -> Option<usize> {
        if self.remaining == 0 {
            return None;
        }
        loop {
            if let Some(i) = self.ahead.next() {
                self.remaining -= 1;
                return Some(self.base + i);
            }
            // SAFETY: full slots remain and none in this group, so by T4 there is another group.
            unsafe {
                self.ahead = Group::load(self.next_group).full();
                self.next_group = self.next_group.add(GROUP);
            }
            self.base += GROUP;
        }
    }

    /// The entry of the next full slot.
    #[inline]
    pub(super) fn next(&mut self) -> Option<*mut T> {
        // SAFETY: a full slot is one of the table's.
        self.next_slot().map(|slot| unsafe { self.entries.add(slot) })
    }

    /// Drops the entries of the slots that remain. If one panics the others are dropped and then it goes on.
    ///
    /// # Safety
    /// Nobody uses those entries again.
    pub(super) unsafe fn drop_all(&mut self) {
        struct Rest<'a, T>(&'a mut RawIter<T>);
        impl<T> Drop for Rest<'_, T> {
            fn drop(&mut self) {
                while let Some(entry) = self.0.next() {
                    // SAFETY: a full slot's entry is a value (T3), and nobody uses it again.
                    unsafe { drop_element(entry) };
                }
            }
        }
        let rest = Rest(self);
        while let Some(entry) = rest.0.next() {
            // SAFETY: as above. The entry is behind the walk, so `rest` does not drop it again if it panics.
            unsafe { drop_element(entry) };
        }
    }
}
