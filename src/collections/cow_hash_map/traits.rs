//! What the standard library's traits make of a map.
#![allow(unsafe_code)]

use super::{CowHashMap, Iter, IterMut};
use crate::collections::error::or_raise;
use core::fmt;
use core::hash::Hash;

impl<K: 'static, V: 'static> Default for CowHashMap<K, V> {
    #[inline]
    fn default() -> Self {
        Self::new()
    }
}

impl<K: 'static, V: 'static> Clone for CowHashMap<K, V> {
    /// The same version once more: one more pointer to the root, whatever the size. Nothing is copied until one of them is
    /// changed, and then the nodes on the way to the change. The copies come from the heap that has the nodes.
    #[inline]
    fn clone(&self) -> Self {
        let root = if self.root.is_none() {
            super::Link::none()
        } else {
            // SAFETY: M1.
            unsafe { self.root.share(self.kind()) }
        };
        Self { root, ..*self }
    }
}

impl<K: fmt::Debug + 'static, V: fmt::Debug + 'static> fmt::Debug for CowHashMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self).finish()
    }
}

impl<K: Eq + Hash + Clone + 'static, V: Clone + 'static> Extend<(K, V)> for CowHashMap<K, V> {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, entries: I) {
        or_raise(self.try_extend(entries));
    }
}

impl<'a, K: Eq + Hash + Copy + 'static, V: Copy + 'static> Extend<(&'a K, &'a V)> for CowHashMap<K, V> {
    fn extend<I: IntoIterator<Item = (&'a K, &'a V)>>(&mut self, entries: I) {
        self.extend(entries.into_iter().map(|(key, value)| (*key, *value)));
    }
}

impl<K: Eq + Hash + Clone + 'static, V: Clone + 'static> FromIterator<(K, V)> for CowHashMap<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        or_raise(Self::try_from_iter(entries))
    }
}

impl<K: Eq + Hash + Clone + 'static, V: Clone + 'static, const N: usize> From<[(K, V); N]> for CowHashMap<K, V> {
    fn from(entries: [(K, V); N]) -> Self {
        entries.into_iter().collect()
    }
}

impl<'a, K: 'static, V: 'static> IntoIterator for &'a CowHashMap<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = Iter<'a, K, V>;

    #[inline]
    fn into_iter(self) -> Iter<'a, K, V> {
        self.iter()
    }
}

impl<'a, K: Clone + 'static, V: Clone + 'static> IntoIterator for &'a mut CowHashMap<K, V> {
    type Item = (&'a K, &'a mut V);
    type IntoIter = IterMut<'a, K, V>;

    #[inline]
    fn into_iter(self) -> IterMut<'a, K, V> {
        self.iter_mut()
    }
}
