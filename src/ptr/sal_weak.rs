//! Pointers that do not keep a value alive.

use super::sal_rc::SalRc;
use super::tagged::Tagged;
use super::target::Target;
use super::weak_table;
use core::fmt;

/// A pointer to a shared value that does not keep it alive; from [`SalRc::downgrade`].
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
    /// To a block that is in the table of weak pointers, and there counts this one.
    pointer: Tagged<T>,
}

const _: () = assert!(size_of::<Option<SalWeak<str>>>() == 8);

// SAFETY: as for `std::sync::Weak`: it can become a `SalRc`.
unsafe impl<T: ?Sized + Target + Send + Sync> Send for SalWeak<T> {}
// SAFETY: as above.
unsafe impl<T: ?Sized + Target + Send + Sync> Sync for SalWeak<T> {}

impl<T: ?Sized + Target> SalWeak<T> {
    /// A pointer that was added to the table of weak pointers.
    pub(super) fn of_tagged(pointer: Tagged<T>) -> Self {
        Self { pointer }
    }

    /// A pointer to the value, if it has not been dropped.
    pub fn upgrade(&self) -> Option<SalRc<T>> {
        // The block is not freed as long as this pointer is there, so the count is its own.
        // SAFETY: the count says that the pointer counts, and that the value was there.
        self.pointer.count().try_retain().then(|| unsafe { SalRc::of_tagged(self.pointer) })
    }

    /// Whether both lead to the same value, also after it was dropped.
    pub fn ptr_eq(&self, other: &Self) -> bool {
        self.pointer.word() == other.pointer.word()
    }

    /// The pointers to the value at this moment, weak ones not counted.
    pub fn strong_count(&self) -> usize {
        self.pointer.count().number().unwrap_or(usize::MAX)
    }
}

impl<T: ?Sized + Target> Clone for SalWeak<T> {
    fn clone(&self) -> Self {
        weak_table::add(self.pointer.block().addr().get());
        Self { pointer: self.pointer }
    }
}

impl<T: ?Sized + Target> Drop for SalWeak<T> {
    fn drop(&mut self) {
        if weak_table::remove(self.pointer.block().addr().get()) {
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
