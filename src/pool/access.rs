//! Making objects, and reaching, changing and freeing them.
#![allow(unsafe_code)]

use super::error::NotAnObject;
use super::finalize::{Finalizable, FinalizerId, Finalizers};
use super::gc::Gc;
use super::weak::{GcWeak, QueueId};
use super::{Pool, drop_object};
use crate::collections::TryReserveError;
use crate::persist::Trace;
use core::ops::{Index, IndexMut};
use core::ptr::NonNull;

impl<T: Trace> Pool<T> {
    /// Makes an object. It stays until a collection finds that nothing leads to it, or it is freed.
    ///
    /// Aborts through [`handle_alloc_error`](std::alloc::handle_alloc_error) if the heap has no room; [`Pool::try_insert`] says so.
    ///
    /// # Panics
    /// If the pool lies in one heap and its objects in another.
    #[inline]
    #[track_caller]
    pub fn insert(&mut self, value: T) -> Gc<T> {
        match self.try_insert(value) {
            Ok(gc) => gc,
            Err(error) => error.raise(),
        }
    }

    /// Makes an object.
    ///
    /// # Errors
    /// If the heap has no room, or the pool lies in one heap and its objects in another. The value is dropped then.
    #[inline]
    pub fn try_insert(&mut self, value: T) -> Result<Gc<T>, TryReserveError> {
        let slot = match self.control_mut().and_then(|control| control.take_slot(&Self::KIND.geometry)) {
            Some(slot) => slot,
            None => self.slot_in_new_chunk()?,
        };
        let object = slot.cast::<T>();
        // SAFETY: a slot that was free, of the size and alignment of a `T`, and taken for this one (C2).
        unsafe { object.write(value) };
        Ok(Gc::new(object))
    }

    #[cold]
    #[inline(never)]
    fn slot_in_new_chunk(&mut self) -> Result<NonNull<u8>, TryReserveError> {
        let place = core::ptr::from_ref(&*self).addr();
        let geometry = &Self::KIND.geometry;
        let control = self.make_control()?;
        control.add_chunk(place, geometry)?;
        // An empty chunk has free slots.
        control.take_slot(geometry).ok_or(TryReserveError::CapacityOverflow)
    }

    /// The object, if it is one of this pool's and still there.
    #[inline]
    pub fn get(&self, gc: Gc<T>) -> Option<&T> {
        let (chunk, slot) = self.control()?.find(&Self::KIND.geometry, gc.address()).ok()?;
        // SAFETY: an object of the pool's (L2), so a `T` (L3), and the pool is borrowed.
        Some(unsafe { chunk.slot(&Self::KIND.geometry, slot).cast().as_ref() })
    }

    /// The object, to change it; also tells later collections that it may have been changed.
    #[inline]
    pub fn get_mut(&mut self, gc: Gc<T>) -> Option<&mut T> {
        let geometry = &Self::KIND.geometry;
        let (chunk, slot) = self.control_mut()?.find(geometry, gc.address()).ok()?;
        // SAFETY: as in `get`; the pool is borrowed exclusively.
        unsafe {
            chunk.note_change(geometry, slot);
            Some(chunk.slot(geometry, slot).cast().as_mut())
        }
    }

    /// Whether it is an object of this pool.
    pub fn contains(&self, gc: Gc<T>) -> bool {
        self.get(gc).is_some()
    }

    /// The object that an address falls into, at its start or inside: any address will do, and nothing is read there.
    ///
    /// ```
    /// use sal::Pool;
    ///
    /// let mut pool = Pool::new();
    /// let gc = pool.insert([7_u64; 4]);
    /// assert_eq!(pool.locate(&raw const pool[gc][3] as usize), Some(gc));
    /// assert_eq!(pool.locate(&raw const pool as usize), None);
    /// ```
    pub fn locate(&self, address: usize) -> Option<Gc<T>> {
        let geometry = &Self::KIND.geometry;
        let start = address & !(geometry.chunk - 1);
        let chunk = self.control()?.chunk(start)?;
        let (slot, _) = geometry.slot_of(address - start)?;
        // SAFETY: K1, and a slot of the geometry; if it is taken, a `T` lies there (L3).
        unsafe { chunk.is_taken(slot).then(|| Gc::new(chunk.slot(geometry, slot).cast())) }
    }

    /// Takes an object out of the pool. Whatever else leads to it leads nowhere then, and later perhaps to another object that has
    /// its place.
    ///
    /// # Errors
    /// If it is no object of the pool: one that was freed before, or is in another pool.
    pub fn remove(&mut self, gc: Gc<T>) -> Result<T, NotAnObject> {
        let geometry = &Self::KIND.geometry;
        let control = self.control_mut().ok_or(NotAnObject::Foreign)?;
        let (chunk, slot) = control.find(geometry, gc.address())?;
        // SAFETY: an object of the pool's, which is none any more before it is read, once; its slot is not used meanwhile.
        unsafe {
            let object = chunk.slot(geometry, slot).cast::<T>();
            control.vacate(geometry, chunk, slot);
            let value = object.read();
            if chunk.is_scrubbed() {
                chunk.scrub(geometry, slot);
            }
            control.release_if_empty(geometry, chunk, true);
            Ok(value)
        }
    }

    /// Drops an object now, as a collection would.
    ///
    /// # Errors
    /// As for [`Pool::remove`].
    ///
    /// ```
    /// use sal::Pool;
    /// use sal::pool::NotAnObject;
    ///
    /// let (mut pool, mut other) = (Pool::new(), Pool::new());
    /// let (gc, foreign) = (pool.insert(1_u64), other.insert(1_u64));
    /// assert_eq!(pool.free(gc), Ok(()));
    /// assert_eq!(pool.free(gc), Err(NotAnObject::Free));
    /// assert_eq!(pool.free(foreign), Err(NotAnObject::Foreign));
    /// ```
    pub fn free(&mut self, gc: Gc<T>) -> Result<(), NotAnObject> {
        self.remove(gc).map(drop)
    }

    /// A pointer to an object that does not keep it.
    ///
    /// # Errors
    /// [`NotAnObject`] if it is none. Aborts if there is no memory, as [`Pool::insert`] does.
    ///
    /// ```
    /// use sal::{Collector, Pool};
    ///
    /// let mut pool = Pool::new();
    /// let gc = pool.insert(7_u64);
    /// let weak = pool.downgrade(gc)?;
    /// assert_eq!(pool.upgrade(weak), Some(gc));
    /// Collector::new().collect(&mut pool)?;
    /// assert_eq!(pool.upgrade(weak), None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn downgrade(&mut self, gc: Gc<T>) -> Result<GcWeak<T>, NotAnObject> {
        self.weak(gc, None)
    }

    /// As [`Pool::downgrade`]; the pointer is put in a queue when the object goes, whether it is collected or freed.
    ///
    /// # Errors
    /// As for [`Pool::downgrade`].
    pub fn downgrade_with_queue(&mut self, gc: Gc<T>, queue: QueueId) -> Result<GcWeak<T>, NotAnObject> {
        self.weak(gc, Some(queue))
    }

    #[track_caller]
    fn weak(&mut self, gc: Gc<T>, queue: Option<QueueId>) -> Result<GcWeak<T>, NotAnObject> {
        let control = self.control_mut().ok_or(NotAnObject::Foreign)?;
        control.find(&Self::KIND.geometry, gc.address())?;
        match control.weak.entry(gc.address(), queue) {
            Ok(entry) => Ok(GcWeak::new(entry)),
            Err(error) => error.raise(),
        }
    }

    /// The object that a weak pointer was made for, if it is still there.
    pub fn upgrade(&self, weak: GcWeak<T>) -> Option<Gc<T>> {
        let target = self.control()?.weak.target(weak.entry())?;
        self.locate(target)
    }

    /// Takes the weak pointers out of a queue whose objects have gone, in the order in which they went.
    pub fn take_cleared(&mut self, queue: QueueId) -> Vec<GcWeak<T>> {
        let cleared = self.control_mut().map_or_else(Vec::new, |control| control.weak.take_cleared(queue));
        cleared.into_iter().map(GcWeak::new).collect()
    }

    /// Arms an object with a finalizer, in place of the one that it had. What finalizing means, [`Pool::finalize`] says.
    ///
    /// # Errors
    /// [`NotAnObject`] if it is none. Aborts if there is no memory, as [`Pool::insert`] does.
    pub fn arm(&mut self, gc: Gc<T>, finalizer: FinalizerId) -> Result<(), NotAnObject> {
        let control = self.control_mut().ok_or(NotAnObject::Foreign)?;
        control.find(&Self::KIND.geometry, gc.address())?;
        match control.armed.insert(gc.address(), finalizer.0 as usize) {
            Ok(_) => Ok(()),
            Err(error) => error.raise(),
        }
    }

    /// Takes an object's finalizer away, also one that waits already; whether it had one.
    pub fn disarm(&mut self, gc: Gc<T>) -> bool {
        let Some(control) = self.control_mut() else { return false };
        let waiting = control.ready.len();
        control.ready.retain(|ready| ready.object != gc.address());
        control.armed.remove(gc.address()).is_some() || control.ready.len() < waiting
    }

    /// Objects that were found dead and wait for their finalizers, with the numbers of these. They, and all that they lead to,
    /// stay for as long as they wait.
    pub fn finalizable(&self) -> Vec<(Gc<T>, FinalizerId)> {
        let ready = self.control().map_or(&[][..], |control| control.ready.as_slice());
        ready.iter().filter_map(|ready| Some((self.locate(ready.object)?, FinalizerId(ready.id as u32)))).collect()
    }

    /// Calls the finalizers of objects that were found dead, those whose numbers stand for something in this process; returns how many.
    ///
    /// A finalizer has the pool, and may do with it what it likes. If it makes something that stays lead to the object, the
    /// object is alive again: it is as any other that has no finalizer, and is not finalized a second time unless it is
    /// [armed](Pool::arm) again. Otherwise the next collection frees it.
    ///
    /// ```
    /// use sal::pool::{FinalizerId, Finalizers};
    /// use sal::{Collector, Pool};
    ///
    /// const SAY: FinalizerId = FinalizerId(1);
    /// let mut said = Vec::new();
    /// let mut finalizers = Finalizers::new();
    /// finalizers.register(SAY, |pool: &mut Pool<u64>, gc| said.push(pool[gc]));
    ///
    /// let (mut pool, collector) = (Pool::new(), Collector::new());
    /// let gc = pool.insert(7);
    /// pool.arm(gc, SAY)?;
    /// assert_eq!(collector.collect(&mut pool)?.freed, 0); // it waits
    /// assert_eq!(pool.finalize(&mut finalizers), 1);
    /// assert_eq!(collector.collect(&mut pool)?.freed, 1);
    /// drop(finalizers);
    /// assert_eq!(said, [7]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn finalize(&mut self, finalizers: &mut Finalizers<'_, T>) -> usize {
        let waiting = self.control().map_or(0, |control| control.ready.len());
        let (mut at, mut called) = (0, 0);
        for _ in 0..waiting {
            let Some(control) = self.control_mut() else { break };
            let Some(&Finalizable { object, id }) = control.ready.get(at) else { break };
            let id = FinalizerId(id as u32);
            if !finalizers.knows(id) {
                at += 1;
                continue;
            }
            control.ready.remove(at);
            if let Some(gc) = self.locate(object) {
                finalizers.call(id, self, gc);
                called += 1;
            }
        }
        called
    }

    /// Lets only each `collections`th collection free objects of this pool, for one in which little dies: the others leave what they find
    /// dead, and do not pay for it. With 1, which it is at first, each one frees.
    pub fn sweep_every(&mut self, collections: u32) -> Result<(), TryReserveError> {
        self.make_control()?.sweep_every = collections;
        Ok(())
    }
}

impl<T: Trace> Index<Gc<T>> for Pool<T> {
    type Output = T;

    /// # Panics
    /// If it is no object of the pool.
    #[inline]
    #[track_caller]
    fn index(&self, gc: Gc<T>) -> &T {
        match self.get(gc) {
            Some(object) => object,
            None => no_object(gc.address()),
        }
    }
}

impl<T: Trace> IndexMut<Gc<T>> for Pool<T> {
    /// # Panics
    /// If it is no object of the pool.
    #[inline]
    #[track_caller]
    fn index_mut(&mut self, gc: Gc<T>) -> &mut T {
        match self.get_mut(gc) {
            Some(object) => object,
            None => no_object(gc.address()),
        }
    }
}

#[cold]
#[track_caller]
fn no_object(address: usize) -> ! {
    panic!("there is no object at {address:#x} in this pool")
}

// What the sweep is given drops as `free` does.
const _: unsafe fn(*mut u8) = drop_object::<u64>;
