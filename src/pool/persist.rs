//! What a pool tells about itself before it may live in a file.
#![allow(unsafe_code)]

use super::Pool;
use super::chunk;
use super::control::Control;
use crate::gc::trace::layouts::id;
use crate::persist::follow::FoundPool;
use crate::persist::{BlockVisitor, Describer, Node, Persist};
use core::alloc::Layout;

/// The container's number, given by hand and never to another one.
const ID: u64 = id::POOL;

/// Changes with the layout of control blocks and chunks.
const LAYOUT_VERSION: u32 = 1;

// SAFETY: the pool is one aligned word, null or the address of its control block; that and the chunks are named with their layouts, as are
// the blocks of the control block's vectors, and each object is visited. A shared pool hands out shared objects only.
unsafe impl<T: Persist> Persist for Pool<T> {
    const OWNS_BLOCKS: bool = true;

    fn describe(describer: &mut Describer) -> Node {
        let parameters = vec![describer.node_of::<T>()];
        Node::container::<Self>(ID, "Pool", LAYOUT_VERSION, parameters)
    }

    fn visit_blocks(&self, visitor: &mut BlockVisitor<'_>) {
        let Some(block) = self.control else { return };
        if visitor.pool(FoundPool { control: block.cast(), kind: Self::KIND }) {
            return;
        }
        visitor.block(block.cast(), Layout::new::<Control>());
        // SAFETY: L1.
        let control = unsafe { block.as_ref() };
        control.visit_tables(visitor);
        let geometry = &Self::KIND.geometry;
        for chunk in control.chunks() {
            visitor.block(chunk.block(), chunk::layout(geometry));
        }
        if T::OWNS_BLOCKS {
            for (_, object) in self.objects() {
                if visitor.has_found() {
                    return;
                }
                visitor.value(object);
            }
        }
    }
}
