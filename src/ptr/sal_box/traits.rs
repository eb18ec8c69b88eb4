//! A box is compared and shown as what is in it.

use super::SalBox;
use crate::ptr::target::Target;
use core::borrow::{Borrow, BorrowMut};
use core::cmp::Ordering;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::iter::FusedIterator;
use core::panic::{RefUnwindSafe, UnwindSafe};

impl<T: ?Sized + Target> AsRef<T> for SalBox<T> {
    fn as_ref(&self) -> &T {
        self
    }
}

impl<T: ?Sized + Target> AsMut<T> for SalBox<T> {
    fn as_mut(&mut self) -> &mut T {
        self
    }
}

impl<T: ?Sized + Target> Borrow<T> for SalBox<T> {
    fn borrow(&self) -> &T {
        self
    }
}

impl<T: ?Sized + Target> BorrowMut<T> for SalBox<T> {
    fn borrow_mut(&mut self) -> &mut T {
        self
    }
}

impl<T: ?Sized + Target + PartialEq> PartialEq for SalBox<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: ?Sized + Target + Eq> Eq for SalBox<T> {}

impl<T: ?Sized + Target + PartialOrd> PartialOrd for SalBox<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (**self).partial_cmp(&**other)
    }
}

impl<T: ?Sized + Target + Ord> Ord for SalBox<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (**self).cmp(&**other)
    }
}

impl<T: ?Sized + Target + Hash> Hash for SalBox<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl<T: ?Sized + Target + fmt::Debug> fmt::Debug for SalBox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + Target + fmt::Display> fmt::Display for SalBox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + Target> fmt::Pointer for SalBox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Pointer::fmt(&Self::as_ptr(self), f)
    }
}

impl<T: core::error::Error + 'static> core::error::Error for SalBox<T> {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        (**self).source()
    }
}

// A box that is moved leaves its value where it is. Changing the value may not, so there is no pinned box of a value that must not be
// moved.
impl<T: ?Sized + Target> Unpin for SalBox<T> {}

// As for `Box`: it has the value alone.
impl<T: ?Sized + Target + UnwindSafe> UnwindSafe for SalBox<T> {}
impl<T: ?Sized + Target + RefUnwindSafe> RefUnwindSafe for SalBox<T> {}

impl<I: Iterator + 'static> Iterator for SalBox<I> {
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        (**self).next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (**self).size_hint()
    }

    fn nth(&mut self, n: usize) -> Option<I::Item> {
        (**self).nth(n)
    }
}

impl<I: DoubleEndedIterator + 'static> DoubleEndedIterator for SalBox<I> {
    fn next_back(&mut self) -> Option<I::Item> {
        (**self).next_back()
    }

    fn nth_back(&mut self, n: usize) -> Option<I::Item> {
        (**self).nth_back(n)
    }
}

impl<I: ExactSizeIterator + 'static> ExactSizeIterator for SalBox<I> {
    fn len(&self) -> usize {
        (**self).len()
    }
}

impl<I: FusedIterator + 'static> FusedIterator for SalBox<I> {}
