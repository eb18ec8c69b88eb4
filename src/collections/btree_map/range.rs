//! Iterators over the keys between two bounds.
#![allow(unsafe_code)]

use super::SalBTreeMap;
use super::node::Node;
use super::path::Path;
use core::borrow::Borrow;
use core::fmt;
use core::iter::FusedIterator;
use core::marker::PhantomData;
use core::ops::Bound::{self, Excluded, Included, Unbounded};
use core::ops::RangeBounds;

/// Two leaf edges. As long as the first is not behind the second no pair is between them twice; and even if an `Ord`
/// that contradicts itself lets them cross, what is behind the one and what is before the other have nothing in
/// common.
struct Edges<K, V> {
    front: Path<K, V>,
    back: Path<K, V>,
}

impl<K, V> Clone for Edges<K, V> {
    fn clone(&self) -> Self {
        Self { front: self.front.clone(), back: self.back.clone() }
    }
}

impl<K, V> Edges<K, V> {
    fn next(&mut self) -> Option<(Node<K, V>, usize)> {
        if self.front.is_at(&self.back) {
            return None;
        }
        // SAFETY: it is a leaf edge of a tree that who holds this has borrowed.
        unsafe { self.front.next() }
    }

    fn next_back(&mut self) -> Option<(Node<K, V>, usize)> {
        if self.front.is_at(&self.back) {
            return None;
        }
        // SAFETY: as in `next`.
        unsafe { self.back.previous() }
    }
}

impl<K: Ord, V> SalBTreeMap<K, V> {
    /// The leaf edge before which are the keys less than `key`, and the equal one if `behind_equal`.
    pub(super) fn edge<Q: Ord + ?Sized>(&self, key: &Q, behind_equal: bool) -> Path<K, V>
    where
        K: Borrow<Q>,
    {
        let (mut path, found) = self.find_path(key);
        if found {
            let step = path.depth() - 1;
            let (node, at) = path.last();
            path.set(step, node, at + usize::from(behind_equal));
            // SAFETY: the nodes are this map's. Down from before the pair is its left neighbour's end, from behind it
            // the beginning of the right one.
            unsafe { path.descend(self.height + 1, !behind_equal) };
        }
        path
    }

    fn edges<Q: Ord + ?Sized>(&self, start: Bound<&Q>, end: Bound<&Q>) -> Edges<K, V>
    where
        K: Borrow<Q>,
    {
        match (start, end) {
            (Excluded(start), Excluded(end)) if start == end => {
                panic!("range is empty on both sides of one key")
            }
            (Included(start) | Excluded(start), Included(end) | Excluded(end)) if start > end => {
                panic!("range starts behind its end")
            }
            _ => {}
        }
        Edges {
            front: match start {
                Included(key) => self.edge(key, false),
                Excluded(key) => self.edge(key, true),
                Unbounded => self.end(false),
            },
            back: match end {
                Included(key) => self.edge(key, true),
                Excluded(key) => self.edge(key, false),
                Unbounded => self.end(true),
            },
        }
    }

    /// The entries with keys in a range.
    ///
    /// # Panics
    /// If the range starts behind its end, or excludes on both sides the same key.
    ///
    /// ```
    /// use sal::collections::SalBTreeMap;
    ///
    /// let map: SalBTreeMap<u32, char> = (0..).zip('a'..='z').collect();
    /// assert_eq!(map.range(3..6).map(|(_, letter)| letter).collect::<String>(), "def");
    /// ```
    pub fn range<Q: Ord + ?Sized, R: RangeBounds<Q>>(&self, range: R) -> Range<'_, K, V>
    where
        K: Borrow<Q>,
    {
        Range { edges: self.edges(range.start_bound(), range.end_bound()), borrow: PhantomData }
    }

    /// The entries with keys in a range, their values mutable.
    ///
    /// # Panics
    /// As [`range`](Self::range).
    pub fn range_mut<Q: Ord + ?Sized, R: RangeBounds<Q>>(&mut self, range: R) -> RangeMut<'_, K, V>
    where
        K: Borrow<Q>,
    {
        RangeMut { edges: self.edges(range.start_bound(), range.end_bound()), borrow: PhantomData }
    }
}

/// The entries of a range of keys, from [`SalBTreeMap::range`].
pub struct Range<'a, K, V> {
    /// Of a map that is borrowed for `'a`.
    edges: Edges<K, V>,
    borrow: PhantomData<&'a (K, V)>,
}

/// The entries of a range of keys, values mutable, from [`SalBTreeMap::range_mut`].
pub struct RangeMut<'a, K, V> {
    /// Of a map that is mutably borrowed for `'a`.
    edges: Edges<K, V>,
    borrow: PhantomData<(&'a K, &'a mut V)>,
}

// SAFETY: it is as good as `&'a K` and `&'a V`.
unsafe impl<K: Sync, V: Sync> Send for Range<'_, K, V> {}
// SAFETY: as above.
unsafe impl<K: Sync, V: Sync> Sync for Range<'_, K, V> {}
// SAFETY: it is as good as `&'a K` and `&'a mut V`; sending `K` too is more than it needs.
unsafe impl<K: Send + Sync, V: Send> Send for RangeMut<'_, K, V> {}
// SAFETY: through a shared one only `&K` and `&V` can be had.
unsafe impl<K: Sync, V: Sync> Sync for RangeMut<'_, K, V> {}

impl<K, V> Clone for Range<'_, K, V> {
    fn clone(&self) -> Self {
        Self { edges: self.edges.clone(), borrow: PhantomData }
    }
}

impl<'a, K, V> Iterator for Range<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        // SAFETY: the pair is in the map (N2), which is borrowed for `'a`.
        self.edges.next().map(|(node, at)| unsafe { (&*node.key(at), &*node.value(at)) })
    }
}

impl<K, V> DoubleEndedIterator for Range<'_, K, V> {
    fn next_back(&mut self) -> Option<Self::Item> {
        // SAFETY: as in `next`.
        self.edges.next_back().map(|(node, at)| unsafe { (&*node.key(at), &*node.value(at)) })
    }
}

impl<'a, K, V> Iterator for RangeMut<'a, K, V> {
    type Item = (&'a K, &'a mut V);

    fn next(&mut self) -> Option<Self::Item> {
        // SAFETY: the pair is in the map (N2), which is mutably borrowed for `'a`, and named once (see `Edges`).
        self.edges.next().map(|(node, at)| unsafe { (&*node.key(at), &mut *node.value(at)) })
    }
}

impl<K, V> DoubleEndedIterator for RangeMut<'_, K, V> {
    fn next_back(&mut self) -> Option<Self::Item> {
        // SAFETY: as in `next`.
        self.edges.next_back().map(|(node, at)| unsafe { (&*node.key(at), &mut *node.value(at)) })
    }
}

impl<K, V> FusedIterator for Range<'_, K, V> {}
impl<K, V> FusedIterator for RangeMut<'_, K, V> {}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for Range<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.clone()).finish()
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for RangeMut<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rest = Range::<K, V> { edges: self.edges.clone(), borrow: PhantomData };
        f.debug_list().entries(rest).finish()
    }
}
