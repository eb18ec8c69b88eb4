//! What a map tells about itself before it may live in a file.
#![allow(unsafe_code)]

use super::SalBTreeMap;
use super::node::Node as TreeNode;
use crate::gc::trace::layouts::id;
use crate::persist::{BlockVisitor, Describer, Node, Persist};

/// The container's number, given by hand and never to another one.
const ID: u64 = id::SAL_BTREE_MAP;

/// Changes with the meaning of the three words or of a node.
const LAYOUT_VERSION: u32 = 1;

// SAFETY: map and nodes are `repr(C)` and store no handle. Their only addresses are aligned, unmodified words that
// are null or the start of a node (B1, N2), and `visit_blocks` names each node with its layout. Keys and values are
// visited and keep their own promise; a shared map hands out shared ones only.
unsafe impl<K: Persist, V: Persist> Persist for SalBTreeMap<K, V> {
    const OWNS_BLOCKS: bool = true;

    fn describe(describer: &mut Describer) -> Node {
        let parameters = vec![describer.node_of::<K>(), describer.node_of::<V>()];
        Node::container::<Self>(ID, "SalBTreeMap", LAYOUT_VERSION, parameters)
    }

    fn visit_blocks(&self, visitor: &mut BlockVisitor<'_>) {
        if let Some(root) = self.root {
            // SAFETY: B1.
            unsafe { visit_nodes(root, self.height, visitor) };
        }
        if K::OWNS_BLOCKS || V::OWNS_BLOCKS {
            for (key, value) in self {
                if visitor.has_found() {
                    return;
                }
                visitor.value(key);
                visitor.value(value);
            }
        }
    }
}

/// Names a node and all below it. Recurses as deep as the tree is high.
///
/// # Safety
/// The node is in use and has this height.
unsafe fn visit_nodes<K, V>(node: TreeNode<K, V>, height: usize, visitor: &mut BlockVisitor<'_>) {
    visitor.block(node.block(), TreeNode::<K, V>::layout(height));
    if height > 0 {
        // SAFETY: a node that is no leaf has so many children, of one height less (N2).
        unsafe { (0..=node.len()).for_each(|at| visit_nodes(node.child(at), height - 1, visitor)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SalAlloc;
    use crate::collections::{SalString, SalVec};
    use crate::persist::{Foreign, TypeDescription};
    use core::alloc::Layout;
    use core::ptr::NonNull;
    use std::collections::HashSet;

    #[test]
    fn every_block_is_named_once() {
        let map: SalBTreeMap<SalString, SalVec<u64>> =
            (0..1000_u64).map(|n| (SalString::from(n.to_string().as_str()), SalVec::from([n]))).collect();
        let mut seen = Vec::new();
        let mut observer = |start: NonNull<u8>, layout: Layout| seen.push((start.addr().get(), layout.size()));
        let mut visitor = BlockVisitor::observing(0..usize::MAX, SalAlloc::new(), &mut observer);
        map.visit_blocks(&mut visitor);
        assert!(visitor.finish().is_ok());
        let starts: HashSet<usize> = seen.iter().map(|block| block.0).collect();
        assert_eq!(starts.len(), seen.len());
        assert!(map.iter().all(|(k, v)| starts.contains(&k.as_ptr().addr()) && starts.contains(&v.as_ptr().addr())));
        // Every pair lies in one of the nodes, and every node holds some.
        let nodes: Vec<_> =
            seen.into_iter().filter(|block| block.1 >= TreeNode::<SalString, SalVec<u64>>::layout(0).size()).collect();
        for (start, size) in nodes {
            assert!(map.keys().any(|key| (start..start + size).contains(&(&raw const *key).addr())));
        }
    }

    #[test]
    fn node_outside_the_window_is_found_and_an_empty_map_belongs_everywhere() {
        let mut map: SalBTreeMap<u8, u8> = [(1, 1)].into();
        let mut visitor = BlockVisitor::new(0..1, SalAlloc::new());
        map.visit_blocks(&mut visitor);
        assert!(matches!(visitor.finish().unwrap_err().found(), Foreign::Block { .. }));
        map.remove(&1);
        let mut visitor = BlockVisitor::new(0..0, SalAlloc::new());
        map.visit_blocks(&mut visitor);
        assert!(visitor.finish().is_ok());
    }

    #[test]
    fn maps_of_other_keys_or_values_differ() {
        let map = TypeDescription::of::<SalBTreeMap<u64, u32>>();
        assert!(map.difference(&TypeDescription::of::<SalBTreeMap<u64, u32>>()).is_none());
        assert!(map.difference(&TypeDescription::of::<SalBTreeMap<u64, i32>>()).is_some());
        assert!(map.difference(&TypeDescription::of::<SalBTreeMap<i64, u32>>()).is_some());
    }
}
