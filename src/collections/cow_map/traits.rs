//! What the standard library's traits make of a map.

use super::{CowMap, Iter};
use crate::collections::error::or_raise;
use core::cmp::Ordering;
use core::fmt;
use core::hash::{Hash, Hasher};

impl<K: PartialEq + 'static, V: PartialEq + 'static> PartialEq for CowMap<K, V> {
    /// Compares all entries; [`diff`](CowMap::diff) is faster for versions of one map.
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other)
    }
}

impl<K: Eq + 'static, V: Eq + 'static> Eq for CowMap<K, V> {}

impl<K: PartialOrd + 'static, V: PartialOrd + 'static> PartialOrd for CowMap<K, V> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.iter().partial_cmp(other)
    }
}

impl<K: Ord + 'static, V: Ord + 'static> Ord for CowMap<K, V> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.iter().cmp(other)
    }
}

impl<K: Hash + 'static, V: Hash + 'static> Hash for CowMap<K, V> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_usize(self.len());
        self.iter().for_each(|entry| entry.hash(state));
    }
}

impl<K: fmt::Debug + 'static, V: fmt::Debug + 'static> fmt::Debug for CowMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self).finish()
    }
}

impl<K: Ord + Clone + 'static, V: Clone + 'static> Extend<(K, V)> for CowMap<K, V> {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, entries: I) {
        or_raise(self.try_extend(entries));
    }
}

impl<'a, K: Ord + Copy + 'static, V: Copy + 'static> Extend<(&'a K, &'a V)> for CowMap<K, V> {
    fn extend<I: IntoIterator<Item = (&'a K, &'a V)>>(&mut self, entries: I) {
        self.extend(entries.into_iter().map(|(key, value)| (*key, *value)));
    }
}

impl<K: Ord + Clone + 'static, V: Clone + 'static> FromIterator<(K, V)> for CowMap<K, V> {
    /// Sorts the entries, of which the last one with a key counts, and then [fills the leaves](CowMap::from_sorted).
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        or_raise(Self::try_from_iter(entries))
    }
}

impl<K: Ord + Clone + 'static, V: Clone + 'static, const N: usize> From<[(K, V); N]> for CowMap<K, V> {
    fn from(entries: [(K, V); N]) -> Self {
        entries.into_iter().collect()
    }
}

impl<'a, K: 'static, V: 'static> IntoIterator for &'a CowMap<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = Iter<'a, K, V>;

    #[inline]
    fn into_iter(self) -> Iter<'a, K, V> {
        self.iter()
    }
}
