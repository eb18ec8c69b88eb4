//! Finding a key.
#![allow(unsafe_code)]

use super::branch::{BITS, kind, slot};
use super::leaf::Pair;
use super::link::Link;
use super::tags::tag;
use super::{CowHashMap, hash_of};
use crate::collections::TryReserveError;
use crate::collections::error::or_raise;
use crate::collections::hash::fingerprint;
use core::borrow::Borrow;
use core::hash::Hash;
use core::ops::Index;
use core::ptr::NonNull;

/// The entry of a key below a link that a hash leads to when `shift` bits of it are used up.
///
/// # Safety
/// If the link leads to a node, that is of this kind.
#[inline(always)]
pub(super) unsafe fn find_below<'a, K: Borrow<Q> + 'static, V: 'static, Q: Eq + ?Sized>(
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

/// A link to a leaf or list, of which kind, and the place of an entry there.
type Found<K, V> = (*mut Link<K, V>, u8, usize);

impl<K: 'static, V: 'static> CowHashMap<K, V> {
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

impl<K: Eq + Hash + Clone + 'static, V: Clone + 'static> CowHashMap<K, V> {
    /// The value of `key`, mutable. The nodes on the way to it are copied if other versions have them; none is if the key is not
    /// there.
    #[inline]
    pub fn get_mut<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        or_raise(self.try_get_mut(key))
    }

    /// As [`get_mut`](Self::get_mut), for a heap that may be full.
    ///
    /// # Errors
    /// [`AllocError`](TryReserveError::AllocError), if a copy is needed. The map has the entries it had; nodes may have been copied.
    #[inline]
    pub fn try_get_mut<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Result<Option<&mut V>, TryReserveError>
    where
        K: Borrow<Q>,
    {
        self.settle()?;
        let pair = self.locate_pair(hash_of(self.seed, key), key)?;
        // SAFETY: it lies in a node that nobody else has, which is borrowed with the map.
        Ok(pair.map(|pair| unsafe { &mut (*pair.as_ptr()).value }))
    }

    /// The entry of a key, in nodes that only this map has; in a settled map.
    #[inline(always)]
    pub(super) fn locate_pair<Q: Eq + ?Sized>(
        &mut self,
        hash: u64,
        key: &Q,
    ) -> Result<Option<NonNull<Pair<K, V>>>, TryReserveError>
    where
        K: Borrow<Q>,
    {
        let Some((link, kind, at)) = self.locate_mut(hash, key)? else { return Ok(None) };
        // SAFETY: the link is this map's, of this kind, what it leads to nobody else has, and there is such an entry.
        Ok(Some(unsafe {
            NonNull::from(if kind == kind::LEAF {
                (*link).alone_leaf().unwrap_unchecked().into_pair(at)
            } else {
                (*link).alone_same().unwrap_unchecked().get_unchecked_mut(at)
            })
        }))
    }

    /// The leaf or list that has the entry of a key, and its place there, in nodes that only this map has; in a settled map.
    /// Nothing is copied if the key is not there.
    #[inline(always)]
    pub(super) fn locate_mut<Q: Eq + ?Sized>(
        &mut self,
        hash: u64,
        key: &Q,
    ) -> Result<Option<Found<K, V>>, TryReserveError>
    where
        K: Borrow<Q>,
    {
        let (mut link, mut kind, mut shift, mut is_there) = (&raw mut self.root, self.kind(), 0, false);
        // SAFETY: links lie in this map or in nodes that nobody else has, which are borrowed with it; M1, R2.
        unsafe {
            while kind == kind::BRANCH {
                if !is_there && (*link).own_branch().is_none() {
                    if find_below(&*link, kind, hash, shift, key).is_none() {
                        return Ok(None);
                    }
                    is_there = true;
                }
                let branch = (*link).try_branch_mut()?;
                let (first, below) = branch.range(slot(hash, shift));
                (link, kind) = (branch.link_mut(first), below);
                shift += BITS;
            }
            // A copy has the same entries in the same places.
            let at = match kind {
                kind::LEAF => (*link).leaf().find(tag(hash), key),
                kind::SAME => (*link).same().iter().position(|pair| pair.key.borrow() == key),
                _ => None,
            };
            let Some(at) = at else { return Ok(None) };
            if kind == kind::LEAF {
                (*link).try_leaf_mut()?;
            } else {
                (*link).try_same_mut()?;
            }
            Ok(Some((link, kind, at)))
        }
    }
}

impl<K: Eq + Hash + Borrow<Q> + 'static, Q: Eq + Hash + ?Sized, V: 'static> Index<&Q> for CowHashMap<K, V> {
    type Output = V;

    /// # Panics
    /// If the key is not in the map.
    #[inline]
    fn index(&self, key: &Q) -> &V {
        self.get(key).expect("no entry for this key")
    }
}
