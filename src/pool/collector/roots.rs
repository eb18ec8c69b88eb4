//! What keeps objects, apart from what leads to them in the value that is collected.

use crate::persist::{BlockVisitor, Persist};
use crate::pool::Gc;
use core::fmt;
use core::ops::Deref;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The objects of guards.
#[derive(Default)]
pub(super) struct Guarded {
    slots: Mutex<Slots>,
}

#[derive(Default)]
struct Slots {
    /// Addresses of objects, or 0.
    of: Vec<usize>,
    free: Vec<usize>,
}

impl Guarded {
    fn slots(&self) -> MutexGuard<'_, Slots> {
        // Nothing panics while it is locked.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, address: usize) -> usize {
        let mut slots = self.slots();
        match slots.free.pop() {
            Some(slot) => {
                slots.of[slot] = address;
                slot
            }
            None => {
                slots.of.push(address);
                slots.of.len() - 1
            }
        }
    }

    fn set(&self, slot: usize, address: usize) {
        self.slots().of[slot] = address;
    }

    fn remove(&self, slot: usize) {
        let mut slots = self.slots();
        slots.of[slot] = 0;
        slots.free.push(slot);
    }

    pub(super) fn for_each(&self, visit: impl FnMut(usize)) {
        self.slots().of.iter().copied().filter(|&address| address != 0).for_each(visit);
    }
}

/// Keeps an object, and all that it leads to, in the collections of one [`Collector`](super::Collector).
///
/// It may outlive the session in which the object was made. It dereferences to the [`Gc`].
#[must_use = "a guard that is dropped keeps nothing"]
pub struct Rooted<'c, T> {
    pub(super) guarded: &'c Guarded,
    pub(super) slot: usize,
    pub(super) gc: Gc<T>,
}

impl<T> Rooted<'_, T> {
    /// The object.
    pub fn gc(&self) -> Gc<T> {
        self.gc
    }

    /// Keeps another object from now on.
    pub fn set(&mut self, gc: Gc<T>) {
        self.guarded.set(self.slot, gc.address());
        self.gc = gc;
    }
}

impl<T> Deref for Rooted<'_, T> {
    type Target = Gc<T>;

    fn deref(&self) -> &Gc<T> {
        &self.gc
    }
}

impl<T> Clone for Rooted<'_, T> {
    fn clone(&self) -> Self {
        Self { slot: self.guarded.add(self.gc.address()), ..*self }
    }
}

impl<T> Drop for Rooted<'_, T> {
    fn drop(&mut self) {
        self.guarded.remove(self.slot);
    }
}

impl<T> fmt::Debug for Rooted<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Rooted").field(&self.gc).finish()
    }
}

/// The number of a source of roots, by which it is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SourceId(pub(super) u64);

/// Who is told of roots by a [source](super::Collector::add_root_source).
pub struct RootVisitor<'v, 'f> {
    pub(super) visitor: &'v mut BlockVisitor<'f>,
}

impl RootVisitor<'_, '_> {
    /// Keeps an object.
    pub fn visit<T>(&mut self, gc: Gc<T>) {
        self.visitor.pointer(gc.address(), size_of::<T>());
    }

    /// Keeps all objects that pointers in a value lead to. If it has pools, what their objects lead to is kept, and they are not
    /// collected.
    pub fn visit_value<T: Persist>(&mut self, value: &T) {
        self.visitor.value(value);
    }

    /// Keeps every object that an aligned word of these bytes is the address of, or an address inside: for memory of which nobody
    /// knows what it holds. A word that means something else may keep an object for nothing.
    pub fn visit_conservative(&mut self, bytes: &[u8]) {
        let skipped = bytes.as_ptr().align_offset(size_of::<usize>());
        let words = bytes.get(skipped..).unwrap_or_default().chunks_exact(size_of::<usize>());
        for word in words {
            // Each has the length of a word.
            self.visitor.word(usize::from_ne_bytes(word.try_into().unwrap_or_default()));
        }
    }
}

impl fmt::Debug for RootVisitor<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RootVisitor").finish_non_exhaustive()
    }
}
