//! Which values own blocks by way of counted pointers only.
//!
//! What such a pointer leads to is not changed in place any more once it has been sealed, and nor is what lies deeper, whatever it
//! is: nobody gets at it but by a copy. So of a root with such a value, a copy of the value's own bytes is all that is needed to come
//! back to it. A [`Handle`](crate::Handle) is such a pointer as well: its value is not changed in place, and where it was, its entry
//! says. But whoever comes back has to find all entries; so where there are handles, all types must be known to the last part.

use crate::format::root_entry::{COPY_ON_WRITE, HANDLES};
use crate::gc::trace::Program;
use crate::gc::trace::layouts::id;
use crate::persist::{Node, NodeId, Persist, TypeDescription};
use std::collections::HashSet;

/// What they lead to is changed by way of copies only.
const COUNTED: [u64; 11] = [
    id::HANDLE,
    id::HANDLE_SLICE,
    id::HANDLE_STR,
    id::SAL_RC,
    id::SAL_RC_SLICE,
    id::SAL_RC_STR,
    id::COW_VEC,
    id::COW_HASH_MAP,
    id::COW_HASH_SET,
    id::COW_MAP,
    id::COW_SET,
];
/// Their entries change in place, wherever they lie.
const OF_ENTRIES: [u64; 3] = [id::HANDLE, id::HANDLE_SLICE, id::HANDLE_STR];
/// They own nothing.
const PLAIN: [u64; 2] = [id::PHANTOM, id::OFFSET];
/// `Option`; boxes, of which a value is changed through the pointer, after it has moved if it is sealed.
const WRAPPERS: [u64; 3] = [id::OPTION, id::SAL_BOX, id::SAL_BOX_SLICE];
/// Leaves from here on are others' own, and may own what they like.
const FOREIGN_LEAVES: u64 = 1 << 32;

/// What is noted with a root of a type.
pub(super) fn root_flags<T: Persist>(description: &TypeDescription) -> u64 {
    let has_handles = description.nodes().iter().any(is_handle);
    let is_copied = is_copy_on_write::<T>(description) && (!has_handles || finds_all_entries(description));
    (if has_handles { HANDLES } else { 0 }) | (if is_copied { COPY_ON_WRITE } else { 0 })
}

fn is_handle(node: &Node) -> bool {
    matches!(node, Node::Container { id, .. } if OF_ENTRIES.contains(id))
}

/// Whether all entries are found that values of a type lead to.
fn finds_all_entries(description: &TypeDescription) -> bool {
    // An offset may lead to them, and owns nothing.
    let is_offset = |node: &Node| matches!(node, Node::Container { id: id::OFFSET, .. });
    !description.nodes().iter().any(is_offset) && Program::finds_all(description)
}

/// Whether all values of a type do, whatever handles lead to.
fn is_copy_on_write<T: Persist>(description: &TypeDescription) -> bool {
    if !T::OWNS_BLOCKS {
        return true;
    }
    let (mut left, mut seen) = (vec![description.root()], HashSet::<NodeId>::new());
    while let Some(id) = left.pop() {
        if !seen.insert(id) {
            continue;
        }
        match &description.nodes()[id.index()] {
            Node::Leaf { id, .. } if *id >= FOREIGN_LEAVES => return false,
            Node::Leaf { .. } => {}
            Node::Struct { fields, .. } => left.extend(fields.iter().map(|field| field.node)),
            Node::Enum { variants, .. } => {
                left.extend(variants.iter().flat_map(|variant| &variant.fields).map(|field| field.node));
            }
            Node::Array { element, .. } => left.push(*element),
            Node::Container { id, .. } if COUNTED.contains(id) || PLAIN.contains(id) || *id == id::SAL_BOX_STR => {}
            Node::Container { id, parameters, .. } if WRAPPERS.contains(id) => left.extend(parameters),
            Node::Container { .. } => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collections::{
        CowHashMap, CowHashSet, CowMap, CowSet, CowVec, SalBTreeMap, SalHashMap, SalString, SalVec,
    };
    use crate::{Handle, SalAlloc, SalBox, SalRc};

    fn is<T: Persist>() -> bool {
        root_flags::<T>(&TypeDescription::of::<T>()) & COPY_ON_WRITE != 0
    }

    #[test]
    fn what_only_counted_pointers_lead_to_may_be_anything() {
        assert!(is::<u64>() && is::<[(u8, bool); 4]>() && is::<SalAlloc>());
        assert!(is::<SalRc<u64>>() && is::<SalRc<[SalVec<u64>]>>() && is::<SalRc<str>>());
        assert!(is::<CowMap<SalString, SalVec<u64>>>() && is::<CowHashMap<u64, SalHashMap<u64, SalString>>>());
        assert!(is::<(CowSet<u8>, [CowHashSet<u8>; 2], CowVec<SalString>)>());
        assert!(
            is::<Option<SalRc<SalString>>>()
                && is::<Option<SalBox<u64>>>()
                && is::<(Option<std::num::NonZero<u8>>, SalRc<u8>)>()
        );
        assert!(is::<SalBox<CowMap<u64, SalString>>>() && is::<SalRc<SalBox<SalVec<u64>>>>());
    }

    #[test]
    fn handles_are_counted_pointers_if_all_that_they_lead_to_is_known() {
        #[derive(Persist)]
        #[persist(crate = "crate", same_build)]
        #[expect(dead_code, reason = "it is only described")]
        enum Hidden {
            Nothing,
            Something(SalString),
        }
        assert!(is::<Handle<u64>>() && is::<Option<Handle<str>>>());
        assert!(is::<SalRc<Handle<[u64]>>>() && is::<CowMap<u64, SalVec<Handle<u64>>>>());
        assert!(!is::<SalVec<Handle<u64>>>());
        assert!(is::<SalRc<crate::Offset<u64>>>() && !is::<SalRc<(crate::Offset<u64>, Handle<u64>)>>());
        assert!(!is::<SalRc<(crate::Pool<u64>, Handle<u64>)>>());
        assert!(is::<SalRc<Hidden>>() && !is::<CowMap<u64, (Hidden, Handle<u64>)>>());
        let flags = |description| root_flags::<SalVec<Handle<u64>>>(&description);
        assert_eq!(flags(TypeDescription::of::<SalVec<Handle<u64>>>()), HANDLES);
    }

    #[test]
    fn a_root_that_owns_a_plain_block_itself_is_none() {
        assert!(!is::<SalVec<u64>>() && !is::<SalString>() && !is::<SalHashMap<u64, SalRc<u64>>>());
        assert!(!is::<SalBTreeMap<u64, u64>>() && !is::<(SalRc<u64>, SalVec<SalRc<u64>>)>());
        assert!(!is::<Option<SalBox<SalString>>>() && !is::<(SalRc<u8>, Option<SalBox<SalVec<u64>>>)>());
        assert!(!is::<SalBox<SalVec<u64>>>() && !is::<[SalBox<SalString>; 2]>());
        assert!(!is::<allocator_api2::vec::Vec<u64, SalAlloc>>() && !is::<allocator_api2::boxed::Box<u64, SalAlloc>>());
    }
}
