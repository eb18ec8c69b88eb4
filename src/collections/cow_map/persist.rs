//! What a map tells about itself before it may live in a file.
#![allow(unsafe_code)]

use super::CowMap;
use super::node::Node as TreeNode;
use crate::gc::trace::layouts::id;
use crate::persist::{BlockVisitor, Describer, Node, Persist};

/// The container's number, given by hand and never to another one.
const ID: u64 = id::COW_MAP;
/// Likewise, for a node of the tree.
const NODE_ID: u64 = 0x72;

/// Changes with the meaning of the two words or of a node.
const LAYOUT_VERSION: u32 = 1;

// SAFETY: the map is `repr(C)` and stores no handle. Its only address is the pointer to the root, which keeps its own promise and
// visits each node once, however many versions share it. Keys and values are visited and keep their own promise; a shared map hands
// out shared ones only.
unsafe impl<K: Persist, V: Persist> Persist for CowMap<K, V> {
    const OWNS_BLOCKS: bool = true;

    fn describe(describer: &mut Describer) -> Node {
        let parameters = vec![describer.node_of::<K>(), describer.node_of::<V>()];
        Node::container::<Self>(ID, "CowMap", LAYOUT_VERSION, parameters)
    }

    fn visit_blocks(&self, visitor: &mut BlockVisitor<'_>) {
        if let Some(root) = &self.root {
            visitor.value(root);
        }
    }
}

// SAFETY: `repr(C)`, without a handle; keys, values and children are all that it owns, and keep their own promise.
unsafe impl<K: Persist, V: Persist> Persist for TreeNode<K, V> {
    const OWNS_BLOCKS: bool = true;

    fn describe(describer: &mut Describer) -> Node {
        let parameters = vec![describer.node_of::<K>(), describer.node_of::<V>()];
        Node::container::<Self>(NODE_ID, "CowMap node", LAYOUT_VERSION, parameters)
    }

    fn visit_blocks(&self, visitor: &mut BlockVisitor<'_>) {
        self.children().iter().for_each(|child| visitor.value(child));
        if K::OWNS_BLOCKS {
            self.keys().iter().for_each(|key| visitor.value(key));
        }
        if V::OWNS_BLOCKS {
            self.values().iter().for_each(|value| visitor.value(value));
        }
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
    fn every_block_is_named_once_however_many_versions_have_it() {
        let mut map: CowMap<SalString, SalVec<u64>> =
            (0..1000_u64).map(|n| (SalString::from(n.to_string().as_str()), SalVec::from([n]))).collect();
        let before = map.clone();
        map.insert("500", SalVec::from([1, 2]));
        let both = [before, map];
        let mut seen = Vec::new();
        let mut observer = |start: NonNull<u8>, layout: Layout| seen.push((start.addr().get(), layout.size()));
        let mut visitor = BlockVisitor::observing(0..usize::MAX, SalAlloc::new(), &mut observer);
        both.visit_blocks(&mut visitor);
        assert!(visitor.finish().is_ok());
        let starts: HashSet<usize> = seen.iter().map(|block| block.0).collect();
        assert_eq!(starts.len(), seen.len());
        for (key, value) in both.iter().flatten() {
            assert!(starts.contains(&key.as_ptr().addr()) && starts.contains(&value.as_ptr().addr()));
        }
        // Keys and values but for the copies of one path.
        assert!((2000..2300).contains(&seen.len()), "{}", seen.len());
    }

    #[test]
    fn node_outside_the_window_is_found_and_an_empty_map_belongs_everywhere() {
        let mut map: CowMap<u8, u8> = [(1, 1)].into();
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
        let map = TypeDescription::of::<CowMap<u64, u32>>();
        assert!(map.difference(&TypeDescription::of::<CowMap<u64, u32>>()).is_none());
        assert!(map.difference(&TypeDescription::of::<CowMap<u64, i32>>()).is_some());
        assert!(map.difference(&TypeDescription::of::<CowMap<i64, u32>>()).is_some());
    }
}
