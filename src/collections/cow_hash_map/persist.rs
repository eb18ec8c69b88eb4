//! What a map tells about itself before it may live in a file.
#![allow(unsafe_code)]

use super::CowHashMap;
use super::branch::kind;
use super::leaf::Pair;
use super::link::Link;
use crate::gc::trace::layouts::id;
use crate::persist::{BlockVisitor, Describer, Field, Node, Persist};
use core::mem::offset_of;

/// The container's number, given by hand and never to another one.
const ID: u64 = id::COW_HASH_MAP;

/// Changes with the meaning of the five words or of a node.
const LAYOUT_VERSION: u32 = 1;

// SAFETY: map and nodes are `repr(C)` and store no handle. Their only addresses are those of counted pointers, aligned and
// unmodified (K1), and `visit_blocks` names each node with its layout, and visits its content once for all pointers to it. Seed
// and fingerprint mean the same in every process, and how many entries a leaf has room for follows from the sizes of key and
// value, which are described. Keys and values are visited and keep their own promise; a shared map hands out shared ones only.
unsafe impl<K: Persist, V: Persist> Persist for CowHashMap<K, V> {
    const OWNS_BLOCKS: bool = true;

    fn describe(describer: &mut Describer) -> Node {
        let parameters = vec![describer.node_of::<K>(), describer.node_of::<V>()];
        Node::container::<Self>(ID, "CowHashMap", LAYOUT_VERSION, parameters)
    }

    fn visit_blocks(&self, visitor: &mut BlockVisitor<'_>) {
        // SAFETY: M1.
        unsafe { visit_below(&self.root, self.kind(), visitor) };
    }
}

/// Names a node and all below it, unless that was done before. Recurses as deep as there are branches.
///
/// # Safety
/// If the link leads to a node, that is of this kind.
unsafe fn visit_below<K: Persist, V: Persist>(link: &Link<K, V>, kind: u8, visitor: &mut BlockVisitor<'_>) {
    // SAFETY: the caller's promise, R2.
    unsafe {
        if link.is_none() || visitor.has_found() || !link.visit(kind, visitor) {
            return;
        }
        if kind == kind::BRANCH {
            let branch = link.branch();
            let mut from = 0;
            while let Some(at) = branch.next(from) {
                visit_below(branch.link(at), branch.range(at).1, visitor);
                from = at + 1;
            }
            return;
        }
        if kind == kind::SAME {
            link.same().visit_blocks(visitor);
        } else if Pair::<K, V>::OWNS_BLOCKS {
            link.entries(kind).iter().for_each(|pair| visitor.value(pair));
        }
    }
}

// SAFETY: the pair is these two fields, at these offsets; both are visited, and keep their own promise.
unsafe impl<K: Persist, V: Persist> Persist for Pair<K, V> {
    const OWNS_BLOCKS: bool = K::OWNS_BLOCKS || V::OWNS_BLOCKS;

    fn describe(describer: &mut Describer) -> Node {
        let key = Field::of::<K>(describer, "key", offset_of!(Self, key));
        let value = Field::of::<V>(describer, "value", offset_of!(Self, value));
        Node::structure::<Self>("Pair", vec![key, value])
    }

    fn visit_blocks(&self, visitor: &mut BlockVisitor<'_>) {
        visitor.value(&self.key);
        visitor.value(&self.value);
    }
}
