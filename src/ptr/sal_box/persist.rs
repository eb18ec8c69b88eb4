//! Boxes in heap files.

use super::SalBox;
use crate::gc::trace::layouts::id;
use crate::persist::{BlockVisitor, Describer, Node, Persist};

/// Among the containers' ids.
const CONTAINER_ID: u64 = id::SAL_BOX;
const SLICE_ID: u64 = id::SAL_BOX_SLICE;
const TEXT_ID: u64 = id::SAL_BOX_STR;

// SAFETY: as for `SalRc`, and described as another container.
unsafe impl<T: Persist> Persist for SalBox<T> {
    const OWNS_BLOCKS: bool = true;

    fn describe(describer: &mut Describer) -> Node {
        let of = describer.node_of::<T>();
        Node::container::<Self>(CONTAINER_ID, "SalBox", 1, vec![of])
    }

    fn visit_blocks(&self, visitor: &mut BlockVisitor<'_>) {
        self.only.visit_blocks(visitor);
    }
}

// SAFETY: as above.
unsafe impl<T: Persist> Persist for SalBox<[T]> {
    const OWNS_BLOCKS: bool = true;

    fn describe(describer: &mut Describer) -> Node {
        let of = describer.node_of::<T>();
        Node::container::<Self>(SLICE_ID, "SalBox<[]>", 1, vec![of])
    }

    fn visit_blocks(&self, visitor: &mut BlockVisitor<'_>) {
        self.only.visit_blocks(visitor);
    }
}

// SAFETY: as above.
unsafe impl Persist for SalBox<str> {
    const OWNS_BLOCKS: bool = true;

    fn describe(_: &mut Describer) -> Node {
        Node::container::<Self>(TEXT_ID, "SalBox<str>", 1, Vec::new())
    }

    fn visit_blocks(&self, visitor: &mut BlockVisitor<'_>) {
        self.only.visit_blocks(visitor);
    }
}
