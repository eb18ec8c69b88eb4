//! Iterators that borrow the map.
#![allow(unsafe_code)]

use super::Pair;
use super::raw_iter::RawIter;
use super::table::RawTable;
use core::fmt;
use core::iter::FusedIterator;
use core::marker::PhantomData;

/// The entries of a map, from [`SalHashMap::iter`](super::SalHashMap::iter).
pub struct Iter<'a, K, V> {
    /// A walk over a table that is borrowed for `'a`.
    raw: RawIter<Pair<K, V>>,
    borrow: PhantomData<&'a (K, V)>,
}

/// The entries of a map, values mutable, from [`SalHashMap::iter_mut`](super::SalHashMap::iter_mut).
pub struct IterMut<'a, K, V> {
    /// A walk over a table that is mutably borrowed for `'a`.
    raw: RawIter<Pair<K, V>>,
    borrow: PhantomData<(&'a K, &'a mut V)>,
}

// SAFETY: it is as good as `&'a K` and `&'a V`.
unsafe impl<K: Sync, V: Sync> Send for Iter<'_, K, V> {}
// SAFETY: as above.
unsafe impl<K: Sync, V: Sync> Sync for Iter<'_, K, V> {}
// SAFETY: it is as good as `&'a K` and `&'a mut V`; sending `K` too is more than it needs.
unsafe impl<K: Send + Sync, V: Send> Send for IterMut<'_, K, V> {}
// SAFETY: through a shared one only `&K` and `&V` can be had.
unsafe impl<K: Sync, V: Sync> Sync for IterMut<'_, K, V> {}

impl<'a, K, V> Iter<'a, K, V> {
    #[inline]
    pub(super) fn new(table: &'a RawTable<Pair<K, V>>) -> Self {
        Self { raw: table.iter(), borrow: PhantomData }
    }
}

impl<'a, K, V> IterMut<'a, K, V> {
    #[inline]
    pub(super) fn new(table: &'a mut RawTable<Pair<K, V>>) -> Self {
        Self { raw: table.iter(), borrow: PhantomData }
    }

    /// What is left, shared.
    #[inline]
    pub(super) fn rest(&self) -> Iter<'_, K, V> {
        Iter { raw: self.raw.clone(), borrow: PhantomData }
    }
}

impl<K, V> Clone for Iter<'_, K, V> {
    #[inline]
    fn clone(&self) -> Self {
        Self { raw: self.raw.clone(), borrow: PhantomData }
    }
}

impl<'a, K, V> Iterator for Iter<'a, K, V> {
    type Item = (&'a K, &'a V);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        // SAFETY: the entry of a full slot is a value (T3), and the table is borrowed for `'a`.
        self.raw.next().map(|pair| unsafe { (&(*pair).key, &(*pair).value) })
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.raw.remaining, Some(self.raw.remaining))
    }
}

impl<'a, K, V> Iterator for IterMut<'a, K, V> {
    type Item = (&'a K, &'a mut V);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        // SAFETY: the entry of a full slot is a value (T3), the table is mutably borrowed for `'a`, and no slot is
        // named twice.
        self.raw.next().map(|pair| unsafe { (&(*pair).key, &mut (*pair).value) })
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.raw.remaining, Some(self.raw.remaining))
    }
}

/// The keys of a map, from [`SalHashMap::keys`](super::SalHashMap::keys).
pub struct Keys<'a, K, V>(pub(super) Iter<'a, K, V>);

/// The values of a map, from [`SalHashMap::values`](super::SalHashMap::values).
pub struct Values<'a, K, V>(pub(super) Iter<'a, K, V>);

/// The values of a map, mutable, from [`SalHashMap::values_mut`](super::SalHashMap::values_mut).
pub struct ValuesMut<'a, K, V>(pub(super) IterMut<'a, K, V>);

impl<K, V> Clone for Keys<'_, K, V> {
    #[inline]
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K, V> Clone for Values<'_, K, V> {
    #[inline]
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// An iterator that is another one with part of its items.
macro_rules! project {
    ([$($generics:tt)*] $name:ty, $item:ty, $project:expr) => {
        impl<$($generics)*> Iterator for $name {
            type Item = $item;

            #[inline]
            fn next(&mut self) -> Option<Self::Item> {
                self.0.next().map($project)
            }

            #[inline]
            fn size_hint(&self) -> (usize, Option<usize>) {
                self.0.size_hint()
            }
        }
        impl<$($generics)*> ExactSizeIterator for $name {}
        impl<$($generics)*> core::iter::FusedIterator for $name {}
    };
}
pub(in super::super) use project;

project!(['a, K, V] Keys<'a, K, V>, &'a K, |(key, _)| key);
project!(['a, K, V] Values<'a, K, V>, &'a V, |(_, value)| value);
project!(['a, K, V] ValuesMut<'a, K, V>, &'a mut V, |(_, value)| value);

impl<K, V> ExactSizeIterator for Iter<'_, K, V> {}
impl<K, V> ExactSizeIterator for IterMut<'_, K, V> {}
impl<K, V> FusedIterator for Iter<'_, K, V> {}
impl<K, V> FusedIterator for IterMut<'_, K, V> {}

impl<K, V> Default for Iter<'_, K, V> {
    fn default() -> Self {
        Self { raw: RawIter::empty(), borrow: PhantomData }
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for Iter<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.clone()).finish()
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for IterMut<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.rest()).finish()
    }
}

impl<K: fmt::Debug, V> fmt::Debug for Keys<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.clone()).finish()
    }
}

impl<K, V: fmt::Debug> fmt::Debug for Values<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.clone()).finish()
    }
}

impl<K, V: fmt::Debug> fmt::Debug for ValuesMut<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.rest().map(|(_, value)| value)).finish()
    }
}
