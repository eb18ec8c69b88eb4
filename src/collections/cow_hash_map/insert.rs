//! Inserting, and what it does to the shape of the trie.
//!
//! Hashes and comparisons of keys, and clones of entries, come first; what changes the shape runs no code of theirs, and
//! takes the memory it needs before it changes anything.
#![allow(unsafe_code)]

use super::branch::{BITS, Branch, kind, slot};
use super::leaf::{LARGE, Pair};
use super::link::{Link, clean, new_in};
use super::tags::tag;
use super::{CowHashMap, hash_of};
use crate::collections::error::or_raise;
use crate::collections::{IntoKey, KeyFrom, TryReserveError};
use crate::heap::placement::HeapScope;
use crate::{SalAlloc, SalRc};
use core::hash::Hash;
use core::mem::replace;

/// Where a hash leads, in nodes that only one map has.
struct Place<K: 'static, V: 'static> {
    /// In the map, or in the branch below.
    link: *mut Link<K, V>,
    kind: u8,
    /// The branch that has the link, and the first slot of its range.
    parent: Option<(*mut Branch<K, V>, usize)>,
    /// Bits of the hash that are used up.
    shift: u32,
}

impl<K: Eq + Hash + Clone + 'static, V: Clone + 'static> CowHashMap<K, V> {
    /// Gives `key` a value and returns the one it had. A key that is there already stays as it is. The nodes on the way are
    /// copied if other versions have them.
    ///
    /// What is not yet a key is [made one](KeyFrom) in the heap of the map, also if an equal one is there already.
    ///
    /// ```
    /// use sal::collections::CowHashMap;
    ///
    /// let mut map = CowHashMap::new();
    /// assert_eq!(map.insert(1u64, 'a'), None);
    /// assert_eq!(map.insert(1, 'b'), Some('a'));
    /// ```
    #[inline]
    pub fn insert<Q: IntoKey<K>>(&mut self, key: Q, value: V) -> Option<V>
    where
        K: KeyFrom<Q>,
    {
        or_raise(self.try_insert(key, value))
    }

    /// As [`insert`](Self::insert), for a heap that may be full.
    ///
    /// ```
    /// use sal::collections::{CowHashMap, TryReserveError};
    ///
    /// # fn main() -> Result<(), TryReserveError> {
    /// let mut map = CowHashMap::new();
    /// assert_eq!(map.try_insert(1u64, 'a')?, None);
    /// assert_eq!(map.try_insert(1, 'b')?, Some('a'));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`AllocError`](TryReserveError::AllocError). The map has the entries it had, key and value are dropped; nodes may have been copied,
    /// so that versions share less than before. (Memory that a key takes when it is made from something else, and that keys and values
    /// take to be cloned, is not covered.)
    #[inline]
    pub fn try_insert<Q: IntoKey<K>>(&mut self, key: Q, value: V) -> Result<Option<V>, TryReserveError>
    where
        K: KeyFrom<Q>,
    {
        let key = {
            let _scope = K::ALLOCATES.then(|| HeapScope::enter(self.heap()));
            K::key_from(key)
        };
        self.settle()?;
        let hash = hash_of(self.seed, &key);
        Ok(self.insert_here(hash, key, value)?.1)
    }

    /// As [`collect`](Iterator::collect), for a heap that may be full.
    ///
    /// # Errors
    /// [`AllocError`](TryReserveError::AllocError); the entries taken so far are dropped.
    pub fn try_from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Result<Self, TryReserveError> {
        let mut map = Self::new();
        map.try_extend(entries)?;
        Ok(map)
    }

    /// As [`extend`](Extend::extend), for a heap that may be full. The entries before the one that found no room stay in the map;
    /// that one is dropped.
    ///
    /// # Errors
    /// As [`try_insert`](Self::try_insert).
    pub fn try_extend<I: IntoIterator<Item = (K, V)>>(&mut self, entries: I) -> Result<(), TryReserveError> {
        entries.into_iter().try_for_each(|(key, value)| {
            self.settle()?;
            let hash = hash_of(self.seed, &key);
            self.insert_here(hash, key, value).map(drop)
        })
    }

    /// As [`insert_in`](Self::insert_in), in the map's heap.
    #[inline]
    pub(super) fn insert_here(&mut self, hash: u64, key: K, value: V) -> Result<(&mut V, Option<V>), TryReserveError> {
        let heap = if self.root.is_none() { Some(self.heap()) } else { None };
        self.insert_at(heap, hash, key, value)
    }

    /// Inserts in a settled map; the first node comes from this heap.
    pub(super) fn insert_in(
        &mut self,
        heap: SalAlloc,
        hash: u64,
        key: K,
        value: V,
    ) -> Result<Option<V>, TryReserveError> {
        Ok(self.insert_at(Some(heap), hash, key, value)?.1)
    }

    /// Inserts in a settled map. The heap is that of the first node; none if there are nodes.
    #[inline(always)]
    fn insert_at(
        &mut self,
        heap: Option<SalAlloc>,
        hash: u64,
        key: K,
        value: V,
    ) -> Result<(&mut V, Option<V>), TryReserveError> {
        let mut place = Place { link: &raw mut self.root, kind: self.kind(), parent: None, shift: 0 };
        // SAFETY: links lie in this map or in nodes that nobody else has, which are borrowed with it; M1, R2.
        unsafe {
            while place.kind == kind::BRANCH {
                let branch: *mut Branch<K, V> = (*place.link).try_branch_mut()?;
                let (first, below) = (*branch).range(slot(hash, place.shift));
                (place.link, place.kind) = ((*branch).link_mut(first), below);
                place.parent = Some((branch, first));
                place.shift += BITS;
            }
            if place.kind == kind::LEAF {
                let mut leaf = (*place.link).try_leaf_mut()?;
                if let Some(at) = leaf.view().find(tag(hash), &key) {
                    let value_there = &mut leaf.into_pair(at).value;
                    let old = replace(value_there, value);
                    return Ok((value_there, Some(old)));
                }
                let pair = Pair { key, value };
                if leaf.is_full() {
                    return match self.insert_full(place, hash, pair) {
                        Ok(value) => Ok((&mut *value, None)),
                        Err(error) => {
                            // Branches that were put above the leaf before the heap was full are not needed.
                            self.tidy(hash);
                            Err(error)
                        }
                    };
                }
                let at = leaf.push(tag(hash), pair);
                self.len += 1;
                return Ok((&mut leaf.into_pair(at).value, None));
            }
            self.insert_elsewhere(place, heap, hash, Pair { key, value })
        }
    }

    /// Inserts where there is no node, or a list.
    ///
    /// # Safety
    /// The place is this map's, and where the hash leads.
    #[cold]
    #[inline(never)]
    unsafe fn insert_elsewhere(
        &mut self,
        place: Place<K, V>,
        heap: Option<SalAlloc>,
        hash: u64,
        pair: Pair<K, V>,
    ) -> Result<(&mut V, Option<V>), TryReserveError> {
        // SAFETY: the caller's promise; M1, R2.
        unsafe {
            if place.kind == kind::SAME {
                let entries = (&mut *place.link).try_same_mut()?;
                if let Some(at) = entries.iter().position(|there| there.key == pair.key) {
                    let value_there = &mut entries[at].value;
                    let old = replace(value_there, pair.value);
                    return Ok((value_there, Some(old)));
                }
                entries.try_push(pair)?;
                clean(entries);
                self.len += 1;
                let at = entries.len() - 1;
                return Ok((&mut entries[at].value, None));
            }
            let heap = heap.unwrap_or_else(|| self.heap());
            let leaf = Link::to_new_leaf(heap, tag(hash), pair)?;
            Ok((self.put_leaf(&place, leaf), None))
        }
    }

    /// Puts a leaf with one new entry in a place where there is nothing.
    ///
    /// # Safety
    /// As for `insert_elsewhere`.
    unsafe fn put_leaf(&mut self, place: &Place<K, V>, leaf: Link<K, V>) -> &mut V {
        self.len += 1;
        // SAFETY: the caller's promise: there was nothing, and now there is a leaf with an entry that nobody else has.
        unsafe {
            self.set(place, leaf, kind::LEAF);
            let leaf = (*place.link).alone_leaf().unwrap_unchecked();
            &mut leaf.into_pair(0).value
        }
    }

    /// Puts a link in a place; what was there is forgotten.
    ///
    /// # Safety
    /// The place is this map's, and the link is of that kind.
    unsafe fn set(&mut self, place: &Place<K, V>, link: Link<K, V>, kind: u8) {
        // SAFETY: the caller's promise; the range stays as long as it is (R1).
        unsafe {
            let _moved = match place.parent {
                Some((branch, first)) => {
                    let len = (*branch).len_of(first);
                    (*branch).put(first, len, link, kind)
                }
                None => {
                    self.kind = u64::from(kind);
                    replace(&mut self.root, link)
                }
            };
        }
    }

    /// Inserts in a leaf that is full: halves its range, as often as it takes. Without room for that no entry is moved; there may be
    /// branches more above the leaf, which nobody else has.
    ///
    /// # Safety
    /// The place is this map's, where the hash leads, and has a full leaf without the key.
    #[cold]
    #[inline(never)]
    unsafe fn insert_full(
        &mut self,
        mut place: Place<K, V>,
        hash: u64,
        pair: Pair<K, V>,
    ) -> Result<*mut V, TryReserveError> {
        // SAFETY: the caller's promise. `place` leads to the leaf all the time, which nobody else has, and what is said
        // about it stays true (R1, R2): ranges are halved, their ends never cross, and each leaf is put in a range of its own.
        unsafe {
            let mut hashes = [0; LARGE];
            let entries = (*place.link).leaf().entries();
            entries.iter().zip(&mut hashes).for_each(|(there, hash)| *hash = hash_of(self.seed, &there.key));
            let hashes = &hashes[..entries.len()];
            let heap = (*place.link).heap(kind::LEAF);
            loop {
                let (branch, first, len) = match place.parent {
                    Some((branch, first)) if (*branch).len_of(first) > 1 => (branch, first, (*branch).len_of(first)),
                    _ if place.shift >= u64::BITS => return self.insert_same(&place, heap, pair),
                    _ => {
                        self.push_down(&mut place, heap)?;
                        continue;
                    }
                };
                let (half, middle) = (len / 2, first + len / 2);
                let is_upper = |hash: u64| slot(hash, place.shift - BITS) >= middle;
                let upper = hashes.iter().filter(|&&hash| is_upper(hash)).count();
                if upper > 0 && upper < hashes.len() {
                    let mut new = Link::to_empty_leaf(heap)?;
                    let (mut low, mut high) =
                        ((*place.link).alone_leaf().unwrap_unchecked(), new.alone_leaf().unwrap_unchecked());
                    low.move_to(&mut high, |at| is_upper(hashes[at]));
                    self.len += 1;
                    let mut leaf = if is_upper(hash) { high } else { low };
                    let at = leaf.push(tag(hash), pair);
                    let value: *mut V = &mut leaf.into_pair(at).value;
                    let _none = (*branch).put(middle, half, new, kind::LEAF);
                    return Ok(value);
                }
                // All go to one side. The new one goes to the other, or the range is halved once more.
                let (full, empty) = if upper == 0 { (first, middle) } else { (middle, first) };
                let is_apart = is_upper(hash) != (upper > 0);
                let (new, new_kind) =
                    if is_apart { (Link::to_empty_leaf(heap)?, kind::LEAF) } else { (Link::none(), kind::NONE) };
                let leaf = (*branch).take(first);
                let _none = (*branch).put(full, half, leaf, kind::LEAF);
                let _none = (*branch).put(empty, half, new, new_kind);
                if is_apart {
                    let mut leaf = (*branch).link_mut(empty).alone_leaf().unwrap_unchecked();
                    let at = leaf.push(tag(hash), pair);
                    self.len += 1;
                    return Ok(&raw mut leaf.into_pair(at).value);
                }
                place.parent = Some((branch, full));
                place.link = (*branch).link_mut(full);
            }
        }
    }

    /// Puts a new branch between a place and its leaf, all slots of which lead to the leaf.
    ///
    /// # Safety
    /// As for `insert_full`, and there are bits of the hash left.
    unsafe fn push_down(&mut self, place: &mut Place<K, V>, heap: SalAlloc) -> Result<(), TryReserveError> {
        let mut new = new_in(Branch::new(), heap)?;
        // SAFETY: nobody else has the new branch; the leaf moves there, and the branch to the leaf's place.
        unsafe {
            let branch: *mut Branch<K, V> = SalRc::alone_mut(&mut new).unwrap_unchecked();
            let leaf = core::ptr::read(place.link);
            self.set(place, Link::to_branch(new), kind::BRANCH);
            let _none = (*branch).put(0, super::branch::WIDTH, leaf, kind::LEAF);
            *place = Place {
                link: (*branch).link_mut(0),
                kind: kind::LEAF,
                parent: Some((branch, 0)),
                shift: place.shift + BITS,
            };
        }
        Ok(())
    }

    /// Makes a list of the entries of a full leaf and a new one: no bit of the hash is left to tell them apart.
    ///
    /// # Safety
    /// As for `insert_full`.
    unsafe fn insert_same(
        &mut self,
        place: &Place<K, V>,
        heap: SalAlloc,
        pair: Pair<K, V>,
    ) -> Result<*mut V, TryReserveError> {
        // All that takes memory comes first.
        let mut link = {
            let _scope = HeapScope::enter(heap);
            let mut entries = crate::collections::SalVec::new();
            entries.try_reserve(2 * LARGE)?;
            Link::to_same(heap, entries)?
        };
        // SAFETY: the caller's promise; the list is new. The leaf is emptied, and then dropped.
        unsafe {
            let mut leaf = (*place.link).alone_leaf().unwrap_unchecked();
            let entries = link.alone_same().unwrap_unchecked();
            while leaf.len() > 0 {
                entries.push(leaf.take(0).0);
            }
            entries.push(pair);
            clean(entries);
            core::ptr::replace(place.link, Link::none()).release(kind::LEAF);
            self.set(place, link, kind::SAME);
            self.len += 1;
            let entries = (*place.link).alone_same().unwrap_unchecked();
            let last = entries.len() - 1;
            Ok(&raw mut entries[last].value)
        }
    }
}
