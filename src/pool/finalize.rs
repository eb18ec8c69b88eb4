//! Finalizers: what is done with an object once nothing leads to it any more.
//!
//! A file cannot hold a function, so an object is armed with a number, and a program says in each process which function the
//! number stands for. Finding the object dead and finalizing it are two steps: a collection moves the object to those that wait, where it and
//! all that it leads to stay; [`Pool::finalize`](super::Pool::finalize) takes it from there and calls the function, which may put
//! it back into the graph.

use super::{Gc, Pool};
use crate::persist::Trace;
use core::fmt;
use std::collections::HashMap;

/// A finalizer's number, the same in all processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FinalizerId(pub u32);

/// An object that waits for its finalizer.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct Finalizable {
    pub(super) object: usize,
    pub(super) id: u64,
}

const _: () = assert!(size_of::<Finalizable>() == 16);

type Finalizer<'f, T> = Box<dyn FnMut(&mut Pool<T>, Gc<T>) + 'f>;

/// Which functions the numbers of finalizers stand for in this process.
pub struct Finalizers<'f, T> {
    by_id: HashMap<FinalizerId, Finalizer<'f, T>>,
}

impl<'f, T: Trace> Finalizers<'f, T> {
    /// No functions.
    pub fn new() -> Self {
        Self { by_id: HashMap::new() }
    }

    /// Says what a number stands for. Returns whether it stood for something else before.
    pub fn register(&mut self, id: FinalizerId, finalizer: impl FnMut(&mut Pool<T>, Gc<T>) + 'f) -> bool {
        self.by_id.insert(id, Box::new(finalizer)).is_some()
    }

    /// Whether a number stands for something.
    pub fn knows(&self, id: FinalizerId) -> bool {
        self.by_id.contains_key(&id)
    }

    pub(super) fn call(&mut self, id: FinalizerId, pool: &mut Pool<T>, gc: Gc<T>) {
        if let Some(finalizer) = self.by_id.get_mut(&id) {
            finalizer(pool, gc);
        }
    }
}

impl<T: Trace> Default for Finalizers<'_, T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for Finalizers<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.by_id.keys()).finish()
    }
}
