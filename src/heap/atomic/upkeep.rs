//! Makes huge pages whole again that writes have split: on a thread that lives while there is something to do, or on that
//! which maintains the heap.
//!
//! What is armed cannot be moved into a huge page, so a region is disarmed for that, and for a moment nobody notes what
//! is written to it. A copy that is made before tells it afterwards.
//!
//! # Invariants
//! - **H1** What [Q1](super::capture) says of captures holds after each step here, too: a page whose bytes may not be
//!   those of the last commit is noted, or the next scan reports it. The steps are: a copy, a scan, disarming and
//!   collapsing, a second scan, a comparison with the copy; nobody captures meanwhile. A page that neither the first scan
//!   nor an earlier one has noted was not written between the last commit and that scan, so its copy is what the commit
//!   has. The second scan arms: a write before it is seen by the comparison, one after it by the next scan. So nobody has
//!   to be shut out, neither threads nor write sessions that are open.
//! - **H2** The thread has ended before the heap's memory goes: closing waits for it.

use super::capture::{Capture, page_of};
use super::regions::REGION;
use crate::format::PAGE;
use crate::os::copy::copy_out;
use crate::os::dirty_pages::{Memory, Tracking};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// A run ends after so many regions, or so long: what is left waits for the next.
const MOST_REGIONS: usize = 64;
const MOST_TIME: Duration = Duration::from_millis(250);

/// The steps of H1, but for the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Copied,
    Scanned,
    Collapsed,
    Armed,
}

/// The thread that does it, if there is one.
#[derive(Debug, Default)]
pub(super) struct Upkeep {
    running: Mutex<Option<JoinHandle<()>>>,
    /// Whether it shall end soon.
    is_ending: Arc<AtomicBool>,
}

impl Upkeep {
    fn running(&self) -> std::sync::MutexGuard<'_, Option<JoinHandle<()>>> {
        // Nothing panics while it is locked.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a run if none is under way. If there can be no thread, another time.
    pub(super) fn begin(&self, capture: &Arc<Mutex<Capture>>) {
        let mut running = self.running();
        if running.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return;
        }
        if let Some(thread) = running.take() {
            let _ = thread.join();
        }
        let (capture, is_ending) = (Arc::clone(capture), Arc::clone(&self.is_ending));
        *running = thread::Builder::new().name("sal-upkeep".into()).spawn(move || run(&capture, &is_ending)).ok();
    }

    /// A run on the calling thread.
    pub(super) fn run_here(&self, capture: &Mutex<Capture>) {
        run(capture, &self.is_ending);
    }

    /// Ends a run that is under way, and returns when it has ended. Nobody begins one any more.
    pub(super) fn end(&self) {
        // Relaxed: who sees it late does a little more.
        self.is_ending.store(true, Ordering::Relaxed);
        if let Some(thread) = self.running().take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }

    /// Waits for the end of a run that is under way.
    #[cfg(test)]
    fn wait(&self) {
        if let Some(thread) = self.running().take() {
            thread.join().unwrap();
        }
    }
}

fn run(capture: &Mutex<Capture>, is_ending: &AtomicBool) {
    let began = Instant::now();
    let mut copy = vec![0; REGION];
    for _ in 0..MOST_REGIONS {
        // Relaxed: see `Upkeep::end`.
        if is_ending.load(Ordering::Relaxed) || began.elapsed() > MOST_TIME {
            return;
        }
        let step = Instant::now();
        {
            // Whoever panicked had noted everything before.
            let mut capture = capture.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(region) = capture.regions.next_quiet() else { return };
            let is_whole = capture.make_whole(region, &mut copy, &mut |_| ());
            capture.regions.tried(region, is_whole);
        }
        // For those who want to sync, and as long as it took, so that they find it free every other time.
        thread::park_timeout(step.elapsed());
    }
}

impl Capture {
    /// Makes a region of the heap's plain memory one huge page, if that works; returns whether it is one. `done` is told
    /// of each step.
    fn make_whole(&mut self, region: usize, copy: &mut [u8], done: &mut dyn FnMut(Step)) -> bool {
        if self.tracker.tracking() != Tracking::WriteProtect {
            return false;
        }
        if self.tracker.is_huge(region, REGION) {
            return true;
        }
        // SAFETY: a region of the heap's segments, all of which is readable and stays (H2). `copy` is our own.
        unsafe { copy_out(region, copy) };
        done(Step::Copied);
        if self.scan_region(region, true) != Some(0) || !self.tracker.sees_exactly() {
            return false;
        }
        done(Step::Scanned);
        // Whatever it did, an error included: what follows is right after each of its steps.
        let is_whole = self.tracker.collapse(region, REGION).is_ok();
        done(Step::Collapsed);
        if self.scan_region(region, false).is_none() {
            return false;
        }
        done(Step::Armed);
        let mut now = [0; PAGE];
        for (page, before) in (region..).step_by(PAGE).zip(copy.chunks_exact(PAGE)) {
            // SAFETY: as above.
            unsafe { copy_out(page, &mut now) };
            if now != before {
                let page = page_of(self.base, page);
                self.dirty.add(page..page + 1);
            }
        }
        is_whole
    }

    /// Arms a region; how many ranges were found, which may be noted. If it fails, all of the region is noted.
    pub(super) fn scan_region(&mut self, region: usize, notes: bool) -> Option<usize> {
        let Self { tracker, dirty, is_guessed, base, .. } = self;
        let pages_of = |found: Range<usize>| page_of(*base, found.start)..page_of(*base, found.end);
        let mut ranges = 0;
        let scanned = tracker.begin().and_then(|mut scans| {
            scans.scan(region, REGION, Memory::Anonymous, &mut |found| {
                ranges += 1;
                if notes {
                    dirty.add(pages_of(found));
                }
            })
        });
        if scanned.is_err() {
            *is_guessed = true;
            dirty.add(pages_of(region..region + REGION));
        }
        scanned.ok().map(|()| ranges)
    }
}

#[cfg(test)]
mod tests;
