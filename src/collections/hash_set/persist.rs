//! What a set tells about itself before it may live in a file.
#![allow(unsafe_code)]

use super::SalHashSet;
use crate::gc::trace::layouts::id;
use crate::persist::{BlockVisitor, Describer, Node, Persist};

/// The container's number, given by hand and never to another one.
const ID: u64 = id::SAL_HASH_SET;

/// Changes with that of `SalHashMap`.
const LAYOUT_VERSION: u32 = 1;

// SAFETY: the set is `repr(transparent)`: it is its map, which keeps the promise.
unsafe impl<K: Persist> Persist for SalHashSet<K> {
    const OWNS_BLOCKS: bool = true;

    fn describe(describer: &mut Describer) -> Node {
        let parameters = vec![describer.node_of::<K>()];
        Node::container::<Self>(ID, "SalHashSet", LAYOUT_VERSION, parameters)
    }

    fn visit_blocks(&self, visitor: &mut BlockVisitor<'_>) {
        self.map.visit_blocks(visitor);
    }
}
