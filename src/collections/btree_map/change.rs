//! Inserting and removing a pair at a place: the two that change the shape of the tree.
//!
//! Neither runs any code of keys or values, so neither can panic halfway.
#![allow(unsafe_code)]

use super::SalBTreeMap;
use super::node::{CAPACITY, MIN_LEN, Node};
use super::path::{LEVELS, Path};
use crate::collections::TryReserveError;

/// Nodes taken from the heap in advance, so that what follows cannot fail. Those not used are freed.
pub(super) struct Spare<K, V> {
    nodes: [Option<Node<K, V>>; LEVELS],
}

impl<K, V> Spare<K, V> {
    /// One node of each of these heights.
    pub(super) fn allocate(map: &SalBTreeMap<K, V>, heights: core::ops::Range<usize>) -> Result<Self, TryReserveError> {
        let mut spare = Self { nodes: [None; LEVELS] };
        for height in heights {
            spare.nodes[height] = Some(Node::allocate(height, map.place(), map.root)?);
        }
        Ok(spare)
    }

    /// The node of this height.
    pub(super) fn take(&mut self, height: usize) -> Node<K, V> {
        self.nodes[height].take().expect("it was allocated")
    }
}

impl<K, V> Drop for Spare<K, V> {
    fn drop(&mut self) {
        for (height, node) in self.nodes.iter().enumerate() {
            if let Some(node) = node {
                // SAFETY: it was allocated with this height, and nobody else has it.
                unsafe { node.free(height) };
            }
        }
    }
}

impl<K, V> SalBTreeMap<K, V> {
    /// Inserts a pair at a leaf edge and returns where its value is.
    ///
    /// # Safety
    /// `path` is a leaf edge of this map, or leads nowhere if the map is empty. It is of no use afterwards.
    pub(super) unsafe fn insert_at(&mut self, path: &Path<K, V>, key: K, value: V) -> Result<*mut V, TryReserveError> {
        let Some(root) = self.root else {
            let root = Node::allocate(0, self.place(), None)?;
            // SAFETY: a new leaf has room.
            unsafe { root.insert(0, key, value, None) };
            (self.root, self.height, self.len) = (Some(root), 0, 1);
            // SAFETY: it has one value now.
            return Ok(unsafe { root.value(0) });
        };
        // SAFETY: P1; the path's nodes are the map's.
        let full = (0..path.depth()).rev().take_while(|&step| unsafe { path.node(step).len() } == CAPACITY).count();
        // One for each full node, and one more if the root is one of them.
        let needed = if full == path.depth() { full + 1 } else { full };
        let mut spare = Spare::allocate(self, 0..needed)?;
        self.len += 1;
        let (mut key, mut value, mut right, mut place) = (key, value, None, None);
        for height in 0..path.depth() {
            let step = path.depth() - 1 - height;
            let (node, at) = (path.node(step), path.index(step));
            // SAFETY: `node` has this height, and `right` is a node of one less just if that is above 0. A full node
            // is split so that the half that takes the pair has room, and both have `MIN_LEN` pairs afterwards.
            unsafe {
                if node.len() < CAPACITY {
                    node.insert(at, key, value, right);
                    return Ok(place.unwrap_or_else(|| node.value(at)));
                }
                let (middle, goes_right) = match at {
                    0..MIN_LEN => (MIN_LEN - 1, false),
                    MIN_LEN => (MIN_LEN, false),
                    _ if at == MIN_LEN + 1 => (MIN_LEN, true),
                    _ => (MIN_LEN + 1, true),
                };
                let new = spare.take(height);
                let (up_key, up_value) = node.split(height, middle, new);
                let (target, at) = if goes_right { (new, at - middle - 1) } else { (node, at) };
                target.insert(at, key, value, right);
                place = place.or(Some(target.value(at)));
                (key, value, right) = (up_key, up_value, Some(new));
            }
        }
        let new_root = spare.take(path.depth());
        // SAFETY: the old root was split; the new one has one height more, and gets the two halves as children.
        unsafe {
            new_root.set_first_child(root);
            new_root.insert(0, key, value, right);
        }
        self.root = Some(new_root);
        self.height += 1;
        Ok(place.expect("every leaf step sets it"))
    }

    /// Removes the pair behind a leaf edge; the path is then the leaf edge where that pair was, but for this: if
    /// `true` is returned with it, one more pair that was *before* it is now behind the edge.
    ///
    /// # Safety
    /// `path` is a leaf edge of this map, and not the last.
    pub(super) unsafe fn remove_ahead(&mut self, path: &mut Path<K, V>) -> ((K, V), bool) {
        // SAFETY: the path's nodes are the map's, and a pair is ahead. If that is in a leaf, it is the path's. Else
        // the path is at the end of the leaf before it, whose last pair comes in its place; the leaf has one, as it
        // has `MIN_LEN` of them or is the root.
        let (removed, was_inner) = unsafe {
            let (step, at) = path.pair_ahead().expect("a pair is ahead");
            let leaf_step = path.depth() - 1;
            let leaf = path.node(leaf_step);
            if step == leaf_step {
                (leaf.remove(at), false)
            } else {
                let last = leaf.len() - 1;
                let (key, value) = leaf.remove(last);
                path.set(leaf_step, leaf, last);
                let node = path.node(step);
                ((node.key(at).replace(key), node.value(at).replace(value)), true)
            }
        };
        self.len -= 1;
        // SAFETY: only the path's leaf has become shorter.
        unsafe { self.rebalance(path) };
        (removed, was_inner)
    }

    /// Gives nodes on the path enough pairs again, from the leaf up, and changes the path so that it stays the same
    /// place.
    ///
    /// # Safety
    /// `path` is a leaf edge of this map, in which all nodes are as they must be but the leaf, which may have one
    /// pair too few.
    unsafe fn rebalance(&mut self, path: &mut Path<K, V>) {
        // SAFETY: P1 and N2 say what is whose child. A node with too few pairs has `MIN_LEN - 1`, so with a neighbour
        // of `MIN_LEN` and the pair between there are less than `CAPACITY`; the parent has a pair, as it is the root
        // or has `MIN_LEN` of them.
        unsafe {
            for step in (1..path.depth()).rev() {
                let (node, at) = (path.node(step), path.index(step));
                if node.len() >= MIN_LEN {
                    return;
                }
                let (parent, parent_at, height) = (path.node(step - 1), path.index(step - 1), path.depth() - 1 - step);
                if parent_at > 0 {
                    let left = parent.child(parent_at - 1);
                    let left_len = left.len();
                    if left_len > MIN_LEN {
                        parent.move_right(parent_at - 1, height, 1);
                        path.set(step, node, at + 1);
                        return;
                    }
                    parent.merge(parent_at - 1, height);
                    path.set(step, left, left_len + 1 + at);
                    path.set(step - 1, parent, parent_at - 1);
                } else if parent.child(1).len() > MIN_LEN {
                    parent.move_left(0, height);
                    return;
                } else {
                    parent.merge(0, height);
                }
            }
            let root = path.node(0);
            if root.len() == 0 {
                if self.height == 0 {
                    self.root = None;
                    *path = Path::new();
                    root.free(0);
                } else {
                    self.root = Some(root.child(0));
                    path.remove_first();
                    root.free(self.height);
                    self.height -= 1;
                }
            }
        }
    }
}
