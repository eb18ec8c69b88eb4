//! How many counted pointers lead to each block.
//!
//! Such a pointer is known by its type or, where types are not known, by its word: the address of a block's start, plus a tag. What
//! looks like one and is none then makes a number too high, which keeps the block for ever; none is ever too low.
//!
//! Laid out as the marks are, with a number for each bit.

use super::runs::{Block, Runs};
use super::zeroed::Zeroed;
use crate::alloc::count_table;
use crate::alloc::heap_core::{Core, Run, WORDS_PER_UNIT};
use crate::alloc::ref_count::{COUNTED, RefCount};
use crate::os::CallError;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// More pointers are not counted: counts do not, either.
const MOST: u32 = 1 << 30;

/// See the module.
///
/// All accesses are Relaxed: who reads numbers that others add to has joined them.
#[derive(Debug)]
pub(crate) struct Tallies {
    numbers: Zeroed<AtomicU32>,
    /// Of each unit, whether there are any in it.
    units: Zeroed<AtomicBool>,
}

impl Tallies {
    /// None, for blocks of so many units.
    pub(crate) fn new(units: usize) -> Result<Self, CallError> {
        Ok(Self { numbers: Zeroed::new(units * WORDS_PER_UNIT * 64)?, units: Zeroed::new(units)? })
    }

    /// Whether a position that a word leads to is a counted pointer to the block that it falls into.
    #[inline(always)]
    pub(crate) fn is_counted(position: usize, block: &Block) -> bool {
        position == block.start + COUNTED
    }

    /// Where a block's number lies, to ask for it in advance.
    #[inline(always)]
    pub(crate) fn place(&self, block: &Block) -> *const u8 {
        let number = block.word * 64 + block.bit.trailing_zeros() as usize;
        self.numbers.as_ptr().wrapping_add(number).cast()
    }

    /// Counts one more pointer to a block. If not `shared`, nobody else counts at the same time.
    #[inline]
    pub(crate) fn add(&self, block: &Block, shared: bool) {
        let number = block.word * 64 + block.bit.trailing_zeros() as usize;
        let unit = block.word / WORDS_PER_UNIT;
        if let (Some(number), Some(unit)) = (self.numbers.get(number), self.units.get(unit)) {
            // Far below where it would wrap, and for the heap's count it is as good as any more.
            let before = number.load(Ordering::Relaxed);
            if before < MOST && shared {
                number.fetch_add(1, Ordering::Relaxed);
            } else if before < MOST {
                number.store(before + 1, Ordering::Relaxed);
            }
            if !unit.load(Ordering::Relaxed) {
                unit.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Whether any pointer was counted.
    pub(crate) fn has_any(&self) -> bool {
        self.units.iter().any(|unit| unit.load(Ordering::Relaxed))
    }

    /// Forgets all numbers. Nobody counts meanwhile.
    pub(crate) fn clear(&self, runs: &Runs) {
        for number in self.numbers_in_use(runs) {
            number.store(0, Ordering::Relaxed);
        }
        self.units.iter().for_each(|unit| unit.store(false, Ordering::Relaxed));
    }

    fn numbers_in_use<'a>(&'a self, runs: &'a Runs) -> impl Iterator<Item = &'a AtomicU32> {
        self.words_in_use(runs)
            .flat_map(move |(_, word)| self.numbers.get(word * 64..word * 64 + 64).into_iter().flatten())
    }

    /// Words of marks in whose runs there are any numbers.
    fn words_in_use<'a>(&'a self, runs: &'a Runs) -> impl Iterator<Item = (Run, usize)> + 'a {
        runs.iter()
            .filter(|&run| {
                let (Run::Slab { head, .. } | Run::Large { head, .. }) = run;
                // The words of a slab of many units may all lie in the first few.
                self.units
                    .get(head..Runs::end_of(run))
                    .is_some_and(|units| units.iter().any(|unit| unit.load(Ordering::Relaxed)))
            })
            .flat_map(|run| Runs::mark_words(run).map(move |(word, _)| (run, word)))
    }

    /// The addresses of blocks with a number, and the numbers.
    #[cfg(test)]
    pub(crate) fn all(&self, core: &Core, runs: &Runs) -> Vec<(usize, u32)> {
        let of_word = |(run, word): (Run, usize)| {
            (0..64).filter_map(move |bit| {
                let number = self.numbers[word * 64 + bit].load(Ordering::Relaxed);
                let address = || core.segments + Runs::block_of_mark(run, word, bit as u32).start;
                (number > 0).then(|| (address(), number))
            })
        };
        self.words_in_use(runs).flat_map(of_word).collect()
    }

    /// Tells the heap's counts what was found, by `tell`.
    ///
    /// # Errors
    /// If there are no addresses for the counts.
    ///
    /// # Safety
    /// The heap is that of the runs, and stays open meanwhile.
    pub(crate) unsafe fn tell(&self, core: &Core, runs: &Runs, tell: impl Fn(&RefCount, u32)) -> Result<(), CallError> {
        for (run, word) in self.words_in_use(runs) {
            let class = match run {
                Run::Slab { class, .. } => Some(class),
                Run::Large { .. } => None,
            };
            for bit in 0..64 {
                let number = self.numbers.get(word * 64 + bit).map_or(0, |number| number.load(Ordering::Relaxed));
                if number > 0 {
                    let address = core.segments + Runs::block_of_mark(run, word, bit as u32).start;
                    count_table::ensure(address)?;
                    // SAFETY: its place has just been mapped, and the heap is open.
                    tell(unsafe { count_table::place_of(address, class).as_ref() }, number);
                }
            }
        }
        Ok(())
    }
}
