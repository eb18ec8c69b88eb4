//! Iterators that borrow the map.
#![allow(unsafe_code)]

use super::CowHashMap;
use super::leaf::Pair;
use super::walk::{Own, Shared, Walk};
use crate::collections::hash_map::project;
use core::fmt;
use core::iter::FusedIterator;
use core::marker::PhantomData;
use core::ptr::NonNull;

/// The entries of a map, from [`CowHashMap::iter`].
pub struct Iter<'a, K: 'static, V: 'static> {
    /// A walk over a map that is borrowed for `'a`.
    walk: Walk<K, V>,
    borrow: PhantomData<&'a (K, V)>,
}

/// The entries of a map, values mutable, from [`CowHashMap::iter_mut`].
pub struct IterMut<'a, K: 'static, V: 'static> {
    /// A walk over a map that is mutably borrowed for `'a`.
    walk: Walk<K, V>,
    borrow: PhantomData<(&'a K, &'a mut V)>,
}

// SAFETY: it is as good as `&'a K` and `&'a V`.
unsafe impl<K: Sync + 'static, V: Sync + 'static> Send for Iter<'_, K, V> {}
// SAFETY: as above.
unsafe impl<K: Sync + 'static, V: Sync + 'static> Sync for Iter<'_, K, V> {}
// SAFETY: it is as good as a mutable borrow of the map, which shares nodes.
unsafe impl<K: Send + Sync + 'static, V: Send + Sync + 'static> Send for IterMut<'_, K, V> {}
// SAFETY: through a shared one nothing but its length can be had.
unsafe impl<K: Sync + 'static, V: Sync + 'static> Sync for IterMut<'_, K, V> {}

impl<'a, K: 'static, V: 'static> Iter<'a, K, V> {
    #[inline]
    pub(super) fn new(map: &'a CowHashMap<K, V>) -> Self {
        // SAFETY: borrowed for `'a`; the access changes nothing.
        Self { walk: unsafe { Walk::new::<Shared>(NonNull::from(map)) }, borrow: PhantomData }
    }

    /// The next entry, as it lies in its leaf.
    #[inline(always)]
    fn next_pair(&mut self) -> Option<&'a Pair<K, V>> {
        // SAFETY: the map is borrowed for `'a`, and the walk began so.
        unsafe { self.walk.next::<Shared>().map(|pair| pair.as_ref()) }
    }

    /// The entries as they lie in leaves.
    pub(super) fn pairs(mut self) -> impl Iterator<Item = &'a Pair<K, V>> {
        core::iter::from_fn(move || self.next_pair())
    }
}

impl<'a, K: Clone + 'static, V: Clone + 'static> IterMut<'a, K, V> {
    #[inline]
    pub(super) fn new(map: &'a mut CowHashMap<K, V>) -> Self {
        // SAFETY: mutably borrowed for `'a`.
        Self { walk: unsafe { Walk::new::<Own>(NonNull::from(map)) }, borrow: PhantomData }
    }
}

impl<K: 'static, V: 'static> Clone for Iter<'_, K, V> {
    #[inline]
    fn clone(&self) -> Self {
        Self { walk: self.walk.clone(), borrow: PhantomData }
    }
}

impl<'a, K: 'static, V: 'static> Iterator for Iter<'a, K, V> {
    type Item = (&'a K, &'a V);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.next_pair().map(|pair| (&pair.key, &pair.value))
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.walk.left, Some(self.walk.left))
    }
}

impl<'a, K: Clone + 'static, V: Clone + 'static> Iterator for IterMut<'a, K, V> {
    type Item = (&'a K, &'a mut V);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        // SAFETY: the map is mutably borrowed for `'a`, and no entry is met twice.
        unsafe {
            self.walk.next::<Own>().map(|pair| {
                let pair = pair.as_ptr();
                (&(*pair).key, &mut (*pair).value)
            })
        }
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.walk.left, Some(self.walk.left))
    }
}

/// The keys of a map, from [`CowHashMap::keys`].
pub struct Keys<'a, K: 'static, V: 'static>(pub(super) Iter<'a, K, V>);

/// The values of a map, from [`CowHashMap::values`].
pub struct Values<'a, K: 'static, V: 'static>(pub(super) Iter<'a, K, V>);

/// The values of a map, mutable, from [`CowHashMap::values_mut`].
pub struct ValuesMut<'a, K: 'static, V: 'static>(pub(super) IterMut<'a, K, V>);

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

project!(['a, K, V] Keys<'a, K, V>, &'a K, |(key, _)| key);
project!(['a, K, V] Values<'a, K, V>, &'a V, |(_, value)| value);
project!(['a, K: Clone, V: Clone] ValuesMut<'a, K, V>, &'a mut V, |(_, value)| value);

impl<K: 'static, V: 'static> ExactSizeIterator for Iter<'_, K, V> {}
impl<K: Clone + 'static, V: Clone + 'static> ExactSizeIterator for IterMut<'_, K, V> {}
impl<K: 'static, V: 'static> FusedIterator for Iter<'_, K, V> {}
impl<K: Clone + 'static, V: Clone + 'static> FusedIterator for IterMut<'_, K, V> {}

impl<K: 'static, V: 'static> Default for Iter<'_, K, V> {
    fn default() -> Self {
        Self { walk: Walk::empty(), borrow: PhantomData }
    }
}

impl<K: fmt::Debug + 'static, V: fmt::Debug + 'static> fmt::Debug for Iter<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.clone()).finish()
    }
}

impl<K: 'static, V: 'static> fmt::Debug for IterMut<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IterMut").field("left", &self.walk.left).finish_non_exhaustive()
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

impl<K: 'static, V: 'static> fmt::Debug for ValuesMut<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ValuesMut").field("left", &self.0.walk.left).finish_non_exhaustive()
    }
}
