//! Which blocks a heap file holds, and which of them nothing leads to.

use super::Archaeology;
use crate::alloc::heap_core::Run;
use crate::error::OpenError;
use crate::format::header::CLEAN;
use crate::format::layout::BITS_PER_UNIT_BYTES;
use crate::format::soft::{SlabLocal, SlabState};
use crate::format::{PAGE, UNIT};
use crate::gc::image::Image as MarkedImage;
use crate::gc::marker::Marker;
use crate::gc::marks::Marks;
use crate::gc::runs::{Block, Runs};
use crate::os::CallError;
use core::mem::offset_of;

/// A block in a heap file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct BlockRecord {
    /// Where it begins, from the start of the file.
    pub offset: u64,
    /// Its bytes, those included that nobody asked for.
    pub len: u64,
    /// Whether it is an object of its own, and none of the blocks of a slab.
    pub is_large: bool,
}

impl Archaeology {
    fn info(&self, run: Run, block: Block) -> BlockRecord {
        let offset = self.header.layout.segments.offset + block.start as u64;
        BlockRecord { offset, len: block.len as u64, is_large: matches!(run, Run::Large { .. }) }
    }

    /// Whether it is known which blocks of a slab are free: of heaps that were closed well. Otherwise all blocks of a slab
    /// count as allocated.
    pub fn knows_free_blocks(&self) -> bool {
        self.free().is_some()
    }

    /// All allocated blocks, by their offsets.
    pub fn blocks(&self) -> impl Iterator<Item = BlockRecord> + '_ {
        let free = self.free();
        self.blocks_without(free)
    }

    /// Blocks without a mark.
    fn blocks_without<'a>(&'a self, marks: Option<&'a Marks>) -> impl Iterator<Item = BlockRecord> + 'a {
        self.table.runs.iter().flat_map(move |run| {
            Runs::mark_words(run).flat_map(move |(word, all)| {
                let mut left = all & !marks.map_or(0, |marks| marks.word(word));
                std::iter::from_fn(move || {
                    let bit = (left != 0).then(|| left.trailing_zeros())?;
                    left &= left - 1;
                    Some(self.info(run, Runs::block_of_mark(run, word, bit)))
                })
            })
        })
    }

    /// The block that a position in the file falls into, allocated or not.
    pub fn block_at(&self, offset: u64) -> Option<BlockRecord> {
        let position = usize::try_from(offset.checked_sub(self.header.layout.segments.offset)?).ok()?;
        let block = self.table.runs.find(position)?;
        let run = self.table.runs.in_units(block.start / UNIT..block.start / UNIT + 1).next()?;
        Some(self.info(run, block))
    }

    /// Blocks that nothing leads to from the roots, by their offsets: what a crash has left behind, or a program has
    /// leaked. Any aligned word of a reached block that looks like the address of a block, or like its offset, leads to
    /// it, so some may be missing.
    ///
    /// Of a heap that was not closed, free blocks of slabs are among them. All blocks are read into memory for this.
    ///
    /// # Errors
    /// [`OpenError::Os`] when there is not enough memory.
    pub fn orphans(&self) -> Result<Vec<BlockRecord>, OpenError> {
        let layout = self.header.layout;
        let units = self.table.runs.units();
        let load = |offset: u64, len: usize| self.image.load(&self.files(), offset as usize..offset as usize + len);
        // What cannot be had reads as zeros, and leads nowhere.
        load(layout.roots.offset, layout.roots.len as usize);
        for run in self.table.runs.iter() {
            let (head, len) = match run {
                Run::Slab { head, class } => (head, crate::alloc::size_class::slab_units(class) * UNIT),
                Run::Large { head, len_pages } => (head, len_pages as usize * PAGE),
            };
            load(layout.segments.offset + (head * UNIT) as u64, len);
        }
        let marks = Marks::new(units)?;
        if let Some(free) = self.free() {
            for (word, _) in self.table.runs.iter().flat_map(Runs::mark_words) {
                marks.set_all(word, free.word(word));
            }
        }
        let start = std::ptr::with_exposed_provenance(self.image.address());
        // SAFETY: the image has memory up to the end of the last unit (A1), and what of it is looked at, the roots and the
        // runs, is loaded, so that it is not written to as long as this value is borrowed (A2).
        let image = unsafe { MarkedImage::new(start, self.header.window, layout, units) };
        if units > 0 {
            let job = crate::gc::marker::Job::default();
            Marker::new(image, &self.table.runs, &marks, &job).with(1, crate::gc::marker::STACK).work(|| ())?;
        }
        Ok(self.blocks_without(Some(&marks)).collect())
    }

    /// Marks of all free blocks, if they are known.
    fn free(&self) -> Option<&Marks> {
        self.free.get_or_init(|| self.read_free().ok().flatten()).as_ref()
    }

    fn word_at(&self, offset: u64) -> Option<u64> {
        Some(u64::from_le_bytes(self.bytes(offset, 8)?.try_into().ok()?))
    }

    fn half_word_at(&self, offset: u64) -> Option<u32> {
        Some(u32::from_le_bytes(self.bytes(offset, 4)?.try_into().ok()?))
    }

    fn read_free(&self) -> Result<Option<Marks>, CallError> {
        let is_valid =
            self.header.state == CLEAN && self.word_at(self.header.layout.soft.offset) == Some(self.header.epoch);
        if !is_valid {
            return Ok(None);
        }
        let marks = Marks::new(self.table.runs.units())?;
        for run in self.table.runs.iter() {
            if let Run::Slab { head, .. } = run {
                if self.mark_free(head, run, &marks).is_none() {
                    // All of it counts as allocated.
                    continue;
                }
            }
        }
        Ok(Some(marks))
    }

    /// Marks the free blocks of a slab, if what is said of them makes sense.
    fn mark_free(&self, head: usize, run: Run, marks: &Marks) -> Option<()> {
        let layout = &self.header.layout;
        let local = layout.slab_states.offset + (head * size_of::<SlabState>() + offset_of!(SlabState, local)) as u64;
        let fresh = self.half_word_at(local + offset_of!(SlabLocal, fresh) as u64)?;
        let blocks = self.half_word_at(local + offset_of!(SlabLocal, blocks) as u64)?;
        let expected: u32 = Runs::mark_words(run).map(|(_, all)| all.count_ones()).sum();
        if blocks != expected || fresh > blocks {
            return None;
        }
        for (index, (word, all)) in Runs::mark_words(run).enumerate() {
            let at = (head * BITS_PER_UNIT_BYTES + index * 8) as u64;
            let bits = self.word_at(layout.free_bits.offset + at)? | self.word_at(layout.remote_bits.offset + at)?;
            let handed_out = (fresh as usize).saturating_sub(index * 64);
            let never = if handed_out >= 64 { 0 } else { u64::MAX << handed_out };
            marks.set_all(word, (bits | never) & all);
        }
        Some(())
    }
}
