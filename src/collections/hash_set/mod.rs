//! [`SalHashSet`]: a hash set that can live in a file.
//!
//! It is a [`SalHashMap`] whose values have no size, in memory and in the file; what is said there about the format,
//! hashing that changes, and crashes holds here.
//!
//! # Invariants
//! Those of the map.

mod algebra;
mod iter;
mod persist;
#[cfg(feature = "serde")]
mod serde;
mod traits;

pub use algebra::{Difference, Intersection, SymmetricDifference, Union};
pub use iter::{Drain, ExtractIf, IntoIter, Iter};

use super::TryReserveError;
use super::hash_map::{Entry, IntoKey, KeyFrom, SalHashMap};
use core::borrow::Borrow;
use core::hash::Hash;

/// A hash set without a handle, in a documented format, with the interface of [`std::collections::HashSet`].
///
/// ```
/// use sal::collections::{SalHashSet, SalString};
///
/// let mut seen: SalHashSet<SalString> = SalHashSet::new();
/// assert!(seen.insert("one"));
/// assert!(!seen.insert_ref("one")); // there already: makes no string
/// assert!(seen.contains("one"));
/// ```
#[repr(transparent)]
pub struct SalHashSet<K> {
    pub(super) map: SalHashMap<K, ()>,
}

impl<K> SalHashSet<K> {
    /// An empty set. It has no block, and belongs to no heap.
    #[inline]
    pub const fn new() -> Self {
        Self { map: SalHashMap::new() }
    }

    /// How many elements there are.
    #[inline]
    pub const fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether there are none.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// How many elements find room without another block, as far as is known now.
    #[inline]
    pub const fn capacity(&self) -> usize {
        self.map.capacity()
    }

    /// Drops all elements and keeps the block.
    pub fn clear(&mut self) {
        self.map.clear();
    }

    /// The elements, in no particular order.
    #[inline]
    pub fn iter(&self) -> Iter<'_, K> {
        Iter(self.map.keys())
    }

    /// Takes all elements out and keeps the block. If the iterator is forgotten, see [`SalHashMap::drain`].
    pub fn drain(&mut self) -> Drain<'_, K> {
        Drain(self.map.drain())
    }

    /// Keeps the elements for which `keep` says so. If it panics, the elements not yet asked about stay.
    pub fn retain(&mut self, mut keep: impl FnMut(&K) -> bool) {
        self.map.retain(|key, ()| keep(key));
    }

    /// Takes out the elements for which `wanted` says so, one at each step of the iterator.
    pub fn extract_if<F: FnMut(&K) -> bool>(&mut self, wanted: F) -> ExtractIf<'_, K, F> {
        ExtractIf::new(&mut self.map, wanted)
    }
}

impl<K: Eq + Hash> SalHashSet<K> {
    /// An empty set with room for `capacity` elements, in a block of the heap of the current session.
    ///
    /// # Panics
    /// As [`SalHashMap::with_capacity`].
    pub fn with_capacity(capacity: usize) -> Self {
        Self { map: SalHashMap::with_capacity(capacity) }
    }

    /// Makes room for `additional` more elements.
    ///
    /// # Panics
    /// As [`SalHashMap::reserve`].
    pub fn reserve(&mut self, additional: usize) {
        self.map.reserve(additional);
    }

    /// As [`reserve`](Self::reserve).
    ///
    /// # Errors
    /// Each of [`TryReserveError`]; the set is as it was.
    pub fn try_reserve(&mut self, additional: usize) -> Result<(), TryReserveError> {
        self.map.try_reserve(additional)
    }

    /// Gives back as much of the block as the elements do not need.
    pub fn shrink_to_fit(&mut self) {
        self.map.shrink_to_fit();
    }

    /// As [`shrink_to_fit`](Self::shrink_to_fit), but keeps room for `min_capacity` elements if there is.
    pub fn shrink_to(&mut self, min_capacity: usize) {
        self.map.shrink_to(min_capacity);
    }

    /// As [`SalHashMap::rehash`].
    pub fn rehash(&mut self) {
        self.map.rehash();
    }

    /// As [`SalHashMap::check`].
    pub fn check(&self) -> Result<(), &'static str> {
        self.map.check()
    }

    /// Whether `value` is in the set.
    #[inline]
    pub fn contains<Q: Hash + Eq + ?Sized>(&self, value: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.map.contains_key(value)
    }

    /// The element that equals `value`.
    #[inline]
    pub fn get<Q: Hash + Eq + ?Sized>(&self, value: &Q) -> Option<&K>
    where
        K: Borrow<Q>,
    {
        self.map.get_key_value(value).map(|(key, ())| key)
    }

    /// Puts `value` in the set and returns whether it is new. One that is there stays as it is.
    ///
    /// # Panics
    /// As [`SalHashMap::reserve`].
    #[inline]
    pub fn insert<Q: IntoKey<K>>(&mut self, value: Q) -> bool
    where
        K: KeyFrom<Q>,
    {
        self.map.insert(value, ()).is_none()
    }

    /// As [`insert`](Self::insert), for a disk that may be full.
    ///
    /// # Errors
    /// Each of [`TryReserveError`]; the set is as it was, `value` is dropped.
    #[inline]
    pub fn try_insert<Q: IntoKey<K>>(&mut self, value: Q) -> Result<bool, TryReserveError>
    where
        K: KeyFrom<Q>,
    {
        self.map.try_insert(value, ()).map(|before| before.is_none())
    }

    /// As [`insert`](Self::insert), but makes the element only if it is missing, in the heap of the set.
    ///
    /// # Panics
    /// As [`SalHashMap::reserve`].
    #[inline]
    pub fn insert_ref<'q, Q: Hash + Eq + ?Sized>(&mut self, value: &'q Q) -> bool
    where
        K: Borrow<Q> + From<&'q Q>,
    {
        let before = self.len();
        self.map.entry_ref(value).or_insert(());
        self.len() != before
    }

    /// Puts `value` in the set and returns the element it replaces.
    ///
    /// # Panics
    /// As [`SalHashMap::reserve`].
    pub fn replace(&mut self, value: K) -> Option<K> {
        let before = self.take(&value);
        if let Entry::Vacant(entry) = self.map.entry(value) {
            entry.insert(());
        }
        before
    }

    /// Removes `value` and returns whether it was there.
    #[inline]
    pub fn remove<Q: Hash + Eq + ?Sized>(&mut self, value: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.take(value).is_some()
    }

    /// Removes `value` and returns the element.
    #[inline]
    pub fn take<Q: Hash + Eq + ?Sized>(&mut self, value: &Q) -> Option<K>
    where
        K: Borrow<Q>,
    {
        self.map.remove_entry(value).map(|(key, ())| key)
    }
}
