//! A pointer is compared, shown and made as what it leads to.

use super::SalRc;
use super::make::current_heap;
use crate::ptr::target::Target;
use core::borrow::Borrow;
use core::cmp::Ordering;
use core::fmt;
use core::hash::{Hash, Hasher};
use std::alloc::{Layout, handle_alloc_error};

impl<T: ?Sized + Target + PartialEq> PartialEq for SalRc<T> {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: ?Sized + Target + Eq> Eq for SalRc<T> {}

impl<T: ?Sized + Target + PartialOrd> PartialOrd for SalRc<T> {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (**self).partial_cmp(&**other)
    }
}

impl<T: ?Sized + Target + Ord> Ord for SalRc<T> {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        (**self).cmp(&**other)
    }
}

impl<T: ?Sized + Target + Hash> Hash for SalRc<T> {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl<T: ?Sized + Target + fmt::Debug> fmt::Debug for SalRc<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + Target + fmt::Display> fmt::Display for SalRc<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + Target> fmt::Pointer for SalRc<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Pointer::fmt(&Self::as_ptr(self), f)
    }
}

impl<T: ?Sized + Target> AsRef<T> for SalRc<T> {
    fn as_ref(&self) -> &T {
        self
    }
}

impl<T: ?Sized + Target> Borrow<T> for SalRc<T> {
    fn borrow(&self) -> &T {
        self
    }
}

/// In the heap that [`SalRc::new`] would choose.
impl<T: Default + 'static> Default for SalRc<T> {
    fn default() -> Self {
        Self::new(T::default())
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

/// In the heap that [`SalRc::new`] would choose.
impl<T: 'static> FromIterator<T> for SalRc<[T]> {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Self {
        Self::from_iter_in(elements.into_iter().collect::<Vec<_>>(), current_heap())
    }
}

#[cfg(feature = "serde")]
impl<T: ?Sized + Target + serde::Serialize> serde::Serialize for SalRc<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (**self).serialize(serializer)
    }
}

/// What was shared is not any more: each pointer gets a value of its own.
#[cfg(feature = "serde")]
impl<'de, T: serde::Deserialize<'de> + 'static> serde::Deserialize<'de> for SalRc<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self::new)
    }
}
