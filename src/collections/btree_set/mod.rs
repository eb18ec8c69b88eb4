//! [`SalBTreeSet`]: an ordered set that can live in a file.
//!
//! It is a [`SalBTreeMap`] whose values have no size, in memory and in the file; what is said there about the format
//! and crashes holds here.
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
pub use iter::{IntoIter, Iter, Range};

use super::TryReserveError;
use super::btree_map::SalBTreeMap;
use super::hash_map::{IntoKey, KeyFrom};
use core::borrow::Borrow;
use core::ops::RangeBounds;

/// An ordered set without a handle, in a documented format, with the interface of [`std::collections::BTreeSet`].
///
/// ```
/// use sal::collections::{SalBTreeSet, SalString};
///
/// let mut seen: SalBTreeSet<SalString> = SalBTreeSet::new();
/// assert!(seen.insert("pear"));
/// assert!(seen.insert("apple"));
/// assert!(!seen.insert_ref("pear")); // there already: makes no string
/// assert_eq!(seen.first().map(|word| word.as_str()), Some("apple"));
/// ```
#[repr(transparent)]
pub struct SalBTreeSet<K> {
    map: SalBTreeMap<K, ()>,
}

impl<K> SalBTreeSet<K> {
    /// An empty set. It has no block, and belongs to no heap.
    #[inline]
    pub const fn new() -> Self {
        Self { map: SalBTreeMap::new() }
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

    /// Drops all elements and frees all nodes.
    pub fn clear(&mut self) {
        self.map.clear();
    }

    /// The elements, in order.
    #[inline]
    pub fn iter(&self) -> Iter<'_, K> {
        Iter(self.map.keys())
    }

    /// The smallest element.
    pub fn first(&self) -> Option<&K> {
        self.map.first_key_value().map(|(key, ())| key)
    }

    /// The largest element.
    pub fn last(&self) -> Option<&K> {
        self.map.last_key_value().map(|(key, ())| key)
    }

    /// Removes the smallest element.
    pub fn pop_first(&mut self) -> Option<K> {
        self.map.pop_first().map(|(key, ())| key)
    }

    /// Removes the largest element.
    pub fn pop_last(&mut self) -> Option<K> {
        self.map.pop_last().map(|(key, ())| key)
    }

    /// Keeps the elements for which `keep` says so, asked in order. If it panics, the elements not yet asked about
    /// stay.
    pub fn retain(&mut self, mut keep: impl FnMut(&K) -> bool) {
        self.map.retain(|key, ()| keep(key));
    }
}

impl<K: Ord> SalBTreeSet<K> {
    /// As [`SalBTreeMap::check`].
    pub fn check(&self) -> Result<(), &'static str> {
        self.map.check()
    }

    /// Whether `value` is in the set.
    #[inline]
    pub fn contains<Q: Ord + ?Sized>(&self, value: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.map.contains_key(value)
    }

    /// The element that equals `value`.
    #[inline]
    pub fn get<Q: Ord + ?Sized>(&self, value: &Q) -> Option<&K>
    where
        K: Borrow<Q>,
    {
        self.map.get_key_value(value).map(|(key, ())| key)
    }

    /// The elements in a range.
    ///
    /// # Panics
    /// As [`SalBTreeMap::range`].
    pub fn range<Q: Ord + ?Sized, R: RangeBounds<Q>>(&self, range: R) -> Range<'_, K>
    where
        K: Borrow<Q>,
    {
        Range(self.map.range(range))
    }

    /// Puts `value` in the set and returns whether it is new. One that is there stays as it is.
    ///
    /// # Panics
    /// As [`SalBTreeMap::insert`].
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
    /// As [`SalBTreeMap::try_insert`]; the set is as it was, `value` is dropped.
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
    /// As [`SalBTreeMap::insert`].
    #[inline]
    pub fn insert_ref<'q, Q: Ord + ?Sized>(&mut self, value: &'q Q) -> bool
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
    /// As [`SalBTreeMap::insert`].
    pub fn replace(&mut self, value: K) -> Option<K> {
        let before = self.take(&value);
        self.map.entry(value).or_insert(());
        before
    }

    /// Removes `value` and returns whether it was there.
    #[inline]
    pub fn remove<Q: Ord + ?Sized>(&mut self, value: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.take(value).is_some()
    }

    /// Removes `value` and returns the element.
    #[inline]
    pub fn take<Q: Ord + ?Sized>(&mut self, value: &Q) -> Option<K>
    where
        K: Borrow<Q>,
    {
        self.map.remove_entry(value).map(|(key, ())| key)
    }

    /// Moves everything from `other` into `self`.
    ///
    /// # Panics
    /// As [`SalBTreeMap::insert`].
    pub fn append(&mut self, other: &mut Self) {
        self.map.append(&mut other.map);
    }

    /// Takes out this element and all larger ones, in a new set, in the heap of this one.
    ///
    /// # Panics
    /// As [`SalBTreeMap::insert`].
    pub fn split_off<Q: Ord + ?Sized>(&mut self, value: &Q) -> Self
    where
        K: Borrow<Q>,
    {
        Self { map: self.map.split_off(value) }
    }
}
