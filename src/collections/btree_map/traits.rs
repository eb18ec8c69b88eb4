//! What the standard library's traits make of a map.

use super::build::sorted;
use super::{Iter, IterMut, SalBTreeMap};
use crate::heap::placement::HeapScope;
use core::cmp::Ordering;
use core::fmt;
use core::hash::{Hash, Hasher};

impl<K, V> Drop for SalBTreeMap<K, V> {
    fn drop(&mut self) {
        // The pairs and nodes are the iterator's, and nothing is written to the map (D1 of `ptr::drop_moved`).
        let map = Self { root: self.root, height: self.height, len: self.len };
        drop(map.into_iter());
    }
}

impl<K, V> Default for SalBTreeMap<K, V> {
    #[inline]
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Clone, V: Clone> Clone for SalBTreeMap<K, V> {
    /// A copy in the heap of the current session, with what keys and values copy.
    fn clone(&self) -> Self {
        let mut copy = Self::new();
        let _scope = HeapScope::enter(copy.heap());
        copy.push_ascending(self.iter().map(|(key, value)| (key.clone(), value.clone())));
        copy
    }

    /// As [`clone`](Self::clone), in the heap of the map that is overwritten.
    fn clone_from(&mut self, source: &Self) {
        let _scope = HeapScope::enter(self.heap());
        *self = source.clone();
    }
}

impl<K: PartialEq, V: PartialEq> PartialEq for SalBTreeMap<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other)
    }
}

impl<K: Eq, V: Eq> Eq for SalBTreeMap<K, V> {}

impl<K: PartialOrd, V: PartialOrd> PartialOrd for SalBTreeMap<K, V> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.iter().partial_cmp(other)
    }
}

impl<K: Ord, V: Ord> Ord for SalBTreeMap<K, V> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.iter().cmp(other)
    }
}

impl<K: Hash, V: Hash> Hash for SalBTreeMap<K, V> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_usize(self.len());
        self.iter().for_each(|entry| entry.hash(state));
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for SalBTreeMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self).finish()
    }
}

impl<K: Ord, V> Extend<(K, V)> for SalBTreeMap<K, V> {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, entries: I) {
        entries.into_iter().for_each(|(key, value)| drop(self.insert(key, value)));
    }
}

impl<'a, K: Ord + Copy, V: Copy> Extend<(&'a K, &'a V)> for SalBTreeMap<K, V> {
    fn extend<I: IntoIterator<Item = (&'a K, &'a V)>>(&mut self, entries: I) {
        self.extend(entries.into_iter().map(|(key, value)| (*key, *value)));
    }
}

impl<K: Ord, V> FromIterator<(K, V)> for SalBTreeMap<K, V> {
    /// Sorts the entries, of which the last one with a key counts, and then fills the nodes from left to right.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut map = Self::new();
        map.push_ascending(sorted(entries));
        map
    }
}

impl<K: Ord, V, const N: usize> From<[(K, V); N]> for SalBTreeMap<K, V> {
    fn from(entries: [(K, V); N]) -> Self {
        entries.into_iter().collect()
    }
}

impl<'a, K, V> IntoIterator for &'a SalBTreeMap<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = Iter<'a, K, V>;

    #[inline]
    fn into_iter(self) -> Iter<'a, K, V> {
        self.iter()
    }
}

impl<'a, K, V> IntoIterator for &'a mut SalBTreeMap<K, V> {
    type Item = (&'a K, &'a mut V);
    type IntoIter = IterMut<'a, K, V>;

    #[inline]
    fn into_iter(self) -> IterMut<'a, K, V> {
        self.iter_mut()
    }
}
