//! What the standard library's traits make of a set.

use super::{IntoIter, Iter, SalHashSet};
use crate::collections::hash_map::SalHashMap;
use core::fmt;
use core::hash::Hash;

impl<K> Default for SalHashSet<K> {
    #[inline]
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Clone> Clone for SalHashSet<K> {
    fn clone(&self) -> Self {
        Self { map: self.map.clone() }
    }

    fn clone_from(&mut self, source: &Self) {
        self.map.clone_from(&source.map);
    }
}

impl<K: Eq + Hash> PartialEq for SalHashSet<K> {
    fn eq(&self, other: &Self) -> bool {
        self.map == other.map
    }
}

impl<K: Eq + Hash> Eq for SalHashSet<K> {}

impl<K: fmt::Debug> fmt::Debug for SalHashSet<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self).finish()
    }
}

impl<K: Eq + Hash> Extend<K> for SalHashSet<K> {
    fn extend<I: IntoIterator<Item = K>>(&mut self, elements: I) {
        self.map.extend(elements.into_iter().map(|element| (element, ())));
    }
}

impl<'a, K: Eq + Hash + Copy> Extend<&'a K> for SalHashSet<K> {
    fn extend<I: IntoIterator<Item = &'a K>>(&mut self, elements: I) {
        self.extend(elements.into_iter().copied());
    }
}

impl<K: Eq + Hash> FromIterator<K> for SalHashSet<K> {
    fn from_iter<I: IntoIterator<Item = K>>(elements: I) -> Self {
        let mut set = Self::new();
        set.extend(elements);
        set
    }
}

impl<K: Eq + Hash, const N: usize> From<[K; N]> for SalHashSet<K> {
    fn from(elements: [K; N]) -> Self {
        elements.into_iter().collect()
    }
}

impl<K> From<SalHashMap<K, ()>> for SalHashSet<K> {
    fn from(map: SalHashMap<K, ()>) -> Self {
        Self { map }
    }
}

impl<K> IntoIterator for SalHashSet<K> {
    type Item = K;
    type IntoIter = IntoIter<K>;

    fn into_iter(self) -> IntoIter<K> {
        IntoIter(self.map.into_keys())
    }
}

impl<'a, K> IntoIterator for &'a SalHashSet<K> {
    type Item = &'a K;
    type IntoIter = Iter<'a, K>;

    fn into_iter(self) -> Iter<'a, K> {
        self.iter()
    }
}
