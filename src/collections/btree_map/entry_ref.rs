//! The place of a key that is made only when it is missing.
#![allow(unsafe_code)]

use super::path::Path;
use super::{OccupiedEntry, SalBTreeMap};
use crate::collections::TryReserveError;
use crate::collections::error::or_raise;
use core::borrow::Borrow;
use core::fmt;

/// The place of a borrowed key, from [`SalBTreeMap::entry_ref`].
pub enum EntryRef<'a, 'q, K, Q: ?Sized, V> {
    /// The key is there.
    Occupied(OccupiedEntry<'a, K, V>),
    /// The key is not there, and not made yet.
    Vacant(VacantEntryRef<'a, 'q, K, Q, V>),
}

/// A borrowed key that is not in the map.
pub struct VacantEntryRef<'a, 'q, K, Q: ?Sized, V> {
    /// Not changed since the path below came from its `find_path`.
    map: &'a mut SalBTreeMap<K, V>,
    /// Leads to the leaf edge where the key belongs.
    path: Path<K, V>,
    key: &'q Q,
}

impl<K: Ord, V> SalBTreeMap<K, V> {
    /// The place of the key that equals `key`. Finding it takes no memory; the key is made from `key` when a value
    /// is inserted, in the heap of the map.
    ///
    /// ```
    /// use sal::collections::SalBTreeMap;
    ///
    /// let mut words: SalBTreeMap<String, u32> = SalBTreeMap::new();
    /// for word in "to be or not to be".split(' ') {
    ///     *words.entry_ref(word).or_default() += 1;
    /// }
    /// assert_eq!(words["be"], 2);
    /// ```
    #[inline]
    pub fn entry_ref<'a, 'q, Q>(&'a mut self, key: &'q Q) -> EntryRef<'a, 'q, K, Q, V>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        match self.find_path(key) {
            (path, true) => EntryRef::Occupied(OccupiedEntry::new(self, path)),
            (path, false) => EntryRef::Vacant(VacantEntryRef { map: self, path, key }),
        }
    }
}

impl<'a, 'q, K: Ord + From<&'q Q>, Q: ?Sized, V> EntryRef<'a, 'q, K, Q, V> {
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

    /// As [`or_insert_with`](Self::or_insert_with), from the borrowed key.
    ///
    /// # Panics
    /// As [`SalBTreeMap::insert`].
    #[inline]
    pub fn or_insert_with_key(self, default: impl FnOnce(&Q) -> V) -> &'a mut V {
        match self {
            Self::Occupied(entry) => entry.into_mut(),
            Self::Vacant(entry) => {
                let value = entry.map.make_in_heap(|| default(entry.key));
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
}

impl<K: Ord, Q: ?Sized, V> EntryRef<'_, '_, K, Q, V> {
    /// Changes the value if the key is there.
    #[inline]
    pub fn and_modify(mut self, change: impl FnOnce(&mut V)) -> Self {
        if let Self::Occupied(entry) = &mut self {
            change(entry.get_mut());
        }
        self
    }

    /// The key, borrowed.
    #[inline]
    pub fn key(&self) -> &Q
    where
        K: Borrow<Q>,
    {
        match self {
            Self::Occupied(entry) => entry.key().borrow(),
            Self::Vacant(entry) => entry.key,
        }
    }
}

impl<'a, 'q, K: Ord, Q: ?Sized, V> VacantEntryRef<'a, 'q, K, Q, V> {
    /// The key, borrowed.
    #[inline]
    pub fn key(&self) -> &'q Q {
        self.key
    }

    /// Makes the key and gives it a value.
    ///
    /// # Panics
    /// As [`SalBTreeMap::insert`].
    #[inline]
    pub fn insert(self, value: V) -> &'a mut V
    where
        K: From<&'q Q>,
    {
        or_raise(self.try_insert(value))
    }

    /// As [`insert`](Self::insert), for a disk that may be full.
    ///
    /// # Errors
    /// As [`SalBTreeMap::try_insert`]; the map is as it was, key and value are dropped. (Memory for the key itself is
    /// not covered: make it yourself and use [`entry`](SalBTreeMap::entry).)
    #[inline]
    pub fn try_insert(self, value: V) -> Result<&'a mut V, TryReserveError>
    where
        K: From<&'q Q>,
    {
        let key = self.map.make_in_heap(|| K::from(self.key));
        // SAFETY: making a key cannot reach the map, so the path still leads to the leaf edge where the key belongs;
        // the value lives as long as the map is borrowed, and mutably so.
        unsafe { Ok(&mut *self.map.insert_at(&self.path, key, value)?) }
    }
}

impl<K: fmt::Debug + Ord, Q: fmt::Debug + ?Sized, V: fmt::Debug> fmt::Debug for EntryRef<'_, '_, K, Q, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Occupied(entry) => f.debug_tuple("EntryRef").field(entry).finish(),
            Self::Vacant(entry) => f.debug_tuple("EntryRef").field(entry).finish(),
        }
    }
}

impl<K, Q: fmt::Debug + ?Sized, V> fmt::Debug for VacantEntryRef<'_, '_, K, Q, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("VacantEntryRef").field(&self.key).finish()
    }
}
