//! How an object lies in its tract, and how it ends.
//!
//! An object begins with a word that says which entry leads to it, how large it is, and where in it the value is. So who moves
//! objects finds everything there, and needs to know no types. One that is larger than an eighth of a tract has a block of its
//! own, in which it lies alike; it is not moved.
//!
//! An object *ends* when no entry leads to it any more: its bit in the tract says so from then on. Its granules are *given up* when
//! its value has been dropped, which waits for readers if dropping does anything.
//!
//! # Invariants
//! - **J1** An object that has begun and not ended has an entry that is in use, and its word names it; the object does not change.

use super::moving::{Entry, MOVING};
use super::pin;
use crate::alloc::tracts::{self, GRANULE, TRACT};
use core::alloc::Layout;

/// Objects up to here lie in tracts.
pub(crate) const LARGEST: usize = TRACT / 8;

/// The size of a value's object, and where in it the value lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Bytes from the object's start to its value; a multiple of the value's alignment.
    pub(crate) offset: usize,
    /// Bytes of the object.
    pub(crate) len: usize,
    /// What the object is aligned to.
    pub(crate) align: usize,
}

impl Shape {
    /// Of a value with a layout; none if that is too large.
    #[inline(always)]
    pub(crate) const fn of(value: Layout) -> Option<Self> {
        let offset = if value.align() > size_of::<u64>() { value.align() } else { size_of::<u64>() };
        let align = if value.align() > GRANULE { value.align() } else { GRANULE };
        match value.size().checked_add(offset + GRANULE) {
            Some(len) if len <= isize::MAX as usize => Some(Self { offset, len: (len - 1) & !(GRANULE - 1), align }),
            _ => None,
        }
    }

    /// Whether it has a block of its own.
    #[inline(always)]
    pub(crate) const fn stands_alone(self) -> bool {
        self.len > LARGEST
    }

    /// The layout of that block.
    pub(crate) const fn block(self) -> Option<Layout> {
        match Layout::from_size_align(self.len, self.align) {
            Ok(layout) => Some(layout),
            Err(_) => None,
        }
    }

    #[inline(always)]
    pub(crate) const fn granules(self) -> u32 {
        (self.len / GRANULE) as u32
    }
}

const ENTRY_BITS: u32 = 43;
const GRANULES_BITS: u32 = 15;
const _: () = assert!(LARGEST / GRANULE < 1 << GRANULES_BITS && crate::format::END_WINDOW <= 1 << (47 - 36));

/// The first word of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head(u64);

impl Head {
    /// Of an object in a tract.
    #[inline(always)]
    pub(crate) const fn new(entry: usize, shape: Shape) -> Self {
        let granules = if shape.stands_alone() { 0 } else { shape.granules() as u64 };
        let offset = shape.offset.trailing_zeros() as u64;
        Self((entry / GRANULE) as u64 | granules << ENTRY_BITS | offset << (ENTRY_BITS + GRANULES_BITS))
    }

    /// Whether that is the word.
    pub(crate) const fn is(self, word: u64) -> bool {
        self.0 == word
    }

    /// The address of its entry.
    pub(crate) const fn entry(self) -> usize {
        (self.0 & ((1 << ENTRY_BITS) - 1)) as usize * GRANULE
    }

    /// Bytes of the object.
    pub(crate) const fn len(self) -> usize {
        (self.0 >> ENTRY_BITS & ((1 << GRANULES_BITS) - 1)) as usize * GRANULE
    }

    /// The shape of the object.
    pub(crate) const fn shape(self) -> Shape {
        let offset = self.offset();
        Shape { offset, len: self.len(), align: if offset > GRANULE { offset } else { GRANULE } }
    }

    /// Where the value lies in it.
    pub(crate) const fn offset(self) -> usize {
        1 << (self.0 >> (ENTRY_BITS + GRANULES_BITS) & 31)
    }

    /// # Safety
    /// The address is that of an object that has begun (J1).
    pub(crate) unsafe fn of(address: usize) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { core::ptr::with_exposed_provenance::<u64>(address).read() })
    }

    /// # Safety
    /// The address is that of an object that is the caller's.
    #[inline(always)]
    pub(crate) unsafe fn put(self, address: usize) {
        // SAFETY: the caller's promise.
        unsafe { core::ptr::with_exposed_provenance_mut::<u64>(address).write(self.0) };
    }
}

/// The object of an entry's last handle ends; returns where its value lies.
///
/// # Safety
/// No handle leads to the entry any more, so nobody changes it but who moves objects; its object has this shape.
#[inline]
pub(crate) unsafe fn end_last(entry: &Entry, shape: Shape) -> usize {
    MOVING.end_last(pin::own(), entry, |location| end_replaced(location, shape))
}

/// An object to which its entry does not lead any more ends.
#[inline]
pub(crate) fn end_replaced(location: usize, shape: Shape) {
    if shape.stands_alone() {
        return;
    }
    tracts::note_ended(location - shape.offset);
}

/// The object in a tract to whose value an entry leads, and its shape; none if what was read of the entry is not true any more. To be
/// called with a pin.
pub(crate) fn of_entry(entry: usize, location: usize) -> Option<(usize, Shape)> {
    let tract = tracts::table_at(location)?.tract(location);
    let least = if location % GRANULE == 0 { GRANULE } else { size_of::<u64>() };
    let offsets = core::iter::successors(Some(least), |offset| Some(offset * 2));
    // The value lies so far behind the word as it is aligned.
    let offsets = offsets.take_while(|&offset| location % offset == 0 && offset <= location % TRACT);
    offsets.map(|offset| (location - offset, offset)).find_map(|(from, offset)| {
        if !tract.is_live_at(from) {
            return None;
        }
        // SAFETY: it has begun and not ended, and with a pin its memory stays as it is.
        let head = unsafe { Head::of(from) };
        (head.entry() == entry && head.offset() == offset).then(|| (from, head.shape()))
    })
}

/// Moves the object at `from` to `to`, unless it has ended, or its entry is just being led elsewhere; whether it has been moved. Then the
/// object at `from` has ended, and its granules are the caller's to give up. `keep` is told of the entry before it is led elsewhere.
///
/// # Safety
/// Objects are being moved, and the caller has a pin from before it found the object in the tract; `from` and `to` lie in tracts, and at `to`
/// there is room, which is the caller's.
pub(crate) unsafe fn move_object(from: usize, to: usize, keep: impl FnOnce(&Entry)) -> bool {
    let (Some(source), Some(target)) = (tracts::table_at(from), tracts::table_at(to)) else { return false };
    let find = || {
        if !source.tract(from).is_live_at(from) {
            return None;
        }
        // SAFETY: it has begun and not ended, and does not end as long as this is looked at (M2): its word names an entry in use.
        let (head, entry) = unsafe {
            let head = Head::of(from);
            (head, &*core::ptr::with_exposed_provenance::<Entry>(head.entry()))
        };
        Some((entry, from + head.offset(), to + head.offset()))
    };
    let copy = |entry: &Entry| {
        keep(entry);
        let (source, target): (*const u8, *mut u8) =
            (core::ptr::with_exposed_provenance(from), core::ptr::with_exposed_provenance_mut(to));
        // SAFETY: as above, so the object does not change (J1); at `to` is room for as much.
        unsafe { core::ptr::copy_nonoverlapping(source, target, Head::of(from).len()) };
    };
    let note = || {
        target.tract(to).note_begun(to);
        source.note_ended(from);
    };
    MOVING.try_move(find, copy, note)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_all_alignments_lie_where_they_may_behind_the_word() {
        for align_log2 in 0..=12 {
            for size in [0, 1, 7, 8, 9, 24, 100, 4096] {
                let layout = Layout::from_size_align(size, 1 << align_log2).unwrap();
                let shape = Shape::of(layout).unwrap();
                assert!(shape.offset >= 8 && shape.offset % layout.align() == 0 && shape.align % layout.align() == 0);
                assert!(shape.len % GRANULE == 0 && shape.len >= shape.offset + size && shape.len > 0);
                assert!(shape.len < shape.offset + size + GRANULE, "{layout:?}: {shape:?}");
                let head = Head::new(0x1040_0000_0040, shape);
                assert_eq!((head.entry(), head.offset()), (0x1040_0000_0040, shape.offset));
                assert!(shape.stands_alone() || head.shape() == shape);
            }
        }
        let largest = Shape::of(Layout::from_size_align(LARGEST - 8, 8).unwrap()).unwrap();
        assert!(!largest.stands_alone() && Head::new(16, largest).len() == LARGEST);
        assert!(Shape::of(Layout::from_size_align(LARGEST - 7, 8).unwrap()).unwrap().stands_alone());
    }
}
