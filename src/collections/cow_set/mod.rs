//! [`CowSet`]: an ordered set whose versions share what they have in common.
//!
//! It is a [`CowMap`] whose values have no size, in memory and in the file; what is said there about the format and crashes holds
//! here.
//!
//! # Invariants
//! Those of the map.

mod iter;
mod persist;
#[cfg(feature = "serde")]
mod serde;
mod traits;

pub use iter::{IntoIter, Iter, Range};

use super::TryReserveError;
use super::cow_map::{self, CowMap};
use super::hash_map::{IntoKey, KeyFrom};
use core::borrow::Borrow;
use core::ops::RangeBounds;

/// An ordered set without a handle, in a documented format, whose clones share their nodes: a [`CowMap`] without values.
///
/// ```
/// use sal::collections::{CowSet, SalString};
///
/// let mut seen: CowSet<SalString> = CowSet::new();
/// assert!(seen.insert("pear"));
/// let before = seen.clone();
/// assert!(seen.insert("apple"));
/// assert!(!seen.insert("pear"));
/// assert_eq!((before.len(), seen.len()), (1, 2));
/// assert_eq!(seen.first().map(|word| word.as_str()), Some("apple"));
/// ```
#[repr(transparent)]
pub struct CowSet<K: 'static> {
    map: CowMap<K, ()>,
}

/// An element in which two versions of a set differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference<'a, K: 'static> {
    /// The later version has it, the earlier one has not.
    Added(&'a K),
    /// The earlier version has it, the later one has not.
    Removed(&'a K),
}

impl<K: 'static> CowSet<K> {
    /// An empty set. It has no block, and belongs to no heap.
    #[inline]
    pub const fn new() -> Self {
        Self { map: CowMap::new() }
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

    /// Takes all elements out; those of other versions stay.
    pub fn clear(&mut self) {
        self.map.clear();
    }

    /// As [`CowMap::ptr_eq`].
    pub fn ptr_eq(&self, other: &Self) -> bool {
        self.map.ptr_eq(&other.map)
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
}

impl<K: Ord + 'static> CowSet<K> {
    /// As [`CowMap::check`].
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
    /// As [`CowMap::range`].
    pub fn range<Q: Ord + ?Sized, R: RangeBounds<Q>>(&self, range: R) -> Range<'_, K>
    where
        K: Borrow<Q>,
    {
        Range(self.map.range(range))
    }

    /// What has to be done to this set to get `later`, in time that depends on that, as [`CowMap::diff`].
    pub fn diff<'a>(&'a self, later: &'a Self) -> impl Iterator<Item = Difference<'a, K>> {
        self.map.diff(&later.map).filter_map(|difference| match difference {
            cow_map::Difference::Added(key, ()) => Some(Difference::Added(key)),
            cow_map::Difference::Removed(key, ()) => Some(Difference::Removed(key)),
            cow_map::Difference::Changed { .. } => None,
        })
    }
}

impl<K: Ord + Clone + 'static> CowSet<K> {
    /// A set of elements that ascend, in time proportional to their number; see [`CowMap::from_sorted`].
    pub fn from_sorted<I: IntoIterator<Item = K>>(elements: I) -> Self {
        Self { map: CowMap::from_sorted(elements.into_iter().map(|element| (element, ()))) }
    }

    /// Puts `value` in the set and returns whether it is new. One that is there stays as it is.
    #[inline]
    pub fn insert<Q: IntoKey<K>>(&mut self, value: Q) -> bool
    where
        K: KeyFrom<Q>,
    {
        self.map.insert(value, ()).is_none()
    }

    /// As [`insert`](Self::insert), for a heap that may be full.
    ///
    /// # Errors
    /// As [`CowMap::try_insert`].
    #[inline]
    pub fn try_insert<Q: IntoKey<K>>(&mut self, value: Q) -> Result<bool, TryReserveError>
    where
        K: KeyFrom<Q>,
    {
        Ok(self.map.try_insert(value, ())?.is_none())
    }

    /// As [`remove`](Self::remove), for a heap that may be full.
    ///
    /// # Errors
    /// As [`CowMap::try_remove_entry`].
    #[inline]
    pub fn try_remove<Q: Ord + ?Sized>(&mut self, value: &Q) -> Result<bool, TryReserveError>
    where
        K: Borrow<Q>,
    {
        Ok(self.try_take(value)?.is_some())
    }

    /// As [`take`](Self::take), for a heap that may be full.
    ///
    /// # Errors
    /// As [`CowMap::try_remove_entry`].
    #[inline]
    pub fn try_take<Q: Ord + ?Sized>(&mut self, value: &Q) -> Result<Option<K>, TryReserveError>
    where
        K: Borrow<Q>,
    {
        Ok(self.map.try_remove_entry(value)?.map(|(key, ())| key))
    }

    /// As [`pop_first`](Self::pop_first), for a heap that may be full.
    ///
    /// # Errors
    /// As [`CowMap::try_remove_entry`].
    pub fn try_pop_first(&mut self) -> Result<Option<K>, TryReserveError> {
        Ok(self.map.try_pop_first()?.map(|(key, ())| key))
    }

    /// As [`pop_last`](Self::pop_last), for a heap that may be full.
    ///
    /// # Errors
    /// As [`CowMap::try_remove_entry`].
    pub fn try_pop_last(&mut self) -> Result<Option<K>, TryReserveError> {
        Ok(self.map.try_pop_last()?.map(|(key, ())| key))
    }

    /// As [`CowMap::try_extend`].
    ///
    /// # Errors
    /// As [`CowMap::try_insert`].
    pub fn try_extend<I: IntoIterator<Item = K>>(&mut self, elements: I) -> Result<(), TryReserveError> {
        self.map.try_extend(elements.into_iter().map(|element| (element, ())))
    }

    /// As [`collect`](Iterator::collect), for a heap that may be full.
    ///
    /// # Errors
    /// As [`CowMap::try_from_iter`].
    pub fn try_from_iter<I: IntoIterator<Item = K>>(elements: I) -> Result<Self, TryReserveError> {
        Ok(Self { map: CowMap::try_from_iter(elements.into_iter().map(|element| (element, ())))? })
    }

    /// As [`from_sorted`](Self::from_sorted), for a heap that may be full.
    ///
    /// # Errors
    /// As [`CowMap::try_from_sorted`].
    pub fn try_from_sorted<I: IntoIterator<Item = K>>(elements: I) -> Result<Self, TryReserveError> {
        Ok(Self { map: CowMap::try_from_sorted(elements.into_iter().map(|element| (element, ())))? })
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

    /// Removes the smallest element.
    pub fn pop_first(&mut self) -> Option<K> {
        self.map.pop_first().map(|(key, ())| key)
    }

    /// Removes the largest element.
    pub fn pop_last(&mut self) -> Option<K> {
        self.map.pop_last().map(|(key, ())| key)
    }

    /// As [`CowMap::retain`].
    pub fn retain(&mut self, mut keep: impl FnMut(&K) -> bool) {
        self.map.retain(|key, ()| keep(key));
    }

    /// Moves everything from `other` into `self`, as [`CowMap::append`].
    pub fn append(&mut self, other: &mut Self) {
        self.map.append(&mut other.map);
    }

    /// Takes out this element and all larger ones, as [`CowMap::split_off`].
    pub fn split_off<Q: Ord + ?Sized>(&mut self, value: &Q) -> Self
    where
        K: Borrow<Q>,
    {
        Self { map: self.map.split_off(value) }
    }
}
