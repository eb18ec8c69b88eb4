//! Iterators that take what is the map's own, and clone what other versions have too.
//!
//! # Invariants
//! - **I1** Of leaves that are `is_own` the pairs `start..end` are initialised and belong to [`Pairs`]; the leaf counts none.
#![allow(unsafe_code)]

use super::CowMap;
use super::copy::{own, scope};
use super::node::Link;
use crate::SalRc;
use crate::collections::btree_map::project;
use crate::collections::error::or_raise;
use core::fmt;
use core::iter::FusedIterator;
use core::ptr;

/// The pairs of a leaf that was taken out of a tree.
struct Pairs<K: 'static, V: 'static> {
    leaf: Link<K, V>,
    start: usize,
    end: usize,
    is_own: bool,
}

impl<K: 'static, V: 'static> Pairs<K, V> {
    fn new(mut leaf: Link<K, V>) -> Self {
        let end = leaf.len();
        let is_own = SalRc::get_mut(&mut leaf).map(|leaf| leaf.len = 0).is_some();
        Self { leaf, start: 0, end, is_own }
    }

    /// Where the keys and values of a leaf lie that is its own.
    fn slots(&mut self) -> (*mut K, *mut V) {
        debug_assert!(self.is_own);
        // SAFETY: this is the only pointer to the leaf, as it was when it was asked for (I1), and borrowed mutably.
        let leaf = unsafe { &mut *SalRc::as_ptr(&self.leaf).cast_mut() };
        (leaf.key_slots(), leaf.value_slots())
    }
}

impl<K: Clone + 'static, V: Clone + 'static> Pairs<K, V> {
    fn take(&mut self, back: bool) -> Option<(K, V)> {
        if self.start == self.end {
            return None;
        }
        let at = if back { self.end - 1 } else { self.start };
        let pair = if self.is_own {
            let (keys, values) = self.slots();
            // SAFETY: I1; the pair is left out from now on.
            unsafe { (keys.add(at).read(), values.add(at).read()) }
        } else {
            let _scope = scope(&self.leaf);
            (self.leaf.keys()[at].clone(), self.leaf.values()[at].clone())
        };
        if back {
            self.end -= 1
        } else {
            self.start += 1
        }
        Some(pair)
    }
}

impl<K: 'static, V: 'static> Drop for Pairs<K, V> {
    fn drop(&mut self) {
        if self.is_own {
            let (keys, values) = self.slots();
            let len = self.end - self.start;
            // SAFETY: I1, and nobody uses them again. If an element panics, some of the others leak.
            unsafe {
                ptr::drop_in_place(ptr::slice_from_raw_parts_mut(keys.add(self.start), len));
                ptr::drop_in_place(ptr::slice_from_raw_parts_mut(values.add(self.start), len));
            }
        }
    }
}

/// The entries of a map in the order of their keys, taken from it; those that another version has too are cloned.
pub struct IntoIter<K: 'static, V: 'static> {
    /// What neither end has come to; the nodes on its edges may have too little, or nothing.
    root: Option<Link<K, V>>,
    front: Option<Pairs<K, V>>,
    back: Option<Pairs<K, V>>,
    remaining: usize,
}

impl<K: Clone + 'static, V: Clone + 'static> IntoIterator for CowMap<K, V> {
    type Item = (K, V);
    type IntoIter = IntoIter<K, V>;

    fn into_iter(self) -> IntoIter<K, V> {
        IntoIter { root: self.root, front: None, back: None, remaining: self.len }
    }
}

/// Takes the first or the last leaf out of what is below a branch; and says whether the branch is left without children.
fn take_leaf<K: Clone + 'static, V: Clone + 'static>(branch: &mut Link<K, V>, last: bool) -> (Link<K, V>, bool) {
    let branch = or_raise(own(branch));
    let at = if last { branch.len() - 1 } else { 0 };
    let child = &mut branch.children_mut()[at];
    if child.is_leaf() {
        let (_, leaf) = branch.remove_child(at);
        return (leaf, branch.len() == 0);
    }
    let (leaf, is_empty) = take_leaf(child, last);
    if is_empty {
        branch.remove_child(at);
    }
    (leaf, branch.len() == 0)
}

impl<K: Clone + 'static, V: Clone + 'static> IntoIter<K, V> {
    /// The next leaf from an end; then the one at the other end.
    fn next_leaf(&mut self, back: bool) -> Option<Pairs<K, V>> {
        let Some(root) = &mut self.root else {
            return if back { self.front.take() } else { self.back.take() };
        };
        if root.is_leaf() {
            return self.root.take().map(Pairs::new);
        }
        let (leaf, is_empty) = take_leaf(root, back);
        if is_empty {
            self.root = None;
        }
        Some(Pairs::new(leaf))
    }
}

impl<K: Clone + 'static, V: Clone + 'static> Iterator for IntoIter<K, V> {
    type Item = (K, V);

    #[inline]
    fn next(&mut self) -> Option<(K, V)> {
        loop {
            if let Some(pair) = self.front.as_mut().and_then(|pairs| pairs.take(false)) {
                self.remaining -= 1;
                return Some(pair);
            }
            self.front = Some(self.next_leaf(false)?);
        }
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.remaining, Some(self.remaining))
    }
}

impl<K: Clone + 'static, V: Clone + 'static> DoubleEndedIterator for IntoIter<K, V> {
    #[inline]
    fn next_back(&mut self) -> Option<(K, V)> {
        loop {
            if let Some(pair) = self.back.as_mut().and_then(|pairs| pairs.take(true)) {
                self.remaining -= 1;
                return Some(pair);
            }
            self.back = Some(self.next_leaf(true)?);
        }
    }
}

impl<K: Clone + 'static, V: Clone + 'static> ExactSizeIterator for IntoIter<K, V> {}
impl<K: Clone + 'static, V: Clone + 'static> FusedIterator for IntoIter<K, V> {}

impl<K: 'static, V: 'static> fmt::Debug for IntoIter<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IntoIter").field("remaining", &self.remaining).finish_non_exhaustive()
    }
}

/// The keys of a map, taken from it by [`CowMap::into_keys`].
#[derive(Debug)]
pub struct IntoKeys<K: 'static, V: 'static>(IntoIter<K, V>);

/// The values of a map, taken from it by [`CowMap::into_values`].
#[derive(Debug)]
pub struct IntoValues<K: 'static, V: 'static>(IntoIter<K, V>);

project!([K: Clone, V: Clone] IntoKeys<K, V>, K, |(key, _)| key);
project!([K: Clone, V: Clone] IntoValues<K, V>, V, |(_, value)| value);

impl<K: Clone + 'static, V: Clone + 'static> CowMap<K, V> {
    /// The keys, in order, taken from the map.
    pub fn into_keys(self) -> IntoKeys<K, V> {
        IntoKeys(self.into_iter())
    }

    /// The values, in the order of their keys, taken from the map.
    pub fn into_values(self) -> IntoValues<K, V> {
        IntoValues(self.into_iter())
    }
}
