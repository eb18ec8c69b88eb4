//! When the work is done: by the thread, as it is told, or by hand, as long as the budget lasts.

use super::options::{MaintenanceOptions, PREFAULT};
use super::report::{Counters, Fault};
use super::work;
use crate::alloc::prefault::event;
use crate::heap::hot_set;
use crate::heap::owner::HeapInner;
use crate::os::signal::Signal;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// As good as for ever.
const NEVER: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

/// Purging is put off so often while more is freed.
const MOST_DELAYS: u32 = 8;

/// How long the hot set is adjusted before other work has its turn.
const HOT_SET_BUDGET: Duration = Duration::from_millis(100);

/// When free memory is to be purged, and how often that was put off.
struct PurgeAt {
    at: Instant,
    delays: u32,
}

/// The thread, from its start to its end.
pub(super) fn run(heap: &HeapInner, options: MaintenanceOptions) {
    /// However it ends, nobody listens from then on.
    struct Listening<'a>(&'a Signal);
    impl Drop for Listening<'_> {
        fn drop(&mut self) {
            self.0.deafen();
        }
    }
    let _listening = Listening(&heap.core().signal);
    if catch_unwind(AssertUnwindSafe(|| work_as_told(heap, &options))).is_err() {
        heap.maintenance.counters.failed(Fault::Panicked);
    }
}

fn work_as_told(heap: &HeapInner, options: &MaintenanceOptions) {
    let (signal, counters) = (&heap.core().signal, &*heap.maintenance.counters);
    let goes_on = || !signal.is_told(event::STOP);
    let mut purge_at: Option<PurgeAt> = None;
    let mut hot_set_at: Option<Instant> = None;
    let mut compact_at: Option<Instant> = None;
    let mut is_first = true;
    while goes_on() {
        let purge_after = work::purge_after(heap, options);
        if purge_after.is_none() && purge_at.take().is_some() {
            // What is free stays known, for when that is of interest again.
            signal.tell(event::FREED);
        }
        // Memory that is freed need not be told of while it is known already that some is free, or nobody cares.
        let cares = purge_after.is_some() && purge_at.is_none();
        // Told when there is one.
        let hot_set_every = hot_set::adjust_every(heap.alloc());
        hot_set_at =
            hot_set_every.and_then(|every| hot_set_at.or_else(|| Instant::now().checked_add(every.min(NEVER))));
        let next = purge_at.as_ref().map(|purge| purge.at).into_iter().chain(hot_set_at).chain(compact_at).min();
        let limit = next.map(|at| at.saturating_duration_since(Instant::now()));
        // Who has begun to compact looks at all there is.
        let may_compact = options.compact && compact_at.is_none();
        let ignored = if cares { 0 } else { event::FREED } | if may_compact { 0 } else { event::SPARSE };
        let events = signal.wait(ignored, limit);
        counters.woken();
        if events & event::STOP != 0 {
            return;
        }
        // First what others will wait for.
        if events & event::GROWN != 0 {
            work::prefault(heap, options.prefault, counters, &goes_on);
        }
        if events & event::LOG_GREW != 0 && goes_on() {
            work::fold(heap, 1, counters);
        }
        if events & event::SPLIT != 0 && goes_on() {
            work::make_huge_pages_whole(heap);
        }
        if (events & event::SPARSE != 0 || compact_at.is_some_and(|at| at <= Instant::now())) && goes_on() {
            compact_at = work::compact(heap, options, counters);
        }
        if hot_set_at.is_some_and(|at| at <= Instant::now()) && goes_on() {
            work::adjust_hot_set(heap, HOT_SET_BUDGET);
            hot_set_at = None;
        }
        if let Some(after) = purge_after {
            let is_new = events & event::FREED != 0 && (!is_first || work::is_purgeable(heap));
            purge_at = when_to_purge(signal, purge_at, is_new, after, || work::purge_idle(heap, counters));
        }
        is_first = false;
    }
}

/// What becomes of a purge that is planned, or not: it is begun to be waited for, put off, or done, and planned again if it
/// says so.
fn when_to_purge(
    signal: &Signal,
    planned: Option<PurgeAt>,
    is_new: bool,
    after: Duration,
    purge: impl FnOnce() -> bool,
) -> Option<PurgeAt> {
    let later = |delays| Some(PurgeAt { at: Instant::now().checked_add(after.min(NEVER))?, delays });
    let Some(planned) = planned else {
        signal.forget(event::FREED_AGAIN);
        return if is_new { later(0) } else { None };
    };
    if planned.at > Instant::now() {
        return Some(planned);
    }
    if planned.delays < MOST_DELAYS && signal.forget(event::FREED_AGAIN) {
        return later(planned.delays + 1);
    }
    // Before looking at what is free: what is freed from here on is told again.
    signal.forget(event::FREED | event::FREED_AGAIN);
    if purge() { later(0) } else { None }
}

/// All there is to do, until the budget is over.
pub(super) fn by_hand(heap: &HeapInner, budget: Duration, counters: &Counters) {
    let began = Instant::now();
    let has_time = || began.elapsed() < budget;
    let steps: [&dyn Fn(); 5] = [
        &|| work::fold(heap, 2, counters),
        &|| work::make_huge_pages_whole(heap),
        &|| work::purge_all(heap, counters),
        &|| work::prefault(heap, PREFAULT, counters, &has_time),
        &|| work::adjust_hot_set(heap, budget.saturating_sub(began.elapsed())),
    ];
    for step in steps {
        if has_time() {
            step();
        }
    }
}

/// How often a purge is put off, if `meanwhile` happens again and again.
#[cfg(test)]
pub(super) fn times_put_off(signal: &Signal, meanwhile: impl Fn()) -> u32 {
    let mut planned = Some(PurgeAt { at: Instant::now(), delays: 0 });
    loop {
        meanwhile();
        let delays = planned.as_ref().map_or(0, |planned| planned.delays);
        // It is due at once.
        let after = Duration::from_nanos(1);
        while planned.as_ref().is_some_and(|planned| planned.at > Instant::now()) {}
        planned = when_to_purge(signal, planned, false, after, || false);
        if planned.is_none() {
            return delays;
        }
    }
}
