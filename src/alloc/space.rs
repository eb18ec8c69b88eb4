//! A heap's units: which are in use, which hold zeros, and how far memory has been reserved. All under the heap's lock.
//!
//! # Invariants
//! - **S1** A unit that is used lies below `committed`.
//! - **S2** A unit whose dirty bit is clear reads as zeros.
//! - **S3** A used unit has memory or disk space of its own: what was given back and may have been lost is reserved again
//!   before it is taken. Units from `reserved_from` on are as `commit` left them.

use super::backing::Backing;
use super::prefault::event;
use super::unit_map::UnitMap;
use crate::format::layout::{BITS_PER_UNIT_BYTES, Layout};
use crate::format::soft::{SlabState, SoftHeader};
use crate::format::{PAGE, SEGMENT_UNITS, UNIT};
use crate::os::signal::Signal;
use crate::os::{CallError, errno};
use crate::sync::{AtomicU64, Ordering};

/// A heap with no more units in use has its first segment in small pages: so many are the first two leases, and slabs of
/// the many sizes that a program asks for at its start leave them nearly empty.
const SMALL_UNITS: usize = 24;

/// By how much reserved memory grows when more is needed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Growth {
    /// A step is this part of what is reserved,
    pub(crate) part: usize,
    /// and has at least and at most so many units.
    pub(crate) least: usize,
    pub(crate) most: usize,
}

impl Growth {
    /// An eighth, from 2 MiB to 64 MiB.
    pub(crate) const USUAL: Self = Self { part: 8, least: SEGMENT_UNITS, most: 32 * SEGMENT_UNITS };

    fn step(self, committed: usize) -> usize {
        (committed / self.part.max(1)).min(self.most).max(self.least)
    }
}

/// The units of one heap.
#[derive(Debug)]
pub(crate) struct Space {
    pub(crate) map: UnitMap,
    dirty: *mut u64,
    soft: *mut SoftHeader,
    layout: Layout,
    base: usize,
    /// Most units that may be in use at once.
    pub(crate) capacity_units: usize,
    /// A second limit of that kind, which is not the file's.
    pub(crate) most_used: usize,
    /// Memory or disk space is reserved for no more than so many units.
    pub(crate) most_committed: usize,
    pub(crate) growth: Growth,
    /// Most units that were in use at once in the current period.
    peak_used: usize,
    /// Fewest units in use, and reserved, since somebody asked.
    least: (usize, usize),
    /// See S3.
    reserved_from: usize,
    /// The unit behind the last one that was ever in use since the heap was opened, or that was when it was.
    peak_end: usize,
    /// Up to there growth is told to nobody: enough of what lies behind is ready.
    pub(super) quiet_until: usize,
    /// Whom to tell that the heap grew or shrank; null until the heap is at its place.
    pub(super) signal: *const Signal,
}

/// Units that one thread took to cut slabs from: bits of one segment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lease {
    /// The segment's first unit.
    pub(crate) segment: usize,
    /// Leased units that belong to no slab.
    pub(crate) free: u64,
    /// Leased units that read as zeros.
    pub(crate) zeroed: u64,
}

impl Space {
    /// The units of a mapped heap.
    ///
    /// # Safety
    /// The allocator state of `layout` is mapped at `base`, readable and writable as far as it is used, and this is
    /// the only `Space` over it.
    pub(crate) unsafe fn new(base: usize, layout: Layout, capacity_units: usize) -> Self {
        let [groups, map, dirty] = layout.soft_parts().map(|offset| base + offset as usize);
        let soft = core::ptr::with_exposed_provenance_mut(base + layout.soft.offset as usize);
        let groups = core::ptr::with_exposed_provenance_mut(groups);
        let words = core::ptr::with_exposed_provenance_mut(map);
        // SAFETY: the caller's promise; the parts do not overlap.
        let map = unsafe { UnitMap::new(groups, words, layout.units as usize) };
        let dirty = core::ptr::with_exposed_provenance_mut(dirty);
        let mut space = Self {
            map,
            dirty,
            soft,
            layout,
            base,
            capacity_units,
            most_used: usize::MAX,
            most_committed: usize::MAX,
            growth: Growth::USUAL,
            peak_used: 0,
            least: (0, 0),
            reserved_from: 0,
            peak_end: 0,
            quiet_until: 0,
            signal: core::ptr::null(),
        };
        // The last process may have given back what it did not use.
        space.reserved_from = space.committed_units();
        space.peak_end = space.used_end();
        space
    }

    fn committed(&self) -> &AtomicU64 {
        // SAFETY: mapped by `new`; an atomic, which all may share.
        unsafe { &(*self.soft).committed_units }
    }

    pub(crate) fn committed_units(&self) -> usize {
        // Relaxed: written under the lock, which the caller holds.
        self.committed().load(Ordering::Relaxed) as usize
    }

    pub(crate) fn used_units(&self) -> usize {
        // SAFETY: mapped by `new`; an atomic, which all may share. Relaxed: written under the lock, which the caller holds.
        unsafe { (*self.soft).locked.used_units.load(Ordering::Relaxed) as usize }
    }

    /// Counts units that are taken, or given back. What a file says of itself may be anything; too low a count gets no
    /// higher than that by itself.
    fn count_used(&mut self, change: i64) {
        let used = (self.used_units() as u64).saturating_add_signed(change);
        // SAFETY: as in `used_units`.
        unsafe { (*self.soft).locked.used_units.store(used, Ordering::Relaxed) };
    }

    /// Reserves memory up to unit `end` (S1).
    pub(super) fn commit(&mut self, backing: &Backing, end: usize) -> Result<(), CallError> {
        let committed = self.committed_units();
        if end <= committed {
            return Ok(());
        }
        let most = self.most_committed.min(self.layout.units as usize);
        if end > most {
            return Err(CallError { call: "reserve", errno: errno::NO_SPACE });
        }
        let step = self.growth.step(committed);
        let generous = end.max(committed + step).next_multiple_of(SEGMENT_UNITS).min(most);
        let exact = end.next_multiple_of(SEGMENT_UNITS).min(most);
        let target = match self.commit_range(backing, committed, generous) {
            Ok(()) => generous,
            // A disk that is nearly full may have room for what is needed now.
            Err(error) => {
                if exact == generous || self.commit_range(backing, committed, exact).is_err() {
                    self.give_up(backing, committed, generous);
                    return Err(error);
                }
                self.give_up(backing, exact, generous);
                exact
            }
        };
        // Relaxed: whoever has a block there got it through something that orders it behind this.
        self.committed().store(target as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Gives back what a reservation that failed may have got of units `from..to`.
    fn give_up(&self, backing: &Backing, from: usize, to: usize) {
        if to > from {
            let offset = self.layout.segments.offset as usize + from * UNIT;
            // SAFETY: nothing was ever stored behind what is committed.
            unsafe { backing.purge(self.base, offset, (to - from) * UNIT) };
        }
    }

    /// Makes units below `end` usable that hold whatever the last process left there; returns how many are usable now.
    pub(super) fn adopt(&mut self, backing: &Backing, end: usize) -> Result<usize, CallError> {
        // What is there is there; a limit is for what is to come.
        let most = core::mem::replace(&mut self.most_committed, usize::MAX);
        let done = self.commit(backing, end);
        self.most_committed = most;
        done?;
        let committed = self.committed_units();
        self.set_zeroed(0, committed, false);
        // Blocks of that time are changed in place.
        self.peak_end = self.peak_end.max(end);
        Ok(committed)
    }

    /// Notes that the last process's run of units is in use.
    pub(super) fn adopt_run(&mut self, start: usize, units: usize) {
        self.map.take(start, units);
        self.count_used(units as i64);
    }

    fn commit_range(&self, backing: &Backing, from: usize, to: usize) -> Result<(), CallError> {
        let layout = &self.layout;
        let parts = [
            (layout.slab_table.offset, 8),
            (layout.slab_states.offset, size_of::<SlabState>()),
            (layout.free_bits.offset, BITS_PER_UNIT_BYTES),
            (layout.remote_bits.offset, BITS_PER_UNIT_BYTES),
            (layout.segments.offset, UNIT),
        ];
        // One bit, and one eight-byte counter for many, a unit: small enough to round up generously.
        let [groups, map, dirty] = layout.soft_parts();
        let last_group = to.div_ceil(crate::format::soft::GROUP_UNITS);
        backing.commit(self.base, groups as usize, last_group * 8)?;
        backing.commit(self.base, map as usize, Layout::map_len(to as u64) as usize)?;
        backing.commit(self.base, dirty as usize, Layout::map_len(to as u64) as usize)?;
        for (offset, stride) in parts {
            // A page that an earlier step has reserved is left alone: other threads store to it without the lock, and on
            // some file systems reserving means writing it.
            let start = offset as usize + from * stride;
            let start = if from > 0 { start.next_multiple_of(PAGE) } else { start };
            let end = offset as usize + to * stride;
            if end > start {
                backing.commit(self.base, start, end - start)?;
            }
        }
        Ok(())
    }

    /// Takes units for a large object: `units` of them, from a multiple of `align`.
    pub(crate) fn take_run(&mut self, backing: &Backing, units: usize, align: usize) -> Option<usize> {
        let start = self.find_run(units, align)?;
        self.take_at(backing, start, units).then_some(start)
    }

    /// As [`Space::take_run`], but none that reaches behind all that were ever in use.
    pub(crate) fn take_run_in_use(&mut self, backing: &Backing, units: usize, align: usize) -> Option<usize> {
        let start = self.find_run(units, align).filter(|start| start + units <= self.peak_end)?;
        self.take_at(backing, start, units).then_some(start)
    }

    /// Large runs lie where they fit best, so that the next ones find room too; smaller ones as low as they can.
    fn find_run(&mut self, units: usize, align: usize) -> Option<usize> {
        let best = if units >= SEGMENT_UNITS { self.map.find_best_run(units, align, self.peak_end) } else { None };
        best.or_else(|| self.map.find_run(units, align))
    }

    /// Takes units `start..start + units` if all of them are free.
    pub(crate) fn take_exact(&mut self, backing: &Backing, start: usize, units: usize) -> bool {
        self.map.is_free(start, units) && self.take_at(backing, start, units)
    }

    fn take_at(&mut self, backing: &Backing, start: usize, units: usize) -> bool {
        let used = self.used_units().saturating_add(units);
        if used > self.capacity_units.min(self.most_used)
            || self.reserve_again(backing, start, units).is_err()
            || self.commit(backing, start + units).is_err()
        {
            return false;
        }
        self.map.take(start, units);
        self.count_used(units as i64);
        self.peak_used = self.peak_used.max(used);
        let grown = self.peak_end.max(start + units);
        if grown.div_ceil(SEGMENT_UNITS) > self.peak_end.div_ceil(SEGMENT_UNITS) && grown > self.quiet_until {
            self.tell(event::GROWN);
        }
        self.peak_end = grown;
        if used > SMALL_UNITS {
            backing.advise_first_segment(self.base + self.layout.segments.offset as usize);
        }
        true
    }

    /// Reserves the space of units that may have lost it (S3).
    fn reserve_again(&self, backing: &Backing, start: usize, units: usize) -> Result<(), CallError> {
        let end = (start + units).min(self.reserved_from);
        if backing.can_lose_space() && (start..end).any(|unit| self.is_zeroed(unit)) {
            let offset = self.layout.segments.offset as usize + start * UNIT;
            backing.commit(self.base, offset, (end - start) * UNIT)?;
        }
        Ok(())
    }

    /// Gives units back. What they hold stays: their dirty bits say so.
    pub(crate) fn give_run(&mut self, start: usize, units: usize) {
        self.give(start, units);
        self.tell(event::FREED | event::FREED_AGAIN);
    }

    fn give(&mut self, start: usize, units: usize) {
        self.map.give(start, units);
        self.count_used(-(units as i64));
        self.least.0 = self.least.0.min(self.used_units());
    }

    /// Tells whoever maintains the heap. Under the heap's lock, as everything here.
    fn tell(&self, events: u32) {
        // SAFETY: it lies beside this value and lives as long.
        if let Some(signal) = unsafe { self.signal.as_ref() } {
            signal.tell(events);
        }
    }

    /// Gives a run back that was kept at hand, and may read as zeros by now because its memory has been given back. Nobody is
    /// told: that was done when it was kept.
    pub(super) fn return_run(&mut self, start: usize, units: usize, is_zeroed: bool) {
        if is_zeroed {
            self.set_zeroed(start, units, true);
            self.reserved_from = self.committed_units();
        }
        self.give(start, units);
    }

    /// Takes units for a thread to cut slabs from: `2^generous` of them if a segment in use has them, or fewer, down to
    /// `2^least`; so small holes are filled before large ones are broken up or the heap grows.
    pub(crate) fn take_lease(&mut self, backing: &Backing, least: u32, generous: u32) -> Option<Lease> {
        // A limit may be too near for a large one, and not for a smaller one.
        let hole = (least..=generous).rev().find_map(|order| {
            let start = self.map.find_aligned_in_used(order)?;
            self.take_lease_at(backing, start, order)
        });
        if hole.is_some() {
            return hole;
        }
        [generous, least].into_iter().find_map(|order| {
            let start = self.map.find_aligned(order)?;
            self.take_lease_at(backing, start, order)
        })
    }

    fn take_lease_at(&mut self, backing: &Backing, start: usize, order: u32) -> Option<Lease> {
        let units = 1 << order;
        if !self.take_at(backing, start, units) {
            return None;
        }
        let segment = start / SEGMENT_UNITS * SEGMENT_UNITS;
        let free = (u64::MAX >> (SEGMENT_UNITS - units)) << (start - segment);
        // SAFETY: the dirty map has a word for each segment, and it is only touched under the heap's lock.
        let dirty = unsafe { &mut *self.dirty.add(segment / SEGMENT_UNITS) };
        let zeroed = free & !*dirty;
        *dirty |= free;
        Some(Lease { segment, free, zeroed })
    }

    /// Gives back what a thread has not cut slabs from.
    pub(crate) fn give_lease(&mut self, lease: Lease) {
        if lease.free == 0 {
            // Without a lease there may not even be a word for it yet.
            return;
        }
        // SAFETY: as in `take_lease`. These units were marked dirty for slabs that never came.
        unsafe { *self.dirty.add(lease.segment / SEGMENT_UNITS) &= !(lease.zeroed & lease.free) };
        let mut rest = lease.free;
        while rest != 0 {
            let first = rest.trailing_zeros();
            let len = (rest >> first).trailing_ones();
            self.give_run(lease.segment + first as usize, len as usize);
            rest &= !((u64::MAX >> (64 - len)) << first);
        }
    }

    /// Whether a unit reads as zeros (S2).
    pub(crate) fn is_zeroed(&self, unit: usize) -> bool {
        // SAFETY: as in `take_lease`.
        unsafe { *self.dirty.add(unit / 64) >> (unit % 64) & 1 == 0 }
    }

    /// Notes that units hold data, or zeros again.
    pub(crate) fn set_zeroed(&mut self, start: usize, units: usize, zeroed: bool) {
        for unit in start..start + units {
            // SAFETY: as in `take_lease`.
            let word = unsafe { &mut *self.dirty.add(unit / 64) };
            if zeroed {
                *word &= !(1 << (unit % 64));
            } else {
                *word |= 1 << (unit % 64);
            }
        }
    }

    /// Takes free units, whose first lies at an offset, for whoever gives their memory back.
    pub(crate) fn hold(&mut self, offset: usize, units: usize) {
        self.map.take((offset - self.layout.segments.offset as usize) / UNIT, units);
        self.count_used(units as i64);
    }

    /// The counterpart of [`Space::hold`]: whether the units read as zeros now.
    pub(crate) fn let_go(&mut self, offset: usize, units: usize, zeroed: bool) {
        let start = (offset - self.layout.segments.offset as usize) / UNIT;
        if zeroed {
            self.set_zeroed(start, units, true);
        }
        self.give_run(start, units);
    }

    /// The unit behind the last one that was ever in use since the heap was opened, or that was when it was: no table entry
    /// that was stored in that time reaches behind it, nor has anybody written there.
    pub(crate) fn peak_end(&self) -> usize {
        self.peak_end
    }

    /// The unit behind the last one in use.
    fn used_end(&self) -> usize {
        self.map.used_end(self.committed_units().next_multiple_of(SEGMENT_UNITS))
    }

    /// Forgets the reservation of the segments behind the last one in use; returns how many units stay reserved. What
    /// lies behind them must be cut off the file.
    pub(crate) fn trim(&mut self) -> usize {
        self.trim_behind(0)
    }

    /// As [`Space::trim`], but what lies before a unit stays reserved.
    fn trim_behind(&mut self, from: usize) -> usize {
        let committed = self.committed_units();
        let end = self.used_end().max(from).next_multiple_of(SEGMENT_UNITS);
        if end < committed {
            self.set_zeroed(end, committed - end, true);
            // Relaxed: under the lock, or nobody else is inside.
            self.committed().store(end as u64, Ordering::Relaxed);
            self.least.1 = self.least.1.min(end);
            self.reserved_from = self.reserved_from.min(end);
        }
        end.min(committed)
    }

    /// Gives the disk space back that is reserved behind the last segment in use, and behind a unit.
    pub(super) fn purge_tail(&mut self, backing: &Backing, from: usize) {
        let committed = self.committed_units();
        let end = self.used_end().max(from).next_multiple_of(SEGMENT_UNITS);
        if !backing.can_lose_space() || end >= committed {
            return;
        }
        let offset = self.layout.segments.offset as usize + end * UNIT;
        // SAFETY: these units are free, and under the lock nobody takes them.
        if unsafe { backing.purge(self.base, offset, (committed - end) * UNIT) } {
            self.trim_behind(from);
        }
    }

    /// Gives the memory of free units from `from` on back to the system, but of no more than `most` units before it
    /// returns: how many bytes, and where to go on, if not at the end.
    pub(super) fn purge_some(&mut self, backing: &Backing, which: &mut Which, from: usize, most: usize) -> Purged {
        let base = self.base;
        // SAFETY: free units hold nothing that anyone relies on, and under the lock nobody takes them.
        self.give_back_some(which, from, most, |offset, len| unsafe { backing.purge(base, offset, len) })
    }

    /// Calls `purge` with each free run of at least `least` units that does not read as zeros, or with all that is free of its
    /// segments: its offset and its length; if that returns true, the run reads as zeros from then on. Returns how many bytes
    /// these were.
    pub(crate) fn give_back(
        &mut self,
        least: usize,
        by_segment: bool,
        purge: impl FnMut(usize, usize) -> bool,
    ) -> usize {
        self.give_back_some(&mut Which { least, keep: 0, by_segment }, 0, usize::MAX, purge).bytes
    }

    fn give_back_some(
        &mut self,
        which: &mut Which,
        from: usize,
        most: usize,
        mut purge: impl FnMut(usize, usize) -> bool,
    ) -> Purged {
        let (mut at, mut bytes, mut asked, mut next) = (from, 0, 0, from);
        let end = self.committed_units().min(self.map.limit());
        while let Some((start, units)) = self.map.next_free_run(at, end) {
            at = start + units;
            let mut from = start;
            while from < at {
                // Only what was used since it last read as zeros.
                let mut to = from;
                while to < at && !self.is_zeroed(to) {
                    to += 1;
                }
                let kept = which.keep.min(to - from);
                which.keep -= kept;
                from += kept;
                let (mut left, mut right) = (from, to);
                if which.by_segment && from < to {
                    // What was never used may have memory all the same: of a huge page, or of a file's reservation.
                    if kept == 0 {
                        left = start.max(from / SEGMENT_UNITS * SEGMENT_UNITS).max(next);
                    }
                    right = at.min(to.next_multiple_of(SEGMENT_UNITS));
                }
                if right - left >= which.least.max(1) {
                    (from, to) = (left, right);
                    let len = (to - from).min(most - asked);
                    let offset = self.layout.segments.offset as usize + from * UNIT;
                    let held = (from..from + len).filter(|&unit| !self.is_zeroed(unit)).count();
                    if purge(offset, len * UNIT) {
                        self.set_zeroed(from, len, true);
                        self.reserved_from = self.committed_units();
                        bytes += held * UNIT;
                    }
                    asked += len;
                    next = from + len;
                    if asked == most {
                        return Purged { bytes, next: Some(next) };
                    }
                    to = next;
                }
                from = to.max(from + 1);
            }
        }
        Purged { bytes, next: None }
    }

    /// Units in use, and units reserved: how many there are now, and how few there were since this was last asked.
    pub(super) fn take_range(&mut self) -> ((usize, usize), (usize, usize)) {
        let now = (self.used_units(), self.committed_units());
        let least = core::mem::replace(&mut self.least, now);
        ((now.0, least.0), (now.1, least.1))
    }

    /// How many free units that hold something it would take to have again what was in use at most in the period, which ends
    /// with this.
    pub(super) fn end_period(&mut self) -> usize {
        let used = self.used_units();
        let spare = self.peak_used.saturating_sub(used);
        self.peak_used = used;
        spare
    }
}

/// Which free runs are given back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Which {
    /// Those of so many units.
    pub(super) least: usize,
    /// Behind the first so many units, which stay.
    pub(super) keep: usize,
    /// With what is free beside them in the same segments.
    pub(super) by_segment: bool,
}

/// What was given back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Purged {
    pub(super) bytes: usize,
    /// Where to go on.
    pub(super) next: Option<usize>,
}
