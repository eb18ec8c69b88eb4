//! What the standard library's traits make of a map.

use super::{Iter, IterMut, Pair, SalHashMap};
use crate::collections::error::or_raise;
use crate::heap::placement::HeapScope;
use core::hash::Hash;

impl<K, V> Default for SalHashMap<K, V> {
    #[inline]
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Clone, V: Clone> Clone for SalHashMap<K, V> {
    /// A copy in the heap of the current session, with what keys and values copy.
    fn clone(&self) -> Self {
        let mut copy = Self::new();
        (copy.seed, copy.filled_under) = (self.seed, self.filled_under); // M1: slots and tags are the same
        let _scope = HeapScope::enter(copy.table.heap());
        or_raise(copy.table.copy_from(&self.table, |pair| Pair { key: pair.key.clone(), value: pair.value.clone() }));
        copy
    }

    /// As [`clone`](Self::clone), in the heap of the map that is overwritten.
    fn clone_from(&mut self, source: &Self) {
        let _scope = HeapScope::enter(self.table.heap());
        *self = source.clone();
    }
}

impl<K: Eq + Hash, V: PartialEq> PartialEq for SalHashMap<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().all(|(key, value)| other.get(key) == Some(value))
    }
}

impl<K: Eq + Hash, V: Eq> Eq for SalHashMap<K, V> {}

impl<K: Eq + Hash, V> Extend<(K, V)> for SalHashMap<K, V> {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, entries: I) {
        let entries = entries.into_iter();
        // Keys may repeat, so in a map that has some already, half as many places are a better guess.
        let expected = entries.size_hint().0;
        self.reserve(if self.is_empty() { expected } else { expected.div_ceil(2) });
        entries.for_each(|(key, value)| drop(self.insert(key, value)));
    }
}

impl<'a, K: Eq + Hash + Copy, V: Copy> Extend<(&'a K, &'a V)> for SalHashMap<K, V> {
    fn extend<I: IntoIterator<Item = (&'a K, &'a V)>>(&mut self, entries: I) {
        self.extend(entries.into_iter().map(|(key, value)| (*key, *value)));
    }
}

impl<K: Eq + Hash, V> FromIterator<(K, V)> for SalHashMap<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut map = Self::new();
        map.extend(entries);
        map
    }
}

impl<K: Eq + Hash, V, const N: usize> From<[(K, V); N]> for SalHashMap<K, V> {
    fn from(entries: [(K, V); N]) -> Self {
        entries.into_iter().collect()
    }
}

impl<'a, K, V> IntoIterator for &'a SalHashMap<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = Iter<'a, K, V>;

    #[inline]
    fn into_iter(self) -> Iter<'a, K, V> {
        self.iter()
    }
}

impl<'a, K, V> IntoIterator for &'a mut SalHashMap<K, V> {
    type Item = (&'a K, &'a mut V);
    type IntoIter = IterMut<'a, K, V>;

    #[inline]
    fn into_iter(self) -> IterMut<'a, K, V> {
        self.iter_mut()
    }
}
