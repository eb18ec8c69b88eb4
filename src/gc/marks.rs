//! A bit for each block.
//!
//! Laid out as the heap's free bits are: each unit has room for a bit for each 16 bytes, and a slab's blocks have theirs
//! one after the other from the slab's first unit on. A large object has the first bit of its first unit.

use super::zeroed::Zeroed;
use crate::alloc::heap_core::WORDS_PER_UNIT;
use crate::os::CallError;
use crate::sync::{AtomicU64, Ordering};

/// See the module.
///
/// Accesses are Relaxed but where they say so: who reads bits that others set has joined them, or does not mind missing some.
#[derive(Debug)]
pub(crate) struct Marks {
    words: Zeroed<AtomicU64>,
}

impl Marks {
    /// No marks, for blocks of so many units.
    pub(crate) fn new(units: usize) -> Result<Self, CallError> {
        Ok(Self { words: Zeroed::new(units * WORDS_PER_UNIT)? })
    }

    #[inline(always)]
    pub(crate) fn word(&self, word: usize) -> u64 {
        self.words.get(word).map_or(0, |word| word.load(Ordering::Relaxed))
    }

    /// Where a word lies, to ask for it in advance.
    #[inline(always)]
    pub(crate) fn place(&self, word: usize) -> *const u8 {
        self.words.as_ptr().wrapping_add(word).cast()
    }

    /// Sets a bit; true if it was clear. If not `shared`, nobody else sets bits at the same time.
    #[inline(always)]
    pub(crate) fn set(&self, word: usize, bit: u64, shared: bool) -> bool {
        let Some(word) = self.words.get(word) else { return false };
        let before = word.load(Ordering::Relaxed);
        if before & bit != 0 {
            return false;
        }
        if shared {
            return word.fetch_or(bit, Ordering::Relaxed) & bit == 0;
        }
        word.store(before | bit, Ordering::Relaxed);
        true
    }

    /// Clears a bit; true if it was set, which of several that clear it one is told. What was written before the bit was
    /// published is seen then.
    pub(crate) fn claim(&self, word: usize, bit: u64) -> bool {
        // Acquire pairs with the Release in `publish`.
        self.words.get(word).is_some_and(|word| word.fetch_and(!bit, Ordering::Acquire) & bit != 0)
    }

    /// Sets a bit after what whoever claims it is to see was written.
    pub(crate) fn publish(&self, word: usize, bit: u64) {
        if let Some(word) = self.words.get(word) {
            // Release pairs with the Acquire in `claim`.
            word.fetch_or(bit, Ordering::Release);
        }
    }

    /// Clears all bits. Nobody sets any meanwhile.
    pub(crate) fn clear(&self) {
        for word in self.words.iter().filter(|word| word.load(Ordering::Relaxed) != 0) {
            word.store(0, Ordering::Relaxed);
        }
    }

    /// Sets all bits of a mask.
    pub(crate) fn set_all(&self, word: usize, mask: u64) {
        if let Some(word) = self.words.get(word) {
            word.fetch_or(mask, Ordering::Relaxed);
        }
    }
}
