//! Pointers that share a value.
//!
//! # Invariants
//! - **S1** A pointer counts as one in its block's count, and its value is alive.
//! - **S2** A value is changed only by who has the only pointer to it.
#![allow(unsafe_code)]

mod cyclic;
mod from;
mod make;
mod mutate;
mod persist;
pub(super) mod raw;
#[cfg(feature = "serde")]
mod serde;
mod traits;

#[cfg(feature = "archery")]
pub(super) use make::current_heap;

use super::drop_later;
use super::sal_weak::SalWeak;
use super::tagged::Tagged;
use super::target::Target;
use super::weak_table;
use crate::SalAlloc;
use crate::alloc::ref_count::Dropped;
use crate::heap::{counted, unknown_counts};
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ops::Deref;
use core::ptr::{self, NonNull};

/// A pointer to a value in a heap that any number of others share: an [`Arc`](std::sync::Arc) that may lie in a heap file.
///
/// It takes 8 bytes, has a niche for `None`, and holds no handle: its value's address tells the heap. The number of pointers is
/// kept apart from the value, in memory that no commit holds, so cloning and dropping a pointer changes nothing that a sync
/// would have to write. The value is dropped, and its memory given back, with the last pointer; a chain of any length
/// without recursion.
///
/// [`SalRc::make_mut`] is for structures that share what they have in common: it changes the value in place if nobody else has
/// a pointer to it, and a copy otherwise. A clone of a pointer is therefore a version that nothing changes any more.
///
/// A number of pointers beyond 2²⁶ is not counted any more; such a value is never dropped.
///
/// Values of known size, slices and `str` can be pointed to; slices and texts keep their length beside them.
///
/// ```
/// use sal::SalRc;
///
/// let mut list = SalRc::new(vec![1, 2, 3]);
/// let version = SalRc::clone(&list);
/// SalRc::make_mut(&mut list).push(4); // copied, since `version` has it too
/// SalRc::make_mut(&mut list).push(5); // in place
/// assert_eq!((list.len(), version.len()), (5, 3));
/// ```
#[repr(transparent)]
pub struct SalRc<T: ?Sized + Target> {
    pointer: Tagged<T>,
    owns: PhantomData<T>,
}

const _: () = assert!(size_of::<Option<SalRc<[u64]>>>() == 8 && size_of::<Option<SalRc<u8>>>() == 8);

// SAFETY: as for `Arc`: whoever has a pointer may read the value, and the last one drops it.
unsafe impl<T: ?Sized + Target + Send + Sync> Send for SalRc<T> {}
// SAFETY: as above.
unsafe impl<T: ?Sized + Target + Send + Sync> Sync for SalRc<T> {}

impl<T: ?Sized + Target> SalRc<T> {
    /// # Safety
    /// The pointer counts as one of those to its value (S1), and is nobody else's.
    #[inline(always)]
    pub(super) unsafe fn of_tagged(pointer: Tagged<T>) -> Self {
        Self { pointer, owns: PhantomData }
    }

    /// The pointer, which still counts.
    #[inline(always)]
    pub(super) fn into_tagged(self) -> Tagged<T> {
        ManuallyDrop::new(self).pointer
    }

    #[inline(always)]
    pub(super) fn tagged(&self) -> Tagged<T> {
        self.pointer
    }

    /// The handle of the heap in which the value lies.
    #[inline]
    pub fn heap(this: &Self) -> SalAlloc {
        counted::heap_of(this.pointer.block())
    }

    /// Whether both lead to the same value, not only to equal ones.
    #[inline]
    pub fn ptr_eq(this: &Self, other: &Self) -> bool {
        this.pointer.word() == other.pointer.word()
    }

    /// The value's address.
    #[inline]
    pub fn as_ptr(this: &Self) -> *const T {
        this.pointer.value().as_ptr()
    }

    /// The pointers to the value at this moment, weak ones not counted. Others may change it at any time. While a heap's
    /// pointers are still being counted after a crash, those of before are not known: then the answer is `usize::MAX`.
    pub fn strong_count(this: &Self) -> usize {
        this.pointer.count().number().unwrap_or(usize::MAX)
    }

    /// The weak pointers to the value at this moment.
    pub fn weak_count(this: &Self) -> usize {
        weak_table::number(this.pointer.block().addr().get())
    }

    /// A pointer that does not keep the value alive.
    pub fn downgrade(this: &Self) -> SalWeak<T> {
        // Together: whoever finds no entry, under the same lock, takes the note back.
        weak_table::add_first(this.pointer.block().addr().get(), || this.pointer.count().note_weak());
        SalWeak::of_tagged(this.pointer)
    }

    /// Keeps the pointer until it is known whether it is the last, if that will be known.
    #[cold]
    #[inline(never)]
    fn drop_later(&mut self) {
        let block = self.pointer.block();
        // SAFETY: this pointer's part, which nobody else drops.
        if unsafe { unknown_counts::wait(counted::heap_of(block), block, drop_pointer::<T>) } {
            return;
        }
        // It has become known just now, or never will be.
        if let Dropped::Last { is_weakly_held } = self.pointer.count().release_noted() {
            self.drop_last(is_weakly_held);
        }
    }

    /// Drops the value with its last pointer.
    #[cold]
    #[inline(never)]
    fn drop_last(&mut self, is_weakly_held: bool) {
        let block = self.pointer.block();
        let finish = if is_weakly_held { bury::<T> } else { drop_and_free::<T> };
        // SAFETY: it was the last pointer, and the value is dropped once (N2).
        unsafe {
            if T::NEEDS_DROP {
                drop_later::run(block, finish);
            } else {
                finish(block);
            }
        }
    }
}

/// Drops a pointer to a block.
///
/// # Safety
/// The pointer counts, and is nobody else's.
unsafe fn drop_pointer<T: ?Sized + Target>(block: NonNull<u8>) {
    // SAFETY: the caller's promise.
    drop(unsafe { SalRc::<T>::of_tagged(Tagged::of_block(block)) });
}

/// Frees a block, also if dropping its value panics.
struct Freed<T: ?Sized + Target>(Tagged<T>);

impl<T: ?Sized + Target> Drop for Freed<T> {
    fn drop(&mut self) {
        // SAFETY: its maker's promise.
        unsafe { self.0.free() };
    }
}

/// Drops the value in a block: one that is sealed after it was moved out, since a value may write to itself when it is dropped.
///
/// # Safety
/// It is dropped by nobody else, nor used any more.
#[inline(always)]
unsafe fn drop_value<T: ?Sized + Target>(pointer: Tagged<T>) {
    // SAFETY: the caller's promise.
    unsafe {
        if T::NEEDS_DROP && !counted::is_young(pointer.count()) {
            let _withholding = counted::withhold(pointer.block());
            T::drop_moved(pointer.value());
        } else {
            ptr::drop_in_place(pointer.value().as_ptr());
        }
    }
}

/// # Safety
/// The block's value is dropped by nobody else, nor used any more.
pub(super) unsafe fn drop_and_free<T: ?Sized + Target>(block: NonNull<u8>) {
    // SAFETY: the caller's promise.
    unsafe {
        let freed = Freed(Tagged::<T>::of_block(block));
        drop_value(freed.0);
    }
}

/// As [`drop_and_free`], of a block to which there may be weak pointers: the last of them frees it.
///
/// # Safety
/// As for [`drop_and_free`].
pub(super) unsafe fn bury<T: ?Sized + Target>(block: NonNull<u8>) {
    struct Buried<T: ?Sized + Target>(Tagged<T>);
    impl<T: ?Sized + Target> Drop for Buried<T> {
        fn drop(&mut self) {
            if weak_table::bury(self.0.block().addr().get()) {
                // SAFETY: the value was dropped, and there are no weak pointers.
                unsafe { self.0.free() };
            }
        }
    }
    // SAFETY: the caller's promise.
    unsafe {
        let buried = Buried(Tagged::<T>::of_block(block));
        drop_value(buried.0);
    }
}

impl<T: ?Sized + Target> Deref for SalRc<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: S1, S2.
        unsafe { self.pointer.value().as_ref() }
    }
}

impl<T: ?Sized + Target> Clone for SalRc<T> {
    #[inline]
    fn clone(&self) -> Self {
        self.pointer.count().retain();
        Self { pointer: self.pointer, owns: PhantomData }
    }
}

impl<T: ?Sized + Target> Drop for SalRc<T> {
    #[inline]
    fn drop(&mut self) {
        match self.pointer.count().release() {
            Dropped::Shared => {}
            Dropped::Last { is_weakly_held } => self.drop_last(is_weakly_held),
            Dropped::Unknown => self.drop_later(),
        }
    }
}

#[cfg(test)]
mod tests;
