//! Making boxes from what the standard library owns, as [`SalRc`]s are made.
//!
//! All of it goes to the heap that [`SalBox::new`] would choose. A heap without room is a call of
//! [`handle_alloc_error`](std::alloc::handle_alloc_error).

use super::SalBox;
use crate::SalAlloc;
use crate::ptr::sal_rc::SalRc;
use crate::ptr::target::Target;
use allocator_api2::alloc::AllocError;
use std::borrow::Cow;

impl<T: 'static> SalBox<[T]> {
    /// Puts copies of a slice's elements into a heap.
    ///
    /// # Errors
    /// As [`SalRc::try_new_in`].
    pub fn try_from_slice_in(elements: &[T], heap: SalAlloc) -> Result<Self, AllocError>
    where
        T: Clone,
    {
        SalRc::try_from_slice_in(elements, heap).map(Self::of)
    }

    /// Moves elements into a heap; as [`SalRc::from_iter_in`].
    ///
    /// # Panics
    /// If the iterator has fewer than it says.
    pub fn from_iter_in<I: IntoIterator<Item = T, IntoIter: ExactSizeIterator>>(elements: I, heap: SalAlloc) -> Self {
        Self::of(SalRc::from_iter_in(elements, heap))
    }
}

impl SalBox<str> {
    /// Puts a copy of a text into a heap.
    ///
    /// # Errors
    /// As [`SalRc::try_new_in`].
    pub fn try_from_str_in(text: &str, heap: SalAlloc) -> Result<Self, AllocError> {
        SalRc::try_from_str_in(text, heap).map(Self::of)
    }
}

/// In the heap that [`SalBox::new`] would choose.
impl<T: Default + 'static> Default for SalBox<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

/// An empty slice, in a block of its own.
impl<T: 'static> Default for SalBox<[T]> {
    fn default() -> Self {
        Self::of(SalRc::default())
    }
}

/// An empty text, in a block of its own.
impl Default for SalBox<str> {
    fn default() -> Self {
        Self::of(SalRc::default())
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

/// Moves the elements.
impl<T: 'static> From<Vec<T>> for SalBox<[T]> {
    fn from(elements: Vec<T>) -> Self {
        Self::of(elements.into())
    }
}

/// Moves the elements.
impl<T: 'static, const N: usize> From<[T; N]> for SalBox<[T]> {
    fn from(elements: [T; N]) -> Self {
        Self::of(elements.into())
    }
}

/// Copies the text.
impl From<String> for SalBox<str> {
    fn from(text: String) -> Self {
        Self::of(text.into())
    }
}

/// Moves the value.
impl<T: 'static> From<Box<T>> for SalBox<T> {
    fn from(boxed: Box<T>) -> Self {
        Self::new(*boxed)
    }
}

/// Moves the elements.
impl<T: 'static> From<Box<[T]>> for SalBox<[T]> {
    fn from(boxed: Box<[T]>) -> Self {
        Self::of(boxed.into())
    }
}

/// Copies the text.
impl From<Box<str>> for SalBox<str> {
    fn from(boxed: Box<str>) -> Self {
        Self::of(boxed.into())
    }
}

/// Copies what is borrowed, and moves what is owned.
impl<'a, B: ?Sized + ToOwned + Target> From<Cow<'a, B>> for SalBox<B>
where
    Self: From<&'a B> + From<B::Owned>,
{
    fn from(value: Cow<'a, B>) -> Self {
        match value {
            Cow::Borrowed(value) => Self::from(value),
            Cow::Owned(value) => Self::from(value),
        }
    }
}

/// In the heap that [`SalBox::new`] would choose.
impl<T: 'static> FromIterator<T> for SalBox<[T]> {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Self {
        Self::of(SalRc::from_iter(elements))
    }
}
