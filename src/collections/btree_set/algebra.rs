//! Two sets at once, both walked in order.

use super::{Iter, SalBTreeSet};
use core::cmp::Ordering;
use core::fmt;
use core::iter::{FusedIterator, Peekable};
use core::ops::{BitAnd, BitOr, BitXor, Sub};

/// Two walks side by side.
struct Merge<'a, K> {
    left: Peekable<Iter<'a, K>>,
    right: Peekable<Iter<'a, K>>,
}

impl<K> Clone for Merge<'_, K> {
    fn clone(&self) -> Self {
        Self { left: self.left.clone(), right: self.right.clone() }
    }
}

impl<'a, K: Ord> Merge<'a, K> {
    /// The smallest element not yet met, as it is in the left and in the right set.
    fn next(&mut self) -> Option<(Option<&'a K>, Option<&'a K>)> {
        let order = match (self.left.peek(), self.right.peek()) {
            (None, None) => return None,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(left), Some(right)) => left.cmp(right),
        };
        let left = if order.is_le() { self.left.next() } else { None };
        let right = if order.is_ge() { self.right.next() } else { None };
        Some((left, right))
    }
}

/// The four operations: what each keeps of an element in the left, the right, or both sets.
macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident $method:ident $operator:ident $operator_method:ident $keep:expr;)*) => {
        impl<K: Ord> SalBTreeSet<K> {
            $($(#[$doc])*
            pub fn $method<'a>(&'a self, other: &'a Self) -> $name<'a, K> {
                $name(Merge { left: self.iter().peekable(), right: other.iter().peekable() })
            })*
        }
        $(
        #[doc = concat!("From [`SalBTreeSet::", stringify!($method), "`].")]
        pub struct $name<'a, K>(Merge<'a, K>);

        impl<'a, K: Ord> Iterator for $name<'a, K> {
            type Item = &'a K;

            fn next(&mut self) -> Option<&'a K> {
                loop {
                    let kept: Option<&'a K> = $keep(self.0.next()?);
                    if kept.is_some() {
                        return kept;
                    }
                }
            }
        }

        impl<K: Ord> FusedIterator for $name<'_, K> {}

        impl<K> Clone for $name<'_, K> {
            fn clone(&self) -> Self {
                Self(self.0.clone())
            }
        }

        impl<K: Ord + fmt::Debug> fmt::Debug for $name<'_, K> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_list().entries(self.clone()).finish()
            }
        }

        impl<K: Ord + Clone> $operator<&SalBTreeSet<K>> for &SalBTreeSet<K> {
            type Output = SalBTreeSet<K>;

            fn $operator_method(self, other: &SalBTreeSet<K>) -> SalBTreeSet<K> {
                self.$method(other).cloned().collect()
            }
        }
        )*
    };
}

operations! {
    /// What is in `self` and not in `other`, in order.
    Difference difference Sub sub |(left, right): (Option<&'a K>, Option<&'a K>)| if right.is_none() { left } else { None };
    /// What is in both, in order, the elements being those of `self`.
    Intersection intersection BitAnd bitand |(left, right): (Option<&'a K>, Option<&'a K>)| right.and(left);
    /// What is in one of them, but not in both, in order.
    SymmetricDifference symmetric_difference BitXor bitxor |(left, right): (Option<&'a K>, Option<&'a K>)| left.xor(right);
    /// What is in either, in order, the elements in both being those of `self`.
    Union union BitOr bitor |(left, right): (Option<&'a K>, Option<&'a K>)| left.or(right);
}

impl<K: Ord> SalBTreeSet<K> {
    /// Whether they have nothing in common.
    pub fn is_disjoint(&self, other: &Self) -> bool {
        self.intersection(other).next().is_none()
    }

    /// Whether all that is in `self` is in `other`.
    pub fn is_subset(&self, other: &Self) -> bool {
        self.len() <= other.len() && self.difference(other).next().is_none()
    }

    /// Whether all that is in `other` is in `self`.
    pub fn is_superset(&self, other: &Self) -> bool {
        other.is_subset(self)
    }
}
