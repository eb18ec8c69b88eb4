//! Finding, inserting and removing one entry.
#![allow(unsafe_code)]

use super::control::tag;
use super::{IntoKey, KeyFrom, Pair, SalHashMap, hash_of};
use crate::collections::TryReserveError;
use crate::collections::error::or_raise;
use crate::collections::hash::fingerprint;
use crate::heap::placement::HeapScope;
use core::borrow::Borrow;
use core::hash::Hash;
use core::mem::replace;
use core::ops::Index;

impl<K: Eq + Hash, V> SalHashMap<K, V> {
    /// The slot of `key`, looked for in a way that is right whether the table is settled or not.
    #[inline]
    fn find<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<usize>
    where
        K: Borrow<Q>,
    {
        if self.table.len == 0 {
            None
        } else if self.filled_under == fingerprint() {
            self.table.find(hash_of(self.seed, key), |pair| pair.key.borrow() == key)
        } else {
            self.table.find_by_scan(|pair| pair.key.borrow() == key)
        }
    }

    /// The slot of `key`, of a table that is settled afterwards.
    #[inline]
    fn find_mut<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<usize>
    where
        K: Borrow<Q>,
    {
        if self.table.len == 0 {
            return None;
        }
        self.settle();
        self.table.find(hash_of(self.seed, key), |pair| pair.key.borrow() == key)
    }

    /// The hash of `key`, and its slot or the one to insert it in, of a table that is settled.
    #[inline]
    pub(super) fn find_or_free<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> (u64, Result<usize, usize>)
    where
        K: Borrow<Q>,
    {
        self.settle();
        let hash = hash_of(self.seed, key);
        (hash, self.table.find_or_free(hash, |pair| pair.key.borrow() == key))
    }

    /// Puts an entry in a slot that [`find_or_free`](Self::find_or_free) gave, or another.
    ///
    /// # Safety
    /// The map was not changed since `find_or_free` returned `hash` and `Err(slot)`.
    #[inline]
    pub(super) unsafe fn insert_new(
        &mut self,
        hash: u64,
        slot: usize,
        key: K,
        value: V,
    ) -> Result<usize, TryReserveError> {
        let slot = if self.table.is_out_of_room(slot) { self.make_room_slow(hash)? } else { slot };
        // SAFETY: the slot is a free one of a block; if it is empty, there is room, or some was made.
        unsafe { self.table.fill(slot, tag(hash), Pair { key, value }) };
        Ok(slot)
    }

    /// Makes room for an entry with this hash and returns the slot for it.
    #[cold]
    #[inline(never)]
    fn make_room_slow(&mut self, hash: u64) -> Result<usize, TryReserveError> {
        self.reserve_slow(1)?;
        // SAFETY: reserving leaves a block.
        Ok(unsafe { self.table.find_free(hash) })
    }

    /// The pair in a slot.
    ///
    /// # Safety
    /// The slot is full.
    #[inline]
    pub(super) unsafe fn pair(&self, slot: usize) -> &Pair<K, V> {
        // SAFETY: the entry of a full slot is a value (T3) that the table owns.
        unsafe { &*self.table.entry(slot) }
    }

    /// The pair in a slot, mutable.
    ///
    /// # Safety
    /// The slot is full.
    #[inline]
    pub(super) unsafe fn pair_mut(&mut self, slot: usize) -> &mut Pair<K, V> {
        // SAFETY: the entry of a full slot is a value (T3) that the table owns, and `self` is borrowed with it.
        unsafe { &mut *self.table.entry(slot) }
    }

    /// The value of `key`.
    #[inline]
    pub fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.get_key_value(key).map(|(_, value)| value)
    }

    /// The key in the map that equals `key`, and its value.
    #[inline]
    pub fn get_key_value<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<(&K, &V)>
    where
        K: Borrow<Q>,
    {
        self.find(key).map(|slot| {
            // SAFETY: the slot was found to be full.
            let pair = unsafe { self.pair(slot) };
            (&pair.key, &pair.value)
        })
    }

    /// The value of `key`, mutable.
    #[inline]
    pub fn get_mut<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        // SAFETY: the slot was found to be full.
        self.find_mut(key).map(|slot| unsafe { &mut self.pair_mut(slot).value })
    }

    /// Whether `key` is in the map.
    #[inline]
    pub fn contains_key<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.find(key).is_some()
    }

    /// Gives `key` a value and returns the one it had. A key that is there already stays as it is.
    ///
    /// What is not yet a key is [made one](KeyFrom) in the heap of the map, also if an equal one is there already:
    /// [`entry_ref`](Self::entry_ref) spares that.
    ///
    /// ```
    /// use sal::collections::SalHashMap;
    ///
    /// let mut map = SalHashMap::new();
    /// assert_eq!(map.insert(1u64, 'a'), None);
    /// assert_eq!(map.insert(1, 'b'), Some('a'));
    /// ```
    ///
    /// # Panics
    /// As [`reserve`](Self::reserve).
    #[inline]
    pub fn insert<Q: IntoKey<K>>(&mut self, key: Q, value: V) -> Option<V>
    where
        K: KeyFrom<Q>,
    {
        or_raise(self.try_insert(key, value))
    }

    /// As [`insert`](Self::insert), for a disk that may be full.
    ///
    /// # Errors
    /// Each of [`TryReserveError`]; the map is as it was, key and value are dropped. (Memory that a key takes when it
    /// is made from something else is not covered: make the key yourself.)
    #[inline]
    pub fn try_insert<Q: IntoKey<K>>(&mut self, key: Q, value: V) -> Result<Option<V>, TryReserveError>
    where
        K: KeyFrom<Q>,
    {
        let key = {
            let _scope = K::ALLOCATES.then(|| HeapScope::enter(self.table.heap()));
            K::key_from(key)
        };
        match self.find_or_free(&key) {
            // SAFETY: the slot was found to be full.
            (_, Ok(slot)) => Ok(Some(replace(unsafe { &mut self.pair_mut(slot).value }, value))),
            // SAFETY: nothing changed the map in between.
            (hash, Err(slot)) => unsafe { self.insert_new(hash, slot, key, value) }.map(|_| None),
        }
    }

    /// Removes `key` and returns its value.
    #[inline]
    pub fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.remove_entry(key).map(|(_, value)| value)
    }

    /// Removes `key` and returns it as it was in the map, with its value.
    #[inline]
    pub fn remove_entry<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<(K, V)>
    where
        K: Borrow<Q>,
    {
        self.find_mut(key).map(|slot| {
            // SAFETY: the slot was found to be full.
            let Pair { key, value } = unsafe { self.table.take(slot) };
            (key, value)
        })
    }
}

impl<K: Eq + Hash + Borrow<Q>, Q: Eq + Hash + ?Sized, V> Index<&Q> for SalHashMap<K, V> {
    type Output = V;

    /// # Panics
    /// If the key is not in the map.
    #[inline]
    fn index(&self, key: &Q) -> &V {
        self.get(key).expect("no entry for this key")
    }
}
