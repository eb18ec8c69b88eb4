//! Pointers that share a value, in heap files.

use super::SalRc;
use crate::persist::{BlockVisitor, Describer, Node, Persist};
use core::alloc::Layout;
use core::ptr::NonNull;

/// Among the containers' ids.
const CONTAINER_ID: u64 = 0x42;

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
