//! Entries of values that may be moved, led elsewhere since the last durable commit of a shared heap.
//!
//! The heap's file changes at any moment, and after a crash each entry has to lead to where its value was at the last commit. So
//! whoever leads one elsewhere first notes in the entry itself where that was ([`Entry::keep_former`]), and here, which entry
//! it is. A commit lists where these lead by then, next to the copy of the roots: that is what counts for them after a crash, whatever
//! the entries say, and for all others what an entry says of its former place, or else the place itself. When the commit is durable, the
//! entries in the list say so ([`settle`]): they have been led nowhere since, or from the place that the list has.
//!
//! Where values were is not used again before the next commit is durable, and nor are entries ([`withheld`](super::withheld)).
//!
//! # Invariants
//! - **F1** An entry that has a former place of this run is noted here, or in the list of the commit that is being made.
//! - **F2** An entry that is noted or listed is one, or its block is withheld.
//! - **F3** Entries are led elsewhere in write sessions: not while the gate is closed.
#![allow(unsafe_code)]

use super::SalAlloc;
use super::handle::Place;
use crate::alloc::windows;
use crate::format::END_WINDOW;
use crate::handle::moving::{Entry, Former};
use crate::os::lock::Lock;
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicU32, Ordering};

/// Entries and the places of their values.
pub(super) type Led = Vec<(usize, usize)>;

/// Of each heap that goes back to its last commit, the entries that were led elsewhere since that was durable. A lock that a forked child
/// can begin anew, whoever held it.
struct Heaps {
    lock: Lock,
    noted: UnsafeCell<Vec<(u32, Vec<usize>)>>,
}

// SAFETY: what is noted is touched under the lock.
unsafe impl Sync for Heaps {}

static HEAPS: Heaps = Heaps { lock: Lock::new(), noted: UnsafeCell::new(Vec::new()) };

/// Of each window, the run of its heap, if that goes back to its last commit; else 0.
static RUNS: [AtomicU32; END_WINDOW as usize] = [const { AtomicU32::new(0) }; END_WINDOW as usize];

/// Runs `work` with what is noted of all heaps; it does not come here again.
fn with_heaps<R>(work: impl FnOnce(&mut Vec<(u32, Vec<usize>)>) -> R) -> R {
    let _guard = HEAPS.lock.lock();
    // SAFETY: under the lock.
    work(unsafe { &mut *HEAPS.noted.get() })
}

fn noted<R>(heap: SalAlloc, work: impl FnOnce(&mut Vec<usize>) -> R) -> Option<R> {
    let Place::Window(name) = heap.place() else { return None };
    with_heaps(|heaps| heaps.iter_mut().find(|heap| heap.0 == name).map(|heap| work(&mut heap.1)))
}

/// In a forked child, which does not go on with the parent's heaps.
pub(super) fn begin_child() {
    // SAFETY: the child has one thread. If another one held the lock in the parent, what is noted may be half changed, and is left alone.
    unsafe {
        if HEAPS.lock.is_held() {
            HEAPS.noted.get().write(Vec::new());
            HEAPS.lock.release();
        }
    }
}

/// The number of a run that begins with a header of that generation.
pub(super) fn run_of(generation: u64) -> u32 {
    1 + (generation % u64::from(Former::LAST_RUN)) as u32
}

/// From now on former places are noted. Before anybody has the heap.
pub(super) fn begin(heap: SalAlloc, run: u32) {
    if let Place::Window(name) = heap.place() {
        with_heaps(|heaps| heaps.push((name, Vec::new())));
        set_run(heap, run);
    }
}

fn set_run(heap: SalAlloc, run: u32) {
    if let Place::Window(name) = heap.place() {
        // Relaxed: before anybody has the heap, when nobody has it any more, or under the closed gate.
        RUNS[windows::window_of(name) as usize].store(run, Ordering::Relaxed);
    }
}

/// The heap is closed.
pub(super) fn end(heap: SalAlloc) {
    if let Place::Window(name) = heap.place() {
        set_run(heap, 0);
        with_heaps(|heaps| heaps.retain(|heap| heap.0 != name));
    }
}

/// The heap's run; 0 if it does not go back to its last commit.
#[inline]
pub(super) fn run_in(heap: SalAlloc) -> u32 {
    let Place::Window(name) = heap.place() else { return 0 };
    // Relaxed: as in `begin`.
    RUNS.get(windows::window_of(name) as usize).map_or(0, |run| run.load(Ordering::Relaxed))
}

/// An entry of the heap is about to be led elsewhere, in a write session.
#[inline]
pub(crate) fn keep(heap: SalAlloc, entry: &Entry) {
    let run = run_in(heap);
    if run != 0 && entry.keep_former(run) {
        note(heap, entry);
    }
}

#[cold]
fn note(heap: SalAlloc, entry: &Entry) {
    noted(heap, |entries| entries.push(std::ptr::from_ref(entry).expose_provenance()));
}

/// Where the entries lead by now that were led elsewhere since the last durable commit. The gate is closed.
pub(super) fn list(heap: SalAlloc) -> Led {
    // Nobody notes any meanwhile (F3).
    let mut entries = noted(heap, std::mem::take).unwrap_or_default();
    entries.sort_unstable();
    entries.dedup();
    let led = entries.iter().map(|&entry| (entry, at(entry).location())).collect();
    noted(heap, |noted| *noted = entries);
    led
}

/// The gate is closed for a commit that is to be durable, which has the list.
pub(super) fn gate_closed(heap: SalAlloc) {
    noted(heap, Vec::clear);
}

/// The run that follows one.
pub(super) fn run_after(run: u32) -> u32 {
    run_of(u64::from(run))
}

/// A commit is durable before which these entries were led there, and the heap is in this run from now on: another one than before only if the
/// gate is still closed. Before what was withheld for the commit is given back.
pub(super) fn settle(heap: SalAlloc, led: &Led, run: u32) {
    set_run(heap, run);
    let elsewhere: Vec<usize> =
        led.iter().filter(|&&(entry, location)| at(entry).settle_former(location, run)).map(|led| led.0).collect();
    noted(heap, |entries| entries.extend(elsewhere));
}

/// An entry that is noted or listed.
fn at<'a>(entry: usize) -> &'a Entry {
    // SAFETY: it is one, or was and its block is withheld (F2); all of it is atomic.
    unsafe { &*std::ptr::with_exposed_provenance::<Entry>(entry) }
}
