//! Places in a tree, as the way there from the root.
//!
//! Nodes have no pointer to their parent, so that moving a child between nodes changes no page but theirs. Instead,
//! whoever walks notes the way. A *leaf edge* is a gap between pairs in a leaf, or at its ends; between any two
//! adjacent pairs of the tree there is just one, so leaf edges serve as places between pairs, wherever in the tree
//! those are.
//!
//! # Invariants
//! - **P1** The first step is the root; each later one is the child of the step before at that step's index, which is
//!   at most the node's length.
#![allow(unsafe_code)]

use super::node::Node;
use core::mem::MaybeUninit;

/// More levels than a tree can have: nodes below the root have 8 children or more, and 2 * 8^18 leaves of 7 pairs
/// need more than 2^57 bytes, even of keys that take one.
pub(super) const LEVELS: usize = 20;

/// Steps from the root on: a node, and a position in it.
pub(super) struct Path<K, V> {
    nodes: [MaybeUninit<Node<K, V>>; LEVELS],
    indices: [u8; LEVELS],
    /// How many steps there are.
    depth: usize,
}

impl<K, V> Clone for Path<K, V> {
    fn clone(&self) -> Self {
        Self { nodes: self.nodes, indices: self.indices, depth: self.depth }
    }
}

impl<K, V> Path<K, V> {
    /// A path that leads nowhere.
    #[inline]
    pub(super) const fn new() -> Self {
        Self { nodes: [const { MaybeUninit::uninit() }; LEVELS], indices: [0; LEVELS], depth: 0 }
    }

    /// The first or the last leaf edge of a tree.
    ///
    /// # Safety
    /// `root` is a node in use of this height.
    pub(super) unsafe fn to_end(root: Node<K, V>, height: usize, last: bool) -> Self {
        let mut path = Self::new();
        // SAFETY: the caller's promise, and N2 below.
        unsafe {
            path.push(root, if last { root.len() } else { 0 });
            path.descend(height + 1, last);
        }
        path
    }

    #[inline]
    pub(super) fn depth(&self) -> usize {
        self.depth
    }

    /// The node of a step.
    #[inline]
    pub(super) fn node(&self, step: usize) -> Node<K, V> {
        assert!(step < self.depth);
        // SAFETY: the first `depth` nodes were pushed.
        unsafe { self.nodes[step].assume_init() }
    }

    /// The position of a step.
    #[inline]
    pub(super) fn index(&self, step: usize) -> usize {
        usize::from(self.indices[step])
    }

    /// The last step.
    #[inline]
    pub(super) fn last(&self) -> (Node<K, V>, usize) {
        (self.node(self.depth - 1), self.index(self.depth - 1))
    }

    /// Replaces a step. It is for the caller to keep P1.
    #[inline]
    pub(super) fn set(&mut self, step: usize, node: Node<K, V>, index: usize) {
        self.nodes[step].write(node);
        self.indices[step] = index as u8;
    }

    /// Adds a step. It is for the caller to keep P1.
    #[inline]
    pub(super) fn push(&mut self, node: Node<K, V>, index: usize) {
        self.set(self.depth, node, index);
        self.depth += 1;
    }

    /// Follows the root in being gone.
    pub(super) fn remove_first(&mut self) {
        self.nodes.copy_within(1..self.depth, 0);
        self.indices.copy_within(1..self.depth, 0);
        self.depth -= 1;
    }

    /// Follows the root in having got a parent, in which it is at `index`.
    pub(super) fn insert_first(&mut self, root: Node<K, V>, index: usize) {
        self.nodes.copy_within(0..self.depth, 1);
        self.indices.copy_within(0..self.depth, 1);
        self.depth += 1;
        self.set(0, root, index);
    }

    /// Goes on down to so many steps, always to the first or the last position.
    ///
    /// # Safety
    /// P1, the nodes are in use, and the tree has so many levels.
    #[inline]
    pub(super) unsafe fn descend(&mut self, levels: usize, last: bool) {
        while self.depth < levels {
            let (node, index) = self.last();
            // SAFETY: above the lowest level there are children (N2), and by P1 `index` is one's.
            unsafe {
                let child = node.child(index);
                self.push(child, if last { child.len() } else { 0 });
            }
        }
    }

    /// The step and position of the pair behind this leaf edge.
    ///
    /// # Safety
    /// P1, and the nodes are in use.
    #[inline]
    pub(super) unsafe fn pair_ahead(&self) -> Option<(usize, usize)> {
        // SAFETY: the caller's promise.
        (0..self.depth)
            .rev()
            .find(|&step| self.index(step) < unsafe { self.node(step).len() })
            .map(|step| (step, self.index(step)))
    }

    /// Goes to the next leaf edge and returns the pair on the way. At the end it stays.
    ///
    /// # Safety
    /// This is a leaf edge of a tree whose nodes are in use.
    #[inline]
    pub(super) unsafe fn next(&mut self) -> Option<(Node<K, V>, usize)> {
        if self.depth == 0 {
            return None;
        }
        // SAFETY: P1 holds again afterwards: below the step of the pair the path goes to the first edge behind it.
        unsafe {
            let (leaf, index) = self.last();
            if index < leaf.len() {
                self.indices[self.depth - 1] += 1;
                return Some((leaf, index));
            }
            let (step, index) = self.pair_ahead()?;
            let levels = self.depth;
            self.indices[step] += 1;
            self.depth = step + 1;
            self.descend(levels, false);
            Some((self.node(step), index))
        }
    }

    /// Goes to the leaf edge before and returns the pair on the way. At the beginning it stays.
    ///
    /// # Safety
    /// This is a leaf edge of a tree whose nodes are in use.
    #[inline]
    pub(super) unsafe fn previous(&mut self) -> Option<(Node<K, V>, usize)> {
        // SAFETY: as in `next`, the other way round.
        unsafe {
            let step = (0..self.depth).rev().find(|&step| self.indices[step] > 0)?;
            let levels = self.depth;
            self.indices[step] -= 1;
            self.depth = step + 1;
            self.descend(levels, true);
            Some((self.node(step), self.index(step)))
        }
    }

    /// Whether both are the same leaf edge of the same tree.
    #[inline]
    pub(super) fn is_at(&self, other: &Self) -> bool {
        self.depth == other.depth && (self.depth == 0 || self.last() == other.last())
    }
}
