//! What the standard library's traits make of a set.

use super::{CowSet, IntoIter, Iter};
use crate::collections::cow_map::CowMap;
use core::cmp::Ordering;
use core::fmt;
use core::hash::{Hash, Hasher};

impl<K: 'static> Default for CowSet<K> {
    #[inline]
    fn default() -> Self {
        Self::new()
    }
}

impl<K: 'static> Clone for CowSet<K> {
    /// Another pointer to the same nodes, as that of a [`CowMap`]: takes constant time.
    #[inline]
    fn clone(&self) -> Self {
        Self { map: self.map.clone() }
    }
}

impl<K: PartialEq + 'static> PartialEq for CowSet<K> {
    fn eq(&self, other: &Self) -> bool {
        self.map == other.map
    }
}

impl<K: Eq + 'static> Eq for CowSet<K> {}

impl<K: PartialOrd + 'static> PartialOrd for CowSet<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.map.partial_cmp(&other.map)
    }
}

impl<K: Ord + 'static> Ord for CowSet<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.map.cmp(&other.map)
    }
}

impl<K: Hash + 'static> Hash for CowSet<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.map.hash(state);
    }
}

impl<K: fmt::Debug + 'static> fmt::Debug for CowSet<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self).finish()
    }
}

impl<K: Ord + Clone + 'static> Extend<K> for CowSet<K> {
    fn extend<I: IntoIterator<Item = K>>(&mut self, elements: I) {
        self.map.extend(elements.into_iter().map(|element| (element, ())));
    }
}

impl<'a, K: Ord + Copy + 'static> Extend<&'a K> for CowSet<K> {
    fn extend<I: IntoIterator<Item = &'a K>>(&mut self, elements: I) {
        self.extend(elements.into_iter().copied());
    }
}

impl<K: Ord + Clone + 'static> FromIterator<K> for CowSet<K> {
    fn from_iter<I: IntoIterator<Item = K>>(elements: I) -> Self {
        Self { map: elements.into_iter().map(|element| (element, ())).collect() }
    }
}

impl<K: Ord + Clone + 'static, const N: usize> From<[K; N]> for CowSet<K> {
    fn from(elements: [K; N]) -> Self {
        elements.into_iter().collect()
    }
}

impl<K: 'static> From<CowMap<K, ()>> for CowSet<K> {
    fn from(map: CowMap<K, ()>) -> Self {
        Self { map }
    }
}

impl<K: Clone + 'static> IntoIterator for CowSet<K> {
    type Item = K;
    type IntoIter = IntoIter<K>;

    fn into_iter(self) -> IntoIter<K> {
        IntoIter(self.map.into_keys())
    }
}

impl<'a, K: 'static> IntoIterator for &'a CowSet<K> {
    type Item = &'a K;
    type IntoIter = Iter<'a, K>;

    fn into_iter(self) -> Iter<'a, K> {
        self.iter()
    }
}
