//! What the standard library's traits make of a set.

use super::{CowHashSet, Iter};
use crate::collections::cow_hash_map;
use crate::collections::hash_map::project;
use core::fmt;
use core::hash::Hash;

impl<K: 'static> Default for CowHashSet<K> {
    #[inline]
    fn default() -> Self {
        Self::new()
    }
}

impl<K: 'static> Clone for CowHashSet<K> {
    /// The same version once more, whatever the size; see [`CowHashMap`](super::CowHashMap#impl-Clone-for-CowHashMap<K,+V>).
    #[inline]
    fn clone(&self) -> Self {
        Self { map: self.map.clone() }
    }
}

/// What two versions share is not compared.
impl<K: Eq + Hash + 'static> PartialEq for CowHashSet<K> {
    fn eq(&self, other: &Self) -> bool {
        self.map == other.map
    }
}

impl<K: Eq + Hash + 'static> Eq for CowHashSet<K> {}

impl<K: fmt::Debug + 'static> fmt::Debug for CowHashSet<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self).finish()
    }
}

impl<K: Eq + Hash + Clone + 'static> Extend<K> for CowHashSet<K> {
    fn extend<I: IntoIterator<Item = K>>(&mut self, elements: I) {
        self.map.extend(elements.into_iter().map(|element| (element, ())));
    }
}

impl<'a, K: Eq + Hash + Copy + 'static> Extend<&'a K> for CowHashSet<K> {
    fn extend<I: IntoIterator<Item = &'a K>>(&mut self, elements: I) {
        self.extend(elements.into_iter().copied());
    }
}

impl<K: Eq + Hash + Clone + 'static> FromIterator<K> for CowHashSet<K> {
    fn from_iter<I: IntoIterator<Item = K>>(elements: I) -> Self {
        let mut set = Self::new();
        set.extend(elements);
        set
    }
}

impl<K: Eq + Hash + Clone + 'static, const N: usize> From<[K; N]> for CowHashSet<K> {
    fn from(elements: [K; N]) -> Self {
        elements.into_iter().collect()
    }
}

impl<'a, K: 'static> IntoIterator for &'a CowHashSet<K> {
    type Item = &'a K;
    type IntoIter = Iter<'a, K>;

    #[inline]
    fn into_iter(self) -> Iter<'a, K> {
        self.iter()
    }
}

/// The elements of a set, from [`CowHashSet::into_iter`](IntoIterator::into_iter): moved if no other version has them, else clones.
#[derive(Debug)]
pub struct IntoIter<K: 'static>(cow_hash_map::IntoIter<K, ()>);

project!([K: Clone] IntoIter<K>, K, |(element, ())| element);

impl<K: Clone + 'static> IntoIterator for CowHashSet<K> {
    type Item = K;
    type IntoIter = IntoIter<K>;

    fn into_iter(self) -> IntoIter<K> {
        IntoIter(self.map.into_iter())
    }
}
