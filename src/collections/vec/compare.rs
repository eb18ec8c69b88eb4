//! Comparing, hashing and printing: all as the slice of the elements does it.

use super::SalVec;
use core::cmp::Ordering;
use core::fmt;
use core::hash::{Hash, Hasher};

macro_rules! equal_as_slices {
    ($([$($generics:tt)*] $left:ty, $right:ty;)*) => {$(
        impl<T: PartialEq<U>, U, $($generics)*> PartialEq<$right> for $left {
            #[inline]
            fn eq(&self, other: &$right) -> bool {
                self[..] == other[..]
            }
        }
    )*};
}

equal_as_slices! {
    [] SalVec<T>, SalVec<U>;
    [] SalVec<T>, [U];
    [] SalVec<T>, &[U];
    [] SalVec<T>, &mut [U];
    [] SalVec<T>, Vec<U>;
    [const N: usize] SalVec<T>, [U; N];
    [const N: usize] SalVec<T>, &[U; N];
    [] [T], SalVec<U>;
    [] &[T], SalVec<U>;
    [] &mut [T], SalVec<U>;
    [] Vec<T>, SalVec<U>;
    [const N: usize] [T; N], SalVec<U>;
    [const N: usize] &[T; N], SalVec<U>;
}

impl<T: Eq> Eq for SalVec<T> {}

impl<T: PartialOrd> PartialOrd for SalVec<T> {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.as_slice().partial_cmp(other.as_slice())
    }
}

impl<T: Ord> Ord for SalVec<T> {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_slice().cmp(other.as_slice())
    }
}

impl<T: Hash> Hash for SalVec<T> {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_slice().hash(state);
    }
}

impl<T: fmt::Debug> fmt::Debug for SalVec<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_slice().fmt(f)
    }
}
