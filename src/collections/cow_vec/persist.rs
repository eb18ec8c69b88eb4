//! What a vector tells about itself before it may live in a file.
#![allow(unsafe_code)]

use super::CowVec;
use super::branch::{Branch, Children, FAN};
use super::leaf::width;
use crate::gc::trace::layouts::id;
use crate::persist::{BlockVisitor, Describer, Node, Persist};
use crate::ptr::SalRc;
use core::alloc::Layout;
use core::ptr::NonNull;

/// The container's number, given by hand and never to another one.
const ID: u64 = id::COW_VEC;

/// Changes with the meaning of the five words or of a node, and with the sizes of nodes.
const LAYOUT_VERSION: u32 = 1;

const _: () = assert!(FAN == 16 && width::<u8>() == 256 && width::<[u8; 24]>() == 10 && width::<[u8; 65]>() == 4);

// SAFETY: vector and nodes are `repr(C)` and store no handle. Their only addresses are pointers to nodes, in aligned,
// unmodified words that are zero otherwise (V1, N1), and `visit_blocks` names each node once with its layout. Elements are
// visited and keep their own promise; a shared vector hands out shared ones only, and so do versions of it.
unsafe impl<T: Persist> Persist for CowVec<T> {
    const OWNS_BLOCKS: bool = true;

    fn describe(describer: &mut Describer) -> Node {
        let parameters = vec![describer.node_of::<T>()];
        Node::container::<Self>(ID, "CowVec", LAYOUT_VERSION, parameters)
    }

    fn visit_blocks(&self, visitor: &mut BlockVisitor<'_>) {
        if let Some(root) = &self.root {
            visit_branch(root, visitor);
        }
        if let Some(tail) = &self.tail {
            visit_node(tail, visitor, |tail, visitor| visit_elements(tail.elements(), visitor));
        }
    }
}

/// Names a node, and visits what is in it, unless that was done through another pointer.
fn visit_node<N: 'static>(
    node: &SalRc<N>,
    visitor: &mut BlockVisitor<'_>,
    inside: impl FnOnce(&N, &mut BlockVisitor<'_>),
) {
    let block: NonNull<u8> = NonNull::from(&**node).cast();
    if !visitor.has_found() && visitor.shared_block(block, Layout::new::<N>()) {
        inside(node, visitor);
    }
}

/// Recurses as deep as the tree is high.
fn visit_branch<T: Persist>(branch: &SalRc<Branch<T>>, visitor: &mut BlockVisitor<'_>) {
    visit_node(branch, visitor, |branch, visitor| match branch.children() {
        Children::Branches(branches) => branches.iter().for_each(|below| visit_branch(below, visitor)),
        Children::Leaves(leaves) => leaves.iter().for_each(|leaf| {
            visit_node(leaf, visitor, |leaf, visitor| visit_elements(leaf.elements(), visitor));
        }),
    });
}

fn visit_elements<T: Persist>(elements: &[T], visitor: &mut BlockVisitor<'_>) {
    if T::OWNS_BLOCKS {
        elements.iter().for_each(|element| visitor.value(element));
    }
}
