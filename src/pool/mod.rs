//! Collected pools: objects of one type that refer to each other as they like, cycles included, and are freed when nothing
//! leads to them any more.
//!
//! A [`Pool`] is a collection as any other in this crate: one word, without a handle, part of a root's value or on a stack. Its
//! objects lie in *chunks*, 256 KiB or more each, with a bit for each slot and no header of their own. A [`Gc`] is the
//! address of an object; who has the pool has the object. So what the borrow checker says of a pool holds for its objects: to read one
//! takes `&Pool`, to change one `&mut Pool`, and to collect `&mut` to the value that has the pool. A [`Collector`] is a process's own: it
//! knows what else keeps objects, and marks and sweeps.
//!
//! Objects are followed by what [`Persist::visit_blocks`](crate::Persist::visit_blocks) names, which is derived. So a `Gc` may be
//! in a [`SalVec`](crate::collections::SalVec) of an object, in an enum, behind a shared pointer.
//!
//! # Invariants
//! Those of chunks (K1 to K4) and control blocks (C1 to C5), and:
//! - **L1** `control` is a control block, which the pool alone has. All access to it, to the chunks and to the objects goes through the
//!   pool: shared through `&Pool`, exclusive through `&mut Pool`, or through `&mut` to a value that has the pool in it and shares it with
//!   nobody, which `owners` makes sure of.
//! - **L2** A `Gc` is trusted by nobody. Whether it is an object of the pool is found out at each access: the chunk is looked for in
//!   the pool's table before anything is read there (C1), and the slot is taken (K2).
//! - **L3** What lies at an address that passes L2 is a `T`: a pool has chunks for its own type only, and the layout of a pool in a file
//!   was compared with `T`'s before it was handed out. It need not be the object that the `Gc` was made for.
//! - **L4** A collector keeps no address of an object, nor a pool, from one call to the next without looking it up again: what is
//!   marked is noted by chunk and slot, and counts while a chunk with the same stamp is there.
//!
//! # What survives a crash
//! A pool as the last commit found it. Recovery follows it by its type as it does all containers: each object is the pool's, and stays,
//! whether or not anything leads to it. The next collection frees what nothing leads to.
#![allow(unsafe_code)]

mod access;
mod address_table;
mod chunk;
mod collector;
mod control;
mod error;
mod finalize;
mod gc;
mod objects;
mod persist;
mod tagged;
mod weak;

pub use collector::{Collector, Marked, PoolReport, RootVisitor, Rooted, SourceId, Step};
pub use error::{GcError, NotAnObject};
pub use finalize::{FinalizerId, Finalizers};
pub use gc::Gc;
pub use objects::Objects;
pub use weak::{GcWeak, QueueId};

use crate::collections::{TryReserveError, raw_block};
use crate::gc::trace::layouts::Shape;
use crate::gc::trace::layouts::pool::geometry;
use crate::persist::Trace;
use crate::persist::follow::PoolKind;
use crate::ptr::drop_moved::drop_element;
use chunk::Chunk;
use control::Control;
use core::alloc::Layout;
use core::fmt;
use core::marker::PhantomData;
use core::ptr::NonNull;

/// A pool of objects that are collected.
///
/// It may be on a stack, or in the value of a root of a heap file, alone or beside other pools and other fields. As other collections of
/// this crate it takes its memory from the heap in which it lies when it gets its first object, or else from that of the thread's
/// session.
///
/// Who has the pool has its objects: several threads may read them, and one at a time makes, changes and frees them. Threads that make
/// objects at the same time have a pool each.
///
/// Objects have 2 MiB at most. The smallest slot has 16 bytes; beside the slots there are two bits for each.
///
/// # Layout
/// | offset | bytes | field |
/// |---|---|---|
/// | 0 | 8 | address of the control block; 0 if there never was an object |
///
/// # Example
/// ```
/// use sal::prelude::*;
/// use sal::{Collector, Gc, Pool};
///
/// #[derive(Persist)]
/// #[repr(C)]
/// struct Person {
///     name: SalString,
///     friends: SalVec<Gc<Person>>,
/// }
///
/// let mut people = Pool::new();
/// let [ann, bob, eve] = ["Ann", "Bob", "Eve"].map(|name| {
///     people.insert(Person { name: name.into(), friends: SalVec::new() })
/// });
/// people[ann].friends.push(bob);
/// people[bob].friends.push(ann); // a cycle
///
/// let collector = Collector::new();
/// let kept = collector.root(ann);
/// assert_eq!(collector.collect(&mut people)?.freed, 1);
/// assert_eq!(people.get(bob).map(|bob| &*bob.name), Some("Bob"));
/// assert!(people.get(eve).is_none());
///
/// drop(kept);
/// collector.collect(&mut people)?;
/// assert!(people.is_empty());
/// # Ok::<(), sal::pool::GcError>(())
/// ```
#[repr(transparent)]
pub struct Pool<T> {
    control: Option<NonNull<Control>>,
    owned: PhantomData<T>,
}

const _: () = assert!(size_of::<Pool<u64>>() == crate::gc::trace::layouts::pool::SIZE);

// SAFETY: by L1 a pool owns its objects as a vector does its elements.
unsafe impl<T: Send> Send for Pool<T> {}
// SAFETY: as above; a shared pool hands out shared objects only.
unsafe impl<T: Sync> Sync for Pool<T> {}

/// Drops the object at an address.
///
/// # Safety
/// A `T` lies there, which is dropped by nobody else, nor used any more.
unsafe fn drop_object<T>(object: *mut u8) {
    // SAFETY: the caller's promise.
    unsafe { drop_element(object.cast::<T>()) }
}

impl<T> Pool<T> {
    /// A pool without objects. It owns no block and belongs to no heap.
    pub const fn new() -> Self {
        Self { control: None, owned: PhantomData }
    }

    #[inline(always)]
    fn control(&self) -> Option<&Control> {
        // SAFETY: L1.
        self.control.map(|control| unsafe { control.as_ref() })
    }

    #[inline(always)]
    fn control_mut(&mut self) -> Option<&mut Control> {
        // SAFETY: L1.
        self.control.map(|mut control| unsafe { control.as_mut() })
    }

    /// How many objects there are, those included that nothing leads to and that have not been collected yet.
    pub fn len(&self) -> usize {
        self.control().map_or(0, |control| control.len as usize)
    }

    /// Whether there is no object.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: Trace> Pool<T> {
    /// What is done with the pool's objects. Types whose objects are too large do not compile.
    const KIND: &'static PoolKind = &PoolKind::of::<T>(drop_object::<T>);

    /// Bytes that the pool has for objects, taken or not, with what it needs beside them.
    ///
    /// ```
    /// use sal::Pool;
    ///
    /// let mut pool = Pool::new();
    /// (0..16_128_u128).map(|number| pool.insert(number)).for_each(|_| ());
    /// // All slots of one chunk: less than two hundredths are not objects.
    /// assert!(pool.reserved_bytes() * 100 <= pool.len() * 16 * 102);
    /// ```
    pub fn reserved_bytes(&self) -> usize {
        self.control().map_or(0, |control| control.chunks_len() * Self::KIND.geometry.chunk)
    }

    /// The control block, made if there is none.
    #[cold]
    #[inline(never)]
    fn make_control(&mut self) -> Result<&mut Control, TryReserveError> {
        if self.control.is_none() {
            let place = core::ptr::from_ref(&*self).addr();
            let block = raw_block::allocate_for(place, Layout::new::<Control>())?.cast::<Control>();
            // SAFETY: a new block of the right layout.
            unsafe { block.write(Control::default()) };
            self.control = Some(block);
        }
        // SAFETY: L1; just made if it was not there.
        Ok(unsafe { self.control.unwrap_unchecked().as_mut() })
    }

    /// Panics if what the invariants say does not hold; for tests. Takes time for every slot.
    #[doc(hidden)]
    pub fn check(&self) {
        if let Some(control) = self.control() {
            control.check(&Self::KIND.geometry);
        }
    }
}

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Drop for Pool<T> {
    fn drop(&mut self) {
        let Some(control) = self.control.take() else { return };
        // There is a control block, so there are chunks for such objects.
        let Some(geometry) = (const { geometry(Shape::of::<T>()) }) else { return };
        // SAFETY: L1: the pool goes away, and with it the control block, which is moved out; C1 and C2 say what there is to drop and
        // to free. Nothing is written to any of it (D1 of `ptr::drop_moved`). If an object panics, what is left stays allocated.
        unsafe {
            let inside = control.read();
            let chunks: Vec<Chunk> = inside.chunks().collect();
            for &chunk in &chunks {
                if core::mem::needs_drop::<T>() {
                    for word in 0..geometry.words {
                        let mut taken = *chunk.taken(word);
                        while taken != 0 {
                            let slot = word * 64 + taken.trailing_zeros() as usize;
                            taken &= taken - 1;
                            drop_object::<T>(chunk.slot(&geometry, slot).as_ptr());
                        }
                    }
                }
                raw_block::deallocate(chunk.block(), chunk::layout(&geometry));
            }
            raw_block::deallocate(control.cast(), Layout::new::<Control>());
        }
    }
}

impl<T> fmt::Debug for Pool<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("len", &self.len()).finish_non_exhaustive()
    }
}
