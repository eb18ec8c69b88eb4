//! Inserting and removing an entry.

use super::CowMap;
use super::copy::{fresh, new_beside, own, scope};
use super::lookup::is_missing;
use super::node::{Link, Node};
use crate::SalRc;
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
        let key = {
            let _scope = K::ALLOCATES.then(|| HeapScope::enter(self.heap()));
            K::key_from(key)
        };
        self.insert_pair(key, value).1
    }

    /// As `insert`, and the place of the value too.
    pub(super) fn insert_pair(&mut self, key: K, value: V) -> (&mut V, Option<V>) {
        if self.root.is_none() {
            self.root = Some(SalRc::new_in(Node::empty(0), self.heap()));
        }
        let root = self.root.as_mut().expect("made above");
        if is_full(root) {
            if let Some(at) = find_in_leaf(root, &key) {
                return replace_value(root, at, value);
            }
            grow(root, &key);
        }
        let mut node = own(root);
        while !node.is_leaf() {
            let mut at = node.child_of(&key);
            if is_full(&node.children()[at]) {
                if let Some(found) = find_in_leaf(&node.children()[at], &key) {
                    return replace_value(&mut node.children_mut()[at], found, value);
                }
                at += usize::from(split_child(node, at, &key));
            }
            node = own(&mut node.children_mut()[at]);
        }
        match node.find(&key) {
            Ok(at) => {
                let place = &mut node.values_mut()[at];
                let before = replace(place, value);
                (place, Some(before))
            }
            Err(at) => {
                node.insert_pair(at, key, value);
                self.len += 1;
                (&mut node.values_mut()[at], None)
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

    /// Removes `key` and returns it as it was in the map, with its value. If it is missing no node is copied.
    pub fn remove_entry<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<(K, V)>
    where
        K: Borrow<Q>,
    {
        let is_missing = |link: &mut Link<K, V>| is_missing(link, key);
        self.remove_where(is_missing, |branch| branch.child_of(key), |leaf| leaf.find(key).ok())
    }

    /// Removes the entry with the smallest key.
    pub fn pop_first(&mut self) -> Option<(K, V)> {
        self.remove_where(|_| Some(true), |_| 0, |leaf| (leaf.len() > 0).then_some(0))
    }

    /// Removes the entry with the largest key.
    pub fn pop_last(&mut self) -> Option<(K, V)> {
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
    ) -> Option<(K, V)> {
        self.lower_root();
        let mut link = self.root.as_mut()?;
        let mut is_known = false;
        let pair = loop {
            is_known = is_known || is_missing(link)?;
            let node = own(link);
            if node.is_leaf() {
                let at = find(node)?;
                break node.remove_pair(at);
            }
            let mut at = child_of(node);
            let child = &node.children()[at];
            if child.len() <= child.least() && node.len() > 1 {
                fill_child(node, at);
                at = child_of(node);
            }
            link = &mut node.children_mut()[at];
        };
        self.len -= 1;
        self.lower_root();
        Some(pair)
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
) -> (&mut V, Option<V>) {
    let place = &mut own(leaf).values_mut()[at];
    let before = replace(place, value);
    (place, Some(before))
}

/// Puts a new root above a full one, which is split.
#[cold]
fn grow<K: Ord + Clone + 'static, V: Clone + 'static>(root: &mut Link<K, V>, key: &K) {
    let mut higher = new_beside(root.height() + 1, root);
    let node = fresh(&mut higher);
    node.set_only_child(root.clone());
    // The tree is in order in between, with a root of one child.
    *root = higher;
    split_child(fresh(root), 0, key);
}

/// Splits a full child of a branch that has room, and returns whether `key` belongs to the right half.
///
/// Where the key is beyond all others that end gets more room, as it is likely that more of the kind come.
#[inline(never)]
fn split_child<K: Ord + Clone + 'static, V: Clone + 'static>(branch: &mut Node<K, V>, at: usize, key: &K) -> bool {
    let child = own(&mut branch.children_mut()[at]);
    let (len, least) = (child.len(), child.least());
    let keys = child.keys();
    let middle = if keys.last().is_some_and(|last| last < key) {
        len - least
    } else if keys.first().is_some_and(|first| key < first) {
        least
    } else {
        len / 2
    };
    let height = child.height();
    let link = &branch.children()[at];
    let mut right = new_beside(height, link);
    let bound = if height == 0 {
        let _scope = scope(link);
        Some(link.keys()[middle].clone())
    } else {
        None
    };
    // From here on nothing panics: no code of keys or values is run before the tree is in order.
    let child = own(&mut branch.children_mut()[at]);
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
fn fill_child<K: Clone + 'static, V: Clone + 'static>(branch: &mut Node<K, V>, at: usize) {
    let (left, right) = if at > 0 { (at - 1, at) } else { (0, 1) };
    own(&mut branch.children_mut()[left]);
    own(&mut branch.children_mut()[right]);
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
    // From here on no code of keys or values is run before the tree is in order.
    let (Some(bound), mut right_link) = branch.remove_child(right) else { return };
    let (left_node, right_node) = (own(&mut branch.children_mut()[left]), fresh(&mut right_link));
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
}
