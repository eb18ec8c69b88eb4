//! A pointer that has a value alone.

use super::drop_later;
use super::sal_rc::{SalRc, drop_and_free};
use super::target::{CloneTarget, Target};
use crate::SalAlloc;
use crate::gc::trace::layouts::id;
use crate::persist::{BlockVisitor, Describer, Node, Persist};
use allocator_api2::alloc::AllocError;
use core::borrow::{Borrow, BorrowMut};
use core::cmp::Ordering;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::mem::ManuallyDrop;
use core::ops::{Deref, DerefMut};
use std::alloc::handle_alloc_error;

/// A pointer that owns a value in a heap: a [`Box`] of 8 bytes without a handle.
///
/// It can become a [`SalRc`] and, if nobody else has the value by then, come back from one, without copying.
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

/// Among the containers' ids.
const CONTAINER_ID: u64 = id::SAL_BOX;

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
    /// The pointer, if there are others.
    pub fn try_from_rc(mut shared: SalRc<T>) -> Result<Self, SalRc<T>> {
        if SalRc::get_mut(&mut shared).is_some() { Ok(Self::of(shared)) } else { Err(shared) }
    }

    /// The handle of the heap in which the value lies.
    pub fn heap(this: &Self) -> SalAlloc {
        SalRc::heap(&this.only)
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
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the box has the only pointer, whatever is known of their number, and is borrowed.
        unsafe { self.only.tagged().value().as_mut() }
    }
}

impl<T: ?Sized + Target> Drop for SalBox<T> {
    #[inline]
    fn drop(&mut self) {
        let block = self.only.tagged().block();
        // SAFETY: the box has the value alone, and ends here.
        unsafe {
            if T::NEEDS_DROP {
                drop_later::run(block, drop_and_free::<T>);
            } else {
                drop_and_free::<T>(block);
            }
        }
    }
}

/// Without copying.
impl<T: ?Sized + Target> From<SalBox<T>> for SalRc<T> {
    fn from(boxed: SalBox<T>) -> Self {
        SalBox::into_rc(boxed)
    }
}

/// In the heap that [`SalBox::new`] would choose.
impl<T: 'static> From<T> for SalBox<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

/// A copy, in the heap that [`SalBox::new`] would choose.
impl From<&str> for SalBox<str> {
    fn from(text: &str) -> Self {
        Self::of(text.into())
    }
}

/// A copy, in the heap that [`SalBox::new`] would choose.
impl<T: Clone + 'static> From<&[T]> for SalBox<[T]> {
    fn from(elements: &[T]) -> Self {
        Self::of(elements.into())
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

impl<T: Default + 'static> Default for SalBox<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: ?Sized + Target> AsRef<T> for SalBox<T> {
    fn as_ref(&self) -> &T {
        self
    }
}

impl<T: ?Sized + Target> AsMut<T> for SalBox<T> {
    fn as_mut(&mut self) -> &mut T {
        self
    }
}

impl<T: ?Sized + Target> Borrow<T> for SalBox<T> {
    fn borrow(&self) -> &T {
        self
    }
}

impl<T: ?Sized + Target> BorrowMut<T> for SalBox<T> {
    fn borrow_mut(&mut self) -> &mut T {
        self
    }
}

impl<T: ?Sized + Target + PartialEq> PartialEq for SalBox<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: ?Sized + Target + Eq> Eq for SalBox<T> {}

impl<T: ?Sized + Target + PartialOrd> PartialOrd for SalBox<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (**self).partial_cmp(&**other)
    }
}

impl<T: ?Sized + Target + Ord> Ord for SalBox<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (**self).cmp(&**other)
    }
}

impl<T: ?Sized + Target + Hash> Hash for SalBox<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl<T: ?Sized + Target + fmt::Debug> fmt::Debug for SalBox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + Target + fmt::Display> fmt::Display for SalBox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

// SAFETY: as for `SalRc`, and described as another container.
unsafe impl<T: Persist> Persist for SalBox<T> {
    const OWNS_BLOCKS: bool = true;

    fn describe(describer: &mut Describer) -> Node {
        let of = describer.node_of::<T>();
        Node::container::<Self>(CONTAINER_ID, "SalBox", 1, vec![of])
    }

    fn visit_blocks(&self, visitor: &mut BlockVisitor<'_>) {
        self.only.visit_blocks(visitor);
    }
}

#[cfg(feature = "serde")]
impl<T: ?Sized + Target + serde::Serialize> serde::Serialize for SalBox<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (**self).serialize(serializer)
    }
}

#[cfg(feature = "serde")]
impl<'de, T: serde::Deserialize<'de> + 'static> serde::Deserialize<'de> for SalBox<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self::new)
    }
}
