//! Collecting pools.
//!
//! A collection is given `&mut` to a value. Looking through the value it finds the pools in it, which are collected together, and
//! pointers outside of them, which are roots. Further roots are guards, sources, and objects that wait for a finalizer. From these
//! [`marker`] marks; then [`sweep`] frees what has no mark. [`cycle`] takes both as far as there is time.
//!
//! A collection of all looks at all that is reached. One of the young takes what survived the last collection for alive and looks
//! only at those of it that may have been changed since, which the cards of the chunks tell: [`Pool::get_mut`](super::Pool::get_mut) is the write barrier.
//! The same cards make it possible to mark step by step while the program goes on: what was changed between two steps is
//! looked at again before marking counts as done.
//!
//! # Invariants
//! - **G1** An object that is old (K3), and lies in no card that may have been changed, leads to no object of a pool of its group
//!   that is not old, but for places whose objects were freed explicitly. The group is the last collection that was completed, and the pools that it had; a collection of other pools, or
//!   one that is given up, leaves no group behind, and the next one is of all.
//! - **G2** When a sweep begins, every object that a root or a marked object leads to is marked (M2).
//!
//! # What survives a crash
//! Nothing of a collector. What is old, and which cards were changed, is in the chunks: a collection of the young may be the first
//! one after a heap was opened.

mod areas;
mod cycle;
mod marker;
mod owners;
mod report;
mod roots;
mod sweep;

pub(super) use owners::Owned;
pub use report::{PoolReport, Step};
pub use roots::{RootVisitor, Rooted, SourceId};

use super::error::GcError;
use super::gc::Gc;
use crate::persist::{BlockVisitor, Trace, TypeDescription};
use core::any::TypeId;
use core::fmt;
use core::time::Duration;
use cycle::{Cycle, Scope};
use roots::Guarded;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

type Source<'s> = Box<dyn FnMut(&mut RootVisitor<'_, '_>) + Send + 's>;

/// Collects pools, and knows what keeps objects of theirs besides what leads to them in the collected value itself.
///
/// It lives in the process, not in a heap, and knows no pool by itself: each call is given `&mut` to a value, and collects the pools
/// in it. What keeps objects:
///
/// - pointers in the value, but outside of its pools' objects: with `struct Graph { nodes: Pool<Node>, first: Option<Gc<Node>> }` all
///   that `first` leads to;
/// - [`Rooted`] guards of this collector, and its [sources](Collector::add_root_source);
/// - with [`Write::collect_pools`](crate::Write::collect_pools), the values of all roots of a heap.
///
/// Nothing else does: no `Gc` in a local variable, and no guard of another collector. A pool that is not in the value is not
/// collected, and what its objects lead to is kept only if a source visits it. So pools whose objects lead to each other belong in one value.
///
/// `collect`, `collect_young`, `mark` and `step` may be called by any thread; one of them runs at a time.
pub struct Collector<'s> {
    guarded: Guarded,
    sources: Mutex<Vec<(SourceId, Source<'s>)>>,
    next_source: Mutex<u64>,
    cycle: Mutex<Cycle>,
    /// Whether types have their pools alone.
    exclusive: Mutex<HashMap<TypeId, bool>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What a panic of an object's or a source's leaves behind is right: marks are lost, and nothing is freed for it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'s> Collector<'s> {
    /// A collector without guards and sources.
    pub fn new() -> Self {
        Self {
            guarded: Guarded::default(),
            sources: Mutex::new(Vec::new()),
            next_source: Mutex::new(0),
            cycle: Mutex::new(Cycle::new()),
            exclusive: Mutex::new(HashMap::new()),
        }
    }

    /// Keeps an object for as long as the guard lives.
    pub fn root<T>(&self, gc: Gc<T>) -> Rooted<'_, T> {
        Rooted { guarded: &self.guarded, slot: self.guarded.add(gc.address()), gc }
    }

    /// Adds a function that each collection calls to hear of roots; several times, if it takes several steps.
    ///
    /// ```
    /// use sal::{Collector, Gc, Pool};
    /// use std::sync::{Arc, Mutex};
    ///
    /// let cache = Arc::new(Mutex::new(Vec::<Gc<u64>>::new()));
    /// let collector = Collector::new();
    /// let known = cache.clone();
    /// let source = collector.add_root_source(move |roots| {
    ///     known.lock().unwrap().iter().for_each(|&gc| roots.visit(gc));
    /// });
    ///
    /// let mut pool = Pool::new();
    /// cache.lock().unwrap().push(pool.insert(7));
    /// assert_eq!(collector.collect(&mut pool)?.freed, 0);
    /// collector.remove_root_source(source);
    /// assert_eq!(collector.collect(&mut pool)?.freed, 1);
    /// # Ok::<(), sal::pool::GcError>(())
    /// ```
    pub fn add_root_source(&self, source: impl FnMut(&mut RootVisitor<'_, '_>) + Send + 's) -> SourceId {
        let id = {
            let mut next = lock(&self.next_source);
            *next += 1;
            SourceId(*next)
        };
        lock(&self.sources).push((id, Box::new(source)));
        id
    }

    /// Removes a source; whether it was there. A source that is running is not.
    pub fn remove_root_source(&self, id: SourceId) -> bool {
        let mut sources = lock(&self.sources);
        let before = sources.len();
        sources.retain(|(source, _)| *source != id);
        sources.len() < before
    }

    /// Collects all pools of a value: marks all that is kept, and frees the rest. A cycle of [`step`](Collector::step)s
    /// that has begun is given up.
    ///
    /// Objects are dropped one after the other, in no order; what they lead to is not reached from there.
    ///
    /// # Errors
    /// [`GcError::SharedPool`] if a pool lies in the value where others may have it too. Nothing was done then.
    ///
    /// # Panics
    /// If the `Drop` of an object does, or a source. The pools are as after a collection that has freed only a part.
    pub fn collect<W: Trace>(&self, value: &mut W) -> Result<PoolReport, GcError> {
        self.check::<W>()?;
        Ok(self.collect_with(&mut |visitor| value.visit_blocks(visitor), Scope::All))
    }

    /// Collects what was made since the last collection; what survived that one is kept, and looked at only where it may have been changed.
    /// If the last one was not of the same pools, all is collected.
    ///
    /// # Errors
    /// As for [`Collector::collect`].
    ///
    /// # Panics
    /// As for [`Collector::collect`].
    ///
    /// ```
    /// use sal::{Collector, Pool};
    ///
    /// let (mut pool, collector) = (Pool::new(), Collector::new());
    /// let kept: Vec<_> = (0..1000_u64).map(|number| collector.root(pool.insert(number))).collect();
    /// assert_eq!(collector.collect(&mut pool)?.visited, 1000);
    /// pool[kept[7].gc()] = 8;
    /// pool.insert(1000);
    /// let report = collector.collect_young(&mut pool)?;
    /// // Of those that stay only the neighbours of the changed one.
    /// assert!(report.freed == 1 && report.visited == report.remembered && report.remembered <= 256);
    /// # Ok::<(), sal::pool::GcError>(())
    /// ```
    pub fn collect_young<W: Trace>(&self, value: &mut W) -> Result<PoolReport, GcError> {
        self.check::<W>()?;
        Ok(self.collect_with(&mut |visitor| value.visit_blocks(visitor), Scope::Young))
    }

    /// Goes on with a collection of all for about as long as that. Between steps the program may do with the pools what it likes.
    ///
    /// A step takes longer than it has where something cannot be divided: the look through the value and the sources, which each
    /// step begins with; one object with very many pointers; the sweep of one chunk. And where the program changes more
    /// objects between steps than a step can look at again, the last step does it all.
    ///
    /// # Errors
    /// As for [`Collector::collect`].
    ///
    /// # Panics
    /// As for [`Collector::collect`].
    ///
    /// ```
    /// use sal::pool::Step;
    /// use sal::{Collector, Pool};
    /// use std::time::Duration;
    ///
    /// let (mut pool, collector) = (Pool::new(), Collector::new());
    /// (0..100_000_u64).map(|number| pool.insert(number)).for_each(|_| ());
    /// let report = loop {
    ///     if let Step::Done(report) = collector.step(&mut pool, Duration::from_millis(1))? {
    ///         break report;
    ///     }
    ///     pool.insert(0);
    /// };
    /// assert!(report.freed >= 100_000);
    /// # Ok::<(), sal::pool::GcError>(())
    /// ```
    pub fn step<W: Trace>(&self, value: &mut W, budget: Duration) -> Result<Step, GcError> {
        let deadline = Instant::now() + budget;
        self.check::<W>()?;
        let mut cycle = lock(&self.cycle);
        let mut visit = |visitor: &mut BlockVisitor<'_>| value.visit_blocks(visitor);
        Ok(self.with_sources(|sources| cycle.step(&mut visit, &self.guarded, sources, deadline)))
    }

    /// Marks what is kept, and lets one ask of objects whether they are, before what is not is freed or left.
    ///
    /// What is found dead stays found: weak pointers to it are cleared, and what has a finalizer waits for it.
    ///
    /// # Errors
    /// As for [`Collector::collect`].
    ///
    /// # Panics
    /// If a source does.
    ///
    /// ```
    /// use sal::{Collector, Pool};
    ///
    /// let (mut pool, collector) = (Pool::new(), Collector::new());
    /// let (kept, lost) = (pool.insert(1_u64), pool.insert(2));
    /// let guard = collector.root(kept);
    /// let marked = collector.mark(&mut pool)?;
    /// assert!(marked.is_reachable(kept) && !marked.is_reachable(lost));
    /// assert_eq!(marked.sweep().freed, 1);
    /// # drop(guard);
    /// # Ok::<(), sal::pool::GcError>(())
    /// ```
    pub fn mark<'c, W: Trace>(&'c self, value: &'c mut W) -> Result<Marked<'c>, GcError> {
        self.check::<W>()?;
        let mut cycle = lock(&self.cycle);
        let mut visit = |visitor: &mut BlockVisitor<'_>| value.visit_blocks(visitor);
        self.with_sources(|sources| cycle.mark(&mut visit, &self.guarded, sources, Scope::All));
        Ok(Marked { cycle, of: core::marker::PhantomData })
    }

    /// Collects the pools that are come to by `visit`, which the caller has alone.
    pub(super) fn collect_all(&self, visit: &mut dyn FnMut(&mut BlockVisitor<'_>)) -> PoolReport {
        self.collect_with(visit, Scope::All)
    }

    fn collect_with(&self, visit: &mut dyn FnMut(&mut BlockVisitor<'_>), scope: Scope) -> PoolReport {
        let mut cycle = lock(&self.cycle);
        self.with_sources(|sources| cycle.mark(visit, &self.guarded, sources, scope));
        cycle.sweep_all()
    }

    /// Runs `work` with the sources, which may add others meanwhile.
    fn with_sources<R>(&self, work: impl FnOnce(&mut dyn FnMut(&mut RootVisitor<'_, '_>)) -> R) -> R {
        /// Gives them back, also after a panic.
        struct Lent<'c, 's> {
            collector: &'c Collector<'s>,
            sources: Vec<(SourceId, Source<'s>)>,
        }
        impl Drop for Lent<'_, '_> {
            fn drop(&mut self) {
                let mut sources = lock(&self.collector.sources);
                self.sources.append(&mut sources);
                *sources = core::mem::take(&mut self.sources);
            }
        }
        let sources = core::mem::take(&mut *lock(&self.sources));
        let mut lent = Lent { collector: self, sources };
        work(&mut |visitor| lent.sources.iter_mut().for_each(|(_, source)| source(visitor)))
    }

    fn check<W: Trace>(&self) -> Result<(), GcError> {
        let mut known = lock(&self.exclusive);
        let is_exclusive =
            *known.entry(TypeId::of::<W>()).or_insert_with(|| Owned::by(&TypeDescription::of::<W>()).is_exclusive);
        if is_exclusive {
            return Ok(());
        }
        Err(GcError::SharedPool { type_name: core::any::type_name::<W>().to_owned() })
    }
}

impl Default for Collector<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Collector<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector").field("sources", &lock(&self.sources).len()).finish_non_exhaustive()
    }
}

/// What is marked; from [`Collector::mark`]. Dropped without a sweep it frees nothing.
#[must_use = "nothing is freed without a sweep"]
pub struct Marked<'c> {
    cycle: MutexGuard<'c, Cycle>,
    of: core::marker::PhantomData<&'c mut ()>,
}

impl Marked<'_> {
    /// Whether something that keeps objects leads to this one.
    pub fn is_reachable<T>(&self, gc: Gc<T>) -> bool {
        self.cycle.is_marked(gc.address())
    }

    /// Frees what is not reachable.
    ///
    /// # Panics
    /// As for [`Collector::collect`].
    pub fn sweep(mut self) -> PoolReport {
        self.cycle.sweep_all()
    }
}

impl Drop for Marked<'_> {
    fn drop(&mut self) {
        self.cycle.give_up();
    }
}

impl fmt::Debug for Marked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Marked").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
