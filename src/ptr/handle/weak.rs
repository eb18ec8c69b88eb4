//! Handles that do not keep a value.

use super::Handle;
use crate::handle::moving::Entry;
use crate::ptr::tagged::Tagged;
use crate::ptr::target::Target;
use crate::ptr::weak_table;
use core::fmt;
use core::marker::PhantomData;

/// A handle that does not keep a value alive; from [`Handle::downgrade`].
///
/// It keeps the value's entry, so that no other value ever comes to stand for it. It belongs to this process, as
/// [`SalWeak`](crate::SalWeak) does.
///
/// ```
/// use sal::{SalAlloc, SalMovable};
/// let seven = SalAlloc::new().handle(7);
/// let weak = seven.downgrade();
/// assert!(weak.upgrade().is_some_and(|handle| handle.ptr_eq(&seven)));
/// drop(seven);
/// assert!(weak.upgrade().is_none());
/// ```
#[repr(transparent)]
pub struct WeakHandle<T: ?Sized + Target> {
    /// To an entry that is in the table of weak pointers, and there counts this one.
    entry: Tagged<Entry>,
    of: PhantomData<fn(*const T) -> *const T>,
}

// SAFETY: it can become a `Handle`.
unsafe impl<T: ?Sized + Target + Send + Sync> Send for WeakHandle<T> {}
// SAFETY: as above.
unsafe impl<T: ?Sized + Target + Send + Sync> Sync for WeakHandle<T> {}

impl<T: ?Sized + Target> WeakHandle<T> {
    /// # Safety
    /// It was added to the table of weak pointers, and the entry is one of a `T`.
    pub(super) unsafe fn of_entry(entry: Tagged<Entry>) -> Self {
        Self { entry, of: PhantomData }
    }

    /// A handle of the value, if there is one still.
    pub fn upgrade(&self) -> Option<Handle<T>> {
        // The entry is not freed as long as this handle is there, so the count is its own.
        // SAFETY: the count says that the handle counts.
        self.entry.count().try_retain().then(|| unsafe { Handle::of_entry(self.entry) })
    }

    /// Whether both are of the same value, also after it was dropped.
    pub fn ptr_eq(&self, other: &Self) -> bool {
        self.entry.word() == other.entry.word()
    }
}

impl<T: ?Sized + Target> Clone for WeakHandle<T> {
    fn clone(&self) -> Self {
        weak_table::add(self.entry.block().addr().get());
        Self { entry: self.entry, of: PhantomData }
    }
}

impl<T: ?Sized + Target> Drop for WeakHandle<T> {
    fn drop(&mut self) {
        if weak_table::remove(self.entry.block().addr().get()) {
            // SAFETY: the value is gone, and this was the last weak handle.
            unsafe { self.entry.free() };
        }
    }
}

impl<T: ?Sized + Target> fmt::Debug for WeakHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(WeakHandle)")
    }
}
