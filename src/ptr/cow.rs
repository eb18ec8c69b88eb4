//! Making shared values by a heap's handle.

use super::{SalBox, SalRc, Target};
use crate::SalAlloc;
use crate::heap::Heap;

/// Shared values in a heap.
///
/// ```
/// use sal::{HeapOptions, SalCow, SalRc};
/// let heap = HeapOptions::new().volatile()?;
/// let first = heap.rc([1, 2, 3]);
/// let second = heap.rc_near([4, 5, 6], &first);
/// assert_eq!(SalRc::heap(&second), heap.alloc());
/// # drop((first, second));
/// # Ok::<(), sal::OpenError>(())
/// ```
pub trait SalCow {
    /// The heap's handle.
    #[doc(hidden)]
    fn cow_heap(&self) -> SalAlloc;

    /// Puts a value into the heap; see [`SalRc::new_in`].
    #[inline]
    fn rc<T: 'static>(&self, value: T) -> SalRc<T> {
        SalRc::new_in(value, self.cow_heap())
    }

    /// Puts a value beside another one; see [`SalRc::new_near`]. The heap is that of the other one.
    #[inline]
    fn rc_near<T: 'static, U: ?Sized + Target>(&self, value: T, other: &SalRc<U>) -> SalRc<T> {
        SalRc::new_near(value, other)
    }

    /// Moves elements into the heap; see [`SalRc::from_iter_in`].
    fn rc_slice<T: 'static, I: IntoIterator<Item = T, IntoIter: ExactSizeIterator>>(&self, elements: I) -> SalRc<[T]> {
        SalRc::from_iter_in(elements, self.cow_heap())
    }

    /// Puts a copy of a text into the heap; a heap without room for it is a call of
    /// [`handle_alloc_error`](std::alloc::handle_alloc_error).
    fn rc_str(&self, text: &str) -> SalRc<str> {
        SalRc::try_from_str_in(text, self.cow_heap())
            .unwrap_or_else(|_| std::alloc::handle_alloc_error(std::alloc::Layout::for_value(text)))
    }

    /// Puts a value that is not to be shared yet into the heap; see [`SalBox::new_in`].
    fn boxed<T: 'static>(&self, value: T) -> SalBox<T> {
        SalBox::new_in(value, self.cow_heap())
    }
}

impl SalCow for SalAlloc {
    fn cow_heap(&self) -> SalAlloc {
        *self
    }
}

impl SalCow for Heap {
    fn cow_heap(&self) -> SalAlloc {
        self.alloc()
    }
}
