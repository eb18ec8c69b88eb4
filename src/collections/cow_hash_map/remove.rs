//! Removing, and what it does to the shape of the trie.
#![allow(unsafe_code)]

use super::branch::{BITS, Branch, WIDTH, kind, slot};
use super::leaf::{Pair, capacity};
use super::link::{Link, clean};
use super::{CowHashMap, hash_of};
use crate::collections::TryReserveError;
use crate::collections::error::or_raise;
use core::borrow::Borrow;
use core::hash::Hash;
use core::ptr::NonNull;

impl<K: Eq + Hash + Clone + 'static, V: Clone + 'static> CowHashMap<K, V> {
    /// Removes `key` and returns its value. The nodes on the way to it are copied if other versions have them; none is if the
    /// key is not there.
    #[inline]
    pub fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.remove_entry(key).map(|(_, value)| value)
    }

    /// As [`remove`](Self::remove), for a heap that may be full.
    ///
    /// # Errors
    /// As [`try_remove_entry`](Self::try_remove_entry).
    #[inline]
    pub fn try_remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Result<Option<V>, TryReserveError>
    where
        K: Borrow<Q>,
    {
        Ok(self.try_remove_entry(key)?.map(|(_, value)| value))
    }

    /// As [`remove`](Self::remove), and returns the key as it was in the map, too.
    #[inline]
    pub fn remove_entry<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<(K, V)>
    where
        K: Borrow<Q>,
    {
        or_raise(self.try_remove_entry(key))
    }

    /// As [`remove_entry`](Self::remove_entry), for a heap that may be full: what another version has is copied to be changed. If none has
    /// anything of it, no memory is needed.
    ///
    /// # Errors
    /// [`AllocError`](TryReserveError::AllocError). The map has the entries it had; nodes may have been copied.
    #[inline]
    pub fn try_remove_entry<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Result<Option<(K, V)>, TryReserveError>
    where
        K: Borrow<Q>,
    {
        self.settle()?;
        let hash = hash_of(self.seed, key);
        let Some((link, kind, at)) = self.locate_mut(hash, key)? else { return Ok(None) };
        // SAFETY: the link is this map's, of this kind, where the hash leads; what it leads to nobody else has.
        let (Pair { key, value }, left) = unsafe { take_at(link, kind, at) };
        self.removed(hash, left);
        Ok(Some((key, value)))
    }

    /// Takes an entry out.
    ///
    /// # Safety
    /// It is an entry of this map, which is settled, in a node that nobody else has and that the hash leads to.
    pub(super) unsafe fn take_pair(&mut self, hash: u64, pair: NonNull<Pair<K, V>>) -> Pair<K, V> {
        let (mut link, mut kind, mut shift) = (&raw mut self.root, self.kind(), 0);
        // SAFETY: the caller's promise: the way leads to the node that has the entry. M1, R2.
        unsafe {
            while kind == kind::BRANCH {
                let branch = (*link).alone_branch().unwrap_unchecked();
                let (first, below) = branch.range(slot(hash, shift));
                (link, kind) = (branch.link_mut(first), below);
                shift += BITS;
            }
            let start = (*link).entries(kind).as_ptr().addr();
            let at = (pair.addr().get() - start).checked_div(size_of::<Pair<K, V>>()).unwrap_or(0);
            let (pair, left) = take_at(link, kind, at);
            self.removed(hash, left);
            pair
        }
    }

    /// Notes that an entry was taken out of a node that a hash leads to, and that so many are left there.
    #[inline(always)]
    fn removed(&mut self, hash: u64, left: usize) {
        self.len -= 1;
        if left <= capacity::<K, V>() / 4 {
            self.tidy(hash);
        }
    }

    /// Makes the way of a hash as short as it can be, after an entry was removed there. Nobody else has the nodes on it.
    #[cold]
    #[inline(never)]
    pub(super) fn tidy(&mut self, hash: u64) {
        let kind = self.kind();
        // SAFETY: M1, and the caller has made the nodes its own.
        self.kind = u64::from(unsafe { tidy_below(&mut self.root, kind, hash, 0) });
    }
}

/// Takes an entry out of a leaf or list, and tells how many are left there.
///
/// # Safety
/// The link leads to a node of this kind that nobody else has, which has an entry at this place.
#[inline(always)]
unsafe fn take_at<K: 'static, V: 'static>(link: *mut Link<K, V>, kind: u8, at: usize) -> (Pair<K, V>, usize) {
    // SAFETY: the caller's promise.
    unsafe {
        if kind == kind::LEAF {
            return (*link).alone_leaf().unwrap_unchecked().take(at);
        }
        let entries = (*link).alone_same().unwrap_unchecked();
        let pair = entries.swap_remove(at);
        clean(entries);
        (pair, entries.len())
    }
}

/// Drops the node that a hash leads to if it has no entries, and joins what can be joined on the way back. Returns the kind of
/// the link then. Recurses as deep as there are branches.
///
/// # Safety
/// If the link leads to a node, that is of this kind. Nobody else has the nodes that the hash leads to.
unsafe fn tidy_below<K: 'static, V: 'static>(link: &mut Link<K, V>, kind: u8, hash: u64, shift: u32) -> u8 {
    // SAFETY: the caller's promise; R2, and what a link leads to is put there with its kind.
    unsafe {
        if kind == kind::BRANCH {
            let branch = link.alone_branch().unwrap_unchecked();
            let (first, before) = branch.range(slot(hash, shift));
            let after = tidy_below(branch.link_mut(first), before, hash, shift + BITS);
            branch.set_kind(first, after);
            branch.join_around(first, after);
            return link.shorten();
        }
        if link.entries(kind).is_empty() { link.clear(kind) } else { kind }
    }
}

impl<K: 'static, V: 'static> Link<K, V> {
    /// Drops the node, and returns the kind of a link that leads nowhere.
    ///
    /// # Safety
    /// If the link leads to a node, that is of this kind.
    pub(super) unsafe fn clear(&mut self, kind: u8) -> u8 {
        // SAFETY: the caller's promise.
        unsafe { core::mem::replace(self, Self::none()).release(kind) };
        kind::NONE
    }

    /// Puts a leaf that is a branch's only one in the place of the branch. Returns the link's kind.
    ///
    /// # Safety
    /// The link leads to a branch that nobody else has.
    pub(super) unsafe fn shorten(&mut self) -> u8 {
        // SAFETY: the caller's promise; the only link is of the kind that its range says (R2).
        unsafe {
            let branch = self.alone_branch().unwrap_unchecked();
            match branch.only() {
                Some(only @ (kind::LEAF | kind::NONE)) => {
                    let below = branch.take(0);
                    core::mem::replace(self, below).release(kind::BRANCH);
                    only
                }
                _ => kind::BRANCH,
            }
        }
    }
}

impl<K: 'static, V: 'static> Branch<K, V> {
    /// Notes what kind the link of a range has become.
    ///
    /// # Safety
    /// `first` begins a range whose link is of this kind now.
    pub(super) unsafe fn set_kind(&mut self, first: usize, kind: u8) {
        if self.range(first).1 != kind {
            let len = self.len_of(first);
            let link = self.take(first);
            // SAFETY: the caller's promise; the range stays as long as it is.
            let _none = unsafe { self.put(first, len, link, kind) };
        }
    }

    /// Joins a range with its neighbour as long as both have so few entries that one leaf has room for twice as many.
    ///
    /// # Safety
    /// `first` begins a range of this kind.
    pub(super) unsafe fn join_around(&mut self, mut first: usize, mut kind: u8) {
        let mut len = self.len_of(first);
        // SAFETY: the caller's promise. Neighbours of the same length are a range together (R1), and all links but the one
        // that is put there have been taken out or lead nowhere.
        unsafe {
            while let Some(few) = self.few(first, kind).filter(|_| len < WIDTH) {
                let other = first ^ len;
                let (other_first, other_kind) = self.range(other);
                if other_first != other || self.len_of(other) != len {
                    return;
                }
                let Some(few_there) = self.few(other, other_kind) else { return };
                if few + few_there > capacity::<K, V>() / 2 {
                    return;
                }
                let Some((link, joined)) = self.join(first, kind, other, other_kind) else { return };
                (first, len, kind) = (first.min(other), 2 * len, joined);
                let _none = self.put(first, len, link, kind);
            }
        }
    }

    /// The number of entries at a link, if it leads to none, or to a leaf.
    ///
    /// # Safety
    /// `first` begins a range of this kind.
    unsafe fn few(&self, first: usize, kind: u8) -> Option<usize> {
        match kind {
            kind::NONE => Some(0),
            // SAFETY: R2.
            kind::LEAF => Some(unsafe { self.link(first).leaf() }.entries().len()),
            _ => None,
        }
    }

    /// Takes the leaves of two ranges out and makes them one. None, and nothing is changed, if there are two and others have one
    /// of them.
    ///
    /// # Safety
    /// Both begin ranges, of these kinds, which are a leaf's or none's; one leaf has room for the entries of both.
    unsafe fn join(&mut self, first: usize, kind: u8, other: usize, other_kind: u8) -> Option<(Link<K, V>, u8)> {
        if kind == kind::NONE {
            return Some((self.take(other), other_kind));
        }
        if other_kind == kind::NONE {
            return Some((self.take(first), kind));
        }
        let (mut one, mut two) = (self.take(first), self.take(other));
        // SAFETY: the caller's promise. All entries are moved from one leaf to the other before it is dropped; if they are not
        // moved, both links come back to where they were.
        unsafe {
            if let (Some(mut to), Some(mut from)) = (one.own_leaf(), two.own_leaf()) {
                from.move_to(&mut to, |_| true);
                two.release(kind::LEAF);
                return Some((one, kind::LEAF));
            }
            core::mem::swap(self.link_mut(first), &mut one);
            core::mem::swap(self.link_mut(other), &mut two);
        }
        None
    }
}
