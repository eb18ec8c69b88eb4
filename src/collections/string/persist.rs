//! What a string tells about itself before it may live in a file.
#![allow(unsafe_code)]

use super::SalString;
use crate::gc::trace::layouts::id;
use crate::persist::{BlockVisitor, Describer, Node, Persist};

/// The container's number, given by hand and never to another one. It says too that the bytes are UTF-8, so
/// a file of byte vectors is not taken for one of strings.
const ID: u64 = id::SAL_STRING;

/// Changes with the layout of the byte vector.
const LAYOUT_VERSION: u32 = 1;

// SAFETY: the string is `repr(C)` with a vector of bytes as its only field, which keeps the promise; that the
// bytes are UTF-8 is in the id.
unsafe impl Persist for SalString {
    const OWNS_BLOCKS: bool = true;

    fn describe(_: &mut Describer) -> Node {
        Node::container::<Self>(ID, "SalString", LAYOUT_VERSION, Vec::new())
    }

    fn visit_blocks(&self, visitor: &mut BlockVisitor<'_>) {
        self.bytes.visit_blocks(visitor);
    }
}
