//! Handles in heap files.

use super::{Handle, Movable, Pinned, place, shape_of};
use crate::gc::trace::layouts::id;
use crate::handle::moving::Entry;
use crate::persist::{BlockVisitor, Describer, Node, Persist};
use crate::ptr::target::Target;
use core::alloc::Layout;
use core::ptr::NonNull;

impl<T: ?Sized + Target> Handle<T> {
    /// Visits the entry and the object, unless they have been met; what the value holds, `inside` visits.
    fn visit(&self, visitor: &mut BlockVisitor<'_>, inside: impl FnOnce(&T, &mut BlockVisitor<'_>)) {
        let entry: NonNull<u8> = self.entry.block();
        if visitor.shared_block(entry, Layout::new::<Entry>()) {
            let pin = Pinned::begin();
            let value = self.get(&pin);
            let location = self.entry().location();
            // SAFETY: D1.
            if let Some(shape) = unsafe { shape_of::<T>(location) } {
                if let Some(layout) = shape.block() {
                    visitor.object(place(location - shape.offset), layout);
                }
            }
            inside(value, visitor);
        }
    }
}

// SAFETY: the word is the address of a block of the heap, plus a tag that leaves it within the block, and aligned. The block
// begins with the address of a value in the heap, which is visited once for all handles.
unsafe impl<T: Persist + Movable> Persist for Handle<T> {
    const OWNS_BLOCKS: bool = true;

    fn describe(describer: &mut Describer) -> Node {
        let of = describer.node_of::<T>();
        Node::container::<Self>(id::HANDLE, "Handle", 1, vec![of])
    }

    fn visit_blocks(&self, visitor: &mut BlockVisitor<'_>) {
        self.visit(visitor, |value, visitor| visitor.value::<T>(value));
    }
}

// SAFETY: as above; the value begins with the number of elements, which lie behind it.
unsafe impl<T: Persist + Movable> Persist for Handle<[T]> {
    const OWNS_BLOCKS: bool = true;

    fn describe(describer: &mut Describer) -> Node {
        let of = describer.node_of::<T>();
        Node::container::<Self>(id::HANDLE_SLICE, "Handle<[]>", 1, vec![of])
    }

    fn visit_blocks(&self, visitor: &mut BlockVisitor<'_>) {
        self.visit(visitor, |elements, visitor| {
            if T::OWNS_BLOCKS {
                elements.iter().for_each(|element| visitor.value(element));
            }
        });
    }
}

// SAFETY: as above.
unsafe impl Persist for Handle<str> {
    const OWNS_BLOCKS: bool = true;

    fn describe(_: &mut Describer) -> Node {
        Node::container::<Self>(id::HANDLE_STR, "Handle<str>", 1, Vec::new())
    }

    fn visit_blocks(&self, visitor: &mut BlockVisitor<'_>) {
        self.visit(visitor, |_, _| ());
    }
}
