//! Iterators over a whole map, from both ends.

use super::CowMap;
use super::cursor::Cursor;
use crate::collections::btree_map::project;
use core::fmt;
use core::iter::FusedIterator;

/// The entries of a map, from [`CowMap::iter`].
pub struct Iter<'a, K: 'static, V: 'static> {
    front: Cursor<'a, K, V>,
    back: Cursor<'a, K, V>,
    remaining: usize,
}

/// The keys of a map, from [`CowMap::keys`].
pub struct Keys<'a, K: 'static, V: 'static>(pub(super) Iter<'a, K, V>);

/// The values of a map, from [`CowMap::values`].
pub struct Values<'a, K: 'static, V: 'static>(pub(super) Iter<'a, K, V>);

impl<K: 'static, V: 'static> CowMap<K, V> {
    /// The entries, in the order of their keys.
    #[inline]
    pub fn iter(&self) -> Iter<'_, K, V> {
        let root = self.root.as_deref();
        Iter { front: Cursor::at_end(root, false), back: Cursor::at_end(root, true), remaining: self.len }
    }

    /// The keys, in order.
    #[inline]
    pub fn keys(&self) -> Keys<'_, K, V> {
        Keys(self.iter())
    }

    /// The values, in the order of their keys.
    #[inline]
    pub fn values(&self) -> Values<'_, K, V> {
        Values(self.iter())
    }
}

impl<'a, K: 'static, V: 'static> Iterator for Iter<'a, K, V> {
    type Item = (&'a K, &'a V);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.remaining = self.remaining.checked_sub(1)?;
        self.front.next()
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.remaining, Some(self.remaining))
    }
}

impl<K: 'static, V: 'static> DoubleEndedIterator for Iter<'_, K, V> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        self.remaining = self.remaining.checked_sub(1)?;
        self.back.previous()
    }
}

impl<K: 'static, V: 'static> ExactSizeIterator for Iter<'_, K, V> {}
impl<K: 'static, V: 'static> FusedIterator for Iter<'_, K, V> {}

project!(['a, K, V] Keys<'a, K, V>, &'a K, |(key, _)| key);
project!(['a, K, V] Values<'a, K, V>, &'a V, |(_, value)| value);

impl<K: 'static, V: 'static> Clone for Iter<'_, K, V> {
    #[inline]
    fn clone(&self) -> Self {
        Self { ..*self }
    }
}

impl<K: 'static, V: 'static> Clone for Keys<'_, K, V> {
    #[inline]
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: 'static, V: 'static> Clone for Values<'_, K, V> {
    #[inline]
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: 'static, V: 'static> Default for Iter<'_, K, V> {
    fn default() -> Self {
        Self { front: Cursor::nowhere(), back: Cursor::nowhere(), remaining: 0 }
    }
}

impl<K: fmt::Debug + 'static, V: fmt::Debug + 'static> fmt::Debug for Iter<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.clone()).finish()
    }
}

impl<K: fmt::Debug + 'static, V: 'static> fmt::Debug for Keys<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.clone()).finish()
    }
}

impl<K: 'static, V: fmt::Debug + 'static> fmt::Debug for Values<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.clone()).finish()
    }
}
