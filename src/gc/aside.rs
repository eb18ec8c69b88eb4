//! What was found in blocks for which there was no room on a stack.
//!
//! Such a block is marked and has not been looked at. Its range is put aside, in a table that has a place for each block and takes
//! memory where something is put, until somebody has time for it. So each range is looked at exactly once, whatever
//! the size of stacks, and what is counted meanwhile is exact.
//!
//! # Invariants
//! - **A1** A bit that is set stands for a range that was written before, of which somebody else gets to know by the bit; who
//!   clears the bit has the range.

use super::marks::Marks;
use super::runs::Block;
use super::stack::Span;
use super::zeroed::Zeroed;
use crate::alloc::heap_core::WORDS_PER_UNIT;
use crate::os::CallError;
use crate::sync::{AtomicU64, Ordering};

/// See the module.
#[derive(Debug)]
pub(crate) struct Aside {
    bits: Marks,
    /// Of each block two words: length, then plan and number. The range begins where the block does.
    ranges: Zeroed<AtomicU64>,
}

impl Aside {
    /// Nothing, of blocks of so many units.
    pub(crate) fn new(units: usize) -> Result<Self, CallError> {
        Ok(Self { bits: Marks::new(units)?, ranges: Zeroed::new(units * WORDS_PER_UNIT * 64 * 2)? })
    }

    fn words(&self, block: &Block) -> Option<&[AtomicU64]> {
        let at = (block.word * 64 + block.bit.trailing_zeros() as usize) * 2;
        self.ranges.get(at..at + 2)
    }

    /// Puts a range aside that begins where its block does. Of each block once.
    pub(crate) fn put(&self, block: &Block, span: Span) {
        debug_assert!(span.start == block.start);
        if let Some([len, plan]) = self.words(block) {
            // Relaxed: published with the bit (A1).
            len.store((span.end - span.start) as u64, Ordering::Relaxed);
            plan.store(u64::from(span.plan) | u64::from(span.above) << 32, Ordering::Relaxed);
            self.bits.publish(block.word, block.bit);
        }
    }

    /// Of 64 blocks, for which there is something.
    pub(crate) fn word(&self, word: usize) -> u64 {
        self.bits.word(word)
    }

    /// What was put aside of a block, if nobody else has taken it.
    pub(crate) fn take(&self, block: &Block) -> Option<Span> {
        if !self.bits.claim(block.word, block.bit) {
            return None;
        }
        let [len, plan] = self.words(block)? else { return None };
        // Relaxed: written before the bit was set (A1).
        let (len, plan) = (len.load(Ordering::Relaxed) as usize, plan.load(Ordering::Relaxed));
        Some(Span { start: block.start, end: block.start + len, plan: plan as u32, above: (plan >> 32) as u32 })
    }
}
