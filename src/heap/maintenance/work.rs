//! The pieces of work, each short enough to look in between whether there is time for more.

use super::options::{MaintenanceOptions, PurgeAfter};
use super::report::{Counters, Fault};
use crate::alloc::tracts;
use crate::alloc::tuning::purge;
use crate::format::{SEGMENT_UNITS, UNIT};
use crate::heap::compact::{self, CompactOptions};
use crate::heap::hot_set;
use crate::heap::owner::HeapInner;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Free runs of at least this many units are given back: smaller ones would split huge pages.
const LEAST_PURGED: usize = SEGMENT_UNITS;

/// Notes what went wrong.
fn noted<T: Default>(outcome: Result<T, impl Into<Fault>>, counters: &Counters) -> T {
    outcome.unwrap_or_else(|error| {
        counters.failed(error.into());
        T::default()
    })
}

/// Folds the log if it has reached that part of the length that is too long.
pub(super) fn fold(heap: &HeapInner, part: u64, counters: &Counters) {
    let Some(atomic) = &heap.atomic else { return };
    if let Some(bytes) = noted(atomic.fold_now(part), counters) {
        counters.folded(bytes);
    }
}

/// Makes huge pages whole that writes have split.
pub(super) fn make_huge_pages_whole(heap: &HeapInner) {
    if let Some(atomic) = &heap.atomic {
        atomic.make_huge_pages_whole();
    }
}

/// How long objects are moved before other work has its turn.
const COMPACTING: Duration = Duration::from_millis(5);

/// Moves objects together where less than half is alive, for a while; when to go on, if there is more to move.
pub(super) fn compact(heap: &HeapInner, options: &MaintenanceOptions, counters: &Counters) -> Option<Instant> {
    let began = Instant::now();
    let compacts = CompactOptions::new().sparse(0.5).budget(COMPACTING);
    // A heap that cannot be changed any more is about to be closed.
    let report = compact::compact(heap.alloc(), compacts).ok()?;
    counters.moved(report.moved_bytes);
    if report.is_complete || report.moved_objects == 0 {
        return None;
    }
    began.checked_add(compact::time_for(report.moved_bytes, options.compact_rate)?)
}

/// How long free memory stays; none if that is for others to say.
pub(super) fn purge_after(heap: &HeapInner, options: &MaintenanceOptions) -> Option<Duration> {
    match options.purge_after {
        PurgeAfter::Never => None,
        PurgeAfter::Time(time) => Some(time),
        PurgeAfter::Policy => {
            let tuning = &heap.core().tuning;
            // Relaxed: settings, and who changes them tells.
            match tuning.purge.load(Ordering::Relaxed) {
                purge::DECAY | purge::BACKGROUND => {
                    Some(Duration::from_nanos(tuning.period_len.load(Ordering::Relaxed)))
                }
                _ => None,
            }
        }
    }
}

/// Whether there is anything to purge, at once or later.
pub(super) fn is_purgeable(heap: &HeapInner) -> bool {
    heap.core().take_orphans_in();
    heap.core().keeps_runs() || heap.core().purgeable(LEAST_PURGED) > 0
}

/// Gives memory back that was not needed since this was last called; whether some stays that would go next time.
pub(super) fn purge_idle(heap: &HeapInner, counters: &Counters) -> bool {
    if !is_purgeable(heap) {
        return false;
    }
    let purged = heap.purge_idle_open(LEAST_PURGED, usize::MAX);
    note_purged(heap, counters, purged.bytes);
    purged.leaves_some
}

/// Gives all free memory back, what the calling thread keeps at hand too.
pub(super) fn purge_all(heap: &HeapInner, counters: &Counters) {
    heap.flush_thread();
    tracts::purge(&heap.core().address_range());
    if is_purgeable(heap) {
        let core = heap.core();
        let bytes = match &heap.atomic {
            Some(atomic) => {
                core.return_all_runs();
                atomic.purge(core, LEAST_PURGED)
            }
            None => {
                let bytes = core.purge(LEAST_PURGED);
                core.purge_tail(heap.maintenance.ready_end());
                bytes
            }
        };
        note_purged(heap, counters, bytes);
    }
}

fn note_purged(heap: &HeapInner, counters: &Counters, bytes: usize) {
    counters.purged(bytes);
    if let Some(atomic) = &heap.atomic {
        atomic.note_left(heap.core().purgeable(LEAST_PURGED) > 0);
    }
}

/// Brings what is read often into the hot set, if there is one.
pub(super) fn adjust_hot_set(heap: &HeapInner, budget: Duration) {
    // The heap is being closed, or the hot set has just been ended.
    let _ = hot_set::adjust_open(heap, budget);
}

/// Makes memory ready, segment by segment, until `ahead` bytes are or `goes_on` says no.
pub(super) fn prefault(heap: &HeapInner, ahead: u64, counters: &Counters, goes_on: &dyn Fn() -> bool) {
    let ahead = usize::try_from(ahead.div_ceil(UNIT as u64)).unwrap_or(usize::MAX);
    if ahead > 0 {
        // It is not to stay small. When it grows, whoever has it grow would wait until small pages have become a huge one.
        heap.core().backing.advise_first_segment(heap.core().segments);
    }
    while goes_on() && noted(prefault_segment(heap, ahead, counters), counters) == Some(()) {}
}

/// One segment; none if there is none to make ready.
fn prefault_segment(heap: &HeapInner, ahead: usize, counters: &Counters) -> Result<Option<()>, Fault> {
    let (core, ready_end) = (heap.core(), &heap.maintenance.ready_end);
    let first = heap.atomic.as_ref().map_or(0, |atomic| atomic.first_plain_unit(core));
    // Relaxed: two who do the same segment do too much, and nothing wrong.
    let from = ready_end.load(Ordering::Relaxed).max(first);
    let Some(units) = core.next_to_make_ready(from, ahead)? else { return Ok(None) };
    let bytes = match &heap.atomic {
        Some(atomic) => atomic.make_ready(core, &units)?,
        None => core.make_ready(&units)?,
    };
    ready_end.fetch_max(units.end, Ordering::Relaxed);
    counters.prefaulted(bytes);
    Ok(Some(()))
}
