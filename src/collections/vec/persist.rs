//! What a vector tells about itself before it may live in a file.
#![allow(unsafe_code)]

use super::SalVec;
use crate::persist::{BlockVisitor, Describer, Node, Persist};

/// The hand-assigned number of the container; never given to another one.
const ID: u64 = 0x5A1C_0001;

/// Changes with the meaning of the three words or of the block.
const LAYOUT_VERSION: u32 = 1;

// SAFETY: the vector is `repr(C)`; its only pointer is an aligned, unmodified word that is null or the start
// of the block that `visit_blocks` names (V1); the elements keep their own promise. It stores no handle.
unsafe impl<T: Persist> Persist for SalVec<T> {
    const OWNS_BLOCKS: bool = true;

    fn describe(describer: &mut Describer) -> Node {
        Node::Container {
            id: ID,
            name: "SalVec".into(),
            size: size_of::<Self>() as u64,
            align: align_of::<Self>() as u64,
            layout_version: LAYOUT_VERSION,
            parameters: vec![describer.node_of::<T>()],
            probe: Vec::new(),
        }
    }

    fn visit_blocks(&self, visitor: &mut BlockVisitor<'_>) {
        if let Some(block) = self.block {
            visitor.block(block.cast(), self.layout());
        }
        if T::OWNS_BLOCKS {
            for element in self {
                element.visit_blocks(visitor);
            }
        }
    }
}
