//! [`CowHashSet`]: a hash set whose clones are versions that share what they have in common.
//!
//! It is a [`CowHashMap`] whose values have no size, in memory and in the file; what is said there about the format, hashing that
//! changes, and crashes holds here.
//!
//! # Invariants
//! Those of the map.

mod persist;
#[cfg(feature = "serde")]
mod serde;
mod traits;

pub use traits::IntoIter;

use super::TryReserveError;
use super::cow_hash_map::{CowHashMap, Diff, Keys};
use super::hash_map::{IntoKey, KeyFrom};
use core::borrow::Borrow;
use core::hash::Hash;

/// The elements of a set, from [`CowHashSet::iter`].
pub type Iter<'a, K> = Keys<'a, K, ()>;

/// A hash set whose clones share what they have in common, in a documented format, without a handle.
///
/// See [`CowHashMap`] for what cloning and changing cost.
///
/// ```
/// use sal::collections::{CowHashSet, SalString};
///
/// let mut seen: CowHashSet<SalString> = CowHashSet::new();
/// assert!(seen.insert("one"));
/// let before = seen.clone();
/// assert!(!seen.insert("one") && seen.insert("two"));
/// assert!(seen.contains("two") && !before.contains("two"));
/// ```
#[repr(transparent)]
pub struct CowHashSet<K: 'static> {
    map: CowHashMap<K, ()>,
}

impl<K: 'static> CowHashSet<K> {
    /// An empty set. It has no block, and belongs to no heap.
    #[inline]
    pub const fn new() -> Self {
        Self { map: CowHashMap::new() }
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

    /// Drops all elements, or leaves them to the versions that have them too.
    pub fn clear(&mut self) {
        self.map.clear();
    }

    /// Whether both are the same version: nothing was changed in either since one was cloned from the other.
    pub fn ptr_eq(&self, other: &Self) -> bool {
        self.map.ptr_eq(&other.map)
    }

    /// The elements, in no particular order.
    #[inline]
    pub fn iter(&self) -> Iter<'_, K> {
        self.map.keys()
    }

    /// Whether an element that equals `element` is in the set.
    #[inline]
    pub fn contains<Q: Hash + Eq + ?Sized>(&self, element: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.map.contains_key(element)
    }

    /// The element in the set that equals `element`.
    #[inline]
    pub fn get<Q: Hash + Eq + ?Sized>(&self, element: &Q) -> Option<&K>
    where
        K: Borrow<Q>,
    {
        self.map.get_key_value(element).map(|(element, ())| element)
    }
}

impl<K: Eq + Hash + 'static> CowHashSet<K> {
    /// What has to be done to this set to make it equal `newer`, in no particular order. What both share is not looked at; see
    /// [`CowHashMap::diff`].
    pub fn diff<'a>(&'a self, newer: &'a Self) -> Diff<'a, K, ()> {
        self.map.diff(&newer.map)
    }

    /// Whether the set is in order; else what is not. See [`CowHashMap::check`].
    ///
    /// # Errors
    /// The first thing that is not in order.
    pub fn check(&self) -> Result<(), &'static str> {
        self.map.check()
    }

    /// Whether all elements are in the other set too.
    pub fn is_subset(&self, other: &Self) -> bool {
        self.len() <= other.len() && self.iter().all(|element| other.contains(element))
    }

    /// Whether all elements of the other set are in this one too.
    pub fn is_superset(&self, other: &Self) -> bool {
        other.is_subset(self)
    }

    /// Whether no element is in both.
    pub fn is_disjoint(&self, other: &Self) -> bool {
        let (small, large) = if self.len() < other.len() { (self, other) } else { (other, self) };
        small.iter().all(|element| !large.contains(element))
    }
}

impl<K: Eq + Hash + Clone + 'static> CowHashSet<K> {
    /// Adds an element, and says whether it was not there. One that is there already stays as it is. What is not yet an element
    /// is [made one](KeyFrom) in the heap of the set. Nodes that other versions have are copied.
    #[inline]
    pub fn insert<Q: IntoKey<K>>(&mut self, element: Q) -> bool
    where
        K: KeyFrom<Q>,
    {
        self.map.insert(element, ()).is_none()
    }

    /// As [`insert`](Self::insert), for a heap that may be full.
    ///
    /// # Errors
    /// As [`CowHashMap::try_insert`].
    #[inline]
    pub fn try_insert<Q: IntoKey<K>>(&mut self, element: Q) -> Result<bool, TryReserveError>
    where
        K: KeyFrom<Q>,
    {
        Ok(self.map.try_insert(element, ())?.is_none())
    }

    /// As [`remove`](Self::remove), for a heap that may be full.
    ///
    /// # Errors
    /// As [`CowHashMap::try_remove_entry`].
    #[inline]
    pub fn try_remove<Q: Hash + Eq + ?Sized>(&mut self, element: &Q) -> Result<bool, TryReserveError>
    where
        K: Borrow<Q>,
    {
        Ok(self.try_take(element)?.is_some())
    }

    /// As [`take`](Self::take), for a heap that may be full.
    ///
    /// # Errors
    /// As [`CowHashMap::try_remove_entry`].
    #[inline]
    pub fn try_take<Q: Hash + Eq + ?Sized>(&mut self, element: &Q) -> Result<Option<K>, TryReserveError>
    where
        K: Borrow<Q>,
    {
        Ok(self.map.try_remove_entry(element)?.map(|(element, ())| element))
    }

    /// As [`CowHashMap::try_extend`].
    ///
    /// # Errors
    /// As [`CowHashMap::try_insert`].
    pub fn try_extend<I: IntoIterator<Item = K>>(&mut self, elements: I) -> Result<(), TryReserveError> {
        self.map.try_extend(elements.into_iter().map(|element| (element, ())))
    }

    /// As [`collect`](Iterator::collect), for a heap that may be full.
    ///
    /// # Errors
    /// As [`CowHashMap::try_from_iter`].
    pub fn try_from_iter<I: IntoIterator<Item = K>>(elements: I) -> Result<Self, TryReserveError> {
        Ok(Self { map: CowHashMap::try_from_iter(elements.into_iter().map(|element| (element, ())))? })
    }

    /// Removes the element that equals `element`, and says whether there was one.
    #[inline]
    pub fn remove<Q: Hash + Eq + ?Sized>(&mut self, element: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.map.remove(element).is_some()
    }

    /// Removes the element that equals `element`, and returns it.
    #[inline]
    pub fn take<Q: Hash + Eq + ?Sized>(&mut self, element: &Q) -> Option<K>
    where
        K: Borrow<Q>,
    {
        self.map.remove_entry(element).map(|(element, ())| element)
    }

    /// Keeps the elements for which `keep` says so. If it panics, those not yet asked about stay.
    pub fn retain(&mut self, mut keep: impl FnMut(&K) -> bool) {
        self.map.retain(|element, ()| keep(element));
    }

    /// Puts all elements where their hashes say they belong; see [`CowHashMap::rehash`].
    pub fn rehash(&mut self) {
        self.map.rehash();
    }
}
