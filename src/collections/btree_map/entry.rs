//! The place of a key in a map, whether it is there or not.
#![allow(unsafe_code)]

use super::SalBTreeMap;
use super::path::Path;
use crate::collections::TryReserveError;
use crate::collections::error::or_raise;
use crate::heap::placement::HeapScope;
use core::fmt;
use core::mem::replace;

/// The place of a key, from [`SalBTreeMap::entry`].
pub enum Entry<'a, K, V> {
    /// The key is there.
    Occupied(OccupiedEntry<'a, K, V>),
    /// The key is not there.
    Vacant(VacantEntry<'a, K, V>),
}

/// A key that is in the map.
pub struct OccupiedEntry<'a, K, V> {
    map: &'a mut SalBTreeMap<K, V>,
    /// Leads to the pair.
    path: Path<K, V>,
}

/// A key that is not in the map.
pub struct VacantEntry<'a, K, V> {
    /// Not changed since the path below came from its `find_path`.
    map: &'a mut SalBTreeMap<K, V>,
    /// Leads to the leaf edge where the key belongs.
    path: Path<K, V>,
    key: K,
}

impl<K: Ord, V> SalBTreeMap<K, V> {
    /// The place of `key`.
    ///
    /// ```
    /// use sal::collections::SalBTreeMap;
    ///
    /// let mut letters = SalBTreeMap::new();
    /// for letter in "sal is a heap".chars() {
    ///     *letters.entry(letter).or_insert(0) += 1;
    /// }
    /// assert_eq!(letters[&'a'], 3);
    /// ```
    #[inline]
    pub fn entry(&mut self, key: K) -> Entry<'_, K, V> {
        match self.find_path(&key) {
            (path, true) => Entry::Occupied(OccupiedEntry::new(self, path)),
            (path, false) => Entry::Vacant(VacantEntry { map: self, path, key }),
        }
    }

    /// The entry with the smallest key.
    pub fn first_entry(&mut self) -> Option<OccupiedEntry<'_, K, V>> {
        let path = self.end(false);
        // In a map that is not empty, the first leaf begins with a pair.
        self.root.map(|_| OccupiedEntry::new(self, path))
    }

    /// The entry with the largest key.
    pub fn last_entry(&mut self) -> Option<OccupiedEntry<'_, K, V>> {
        let mut path = self.end(true);
        // SAFETY: it is a leaf edge of this map. After the step back it is the one before the last pair, in its leaf.
        unsafe { path.previous()? };
        Some(OccupiedEntry::new(self, path))
    }

    /// What `make` makes for this map: in its heap.
    #[inline]
    pub(super) fn make_in_heap<T>(&self, make: impl FnOnce() -> T) -> T {
        let _scope = HeapScope::enter(self.heap());
        make()
    }
}

impl<'a, K: Ord, V> Entry<'a, K, V> {
    /// The value, which is `default` if the key was not there.
    ///
    /// # Panics
    /// As [`SalBTreeMap::insert`].
    #[inline]
    pub fn or_insert(self, default: V) -> &'a mut V {
        match self {
            Self::Occupied(entry) => entry.into_mut(),
            Self::Vacant(entry) => entry.insert(default),
        }
    }

    /// The value, which `default` makes, in the heap of the map, if the key was not there.
    ///
    /// # Panics
    /// As [`SalBTreeMap::insert`].
    #[inline]
    pub fn or_insert_with(self, default: impl FnOnce() -> V) -> &'a mut V {
        self.or_insert_with_key(|_| default())
    }

    /// As [`or_insert_with`](Self::or_insert_with), from the key.
    ///
    /// # Panics
    /// As [`SalBTreeMap::insert`].
    #[inline]
    pub fn or_insert_with_key(self, default: impl FnOnce(&K) -> V) -> &'a mut V {
        match self {
            Self::Occupied(entry) => entry.into_mut(),
            Self::Vacant(entry) => {
                let value = entry.map.make_in_heap(|| default(&entry.key));
                entry.insert(value)
            }
        }
    }

    /// The value, which is the default one if the key was not there.
    ///
    /// # Panics
    /// As [`SalBTreeMap::insert`].
    #[inline]
    pub fn or_default(self) -> &'a mut V
    where
        V: Default,
    {
        self.or_insert_with(V::default)
    }

    /// Changes the value if the key is there.
    #[inline]
    pub fn and_modify(mut self, change: impl FnOnce(&mut V)) -> Self {
        if let Self::Occupied(entry) = &mut self {
            change(entry.get_mut());
        }
        self
    }

    /// The key.
    #[inline]
    pub fn key(&self) -> &K {
        match self {
            Self::Occupied(entry) => entry.key(),
            Self::Vacant(entry) => entry.key(),
        }
    }
}

impl<'a, K: Ord, V> OccupiedEntry<'a, K, V> {
    /// The path must be a new one, to a pair.
    #[inline]
    pub(super) fn new(map: &'a mut SalBTreeMap<K, V>, path: Path<K, V>) -> Self {
        Self { map, path }
    }

    #[inline]
    fn value(&self) -> *mut V {
        let (node, at) = self.path.last();
        // SAFETY: the path leads to a pair.
        unsafe { node.value(at) }
    }

    /// The key as it is in the map.
    #[inline]
    pub fn key(&self) -> &K {
        let (node, at) = self.path.last();
        // SAFETY: the path leads to a pair, which lives as long as the map is borrowed.
        unsafe { &*node.key(at) }
    }

    /// The value.
    #[inline]
    pub fn get(&self) -> &V {
        // SAFETY: the value lives as long as the map is borrowed.
        unsafe { &*self.value() }
    }

    /// The value, mutable.
    #[inline]
    pub fn get_mut(&mut self) -> &mut V {
        // SAFETY: the value lives as long as the map is borrowed, and mutably so.
        unsafe { &mut *self.value() }
    }

    /// The value, mutable for as long as the map is borrowed.
    #[inline]
    pub fn into_mut(self) -> &'a mut V {
        // SAFETY: the value lives as long as the map is borrowed, and mutably so.
        unsafe { &mut *self.value() }
    }

    /// Replaces the value and returns the one before.
    #[inline]
    pub fn insert(&mut self, value: V) -> V {
        replace(self.get_mut(), value)
    }

    /// Removes the key and returns its value.
    #[inline]
    pub fn remove(self) -> V {
        self.remove_entry().1
    }

    /// Removes the key and returns it with its value.
    #[inline]
    pub fn remove_entry(self) -> (K, V) {
        // SAFETY: the path leads to the pair, and the entry is consumed.
        unsafe { self.map.remove_found(self.path) }
    }
}

impl<'a, K: Ord, V> VacantEntry<'a, K, V> {
    /// The key.
    #[inline]
    pub fn key(&self) -> &K {
        &self.key
    }

    /// The key, taken back.
    #[inline]
    pub fn into_key(self) -> K {
        self.key
    }

    /// Gives the key a value.
    ///
    /// # Panics
    /// As [`SalBTreeMap::insert`].
    #[inline]
    pub fn insert(self, value: V) -> &'a mut V {
        or_raise(self.try_insert(value))
    }

    /// As [`insert`](Self::insert), for a disk that may be full.
    ///
    /// # Errors
    /// As [`SalBTreeMap::try_insert`]; the map is as it was, key and value are dropped.
    #[inline]
    pub fn try_insert(self, value: V) -> Result<&'a mut V, TryReserveError> {
        // SAFETY: the path leads to the leaf edge where the key belongs; the value lives as long as the map is
        // borrowed, and mutably so.
        unsafe { Ok(&mut *self.map.insert_at(&self.path, self.key, value)?) }
    }
}

impl<K: fmt::Debug + Ord, V: fmt::Debug> fmt::Debug for Entry<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Occupied(entry) => f.debug_tuple("Entry").field(entry).finish(),
            Self::Vacant(entry) => f.debug_tuple("Entry").field(entry).finish(),
        }
    }
}

impl<K: fmt::Debug + Ord, V: fmt::Debug> fmt::Debug for OccupiedEntry<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OccupiedEntry").field("key", self.key()).field("value", self.get()).finish()
    }
}

impl<K: fmt::Debug + Ord, V> fmt::Debug for VacantEntry<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("VacantEntry").field(self.key()).finish()
    }
}
