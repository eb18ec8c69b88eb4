//! The place of a key in a map, whether it is there or not.
#![allow(unsafe_code)]

use super::{Pair, SalHashMap};
use crate::collections::TryReserveError;
use crate::collections::error::or_raise;
use crate::heap::placement::HeapScope;
use core::fmt;
use core::hash::Hash;
use core::mem::replace;

/// The place of a key, from [`SalHashMap::entry`].
pub enum Entry<'a, K, V> {
    /// The key is there.
    Occupied(OccupiedEntry<'a, K, V>),
    /// The key is not there.
    Vacant(VacantEntry<'a, K, V>),
}

/// A key that is in the map.
pub struct OccupiedEntry<'a, K, V> {
    map: &'a mut SalHashMap<K, V>,
    /// A full slot of the map.
    slot: usize,
}

/// A key that is not in the map.
pub struct VacantEntry<'a, K, V> {
    /// Not changed since the two below came from its `find_or_free`.
    map: &'a mut SalHashMap<K, V>,
    hash: u64,
    slot: usize,
    key: K,
}

impl<K: Eq + Hash, V> SalHashMap<K, V> {
    /// The place of `key`.
    ///
    /// ```
    /// use sal::collections::SalHashMap;
    ///
    /// let mut letters = SalHashMap::new();
    /// for letter in "sal is a heap".chars() {
    ///     *letters.entry(letter).or_insert(0) += 1;
    /// }
    /// assert_eq!(letters[&'a'], 3);
    /// ```
    #[inline]
    pub fn entry(&mut self, key: K) -> Entry<'_, K, V> {
        match self.find_or_free(&key) {
            (_, Ok(slot)) => Entry::Occupied(OccupiedEntry::new(self, slot)),
            (hash, Err(slot)) => Entry::Vacant(VacantEntry { map: self, hash, slot, key }),
        }
    }

    /// What `make` makes for this map: in its heap.
    #[inline]
    pub(super) fn make_in_heap<T>(&self, make: impl FnOnce() -> T) -> T {
        let _scope = HeapScope::enter(self.table.heap());
        make()
    }
}

impl<'a, K: Eq + Hash, V> Entry<'a, K, V> {
    /// The value, which is `default` if the key was not there.
    ///
    /// # Panics
    /// As [`SalHashMap::reserve`].
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
    /// As [`SalHashMap::reserve`].
    #[inline]
    pub fn or_insert_with(self, default: impl FnOnce() -> V) -> &'a mut V {
        self.or_insert_with_key(|_| default())
    }

    /// As [`or_insert_with`](Self::or_insert_with), from the key.
    ///
    /// # Panics
    /// As [`SalHashMap::reserve`].
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
    /// As [`SalHashMap::reserve`].
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

    /// Gives the key a value.
    ///
    /// # Panics
    /// As [`SalHashMap::reserve`].
    pub fn insert_entry(self, value: V) -> OccupiedEntry<'a, K, V> {
        match self {
            Self::Occupied(mut entry) => {
                entry.insert(value);
                entry
            }
            Self::Vacant(entry) => entry.insert_entry(value),
        }
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

impl<'a, K: Eq + Hash, V> OccupiedEntry<'a, K, V> {
    /// `slot` must be a full one, found just now.
    #[inline]
    pub(super) fn new(map: &'a mut SalHashMap<K, V>, slot: usize) -> Self {
        Self { map, slot }
    }

    #[inline]
    fn pair(&self) -> &Pair<K, V> {
        // SAFETY: the slot is full, and the map cannot change meanwhile.
        unsafe { self.map.pair(self.slot) }
    }

    /// The key as it is in the map.
    #[inline]
    pub fn key(&self) -> &K {
        &self.pair().key
    }

    /// The value.
    #[inline]
    pub fn get(&self) -> &V {
        &self.pair().value
    }

    /// The value, mutable.
    #[inline]
    pub fn get_mut(&mut self) -> &mut V {
        // SAFETY: the slot is full, and the map cannot change meanwhile.
        unsafe { &mut self.map.pair_mut(self.slot).value }
    }

    /// The value, mutable for as long as the map is borrowed.
    #[inline]
    pub fn into_mut(self) -> &'a mut V {
        // SAFETY: the slot is full, and the map cannot change meanwhile.
        unsafe { &mut self.map.pair_mut(self.slot).value }
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
        // SAFETY: the slot is full, and the entry is consumed.
        let Pair { key, value } = unsafe { self.map.table.take(self.slot) };
        (key, value)
    }
}

impl<'a, K: Eq + Hash, V> VacantEntry<'a, K, V> {
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
    /// As [`SalHashMap::reserve`].
    #[inline]
    pub fn insert(self, value: V) -> &'a mut V {
        self.insert_entry(value).into_mut()
    }

    /// As [`insert`](Self::insert), for a disk that may be full.
    ///
    /// # Errors
    /// Each of [`TryReserveError`]; the map is as it was, key and value are dropped.
    #[inline]
    pub fn try_insert(self, value: V) -> Result<&'a mut V, TryReserveError> {
        self.try_insert_entry(value).map(OccupiedEntry::into_mut)
    }

    /// As [`insert`](Self::insert), and returns the entry.
    ///
    /// # Panics
    /// As [`SalHashMap::reserve`].
    #[inline]
    pub fn insert_entry(self, value: V) -> OccupiedEntry<'a, K, V> {
        or_raise(self.try_insert_entry(value))
    }

    #[inline]
    fn try_insert_entry(self, value: V) -> Result<OccupiedEntry<'a, K, V>, TryReserveError> {
        // SAFETY: the map is as `find_or_free` left it.
        let slot = unsafe { self.map.insert_new(self.hash, self.slot, self.key, value)? };
        Ok(OccupiedEntry::new(self.map, slot))
    }
}

impl<K: fmt::Debug + Eq + Hash, V: fmt::Debug> fmt::Debug for Entry<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Occupied(entry) => f.debug_tuple("Entry").field(entry).finish(),
            Self::Vacant(entry) => f.debug_tuple("Entry").field(entry).finish(),
        }
    }
}

impl<K: fmt::Debug + Eq + Hash, V: fmt::Debug> fmt::Debug for OccupiedEntry<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OccupiedEntry").field("key", self.key()).field("value", self.get()).finish()
    }
}

impl<K: fmt::Debug + Eq + Hash, V> fmt::Debug for VacantEntry<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("VacantEntry").field(self.key()).finish()
    }
}
