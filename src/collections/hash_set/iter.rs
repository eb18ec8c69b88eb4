//! Iterators over a set: those over its map, without the values.

use crate::collections::hash_map;
use core::fmt;
use core::iter::FusedIterator;

/// The elements of a set, from [`SalHashSet::iter`](super::SalHashSet::iter).
pub struct Iter<'a, K>(pub(super) hash_map::Keys<'a, K, ()>);

/// The elements of a set, taken from it.
pub struct IntoIter<K>(pub(super) hash_map::IntoKeys<K, ()>);

/// All elements of a set, which is empty afterwards; from [`SalHashSet::drain`](super::SalHashSet::drain).
pub struct Drain<'a, K>(pub(super) hash_map::Drain<'a, K, ()>);

/// The elements of a set that a closure wants; from [`SalHashSet::extract_if`](super::SalHashSet::extract_if).
#[must_use = "nothing is taken out before the iterator is used"]
pub struct ExtractIf<'a, K, F> {
    walk: hash_map::Walk<'a, K, ()>,
    wanted: F,
}

impl<'a, K, F> ExtractIf<'a, K, F> {
    pub(super) fn new(map: &'a mut hash_map::SalHashMap<K, ()>, wanted: F) -> Self {
        Self { walk: map.walk(), wanted }
    }
}

impl<K, F: FnMut(&K) -> bool> Iterator for ExtractIf<'_, K, F> {
    type Item = K;

    fn next(&mut self) -> Option<K> {
        self.walk.take_next(|key, ()| (self.wanted)(key)).map(|(key, ())| key)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.walk.remaining()))
    }
}

impl<K, F: FnMut(&K) -> bool> FusedIterator for ExtractIf<'_, K, F> {}

impl<K, F> fmt::Debug for ExtractIf<'_, K, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExtractIf").finish_non_exhaustive()
    }
}

impl<K> Clone for Iter<'_, K> {
    #[inline]
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

hash_map::project!(['a, K] Iter<'a, K>, &'a K, |key| key);
hash_map::project!([K] IntoIter<K>, K, |key| key);
hash_map::project!(['a, K] Drain<'a, K>, K, |(key, ())| key);

impl<K: fmt::Debug> fmt::Debug for Iter<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<K: fmt::Debug> fmt::Debug for IntoIter<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<K: fmt::Debug> fmt::Debug for Drain<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
