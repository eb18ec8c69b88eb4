//! Iterators over the keys between two bounds.

use super::CowMap;
use super::cursor::Cursor;
use core::borrow::Borrow;
use core::fmt;
use core::iter::FusedIterator;
use core::ops::Bound::{self, Excluded, Included, Unbounded};
use core::ops::RangeBounds;

/// The entries of a range of keys, from [`CowMap::range`].
pub struct Range<'a, K: 'static, V: 'static> {
    /// Neither is behind the other, but if the order of the keys contradicts itself; then too the walk ends with the tree.
    front: Cursor<'a, K, V>,
    back: Cursor<'a, K, V>,
}

impl<K: Ord + 'static, V: 'static> CowMap<K, V> {
    /// The place before which are the keys less than `key`, and the equal one if `behind_equal`.
    fn place<Q: Ord + ?Sized>(&self, key: &Q, behind_equal: bool) -> Cursor<'_, K, V>
    where
        K: Borrow<Q>,
    {
        let at = |found: Result<usize, usize>| found.map_or_else(|at| at, |at| at + usize::from(behind_equal));
        Cursor::new(self.root.as_deref(), |branch| branch.child_of(key), |leaf| at(leaf.find(key)))
    }

    /// The entries with keys in a range.
    ///
    /// # Panics
    /// If the range starts behind its end, or excludes on both sides the same key.
    ///
    /// ```
    /// use sal::collections::CowMap;
    ///
    /// let map: CowMap<u32, char> = (0..).zip('a'..='z').collect();
    /// assert_eq!(map.range(3..6).map(|(_, letter)| letter).collect::<String>(), "def");
    /// ```
    pub fn range<Q: Ord + ?Sized, R: RangeBounds<Q>>(&self, range: R) -> Range<'_, K, V>
    where
        K: Borrow<Q>,
    {
        self.between(range.start_bound(), range.end_bound())
    }

    fn between<Q: Ord + ?Sized>(&self, start: Bound<&Q>, end: Bound<&Q>) -> Range<'_, K, V>
    where
        K: Borrow<Q>,
    {
        match (start, end) {
            (Excluded(start), Excluded(end)) if start == end => panic!("range is empty on both sides of one key"),
            (Included(start) | Excluded(start), Included(end) | Excluded(end)) if start > end => {
                panic!("range starts behind its end")
            }
            _ => {}
        }
        let front = match start {
            Included(key) => self.place(key, false),
            Excluded(key) => self.place(key, true),
            Unbounded => Cursor::at_end(self.root.as_deref(), false),
        };
        let mut back = match end {
            Included(key) => self.place(key, true),
            Excluded(key) => self.place(key, false),
            Unbounded => Cursor::at_end(self.root.as_deref(), true),
        };
        back.settle();
        Range { front, back }
    }
}

impl<K: 'static, V: 'static> Range<'_, K, V> {
    /// Whether nothing is left. Of the places of one meaning that before the next pair is compared.
    #[inline]
    fn is_over(&mut self) -> bool {
        self.front.settle();
        self.front.is_at(&self.back)
    }
}

impl<'a, K: 'static, V: 'static> Iterator for Range<'a, K, V> {
    type Item = (&'a K, &'a V);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over() { None } else { self.front.next() }
    }
}

impl<K: 'static, V: 'static> DoubleEndedIterator for Range<'_, K, V> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.is_over() { None } else { self.back.previous() }
    }
}

impl<K: 'static, V: 'static> FusedIterator for Range<'_, K, V> {}

impl<K: 'static, V: 'static> Clone for Range<'_, K, V> {
    fn clone(&self) -> Self {
        Self { ..*self }
    }
}

impl<K: fmt::Debug + 'static, V: fmt::Debug + 'static> fmt::Debug for Range<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.clone()).finish()
    }
}
