//! Iterators over a whole map, from both ends.
#![allow(unsafe_code)]

use super::SalBTreeMap;
use super::node::Node;
use super::path::Path;
use core::fmt;
use core::iter::FusedIterator;
use core::marker::PhantomData;

/// Both ends of a walk over all pairs of a map, as raw as it gets: it borrows nothing. The tree must stay as it is.
pub(super) struct RawIter<K, V> {
    root: Option<Node<K, V>>,
    height: usize,
    /// The leaf edge before the pairs that remain; leads nowhere before the first step from there.
    front: Path<K, V>,
    /// The leaf edge behind them; likewise.
    back: Path<K, V>,
    /// How many pairs remain.
    pub(super) remaining: usize,
}

impl<K, V> Clone for RawIter<K, V> {
    fn clone(&self) -> Self {
        Self { front: self.front.clone(), back: self.back.clone(), ..*self }
    }
}

impl<K, V> RawIter<K, V> {
    /// A walk over nothing.
    pub(super) const fn empty() -> Self {
        Self { root: None, height: 0, front: Path::new(), back: Path::new(), remaining: 0 }
    }

    #[inline]
    pub(super) fn new(map: &SalBTreeMap<K, V>) -> Self {
        Self { root: map.root, height: map.height, front: Path::new(), back: Path::new(), remaining: map.len }
    }

    #[inline]
    pub(super) fn next(&mut self) -> Option<(Node<K, V>, usize)> {
        self.remaining = self.remaining.checked_sub(1)?;
        // SAFETY: pairs remain, so (B1) there is a root of this height, and the tree is as it was.
        unsafe {
            if self.front.depth() == 0 {
                self.front = Path::to_end(self.root?, self.height, false);
            }
            self.front.next()
        }
    }

    #[inline]
    pub(super) fn next_back(&mut self) -> Option<(Node<K, V>, usize)> {
        self.remaining = self.remaining.checked_sub(1)?;
        // SAFETY: as in `next`.
        unsafe {
            if self.back.depth() == 0 {
                self.back = Path::to_end(self.root?, self.height, true);
            }
            self.back.previous()
        }
    }
}

/// The entries of a map, from [`SalBTreeMap::iter`].
pub struct Iter<'a, K, V> {
    /// A walk over a map that is borrowed for `'a`.
    raw: RawIter<K, V>,
    borrow: PhantomData<&'a (K, V)>,
}

/// The entries of a map, values mutable, from [`SalBTreeMap::iter_mut`].
pub struct IterMut<'a, K, V> {
    /// A walk over a map that is mutably borrowed for `'a`.
    raw: RawIter<K, V>,
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
    pub(super) fn new(map: &'a SalBTreeMap<K, V>) -> Self {
        Self { raw: RawIter::new(map), borrow: PhantomData }
    }
}

impl<'a, K, V> IterMut<'a, K, V> {
    #[inline]
    pub(super) fn new(map: &'a mut SalBTreeMap<K, V>) -> Self {
        Self { raw: RawIter::new(map), borrow: PhantomData }
    }

    /// What is left, shared.
    #[inline]
    pub(super) fn rest(&self) -> Iter<'_, K, V> {
        Iter { raw: self.raw.clone(), borrow: PhantomData }
    }
}

impl<K, V> Clone for Iter<'_, K, V> {
    fn clone(&self) -> Self {
        Self { raw: self.raw.clone(), borrow: PhantomData }
    }
}

impl<'a, K, V> Iterator for Iter<'a, K, V> {
    type Item = (&'a K, &'a V);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        // SAFETY: the pair is in the map (N2), which is borrowed for `'a`.
        self.raw.next().map(|(node, at)| unsafe { (&*node.key(at), &*node.value(at)) })
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.raw.remaining, Some(self.raw.remaining))
    }
}

impl<K, V> DoubleEndedIterator for Iter<'_, K, V> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        // SAFETY: as in `next`.
        self.raw.next_back().map(|(node, at)| unsafe { (&*node.key(at), &*node.value(at)) })
    }
}

impl<'a, K, V> Iterator for IterMut<'a, K, V> {
    type Item = (&'a K, &'a mut V);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        // SAFETY: the pair is in the map (N2), which is mutably borrowed for `'a`, and as many pairs as there are
        // are named, from both ends, so none twice.
        self.raw.next().map(|(node, at)| unsafe { (&*node.key(at), &mut *node.value(at)) })
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.raw.remaining, Some(self.raw.remaining))
    }
}

impl<K, V> DoubleEndedIterator for IterMut<'_, K, V> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        // SAFETY: as in `next`.
        self.raw.next_back().map(|(node, at)| unsafe { (&*node.key(at), &mut *node.value(at)) })
    }
}

/// The keys of a map, from [`SalBTreeMap::keys`](super::SalBTreeMap::keys).
pub struct Keys<'a, K, V>(pub(super) Iter<'a, K, V>);

/// The values of a map, from [`SalBTreeMap::values`](super::SalBTreeMap::values).
pub struct Values<'a, K, V>(pub(super) Iter<'a, K, V>);

/// The values of a map, mutable, from [`SalBTreeMap::values_mut`](super::SalBTreeMap::values_mut).
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
        impl<$($generics)*> DoubleEndedIterator for $name {
            #[inline]
            fn next_back(&mut self) -> Option<Self::Item> {
                self.0.next_back().map($project)
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
