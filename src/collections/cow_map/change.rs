//! Inserting and removing an entry.

use super::CowMap;
use super::copy::{fresh, new_beside, new_leaf, own, scope};
use super::lookup::is_missing;
use super::node::{Link, Node};
use crate::collections::TryReserveError;
use crate::collections::error::or_raise;
use crate::collections::hash_map::{IntoKey, KeyFrom};
use crate::heap::placement::HeapScope;
use core::borrow::Borrow;
use core::mem::replace;

impl<K: Ord + Clone + 'static, V: Clone + 'static> CowMap<K, V> {
    /// Gives `key` a value and returns the one it had. A key that is there already stays as it is.
    ///
    /// What is not yet a key is [made one](KeyFrom) in the heap of the map. A heap without room for a node is a call of
    /// [`handle_alloc_error`](std::alloc::handle_alloc_error).
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
    /// use sal::collections::{CowMap, TryReserveError};
    ///
    /// # fn main() -> Result<(), TryReserveError> {
    /// let mut prices: CowMap<u32, u32> = CowMap::new();
    /// assert_eq!(prices.try_insert(1, 30)?, None);
    /// assert_eq!(prices.try_insert(1, 35)?, Some(30));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`AllocError`](TryReserveError::AllocError). The map has the entries it had, key and value are dropped; nodes may have been split,
    /// or copied, so that versions share less than before. (Memory that a key takes when it is made from something else, and that keys
    /// and values take to be cloned, is not covered.)
    #[inline]
    pub fn try_insert<Q: IntoKey<K>>(&mut self, key: Q, value: V) -> Result<Option<V>, TryReserveError>
    where
        K: KeyFrom<Q>,
    {
        let key = {
            let _scope = K::ALLOCATES.then(|| HeapScope::enter(self.heap()));
            K::key_from(key)
        };
        Ok(self.insert_pair(key, value)?.1)
    }

    /// As `try_insert`, and the place of the value too.
    pub(super) fn insert_pair(&mut self, key: K, value: V) -> Result<(&mut V, Option<V>), TryReserveError> {
        if self.root.is_none() {
            let mut leaf = new_leaf(self.heap())?;
            fresh(&mut leaf).insert_pair(0, key, value);
            self.len = 1;
            return Ok((&mut fresh(self.root.insert(leaf)).values_mut()[0], None));
        }
        let root = self.root.as_mut().expect("looked for above");
        if is_full(root) {
            if let Some(at) = find_in_leaf(root, &key) {
                return replace_value(root, at, value);
            }
            grow(root, &key)?;
        }
        let mut node = own(root)?;
        while !node.is_leaf() {
            let mut at = node.child_of(&key);
            if is_full(&node.children()[at]) {
                if let Some(found) = find_in_leaf(&node.children()[at], &key) {
                    return replace_value(&mut node.children_mut()[at], found, value);
                }
                at += usize::from(split_child(node, at, &key)?);
            }
            node = own(&mut node.children_mut()[at])?;
        }
        match node.find(&key) {
            Ok(at) => {
                let place = &mut node.values_mut()[at];
                let before = replace(place, value);
                Ok((place, Some(before)))
            }
            Err(at) => {
                node.insert_pair(at, key, value);
                self.len += 1;
                Ok((&mut node.values_mut()[at], None))
            }
        }
    }

    /// Removes `key` and returns its value.
    #[inline]
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
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
    pub fn try_remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Result<Option<V>, TryReserveError>
    where
        K: Borrow<Q>,
    {
        Ok(self.try_remove_entry(key)?.map(|(_, value)| value))
    }

    /// Removes `key` and returns it as it was in the map, with its value. If it is missing no node is copied.
    pub fn remove_entry<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<(K, V)>
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
    pub fn try_remove_entry<Q: Ord + ?Sized>(&mut self, key: &Q) -> Result<Option<(K, V)>, TryReserveError>
    where
        K: Borrow<Q>,
    {
        let is_missing = |link: &mut Link<K, V>| is_missing(link, key);
        self.remove_where(is_missing, |branch| branch.child_of(key), |leaf| leaf.find(key).ok())
    }

    /// Removes the entry with the smallest key.
    pub fn pop_first(&mut self) -> Option<(K, V)> {
        or_raise(self.try_pop_first())
    }

    /// As [`pop_first`](Self::pop_first), for a heap that may be full.
    ///
    /// # Errors
    /// As [`try_remove_entry`](Self::try_remove_entry).
    pub fn try_pop_first(&mut self) -> Result<Option<(K, V)>, TryReserveError> {
        self.remove_where(|_| Some(true), |_| 0, |leaf| (leaf.len() > 0).then_some(0))
    }

    /// Removes the entry with the largest key.
    pub fn pop_last(&mut self) -> Option<(K, V)> {
        or_raise(self.try_pop_last())
    }

    /// As [`pop_last`](Self::pop_last), for a heap that may be full.
    ///
    /// # Errors
    /// As [`try_remove_entry`](Self::try_remove_entry).
    pub fn try_pop_last(&mut self) -> Result<Option<(K, V)>, TryReserveError> {
        self.remove_where(|_| Some(true), |branch| branch.len() - 1, |leaf| leaf.len().checked_sub(1))
    }

    /// Removes the pair at a place that is described by the child under which it is and the position in its leaf. `is_missing` is
    /// asked until it says yes, and may end the search before nodes are copied for nothing.
    #[inline]
    fn remove_where(
        &mut self,
        mut is_missing: impl FnMut(&mut Link<K, V>) -> Option<bool>,
        child_of: impl Fn(&Node<K, V>) -> usize,
        find: impl Fn(&Node<K, V>) -> Option<usize>,
    ) -> Result<Option<(K, V)>, TryReserveError> {
        self.lower_root();
        let Some(mut link) = self.root.as_mut() else { return Ok(None) };
        let mut is_known = false;
        let pair = loop {
            if !is_known {
                let Some(found) = is_missing(link) else { return Ok(None) };
                is_known = found;
            }
            let node = own(link)?;
            if node.is_leaf() {
                let Some(at) = find(node) else { return Ok(None) };
                break node.remove_pair(at);
            }
            let mut at = child_of(node);
            let child = &node.children()[at];
            if child.len() <= child.least() && node.len() > 1 {
                fill_child(node, at)?;
                at = child_of(node);
            }
            link = &mut node.children_mut()[at];
        };
        self.len -= 1;
        self.lower_root();
        Ok(Some(pair))
    }

    /// Does without a root that is not needed.
    pub(super) fn lower_root(&mut self) {
        while let Some(root) = &self.root {
            if root.is_leaf() && root.len() == 0 {
                self.root = None;
            } else if !root.is_leaf() && root.len() == 1 {
                let child = root.children()[0].clone();
                self.root = Some(child);
            } else {
                break;
            }
        }
    }
}

/// Whether there is no room for one more.
#[inline(always)]
fn is_full<K: 'static, V: 'static>(node: &Node<K, V>) -> bool {
    node.len() == node.capacity()
}

/// Where a key is, if this is a leaf and has it.
#[cold]
fn find_in_leaf<K: Ord + 'static, V: 'static>(node: &Node<K, V>, key: &K) -> Option<usize> {
    if node.is_leaf() { node.find(key).ok() } else { None }
}

/// Gives the pair at a place of a leaf another value.
#[inline]
fn replace_value<K: Clone + 'static, V: Clone + 'static>(
    leaf: &mut Link<K, V>,
    at: usize,
    value: V,
) -> Result<(&mut V, Option<V>), TryReserveError> {
    let place = &mut own(leaf)?.values_mut()[at];
    let before = replace(place, value);
    Ok((place, Some(before)))
}

/// Puts a new root above a full one, which is split.
#[cold]
fn grow<K: Ord + Clone + 'static, V: Clone + 'static>(root: &mut Link<K, V>, key: &K) -> Result<(), TryReserveError> {
    // All that takes memory comes first.
    own(root)?;
    let right = new_beside(root.height(), root)?;
    let mut higher = new_beside(root.height() + 1, root)?;
    fresh(&mut higher).set_only_child(root.clone());
    // The tree is in order in between, with a root of one child.
    *root = higher;
    split_into(fresh(root), 0, key, right);
    Ok(())
}

/// Splits a full child of a branch that has room, and returns whether `key` belongs to the right half.
///
/// Where the key is beyond all others that end gets more room, as it is likely that more of the kind come.
#[inline(never)]
fn split_child<K: Ord + Clone + 'static, V: Clone + 'static>(
    branch: &mut Node<K, V>,
    at: usize,
    key: &K,
) -> Result<bool, TryReserveError> {
    let child = &mut branch.children_mut()[at];
    own(child)?;
    let right = new_beside(child.height(), child)?;
    Ok(split_into(branch, at, key, right))
}

/// As [`split_child`], of a child that no other version has, with a node that is to become the right half.
fn split_into<K: Ord + Clone + 'static, V: Clone + 'static>(
    branch: &mut Node<K, V>,
    at: usize,
    key: &K,
    mut right: Link<K, V>,
) -> bool {
    let child = &branch.children()[at];
    let (len, least) = (child.len(), child.least());
    let keys = child.keys();
    let middle = if keys.last().is_some_and(|last| last < key) {
        len - least
    } else if keys.first().is_some_and(|first| key < first) {
        least
    } else {
        len / 2
    };
    let bound = if child.is_leaf() {
        let _scope = scope(child);
        Some(keys[middle].clone())
    } else {
        None
    };
    // From here on nothing panics: no code of keys or values is run before the tree is in order.
    let child = fresh(&mut branch.children_mut()[at]);
    let bound = match bound {
        Some(bound) => {
            child.split_leaf(middle, fresh(&mut right));
            bound
        }
        None => child.split_branch(middle, fresh(&mut right)),
    };
    branch.insert_child(at + 1, bound, right);
    branch.keys()[at] <= *key
}

/// Sees to it that a child of a branch with two at least has more than it must: it is merged with a neighbour, or gets something
/// from it.
#[inline(never)]
fn fill_child<K: Clone + 'static, V: Clone + 'static>(
    branch: &mut Node<K, V>,
    at: usize,
) -> Result<(), TryReserveError> {
    let (left, right) = if at > 0 { (at - 1, at) } else { (0, 1) };
    own(&mut branch.children_mut()[left])?;
    own(&mut branch.children_mut()[right])?;
    let (left_len, right_len) = (branch.children()[left].len(), branch.children()[right].len());
    let moved = left_len.abs_diff(right_len) / 2;
    let merges = left_len + right_len <= branch.children()[left].capacity();
    // The bound between leaves is a copy of the first key behind it.
    let new_bound = if merges || !branch.children()[left].is_leaf() {
        None
    } else {
        let (from, first) = if left_len > right_len { (left, left_len - moved) } else { (right, moved) };
        let link = &branch.children()[from];
        let _scope = scope(link);
        Some(link.keys()[first].clone())
    };
    // From here on no code of keys or values is run, and no memory taken, before the tree is in order.
    let (Some(bound), mut right_link) = branch.remove_child(right) else { return Ok(()) };
    let (left_node, right_node) = (fresh(&mut branch.children_mut()[left]), fresh(&mut right_link));
    if merges {
        drop(left_node.append(bound, right_node));
    } else {
        let bound = if left_len > right_len {
            left_node.move_right(right_node, bound, moved)
        } else {
            left_node.move_left(right_node, bound, moved)
        };
        let (bound, old) = match new_bound {
            Some(new) => (new, Some(bound)),
            None => (bound, None),
        };
        branch.insert_child(right, bound, right_link);
        drop(old);
    }
    Ok(())
}
