//! A look at one key that may go on with a change.

use super::CowMap;
use crate::collections::TryReserveError;
use crate::collections::error::or_raise;
use core::fmt;

/// What a map has for a key, from [`CowMap::entry`].
pub enum Entry<'a, K: 'static, V: 'static> {
    /// There is a value.
    Occupied(OccupiedEntry<'a, K, V>),
    /// There is none.
    Vacant(VacantEntry<'a, K, V>),
}

/// An entry that is in the map. Nodes are copied, if other versions have them, when the value is asked for to be changed.
pub struct OccupiedEntry<'a, K: 'static, V: 'static> {
    map: &'a mut CowMap<K, V>,
    key: K,
}

/// A key that is not in the map.
pub struct VacantEntry<'a, K: 'static, V: 'static> {
    map: &'a mut CowMap<K, V>,
    key: K,
}

impl<K: Ord + 'static, V: 'static> CowMap<K, V> {
    /// The entry of a key.
    ///
    /// ```
    /// use sal::collections::CowMap;
    ///
    /// let mut letters = CowMap::new();
    /// "hello".chars().for_each(|letter| *letters.entry(letter).or_insert(0) += 1);
    /// assert_eq!((letters[&'l'], letters[&'o']), (2, 1));
    /// ```
    pub fn entry(&mut self, key: K) -> Entry<'_, K, V> {
        if self.contains_key(&key) {
            Entry::Occupied(OccupiedEntry { map: self, key })
        } else {
            Entry::Vacant(VacantEntry { map: self, key })
        }
    }
}

const THERE: &str = "an order that does not contradict itself finds a key twice";

impl<'a, K: Ord + Clone + 'static, V: Clone + 'static> OccupiedEntry<'a, K, V> {
    /// The key that was asked for.
    pub fn key(&self) -> &K {
        &self.key
    }

    /// The value.
    pub fn get(&self) -> &V {
        self.map.get(&self.key).expect(THERE)
    }

    /// The value, to be changed.
    pub fn get_mut(&mut self) -> &mut V {
        self.map.get_mut(&self.key).expect(THERE)
    }

    /// The value, to be changed as long as the map is borrowed.
    pub fn into_mut(self) -> &'a mut V {
        self.map.get_mut(&self.key).expect(THERE)
    }

    /// Gives the entry another value and returns the one it had.
    pub fn insert(&mut self, value: V) -> V {
        core::mem::replace(self.get_mut(), value)
    }

    /// Removes the entry and returns its value.
    pub fn remove(self) -> V {
        self.remove_entry().1
    }

    /// Removes the entry.
    pub fn remove_entry(self) -> (K, V) {
        self.map.remove_entry(&self.key).expect(THERE)
    }
}

impl<'a, K: Ord + Clone + 'static, V: Clone + 'static> VacantEntry<'a, K, V> {
    /// The key that was asked for.
    pub fn key(&self) -> &K {
        &self.key
    }

    /// Gives the key back.
    pub fn into_key(self) -> K {
        self.key
    }

    /// Puts a value into the map.
    pub fn insert(self, value: V) -> &'a mut V {
        or_raise(self.try_insert(value))
    }

    /// As [`insert`](Self::insert), for a heap that may be full.
    ///
    /// # Errors
    /// As [`CowMap::try_insert`].
    pub fn try_insert(self, value: V) -> Result<&'a mut V, TryReserveError> {
        Ok(self.map.insert_pair(self.key, value)?.0)
    }
}

impl<'a, K: Ord + Clone + 'static, V: Clone + 'static> Entry<'a, K, V> {
    /// The key that was asked for.
    pub fn key(&self) -> &K {
        match self {
            Entry::Occupied(entry) => entry.key(),
            Entry::Vacant(entry) => entry.key(),
        }
    }

    /// The value, to be changed; `value` is put in if there is none.
    pub fn or_insert(self, value: V) -> &'a mut V {
        self.or_insert_with(|| value)
    }

    /// The value, to be changed; one is made if there is none, in the heap in which the thread makes values.
    pub fn or_insert_with(self, value: impl FnOnce() -> V) -> &'a mut V {
        match self {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(value()),
        }
    }

    /// The value, to be changed; the default one is put in if there is none, made in the heap of the map.
    pub fn or_default(self) -> &'a mut V
    where
        V: Default,
    {
        match self {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let value = {
                    let _scope = crate::heap::placement::HeapScope::enter(entry.map.heap());
                    V::default()
                };
                entry.insert(value)
            }
        }
    }

    /// Changes the value if there is one.
    #[must_use]
    pub fn and_modify(mut self, change: impl FnOnce(&mut V)) -> Self {
        if let Entry::Occupied(entry) = &mut self {
            change(entry.get_mut());
        }
        self
    }
}

impl<K: Ord + Clone + fmt::Debug + 'static, V: Clone + fmt::Debug + 'static> fmt::Debug for OccupiedEntry<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OccupiedEntry").field("key", &self.key).field("value", self.get()).finish()
    }
}

impl<K: fmt::Debug + 'static, V: 'static> fmt::Debug for VacantEntry<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("VacantEntry").field(&self.key).finish()
    }
}

impl<K: Ord + Clone + fmt::Debug + 'static, V: Clone + fmt::Debug + 'static> fmt::Debug for Entry<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Entry::Occupied(entry) => entry.fmt(f),
            Entry::Vacant(entry) => entry.fmt(f),
        }
    }
}
