//! The invariants of a map, as code.

use super::CowMap;
use super::node::{Link, Node};

impl<K: Ord + 'static, V: 'static> CowMap<K, V> {
    /// Whether the map is in order; else what is not. Looks at everything, and so takes its time.
    ///
    /// Of a map that only safe code has used, and whose keys are in an order that does not contradict itself, it always is.
    pub fn check(&self) -> Result<(), &'static str> {
        let Some(root) = &self.root else {
            return if self.len == 0 { Ok(()) } else { Err("a map without a root has a length (B1)") };
        };
        if check_node(root, None, None)? != self.len {
            return Err("the length is not the number of pairs (B3)");
        }
        if !self.keys().zip(self.keys().skip(1)).all(|(a, b)| a < b) {
            return Err("the keys do not ascend (B4)");
        }
        Ok(())
    }
}

/// The number of pairs in a node and below, with keys not less than `from` and less than `to`.
fn check_node<K: Ord + 'static, V: 'static>(
    node: &Link<K, V>,
    from: Option<&K>,
    to: Option<&K>,
) -> Result<usize, &'static str> {
    let node: &Node<K, V> = node;
    if node.len() > node.capacity() {
        return Err("a node has too much (N1, N2)");
    }
    if !node.is_clean() {
        return Err("a slot not in use holds something (N3)");
    }
    let keys = node.keys();
    if keys.iter().any(|key| from.is_some_and(|from| key < from) || to.is_some_and(|to| key >= to)) {
        return Err("a key is on the wrong side of a bound (B4)");
    }
    if node.is_leaf() {
        return Ok(node.len());
    }
    if node.len() == 0 {
        return Err("a branch has no children (N2)");
    }
    let mut pairs = 0;
    for (at, child) in node.children().iter().enumerate() {
        if child.height() + 1 != node.height() {
            return Err("a child has not one height less (N2)");
        }
        if child.len() < child.least() {
            return Err("a node has too little (B2)");
        }
        let from = at.checked_sub(1).map_or(from, |before| keys.get(before));
        pairs += check_node(child, from, keys.get(at).or(to))?;
    }
    Ok(pairs)
}
