//! Which block a position falls into.
//!
//! A copy of the slab table as it was at one moment, when nobody changed it, in a form that is looked up faster: slabs
//! and large objects that are made later do not appear in it, nor do those vanish that are freed.
//!
//! # Invariants
//! - **Q1** Each word stands for the unit of the same number: 0, or in its low byte what the unit belongs to and in the
//!   rest how far behind the head it lies; of a large object's head, the length in pages. Runs lie below the end and do
//!   not overlap.

use super::image::Image;
use super::zeroed::Zeroed;
use crate::alloc::heap_core::{Core, Run, WORDS_PER_UNIT};
use crate::alloc::size_class::{ALL_CLASSES, Ladder, class_size, index_in_slab, slab_blocks, slab_units};
use crate::format::slab_entry::{SlabEntry, units_of_pages};
use crate::format::{PAGE, UNIT, UNIT_SHIFT};
use crate::os::CallError;
use core::ops::Range;

/// What a unit belongs to: a slab of class `kind - 1`, or one of these.
const LARGE_TAIL: u64 = 0xFE;
const LARGE_HEAD: u64 = 0xFF;
const _: () = assert!(ALL_CLASSES < LARGE_TAIL as usize);

/// See the module.
#[derive(Debug)]
pub(crate) struct Runs {
    words: Zeroed<u64>,
}

/// A block: where it lies in the segments, and where its mark does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) start: usize,
    pub(crate) len: usize,
    /// Word and bit of its mark.
    pub(crate) word: usize,
    pub(crate) bit: u64,
}

impl Runs {
    /// The runs in the first `units` units of a heap.
    ///
    /// # Safety
    /// No run is made, resized or freed meanwhile, and those units are usable. Runs may not overlap.
    pub(crate) unsafe fn of(core: &Core, units: usize) -> Result<Self, CallError> {
        Self::from_entries(units, core.ladder, |unit| core.entry(unit))
    }

    /// The runs of which a table's first `units` entries speak, in a heap with that ladder; of runs that overlap, the first.
    pub(crate) fn from_entries(
        units: usize,
        ladder: Ladder,
        entry: impl Fn(usize) -> SlabEntry,
    ) -> Result<Self, CallError> {
        let mut words = Zeroed::new(units)?;
        let mut unit = 0;
        while unit < units {
            let rest = &mut words[unit..];
            match entry(unit) {
                SlabEntry::SlabHead { class } if (class as usize) < ladder.classes() => {
                    let len = slab_units(class as usize);
                    if len <= rest.len() {
                        for (back, word) in rest[..len].iter_mut().enumerate() {
                            *word = (u64::from(class) + 1) | ((back as u64) << 8);
                        }
                        unit += len;
                        continue;
                    }
                }
                SlabEntry::LargeHead { len_pages } => {
                    let len = units_of_pages(len_pages);
                    if (1..=rest.len()).contains(&len) {
                        for (back, word) in rest[..len].iter_mut().enumerate() {
                            *word = LARGE_TAIL | ((back as u64) << 8);
                        }
                        rest[0] = LARGE_HEAD | (len_pages << 8);
                        unit += len;
                        continue;
                    }
                }
                _ => {}
            }
            unit += 1;
        }
        Ok(Self { words })
    }

    /// Units that it speaks of.
    pub(crate) fn units(&self) -> usize {
        self.words.len()
    }

    /// Whether a unit belongs to a run.
    pub(crate) fn is_used(&self, unit: usize) -> bool {
        self.words.get(unit).is_some_and(|&word| word != 0)
    }

    /// The block that a position in the segments falls into.
    #[inline(always)]
    pub(crate) fn find(&self, position: usize) -> Option<Block> {
        let unit = position >> UNIT_SHIFT;
        let word = *self.words.get(unit)?;
        let kind = word & 0xFF;
        if kind.wrapping_sub(1) < ALL_CLASSES as u64 {
            let class = kind as usize - 1;
            let head = unit - (word >> 8) as usize;
            let index = index_in_slab(class, position - (head << UNIT_SHIFT));
            return (index < slab_blocks(class)).then(|| Self::block(head, class, index as usize));
        }
        self.find_large(unit, word)
    }

    /// The block that a word of the image leads to, if one, and the position within the segments.
    #[inline(always)]
    pub(crate) fn find_word(&self, image: &Image<'_>, word: u64) -> Option<(usize, Block)> {
        let [address, offset] = image.segments_start();
        let len = image.segments_len() as u64;
        let mut position = word.wrapping_sub(address);
        if position >= len {
            position = word.wrapping_sub(offset);
            if position >= len {
                return None;
            }
        }
        self.find(position as usize).map(|block| (position as usize, block))
    }

    fn find_large(&self, unit: usize, word: u64) -> Option<Block> {
        let head = match word & 0xFF {
            LARGE_HEAD => unit,
            LARGE_TAIL => unit - (word >> 8) as usize,
            _ => return None,
        };
        let len = (self.words[head] >> 8) as usize * PAGE;
        // The last unit may reach past the last page.
        (len > 0).then(|| Self::large(head, len))
    }

    #[inline(always)]
    fn block(head: usize, class: usize, index: usize) -> Block {
        Block {
            start: (head << UNIT_SHIFT) + index * class_size(class),
            len: class_size(class),
            word: head * WORDS_PER_UNIT + index / 64,
            bit: 1 << (index % 64),
        }
    }

    fn large(head: usize, len: usize) -> Block {
        Block { start: head * UNIT, len, word: head * WORDS_PER_UNIT, bit: 1 }
    }

    /// The runs whose heads lie in `units`, and if one reaches into their start, that one too.
    pub(crate) fn in_units(&self, units: Range<usize>) -> impl Iterator<Item = Run> + '_ {
        let end = units.end.min(self.words.len());
        let mut unit = units.start.min(end);
        if let Some(&word) = self.words.get(unit) {
            if word != 0 && word & 0xFF != LARGE_HEAD {
                unit -= (word >> 8) as usize;
            }
        }
        core::iter::from_fn(move || {
            while unit < end {
                let (head, word) = (unit, self.words[unit]);
                let value = word >> 8;
                match word & 0xFF {
                    LARGE_HEAD => {
                        unit += units_of_pages(value);
                        return Some(Run::Large { head, len_pages: value });
                    }
                    kind if kind != 0 && value == 0 && kind != LARGE_TAIL => {
                        let class = kind as usize - 1;
                        unit += slab_units(class);
                        return Some(Run::Slab { head, class });
                    }
                    _ => unit += 1,
                }
            }
            None
        })
    }

    /// Blocks of all runs, and bytes in them.
    pub(crate) fn total(&self) -> (u64, u64) {
        self.iter().fold((0, 0), |(blocks, bytes), run| match run {
            Run::Slab { class, .. } => {
                let here = u64::from(slab_blocks(class));
                (blocks + here, bytes + here * class_size(class) as u64)
            }
            Run::Large { len_pages, .. } => (blocks + 1, bytes + len_pages * PAGE as u64),
        })
    }

    /// All runs, in the order of their addresses.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Run> + '_ {
        self.in_units(0..self.units())
    }

    /// The blocks of a run: how many, and for each 64 of them where their marks lie and which bits are theirs.
    pub(crate) fn mark_words(run: Run) -> impl Iterator<Item = (usize, u64)> {
        let (head, blocks) = match run {
            Run::Slab { head, class } => (head, slab_blocks(class) as usize),
            Run::Large { head, .. } => (head, 1),
        };
        (0..blocks.div_ceil(64)).map(move |word| {
            let here = (blocks - word * 64).min(64);
            (head * WORDS_PER_UNIT + word, u64::MAX >> (64 - here))
        })
    }

    /// The unit behind a run.
    pub(crate) fn end_of(run: Run) -> usize {
        match run {
            Run::Slab { head, class } => head + slab_units(class),
            Run::Large { head, len_pages } => head + units_of_pages(len_pages),
        }
    }

    /// The block of a run whose mark is that bit of its word `word`.
    pub(crate) fn block_of_mark(run: Run, word: usize, bit: u32) -> Block {
        match run {
            Run::Slab { head, class } => Self::block(head, class, (word - head * WORDS_PER_UNIT) * 64 + bit as usize),
            Run::Large { head, len_pages } => Self::large(head, len_pages as usize * PAGE),
        }
    }
}
