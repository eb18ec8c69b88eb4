//! The invariants of a map, as code.
#![allow(unsafe_code)]

use super::SalBTreeMap;
use super::node::{CAPACITY, MIN_LEN, Node};

impl<K: Ord, V> SalBTreeMap<K, V> {
    /// Whether the map is in order; else what is not. Looks at everything, and so takes its time.
    ///
    /// Of a map that only safe code has used it always is.
    pub fn check(&self) -> Result<(), &'static str> {
        let Some(root) = self.root else {
            return if self.len == 0 { Ok(()) } else { Err("a map without a root has a length (B1)") };
        };
        // SAFETY: B1, N1 and N2 are what this whole type rests on.
        let len = unsafe { check_node(root, self.height, 1) }?;
        if len != self.len {
            return Err("the length is not the number of pairs (B3)");
        }
        if !self.keys().zip(self.keys().skip(1)).all(|(a, b)| a < b) {
            return Err("the keys do not ascend (B4)");
        }
        if !self.keys().rev().eq(self.keys().collect::<Vec<_>>().into_iter().rev()) {
            return Err("there and back is not the same way (N2)");
        }
        Ok(())
    }
}

/// The number of pairs in a node and below.
///
/// # Safety
/// The node is in use and has this height.
unsafe fn check_node<K, V>(node: Node<K, V>, height: usize, min: usize) -> Result<usize, &'static str> {
    // SAFETY: the caller's promise.
    let len = unsafe { node.len() };
    if len < min {
        return Err("a node has too few pairs (B2)");
    }
    if len > CAPACITY {
        return Err("a node has too many pairs (N2)");
    }
    let mut pairs = len;
    if height > 0 {
        for at in 0..=len {
            // SAFETY: a node that is no leaf has so many children, of one height less (N2).
            pairs += unsafe { check_node(node.child(at), height - 1, MIN_LEN) }?;
        }
    }
    Ok(pairs)
}
