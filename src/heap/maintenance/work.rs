//! The pieces of work, each short enough to look in between whether there is time for more.

use super::report::{Counters, Fault};
use crate::format::{SEGMENT_UNITS, UNIT};
use crate::heap::owner::HeapInner;
use std::sync::atomic::Ordering;

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

/// Whether there is anything to purge.
pub(super) fn is_purgeable(heap: &HeapInner) -> bool {
    heap.core().purgeable(LEAST_PURGED) > 0
}

/// Gives free memory back.
pub(super) fn purge(heap: &HeapInner, counters: &Counters) {
    if is_purgeable(heap) {
        counters.purged(match &heap.atomic {
            Some(atomic) => atomic.purge(heap.core(), LEAST_PURGED),
            None => heap.core().purge(LEAST_PURGED),
        });
        if let Some(atomic) = &heap.atomic {
            atomic.note_left(is_purgeable(heap));
        }
    }
}

/// Makes memory ready, segment by segment, until `ahead` bytes are or `goes_on` says no.
pub(super) fn prefault(heap: &HeapInner, ahead: u64, counters: &Counters, goes_on: &dyn Fn() -> bool) {
    let ahead = usize::try_from(ahead.div_ceil(UNIT as u64)).unwrap_or(usize::MAX);
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
