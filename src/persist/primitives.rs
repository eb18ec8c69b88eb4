//! Types without parts: numbers, `bool`, `char`, and the handle of a heap.
//!
//! The ids are part of the format of a heap file. An id stands for a meaning and a set of valid bit patterns, so
//! `bool` is not `u8` and `NonZero<u32>` not `u32`; none may be reused or change. Byte order and the width of a
//! pointer are checked by the file's header.
#![allow(unsafe_code)]

use super::{BlockVisitor, Describer, Node, Persist};
use crate::SalAlloc;
use crate::gc::trace::layouts;
use core::num::NonZero;

macro_rules! leaves {
    ($($id:literal: $type:ty, $name:literal;)*) => {$(
        // SAFETY: `$type` holds a number, no address, and can be changed through no shared reference; its id, used
        // for nothing else, says which bit patterns are valid. It owns nothing.
        unsafe impl Persist for $type {
            const OWNS_BLOCKS: bool = false;
            fn describe(_: &mut Describer) -> Node {
                Node::leaf::<Self>($id, $name)
            }
            fn visit_blocks(&self, _: &mut BlockVisitor<'_>) {}
        }
    )*
    #[cfg(test)]
    const LEAVES: &[(u64, &str)] = &[$(($id, $name)),*];
    };
}

leaves! {
    0x01: u8, "u8";
    0x02: u16, "u16";
    0x03: u32, "u32";
    0x04: u64, "u64";
    0x05: u128, "u128";
    0x06: usize, "usize";
    0x11: i8, "i8";
    0x12: i16, "i16";
    0x13: i32, "i32";
    0x14: i64, "i64";
    0x15: i128, "i128";
    0x16: isize, "isize";
    0x21: NonZero<u8>, "NonZero<u8>";
    0x22: NonZero<u16>, "NonZero<u16>";
    0x23: NonZero<u32>, "NonZero<u32>";
    0x24: NonZero<u64>, "NonZero<u64>";
    0x25: NonZero<u128>, "NonZero<u128>";
    0x26: NonZero<usize>, "NonZero<usize>";
    0x31: NonZero<i8>, "NonZero<i8>";
    0x32: NonZero<i16>, "NonZero<i16>";
    0x33: NonZero<i32>, "NonZero<i32>";
    0x34: NonZero<i64>, "NonZero<i64>";
    0x35: NonZero<i128>, "NonZero<i128>";
    0x36: NonZero<isize>, "NonZero<isize>";
    0x41: bool, "bool";
    0x42: char, "char";
    0x43: f32, "f32";
    0x44: f64, "f64";
}

/// Of [`SalAlloc`].
const HANDLE_ID: u64 = layouts::HANDLE;
const _: () = assert!(layouts::HANDLE_SIZE == size_of::<SalAlloc>());

// SAFETY: a handle is a number that means the same heap in every process that has opened it at its address; it names
// itself to the visitor, and so is never stored in another heap.
unsafe impl Persist for SalAlloc {
    const OWNS_BLOCKS: bool = true;
    fn describe(_: &mut Describer) -> Node {
        Node::leaf::<Self>(HANDLE_ID, "SalAlloc")
    }
    fn visit_blocks(&self, visitor: &mut BlockVisitor<'_>) {
        visitor.handle(*self);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persist::TypeDescription;

    #[test]
    fn no_two_leaves_share_an_id() {
        let mut ids: Vec<u64> = LEAVES.iter().map(|leaf| leaf.0).chain([HANDLE_ID]).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), LEAVES.len() + 1);
    }

    #[test]
    fn types_of_one_size_with_other_valid_bits_differ() {
        fn differ<A: Persist, B: Persist>() -> bool {
            TypeDescription::of::<A>().difference(&TypeDescription::of::<B>()).is_some()
        }
        assert!(differ::<bool, u8>());
        assert!(differ::<char, u32>());
        assert!(differ::<f32, u32>());
        assert!(differ::<NonZero<u32>, u32>());
        assert!(differ::<Option<NonZero<u32>>, u32>());
        assert!(differ::<Option<NonZero<u32>>, NonZero<u32>>());
        assert!(differ::<i64, u64>());
        assert!(differ::<usize, u64>());
        assert!(!differ::<u64, u64>());
    }
}
