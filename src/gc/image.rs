//! A heap's bytes at one moment.
//!
//! Usually the file as of its last commit, mapped a second time and only for reading, while the program goes on in the
//! heap's window: a marker that looked at the window itself could miss a pointer that moves behind its back. Only when
//! nobody else is in the heap may the window itself be the image.
//!
//! # Invariants
//! - **I1** The areas of roots and types, and the first `units` units of the segments, are mapped and readable, and nobody
//!   changes them while they are looked at, but who looks at them alone and [stores](Image::store) over what it has looked at.
//!   If it is known which pages hold data, that is true (P1), and no others are looked at: they count as zeros.

use super::data_pages::DataPages;
use super::runs::Runs;
use super::stack::PIECE;
use crate::format::layout::Layout;
use crate::format::root_entry::{BY_CLASS, BY_NAME, COUNTS, FREE, LONGEST_NAME, RootEntry};
use crate::format::{PAGE, UNIT, WINDOW};
use core::ops::Range;

/// Words of a root directory's entry.
const ENTRY_WORDS: usize = size_of::<RootEntry>() / 8;
const _: () = assert!(PAGE % size_of::<RootEntry>() == 0);

/// What is found in a root directory.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Found {
    /// A root.
    Root(RootEntry),
    /// Something that makes no sense; its words follow.
    Damage,
    Word(u64),
}

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Image<'a> {
    bytes: *const u8,
    layout: Layout,
    /// The address at which blocks believe the heap's start to be.
    base: usize,
    units: usize,
    /// Pages that hold data, by their distance from the heap's start; none if all may.
    data: Option<&'a DataPages>,
}

// SAFETY: it only reads what nobody changes (I1).
unsafe impl Send for Image<'_> {}
// SAFETY: as above.
unsafe impl Sync for Image<'_> {}

impl Image<'_> {
    /// The first `units` units of the heap that belongs at `window`, whose start is at `bytes` now.
    ///
    /// # Safety
    /// I1, as long as this value or a copy of it is used.
    pub(crate) unsafe fn new(bytes: *const u8, window: u32, layout: Layout, units: usize) -> Self {
        Self { bytes, layout, base: window as usize * WINDOW, units: units.min(layout.units as usize), data: None }
    }

    /// The same, of which only these pages are looked at.
    ///
    /// # Safety
    /// P1, of this image.
    pub(crate) unsafe fn with_data(self, data: Option<&DataPages>) -> Image<'_> {
        Image { data, ..self }
    }

    /// Bytes from the heap's start to the end of what is there.
    pub(crate) fn len(&self) -> usize {
        self.layout.segments.offset as usize + self.segments_len()
    }

    /// The first part of positions `start..end` that is to be looked at, no longer than a [`PIECE`]; `end..end` if the
    /// rest holds zeros.
    #[inline(always)]
    pub(crate) fn first_part(&self, start: usize, end: usize) -> Range<usize> {
        let Some(data) = self.data else { return start..end.min(start + PIECE) };
        let segments = self.layout.segments.offset as usize;
        let part = data.first_in(segments + start, segments + end, PIECE);
        part.start - segments..part.end - segments
    }

    /// The first position from `start` on that may hold something else than zeros; `end` if there is none before.
    pub(crate) fn first_data(&self, start: usize, end: usize) -> usize {
        let Some(data) = self.data else { return start };
        let segments = self.layout.segments.offset as usize;
        data.first_in(segments + start, segments + end, PIECE).start - segments
    }

    /// The aligned word at a position of the segments; of what is not there, zeros.
    #[inline(always)]
    pub(crate) fn load(&self, position: usize) -> u64 {
        debug_assert!(position % 8 == 0);
        let is_there = position < self.segments_len() && position % 8 == 0;
        if !is_there || !self.has_data(self.layout.segments.offset as usize + position) {
            return 0;
        }
        // SAFETY: in the segments, which end with a unit, and aligned as they are.
        unsafe { Self::read(self.at(position)) }
    }

    /// Whether the word, or the `len` bytes, at a position lie in the segments, aligned to their length.
    fn has(&self, position: usize, len: usize) -> bool {
        position % len == 0 && position < self.segments_len()
    }

    /// Writes the aligned word at a position of the segments; nothing where there is none.
    ///
    /// # Safety
    /// The image may be written to, and nobody else looks at it now.
    pub(crate) unsafe fn store(&self, position: usize, word: u64) {
        if self.has(position, 8) {
            // SAFETY: in the segments, which end with a unit, aligned, and writable by the caller's promise.
            unsafe { self.at(position).cast_mut().write_volatile(word) };
        }
    }

    /// As [`Image::store`], half a word.
    ///
    /// # Safety
    /// As for [`Image::store`].
    pub(crate) unsafe fn store_half(&self, position: usize, half: u32) {
        if self.has(position, 4) {
            let place = self.at(0).cast::<u8>().wrapping_add(position).cast::<u32>().cast_mut();
            // SAFETY: as in `store`.
            unsafe { place.write_volatile(half) };
        }
    }

    /// Bytes of the type table.
    pub(crate) fn types_len(&self) -> usize {
        self.layout.types.len as usize
    }

    /// The aligned word at a position of the type table; zeros behind it.
    pub(crate) fn types_word(&self, position: usize) -> u64 {
        let offset = self.layout.types.offset as usize + position;
        if position % 8 != 0 || position + 8 > self.types_len() || !self.has_data(offset) {
            return 0;
        }
        // SAFETY: in the area (I1), which is aligned to a page.
        unsafe { Self::read(self.bytes.wrapping_add(offset).cast()) }
    }

    #[inline(always)]
    fn has_data(&self, offset: usize) -> bool {
        self.data.is_none_or(|data| data.has(offset))
    }

    /// Units of the segments that are there.
    pub(crate) fn units(&self) -> usize {
        self.units
    }

    /// Bytes of the segments that are there.
    pub(crate) fn segments_len(&self) -> usize {
        self.units * UNIT
    }

    /// Where the segments begin, as an address that blocks hold, and as an offset from the heap's start.
    pub(crate) fn segments_start(&self) -> [u64; 2] {
        [self.base as u64 + self.layout.segments.offset, self.layout.segments.offset]
    }

    /// Where a position in the segments lies now.
    #[inline(always)]
    pub(crate) fn at(&self, position: usize) -> *const u64 {
        self.bytes.wrapping_add(self.layout.segments.offset as usize + position).cast()
    }

    /// The aligned word at `place`.
    ///
    /// # Safety
    /// `place` lies in the image (I1) and is aligned.
    #[inline(always)]
    pub(crate) unsafe fn read(place: *const u64) -> u64 {
        // A word may hold anything, padding included; what a volatile read gives is taken as it is.
        // SAFETY: readable by I1.
        unsafe { place.read_volatile() }
    }

    /// Calls `visit` with every word of the root directory that may be a position in the heap: [`Image::for_each_entry`]
    /// without types.
    pub(crate) fn for_each_root(&self, runs: &Runs, mut visit: impl FnMut(u64)) {
        self.for_each_entry(runs, |found| match found {
            Found::Root(entry) => {
                visit(entry.value);
                if entry.state == BY_NAME {
                    visit(entry.tag);
                }
            }
            Found::Word(word) => visit(word),
            Found::Damage => {}
        });
    }

    /// Calls `visit` with every entry of the root directory that makes sense, and with all words of those that do not.
    pub(crate) fn for_each_entry(&self, runs: &Runs, mut visit: impl FnMut(Found)) {
        let room = self.layout.roots.len as usize / size_of::<RootEntry>();
        let counts = self.root_entry(0);
        let is_good = counts.state == COUNTS && counts.checksum == counts.expected_checksum(&[]);
        let is_empty = counts == RootEntry::default();
        let end = match usize::try_from(counts.tag) {
            _ if is_empty => 0,
            Ok(last) if is_good && last < room => last + 1,
            _ => {
                visit(Found::Damage);
                room
            }
        };
        for slot in 1..end {
            let entry = self.root_entry(slot);
            match entry.state {
                FREE => {}
                BY_CLASS if entry.checksum == entry.expected_checksum(&[]) => visit(Found::Root(entry)),
                BY_NAME
                    if self.name(&entry, runs).is_some_and(|name| entry.checksum == entry.expected_checksum(&name)) =>
                {
                    visit(Found::Root(entry));
                }
                _ => {
                    visit(Found::Damage);
                    self.root_words(slot).into_iter().for_each(|word| visit(Found::Word(word)));
                }
            }
        }
    }

    fn root_words(&self, slot: usize) -> [u64; ENTRY_WORDS] {
        let offset = self.layout.roots.offset as usize + slot * size_of::<RootEntry>();
        // An entry lies in one page.
        if !self.has_data(offset) {
            return [0; ENTRY_WORDS];
        }
        let start: *const u64 = self.bytes.wrapping_add(offset).cast();
        // SAFETY: callers name slots that the area has (I1); it is aligned to a page.
        core::array::from_fn(|word| unsafe { Self::read(start.wrapping_add(word)) })
    }

    fn root_entry(&self, slot: usize) -> RootEntry {
        zerocopy::transmute!(self.root_words(slot))
    }

    /// The bytes of a name, if it lies in one block.
    fn name(&self, entry: &RootEntry, runs: &Runs) -> Option<Vec<u8>> {
        let len = entry.name_len as usize;
        if len == 0 {
            return Some(Vec::new());
        }
        let position = usize::try_from(entry.tag.checked_sub(self.layout.segments.offset)?).ok()?;
        let block = runs.find(position)?;
        if len > LONGEST_NAME || position + len > block.start + block.len {
            return None;
        }
        let start: *const u8 = self.at(0).cast::<u8>().wrapping_add(position);
        let first = self.layout.segments.offset as usize + position;
        let byte = |at: usize| match self.has_data(first + at) {
            // SAFETY: within a block, so within the image (I1).
            true => unsafe { start.wrapping_add(at).read_volatile() },
            false => 0,
        };
        Some((0..len).map(byte).collect())
    }
}
