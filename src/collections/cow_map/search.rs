//! Finding a key within a node.
//!
//! Half of the keys is left out at each step, by arithmetic where keys are plain: which way a comparison goes cannot be guessed.

use super::node::Node;
use core::borrow::Borrow;

impl<K: 'static, V: 'static> Node<K, V> {
    /// The child of a branch under which a key belongs.
    #[inline(always)]
    pub(super) fn child_of<Q: Ord + ?Sized>(&self, key: &Q) -> usize
    where
        K: Borrow<Q>,
    {
        self.keys().partition_point(|bound| bound.borrow() <= key)
    }

    /// Where in a leaf a key is, or else where it belongs.
    #[inline(always)]
    pub(super) fn find<Q: Ord + ?Sized>(&self, key: &Q) -> Result<usize, usize>
    where
        K: Borrow<Q>,
    {
        let keys = self.keys();
        let at = keys.partition_point(|candidate| candidate.borrow() < key);
        if keys.get(at).is_some_and(|candidate| candidate.borrow() == key) { Ok(at) } else { Err(at) }
    }

    /// The leaf under which a key belongs.
    #[inline(always)]
    pub(super) fn leaf_of<Q: Ord + ?Sized>(&self, key: &Q) -> &Self
    where
        K: Borrow<Q>,
    {
        let mut node = self;
        while !node.is_leaf() {
            node = &node.children()[node.child_of(key)];
        }
        node
    }
}
