//! Iterators that take entries out of a map that stays.
#![allow(unsafe_code)]

use super::Pair;
use super::raw_iter::RawIter;
use super::table::RawTable;
use core::fmt;
use core::iter::FusedIterator;

/// All entries of a map, which is empty afterwards; from [`SalHashMap::drain`](super::SalHashMap::drain).
///
/// The table is in the iterator while there is one: were the iterator forgotten, the map would be empty and
/// have no block.
pub struct Drain<'a, K, V> {
    /// Where the table came from and goes back to; holds an empty one meanwhile.
    home: &'a mut RawTable<Pair<K, V>>,
    /// Owns the block; what its control bytes say does not count any more.
    table: RawTable<Pair<K, V>>,
    /// The slots whose entries are still owned.
    rest: RawIter<Pair<K, V>>,
}

// SAFETY: it owns keys and values like the map it borrows.
unsafe impl<K: Send, V: Send> Send for Drain<'_, K, V> {}
// SAFETY: through a shared one only `&K` and `&V` can be had.
unsafe impl<K: Sync, V: Sync> Sync for Drain<'_, K, V> {}

impl<'a, K, V> Drain<'a, K, V> {
    pub(super) fn new(home: &'a mut RawTable<Pair<K, V>>) -> Self {
        let table = core::mem::replace(home, RawTable::new());
        Self { home, rest: table.iter(), table }
    }
}

impl<K, V> Iterator for Drain<'_, K, V> {
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

impl<K, V> Drop for Drain<'_, K, V> {
    fn drop(&mut self) {
        struct GoHome<'a, 'b, K, V>(&'a mut Drain<'b, K, V>);
        impl<K, V> Drop for GoHome<'_, '_, K, V> {
            fn drop(&mut self) {
                self.0.table.forget_entries();
                core::mem::swap(self.0.home, &mut self.0.table);
            }
        }
        let this = GoHome(self);
        // SAFETY: the entries ahead are owned, and nobody uses them again: they are forgotten next.
        unsafe { this.0.rest.drop_all() };
    }
}

impl<K, V> ExactSizeIterator for Drain<'_, K, V> {}
impl<K, V> FusedIterator for Drain<'_, K, V> {}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for Drain<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain").field("len", &self.rest.remaining).finish_non_exhaustive()
    }
}

/// A walk over a map that may take out the entries it meets.
pub(in super::super) struct Walk<'a, K, V> {
    table: &'a mut RawTable<Pair<K, V>>,
    /// The slots not yet met; each is full.
    rest: RawIter<Pair<K, V>>,
}

// SAFETY: it is as good as a mutable borrow of the map.
unsafe impl<K: Send, V: Send> Send for Walk<'_, K, V> {}
// SAFETY: through a shared one nothing can be had.
unsafe impl<K: Sync, V: Sync> Sync for Walk<'_, K, V> {}

impl<'a, K, V> Walk<'a, K, V> {
    pub(super) fn new(table: &'a mut RawTable<Pair<K, V>>) -> Self {
        Self { rest: table.iter(), table }
    }

    /// Takes out the next entry for which `wanted` says so.
    pub(in super::super) fn take_next(&mut self, mut wanted: impl FnMut(&K, &mut V) -> bool) -> Option<(K, V)> {
        while let Some(slot) = self.rest.next_slot() {
            // SAFETY: the slot is full, and only slots behind the walk are emptied.
            unsafe {
                let pair = &mut *self.table.entry(slot);
                if wanted(&pair.key, &mut pair.value) {
                    let Pair { key, value } = self.table.take(slot);
                    return Some((key, value));
                }
            }
        }
        None
    }

    /// How many entries it will still meet.
    pub(in super::super) fn remaining(&self) -> usize {
        self.rest.remaining
    }
}

/// The entries of a map that a closure wants; from [`SalHashMap::extract_if`](super::SalHashMap::extract_if).
#[must_use = "nothing is taken out before the iterator is used"]
pub struct ExtractIf<'a, K, V, F> {
    pub(super) walk: Walk<'a, K, V>,
    pub(super) wanted: F,
}

impl<K, V, F: FnMut(&K, &mut V) -> bool> Iterator for ExtractIf<'_, K, V, F> {
    type Item = (K, V);

    fn next(&mut self) -> Option<(K, V)> {
        self.walk.take_next(&mut self.wanted)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.walk.remaining()))
    }
}

impl<K, V, F: FnMut(&K, &mut V) -> bool> FusedIterator for ExtractIf<'_, K, V, F> {}

impl<K, V, F> fmt::Debug for ExtractIf<'_, K, V, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExtractIf").finish_non_exhaustive()
    }
}
