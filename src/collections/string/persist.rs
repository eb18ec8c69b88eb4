//! What a string tells about itself before it may live in a file.
#![allow(unsafe_code)]

use super::SalString;
use crate::persist::{BlockVisitor, Describer, Node, Persist};

/// The hand-assigned number of the container; never given to another one. It says too that the bytes are
/// UTF-8, so a file of byte vectors is not taken for one of strings.
const ID: u64 = 0x5A1C_0002;

/// Changes with the layout of the byte vector.
const LAYOUT_VERSION: u32 = 1;

// SAFETY: the string is `repr(C)` with a vector of bytes as its only field, which keeps the promise.
unsafe impl Persist for SalString {
    const OWNS_BLOCKS: bool = true;

    fn describe(_: &mut Describer) -> Node {
        Node::Container {
            id: ID,
            name: "SalString".into(),
            size: size_of::<Self>() as u64,
            align: align_of::<Self>() as u64,
            layout_version: LAYOUT_VERSION,
            parameters: Vec::new(),
            probe: Vec::new(),
        }
    }

    fn visit_blocks(&self, visitor: &mut BlockVisitor<'_>) {
        self.bytes.visit_blocks(visitor);
    }
}
