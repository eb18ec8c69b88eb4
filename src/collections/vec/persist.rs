//! What a vector tells about itself before it may live in a file.
#![allow(unsafe_code)]

use super::SalVec;
use crate::gc::trace::layouts::id;
use crate::persist::{BlockVisitor, Describer, Node, Persist};

/// The container's number, given by hand and never to another one.
const ID: u64 = id::SAL_VEC;

/// Changes with the meaning of the three words or of the block.
const LAYOUT_VERSION: u32 = 1;

// SAFETY: the vector is `repr(C)` and stores no handle. Its only address is an aligned, unmodified word that is
// null or the start of the block that `visit_blocks` names with its layout (V1). The elements are visited, and
// keep their own promise; a shared vector hands out shared elements only.
unsafe impl<T: Persist> Persist for SalVec<T> {
    const OWNS_BLOCKS: bool = true;

    fn describe(describer: &mut Describer) -> Node {
        let parameters = vec![describer.node_of::<T>()];
        Node::container::<Self>(ID, "SalVec", LAYOUT_VERSION, parameters)
    }

    fn visit_blocks(&self, visitor: &mut BlockVisitor<'_>) {
        if let Some(block) = self.block {
            visitor.block(block.cast(), self.layout());
        }
        if T::OWNS_BLOCKS {
            for element in self {
                if visitor.has_found() {
                    return;
                }
                visitor.value(element);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SalAlloc;
    use crate::collections::SalString;
    use crate::persist::{Foreign, TypeDescription};
    use core::alloc::Layout;
    use core::ptr::NonNull;

    #[test]
    fn every_block_is_named_once_with_its_layout() {
        let mut vec = SalVec::from([SalVec::from([1_u32, 2]), SalVec::new()]);
        vec.reserve(10);
        let expected = [
            (vec.as_ptr().addr(), Layout::array::<SalVec<u32>>(vec.capacity()).unwrap()),
            (vec[0].as_ptr().addr(), Layout::array::<u32>(vec[0].capacity()).unwrap()),
        ];
        let mut seen = Vec::new();
        let mut observer = |start: NonNull<u8>, layout| seen.push((start.addr().get(), layout));
        let mut visitor = BlockVisitor::observing(0..usize::MAX, SalAlloc::new(), &mut observer);
        vec.visit_blocks(&mut visitor);
        assert!(visitor.finish().is_ok());
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_block_of_an_element_outside_the_window_is_found() {
        let vec = SalVec::from([SalString::new(), SalString::from("elsewhere")]);
        let start = vec.as_ptr().addr();
        let window = start..start + vec.capacity() * size_of::<SalString>();
        let mut visitor = BlockVisitor::new(window, SalAlloc::new());
        vec.visit_blocks(&mut visitor);
        let found = visitor.finish().unwrap_err().found();
        let text = vec[1].as_ptr().addr();
        assert!(matches!(found, Foreign::Block { address, .. } if address == text));
    }

    #[test]
    fn vectors_without_a_block_belong_to_every_heap() {
        let mut visitor = BlockVisitor::new(0..0, SalAlloc::new());
        SalVec::<u64>::new().visit_blocks(&mut visitor);
        SalVec::from([(), ()]).visit_blocks(&mut visitor);
        SalString::new().visit_blocks(&mut visitor);
        assert!(visitor.finish().is_ok());
    }

    #[test]
    fn a_string_is_no_vector_of_bytes() {
        let bytes = TypeDescription::of::<SalVec<u8>>();
        assert!(bytes.difference(&TypeDescription::of::<SalVec<u8>>()).is_none());
        assert!(bytes.difference(&TypeDescription::of::<SalVec<i8>>()).is_some());
        assert!(bytes.difference(&TypeDescription::of::<SalString>()).is_some());
    }
}
