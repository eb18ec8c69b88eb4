//! [`GcWeak`]: pointers that do not keep an object, and queues of those whose object has gone.
//!
//! A pool has a table of its weak pointers; a [`GcWeak`] is a number in it, and how often the entry was used before. Entries of one
//! object hang together. When the object goes they are freed, and what asked for that is put in its queue.
//!
//! # Invariants
//! - **W1** An entry with a target is in the chain that the index has for the target; one without is in the list of free ones.
#![allow(unsafe_code)]

use super::address_table::AddressTable;
use super::control::visit_plain;
use super::gc::Gc;
use crate::collections::{SalVec, TryReserveError};
use crate::gc::trace::layouts::id;
use crate::persist::{BlockVisitor, Describer, Node, OPTION_ID, Persist};
use core::fmt;
use core::hash::{Hash, Hasher};
use core::marker::PhantomData;
use core::num::NonZeroU64;

/// A pointer to an object of a [`Pool`](super::Pool) that does not keep it: eight bytes and `Copy`, and it never leads to another
/// object than the one it was made for.
///
/// [`Pool::downgrade`](super::Pool::downgrade) makes one, [`Pool::upgrade`](super::Pool::upgrade) gives the object as long as it is
/// there. One made with a queue is put there when its object goes, and
/// [`Pool::take_cleared`](super::Pool::take_cleared) hands it out, so that what was known of the object can be forgotten.
#[repr(transparent)]
pub struct GcWeak<T> {
    /// The entry's number, and in the upper half how often it had been used, plus one.
    entry: NonZeroU64,
    of: PhantomData<fn() -> T>,
}

const _: () = assert!(size_of::<Option<GcWeak<u64>>>() == 8);

/// Which queue a weak pointer is put in when its object goes; a program's own number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct QueueId(pub u32);

#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// The object, or 0.
    target: usize,
    generation: u32,
    /// The queue's number.
    queue: u32,
    /// The next entry of the same object, or the next one that is free; [`NONE`] at the end.
    next: u32,
    has_queue: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct Cleared {
    entry: u64,
    queue: u64,
}

/// See the module.
#[repr(C)]
#[derive(Default)]
pub(super) struct WeakTable {
    entries: SalVec<Entry>,
    /// The first entry of each object that has some.
    index: AddressTable,
    cleared: SalVec<Cleared>,
    /// One more than the number of the first free entry, or 0.
    free: u64,
}

const _: () = assert!(size_of::<Entry>() == 24 && size_of::<Cleared>() == 16 && size_of::<WeakTable>() == 88);

const NONE: u32 = u32::MAX;

impl WeakTable {
    /// Whether no object has a weak pointer.
    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        self.index.len() == 0
    }

    /// The entry of an object that has that queue, or a new one.
    pub(super) fn entry(&mut self, target: usize, queue: Option<QueueId>) -> Result<NonZeroU64, TryReserveError> {
        let first = self.index.get(target).map_or(NONE, |first| first as u32);
        let mut at = first;
        while let Some(entry) = self.entries.get(at as usize) {
            if (entry.has_queue != 0).then_some(QueueId(entry.queue)) == queue {
                return Ok(number(at, entry.generation));
            }
            at = entry.next;
        }
        if self.free == 0 {
            self.entries.try_reserve(1)?;
            self.entries.push(Entry { target: 0, generation: 0, queue: 0, next: NONE, has_queue: 0 });
            self.free = self.entries.len() as u64;
        }
        let at = self.free as usize - 1;
        self.index.insert(target, at)?;
        let entry = &mut self.entries[at];
        self.free = u64::from(entry.next.wrapping_add(1));
        (entry.target, entry.next) = (target, first);
        (entry.queue, entry.has_queue) = queue.map_or((0, 0), |queue| (queue.0, 1));
        Ok(number(at as u32, entry.generation))
    }

    /// The object of an entry.
    pub(super) fn target(&self, number: NonZeroU64) -> Option<usize> {
        let entry = self.entries.get(number.get() as u32 as usize)?;
        (entry.target != 0 && u64::from(entry.generation) + 1 == number.get() >> 32).then_some(entry.target)
    }

    /// The object has gone, or is about to; returns how many entries led to it.
    pub(super) fn died(&mut self, target: usize) -> usize {
        let Some(first) = self.index.remove(target) else { return 0 };
        let (mut at, mut count) = (first, 0);
        while let Some(entry) = self.entries.get_mut(at) {
            let number = number(at as u32, entry.generation);
            let next = entry.next as usize;
            let queue = (entry.has_queue != 0).then_some(entry.queue);
            // One number of 2^32 is left out, since its successor would be zero again.
            entry.generation = entry.generation.wrapping_add(1) % NONE;
            (entry.target, entry.next) = (0, (self.free as u32).wrapping_sub(1));
            self.free = at as u64 + 1;
            if let Some(queue) = queue {
                // Without memory the queue does not learn of it.
                if self.cleared.try_reserve(1).is_ok() {
                    self.cleared.push(Cleared { entry: number.get(), queue: u64::from(queue) });
                }
            }
            (at, count) = (next, count + 1);
        }
        count
    }

    /// All objects with weak pointers.
    pub(super) fn targets(&self) -> Vec<usize> {
        self.index.iter().map(|(target, _)| target).collect()
    }

    /// Takes what is in a queue.
    pub(super) fn take_cleared(&mut self, queue: QueueId) -> Vec<NonZeroU64> {
        let mut taken = Vec::new();
        self.cleared.retain(|cleared| {
            let is_here = cleared.queue == u64::from(queue.0);
            taken.extend(NonZeroU64::new(cleared.entry).filter(|_| is_here));
            !is_here
        });
        taken
    }

    /// Names the tables' blocks.
    pub(super) fn visit_blocks(&self, visitor: &mut BlockVisitor<'_>) {
        visit_plain(&self.entries, visitor);
        self.index.visit_blocks(visitor);
        visit_plain(&self.cleared, visitor);
    }

    /// Panics if W1 does not hold.
    pub(super) fn check(&self) {
        let mut chained = 0;
        for (target, first) in self.index.iter() {
            let mut at = first;
            while let Some(entry) = self.entries.get(at) {
                assert_eq!(entry.target, target, "W1: an entry in the chain of another object");
                chained += 1;
                at = entry.next as usize;
            }
        }
        let (mut free, mut at) = (0, self.free);
        while let Some(entry) = (at as usize).checked_sub(1).and_then(|at| self.entries.get(at)) {
            assert!(entry.target == 0 && free <= self.entries.len(), "W1: an entry among the free ones that is not");
            (free, at) = (free + 1, u64::from(entry.next.wrapping_add(1)));
        }
        assert_eq!(chained + free, self.entries.len(), "W1: a lost entry");
        assert_eq!(chained, self.entries.iter().filter(|entry| entry.target != 0).count(), "W1: a lost entry");
    }
}

fn number(at: u32, generation: u32) -> NonZeroU64 {
    let high = u64::from(generation) + 1;
    NonZeroU64::new(high << 32 | u64::from(at)).unwrap_or(NonZeroU64::MIN)
}

impl<T> GcWeak<T> {
    pub(super) fn new(entry: NonZeroU64) -> Self {
        Self { entry, of: PhantomData }
    }

    pub(super) fn entry(self) -> NonZeroU64 {
        self.entry
    }
}

impl<T> Clone for GcWeak<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for GcWeak<T> {}

impl<T> PartialEq for GcWeak<T> {
    fn eq(&self, other: &Self) -> bool {
        self.entry == other.entry
    }
}

impl<T> Eq for GcWeak<T> {}

impl<T> Hash for GcWeak<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.entry.hash(state);
    }
}

impl<T> fmt::Debug for GcWeak<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GcWeak({:#x})", self.entry)
    }
}

// SAFETY: a number that is never zero, described with the type that it leads to; it owns nothing.
unsafe impl<T: Persist> Persist for GcWeak<T> {
    const OWNS_BLOCKS: bool = false;

    fn describe(describer: &mut Describer) -> Node {
        let of = describer.node_of::<T>();
        Node::container::<Self>(id::GC_WEAK, "GcWeak", 1, vec![of])
    }

    fn visit_blocks(&self, _: &mut BlockVisitor<'_>) {}
}

// SAFETY: transparent down to `NonZero`, so the option is the number, and `None` is zero.
unsafe impl<T: Persist> Persist for Option<GcWeak<T>> {
    const OWNS_BLOCKS: bool = false;

    fn describe(describer: &mut Describer) -> Node {
        let parameters = vec![describer.node_of::<GcWeak<T>>()];
        Node::container::<Self>(OPTION_ID, "Option", 1, parameters)
    }

    fn visit_blocks(&self, _: &mut BlockVisitor<'_>) {}
}

// `Gc` is what a weak pointer becomes.
const _: () = assert!(size_of::<Gc<u64>>() == size_of::<GcWeak<u64>>());
