//! Pointers that share a value, in heap files.

use super::SalRc;
use crate::gc::trace::layouts::id;
use crate::persist::{BlockVisitor, Describer, Node, Persist};
use crate::ptr::target::Target;
use core::alloc::Layout;
use core::ptr::NonNull;

/// Among the containers' ids.
const CONTAINER_ID: u64 = id::SAL_RC;
const SLICE_ID: u64 = id::SAL_RC_SLICE;
const TEXT_ID: u64 = id::SAL_RC_STR;

// SAFETY: the word is the address of a block of the heap, plus a tag that leaves it within the block, and aligned; the value
// lies at the block's start, and is visited once for all pointers to it.
unsafe impl<T: Persist> Persist for SalRc<T> {
    const OWNS_BLOCKS: bool = true;

    fn describe(describer: &mut Describer) -> Node {
        let of = describer.node_of::<T>();
        Node::container::<Self>(CONTAINER_ID, "SalRc", 1, vec![of])
    }

    fn visit_blocks(&self, visitor: &mut BlockVisitor<'_>) {
        let block: NonNull<u8> = self.tagged().block();
        if visitor.shared_block(block, Layout::new::<T>()) {
            visitor.value::<T>(self);
        }
    }
}

// SAFETY: as above; the block begins with the number of elements, which lie behind it.
unsafe impl<T: Persist> Persist for SalRc<[T]> {
    const OWNS_BLOCKS: bool = true;

    fn describe(describer: &mut Describer) -> Node {
        let of = describer.node_of::<T>();
        Node::container::<Self>(SLICE_ID, "SalRc<[]>", 1, vec![of])
    }

    fn visit_blocks(&self, visitor: &mut BlockVisitor<'_>) {
        if visitor.shared_block(self.tagged().block(), (**self).block_layout()) && T::OWNS_BLOCKS {
            self.iter().for_each(|element| visitor.value(element));
        }
    }
}

// SAFETY: as above.
unsafe impl Persist for SalRc<str> {
    const OWNS_BLOCKS: bool = true;

    fn describe(_: &mut Describer) -> Node {
        Node::container::<Self>(TEXT_ID, "SalRc<str>", 1, Vec::new())
    }

    fn visit_blocks(&self, visitor: &mut BlockVisitor<'_>) {
        visitor.shared_block(self.tagged().block(), (**self).block_layout());
    }
}
