//! A handle is shown, compared and hashed as what it leads to.

use super::{Handle, Pinned};
use crate::ptr::target::Target;
use core::cmp::Ordering;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::panic::{RefUnwindSafe, UnwindSafe};

impl<T: ?Sized + Target + fmt::Debug> fmt::Debug for Handle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get(&Pinned::begin()).fmt(f)
    }
}

impl<T: ?Sized + Target + fmt::Display> fmt::Display for Handle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get(&Pinned::begin()).fmt(f)
    }
}

impl<T: ?Sized + Target + PartialEq> PartialEq for Handle<T> {
    fn eq(&self, other: &Self) -> bool {
        let pin = Pinned::begin();
        self.get(&pin) == other.get(&pin)
    }
}

impl<T: ?Sized + Target + Eq> Eq for Handle<T> {}

impl<T: ?Sized + Target + PartialOrd> PartialOrd for Handle<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        let pin = Pinned::begin();
        self.get(&pin).partial_cmp(other.get(&pin))
    }
}

impl<T: ?Sized + Target + Ord> Ord for Handle<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        let pin = Pinned::begin();
        self.get(&pin).cmp(other.get(&pin))
    }
}

impl<T: ?Sized + Target + Hash> Hash for Handle<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.get(&Pinned::begin()).hash(state);
    }
}

// A handle that is moved leaves its value where it is.
impl<T: ?Sized + Target> Unpin for Handle<T> {}

// As for `Arc`: whoever catches a panic may see the value through another handle, as through a reference.
impl<T: ?Sized + Target + RefUnwindSafe> UnwindSafe for Handle<T> {}
impl<T: ?Sized + Target + RefUnwindSafe> RefUnwindSafe for Handle<T> {}
