//! Boxes without what they promise, for foreign code and for structures that keep their own words.

use super::SalBox;
use crate::ptr::sal_rc::{SalRc, raw::tagged_of};
use crate::ptr::target::Target;
use core::mem::ManuallyDrop;

impl<T: ?Sized + Target> SalBox<T> {
    /// The value's address.
    #[inline]
    pub fn as_ptr(this: &Self) -> *const T {
        SalRc::as_ptr(&this.only)
    }

    /// The value's address; the value stays alive until [`SalBox::from_raw`] takes it back.
    ///
    /// As for [`SalRc::into_raw`], an address means something in this process only. It may be read through, and written through by who
    /// makes sure that nobody else uses the value.
    ///
    /// ```
    /// use sal::SalBox;
    /// let raw = SalBox::into_raw(SalBox::new(7));
    /// // SAFETY: from `into_raw`, and nobody else has it; taken back once.
    /// let boxed = unsafe {
    ///     *raw += 1;
    ///     SalBox::from_raw(raw)
    /// };
    /// assert_eq!(*boxed, 8);
    /// ```
    #[must_use = "the value is never dropped otherwise"]
    pub fn into_raw(mut this: Self) -> *mut T {
        // As a change of the value prepares it.
        let value: *mut T = &mut *this;
        let this = ManuallyDrop::new(this);
        debug_assert!(core::ptr::addr_eq(value, Self::as_ptr(&this)));
        this.only.tagged().value().as_ptr()
    }

    /// The box that [`SalBox::into_raw`] has given away.
    ///
    /// # Safety
    /// `value` came from [`SalBox::into_raw`] of a `T`, or of a type with the same size and alignment whose values are `T`s; it is taken
    /// back once, and not used any more. Its heap has not been unmapped. If its heap is a file, that was in this process.
    pub unsafe fn from_raw(value: *mut T) -> Self {
        // SAFETY: the caller's promise: the address is that of a value in its block, which the pointer may reach all of, and nobody else has
        // the value.
        Self::of(unsafe { SalRc::of_tagged(tagged_of(value)) })
    }

    /// A reference for as long as the process lives: the value is never dropped, and its memory stays where it is also when its heap is
    /// closed.
    ///
    /// ```
    /// use sal::SalBox;
    /// let seven: &'static mut i32 = SalBox::leak(SalBox::new(7));
    /// *seven += 1;
    /// assert_eq!(*seven, 8);
    /// ```
    pub fn leak(this: Self) -> &'static mut T {
        // SAFETY: the box had the value alone, and is not dropped any more; closing never unmaps.
        unsafe { &mut *Self::into_raw(this) }
    }
}
