//! Two sets at once.

use super::{Iter, SalHashSet};
use core::fmt;
use core::hash::Hash;
use core::iter::{Chain, FusedIterator};
use core::ops::{BitAnd, BitOr, BitXor, Sub};

impl<K: Eq + Hash> SalHashSet<K> {
    /// What is in `self` and not in `other`.
    pub fn difference<'a>(&'a self, other: &'a Self) -> Difference<'a, K> {
        Difference { elements: self.iter(), other }
    }

    /// What is in both, the elements being those of the smaller set.
    pub fn intersection<'a>(&'a self, other: &'a Self) -> Intersection<'a, K> {
        let (small, large) = if self.len() <= other.len() { (self, other) } else { (other, self) };
        Intersection { elements: small.iter(), other: large }
    }

    /// What is in one of them, but not in both.
    pub fn symmetric_difference<'a>(&'a self, other: &'a Self) -> SymmetricDifference<'a, K> {
        SymmetricDifference(self.difference(other).chain(other.difference(self)))
    }

    /// What is in either, the elements in both being those of the larger set.
    pub fn union<'a>(&'a self, other: &'a Self) -> Union<'a, K> {
        let (small, large) = if self.len() <= other.len() { (self, other) } else { (other, self) };
        Union(large.iter().chain(small.difference(large)))
    }

    /// Whether they have nothing in common.
    pub fn is_disjoint(&self, other: &Self) -> bool {
        self.intersection(other).next().is_none()
    }

    /// Whether all that is in `self` is in `other`.
    pub fn is_subset(&self, other: &Self) -> bool {
        self.len() <= other.len() && self.iter().all(|element| other.contains(element))
    }

    /// Whether all that is in `other` is in `self`.
    pub fn is_superset(&self, other: &Self) -> bool {
        other.is_subset(self)
    }
}

/// From [`SalHashSet::difference`].
pub struct Difference<'a, K> {
    elements: Iter<'a, K>,
    other: &'a SalHashSet<K>,
}

/// From [`SalHashSet::intersection`].
pub struct Intersection<'a, K> {
    elements: Iter<'a, K>,
    other: &'a SalHashSet<K>,
}

/// From [`SalHashSet::symmetric_difference`].
pub struct SymmetricDifference<'a, K>(Chain<Difference<'a, K>, Difference<'a, K>>);

/// From [`SalHashSet::union`].
pub struct Union<'a, K>(Chain<Iter<'a, K>, Difference<'a, K>>);

impl<'a, K: Eq + Hash> Iterator for Difference<'a, K> {
    type Item = &'a K;

    fn next(&mut self) -> Option<&'a K> {
        self.elements.find(|element| !self.other.contains(*element))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, self.elements.size_hint().1)
    }
}

impl<'a, K: Eq + Hash> Iterator for Intersection<'a, K> {
    type Item = &'a K;

    fn next(&mut self) -> Option<&'a K> {
        self.elements.find(|element| self.other.contains(*element))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, self.elements.size_hint().1)
    }
}

impl<'a, K: Eq + Hash> Iterator for SymmetricDifference<'a, K> {
    type Item = &'a K;

    fn next(&mut self) -> Option<&'a K> {
        self.0.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl<'a, K: Eq + Hash> Iterator for Union<'a, K> {
    type Item = &'a K;

    fn next(&mut self) -> Option<&'a K> {
        self.0.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

/// What the four iterators have in common.
macro_rules! common {
    ($($name:ident { $($field:tt),* })*) => {$(
        impl<K: Eq + Hash> FusedIterator for $name<'_, K> {}

        impl<K> Clone for $name<'_, K> {
            fn clone(&self) -> Self {
                Self { $($field: Clone::clone(&self.$field)),* }
            }
        }

        impl<K: Eq + Hash + fmt::Debug> fmt::Debug for $name<'_, K> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_list().entries(self.clone()).finish()
            }
        }
    )*};
}
common! { Difference { elements, other } Intersection { elements, other } SymmetricDifference { 0 } Union { 0 } }

/// An operator that collects what an iterator gives.
macro_rules! operator {
    ($($trait:ident $method:ident $iterator:ident)*) => {$(
        impl<K: Eq + Hash + Clone> $trait<&SalHashSet<K>> for &SalHashSet<K> {
            type Output = SalHashSet<K>;

            fn $method(self, other: &SalHashSet<K>) -> SalHashSet<K> {
                self.$iterator(other).cloned().collect()
            }
        }
    )*};
}
operator! { BitAnd bitand intersection BitOr bitor union BitXor bitxor symmetric_difference Sub sub difference }
