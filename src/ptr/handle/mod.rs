//! Handles: counted pointers to objects that may be moved.
//!
//! # Invariants
//! - **D1** A handle counts as one in its entry's count, and the entry leads to a finished object whose value is a `T`.
//! - **D2** A value to which an entry led is dropped, and its object given up, when no pin is left of those that there were when the
//!   entry ceased to lead there; nobody drops it otherwise.
//! - **D3** A value never changes as long as anybody may see it.
#![allow(unsafe_code)]

mod end;
mod make;
mod movable;
mod persist;
mod pinned;
mod traits;
mod weak;

pub use make::SalMovable;
pub use movable::Movable;
pub use pinned::Pinned;
pub use weak::WeakHandle;

use super::tagged::Tagged;
use super::target::Target;
use super::weak_table;
use crate::SalAlloc;
use crate::alloc::ref_count::Dropped;
use crate::error::UpdateError;
use crate::handle::moving::Entry;
use crate::handle::object::Shape;
use crate::handle::sample;
use crate::heap::{counted, former, in_session, unknown_counts};
use core::marker::PhantomData;
use core::ptr::NonNull;

/// A pointer to a value that the heap may move, which any number of others share.
///
/// It takes 8 bytes and has a niche. Where the value lies, an entry in the heap says; so [`compact`](SalMovable::compact) can move
/// values together, those that are used often above all, without anybody noticing: who reads has a [pin](Pinned), and references
/// live as long as that. Cloning and dropping a handle is what it is for [`SalRc`](crate::SalRc).
///
/// A value does not change. [`Handle::update`] puts another one in its place: who reads sees the old one or the new one, whole. The old
/// one is dropped when nobody can see it any more, which may be a little later and on another thread; so is one whose last
/// handle is gone.
///
/// ```
/// use sal::{Handle, HeapOptions, SalMovable};
///
/// let heap = HeapOptions::new().volatile()?;
/// let name = heap.handle(String::from("old"));
/// let pin = heap.pin();
/// let old = name.get(&pin);
/// name.update(String::from("new"))?;
/// assert_eq!((old.as_str(), name.get(&pin).as_str()), ("old", "new"));
/// # Ok::<(), sal::Error>(())
/// ```
///
/// A handle of one type is none of another, also where values of the one are values of the other: what is put there has to be one of both.
///
/// ```compile_fail
/// use sal::Handle;
/// fn shorter<'a>(handle: Handle<Box<dyn Fn(&'static str) + Send + Sync>>) -> Handle<Box<dyn Fn(&'a str) + Send + Sync>> {
///     handle
/// }
/// ```
#[repr(transparent)]
pub struct Handle<T: ?Sized + Target> {
    entry: Tagged<Entry>,
    /// A `T` is taken out and put in.
    of: PhantomData<fn(*const T) -> *const T>,
}

const _: () = {
    use crate::gc::trace::layouts::handle;
    assert!(size_of::<Option<Handle<str>>>() == 8 && size_of::<Entry>() == handle::ENTRY);
    // `handle::moving` says so, too.
    assert!(handle::LOCATION == 0 && handle::FORMER == 8);
};

// SAFETY: as for `Arc`: whoever has a handle may read the value, and any thread may drop it.
unsafe impl<T: ?Sized + Target + Send + Sync> Send for Handle<T> {}
// SAFETY: as above.
unsafe impl<T: ?Sized + Target + Send + Sync> Sync for Handle<T> {}

impl<T: ?Sized + Target> Handle<T> {
    /// # Safety
    /// The pointer counts as one of those to its entry (D1), and is nobody else's.
    unsafe fn of_entry(entry: Tagged<Entry>) -> Self {
        Self { entry, of: PhantomData }
    }

    #[inline(always)]
    fn entry(&self) -> &Entry {
        // SAFETY: D1.
        unsafe { self.entry.value().as_ref() }
    }

    /// The value as it is at this moment. It stays readable, and stays as it is, as long as the pin does, whatever becomes of the handle.
    #[inline(always)]
    pub fn get<'p>(&self, pin: &'p Pinned<'_>) -> &'p T {
        let _ = pin;
        let location = self.entry().location();
        if sample::is_due() {
            sample::note(self.entry.block().addr().get(), location);
        }
        let object: NonNull<u8> = place(location);
        // SAFETY: D1; the value was reachable while there was a pin, so it is not dropped as long as there is (D2), and does not change
        // (D3).
        unsafe { T::in_block(object).as_ref() }
    }

    /// The handle of the heap in which the value lies.
    pub fn heap(&self) -> SalAlloc {
        counted::heap_of(self.entry.block())
    }

    /// Whether both lead to the same entry, and so to the same value at any time.
    pub fn ptr_eq(&self, other: &Self) -> bool {
        self.entry.word() == other.entry.word()
    }

    /// The handles of the value at this moment, weak ones not counted; see [`SalRc::strong_count`](crate::SalRc::strong_count).
    pub fn strong_count(&self) -> usize {
        self.entry.count().number().unwrap_or(usize::MAX)
    }

    /// The weak handles of the value at this moment.
    pub fn weak_count(&self) -> usize {
        weak_table::number(self.entry.block().addr().get())
    }

    /// A handle that does not keep the value.
    pub fn downgrade(&self) -> WeakHandle<T> {
        // Together, as for `SalRc`.
        weak_table::add_first(self.entry.block().addr().get(), || self.entry.count().note_weak());
        // SAFETY: it has just been added.
        unsafe { WeakHandle::of_entry(self.entry) }
    }
}

impl<T: Movable> Handle<T> {
    /// Puts another value in place of the one that there is, for all who have a handle of it. Who has a pin may go on reading the old one.
    ///
    /// In a heap with sessions that is a write session of its own, or part of the one that the thread has: a commit has the old value or the
    /// new one.
    ///
    /// # Errors
    /// [`UpdateError::Session`] if the heap cannot be changed, [`UpdateError::OutOfMemory`] without room for the value, which is dropped then.
    pub fn update(&self, value: T) -> Result<(), UpdateError> {
        let heap = self.heap();
        in_session(heap, || {
            let new = make::object(heap, self.entry.block(), value).ok_or(UpdateError::OutOfMemory)?;
            former::keep(heap, self.entry());
            let old = self.entry().replace(new);
            // SAFETY: the entry led there and does not any more; its handle is alive.
            unsafe { end::replaced::<T>(old) };
            Ok(())
        })?
    }

    /// Puts what `change` makes of the value in its place. It is called again if somebody else has put another value there meanwhile.
    ///
    /// # Errors
    /// As for [`Handle::update`].
    ///
    /// ```
    /// use sal::{HeapOptions, SalMovable};
    /// let heap = HeapOptions::new().volatile()?;
    /// let seven = heap.handle(7_u64);
    /// seven.update_with(|old| old + 1)?;
    /// assert_eq!(*seven.get(&heap.pin()), 8);
    /// # Ok::<(), sal::Error>(())
    /// ```
    pub fn update_with(&self, mut change: impl FnMut(&T) -> T) -> Result<(), UpdateError> {
        let heap = self.heap();
        in_session(heap, || {
            let _pin = Pinned::begin();
            loop {
                let from = self.entry().location();
                // SAFETY: as in `get`: there is a pin.
                let value = change(unsafe { place(from).cast::<T>().as_ref() });
                let new = make::object(heap, self.entry.block(), value).ok_or(UpdateError::OutOfMemory)?;
                former::keep(heap, self.entry());
                if self.entry().replace_if(from, new) {
                    // SAFETY: as in `update`.
                    unsafe { end::replaced::<T>(from) };
                    return Ok(());
                }
                // The value was changed, or only moved.
                // SAFETY: nobody has seen it.
                unsafe { end::unused::<T>(new) };
            }
        })?
    }
}

impl<T: ?Sized + Target> Clone for Handle<T> {
    #[inline]
    fn clone(&self) -> Self {
        self.entry.count().retain();
        Self { entry: self.entry, of: PhantomData }
    }
}

impl<T: ?Sized + Target> Drop for Handle<T> {
    #[inline]
    fn drop(&mut self) {
        match self.entry.count().release() {
            Dropped::Shared => {}
            // SAFETY: it was the last.
            Dropped::Last { is_weakly_held } => unsafe { end::last::<T>(self.entry, is_weakly_held) },
            Dropped::Unknown => self.drop_later(),
        }
    }
}

impl<T: ?Sized + Target> Handle<T> {
    /// Keeps the handle until it is known whether it is the last, if that will be known.
    #[cold]
    #[inline(never)]
    fn drop_later(&mut self) {
        unsafe fn drop_handle<T: ?Sized + Target>(block: NonNull<u8>) {
            // SAFETY: the handle counts, and is nobody else's.
            drop(unsafe { Handle::<T>::of_entry(Tagged::of_block(block)) });
        }
        let block = self.entry.block();
        // SAFETY: this handle's part, which nobody else drops.
        if unsafe { unknown_counts::wait(counted::heap_of(block), block, drop_handle::<T>) } {
            return;
        }
        // It has become known just now, or never will be.
        if let Dropped::Last { is_weakly_held } = self.entry.count().release_noted() {
            // SAFETY: it was the last.
            unsafe { end::last::<T>(self.entry, is_weakly_held) };
        }
    }
}

/// An address of a value in a heap.
#[inline(always)]
fn place(location: usize) -> NonNull<u8> {
    // SAFETY: entries lead to values, which lie behind the word of their object.
    unsafe { NonNull::new_unchecked(core::ptr::with_exposed_provenance_mut(location)) }
}

/// The shape of the object of a value.
///
/// # Safety
/// There is a `T` at the address.
#[inline(always)]
unsafe fn shape_of<T: ?Sized + Target>(location: usize) -> Option<Shape> {
    // SAFETY: the caller's promise.
    Shape::of(unsafe { T::layout_of(place(location)) })
}
