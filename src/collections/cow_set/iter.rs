//! Iterators over a set: those over its map, without the values.

use crate::collections::btree_map::project;
use crate::collections::cow_map;
use core::fmt;
use core::iter::FusedIterator;

/// The elements of a set in order, from [`CowSet::iter`](super::CowSet::iter).
pub struct Iter<'a, K: 'static>(pub(super) cow_map::Keys<'a, K, ()>);

/// The elements of a set in order, taken from it.
pub struct IntoIter<K: 'static>(pub(super) cow_map::IntoKeys<K, ()>);

/// The elements in a range, from [`CowSet::range`](super::CowSet::range).
pub struct Range<'a, K: 'static>(pub(super) cow_map::Range<'a, K, ()>);

impl<K: 'static> Clone for Iter<'_, K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: 'static> Clone for Range<'_, K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

project!(['a, K] Iter<'a, K>, &'a K, |key| key);
project!([K: Clone] IntoIter<K>, K, |key| key);

impl<'a, K: 'static> Iterator for Range<'a, K> {
    type Item = &'a K;

    fn next(&mut self) -> Option<&'a K> {
        self.0.next().map(|(key, ())| key)
    }
}

impl<K: 'static> DoubleEndedIterator for Range<'_, K> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.0.next_back().map(|(key, ())| key)
    }
}

impl<K: 'static> FusedIterator for Range<'_, K> {}

impl<K: fmt::Debug + 'static> fmt::Debug for Iter<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<K: fmt::Debug + 'static> fmt::Debug for IntoIter<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<K: fmt::Debug + 'static> fmt::Debug for Range<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.clone()).finish()
    }
}
