//! Iterators that own what the map owned.
#![allow(unsafe_code)]

use super::SalBTreeMap;
use super::iter::{RawIter, project};
use core::fmt;
use core::iter::FusedIterator;
use core::mem::ManuallyDrop;

/// The entries of a map in the order of their keys, taken from it. The nodes are freed when it is dropped.
pub struct IntoIter<K, V> {
    /// Owns the nodes; the pairs are those of `rest`.
    map: ManuallyDrop<SalBTreeMap<K, V>>,
    /// The pairs that are still owned.
    rest: RawIter<K, V>,
}

// SAFETY: it owns keys and values like the map it came from.
unsafe impl<K: Send, V: Send> Send for IntoIter<K, V> {}
// SAFETY: through a shared one only `&K` and `&V` can be had.
unsafe impl<K: Sync, V: Sync> Sync for IntoIter<K, V> {}

impl<K, V> IntoIterator for SalBTreeMap<K, V> {
    type Item = (K, V);
    type IntoIter = IntoIter<K, V>;

    fn into_iter(self) -> IntoIter<K, V> {
        IntoIter { rest: RawIter::new(&self), map: ManuallyDrop::new(self) }
    }
}

impl<K, V> Iterator for IntoIter<K, V> {
    type Item = (K, V);

    #[inline]
    fn next(&mut self) -> Option<(K, V)> {
        // SAFETY: the pair is in the tree (N2); it is named just once.
        self.rest.next().map(|(node, at)| unsafe { (node.key(at).read(), node.value(at).read()) })
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.rest.remaining, Some(self.rest.remaining))
    }
}

impl<K, V> DoubleEndedIterator for IntoIter<K, V> {
    #[inline]
    fn next_back(&mut self) -> Option<(K, V)> {
        // SAFETY: as in `next`.
        self.rest.next_back().map(|(node, at)| unsafe { (node.key(at).read(), node.value(at).read()) })
    }
}

impl<K, V> Drop for IntoIter<K, V> {
    fn drop(&mut self) {
        /// Drops what a panic has left, then frees the nodes.
        struct Rest<'a, K, V>(&'a mut IntoIter<K, V>);
        impl<K, V> Drop for Rest<'_, K, V> {
            fn drop(&mut self) {
                self.0.for_each(drop);
                if let Some(root) = self.0.map.root {
                    // SAFETY: B1; the iterator goes away, and its pairs were read out.
                    unsafe { root.free_all(self.0.map.height) };
                }
            }
        }
        let rest = Rest(self);
        if core::mem::needs_drop::<(K, V)>() {
            rest.0.for_each(drop);
        } else {
            rest.0.rest.remaining = 0;
        }
    }
}

impl<K, V> ExactSizeIterator for IntoIter<K, V> {}
impl<K, V> FusedIterator for IntoIter<K, V> {}

impl<K, V> Default for IntoIter<K, V> {
    fn default() -> Self {
        SalBTreeMap::new().into_iter()
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for IntoIter<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.rest.clone();
        let entries = core::iter::from_fn(|| {
            // SAFETY: the entries ahead are values and stay so while `self` is borrowed.
            rest.next().map(|(node, at)| unsafe { (&*node.key(at), &*node.value(at)) })
        });
        f.debug_list().entries(entries).finish()
    }
}

/// The keys of a map, taken from it by [`SalBTreeMap::into_keys`].
pub struct IntoKeys<K, V>(pub(super) IntoIter<K, V>);

/// The values of a map, taken from it by [`SalBTreeMap::into_values`].
pub struct IntoValues<K, V>(pub(super) IntoIter<K, V>);

project!([K, V] IntoKeys<K, V>, K, |(key, _)| key);
project!([K, V] IntoValues<K, V>, V, |(_, value)| value);

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for IntoKeys<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for IntoValues<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
