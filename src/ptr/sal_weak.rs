//! Pointers that do not keep a value alive.

use super::sal_rc::SalRc;
use super::sal_rc::raw::tagged_of;
use super::tagged::Tagged;
use super::target::Target;
use super::weak_table;
use crate::alloc::ref_count::COUNTED;
use core::fmt;
use core::panic::{RefUnwindSafe, UnwindSafe};
use core::ptr::{self, NonNull};

/// A pointer to a shared value that does not keep it alive; from [`SalRc::downgrade`], or
/// one that leads nowhere.
///
/// It takes 8 bytes and has a niche. It keeps the value's memory, but not what the value owns. It belongs to this process: a
/// weak pointer cannot be stored in a heap file.
///
/// ```
/// use sal::SalRc;
/// let seven = SalRc::new(7);
/// let weak = SalRc::downgrade(&seven);
/// assert_eq!(weak.upgrade().as_deref(), Some(&7));
/// drop(seven);
/// assert!(weak.upgrade().is_none());
/// ```
#[repr(transparent)]
pub struct SalWeak<T: ?Sized + Target> {
    /// To a block that is in the table of weak pointers, and there counts this one; or [`NOWHERE`].
    pointer: Tagged<T>,
}

const _: () = assert!(size_of::<Option<SalWeak<str>>>() == 8);

/// The word of a pointer that leads to no block: the last of all addresses.
const NOWHERE: NonNull<u8> = NonNull::new(ptr::without_provenance_mut(usize::MAX)).expect("it is not null");

// SAFETY: as for `std::sync::Weak`: it can become a `SalRc`.
unsafe impl<T: ?Sized + Target + Send + Sync> Send for SalWeak<T> {}
// SAFETY: as above.
unsafe impl<T: ?Sized + Target + Send + Sync> Sync for SalWeak<T> {}

impl<T: ?Sized + Target> SalWeak<T> {
    /// A pointer that was added to the table of weak pointers.
    pub(super) fn of_tagged(pointer: Tagged<T>) -> Self {
        Self { pointer }
    }

    /// A pointer that leads nowhere, and never will: [`SalWeak::upgrade`] gives none. It takes no memory and belongs to no heap.
    ///
    /// ```
    /// use sal::SalWeak;
    /// static PARENT: SalWeak<u32> = SalWeak::new();
    /// assert!(PARENT.upgrade().is_none());
    /// ```
    pub const fn new() -> Self {
        // SAFETY: not from a pointer to a block, and followed by nobody: `block` says so.
        Self { pointer: unsafe { Tagged::of_word(NOWHERE) } }
    }

    /// The block, if the pointer leads to one.
    fn block(&self) -> Option<NonNull<u8>> {
        (self.pointer.word() != NOWHERE).then(|| self.pointer.block())
    }

    /// A pointer to the value, if it has not been dropped, and is there already.
    pub fn upgrade(&self) -> Option<SalRc<T>> {
        self.block()?;
        // The block is not freed as long as this pointer is there, so the count is its own.
        // SAFETY: the count says that the pointer counts, and that the value was there.
        self.pointer.count().try_retain().then(|| unsafe { SalRc::of_tagged(self.pointer) })
    }

    /// Whether both lead to the same value, also after it was dropped; or both nowhere.
    pub fn ptr_eq(&self, other: &Self) -> bool {
        self.pointer.word() == other.pointer.word()
    }

    /// The pointers to the value at this moment, weak ones not counted; see [`SalRc::strong_count`].
    pub fn strong_count(&self) -> usize {
        self.block().map_or(0, |_| self.pointer.count().number().unwrap_or(usize::MAX))
    }

    /// The weak pointers to the value at this moment; 0 if there is no other pointer left, as for [`std::sync::Weak::weak_count`].
    pub fn weak_count(&self) -> usize {
        match self.block() {
            Some(block) if self.strong_count() > 0 => weak_table::number(block.addr().get()),
            _ => 0,
        }
    }
}

impl<T: 'static> SalWeak<T> {
    /// Where the value is, or was. It dangles when the value has been dropped, and if the pointer leads nowhere.
    pub fn as_ptr(&self) -> *const T {
        // The value begins where its block does; of the last of all addresses this is another one that nothing lies at.
        self.pointer.word().as_ptr().wrapping_byte_sub(COUNTED).cast()
    }

    /// Where the value is, or was; the pointer goes on counting as a weak one until [`SalWeak::from_raw`] takes it back.
    ///
    /// ```
    /// use sal::{SalRc, SalWeak};
    /// let seven = SalRc::new(7);
    /// let raw = SalRc::downgrade(&seven).into_raw();
    /// // SAFETY: from `into_raw`, once.
    /// let weak = unsafe { SalWeak::from_raw(raw) };
    /// assert_eq!(weak.upgrade().as_deref(), Some(&7));
    /// ```
    #[must_use = "the value's memory is never given back otherwise"]
    pub fn into_raw(self) -> *const T {
        core::mem::ManuallyDrop::new(self).as_ptr()
    }

    /// The pointer that [`SalWeak::into_raw`] has given away.
    ///
    /// # Safety
    /// `value` came from [`SalWeak::into_raw`] of a `T`, or of a type with the same size and alignment whose values are `T`s, and is taken
    /// back once, in the same process. Its heap has not been unmapped.
    pub unsafe fn from_raw(value: *const T) -> Self {
        let nowhere: *const T = Self::new().into_raw();
        if ptr::eq(value, nowhere) {
            return Self::new();
        }
        // SAFETY: the caller's promise: the address of a block to which one of the weak pointers in the table is ours.
        Self { pointer: unsafe { tagged_of(value) } }
    }
}

/// One that leads nowhere.
impl<T: ?Sized + Target> Default for SalWeak<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: ?Sized + Target> Clone for SalWeak<T> {
    fn clone(&self) -> Self {
        if let Some(block) = self.block() {
            weak_table::add(block.addr().get());
        }
        Self { pointer: self.pointer }
    }
}

impl<T: ?Sized + Target> Drop for SalWeak<T> {
    fn drop(&mut self) {
        if self.block().is_some_and(|block| weak_table::remove(block.addr().get())) {
            // SAFETY: the value was dropped, and this was the last weak pointer.
            unsafe { self.pointer.free() };
        }
    }
}

impl<T: ?Sized + Target> fmt::Debug for SalWeak<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(SalWeak)")
    }
}

// As for `std::sync::Weak`: it may become a `SalRc`.
impl<T: ?Sized + Target + RefUnwindSafe> UnwindSafe for SalWeak<T> {}
impl<T: ?Sized + Target + RefUnwindSafe> RefUnwindSafe for SalWeak<T> {}
