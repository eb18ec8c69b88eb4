//! Finding a key.
#![allow(unsafe_code)]

use super::branch::{BITS, kind, slot};
use super::leaf::Pair;
use super::link::Link;
use super::tags::tag;
use super::{CowHashMap, hash_of};
use crate::collections::hash::fingerprint;
use core::borrow::Borrow;
use core::hash::Hash;
use core::ops::Index;

/// The entry of a key below a link that a hash leads to when `shift` bits of it are used up.
///
/// # Safety
/// If the link leads to a node, that is of this kind.
#[inline(always)]
pub(super) unsafe fn find_below<'a, K: Borrow<Q>, V, Q: Eq + ?Sized>(
    mut link: &'a Link<K, V>,
    mut kind: u8,
    hash: u64,
    mut shift: u32,
    key: &Q,
) -> Option<&'a Pair<K, V>> {
    // SAFETY: the caller's promise; what a branch says of the kinds of its links is true (R2, M2).
    unsafe {
        while kind == kind::BRANCH {
            let branch = link.branch();
            let (first, below) = branch.range(slot(hash, shift));
            (link, kind) = (branch.link(first), below);
            shift += BITS;
        }
        match kind {
            kind::LEAF => {
                let leaf = link.leaf();
                leaf.find(tag(hash), key).map(|at| leaf.pair(at))
            }
            kind::SAME => link.same().iter().find(|pair| pair.key.borrow() == key),
            _ => None,
        }
    }
}

impl<K, V> CowHashMap<K, V> {
    /// The entry of a key.
    #[inline(always)]
    fn find<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&Pair<K, V>>
    where
        K: Borrow<Q>,
    {
        if self.filled_under != fingerprint() {
            return self.find_unsettled(key);
        }
        // SAFETY: M1.
        unsafe { find_below(&self.root, self.kind(), hash_of(self.seed, key), 0, key) }
    }

    /// As `find`, where hashes lead nowhere.
    #[cold]
    #[inline(never)]
    fn find_unsettled<Q: Eq + ?Sized>(&self, key: &Q) -> Option<&Pair<K, V>>
    where
        K: Borrow<Q>,
    {
        self.iter().pairs().find(|pair| pair.key.borrow() == key)
    }

    /// The value of `key`.
    #[inline]
    pub fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.find(key).map(|pair| &pair.value)
    }

    /// The key in the map that equals `key`, and its value.
    #[inline]
    pub fn get_key_value<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<(&K, &V)>
    where
        K: Borrow<Q>,
    {
        self.find(key).map(|pair| (&pair.key, &pair.value))
    }

    /// Whether `key` is in the map.
    #[inline]
    pub fn contains_key<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.find(key).is_some()
    }
}

impl<K: Eq + Hash + Clone, V: Clone> CowHashMap<K, V> {
    /// The value of `key`, mutable. The nodes on the way to it are copied if other versions have them; none is if the key is not
    /// there.
    #[inline]
    pub fn get_mut<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        self.find_mut(key).map(|pair| &mut pair.value)
    }

    /// The entry of a key, in nodes that only this map has.
    #[inline]
    pub(super) fn find_mut<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<&mut Pair<K, V>>
    where
        K: Borrow<Q>,
    {
        self.settle();
        let hash = hash_of(self.seed, key);
        let (mut link, mut kind, mut shift, mut is_there) = (&raw mut self.root, self.kind(), 0, false);
        // SAFETY: links lie in this map or in nodes that nobody else has, which are borrowed with it; M1, R2.
        unsafe {
            while kind == kind::BRANCH {
                if !is_there && (*link).own_branch().is_none() {
                    find_below(&*link, kind, hash, shift, key)?;
                    is_there = true;
                }
                let branch = (*link).branch_mut();
                let (first, below) = branch.range(slot(hash, shift));
                (link, kind) = (branch.link_mut(first), below);
                shift += BITS;
            }
            match kind {
                kind::LEAF => {
                    let at = (*link).leaf().find(tag(hash), key)?;
                    // A copy has the same entries in the same places.
                    Some((*link).leaf_mut().into_pair(at))
                }
                kind::SAME => {
                    let at = (*link).same().iter().position(|pair| pair.key.borrow() == key)?;
                    Some(&mut (&mut *link).same_mut()[at])
                }
                _ => None,
            }
        }
    }
}

impl<K: Eq + Hash + Borrow<Q>, Q: Eq + Hash + ?Sized, V> Index<&Q> for CowHashMap<K, V> {
    type Output = V;

    /// # Panics
    /// If the key is not in the map.
    #[inline]
    fn index(&self, key: &Q) -> &V {
        self.get(key).expect("no entry for this key")
    }
}
