//! Whether a heap's bookkeeping agrees with itself.
//!
//! The table is walked run by run; what each run says is held against the unit map, the slab's counters and bits, the
//! lists and the counters of the heap. Nothing is allocated: lists are followed and counted, and two counts that agree
//! (listed slabs found in the table, slabs found in lists) stand for a set that would have to be kept.
//!
//! # Volatile
//! A table entry that leads to no run means nothing, as the format says; it is no fault.

use super::heap_core::{Core, WORDS_PER_UNIT};
use super::remote_free::head_of;
use super::size_class::{ALL_CLASSES, slab_units};
use super::slab::Slab;
use super::thread_heap::ThreadHeap;
use super::threads::Threads;
use crate::format::slab_entry::{SlabEntry, large_tail_units, units_of_pages};
use crate::format::{PAGE, SEGMENT_UNITS};
use crate::sync::{AtomicU32, Ordering};

/// What does not agree, and at which unit or class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// A group of the unit map counts its bits wrongly (U1).
    UnitMap,
    /// More units are in use than are committed, or another number than the header says (S1).
    UsedUnits,
    /// A slab head names no class, stands at a place where slabs of its class do not, or reaches too far.
    SlabHead { unit: usize },
    /// A large object has no pages or reaches too far.
    LargeHead { unit: usize },
    /// A unit inside a run does not lead to its head.
    Tail { unit: usize },
    /// A unit of a run is free in the unit map.
    UsedUnitIsFree { unit: usize },
    /// A unit is used in the unit map, but in no run and no thread's lease; or it is leased and in a run.
    Lost { unit: usize },
    /// The lease of a thread holds a free unit, or one that another holds.
    Lease { thread: u32 },
    /// A slab's counters do not agree with its bits (B1).
    SlabBits { unit: usize },
    /// A block is both free and on its way back (B2), or a unit without slab has bits (B4).
    StrayBits { unit: usize },
    /// A slab's remote count does not agree with its remote bits (R3).
    RemoteCount { unit: usize },
    /// A slab with a block to give is in no list, or one without in one (B3).
    Listing { unit: usize },
    /// A list of slabs holds one of another owner or class, or is not linked both ways.
    List { class: usize },
    /// A stack of slabs with remote frees misses one, or holds one without (R1).
    Pending,
    /// The heap counts another number of slabs of a class, or of blocks of it that are out of their slabs.
    ClassCounters { class: usize },
    /// The heap counts other large objects.
    LargeCounters,
}

/// What the walk found.
struct Found {
    slabs: [u32; ALL_CLASSES],
    out: [i64; ALL_CLASSES],
    listed: u64,
    pending: u64,
    large_count: u64,
    large_bytes: u64,
    /// Units that are used but in no run.
    leased: u64,
}

impl Core {
    /// Holds everything that the heap's bookkeeping says twice against each other.
    ///
    /// # Errors
    /// The first disagreement.
    ///
    /// # Safety
    /// The heap is quiet: no other thread is inside, nor will come while this runs. Thread heaps may be alive and have
    /// blocks and leases at hand.
    pub(crate) unsafe fn check(&self) -> Result<(), Broken> {
        let _guard = self.lock.lock();
        // What threads keep at hand is looked at as what it will be.
        // SAFETY: under the lock.
        unsafe { self.drain_runs(|_| true) };
        let mut found = Found {
            slabs: [0; ALL_CLASSES],
            out: [0; ALL_CLASSES],
            listed: 0,
            pending: 0,
            large_count: 0,
            large_bytes: 0,
            leased: 0,
        };
        // SAFETY: under the lock, and nobody else is inside (K1, K2).
        unsafe {
            self.check_units(&mut found)?;
            self.check_leases(&found)?;
            self.check_lists(&found)?;
            self.check_counters(&found)
        }
    }

    unsafe fn check_units(&self, found: &mut Found) -> Result<(), Broken> {
        // SAFETY: the caller's, as in `check`.
        unsafe {
            let space = &mut *self.space.get();
            let committed = space.committed_units();
            if !space.map.check(committed) {
                return Err(Broken::UnitMap);
            }
            if space.map.used_units() != space.used_units()
                || !space.map.is_free(committed, space.map.limit() - committed)
            {
                return Err(Broken::UsedUnits);
            }
            let mut unit = 0;
            while unit < committed {
                let units = match self.entry(unit) {
                    SlabEntry::SlabHead { class } => self.check_slab(unit, class as usize, committed, found)?,
                    SlabEntry::LargeHead { len_pages } => self.check_large(unit, len_pages, committed, found)?,
                    SlabEntry::Free | SlabEntry::SlabTail { .. } | SlabEntry::LargeTail { .. } => {
                        found.leased += u64::from(!space.map.is_free(unit, 1));
                        if !space.map.is_free(unit, 1) && !self.is_leased(unit) {
                            return Err(Broken::Lost { unit });
                        }
                        self.check_no_bits(unit)?;
                        unit += 1;
                        continue;
                    }
                };
                if let Some((free, _)) = space.map.next_free_run(unit, unit + units) {
                    return Err(Broken::UsedUnitIsFree { unit: free });
                }
                unit += units;
            }
            Ok(())
        }
    }

    unsafe fn check_slab(
        &self,
        head: usize,
        class: usize,
        committed: usize,
        found: &mut Found,
    ) -> Result<usize, Broken> {
        if class >= self.ladder.classes() || head % slab_units(class) != 0 || head + slab_units(class) > committed {
            return Err(Broken::SlabHead { unit: head });
        }
        for unit in head + 1..head + slab_units(class) {
            if self.entry(unit) != (SlabEntry::SlabTail { back: (unit - head) as u64 }) {
                return Err(Broken::Tail { unit });
            }
        }
        // SAFETY: the caller's, as in `check`.
        unsafe {
            let slab = Slab::new(self, head, class);
            if !slab.check() {
                return Err(Broken::SlabBits { unit: head });
            }
            let local = &*slab.local();
            let remote = self.remote(head, class);
            let mut on_their_way = 0;
            for (at, word) in remote.bits.iter().enumerate() {
                // Relaxed, here and below: nobody else is inside.
                let bits = word.load(Ordering::Relaxed);
                if bits & *self.free_bits(head).add(at) != 0 {
                    return Err(Broken::StrayBits { unit: head });
                }
                on_their_way += bits.count_ones();
            }
            let count = remote.count.load(Ordering::Relaxed);
            // What a file says may be anything.
            let is_counted = on_their_way.checked_add(local.remote_early) == Some(count);
            if !is_counted || local.free + on_their_way > local.fresh {
                return Err(Broken::RemoteCount { unit: head });
            }
            if slab.has_blocks() != slab.is_listed() {
                return Err(Broken::Listing { unit: head });
            }
            found.pending += u64::from(count != 0);
            found.listed += u64::from(slab.is_listed());
            found.slabs[class] += 1;
            found.out[class] += i64::from(local.fresh) - i64::from(local.free) - i64::from(on_their_way);
            Ok(slab_units(class))
        }
    }

    unsafe fn check_large(
        &self,
        head: usize,
        len_pages: u64,
        committed: usize,
        found: &mut Found,
    ) -> Result<usize, Broken> {
        let units = units_of_pages(len_pages);
        if len_pages == 0 || units > committed - head {
            return Err(Broken::LargeHead { unit: head });
        }
        for unit in large_tail_units(head, units) {
            if self.entry(unit) != (SlabEntry::LargeTail { back: (unit - head) as u64 }) {
                return Err(Broken::Tail { unit });
            }
        }
        let border = (head + 1).next_multiple_of(SEGMENT_UNITS);
        for unit in (border..head + units).filter(|unit| unit % SEGMENT_UNITS != 0) {
            if self.entry(unit) != SlabEntry::Free {
                return Err(Broken::Tail { unit });
            }
        }
        for unit in head..head + units {
            // SAFETY: the caller's, as in `check`.
            unsafe { self.check_no_bits(unit)? };
        }
        found.large_count += 1;
        found.large_bytes += len_pages * PAGE as u64;
        Ok(units)
    }

    /// That a unit without slab has neither free nor remote bits (B4).
    unsafe fn check_no_bits(&self, unit: usize) -> Result<(), Broken> {
        for (at, remote) in self.remote_words(unit, WORDS_PER_UNIT).iter().enumerate() {
            // SAFETY: the caller's, as in `check`.
            let bits = unsafe { *self.free_bits(unit).add(at) };
            if bits != 0 || remote.load(Ordering::Relaxed) != 0 {
                return Err(Broken::StrayBits { unit });
            }
        }
        Ok(())
    }

    /// Calls `visit` with every thread heap.
    unsafe fn for_each_thread(
        &self,
        mut visit: impl FnMut(*mut ThreadHeap) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        // SAFETY: under the lock (K1).
        let (table, count) = unsafe { ((*self.threads.get()).table(), (*self.threads.get()).count()) };
        (1..=count).try_for_each(|number| visit(Threads::find(table, number)))
    }

    unsafe fn is_leased(&self, unit: usize) -> bool {
        // SAFETY: the caller's, as in `check`.
        unsafe {
            self.for_each_thread(|heap| {
                let (segment, free) = ThreadHeap::leased(heap);
                let is_here = unit / SEGMENT_UNITS * SEGMENT_UNITS == segment && free >> (unit - segment) & 1 != 0;
                if is_here { Err(Broken::Lost { unit }) } else { Ok(()) }
            })
            .is_err()
        }
    }

    /// That leased units are used and in no run: each used unit without run is in a lease, so the sums need only agree.
    unsafe fn check_leases(&self, found: &Found) -> Result<(), Broken> {
        let mut leased = 0;
        let mut last = 0;
        // SAFETY: the caller's, as in `check`.
        unsafe {
            self.for_each_thread(|heap| {
                let units = u64::from(ThreadHeap::leased(heap).1.count_ones());
                leased += units;
                if units != 0 {
                    last = (*heap).number;
                }
                Ok(())
            })?;
        }
        if leased == found.leased { Ok(()) } else { Err(Broken::Lease { thread: last }) }
    }

    unsafe fn check_lists(&self, found: &Found) -> Result<(), Broken> {
        let mut listed = 0;
        let mut pending = 0;
        // SAFETY: the caller's, as in `check`.
        unsafe {
            let soft = self.soft();
            for class in 0..self.ladder.classes() {
                listed += self.list_len(*self.orphans(class), class, 0, found.listed)?;
            }
            pending += self.stack_len(&(*soft).pending, found.pending)?;
            self.for_each_thread(|heap| {
                for class in 0..self.ladder.classes() {
                    listed +=
                        self.list_len(ThreadHeap::first_slab(heap, class), class, (*heap).number, found.listed)?;
                }
                pending += self.stack_len(ThreadHeap::pending(heap), found.pending)?;
                Ok(())
            })?;
        }
        if listed != found.listed {
            return Err(Broken::List { class: ALL_CLASSES });
        }
        if pending == found.pending { Ok(()) } else { Err(Broken::Pending) }
    }

    /// Slabs of a list, at most `most`.
    unsafe fn list_len(&self, first: u32, class: usize, owner: u32, most: u64) -> Result<u64, Broken> {
        let (mut at, mut previous, mut len) = (first, 0, 0);
        while at != 0 {
            let head = at as usize - 1;
            let is_slab = (head as u64) < self.layout.units
                && self.entry(head) == (SlabEntry::SlabHead { class: class as u8 })
                && len < most;
            if !is_slab {
                return Err(Broken::List { class });
            }
            // SAFETY: the caller's, as in `check`.
            unsafe {
                let state = self.slab_state(head);
                let local = &(*state).local;
                if (*state).owner.load(Ordering::Relaxed) != owner || local.previous != previous || local.is_listed == 0
                {
                    return Err(Broken::List { class });
                }
                (previous, at, len) = (at, local.next, len + 1);
            }
        }
        Ok(len)
    }

    /// Slabs of a stack, at most `most`.
    unsafe fn stack_len(&self, stack: &AtomicU32, most: u64) -> Result<u64, Broken> {
        let (mut at, mut len) = (head_of(stack), 0);
        while let Some(index) = at {
            let head = index as usize;
            let is_slab = (head as u64) < self.layout.units
                && matches!(self.entry(head), SlabEntry::SlabHead { .. })
                && len < most;
            if !is_slab {
                return Err(Broken::Pending);
            }
            // SAFETY: the caller's, as in `check`.
            unsafe {
                let state = self.slab_state(head);
                if (*state).remote_count.load(Ordering::Relaxed) == 0 {
                    return Err(Broken::Pending);
                }
                (at, len) = (head_of(&(*state).pending_next), len + 1);
            }
        }
        Ok(len)
    }

    unsafe fn check_counters(&self, found: &Found) -> Result<(), Broken> {
        // SAFETY: the caller's, as in `check`.
        unsafe {
            for class in 0..self.ladder.classes() {
                let slabs = self.slabs_of(class).load(Ordering::Relaxed);
                let (mut slabs, mut out) = (i64::from(slabs), self.live_of(class).load(Ordering::Relaxed));
                self.for_each_thread(|heap| {
                    let counted = ThreadHeap::counters(heap, class);
                    slabs += i64::from(counted.slabs);
                    out = out.wrapping_add(counted.out);
                    Ok(())
                })?;
                if slabs != i64::from(found.slabs[class]) || out != found.out[class] {
                    return Err(Broken::ClassCounters { class });
                }
            }
            if self.large_counters() != (found.large_count, found.large_bytes) {
                return Err(Broken::LargeCounters);
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests;
