//! Which values own blocks by way of counted pointers only.
//!
//! What such a pointer leads to is not changed in place any more once it has been sealed, and nor is what lies deeper, whatever it
//! is: nobody gets at it but by a copy. So of a root with such a value, a copy of the value's own bytes is all that is needed to come
//! back to it. A [`Handle`](crate::Handle) anywhere in there is the exception.

use crate::gc::trace::layouts::id;
use crate::persist::{Node, NodeId, Persist, TypeDescription};
use std::collections::HashSet;

/// What they lead to is changed by way of copies only.
const COUNTED: [u64; 8] = [
    id::SAL_RC,
    id::SAL_RC_SLICE,
    id::SAL_RC_STR,
    id::COW_VEC,
    id::COW_HASH_MAP,
    id::COW_HASH_SET,
    id::COW_MAP,
    id::COW_SET,
];
/// What they lead to changes in place, wherever they lie: other values are put there, and values are moved.
const HANDLES: [u64; 3] = [id::HANDLE, id::HANDLE_SLICE, id::HANDLE_STR];
/// They own nothing.
const PLAIN: [u64; 2] = [id::PHANTOM, id::OFFSET];
/// `Option`; boxes, of which a value is changed through the pointer, after it has moved if it is sealed.
const WRAPPERS: [u64; 3] = [id::OPTION, id::SAL_BOX, id::SAL_BOX_SLICE];
/// Leaves from here on are others' own, and may own what they like.
const FOREIGN_LEAVES: u64 = 1 << 32;

/// Whether all values of a type do.
pub(super) fn is_copy_on_write<T: Persist>(description: &TypeDescription) -> bool {
    if !T::OWNS_BLOCKS {
        return true;
    }
    let is_handle = |node: &Node| matches!(node, Node::Container { id, .. } if HANDLES.contains(id));
    if description.nodes().iter().any(is_handle) {
        return false;
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
        is_copy_on_write::<T>(&TypeDescription::of::<T>())
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
    fn a_root_that_leads_to_handles_in_any_way_is_none() {
        assert!(!is::<Handle<u64>>() && !is::<Option<Handle<str>>>());
        assert!(!is::<SalRc<Handle<[u64]>>>() && !is::<CowMap<u64, SalVec<Handle<u64>>>>());
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
