//! Slab table entries: what each unit is used for.
//!
//! One aligned 8-byte word a unit, so that an entry changes by one store. The entry of a run's head is
//! authoritative; tails only lead there, and a tail whose head does not reach it is an orphan that means nothing.
//!
//! | bits | field |
//! |---|---|
//! | 0..8 | kind: 0 free, 1 slab head, 2 slab tail, 3 large head, 4 large tail |
//! | 8..16 | slab head: size class |
//! | 16..64 | large head: length in pages; tails: distance to the head in units |
//!
//! A slab's tails are all marked. A large object's are marked up to the next segment border, and from there on only
//! at segment borders: a unit whose entry is free asks the entry at the start of its segment.

use super::{PAGE, SEGMENT_UNITS, UNIT};

/// What an entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SlabEntry {
    Free,
    SlabHead { class: u8 },
    SlabTail { back: u64 },
    LargeHead { len_pages: u64 },
    LargeTail { back: u64 },
}

impl SlabEntry {
    pub(crate) const fn encode(self) -> u64 {
        match self {
            Self::Free => 0,
            Self::SlabHead { class } => 1 | (class as u64) << 8,
            Self::SlabTail { back } => 2 | back << 16,
            Self::LargeHead { len_pages } => 3 | len_pages << 16,
            Self::LargeTail { back } => 4 | back << 16,
        }
    }

    /// The pages that a word says, if it is the entry of a large object's head: [`SlabEntry::decode`] where nothing else is of
    /// interest.
    #[inline(always)]
    pub(crate) const fn decode_large_head(word: u64) -> Option<u64> {
        const NO_PAGES: u64 = SlabEntry::LargeHead { len_pages: 0 }.encode();
        if word & 0xFFFF == NO_PAGES { Some(word >> 16) } else { None }
    }

    /// What a word says; words that were never written by this version say nothing.
    pub(crate) const fn decode(word: u64) -> Option<Self> {
        let value = word >> 16;
        let class = (word >> 8) as u8;
        Some(match word as u8 {
            0 if word == 0 => Self::Free,
            1 if value == 0 => Self::SlabHead { class },
            2 if class == 0 => Self::SlabTail { back: value },
            3 if class == 0 => Self::LargeHead { len_pages: value },
            4 if class == 0 => Self::LargeTail { back: value },
            _ => return None,
        })
    }
}

/// Units that `len_pages` pages reach into.
pub(crate) const fn units_of_pages(len_pages: u64) -> usize {
    (len_pages as usize).div_ceil(UNIT / PAGE)
}

/// The units of a run that carry a large tail: all up to the next segment border, then the borders.
pub(crate) fn large_tail_units(head: usize, units: usize) -> impl Iterator<Item = usize> {
    let end = head + units;
    let border = (head + 1).next_multiple_of(SEGMENT_UNITS);
    (head + 1..end.min(border)).chain((border..end).step_by(SEGMENT_UNITS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_survives_encoding() {
        let entries = [
            SlabEntry::Free,
            SlabEntry::SlabHead { class: 95 },
            SlabEntry::SlabTail { back: 63 },
            SlabEntry::LargeHead { len_pages: 1 << 40 },
            SlabEntry::LargeTail { back: 1 << 30 },
        ];
        for entry in entries {
            assert_eq!(SlabEntry::decode(entry.encode()), Some(entry));
            let len_pages = SlabEntry::decode_large_head(entry.encode());
            assert_eq!(
                len_pages.map(|len_pages| SlabEntry::LargeHead { len_pages }),
                matches!(entry, SlabEntry::LargeHead { .. }).then_some(entry)
            );
        }
    }

    #[test]
    fn unknown_words_say_nothing() {
        for word in [5, 255, 3 | 1 << 8, 1 | 1 << 16, 2 | 1 << 8, 1 << 8, 1 << 63] {
            assert_eq!((SlabEntry::decode(word), SlabEntry::decode_large_head(word)), (None, None));
        }
    }

    #[test]
    fn large_tails_are_marked_to_the_border_and_then_at_borders() {
        assert_eq!(large_tail_units(62, 200).collect::<Vec<_>>(), [63, 64, 128, 192, 256]);
        assert_eq!(large_tail_units(64, 64).count(), 63);
        assert_eq!(large_tail_units(64, 65).last(), Some(128));
        assert_eq!(large_tail_units(7, 1).count(), 0);
    }
}
