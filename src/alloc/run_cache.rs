//! Freed large objects that are kept at hand.
//!
//! Every thread heap has a bounded array of free runs for each class of sizes, and the heap has one more that all threads
//! share. A run is one word. Only the owner puts into a thread's array, and as long as it is alone with it ([`Bias`]) it takes
//! with a load and a store as well. A thread that has no run left, or gives what all of them keep back, takes another one's by
//! an exchange, and so does the owner meanwhile; before that it looks whether there is one, because keeping the owner from
//! being alone takes a system call. Nothing waits, nothing allocates. What does not fit goes to the shared array, and then back
//! to the heap's units, under its lock.
//!
//! To the heap's unit map a kept run is in use. In the slab table it is free, as its head says; its tails stay, lead nowhere, and
//! are right again when the same units are handed out as one run. Taking and keeping a run is one store to the table each.
//!
//! # Invariants
//! - **Q1** A run is in one slot at most, and who takes it out of there has it alone.
//! - **Q2** Of a run in a slot the head's entry is free, and those of the other units are as a large object over just these
//!   units leaves them.
//! - **Q3** Into the slots of [`OwnRuns`] only their owner puts; others only take, without the owner (B1). Only alone (B1) does
//!   the owner empty a slot by a store: so the slot still holds then what it held when the owner looked.
//!
//! # Volatile
//! All of it. After a crash the table says that these units are free. A clean close gives them back first.

mod word;

use super::bias::Bias;
use crate::sync::{AtomicI64, AtomicU64, Ordering};
#[cfg(not(loom))]
pub(crate) use word::TOO_LONG;
pub(crate) use word::{FreeRun, Wanted};
use word::{RUN_CLASSES, holds, run_class};

#[cfg(not(loom))]
const OWN_WAYS: usize = 16;
#[cfg(not(loom))]
const SHARED_WAYS: usize = 64;
#[cfg(loom)]
const OWN_WAYS: usize = 1;
#[cfg(loom)]
const SHARED_WAYS: usize = 1;

/// Empties a slot that holds a word, for those who may not be alone; false if somebody else has.
#[inline(always)]
fn empty_beside_others(slot: &AtomicU64, word: u64) -> bool {
    // Acquire pairs with the Release of whoever put it: what it did with the run is over. A word that was taken and put back
    // meanwhile says the same as before (Q1).
    slot.compare_exchange(word, 0, Ordering::Acquire, Ordering::Relaxed).is_ok()
}

/// The same for the owner of the slot, alone.
#[inline(always)]
fn empty_alone(slot: &AtomicU64, _word: u64) -> bool {
    // Relaxed: others look behind the end of this turn (B2), and before it at most to see whether it is worth a turn of theirs.
    slot.store(0, Ordering::Relaxed);
    true
}

/// Slots by class.
#[derive(Debug)]
struct Slots<const WAYS: usize> {
    slots: [[AtomicU64; WAYS]; RUN_CLASSES],
}

impl<const WAYS: usize> Slots<WAYS> {
    #[inline(always)]
    fn of_class(&self, class: usize) -> &[AtomicU64] {
        self.slots.get(class).map_or(&[], |slots| slots)
    }

    /// Takes a word that `fits`, which 0 does not, out of one class; 0 if there is none.
    #[inline(always)]
    fn take(&self, class: usize, fits: impl Fn(u64) -> bool, empty: impl Fn(&AtomicU64, u64) -> bool) -> u64 {
        for slot in self.of_class(class) {
            // Relaxed: whoever empties it decides.
            let word = slot.load(Ordering::Relaxed);
            if fits(word) && empty(slot, word) {
                return word;
            }
        }
        0
    }

    /// As [`Slots::take`], beside others: what is wanted, or else what serves.
    fn take_wanted(&self, wanted: Wanted) -> u64 {
        let take = |wanted: Wanted| self.take(wanted.class(), |held| wanted.is_met_by(held), empty_beside_others);
        match take(wanted) {
            0 => take(wanted.or_other_memory()),
            word => word,
        }
    }

    /// Words of the class that `fits` says yes to, at the moment.
    fn count(&self, class: usize, fits: impl Fn(u64) -> bool) -> usize {
        // Relaxed: who takes one, or fills an empty slot of its own, looks again or knows.
        self.of_class(class).iter().filter(|slot| fits(slot.load(Ordering::Relaxed))).count()
    }

    /// Hands out runs of a class that `fits` says yes to, until there are no more.
    fn drain(&self, class: usize, fits: impl Fn(FreeRun) -> bool, mut put: impl FnMut(FreeRun)) {
        while let Some(run) = FreeRun::of(self.take(class, |word| holds(word, &fits), empty_beside_others)) {
            put(run);
        }
    }
}

/// The runs that one thread keeps.
#[derive(Debug)]
pub(crate) struct OwnRuns {
    slots: Slots<OWN_WAYS>,
    /// Who may take how (Q3).
    bias: Bias,
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
            bias: Bias::new(),
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

    /// A slot for a run, if there is one. For the owner.
    #[inline(always)]
    pub(crate) fn room_for(&self, run: FreeRun) -> Option<Room<'_>> {
        let word = run.encode()?;
        let class = run_class(run.units);
        // Relaxed: nobody else fills an empty slot (Q3).
        let slot = self.slots.of_class(class).iter().find(|slot| slot.load(Ordering::Relaxed) == 0)?;
        Some(Room { runs: self, slot, word, class })
    }

    /// Keeps a run; false if there is no slot for it. For the owner.
    pub(crate) fn put(&self, run: FreeRun) -> bool {
        self.room_for(run).map(Room::fill).is_some()
    }

    /// Takes just such a run as is wanted, if that costs nothing. For the owner.
    #[inline(always)]
    pub(crate) fn take_at_once(&self, wanted: Wanted) -> Option<FreeRun> {
        let class = wanted.class();
        if !self.may_have(class) {
            return None;
        }
        let word = {
            // Q3
            let _alone = self.bias.alone()?;
            self.slots.take(class, |held| wanted.is_met_by(held), empty_alone)
        };
        let run = FreeRun::of(word)?;
        self.add_kept(-(run.units as i64));
        Some(run)
    }

    /// Takes a run that serves. For the owner.
    pub(crate) fn take(&self, wanted: Wanted) -> Option<FreeRun> {
        if !self.may_have(wanted.class()) {
            return None;
        }
        let run = FreeRun::of(self.slots.take_wanted(wanted));
        match run {
            Some(run) => self.add_kept(-(run.units as i64)),
            None => self.note_empty(wanted.class()),
        }
        run
    }

    #[cold]
    fn note_empty(&self, class: usize) {
        // Relaxed: only the owner fills slots and writes the bits.
        if self.slots.of_class(class).iter().all(|slot| slot.load(Ordering::Relaxed) == 0) {
            let classes = &self.classes[class / 64];
            classes.store(classes.load(Ordering::Relaxed) & !(1 << (class % 64)), Ordering::Relaxed);
        }
    }

    /// Takes a run out of another thread's slots, and half of those like it, because each time takes a system call: they go to
    /// `own`, the caller's, as long as that has room and no more than `most` units.
    pub(crate) fn steal(&self, wanted: Wanted, own: &Self, most: usize) -> Option<FreeRun> {
        let (class, serves) = (wanted.class(), wanted.or_other_memory());
        let count = if self.may_have(class) { self.slots.count(class, |word| serves.is_met_by(word)) } else { 0 };
        if count == 0 {
            return None;
        }
        let take = || {
            let run = FreeRun::of(self.slots.take_wanted(wanted))?;
            // Relaxed: a figure.
            self.stolen.fetch_add(run.units as i64, Ordering::Relaxed);
            Some(run)
        };
        self.bias.without_owner(|| {
            let first = take()?;
            for _ in 1..count.div_ceil(2) {
                if own.units() + first.units > most || own.slots.count(class, |word| word == 0) == 0 {
                    break;
                }
                let Some(more) = take() else { break };
                // There is room for it.
                own.put(more);
            }
            Some(first)
        })?
    }

    /// Takes all runs out that `fits` says yes to; for any thread. Leaves them if the owner, which is taking one at this very
    /// moment, does not come to an end.
    pub(crate) fn drain(&self, fits: impl Fn(FreeRun) -> bool, mut put: impl FnMut(FreeRun)) {
        let may_fit = |class: &usize| self.may_have(*class) && self.slots.count(*class, |word| holds(word, &fits)) > 0;
        let Some(first) = (0..RUN_CLASSES).find(may_fit) else { return };
        let _ = self.bias.without_owner(|| {
            for class in (first..RUN_CLASSES).filter(|&class| self.may_have(class)) {
                self.slots.drain(class, &fits, |run| {
                    self.stolen.fetch_add(run.units as i64, Ordering::Relaxed);
                    put(run);
                });
            }
        });
    }

    /// In a child process, which has none of the other threads: nobody is at the slots.
    pub(crate) fn begin_child(&self) {
        self.bias.begin_again();
    }
}

/// An empty slot, and what its owner may put there.
pub(crate) struct Room<'a> {
    runs: &'a OwnRuns,
    slot: &'a AtomicU64,
    word: u64,
    class: usize,
}

impl Room<'_> {
    /// Keeps the run.
    #[inline(always)]
    pub(crate) fn fill(self) {
        let Self { runs, slot, word, class } = self;
        // The count first, so that thieves never bring it below zero for long.
        runs.add_kept(FreeRun::decode(word).units as i64);
        // Release pairs with the Acquire of whoever takes it.
        slot.store(word, Ordering::Release);
        if !runs.may_have(class) {
            let classes = &runs.classes[class / 64];
            // Relaxed: only the owner writes it.
            classes.store(classes.load(Ordering::Relaxed) | 1 << (class % 64), Ordering::Relaxed);
        }
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
        for slot in self.slots.of_class(run_class(run.units)) {
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
        let run = FreeRun::of(self.slots.take_wanted(wanted))?;
        self.units.fetch_sub(run.units as i64, Ordering::Relaxed);
        Some(run)
    }

    /// Takes all runs out that `fits` says yes to.
    pub(crate) fn drain(&self, fits: impl Fn(FreeRun) -> bool, mut put: impl FnMut(FreeRun)) {
        if self.units() == 0 {
            return;
        }
        for class in 0..RUN_CLASSES {
            self.slots.drain(class, &fits, |run| {
                self.units.fetch_sub(run.units as i64, Ordering::Relaxed);
                put(run);
            });
        }
    }
}

#[cfg(all(test, loom))]
mod loom_models;
#[cfg(all(test, not(loom)))]
mod tests;
