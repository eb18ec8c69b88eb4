//! Objects that are read often, together in tracts that are kept in memory.
//!
//! Reads of handles are sampled ([`crate::handle::sample`]), and counted by entry ([`crate::alloc::heat`]). [`adjust`](adjust::adjust)
//! finds the objects that were read most often and fit a budget ([`choose`]), and moves those of them that are not there yet into *hot*
//! tracts, by the machinery of the [compactor](super::compact). What is read less often by then goes out, tract by tract, when there is no
//! room otherwise. Hot tracts are [locked](super::memory_locks), if the system lets us.
//!
//! # Invariants
//! - **H1** A heap has no more hot tracts than its budget has room for: only who moves objects makes one, and counts before.
//! - **H2** Only hot tracts are locked here, and a tract that ceases to be one is unlocked at once.
//!
//! # Volatile
//! All of it. Where objects lie stays as it is, but in a heap that was opened no tract is hot.

mod adjust;
mod choose;
mod options;
mod report;

pub use options::HotSetOptions;
pub use report::{HotSetStats, Unlocked};

pub(crate) use adjust::{adjust, adjust_open};

use super::SalAlloc;
use super::compact::tracts_of;
use super::memory_locks;
use super::movable::{self, home_table};
use super::owner::HeapInner;
use super::session::in_session;
use crate::alloc::heat;
use crate::alloc::prefault::event;
use crate::alloc::tracts::{GRANULE, HOT, TRACT};
use crate::error::HotSetError;
use crate::format::WINDOW;
use crate::handle::sample;
use crate::os::memory_lock;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What is known of a heap's hot set besides the counts.
#[derive(Clone, Copy, Debug)]
struct HotSet {
    heap: SalAlloc,
    options: HotSetOptions,
    promotions: u64,
    demotions: u64,
    halvings: u64,
    /// Samples there were when counts were last halved.
    halved_at: u64,
    unlocked_because: Option<Unlocked>,
}

static HOT_SETS: Mutex<Vec<HotSet>> = Mutex::new(Vec::new());

fn hot_sets() -> MutexGuard<'static, Vec<HotSet>> {
    // Nothing panics while it is locked.
    HOT_SETS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn find(heap: SalAlloc) -> Option<HotSet> {
    hot_sets().iter().find(|hot_set| hot_set.heap == heap).copied()
}

/// How often a thread that maintains the heap is to adjust its hot set; none without one.
pub(super) fn adjust_every(heap: SalAlloc) -> Option<Duration> {
    find(heap).map(|hot_set| hot_set.options.adjust_every)
}

/// Changes what is known of a heap's hot set, if it has one still.
fn change(heap: SalAlloc, change: impl FnOnce(&mut HotSet)) {
    if let Some(hot_set) = hot_sets().iter_mut().find(|hot_set| hot_set.heap == heap) {
        change(hot_set);
    }
}

/// The interval of samples is what the heap wants that wants most.
fn set_interval(hot_sets: &[HotSet]) {
    sample::set_interval(hot_sets.iter().map(|hot_set| hot_set.options.sample_every).min().unwrap_or(0));
}

/// The windows of a heap: where they begin.
fn windows_of(heap: SalAlloc) -> impl Iterator<Item = usize> {
    let range = heap.address_range().unwrap_or_default();
    (range.start / WINDOW * WINDOW..range.end).step_by(WINDOW)
}

/// The counts of a heap's windows, and where these begin.
fn counts_of(heap: SalAlloc) -> impl Iterator<Item = (usize, &'static heat::Table)> {
    windows_of(heap).filter_map(|start| Some((start, heat::table_at(start)?)))
}

fn samples_and_hits(heap: SalAlloc) -> (u64, u64) {
    counts_of(heap).map(|(_, table)| table.samples_and_hits()).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
}

/// A heap has a hot set from now on, or another budget for the one that it has.
///
/// # Errors
/// If the heap cannot be changed; if the budget is too small; without addresses for the counts.
pub(crate) fn begin(heap: SalAlloc, options: HotSetOptions) -> Result<(), HotSetError> {
    if options.tracts() == 0 {
        return Err(HotSetError::BudgetTooSmall { least: TRACT as u64 });
    }
    in_session(heap, || {
        home_table(heap).ok_or(HotSetError::OutOfMemory)?;
        for start in windows_of(heap) {
            heat::ensure_table_at(start).ok_or(HotSetError::OutOfMemory)?;
        }
        let mut hot_sets = hot_sets();
        match hot_sets.iter_mut().find(|hot_set| hot_set.heap == heap) {
            Some(hot_set) => hot_set.options = options,
            None => hot_sets.push(HotSet {
                heap,
                options,
                promotions: 0,
                demotions: 0,
                halvings: 0,
                halved_at: samples_and_hits(heap).0,
                unlocked_because: None,
            }),
        }
        set_interval(&hot_sets);
        drop(hot_sets);
        if let Ok(inner) = HeapInner::find(heap) {
            inner.core().signal.tell(event::HOT_SET);
        }
        Ok(())
    })?
}

/// One thread at a time changes which objects are in hot sets.
static ADJUSTING: Mutex<()> = Mutex::new(());

/// Waits until nobody else does.
fn adjusting() -> MutexGuard<'static, ()> {
    ADJUSTING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A heap has no hot set any more: what is locked is unlocked, and reads are not counted. Objects stay where they are. Returns what there was.
pub(crate) fn end(heap: SalAlloc) -> Option<HotSetStats> {
    // Whoever moves objects finds no hot set the next time.
    let _alone = adjusting();
    let stats = stats(heap)?;
    forget(heap);
    Some(stats)
}

/// As [`end`]. Nobody moves objects of the heap meanwhile: it is being closed, and no session is open.
pub(super) fn forget(heap: SalAlloc) {
    {
        let mut hot_sets = hot_sets();
        let before = hot_sets.len();
        hot_sets.retain(|hot_set| hot_set.heap != heap);
        if hot_sets.len() == before {
            return;
        }
        set_interval(&hot_sets);
    }
    if let Some(home) = home_table(heap) {
        movable::close(&home.fills[HOT], None);
    }
    for (start, _, tract) in tracts_of(heap) {
        movable::make_plain(start, tract);
    }
    counts_of(heap).for_each(|(_, table)| table.clear());
}

/// What a heap's hot set is like; none if there is none.
pub(crate) fn stats(heap: SalAlloc) -> Option<HotSetStats> {
    let hot_set = find(heap)?;
    let (samples, hits) = samples_and_hits(heap);
    let mut stats = HotSetStats {
        budget: hot_set.options.budget,
        promotions: hot_set.promotions,
        demotions: hot_set.demotions,
        halvings: hot_set.halvings,
        samples,
        hits,
        limit: memory_lock::limit(),
        unlocked_because: hot_set.unlocked_because,
        ..HotSetStats::default()
    };
    let open = home_table(heap).and_then(|home| movable::open_tract(&home.fills[HOT]));
    for (start, _, tract) in tracts_of(heap).filter(|(_, _, tract)| tract.is_hot()) {
        stats.hot_bytes += TRACT as u64;
        let live = match open {
            Some((open, _, put)) if open == start => tract.live_of(put),
            _ => tract.live().unwrap_or(0),
        };
        stats.object_bytes += u64::from(live) * GRANULE as u64;
        if memory_locks::is_tract_locked(start) {
            stats.locked_bytes += TRACT as u64;
        }
    }
    Some(stats)
}

/// Whether the heap has objects that may be moved: without there is nothing to look after.
fn has_objects(heap: SalAlloc) -> bool {
    tracts_of(heap).next().is_some()
}
