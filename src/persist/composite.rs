//! Types made of others, without blocks of their own: arrays, tuples, `Option`, wrappers.
//!
//! A tuple's fields lie where the compiler likes, so their offsets are measured; two builds that place them otherwise
//! give descriptions that differ. An `Option` is stored only where the language guarantees its layout: that is
//! `Option<NonZero<_>>`, as wide as the number, with `None` as zero; and that of the pointers in `ptr`, which are such words.
#![allow(unsafe_code)]

use super::{BlockVisitor, Describer, Field, Node, Persist};
use crate::gc::trace::layouts::id;
use core::{cmp::Reverse, marker::PhantomData, mem::offset_of, num::NonZero, num::Wrapping};

/// Containers' ids, see [`Node::Container`]: the ones of this file.
pub(crate) const OPTION_ID: u64 = id::OPTION;
const PHANTOM_ID: u64 = id::PHANTOM;

// SAFETY: an array is its elements, one after the other without gaps; each is visited.
unsafe impl<T: Persist, const N: usize> Persist for [T; N] {
    const OWNS_BLOCKS: bool = T::OWNS_BLOCKS;
    fn describe(describer: &mut Describer) -> Node {
        Node::Array { len: N as u64, element: describer.node_of::<T>() }
    }
    fn visit_blocks(&self, visitor: &mut BlockVisitor<'_>) {
        visit_all(self, visitor);
    }
}

/// Visits the elements of a slice, unless they own nothing or a foreign block is found already.
pub(super) fn visit_all<T: Persist>(elements: &[T], visitor: &mut BlockVisitor<'_>) {
    if T::OWNS_BLOCKS {
        for element in elements {
            if visitor.has_found() {
                return;
            }
            visitor.value(element);
        }
    }
}

macro_rules! structs {
    ($([$($parameter:ident)*] ($type:ty) $name:literal [$($field:tt $field_type:ty),*];)*) => {$(
        // SAFETY: the type is the fields named here, each described at its measured offset, and each visited.
        unsafe impl<$($parameter: Persist),*> Persist for $type {
            const OWNS_BLOCKS: bool = false $(|| <$field_type as Persist>::OWNS_BLOCKS)*;
            fn describe(_describer: &mut Describer) -> Node {
                let fields = vec![$(
                    Field::of::<$field_type>(_describer, stringify!($field), offset_of!(Self, $field))
                ),*];
                Node::structure::<Self>($name, fields)
            }
            fn visit_blocks(&self, _visitor: &mut BlockVisitor<'_>) {
                $(self.$field.visit_blocks(_visitor);)*
            }
        }
    )*};
}

structs! {
    [] (()) "()" [];
    [A] ((A,)) "tuple of 1" [0 A];
    [A B] ((A, B)) "tuple of 2" [0 A, 1 B];
    [A B C] ((A, B, C)) "tuple of 3" [0 A, 1 B, 2 C];
    [A B C D] ((A, B, C, D)) "tuple of 4" [0 A, 1 B, 2 C, 3 D];
    [A B C D E] ((A, B, C, D, E)) "tuple of 5" [0 A, 1 B, 2 C, 3 D, 4 E];
    [A B C D E F] ((A, B, C, D, E, F)) "tuple of 6" [0 A, 1 B, 2 C, 3 D, 4 E, 5 F];
    [A B C D E F G] ((A, B, C, D, E, F, G)) "tuple of 7" [0 A, 1 B, 2 C, 3 D, 4 E, 5 F, 6 G];
    [A B C D E F G H] ((A, B, C, D, E, F, G, H)) "tuple of 8" [0 A, 1 B, 2 C, 3 D, 4 E, 5 F, 6 G, 7 H];
    [A B C D E F G H I] ((A, B, C, D, E, F, G, H, I)) "tuple of 9" [0 A, 1 B, 2 C, 3 D, 4 E, 5 F, 6 G, 7 H, 8 I];
    [A B C D E F G H I J] ((A, B, C, D, E, F, G, H, I, J)) "tuple of 10" [0 A, 1 B, 2 C, 3 D, 4 E, 5 F, 6 G, 7 H, 8 I, 9 J];
    [A B C D E F G H I J K] ((A, B, C, D, E, F, G, H, I, J, K)) "tuple of 11" [0 A, 1 B, 2 C, 3 D, 4 E, 5 F, 6 G, 7 H, 8 I, 9 J, 10 K];
    [A B C D E F G H I J K L] ((A, B, C, D, E, F, G, H, I, J, K, L)) "tuple of 12" [0 A, 1 B, 2 C, 3 D, 4 E, 5 F, 6 G, 7 H, 8 I, 9 J, 10 K, 11 L];
    [T] (Wrapping<T>) "Wrapping" [0 T];
    [T] (Reverse<T>) "Reverse" [0 T];
}

// SAFETY: without size, there is nothing in it; the parameter is described, so that `PhantomData` of two types differs.
unsafe impl<T: Persist> Persist for PhantomData<T> {
    const OWNS_BLOCKS: bool = false;
    fn describe(describer: &mut Describer) -> Node {
        let parameters = vec![describer.node_of::<T>()];
        Node::container::<Self>(PHANTOM_ID, "PhantomData", 1, parameters)
    }
    fn visit_blocks(&self, _: &mut BlockVisitor<'_>) {}
}

macro_rules! options {
    ($($number:ty)*) => {$(
        // SAFETY: the documentation of `Option` guarantees that `Option<NonZero<_>>` has the layout of the number and
        // that `None` is zero. The id, with the number below it, says just that. It owns nothing.
        unsafe impl Persist for Option<NonZero<$number>> {
            const OWNS_BLOCKS: bool = false;
            fn describe(describer: &mut Describer) -> Node {
                let parameters = vec![describer.node_of::<NonZero<$number>>()];
                Node::container::<Self>(OPTION_ID, "Option", 1, parameters)
            }
            fn visit_blocks(&self, _: &mut BlockVisitor<'_>) {}
        }
    )*};
}

options! { u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize }

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persist::TypeDescription;

    #[test]
    fn a_tuple_is_described_with_the_offsets_it_has() {
        let tuple = (1u8, 2u64, 3u16);
        let base = core::ptr::from_ref(&tuple).addr();
        let real = [
            core::ptr::from_ref(&tuple.0).addr() - base,
            core::ptr::from_ref(&tuple.1).addr() - base,
            core::ptr::from_ref(&tuple.2).addr() - base,
        ];
        let description = TypeDescription::of::<(u8, u64, u16)>();
        let Node::Struct { fields, size, .. } = &description.nodes()[description.root().index()] else {
            panic!("a tuple is a struct");
        };
        assert_eq!(*size, size_of::<(u8, u64, u16)>() as u64);
        assert_eq!(fields.iter().map(|field| field.offset as usize).collect::<Vec<_>>(), real);
    }

    #[test]
    fn arrays_differ_by_length_and_by_element() {
        let four = TypeDescription::of::<[u32; 4]>();
        let five = TypeDescription::of::<[u32; 5]>().difference(&four).expect("longer");
        assert!(five.to_string().contains("[u32; 5] (20 bytes, align 4)"), "{five}");
        let other = TypeDescription::of::<[i32; 4]>().difference(&four).expect("signed");
        assert_eq!(other.path(), "[]");
    }

    #[test]
    fn phantom_parameters_differ() {
        let (a, b) = (TypeDescription::of::<PhantomData<u8>>(), TypeDescription::of::<PhantomData<i8>>());
        assert!(a.difference(&b).is_some());
    }
}
