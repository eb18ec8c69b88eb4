//! A place between two pairs of a map, and the way there.

use super::node::Node;

/// The levels of the highest tree there can be: branches have three children at least, and nodes more than 500 bytes.
const LEVELS: usize = 26;

/// A place between two pairs of a tree that is borrowed for `'a`, or nowhere.
pub(super) struct Cursor<'a, K: 'static, V: 'static> {
    /// Pairs behind `at` in it are ahead.
    leaf: Option<&'a Node<K, V>>,
    at: usize,
    /// The branches above the leaf, from the root on, and which of their children the way goes to.
    depth: usize,
    branches: [Option<&'a Node<K, V>>; LEVELS],
    children: [u16; LEVELS],
}

impl<K: 'static, V: 'static> Clone for Cursor<'_, K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K: 'static, V: 'static> Copy for Cursor<'_, K, V> {}

impl<'a, K: 'static, V: 'static> Cursor<'a, K, V> {
    pub(super) const fn nowhere() -> Self {
        Self { leaf: None, at: 0, depth: 0, branches: [None; LEVELS], children: [0; LEVELS] }
    }

    /// The place under a root to which `child_of` leads the way, and in the leaf `find`.
    #[inline]
    pub(super) fn new(
        root: Option<&'a Node<K, V>>,
        child_of: impl Fn(&Node<K, V>) -> usize,
        find: impl Fn(&Node<K, V>) -> usize,
    ) -> Self {
        let mut cursor = Self::nowhere();
        let Some(mut node) = root else { return cursor };
        while !node.is_leaf() {
            let at = child_of(node);
            cursor.branches[cursor.depth] = Some(node);
            cursor.children[cursor.depth] = at as u16;
            cursor.depth += 1;
            node = &node.children()[at];
        }
        (cursor.leaf, cursor.at) = (Some(node), find(node));
        cursor
    }

    /// The place before all pairs, or behind them.
    #[inline]
    pub(super) fn at_end(root: Option<&'a Node<K, V>>, last: bool) -> Self {
        if last { Self::new(root, |branch| branch.len() - 1, Node::len) } else { Self::new(root, |_| 0, |_| 0) }
    }

    /// Goes from the end of a leaf to the beginning of the next one, if there is one: between the same pairs.
    #[inline]
    pub(super) fn settle(&mut self) {
        if self.leaf.is_some_and(|leaf| self.at == leaf.len()) {
            self.next_leaf(false);
        }
    }

    /// Whether both are the same place of one tree, once they have [settled](Self::settle).
    #[inline]
    pub(super) fn is_at(&self, other: &Self) -> bool {
        let same_leaf = match (self.leaf, other.leaf) {
            (Some(a), Some(b)) => core::ptr::eq(a, b),
            (a, b) => a.is_none() && b.is_none(),
        };
        same_leaf && self.at == other.at
    }

    /// Goes over the pair ahead.
    #[inline]
    pub(super) fn next(&mut self) -> Option<(&'a K, &'a V)> {
        let mut leaf = self.leaf?;
        if self.at == leaf.len() {
            leaf = self.next_leaf(false)?;
        }
        let at = self.at;
        self.at += 1;
        Some((leaf.keys().get(at)?, leaf.values().get(at)?))
    }

    /// Goes back over the pair behind.
    #[inline]
    pub(super) fn previous(&mut self) -> Option<(&'a K, &'a V)> {
        let mut leaf = self.leaf?;
        if self.at == 0 {
            leaf = self.next_leaf(true)?;
        }
        self.at -= 1;
        Some((leaf.keys().get(self.at)?, leaf.values().get(self.at)?))
    }

    /// Goes to the beginning of the next leaf, or if `back`, to the end of the one before; at the last one it stays.
    #[cold]
    #[inline(never)]
    fn next_leaf(&mut self, back: bool) -> Option<&'a Node<K, V>> {
        let mut level = self.depth;
        let (mut node, at) = loop {
            level = level.checked_sub(1)?;
            let (branch, at) = (self.branches[level]?, usize::from(self.children[level]));
            let next = if back { at.checked_sub(1) } else { Some(at + 1) };
            if let Some(next) = next.filter(|&next| next < branch.len()) {
                break (branch, next);
            }
        };
        self.children[level] = at as u16;
        node = &node.children()[at];
        for level in level + 1..self.depth {
            let at = if back { node.len() - 1 } else { 0 };
            self.branches[level] = Some(node);
            self.children[level] = at as u16;
            node = &node.children()[at];
        }
        // Leaves under a branch have pairs (B2).
        (self.leaf, self.at) = (Some(node), if back { node.len() } else { 0 });
        (node.len() > 0).then_some(node)
    }
}
