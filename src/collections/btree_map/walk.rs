//! Going through a map and taking out some of what is met.
#![allow(unsafe_code)]

use super::SalBTreeMap;
use super::path::Path;
use core::fmt;
use core::iter::FusedIterator;

/// A walk over a map that may take out the entries it meets.
pub(super) struct Walk<'a, K, V> {
    map: &'a mut SalBTreeMap<K, V>,
    /// A leaf edge; the pairs behind it are not yet met.
    path: Path<K, V>,
    /// How many those are at most.
    remaining: usize,
}

// SAFETY: it is as good as a mutable borrow of the map.
unsafe impl<K: Send, V: Send> Send for Walk<'_, K, V> {}
// SAFETY: through a shared one nothing can be had.
unsafe impl<K: Sync, V: Sync> Sync for Walk<'_, K, V> {}

impl<'a, K, V> Walk<'a, K, V> {
    /// A walk over everything.
    pub(super) fn new(map: &'a mut SalBTreeMap<K, V>) -> Self {
        let path = map.end(false);
        Self::from(map, path)
    }

    /// A walk from a leaf edge of this map on.
    pub(super) fn from(map: &'a mut SalBTreeMap<K, V>, path: Path<K, V>) -> Self {
        Self { path, remaining: map.len, map }
    }

    /// Takes out the next entry for which `wanted` says so.
    pub(super) fn take_next(&mut self, mut wanted: impl FnMut(&K, &mut V) -> bool) -> Option<(K, V)> {
        // SAFETY: the path is a leaf edge of the map: steps lead from one to the next, and removal keeps it one. The
        // references end before anything changes.
        unsafe {
            while let Some((step, at)) = self.path.pair_ahead() {
                let node = self.path.node(step);
                let is_wanted = wanted(&*node.key(at), &mut *node.value(at));
                self.remaining -= 1;
                if is_wanted {
                    let (pair, one_met_is_ahead) = self.map.remove_ahead(&mut self.path);
                    if one_met_is_ahead {
                        self.path.next();
                    }
                    return Some(pair);
                }
                self.path.next();
            }
        }
        None
    }
}

/// The entries of a map that a closure wants; from [`SalBTreeMap::extract_if`].
#[must_use = "nothing is taken out before the iterator is used"]
pub struct ExtractIf<'a, K, V, F> {
    walk: Walk<'a, K, V>,
    wanted: F,
}

impl<'a, K, V, F> ExtractIf<'a, K, V, F> {
    pub(super) fn new(map: &'a mut SalBTreeMap<K, V>, wanted: F) -> Self {
        Self { walk: Walk::new(map), wanted }
    }
}

impl<K, V, F: FnMut(&K, &mut V) -> bool> Iterator for ExtractIf<'_, K, V, F> {
    type Item = (K, V);

    fn next(&mut self) -> Option<(K, V)> {
        self.walk.take_next(&mut self.wanted)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.walk.remaining))
    }
}

impl<K, V, F: FnMut(&K, &mut V) -> bool> FusedIterator for ExtractIf<'_, K, V, F> {}

impl<K, V, F> fmt::Debug for ExtractIf<'_, K, V, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExtractIf").finish_non_exhaustive()
    }
}
