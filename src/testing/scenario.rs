//! What a user does with a heap while everything is recorded.

use super::SimulatedDisk;
use super::history::{End, History};
use super::image::Checker;
use crate::error::{CloseError, SyncError};
use crate::heap::{Heap, HeapOptions, SyncLevel, Write};

/// A heap on a simulated disk, and beside it the model of what it holds.
///
/// Whatever the heap is to hold is changed by [`Scenario::change`], which changes the model, too. What the model is when
/// a sync begins is what that commit has to hold.
pub struct Scenario<'a, M> {
    disk: SimulatedDisk,
    heap: Option<Heap>,
    model: M,
    history: History<M>,
    checker: Checker<'a, M>,
    waits_for_folds: bool,
}

impl<M> std::fmt::Debug for Scenario<'_, M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scenario").field("heap", &self.heap).finish_non_exhaustive()
    }
}

impl<'a, M: Clone> Scenario<'a, M> {
    /// A heap that was just created on this disk.
    pub(super) fn new(
        disk: SimulatedDisk,
        heap: Heap,
        model: M,
        options: &'a HeapOptions,
        check: &'a dyn Fn(&Heap, &M),
    ) -> Self {
        let history = History::of(0, model.clone());
        Self { disk, heap: Some(heap), model, history, checker: Checker { options, check }, waits_for_folds: true }
    }

    /// The heap.
    pub fn heap(&self) -> &Heap {
        match &self.heap {
            Some(heap) => heap,
            None => unreachable!("there is none only while another one is opened"),
        }
    }

    /// The disk that it is on.
    pub fn disk(&self) -> &SimulatedDisk {
        &self.disk
    }

    /// What the heap holds now.
    pub fn model(&self) -> &M {
        &self.model
    }

    /// Whether each sync waits until the log has been folded, if that has begun: then a seed always gives the same
    /// operations. It does by default.
    pub fn wait_for_folds(&mut self, waits: bool) {
        self.waits_for_folds = waits;
    }

    /// Changes the heap in a session, and the model in the same way.
    ///
    /// # Panics
    /// If the heap gives no session.
    pub fn change<R>(&mut self, change: impl FnOnce(&Write<'_>, &mut M) -> R) -> R {
        let heap = self.heap.as_ref();
        match heap.map(Heap::write) {
            Some(Ok(tx)) => change(&tx, &mut self.model),
            other => panic!("no session: {:?}", other.map(|session| session.map(drop))),
        }
    }

    /// Makes the heap durable; returns the number of the commit.
    ///
    /// # Panics
    /// If that fails.
    pub fn sync(&mut self) -> u64 {
        self.sync_with(SyncLevel::Data)
    }

    /// As [`Scenario::sync`], with more or less effort.
    ///
    /// # Panics
    /// If that fails.
    pub fn sync_with(&mut self, level: SyncLevel) -> u64 {
        match self.try_sync_with(level) {
            Ok(number) => number,
            Err(error) => panic!("the heap does not sync: {error}"),
        }
    }

    /// As [`Scenario::sync_with`], where that may fail because the disk was told to.
    ///
    /// # Errors
    /// As [`Heap::sync_with`].
    pub fn try_sync_with(&mut self, level: SyncLevel) -> Result<u64, SyncError> {
        if level < SyncLevel::Async {
            return self.heap().sync_with(level);
        }
        let next = self.heap().last_commit()? + 1;
        self.history.begin(self.disk.operations(), next, self.model.clone());
        let synced = self.heap().sync_with(level);
        if let Err(SyncError::Broken) = synced {
            self.history.refuse();
        }
        let number = synced?;
        self.history.acknowledge(self.disk.operations(), number, level >= SyncLevel::Data);
        if self.waits_for_folds {
            self.heap().inner().wait_for_fold();
        }
        Ok(number)
    }

    /// Closes the heap, which commits what was not synced yet, and opens it again.
    ///
    /// # Panics
    /// If that fails.
    pub fn reopen(&mut self) {
        if let Err(error) = self.try_reopen() {
            panic!("the heap does not close: {error}");
        }
    }

    /// As [`Scenario::reopen`], where closing may fail because the disk was told to; whatever failed, the disk is
    /// [healed](SimulatedDisk::heal) before the heap is opened again, at the commit that it then has.
    ///
    /// # Errors
    /// As [`Heap::close_and_unmap`].
    ///
    /// # Panics
    /// If the heap does not open, or is not at a commit that it can be at.
    pub fn try_reopen(&mut self) -> Result<(), CloseError> {
        let Some(heap) = self.heap.take() else { return Ok(()) };
        let last = heap.last_commit().unwrap_or(0);
        self.history.begin(self.disk.operations(), last + 1, self.model.clone());
        // SAFETY: as whoever runs the tester has promised, nothing of the heap is used afterwards.
        let closed = unsafe { heap.close_and_unmap() };
        let operations = self.disk.operations();
        self.disk.heal();
        if closed.is_ok() {
            let heap = self.open();
            let number = heap.last_commit().unwrap_or(0);
            assert!((last..=last + 1).contains(&number), "closed after commit {last}, found {number}");
            self.history.acknowledge(operations, number, true);
            self.look_at(heap);
        } else {
            if let Err(CloseError::Sync(SyncError::Broken)) = closed {
                self.history.refuse();
            }
            self.open_after_end();
        }
        closed
    }

    /// Ends the heap as if its process had been killed, and opens it again: it goes back to a commit, and the model with
    /// it. The disk is [healed](SimulatedDisk::heal) before.
    ///
    /// # Panics
    /// If the heap does not open, or is not at a commit that it can be at.
    pub fn kill(&mut self) {
        if let Some(heap) = self.heap.take() {
            // SAFETY: as whoever runs the tester has promised, nothing of the heap is used afterwards.
            unsafe { self.disk.kill(heap) };
        }
        self.disk.heal();
        self.open_after_end();
    }

    fn open(&self) -> Heap {
        match self.disk.open(self.checker.options) {
            Ok(heap) => heap,
            Err(error) => panic!("the heap does not open: {error}"),
        }
    }

    fn open_after_end(&mut self) {
        let expected = self.history.at(self.disk.operations(), End::Killed);
        let heap = self.open();
        let number = heap.last_commit().unwrap_or(0);
        match expected.models.get(&number) {
            Some(model) => self.model = model.clone(),
            None => panic!("found commit {number}; expected one of {:?}", expected.models.keys()),
        }
        self.history.opened(self.disk.operations(), number);
        self.look_at(heap);
    }

    fn look_at(&mut self, heap: Heap) {
        self.checker.look(&heap, &self.model);
        self.heap = Some(heap);
    }

    /// Ends it: the power is cut, and what it left is to be looked at.
    pub(super) fn end(mut self) -> (SimulatedDisk, History<M>) {
        if let Some(heap) = self.heap.take() {
            // SAFETY: as whoever runs the tester has promised, nothing of the heap is used afterwards.
            unsafe { self.disk.kill(heap) };
        }
        (self.disk, self.history)
    }
}
