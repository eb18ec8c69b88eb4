//! One collection, in one call or in several.
//!
//! # Invariants
//! - **Y1** The pools of a call are known, and areas live, only while the call has them alone; what lasts from one call to the next is
//!   looked up again (L4).
#![allow(unsafe_code)]

use super::marker::Marker;
use super::report::{PoolReport, Step};
use super::roots::{Guarded, RootVisitor};
use super::sweep;
use crate::persist::BlockVisitor;
use crate::persist::follow::FoundPool;
use crate::pool::control::Control;
use crate::pool::finalize::Finalizable;
use std::hash::{BuildHasher, RandomState};
use std::time::Instant;

/// Which objects a collection may free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    All,
    /// Those that have been made since the last one.
    Young,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    Marking,
    /// The areas from that one on are to be swept.
    Sweeping(usize),
}

/// See the module.
pub(super) struct Cycle {
    marker: Marker,
    phase: Phase,
    /// What the control blocks of the cycle's pools say, and how many they are.
    mark: u64,
    members: usize,
    report: PoolReport,
}

// SAFETY: what it knows of pools from one call to the next are addresses, none of which is followed before it was looked up again (Y1). In a
// call the objects are those of a value that the calling thread has alone, and are `Send` and `Sync` as all `Persist` types are.
unsafe impl Send for Cycle {}

type Visit<'v> = &'v mut dyn FnMut(&mut BlockVisitor<'_>);
type Sources<'v> = &'v mut dyn FnMut(&mut RootVisitor<'_, '_>);

/// The control block of a pool.
///
/// # Safety
/// The pool was found in this call, in what the caller has alone (Y1, L1), and no reference to its control block is left.
unsafe fn control<'c>(pool: &FoundPool) -> &'c mut Control {
    // SAFETY: the caller's promise.
    unsafe { pool.control.cast().as_mut() }
}

impl Cycle {
    pub(super) fn new() -> Self {
        Self { marker: Marker::new(), phase: Phase::Idle, mark: 0, members: 0, report: PoolReport::default() }
    }

    #[cfg(test)]
    pub(super) fn with_room(room: usize) -> Self {
        Self { marker: Marker::with_room(room), ..Self::new() }
    }

    /// Whether the object at an address is marked.
    pub(super) fn is_marked(&self, address: usize) -> bool {
        self.marker.areas.is_marked(address)
    }

    /// Ends a cycle that is not complete. Pools stay without a group, so the next one is of all.
    pub(super) fn give_up(&mut self) {
        self.phase = Phase::Idle;
        self.marker.begin();
        self.marker.pools.clear();
    }

    /// Marks in one call; sweeping is the caller's to go on with.
    pub(super) fn mark(&mut self, visit: Visit<'_>, guarded: &Guarded, sources: Sources<'_>, scope: Scope) {
        self.give_up();
        let started = Instant::now();
        self.find(visit, scope, None);
        self.mark_some(visit, guarded, sources);
        self.report.marking += started.elapsed();
    }

    /// Sweeps all that is left, in the call that has marked.
    pub(super) fn sweep_all(&mut self) -> PoolReport {
        let started = Instant::now();
        self.sweep_some(None);
        self.report.sweeping += started.elapsed();
        self.finish()
    }

    /// Goes on until then.
    pub(super) fn step(
        &mut self,
        visit: Visit<'_>,
        guarded: &Guarded,
        sources: Sources<'_>,
        deadline: Instant,
    ) -> Step {
        let started = Instant::now();
        self.find(visit, Scope::All, Some(deadline));
        if self.phase == Phase::Marking {
            self.mark_some(visit, guarded, sources);
            self.report.marking += started.elapsed();
        }
        let started = Instant::now();
        let is_done = self.sweep_some(Some(deadline));
        self.report.sweeping += started.elapsed();
        if is_done {
            return Step::Done(self.finish());
        }
        self.marker.areas.let_go();
        self.marker.pools.clear();
        if self.phase == Phase::Marking { Step::Marking } else { Step::Sweeping }
    }

    /// Finds the pools, and begins if nothing has begun.
    fn find(&mut self, visit: Visit<'_>, scope: Scope, deadline: Option<Instant>) {
        self.marker.find_pools(deadline);
        let mut visitor = BlockVisitor::following(&mut self.marker);
        visit(&mut visitor);
        visitor.tell();
        let mut marks_old = false;
        let pools = &self.marker.pools;
        // SAFETY: Y1; one at a time.
        let group_of = |pool| unsafe { control(pool).group };
        if pools.len() != self.members || pools.iter().any(|pool| group_of(pool) != self.mark) {
            // Others have collected them meanwhile, or pools have come or gone: what is marked may not be enough.
            self.phase = Phase::Idle;
        }
        if self.phase == Phase::Idle {
            self.marker.begin();
            self.phase = Phase::Marking;
            self.members = self.marker.pools.len();
            // Not zero, and below any group's.
            self.mark = u64::from(RandomState::new().hash_one(self.mark) as u32 | 1);
            marks_old = scope == Scope::Young && self.is_group();
            self.report = PoolReport { is_young: marks_old, ..PoolReport::default() };
        }
        self.report.steps += 1;
        self.report.pools = self.marker.pools.len();
        // From here on cards do not tell all that has been changed since the last collection (G1).
        // SAFETY: Y1; one at a time.
        self.marker.pools.iter().for_each(|pool| unsafe { control(pool).group = self.mark });
        // Chunks that have come since marking was done have nothing that is marked, and nothing to sweep.
        let takes_new = self.phase == Phase::Marking;
        // SAFETY: found in what the caller has alone, for as long as this call lasts (Y1).
        unsafe { self.marker.areas.take_in(&self.marker.pools, marks_old, takes_new) };
    }

    /// Whether the last collection was complete, and of these very pools.
    fn is_group(&self) -> bool {
        let Some(first) = self.marker.pools.first() else { return false };
        // SAFETY: Y1; one at a time.
        let group_of = |pool| unsafe { control(pool).group };
        let group = group_of(first);
        let members = u64::from(self.marker.pools.len() as u32);
        // The number of pools is part of the group's, so that none is missing.
        members != 0 && group >> 32 == members && self.marker.pools.iter().all(|pool| group_of(pool) == group)
    }

    /// Marks until all is marked or it is too late.
    fn mark_some(&mut self, visit: Visit<'_>, guarded: &Guarded, sources: Sources<'_>) {
        self.marker.mark_noted();
        guarded.for_each(|address| self.marker.mark_exactly(address));
        for at in 0..self.marker.pools.len() {
            // SAFETY: Y1; one at a time.
            let ready = unsafe { &control(&self.marker.pools[at]).ready };
            let waiting: Vec<usize> = ready.iter().map(|ready| ready.object).collect();
            waiting.into_iter().for_each(|object| self.marker.mark_exactly(object));
        }
        let is_missing = self.marker.has_missed;
        let mut visitor = BlockVisitor::following(&mut self.marker);
        if is_missing {
            visit(&mut visitor);
        }
        sources(&mut RootVisitor { visitor: &mut visitor });
        visitor.tell();
        loop {
            // SAFETY: the marker names objects of pools that the caller has alone, with their own types' functions (B1, L3).
            unsafe { BlockVisitor::following(&mut self.marker).follow() };
            if self.marker.is_late {
                return;
            }
            if !self.settle() {
                break;
            }
        }
        self.report.visited = self.marker.visited;
        self.report.remembered = self.marker.remembered;
        let may_change = self.marker.deadline.is_some();
        for area in self.marker.areas.list.iter_mut().filter(|area| area.is_live) {
            // SAFETY: B1.
            unsafe { sweep::prepare(area, may_change) };
        }
        for pool in &self.marker.pools {
            // SAFETY: Y1; one at a time.
            let control = unsafe { control(pool) };
            control.since_sweep = control.since_sweep.saturating_add(1);
        }
        self.phase = Phase::Sweeping(0);
    }

    /// When nothing is left to visit: clears weak pointers to what is not marked, then lets what has a finalizer wait for it. Whether
    /// that has made something to visit.
    fn settle(&mut self) -> bool {
        let mut found = Vec::new();
        for pool in &self.marker.pools {
            // SAFETY: Y1; one at a time.
            let control = unsafe { control(pool) };
            for target in control.weak.targets() {
                if !self.marker.areas.is_marked(target) {
                    self.report.cleared += control.weak.died(target) as u64;
                }
            }
            let dead: Vec<(usize, usize)> =
                control.armed.iter().filter(|&(object, _)| !self.marker.areas.is_marked(object)).collect();
            for (object, id) in dead {
                // Without memory for it, it stays armed and is marked all the same.
                if control.ready.try_reserve(1).is_ok() {
                    control.armed.remove(object);
                    control.ready.push(Finalizable { object, id: id as u64 });
                    self.report.finalizable += 1;
                }
                found.push(object);
            }
        }
        found.iter().for_each(|&object| self.marker.mark_exactly(object));
        !found.is_empty()
    }

    /// Sweeps one area at least, until all is swept, or it is too late; whether all is.
    fn sweep_some(&mut self, deadline: Option<Instant>) -> bool {
        let Phase::Sweeping(mut at) = self.phase else { return false };
        while let Some(area) = self.marker.areas.list.get(at) {
            at += 1;
            // What a panic of an object's leaves of this one stays until the next collection.
            self.phase = Phase::Sweeping(at);
            if !area.is_live {
                continue;
            }
            let pool = self.marker.pools[area.pool as usize];
            // SAFETY: B1; the pool is the caller's alone (Y1).
            unsafe { sweep::sweep(area, control(&pool), pool.kind, &mut self.report) };
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) && at < self.marker.areas.list.len() {
                return false;
            }
        }
        true
    }

    /// The cycle is complete.
    fn finish(&mut self) -> PoolReport {
        let random = RandomState::new().hash_one(self.report.visited) as u32;
        let group = (self.marker.pools.len() as u64) << 32 | u64::from(random | 1);
        for pool in &self.marker.pools {
            // SAFETY: Y1; one at a time.
            let control = unsafe { control(pool) };
            (control.group, self.report.live) = (group, self.report.live + control.len);
            if control.since_sweep >= control.sweep_every {
                control.since_sweep = 0;
            }
        }
        self.give_up();
        core::mem::take(&mut self.report)
    }
}
