//! Large objects: runs of units, sized by the page.
//!
//! A run is found first-fit by address, so the heap stays dense; from two megabytes on where it fits best, so that holes of
//! many lengths are left whole for those whom they fit. It grows where the next units are free, and shrinks in place. Two
//! megabytes and more start at a segment, where huge pages do. Most are taken from what was freed before ([`super::run_cache`]) and never come here.

use super::counters;
use super::heap_core::Core;
use super::run_cache::FreeRun;
use super::thread_heap::ThreadHeap;
use super::threads::Threads;
use crate::format::slab_entry::{SlabEntry, large_tail_units, units_of_pages};
use crate::format::{PAGE, SEGMENT_UNITS, UNIT};
use crate::sync::Ordering;
use core::ptr;

impl Core {
    /// Allocates `size` bytes at a multiple of `align`; null if the heap has no room.
    #[cold]
    pub(crate) fn allocate_large(&self, size: usize, align: usize, zeroed: bool) -> *mut u8 {
        if size as u64 > self.layout.segments.len || align as u64 > crate::format::layout::SEGMENTS_ALIGN {
            return ptr::null_mut();
        }
        let len_pages = size.div_ceil(PAGE).max(1);
        let units = units_of_pages(len_pages as u64);
        let align_units = (align / UNIT).max(if units >= SEGMENT_UNITS { SEGMENT_UNITS } else { 1 });
        let mut dirty = [(0, 0); 8];
        let head = {
            let _guard = self.lock.lock();
            // SAFETY: under the lock (K1).
            let taken = unsafe { (*self.space.get()).take_run_in_use(&self.backing, units, align_units) };
            if taken.is_none() {
                // Memory that has been faulted in costs less than new one, also if it is kept at hand for other lengths.
                // SAFETY: under the lock.
                unsafe { self.drain_runs(|_| true) };
            }
            // SAFETY: under the lock (K1).
            let space = unsafe { &mut *self.space.get() };
            let taken = taken.or_else(|| space.take_run(&self.backing, units, align_units));
            let Some(head) = taken.or_else(|| space.take_run(&self.backing, units, (align / UNIT).max(1))) else {
                return ptr::null_mut();
            };
            if zeroed {
                dirty = dirty_runs(head, units, |unit| space.is_zeroed(unit));
            }
            space.set_zeroed(head, units, false);
            self.write_entries(head, units, len_pages);
            self.count_large(len_pages as i64, 1);
            self.note_use();
            head
        };
        self.purge_if_due();
        let block: *mut u8 = ptr::with_exposed_provenance_mut(self.address_of(head));
        for (start, units) in dirty {
            // SAFETY: these units are part of the new run, which is ours.
            unsafe { block.add((start as usize) * UNIT).write_bytes(0, units as usize * UNIT) };
        }
        block
    }

    fn write_entries(&self, head: usize, units: usize, len_pages: usize) {
        for unit in large_tail_units(head, units) {
            self.set_entry(unit, SlabEntry::LargeTail { back: (unit - head) as u64 });
        }
        self.set_entry(head, SlabEntry::LargeHead { len_pages: len_pages as u64 });
    }

    /// Under the lock.
    fn count_large(&self, pages: i64, objects: i64) {
        self.count_large_bytes(pages * PAGE as i64, objects);
        self.totals.count_large(objects.max(0), (-objects).max(0));
    }

    /// Under the lock.
    pub(super) fn count_large_bytes(&self, bytes: i64, objects: i64) {
        // SAFETY: mapped (K3); atomics, which all may share.
        let locked = unsafe { (&(*self.soft()).locked.large_bytes, &(*self.soft()).locked.large_count) };
        counters::add(locked.0, bytes);
        counters::add(locked.1, objects);
    }

    /// Live large objects and their bytes, those counted by threads included. Under the lock.
    pub(crate) fn large_counters(&self) -> (u64, u64) {
        // SAFETY: under the lock (K1); the counters are atomic.
        unsafe {
            let locked = [&(*self.soft()).locked.large_count, &(*self.soft()).locked.large_bytes];
            // Relaxed: written under the lock.
            let mut sums = locked.map(|counter| counter.load(Ordering::Relaxed));
            let threads = &*self.threads.get();
            for number in 1..=threads.count() {
                let counted = ThreadHeap::large_counters(Threads::find(threads.table(), number));
                // Any of them may be below zero, but for their sum.
                sums = [sums[0].wrapping_add_signed(counted.count()), sums[1].wrapping_add_signed(counted.bytes)];
            }
            (sums[0], sums[1])
        }
    }

    /// Makes plain units of a run that was kept at hand (Q2).
    ///
    /// # Safety
    /// Under the heap's lock; the run is the caller's alone.
    pub(super) unsafe fn return_run(&self, run: FreeRun) {
        for unit in large_tail_units(run.head, run.units) {
            self.set_entry(unit, SlabEntry::Free);
        }
        // SAFETY: under the lock (K1).
        unsafe { (*self.space.get()).return_run(run.head, run.units, run.is_zeroed) };
    }

    /// The pages of the large object that starts at `address`, if one does.
    #[inline]
    pub(crate) fn large_len_pages(&self, address: usize) -> Option<usize> {
        if address % UNIT != 0 || address < self.segments {
            return None;
        }
        SlabEntry::decode_large_head(self.entry_word_of(self.unit_of(address))).map(|len_pages| len_pages as usize)
    }

    /// Frees the large object that starts at `address`, and keeps nothing of it at hand.
    #[cold]
    pub(crate) fn free_large(&self, address: usize) {
        let Some(len_pages) = self.large_len_pages(address) else {
            debug_assert!(false, "a free of a large object that is none");
            return;
        };
        let head = self.unit_of(address);
        let units = units_of_pages(len_pages as u64);
        let _guard = self.lock.lock();
        self.set_entry(head, SlabEntry::Free);
        for unit in large_tail_units(head, units) {
            self.set_entry(unit, SlabEntry::Free);
        }
        self.count_large(-(len_pages as i64), -1);
        // SAFETY: under the lock (K1).
        unsafe { (*self.space.get()).give_run(head, units) };
    }

    /// Makes the large object at `address` hold `size` bytes without moving it; false if it cannot.
    #[cold]
    pub(crate) fn resize_large(&self, address: usize, size: usize) -> bool {
        let (Some(old_pages), true) = (self.large_len_pages(address), size as u64 <= self.layout.segments.len) else {
            return false;
        };
        let new_pages = size.div_ceil(PAGE).max(1);
        let head = self.unit_of(address);
        let (old_units, new_units) = (units_of_pages(old_pages as u64), units_of_pages(new_pages as u64));
        let _guard = self.lock.lock();
        let space = self.space.get();
        if new_units > old_units {
            let (behind, more) = (head + old_units, new_units - old_units);
            // SAFETY: under the lock (K1), here and below.
            let take = || unsafe { (*space).take_exact(&self.backing, behind, more) };
            if !take() {
                // What is free but for somebody who keeps it at hand may be had.
                // SAFETY: under the lock.
                unsafe { self.drain_runs(|run| run.head < behind + more && behind < run.head + run.units) };
                if !take() {
                    return false;
                }
            }
            // SAFETY: as above.
            unsafe { (*space).set_zeroed(behind, more, false) };
        }
        if new_units < old_units {
            // The head first: from then on the tails behind it mean nothing.
            self.set_entry(head, SlabEntry::LargeHead { len_pages: new_pages as u64 });
            for unit in large_tail_units(head, old_units).filter(|&unit| unit >= head + new_units) {
                self.set_entry(unit, SlabEntry::Free);
            }
            // SAFETY: as above.
            unsafe { (*space).give_run(head + new_units, old_units - new_units) };
        } else {
            self.write_entries(head, new_units, new_pages);
        }
        self.count_large(new_pages as i64 - old_pages as i64, 0);
        self.note_use();
        true
    }
}

/// Which parts of a run do not read as zeros: at most eight, relative to its head; the last takes in all that follows.
fn dirty_runs(head: usize, units: usize, is_zeroed: impl Fn(usize) -> bool) -> [(u32, u32); 8] {
    let mut runs = [(0, 0); 8];
    let mut used = 0;
    let mut at = 0;
    while at < units {
        if is_zeroed(head + at) {
            at += 1;
            continue;
        }
        let mut end = at + 1;
        while end < units && !is_zeroed(head + end) {
            end += 1;
        }
        if used == runs.len() {
            runs[used - 1].1 = end as u32 - runs[used - 1].0;
        } else {
            runs[used] = (at as u32, (end - at) as u32);
            used += 1;
        }
        at = end;
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::dirty_runs;

    #[test]
    fn dirty_runs_cover_every_dirty_unit() {
        let dirty: Vec<bool> = (0..40).map(|unit| unit % 4 == 1 || unit > 35).collect();
        let runs = dirty_runs(100, 40, |unit| !dirty[unit - 100]);
        for (unit, dirty) in dirty.iter().enumerate() {
            let covered = runs.iter().any(|&(start, len)| (start..start + len).contains(&(unit as u32)));
            assert!(covered || !dirty, "{unit}");
        }
        assert_eq!(runs[0], (1, 1));
        assert_eq!(dirty_runs(0, 5, |_| true), [(0, 0); 8]);
    }
}
