//! Removing, and what it does to the shape of the trie.
#![allow(unsafe_code)]

use super::branch::{BITS, Branch, WIDTH, kind, slot};
use super::leaf::{Pair, capacity};
use super::link::{Link, clean};
use super::lookup::find_below;
use super::tags::tag;
use super::{CowHashMap, hash_of};
use core::borrow::Borrow;
use core::hash::Hash;

impl<K: Eq + Hash + Clone, V: Clone> CowHashMap<K, V> {
    /// Removes `key` and returns its value. The nodes on the way to it are copied if other versions have them; none is if the
    /// key is not there.
    #[inline]
    pub fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.remove_entry(key).map(|(_, value)| value)
    }

    /// As [`remove`](Self::remove), and returns the key as it was in the map, too.
    pub fn remove_entry<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<(K, V)>
    where
        K: Borrow<Q>,
    {
        self.settle();
        let hash = hash_of(self.seed, key);
        // SAFETY: M1.
        let Pair { key, value } = unsafe {
            let kind = self.kind();
            find_below(&self.root, kind, hash, 0, key)?;
            let (pair, kind) = take_below(&mut self.root, kind, hash, 0, key)?;
            self.kind = u64::from(kind);
            pair
        };
        self.len -= 1;
        Some((key, value))
    }
}

/// Takes the entry of a key out of the nodes below a link, which nobody else has afterwards, and says of which kind the link is
/// then. Recurses as deep as there are branches.
///
/// # Safety
/// If the link leads to a node, that is of this kind.
unsafe fn take_below<K: Borrow<Q> + Clone, V: Clone, Q: Eq + ?Sized>(
    link: &mut Link<K, V>,
    kind: u8,
    hash: u64,
    shift: u32,
    key: &Q,
) -> Option<(Pair<K, V>, u8)> {
    // SAFETY: the caller's promise; R2, and what a link leads to is put there with its kind.
    unsafe {
        match kind {
            kind::BRANCH => {
                let branch = link.branch_mut();
                let (first, before) = branch.range(slot(hash, shift));
                let (pair, after) = take_below(branch.link_mut(first), before, hash, shift + BITS, key)?;
                branch.tidy(first, before, after);
                Some((pair, link.shorten()))
            }
            kind::LEAF => {
                let at = link.leaf().find(tag(hash), key)?;
                // A copy has the same entries in the same places.
                let mut leaf = link.leaf_mut();
                let pair = leaf.take(at);
                let is_empty = leaf.len() == 0;
                Some((pair, if is_empty { link.clear(kind) } else { kind }))
            }
            kind::SAME => {
                let at = link.same().iter().position(|pair| pair.key.borrow() == key)?;
                let entries = link.same_mut();
                let pair = entries.swap_remove(at);
                clean(entries);
                let is_empty = entries.is_empty();
                Some((pair, if is_empty { link.clear(kind) } else { kind }))
            }
            _ => None,
        }
    }
}

impl<K, V> Link<K, V> {
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
            let branch = self.own_branch().unwrap_unchecked();
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

impl<K, V> Branch<K, V> {
    /// Notes what kind the link of a range has become, and joins the range with its neighbour as long as both have so few
    /// entries that one leaf has room for twice as many.
    ///
    /// # Safety
    /// `first` begins a range whose link was of one kind and is now of another.
    pub(super) unsafe fn tidy(&mut self, mut first: usize, before: u8, after: u8) {
        // SAFETY: the caller's promise. Neighbours of the same length are a range together (R1), and all links but the one
        // that is put there have been taken out or lead nowhere.
        unsafe {
            let mut len = self.len_of(first);
            if before != after {
                let link = self.take(first);
                let _none = self.put(first, len, link, after);
            }
            let (mut kind, mut entries) = (after, self.few(first, after));
            while let Some(few) = entries.filter(|_| len < WIDTH) {
                let other = first ^ len;
                let (other_first, other_kind) = self.range(other);
                let Some(few_there) = self.few(other, other_kind) else { return };
                if other_first != other || self.len_of(other) != len || few + few_there > capacity::<K, V>() / 2 {
                    return;
                }
                let low = first.min(other);
                let Some((link, joined)) = self.join(first, kind, other, other_kind) else { return };
                let _none = self.put(low, 2 * len, link, joined);
                (first, len, kind, entries) = (low, 2 * len, joined, Some(few + few_there));
            }
        }
    }

    /// The number of entries at a link, if it leads to none, or to a leaf.
    ///
    /// # Safety
    /// `first` begins a range of this kind, or is none's first and then its link is not looked at.
    unsafe fn few(&self, first: usize, kind: u8) -> Option<usize> {
        match kind {
            kind::NONE => Some(0),
            // A slot within a range has no link, and whatever is said of it is not used.
            kind::LEAF if self.link(first).is_none() => None,
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
