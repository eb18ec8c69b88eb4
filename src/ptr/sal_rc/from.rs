//! Making pointers from what the standard library owns.
//!
//! All of it goes to the heap that [`SalRc::new`] would choose. A heap without room is a call of [`handle_alloc_error`].

use super::SalRc;
use super::make::current_heap;
use crate::ptr::tagged::Tagged;
use crate::ptr::target::Target;
use core::pin::Pin;
use std::alloc::{Layout, handle_alloc_error};
use std::borrow::Cow;

/// In the heap that [`SalRc::new`] would choose.
impl<T: Default + 'static> Default for SalRc<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

/// An empty slice, in a block of its own: it has a heap, as all pointers have.
impl<T: 'static> Default for SalRc<[T]> {
    fn default() -> Self {
        Self::from_iter_in([], current_heap())
    }
}

/// An empty text, in a block of its own.
impl Default for SalRc<str> {
    fn default() -> Self {
        Self::from("")
    }
}

/// In the heap that [`SalRc::new`] would choose.
impl<T: 'static> From<T> for SalRc<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

/// A copy, in the heap that [`SalRc::new`] would choose.
impl<T: Clone + 'static> From<&[T]> for SalRc<[T]> {
    fn from(elements: &[T]) -> Self {
        Self::try_from_slice_in(elements, current_heap())
            .unwrap_or_else(|_| handle_alloc_error(Layout::for_value(elements)))
    }
}

/// A copy, in the heap that [`SalRc::new`] would choose.
impl From<&str> for SalRc<str> {
    fn from(text: &str) -> Self {
        Self::try_from_str_in(text, current_heap()).unwrap_or_else(|_| handle_alloc_error(Layout::for_value(text)))
    }
}

/// Moves the elements.
impl<T: 'static> From<Vec<T>> for SalRc<[T]> {
    fn from(elements: Vec<T>) -> Self {
        Self::from_iter_in(elements, current_heap())
    }
}

/// Moves the elements.
impl<T: 'static, const N: usize> From<[T; N]> for SalRc<[T]> {
    fn from(elements: [T; N]) -> Self {
        Self::from_iter_in(elements, current_heap())
    }
}

/// Copies the text.
impl From<String> for SalRc<str> {
    fn from(text: String) -> Self {
        Self::from(&*text)
    }
}

/// Moves the value.
impl<T: 'static> From<Box<T>> for SalRc<T> {
    fn from(boxed: Box<T>) -> Self {
        Self::new(*boxed)
    }
}

/// Moves the elements.
impl<T: 'static> From<Box<[T]>> for SalRc<[T]> {
    fn from(boxed: Box<[T]>) -> Self {
        Self::from(boxed.into_vec())
    }
}

/// Copies the text.
impl From<Box<str>> for SalRc<str> {
    fn from(boxed: Box<str>) -> Self {
        Self::from(&*boxed)
    }
}

/// Copies what is borrowed, and moves what is owned.
///
/// ```
/// use std::borrow::Cow;
/// use sal::SalRc;
/// let text: Cow<'_, str> = "some text".into();
/// assert_eq!(&*SalRc::<str>::from(text), "some text");
/// ```
impl<'a, B: ?Sized + ToOwned + Target> From<Cow<'a, B>> for SalRc<B>
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

/// The bytes of a text; without copying.
impl From<SalRc<str>> for SalRc<[u8]> {
    fn from(text: SalRc<str>) -> Self {
        // SAFETY: a text lies in its block as its bytes do, and the pointer still counts.
        unsafe { Self::of_tagged(Tagged::of_block(text.into_tagged().block())) }
    }
}

/// In the heap that [`SalRc::new`] would choose.
impl<T: 'static> FromIterator<T> for SalRc<[T]> {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Self {
        Self::from(Vec::from_iter(elements))
    }
}

impl<T: 'static> SalRc<T> {
    /// Puts a value into the heap that [`SalRc::new`] would choose, where it stays until it is dropped: no safe code gets more of it than
    /// a shared reference.
    ///
    /// Such a pointer cannot be stored in a heap file.
    pub fn pin(value: T) -> Pin<Self> {
        // SAFETY: a value never leaves its block but through a pointer that is owned or mutably borrowed (`try_unwrap`, `into_inner`,
        // `get_mut`, `make_mut`), and all pointers to this one are pinned. `Deref` and `Clone` do not move it, and there is no `DerefMut`.
        // Its block is not used again before it was dropped: closing a heap keeps its memory, and a value that waits to be dropped keeps
        // its block.
        unsafe { Pin::new_unchecked(Self::new(value)) }
    }
}
