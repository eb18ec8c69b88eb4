//! Iterators that own what the map owned.
#![allow(unsafe_code)]

use super::iter::project;
use super::raw_iter::RawIter;
use super::table::RawTable;
use super::{Pair, SalHashMap};
use core::fmt;
use core::iter::FusedIterator;
use core::mem::ManuallyDrop;

/// The entries of a map, taken from it.
pub struct IntoIter<K, V> {
    /// Owns the block; what its control bytes say does not count any more.
    table: RawTable<Pair<K, V>>,
    /// The slots whose entries are still owned.
    rest: RawIter<Pair<K, V>>,
}

// SAFETY: it owns keys and values like the map it came from.
unsafe impl<K: Send, V: Send> Send for IntoIter<K, V> {}
// SAFETY: through a shared one only `&K` and `&V` can be had.
unsafe impl<K: Sync, V: Sync> Sync for IntoIter<K, V> {}

impl<K, V> IntoIterator for SalHashMap<K, V> {
    type Item = (K, V);
    type IntoIter = IntoIter<K, V>;

    fn into_iter(self) -> IntoIter<K, V> {
        let mut map = ManuallyDrop::new(self);
        let table = core::mem::replace(&mut map.table, RawTable::new());
        IntoIter { rest: table.iter(), table }
    }
}

impl<K, V> Iterator for IntoIter<K, V> {
    type Item = (K, V);

    #[inline]
    fn next(&mut self) -> Option<(K, V)> {
        // SAFETY: the entry of a full slot is a value (T3); the walk is past it now, so it is read once.
        self.rest.next().map(|pair| unsafe { pair.read() }).map(|Pair { key, value }| (key, value))
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.rest.remaining, Some(self.rest.remaining))
    }
}

impl<K, V> Drop for IntoIter<K, V> {
    fn drop(&mut self) {
        struct Free<'a, K, V>(&'a mut IntoIter<K, V>);
        impl<K, V> Drop for Free<'_, K, V> {
            fn drop(&mut self) {
                // SAFETY: the iterator goes away, and its entries were dropped.
                unsafe { self.0.table.free_block() };
            }
        }
        let this = Free(self);
        // SAFETY: the entries ahead are owned, and nobody uses them again.
        unsafe { this.0.rest.drop_all() };
    }
}

impl<K, V> ExactSizeIterator for IntoIter<K, V> {}
impl<K, V> FusedIterator for IntoIter<K, V> {}

impl<K, V> Default for IntoIter<K, V> {
    fn default() -> Self {
        SalHashMap::new().into_iter()
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for IntoIter<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.rest.clone();
        let entries = core::iter::from_fn(|| {
            // SAFETY: the entries ahead are values and stay so while `self` is borrowed.
            rest.next().map(|pair| unsafe { (&(*pair).key, &(*pair).value) })
        });
        f.debug_list().entries(entries).finish()
    }
}

/// The keys of a map, taken from it by [`SalHashMap::into_keys`].
pub struct IntoKeys<K, V>(pub(super) IntoIter<K, V>);

/// The values of a map, taken from it by [`SalHashMap::into_values`].
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
