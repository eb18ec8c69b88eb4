//! A pointer that has a value alone.

mod from;
mod persist;
mod raw;
#[cfg(feature = "serde")]
mod serde;
mod traits;

use super::drop_later;
use super::sal_rc::{SalRc, drop_and_free};
use super::tagged::Tagged;
use super::target::{CloneTarget, Target};
use crate::SalAlloc;
use crate::heap::counted;
use allocator_api2::alloc::AllocError;
use core::mem::ManuallyDrop;
use core::ops::{Deref, DerefMut};
use std::alloc::handle_alloc_error;

/// A pointer that owns a value in a heap: a [`Box`] of 8 bytes without a handle.
///
/// It can become a [`SalRc`] and, if nobody else has the value by then, come back from one, without copying.
///
/// Unlike a `Box` it cannot be pinned with a value that must not be moved: changing the value may move it to another block. See
/// [`SalRc::pin`] for that.
///
/// ```
/// use sal::SalBox;
/// let mut boxed = SalBox::new([1, 2, 3]);
/// boxed[0] = 7;
/// let shared = SalBox::into_rc(boxed);
/// let boxed = SalBox::try_from_rc(shared).expect("nobody else has it");
/// assert_eq!(*boxed, [7, 2, 3]);
/// ```
#[repr(transparent)]
pub struct SalBox<T: ?Sized + Target> {
    /// The only pointer, whatever its block's count says of their number; there are no weak ones.
    only: ManuallyDrop<SalRc<T>>,
}

const _: () = assert!(size_of::<Option<SalBox<[u64]>>>() == 8);

// SAFETY: as for `Box`: the value is reached through the box alone, weak pointers to it there are none, and what shares it once it has
// become a `SalRc` can be sent only if `T` is `Sync` too. Which thread drops a value makes no difference to its block; a box does not
// wait until pointers are counted, but is dropped by its thread.
unsafe impl<T: ?Sized + Target + Send> Send for SalBox<T> {}
// SAFETY: as for `Box`: a shared box gives shared references to its value, and no more.
unsafe impl<T: ?Sized + Target + Sync> Sync for SalBox<T> {}

impl<T: 'static> SalBox<T> {
    /// Puts a value into the heap of the thread's newest write session, or into the process's default heap if there is none.
    ///
    /// A heap without room for it is a call of [`handle_alloc_error`]; see [`SalBox::try_new_in`].
    #[inline]
    pub fn new(value: T) -> Self {
        Self::of(SalRc::new(value))
    }

    /// Puts a value into a heap; as [`SalBox::new`] otherwise.
    #[inline]
    pub fn new_in(value: T, heap: SalAlloc) -> Self {
        Self::of(SalRc::new_in(value, heap))
    }

    /// Puts a value into a heap, and drops it if there is no room.
    ///
    /// # Errors
    /// As [`SalRc::try_new_in`].
    #[inline]
    pub fn try_new_in(value: T, heap: SalAlloc) -> Result<Self, AllocError> {
        Ok(Self::of(SalRc::try_new_in(value, heap)?))
    }

    /// The value.
    #[inline]
    pub fn into_inner(this: Self) -> T {
        let pointer = ManuallyDrop::new(this).only.tagged();
        // SAFETY: the box has the value alone, and is not dropped any more.
        unsafe {
            pointer.give_up();
            let value = pointer.value().read();
            pointer.free();
            value
        }
    }
}

impl<T: ?Sized + Target> SalBox<T> {
    /// Of a pointer that is the only one.
    fn of(only: SalRc<T>) -> Self {
        Self { only: ManuallyDrop::new(only) }
    }

    /// The value, to be shared; without copying.
    pub fn into_rc(this: Self) -> SalRc<T> {
        let pointer = ManuallyDrop::new(this).only.tagged();
        // SAFETY: the box's own pointer, which is not dropped any more.
        unsafe { SalRc::of_tagged(pointer) }
    }

    /// The value alone, if there is no other pointer to it, weak ones included; without copying.
    ///
    /// # Errors
    /// The pointer, if there are others; or if the value is sealed and owns something in a [`Mode::Shared`](crate::Mode::Shared) heap,
    /// where that may not be changed either.
    pub fn try_from_rc(mut shared: SalRc<T>) -> Result<Self, SalRc<T>> {
        if shared.is_alone() && !shared.is_withheld() { Ok(Self::of(shared)) } else { Err(shared) }
    }

    /// The handle of the heap in which the value lies.
    pub fn heap(this: &Self) -> SalAlloc {
        SalRc::heap(&this.only)
    }

    /// Moves the value to a new block, if it is sealed.
    #[cold]
    #[inline(never)]
    fn leave_sealed(&mut self) {
        let (old, layout) = (self.only.tagged(), (**self).block_layout());
        let block = old.block();
        // SAFETY: the box's own block, of this layout.
        if !unsafe { counted::is_sealed(block, layout) } {
            return;
        }
        let Some(new) = counted::allocate_near(block, layout) else { handle_alloc_error(layout) };
        // SAFETY: both blocks have this layout; the value moves, and the old block, which nobody else has, goes without it (G1).
        unsafe {
            new.copy_from_nonoverlapping(block, layout.size());
            counted::begin(new, layout);
            self.only = ManuallyDrop::new(SalRc::of_tagged(Tagged::of_block(new)));
            old.give_up();
            old.free();
        }
    }
}

impl<T: ?Sized + Target> Deref for SalBox<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        &self.only
    }
}

impl<T: ?Sized + Target> DerefMut for SalBox<T> {
    /// A value that a sync has sealed ([`SealPolicy`](crate::SealPolicy)) moves to a block of its own first. A heap without room for
    /// that is a call of [`handle_alloc_error`].
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        let pointer = self.only.tagged();
        if !counted::is_young(pointer.count()) {
            self.leave_sealed();
        }
        // SAFETY: the box has the only pointer, whatever is known of their number, and is borrowed.
        unsafe { self.only.tagged().value().as_mut() }
    }
}

impl<T: ?Sized + Target> Drop for SalBox<T> {
    #[inline]
    fn drop(&mut self) {
        let pointer = self.only.tagged();
        let block = pointer.block();
        // SAFETY: the box has the value alone, and ends here.
        unsafe {
            pointer.give_up();
            if T::NEEDS_DROP {
                drop_later::run(block, drop_and_free::<T>);
            } else {
                drop_and_free::<T>(block);
            }
        }
    }
}

/// A value of its own, in the same heap.
impl<T: ?Sized + CloneTarget> Clone for SalBox<T> {
    fn clone(&self) -> Self {
        match (**self).copy_to(Self::heap(self)) {
            Some(only) => Self::of(only),
            None => handle_alloc_error((**self).block_layout()),
        }
    }
}
