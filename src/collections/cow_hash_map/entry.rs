//! The place of a key in a map, whether it is there or not.
//!
//! # Invariants
//! - **E1** `pair` of an [`OccupiedEntry`] is an entry of its map, in a node that nobody else has and that `hash` leads to. The
//!   map is not changed while the entry is there, but by it.
#![allow(unsafe_code)]

use super::leaf::Pair;
use super::{CowHashMap, hash_of};
use crate::collections::TryReserveError;
use crate::collections::error::or_raise;
use crate::heap::placement::HeapScope;
use core::borrow::Borrow;
use core::fmt;
use core::hash::Hash;
use core::mem::replace;
use core::ptr::NonNull;

/// The place of a key, from [`CowHashMap::entry`] or [`CowHashMap::entry_ref`]; `Q` is what the key is given as.
pub enum Entry<'a, K: 'static, Q, V: 'static> {
    /// The key is there.
    Occupied(OccupiedEntry<'a, K, V>),
    /// The key is not there.
    Vacant(VacantEntry<'a, K, Q, V>),
}

/// A key that is in the map.
pub struct OccupiedEntry<'a, K: 'static, V: 'static> {
    map: &'a mut CowHashMap<K, V>,
    hash: u64,
    pair: NonNull<Pair<K, V>>,
}

/// A key that is not in the map: itself, or what it can be made from.
pub struct VacantEntry<'a, K: 'static, Q, V: 'static> {
    map: &'a mut CowHashMap<K, V>,
    hash: u64,
    key: Q,
}

// SAFETY: it is as good as the mutable borrow of the map.
unsafe impl<K: Send + Sync + 'static, V: Send + Sync + 'static> Send for OccupiedEntry<'_, K, V> {}
// SAFETY: it is as good as a shared borrow of the map.
unsafe impl<K: Send + Sync + 'static, V: Send + Sync + 'static> Sync for OccupiedEntry<'_, K, V> {}

impl<K: Eq + Hash + Clone + 'static, V: Clone + 'static> CowHashMap<K, V> {
    /// The place of `key`. If the key is there, the nodes on the way to it are copied now if other versions have them.
    ///
    /// ```
    /// use sal::collections::CowHashMap;
    ///
    /// let mut letters = CowHashMap::new();
    /// for letter in "sal is a heap".chars() {
    ///     *letters.entry(letter).or_insert(0) += 1;
    /// }
    /// assert_eq!(letters[&'a'], 3);
    /// ```
    #[inline]
    pub fn entry(&mut self, key: K) -> Entry<'_, K, K, V> {
        or_raise(self.settle());
        let hash = hash_of(self.seed, &key);
        match or_raise(self.locate_pair(hash, &key)) {
            Some(pair) => Entry::Occupied(OccupiedEntry { map: self, hash, pair }),
            None => Entry::Vacant(VacantEntry { map: self, hash, key }),
        }
    }

    /// The place of the key that equals `key`. The key is made from `key` when a value is inserted, in the heap of the map.
    ///
    /// ```
    /// use sal::collections::CowHashMap;
    ///
    /// let mut words: CowHashMap<String, u32> = CowHashMap::new();
    /// for word in "to be or not to be".split(' ') {
    ///     *words.entry_ref(word).or_default() += 1;
    /// }
    /// assert_eq!(words["be"], 2);
    /// ```
    #[inline]
    pub fn entry_ref<'a, 'q, Q>(&'a mut self, key: &'q Q) -> Entry<'a, K, &'q Q, V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        or_raise(self.settle());
        let hash = hash_of(self.seed, key);
        match or_raise(self.locate_pair(hash, key)) {
            Some(pair) => Entry::Occupied(OccupiedEntry { map: self, hash, pair }),
            None => Entry::Vacant(VacantEntry { map: self, hash, key }),
        }
    }
}

impl<'a, K: Eq + Hash + Clone + From<Q> + 'static, Q, V: Clone + 'static> Entry<'a, K, Q, V> {
    /// The value, which is `default` if the key was not there.
    #[inline]
    pub fn or_insert(self, default: V) -> &'a mut V {
        match self {
            Self::Occupied(entry) => entry.into_mut(),
            Self::Vacant(entry) => entry.insert(default),
        }
    }

    /// The value, which `default` makes, in the heap of the map, if the key was not there.
    #[inline]
    pub fn or_insert_with(self, default: impl FnOnce() -> V) -> &'a mut V {
        self.or_insert_with_key(|_| default())
    }

    /// As [`or_insert_with`](Self::or_insert_with), from what the key is given as.
    #[inline]
    pub fn or_insert_with_key(self, default: impl FnOnce(&Q) -> V) -> &'a mut V {
        match self {
            Self::Occupied(entry) => entry.into_mut(),
            Self::Vacant(entry) => {
                let value = {
                    let _scope = HeapScope::enter(entry.map.heap());
                    default(&entry.key)
                };
                entry.insert(value)
            }
        }
    }

    /// The value, which is the default one if the key was not there.
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
}

impl<'a, K: 'static, V: 'static> OccupiedEntry<'a, K, V> {
    /// The key as it is in the map.
    #[inline]
    pub fn key(&self) -> &K {
        // SAFETY: E1.
        unsafe { &self.pair.as_ref().key }
    }

    /// The value.
    #[inline]
    pub fn get(&self) -> &V {
        // SAFETY: E1.
        unsafe { &self.pair.as_ref().value }
    }

    /// The value, mutable.
    #[inline]
    pub fn get_mut(&mut self) -> &mut V {
        // SAFETY: E1.
        unsafe { &mut self.pair.as_mut().value }
    }

    /// The value, mutable for as long as the map is borrowed.
    #[inline]
    pub fn into_mut(mut self) -> &'a mut V {
        // SAFETY: E1; the map is borrowed for `'a`.
        unsafe { &mut self.pair.as_mut().value }
    }

    /// Replaces the value and returns the one before.
    #[inline]
    pub fn insert(&mut self, value: V) -> V {
        replace(self.get_mut(), value)
    }
}

impl<K: Eq + Hash + Clone + 'static, V: Clone + 'static> OccupiedEntry<'_, K, V> {
    /// Removes the key and returns its value.
    #[inline]
    pub fn remove(self) -> V {
        self.remove_entry().1
    }

    /// Removes the key and returns it with its value.
    pub fn remove_entry(self) -> (K, V) {
        // SAFETY: E1.
        let Pair { key, value } = unsafe { self.map.take_pair(self.hash, self.pair) };
        (key, value)
    }
}

impl<'a, K: Eq + Hash + Clone + 'static, Q, V: Clone + 'static> VacantEntry<'a, K, Q, V> {
    /// What the key is given as.
    #[inline]
    pub fn key(&self) -> &Q {
        &self.key
    }

    /// What the key is given as, taken back.
    #[inline]
    pub fn into_key(self) -> Q {
        self.key
    }

    /// Gives the key a value. If it is to be made, that is done in the heap of the map.
    #[inline]
    pub fn insert(self, value: V) -> &'a mut V
    where
        K: From<Q>,
    {
        or_raise(self.try_insert(value))
    }

    /// As [`insert`](Self::insert), for a heap that may be full.
    ///
    /// # Errors
    /// As [`CowHashMap::try_insert`].
    #[inline]
    pub fn try_insert(self, value: V) -> Result<&'a mut V, TryReserveError>
    where
        K: From<Q>,
    {
        let key = {
            let _scope = HeapScope::enter(self.map.heap());
            K::from(self.key)
        };
        Ok(self.map.insert_here(self.hash, key, value)?.0)
    }
}

impl<K: fmt::Debug + 'static, Q: fmt::Debug, V: fmt::Debug + 'static> fmt::Debug for Entry<'_, K, Q, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Occupied(entry) => f.debug_tuple("Entry").field(entry).finish(),
            Self::Vacant(entry) => f.debug_tuple("Entry").field(entry).finish(),
        }
    }
}

impl<K: fmt::Debug + 'static, V: fmt::Debug + 'static> fmt::Debug for OccupiedEntry<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SAFETY: E1.
        let Pair { key, value } = unsafe { self.pair.as_ref() };
        f.debug_struct("OccupiedEntry").field("key", key).field("value", value).finish()
    }
}

impl<K: 'static, Q: fmt::Debug, V: 'static> fmt::Debug for VacantEntry<'_, K, Q, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("VacantEntry").field(&self.key).finish()
    }
}
