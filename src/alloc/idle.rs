//! Giving memory back: all that is free, or what was not needed for a while.
//!
//! Time passes in periods. A run that somebody has kept at hand for a whole one becomes plain units. Of free units that hold
//! something as many stay as it would take to have again what was in use at most in that period; those behind them go. So a
//! program that frees and allocates in turns keeps its memory, and one that has shrunk loses it after two periods at most.
//!
//! The heap's lock is held for a few milliseconds at a time.

use super::growers::{Growers, Unneeded};
use super::heap_core::Core;
use super::space::Which;
use super::tuning::purge;
use crate::format::{SEGMENT_UNITS, UNIT};
use crate::os::clock;
use crate::sync::Ordering;
use core::sync::atomic::fence;

/// What was given back because it was idle.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Idle {
    pub(crate) bytes: usize,
    /// Whether something stays that would go if it is not needed in the next period either.
    pub(crate) leaves_some: bool,
}

/// Units that are given back at most before the lock is let go: 32 MiB.
const STEP: usize = 16 * SEGMENT_UNITS;
/// Units that a thread gives back at most on its way to something else: 64 MiB.
const ON_THE_WAY: usize = 32 * SEGMENT_UNITS;

impl Core {
    /// Gives the memory of free units back to the system, but only of runs of at least `least` units, and of what threads
    /// keep at hand too; returns how many bytes.
    pub(crate) fn purge(&self, least: usize) -> usize {
        self.return_all_runs();
        self.take_orphans_in();
        let bytes = self.purge_units(Which { least, keep: 0, by_segment: true }, usize::MAX);
        if least <= 1 {
            self.purge_tail(0);
        }
        self.totals.count_purge(bytes);
        let _guard = self.lock.lock();
        // SAFETY: under the lock.
        bytes + unsafe { self.purge_growers(Unneeded::All) }
    }

    /// Gives the disk space back that is reserved behind all that is in use, and behind a unit.
    pub(crate) fn purge_tail(&self, from: usize) {
        let _guard = self.lock.lock();
        // SAFETY: under the lock (K1).
        unsafe { (*self.space.get()).purge_tail(&self.backing, from) };
    }

    /// As [`Core::purge`], at most so many units.
    fn purge_units(&self, mut which: Which, most: usize) -> usize {
        let (mut bytes, mut left, mut from) = (0, most, Some(0));
        while let (Some(at), 1..) = (from, left) {
            let _guard = self.lock.lock();
            let step = STEP.min(left);
            // SAFETY: under the lock (K1).
            let purged = unsafe { (*self.space.get()).purge_some(&self.backing, &mut which, at, step) };
            left -= step;
            (bytes, from) = (bytes + purged.bytes, purged.next);
        }
        bytes
    }

    /// Ends the period and gives back what was idle in it, at most `most` bytes, and only runs of at least `least` units.
    pub(crate) fn purge_idle(&self, least: usize, most: usize) -> Idle {
        let keep = self.end_period();
        let mut bytes = self.purge_units(Which { least, keep, by_segment: true }, most / UNIT);
        if bytes > 0 {
            self.totals.count_purge(bytes);
        }
        if self.growers.is_some() {
            let _guard = self.lock.lock();
            // SAFETY: under the lock.
            bytes += unsafe { self.purge_growers(Unneeded::SinceLast) };
        }
        let leaves_some = keep > 0 || self.keeps_runs() || self.growers.is_some_and(Growers::holds_some);
        Idle { bytes, leaves_some }
    }

    /// Takes in what threads have freed of slabs whose own threads have ended, and makes plain units of those that are empty
    /// then. Otherwise that is done by whoever needs such a slab, and nobody may.
    pub(crate) fn take_orphans_in(&self) {
        // Pairs with the fence in `tell_orphan`.
        fence(Ordering::SeqCst);
        let _guard = self.lock.lock();
        // SAFETY: under the lock (K2).
        unsafe { self.collect_orphans(u32::MAX) };
    }

    /// Makes plain units of what was kept at hand for a whole period; returns how many units that hold something are to stay
    /// free.
    pub(crate) fn end_period(&self) -> usize {
        // Relaxed: a number to compare with; whoever reads the old one puts a run there that looks a period older.
        let period = self.tuning.period.fetch_add(1, Ordering::Relaxed);
        let _guard = self.lock.lock();
        // SAFETY: under the lock (K1).
        unsafe {
            self.collect_orphans(u32::MAX);
            // Before the runs go: they were not in use.
            let keep = (*self.space.get()).end_period();
            self.drain_runs(|run| run.age(period) > 0);
            keep
        }
    }

    /// If the current period is over, ends it and gives back what was idle in it, if that is done by whoever comes along.
    #[inline]
    pub(crate) fn purge_if_due(&self) {
        // Relaxed: settings.
        if self.tuning.purge.load(Ordering::Relaxed) == purge::DECAY && self.is_period_over() {
            self.purge_idle(1, ON_THE_WAY * UNIT);
        }
    }

    /// Whether the current period is over; of those who ask, one is told, and the next begins.
    pub(crate) fn is_period_over(&self) -> bool {
        let now = clock::coarse_now();
        // Relaxed: the exchange decides who it is, and nothing else depends on it.
        let end = self.tuning.period_end.load(Ordering::Relaxed);
        if now < end {
            return false;
        }
        let next = now.saturating_add(self.tuning.period_len.load(Ordering::Relaxed));
        let is_ours = self.tuning.period_end.compare_exchange(end, next, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        is_ours && end != 0
    }
}
