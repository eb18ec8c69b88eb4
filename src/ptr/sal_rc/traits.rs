//! A pointer is compared, shown and made as what it leads to.

use super::SalRc;
use crate::ptr::target::Target;
use core::borrow::Borrow;
use core::cmp::Ordering;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::panic::{RefUnwindSafe, UnwindSafe};

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

impl<T: core::error::Error + 'static> core::error::Error for SalRc<T> {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        (**self).source()
    }
}

// A pointer that is moved leaves its value where it is.
impl<T: ?Sized + Target> Unpin for SalRc<T> {}

// As for `Arc`: whoever catches a panic may see the value through another pointer, as through a reference.
impl<T: ?Sized + Target + RefUnwindSafe> UnwindSafe for SalRc<T> {}
impl<T: ?Sized + Target + RefUnwindSafe> RefUnwindSafe for SalRc<T> {}
