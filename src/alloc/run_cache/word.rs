//! A run in a word, and what a taker looks for in words.

/// Bits of a word: the head, the units, whether they read as zeros, and when they were put there.
const HEAD_BITS: u32 = 31;
const UNITS_BITS: u32 = 21;
const PERIOD_BITS: u32 = 11;
const UNITS_SHIFT: u32 = HEAD_BITS;
const ZEROED_SHIFT: u32 = UNITS_SHIFT + UNITS_BITS;
const PERIOD_SHIFT: u32 = ZEROED_SHIFT + 1;
const ZEROED: u64 = 1 << ZEROED_SHIFT;
const UNITS_MASK: u64 = (TOO_LONG as u64 - 1) << UNITS_SHIFT;
const _: () = assert!(PERIOD_SHIFT + PERIOD_BITS == 64);

/// Runs of so many units and more are not kept.
pub(crate) const TOO_LONG: usize = 1 << UNITS_BITS;

/// Classes of lengths: four to a doubling.
#[cfg(not(loom))]
pub(super) const RUN_CLASSES: usize = 4 * UNITS_BITS as usize;
#[cfg(loom)]
pub(super) const RUN_CLASSES: usize = 1;

/// The class of a length, which is not zero and not [`TOO_LONG`].
#[inline(always)]
pub(super) const fn run_class(units: usize) -> usize {
    // The lowest bit changes nothing, but that the compiler sees that there is one.
    let exponent = (units | 1).ilog2() as usize;
    4 * exponent + ((units << 2 >> exponent) & 3)
}

/// A free run that somebody has, or had in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FreeRun {
    pub(crate) head: usize,
    pub(crate) units: usize,
    pub(crate) is_zeroed: bool,
    /// The period in which it was freed, as far as a word can tell.
    pub(crate) period: u32,
}

impl FreeRun {
    /// None if a word cannot hold it.
    #[inline(always)]
    pub(super) fn encode(self) -> Option<u64> {
        if self.head >> HEAD_BITS != 0 || self.units >= TOO_LONG || self.units == 0 {
            return None;
        }
        let period = u64::from(self.period) << PERIOD_SHIFT;
        Some(self.head as u64 | (self.units as u64) << UNITS_SHIFT | u64::from(self.is_zeroed) << ZEROED_SHIFT | period)
    }

    #[inline(always)]
    pub(super) fn decode(word: u64) -> Self {
        Self {
            head: (word & ((1 << HEAD_BITS) - 1)) as usize,
            units: (word >> UNITS_SHIFT) as usize & (TOO_LONG - 1),
            is_zeroed: word >> ZEROED_SHIFT & 1 != 0,
            period: (word >> PERIOD_SHIFT) as u32,
        }
    }

    /// The run of a word, which has none if it is 0.
    #[inline(always)]
    pub(super) fn of(word: u64) -> Option<Self> {
        (word != 0).then(|| Self::decode(word))
    }

    /// Periods that have passed since it was freed, if it has not been kept for thousands of them.
    pub(crate) fn age(self, period: u32) -> u32 {
        period.wrapping_sub(self.period) & ((1 << PERIOD_BITS) - 1)
    }
}

/// What a taker looks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// A word that holds just such a run, as far as the mask reaches. It is not 0 there, as an empty slot is, because no run
    /// has 0 units.
    word: u64,
    mask: u64,
}

impl Wanted {
    /// So many units, not zero and fewer than [`TOO_LONG`], at a multiple of `align` units; zeros rather than other memory if
    /// they are wanted, and the other way round.
    #[inline(always)]
    pub(crate) const fn new(units: usize, align: usize, zeroed: bool) -> Self {
        let word = (units as u64) << UNITS_SHIFT | (zeroed as u64) << ZEROED_SHIFT;
        Self { word, mask: UNITS_MASK | ZEROED | (align as u64 - 1) }
    }

    #[inline(always)]
    pub(super) fn class(self) -> usize {
        run_class(FreeRun::decode(self.word).units)
    }

    /// The same, zeroed or not.
    #[inline(always)]
    pub(super) fn or_other_memory(self) -> Self {
        Self { mask: self.mask & !ZEROED, ..self }
    }

    /// Whether a word holds such a run.
    #[inline(always)]
    pub(super) fn is_met_by(self, held: u64) -> bool {
        (held ^ self.word) & self.mask == 0
    }
}

/// Whether a word holds a run that `fits`.
pub(super) fn holds(word: u64, fits: impl Fn(FreeRun) -> bool) -> bool {
    FreeRun::of(word).is_some_and(fits)
}
