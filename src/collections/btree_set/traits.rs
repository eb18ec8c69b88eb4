//! What the standard library's traits make of a set.

use super::{IntoIter, Iter, SalBTreeSet};
use crate::collections::btree_map::SalBTreeMap;
use core::cmp::Ordering;
use core::fmt;
use core::hash::{Hash, Hasher};

impl<K> Default for SalBTreeSet<K> {
    #[inline]
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Clone> Clone for SalBTreeSet<K> {
    fn clone(&self) -> Self {
        Self { map: self.map.clone() }
    }

    fn clone_from(&mut self, source: &Self) {
        self.map.clone_from(&source.map);
    }
}

impl<K: PartialEq> PartialEq for SalBTreeSet<K> {
    fn eq(&self, other: &Self) -> bool {
        self.map == other.map
    }
}

impl<K: Eq> Eq for SalBTreeSet<K> {}

impl<K: PartialOrd> PartialOrd for SalBTreeSet<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.map.partial_cmp(&other.map)
    }
}

impl<K: Ord> Ord for SalBTreeSet<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.map.cmp(&other.map)
    }
}

impl<K: Hash> Hash for SalBTreeSet<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.map.hash(state);
    }
}

impl<K: fmt::Debug> fmt::Debug for SalBTreeSet<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self).finish()
    }
}

impl<K: Ord> Extend<K> for SalBTreeSet<K> {
    fn extend<I: IntoIterator<Item = K>>(&mut self, elements: I) {
        self.map.extend(elements.into_iter().map(|element| (element, ())));
    }
}

impl<'a, K: Ord + Copy> Extend<&'a K> for SalBTreeSet<K> {
    fn extend<I: IntoIterator<Item = &'a K>>(&mut self, elements: I) {
        self.extend(elements.into_iter().copied());
    }
}

impl<K: Ord> FromIterator<K> for SalBTreeSet<K> {
    fn from_iter<I: IntoIterator<Item = K>>(elements: I) -> Self {
        Self { map: elements.into_iter().map(|element| (element, ())).collect() }
    }
}

impl<K: Ord, const N: usize> From<[K; N]> for SalBTreeSet<K> {
    fn from(elements: [K; N]) -> Self {
        elements.into_iter().collect()
    }
}

impl<K> From<SalBTreeMap<K, ()>> for SalBTreeSet<K> {
    fn from(map: SalBTreeMap<K, ()>) -> Self {
        Self { map }
    }
}

impl<K> IntoIterator for SalBTreeSet<K> {
    type Item = K;
    type IntoIter = IntoIter<K>;

    fn into_iter(self) -> IntoIter<K> {
        IntoIter(self.map.into_keys())
    }
}

impl<'a, K> IntoIterator for &'a SalBTreeSet<K> {
    type Item = &'a K;
    type IntoIter = Iter<'a, K>;

    fn into_iter(self) -> Iter<'a, K> {
        self.iter()
    }
}
