//! Freed large objects that are kept at hand.
//!
//! Every thread heap has a bounded array of free runs for each class of sizes, and the heap has one more that all threads
//! share. A run is one word. Only the owner puts into a thread's array, with a load and a store; whoever wants a run, the owner
//! or another thread that has none left, takes it by one exchange. Nothing waits, nothing allocates. What does not fit goes to
//! the shared array, and then back to the heap's units, under its lock.
//!
//! To the heap's unit map a kept run is in use. In the slab table it is free, as its head says; its tails stay, lead nowhere, and
//! are right again when the same units are handed out as one run. Taking and keeping a run is one store to the table each.
//!
//! # Invariants
//! - **Q1** A run is in one slot at most, and who takes it out of there has it alone.
//! - **Q2** Of a run in a slot the head's entry is free, and those of the other units are as a large object over just these
//!   units leaves them.
//! - **Q3** Into the slots of [`OwnRuns`] only their owner puts; others only take.
//!
//! # Volatile
//! All of it. After a crash the table says that these units are free. A clean close gives them back first.

use crate::sync::{AtomicI64, AtomicU64, Ordering};

/// Bits of a word: the head, the units, whether they read as zeros, and when they were put there.
const HEAD_BITS: u32 = 31;
const UNITS_BITS: u32 = 21;
const PERIOD_BITS: u32 = 11;
const UNITS_SHIFT: u32 = HEAD_BITS;
const ZEROED_SHIFT: u32 = UNITS_SHIFT + UNITS_BITS;
const PERIOD_SHIFT: u32 = ZEROED_SHIFT + 1;
const _: () = assert!(PERIOD_SHIFT + PERIOD_BITS == 64);

/// Runs of so many units and more are not kept.
pub(crate) const TOO_LONG: usize = 1 << UNITS_BITS;

/// Classes of lengths: four to a doubling.
#[cfg(not(loom))]
pub(crate) const RUN_CLASSES: usize = 4 * UNITS_BITS as usize;
#[cfg(loom)]
pub(crate) const RUN_CLASSES: usize = 1;

#[cfg(not(loom))]
const OWN_WAYS: usize = 16;
#[cfg(not(loom))]
const SHARED_WAYS: usize = 64;
#[cfg(loom)]
const OWN_WAYS: usize = 1;
#[cfg(loom)]
const SHARED_WAYS: usize = 1;

/// The class of a length, which is not zero and not [`TOO_LONG`].
#[inline(always)]
pub(crate) const fn run_class(units: usize) -> usize {
    let exponent = units.ilog2() as usize;
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
    fn encode(self) -> Option<u64> {
        if self.head >> HEAD_BITS != 0 || self.units >= TOO_LONG || self.units == 0 {
            return None;
        }
        let period = u64::from(self.period) << PERIOD_SHIFT;
        Some(self.head as u64 | (self.units as u64) << UNITS_SHIFT | u64::from(self.is_zeroed) << ZEROED_SHIFT | period)
    }

    #[inline(always)]
    fn decode(word: u64) -> Self {
        Self {
            head: (word & ((1 << HEAD_BITS) - 1)) as usize,
            units: (word >> UNITS_SHIFT) as usize & (TOO_LONG - 1),
            is_zeroed: word >> ZEROED_SHIFT & 1 != 0,
            period: (word >> PERIOD_SHIFT) as u32,
        }
    }

    /// Periods that have passed since it was freed, if it has not been kept for thousands of them.
    pub(crate) fn age(self, period: u32) -> u32 {
        period.wrapping_sub(self.period) & ((1 << PERIOD_BITS) - 1)
    }
}

/// What a taker looks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) units: usize,
    /// The head is a multiple of this.
    pub(crate) align: usize,
    pub(crate) zeroed: bool,
}

/// Slots by class.
#[derive(Debug)]
struct Slots<const WAYS: usize> {
    slots: [[AtomicU64; WAYS]; RUN_CLASSES],
}

impl<const WAYS: usize> Slots<WAYS> {
    /// Takes a run that `fits`, out of one class.
    #[inline(always)]
    fn take(&self, class: usize, fits: impl Fn(FreeRun) -> bool) -> Option<FreeRun> {
        for slot in &self.slots[class] {
            // Relaxed: the exchange decides.
            let word = slot.load(Ordering::Relaxed);
            if word != 0 && fits(FreeRun::decode(word)) {
                // Acquire pairs with the Release of whoever put it: what it did with the run is over. A word that was taken and
                // put back meanwhile says the same as before (Q1).
                if slot.compare_exchange(word, 0, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                    return Some(FreeRun::decode(word));
                }
            }
        }
        None
    }

    /// As [`Slots::take`]: zeros rather than other memory if they are wanted, and the other way round.
    #[inline(always)]
    fn take_wanted(&self, wanted: Wanted) -> Option<FreeRun> {
        let class = run_class(wanted.units);
        let fits = |run: FreeRun| run.units == wanted.units && run.head & (wanted.align - 1) == 0;
        self.take(class, |run| fits(run) && run.is_zeroed == wanted.zeroed).or_else(|| self.take(class, fits))
    }

    /// Hands out runs that `fits` says yes to, until there are no more.
    fn drain(&self, fits: impl Fn(FreeRun) -> bool, mut put: impl FnMut(FreeRun)) {
        for class in 0..RUN_CLASSES {
            while let Some(run) = self.take(class, &fits) {
                put(run);
            }
        }
    }
}

/// The runs that one thread keeps.
#[derive(Debug)]
pub(crate) struct OwnRuns {
    slots: Slots<OWN_WAYS>,
    /// Units put in less units taken out by the owner, who alone writes it.
    kept: AtomicI64,
    /// Units taken out by others.
    stolen: AtomicI64,
    /// A bit for each class that has had a run since the owner last found it empty.
    classes: [AtomicU64; 2],
}

impl OwnRuns {
    #[cfg(not(loom))]
    pub(crate) const fn new() -> Self {
        Self {
            slots: Slots { slots: [const { [const { AtomicU64::new(0) }; OWN_WAYS] }; RUN_CLASSES] },
            kept: AtomicI64::new(0),
            stolen: AtomicI64::new(0),
            classes: [const { AtomicU64::new(0) }; 2],
        }
    }

    /// Whether the class may have a run: cheap, for thieves above all.
    #[inline(always)]
    fn may_have(&self, class: usize) -> bool {
        // Relaxed: a stale answer costs a look, or a run that is found elsewhere.
        self.classes[class / 64].load(Ordering::Relaxed) >> (class % 64) & 1 != 0
    }

    /// Units that are kept; others may take some at this moment.
    #[inline(always)]
    pub(crate) fn units(&self) -> usize {
        // Relaxed: of their own thread these are exact, for others a figure.
        let units = self.kept.load(Ordering::Relaxed) - self.stolen.load(Ordering::Relaxed);
        usize::try_from(units).unwrap_or(0)
    }

    #[inline(always)]
    fn add_kept(&self, units: i64) {
        // Relaxed: only the owner writes it.
        self.kept.store(self.kept.load(Ordering::Relaxed) + units, Ordering::Relaxed);
    }

    /// Keeps a run; false if there is no slot for it. For the owner.
    #[inline(always)]
    pub(crate) fn put(&self, run: FreeRun) -> bool {
        let Some(word) = run.encode() else { return false };
        let class = run_class(run.units);
        // Relaxed: nobody else fills an empty slot (Q3).
        let Some(slot) = self.slots.slots[class].iter().find(|slot| slot.load(Ordering::Relaxed) == 0) else {
            return false;
        };
        // The count first, so that thieves never bring it below zero for long.
        self.add_kept(run.units as i64);
        // Release pairs with the Acquire of whoever takes it.
        slot.store(word, Ordering::Release);
        if !self.may_have(class) {
            let classes = &self.classes[class / 64];
            // Relaxed: only the owner writes it.
            classes.store(classes.load(Ordering::Relaxed) | 1 << (class % 64), Ordering::Relaxed);
        }
        true
    }

    /// Takes a run. For the owner.
    #[inline(always)]
    pub(crate) fn take(&self, wanted: Wanted) -> Option<FreeRun> {
        let class = run_class(wanted.units);
        if !self.may_have(class) {
            return None;
        }
        let run = self.slots.take_wanted(wanted);
        match run {
            Some(run) => self.add_kept(-(run.units as i64)),
            None => self.note_empty(class),
        }
        run
    }

    #[cold]
    fn note_empty(&self, class: usize) {
        // Relaxed: only the owner fills slots and writes the bits.
        if self.slots.slots[class].iter().all(|slot| slot.load(Ordering::Relaxed) == 0) {
            let classes = &self.classes[class / 64];
            classes.store(classes.load(Ordering::Relaxed) & !(1 << (class % 64)), Ordering::Relaxed);
        }
    }

    /// Takes a run out of another thread's slots.
    pub(crate) fn steal(&self, wanted: Wanted) -> Option<FreeRun> {
        if !self.may_have(run_class(wanted.units)) {
            return None;
        }
        let run = self.slots.take_wanted(wanted)?;
        // Relaxed: a figure.
        self.stolen.fetch_add(run.units as i64, Ordering::Relaxed);
        Some(run)
    }

    /// Takes all runs out that `fits` says yes to; for any thread.
    pub(crate) fn drain(&self, fits: impl Fn(FreeRun) -> bool, mut put: impl FnMut(FreeRun)) {
        if self.classes.iter().all(|classes| classes.load(Ordering::Relaxed) == 0) {
            return;
        }
        self.slots.drain(fits, |run| {
            self.stolen.fetch_add(run.units as i64, Ordering::Relaxed);
            put(run);
        });
    }
}

/// The runs that all threads share.
#[derive(Debug)]
pub(crate) struct SharedRuns {
    slots: Slots<SHARED_WAYS>,
    units: AtomicI64,
}

impl SharedRuns {
    /// Units that are kept.
    pub(crate) fn units(&self) -> usize {
        // Relaxed: a figure.
        usize::try_from(self.units.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// Keeps a run, if that leaves no more than `most` units here; false if it does not, or there is no slot.
    pub(crate) fn put(&self, run: FreeRun, most: usize) -> bool {
        let Some(word) = run.encode() else { return false };
        let units = run.units as i64;
        // Relaxed: a figure, which is raised first so that the limit holds.
        if self.units.fetch_add(units, Ordering::Relaxed) + units > most as i64 {
            self.units.fetch_sub(units, Ordering::Relaxed);
            return false;
        }
        for slot in &self.slots.slots[run_class(run.units)] {
            // Release pairs with the Acquire of whoever takes it.
            if slot.load(Ordering::Relaxed) == 0
                && slot.compare_exchange(0, word, Ordering::Release, Ordering::Relaxed).is_ok()
            {
                return true;
            }
        }
        self.units.fetch_sub(units, Ordering::Relaxed);
        false
    }

    /// Takes a run.
    pub(crate) fn take(&self, wanted: Wanted) -> Option<FreeRun> {
        if self.units() == 0 {
            return None;
        }
        let run = self.slots.take_wanted(wanted)?;
        self.units.fetch_sub(run.units as i64, Ordering::Relaxed);
        Some(run)
    }

    /// Takes all runs out that `fits` says yes to.
    pub(crate) fn drain(&self, fits: impl Fn(FreeRun) -> bool, mut put: impl FnMut(FreeRun)) {
        if self.units() == 0 {
            return;
        }
        self.slots.drain(fits, |run| {
            self.units.fetch_sub(run.units as i64, Ordering::Relaxed);
            put(run);
        });
    }
}

#[cfg(all(test, loom))]
mod loom_models;
#[cfg(all(test, not(loom)))]
mod tests;
