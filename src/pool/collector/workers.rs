//! Marking by several threads.
//!
//! Each has a stack of its own; whoever has none left takes from what others have put down for it. What is marked is said by
//! atomic bits, so of two that come to an object one visits it. They are done when all of them wait.
//!
//! # Invariants
//! - **T1** While they work nobody changes pools or areas: the thread that has the pools waits for them. Objects are only read, by functions
//!   that may run on several threads at once, since what can be stored is `Sync`.
#![allow(unsafe_code)]

use super::areas::Areas;
use super::marker::{Entry, prefetch};
use crate::persist::BlockVisitor;
use crate::persist::follow::{Follow, FoundPool, Visit};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Objects whose memory is asked for before they are visited.
const AHEAD: usize = 8;
/// Objects that are visited between two looks at the clock, and at those who wait.
const TICK: u32 = 32;
/// Entries of which half is given away. Few: at the bottom of a stack is what leads to most, of a tree a large part.
const WORTH_SHARING: usize = 4;
/// Entries that are taken at once.
const BATCH: usize = 256;

/// What came of it.
#[derive(Default)]
pub(super) struct Done {
    pub(super) visited: u64,
    pub(super) has_waiting: bool,
    pub(super) is_late: bool,
    /// What has not been visited, if it is too late.
    pub(super) left: Vec<Entry>,
}

/// What all share.
struct Job<'a> {
    areas: &'a Areas,
    pools: &'a [FoundPool],
    threads: usize,
    room: usize,
    deadline: Option<Instant>,
    state: Mutex<State>,
    changed: Condvar,
    /// How many wait: a hint for those who have something to give.
    hungry: AtomicUsize,
    is_stopped: AtomicBool,
}

#[derive(Default)]
struct State {
    entries: Vec<Entry>,
    waiting: usize,
    done: Done,
}

// SAFETY: what is not `Sync` in it are addresses of chunks and control blocks, which are only read (T1).
unsafe impl Sync for Job<'_> {}

/// Visits all entries and what they lead to, by so many threads.
///
/// # Safety
/// The areas that are live are chunks of these pools, which the caller has alone.
pub(super) unsafe fn mark(
    areas: &Areas,
    pools: &[FoundPool],
    entries: Vec<Entry>,
    threads: usize,
    room: usize,
    deadline: Option<Instant>,
) -> Done {
    let job = Job {
        areas,
        pools,
        threads,
        room,
        deadline,
        state: Mutex::new(State { entries, ..State::default() }),
        changed: Condvar::new(),
        hungry: AtomicUsize::new(0),
        is_stopped: AtomicBool::new(false),
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            // One that cannot be had is done without: the others wait for as many as there are.
            if std::thread::Builder::new().spawn_scoped(scope, || job.work()).is_err() {
                job.is_missing_one();
            }
        }
        job.work();
    });
    let mut state = job.state();
    let entries = core::mem::take(&mut state.entries);
    let mut done = core::mem::take(&mut state.done);
    done.left.extend(entries);
    done.is_late = job.is_stopped.load(Ordering::Relaxed);
    done
}

/// If a visit panics, the others would wait for this thread.
struct StopOnPanic<'j, 'a>(&'j Job<'a>);

impl Drop for StopOnPanic<'_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop();
        }
    }
}

impl Job<'_> {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is locked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop(&self) {
        // Relaxed: nothing follows from it but to stop; those who wait look at it with the lock.
        self.is_stopped.store(true, Ordering::Relaxed);
        let _state = self.state();
        self.changed.notify_all();
    }

    /// A thread less than was thought: it waits for ever.
    fn is_missing_one(&self) {
        self.state().waiting += 1;
        self.changed.notify_all();
    }

    fn work(&self) {
        let _stop = StopOnPanic(self);
        let mut worker = Worker {
            job: self,
            stack: Vec::new(),
            queue: [Entry { area: 0, slot: 0 }; AHEAD],
            first: 0,
            queued: 0,
            last: (0, 0),
            until_look: TICK,
            visited: 0,
            has_waiting: false,
        };
        // SAFETY: objects of pools that the caller of `mark` has alone, which nobody changes (T1).
        unsafe { BlockVisitor::following(&mut worker).follow() };
        let mut state = self.state();
        state.done.visited += worker.visited;
        state.done.has_waiting |= worker.has_waiting;
        let queued = (0..worker.queued).map(|at| worker.queue[(worker.first + at) % AHEAD]);
        state.done.left.extend(queued);
        state.done.left.append(&mut worker.stack);
    }

    /// Takes entries, waits for some, or finds that nobody has any; false then, and when it is to stop.
    #[cold]
    fn take(&self, stack: &mut Vec<Entry>) -> bool {
        let mut state = self.state();
        state.waiting += 1;
        // Relaxed: a hint.
        self.hungry.store(state.waiting, Ordering::Relaxed);
        loop {
            // Relaxed: as in `stop`.
            if self.is_stopped.load(Ordering::Relaxed) {
                return false;
            }
            if !state.entries.is_empty() {
                let from = state.entries.len().saturating_sub(BATCH);
                stack.extend(state.entries.drain(from..));
                state.waiting -= 1;
                self.hungry.store(state.waiting, Ordering::Relaxed);
                return true;
            }
            if state.waiting >= self.threads {
                self.changed.notify_all();
                return false;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    #[cold]
    fn give(&self, stack: &mut Vec<Entry>) {
        let mut state = self.state();
        if state.entries.is_empty() {
            // The oldest ones: those lead to most.
            state.entries.extend(stack.drain(..stack.len() / 2));
            self.changed.notify_all();
        }
    }
}

struct Worker<'j, 'a> {
    job: &'j Job<'a>,
    stack: Vec<Entry>,
    queue: [Entry; AHEAD],
    first: usize,
    queued: usize,
    last: (usize, u32),
    until_look: u32,
    visited: u64,
    has_waiting: bool,
}

impl Worker<'_, '_> {
    #[inline(always)]
    fn mark(&mut self, at: usize, slot: usize) {
        let area = &self.job.areas.list[at];
        if !area.mark(slot, true) {
            return;
        }
        if self.stack.len() < self.job.room {
            self.stack.push(Entry { area: at as u32, slot: slot as u32 });
        } else {
            area.wait(slot, true);
            self.has_waiting = true;
        }
    }

    #[inline(always)]
    fn fill(&mut self) -> bool {
        loop {
            while self.queued < AHEAD {
                let Some(entry) = self.stack.pop() else { break };
                let area = &self.job.areas.list[entry.area as usize];
                prefetch(area.chunk.address() + area.geometry.position(entry.slot as usize));
                self.queue[(self.first + self.queued) % AHEAD] = entry;
                self.queued += 1;
            }
            if self.queued > 0 {
                return true;
            }
            if !self.job.take(&mut self.stack) {
                return false;
            }
        }
    }
}

impl Follow for Worker<'_, '_> {
    fn pointers(&mut self, addresses: &[usize]) {
        for &address in addresses {
            if let Some((area, slot, true)) = self.job.areas.find_near(&mut self.last, address) {
                self.mark(area, slot);
            }
        }
    }

    fn word(&mut self, word: usize) {
        if let Some((area, slot, _)) = self.job.areas.find_near(&mut self.last, word) {
            self.mark(area, slot);
        }
    }

    fn pool(&mut self, pool: FoundPool) -> bool {
        self.job.pools.iter().any(|known| known.control == pool.control)
    }

    #[inline]
    fn next(&mut self, addresses: &[usize]) -> Option<(*const u8, Visit)> {
        self.pointers(addresses);
        self.until_look -= 1;
        if self.until_look == 0 {
            self.until_look = TICK;
            if self.job.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                self.job.stop();
            }
            // Relaxed: a hint.
            if self.stack.len() >= WORTH_SHARING && self.job.hungry.load(Ordering::Relaxed) > 0 {
                self.job.give(&mut self.stack);
            }
        }
        // Relaxed: as in `stop`.
        if self.job.is_stopped.load(Ordering::Relaxed) {
            return None;
        }
        while self.fill() {
            let entry = self.queue[self.first];
            self.first = (self.first + 1) % AHEAD;
            self.queued -= 1;
            let area = &self.job.areas.list[entry.area as usize];
            // SAFETY: B1 and B2; M1 for what has gone meanwhile.
            unsafe {
                if area.is_live && area.chunk.is_taken(entry.slot as usize) {
                    self.visited += 1;
                    let object = area.chunk.slot(&area.geometry, entry.slot as usize);
                    return Some((object.as_ptr(), self.job.pools[area.pool as usize].kind.visit));
                }
            }
        }
        None
    }
}
