//! Pointers without what they promise, for foreign code and for structures that keep their own words.

use super::SalRc;
use crate::ptr::tagged::Tagged;
use crate::ptr::target::Target;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;

impl<T: ?Sized + Target> SalRc<T> {
    /// The value's address; the pointer goes on counting, and the value stays alive until [`SalRc::from_raw`] takes it back.
    ///
    /// An address means something in this process only, and is no counted pointer to who looks through a heap after a crash: one that is
    /// stored in a heap file does not keep its value.
    ///
    /// ```
    /// use sal::SalRc;
    /// let raw = SalRc::into_raw(SalRc::<str>::from("text"));
    /// // SAFETY: from `into_raw`, once.
    /// let text = unsafe { SalRc::from_raw(raw) };
    /// assert_eq!((&*text, SalRc::strong_count(&text)), ("text", 1));
    /// ```
    #[must_use = "the value is never dropped otherwise"]
    pub fn into_raw(this: Self) -> *const T {
        this.into_tagged().value().as_ptr()
    }

    /// The pointer that [`SalRc::into_raw`] has given away.
    ///
    /// # Safety
    /// `value` came from [`SalRc::into_raw`] of a `T`, or of a type with the same size and alignment whose values are `T`s, and a
    /// pointer that it stands for is taken back by nobody else. Its heap has not been unmapped. If its heap is a file, that
    /// was in this process.
    pub unsafe fn from_raw(value: *const T) -> Self {
        // SAFETY: the caller's promise: the address is that of a value in its block, which the pointer may reach all of, and one of the
        // numbers in its count is ours.
        unsafe { Self::of_tagged(tagged_of(value)) }
    }

    /// Counts one pointer more, which [`SalRc::from_raw`] may take.
    ///
    /// # Safety
    /// As for [`SalRc::from_raw`], but that the pointer is only borrowed.
    pub unsafe fn increment_strong_count(value: *const T) {
        // SAFETY: the caller's promise.
        unsafe { tagged_of(value) }.count().retain();
    }

    /// Drops one pointer that [`SalRc::into_raw`] has given away.
    ///
    /// # Safety
    /// As for [`SalRc::from_raw`].
    pub unsafe fn decrement_strong_count(value: *const T) {
        // SAFETY: the caller's promise.
        drop(unsafe { Self::from_raw(value) });
    }

    /// A reference for as long as the process lives: the pointer is never dropped, nor is the value, and its memory stays readable
    /// also when its heap is closed.
    pub fn leak(this: Self) -> &'static T {
        // SAFETY: the pointer counts for ever (S1), so nobody else has the value alone (S2), and closing never unmaps.
        unsafe { ManuallyDrop::new(this).pointer.value().as_ref() }
    }
}

/// # Safety
/// The address is that of a value in a counted block, with the right to reach all of it.
pub(in crate::ptr) unsafe fn tagged_of<T: ?Sized + Target>(value: *const T) -> Tagged<T> {
    // SAFETY: the caller's promise.
    unsafe { Tagged::of_block(T::block_of(NonNull::new_unchecked(value.cast_mut()))) }
}
