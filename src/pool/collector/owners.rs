//! Where a value may have pools: by its type's description.
//!
//! Who has `&mut` to a value has the pools in it alone, if nothing on the way to them is shared. So a type with a pool behind a pointer
//! that others may have too is refused, and so is one with a pool in the objects of another: those are found when it is too late.

use crate::gc::trace::layouts::id;
use crate::persist::{Node, NodeId, TypeDescription};
use std::collections::HashSet;

/// They own what they have alone.
const OWNERS: [u64; 10] = [
    id::OPTION,
    id::VEC,
    id::BOX,
    id::SAL_VEC,
    id::SAL_HASH_MAP,
    id::SAL_HASH_SET,
    id::SAL_BTREE_MAP,
    id::SAL_BTREE_SET,
    id::SAL_BOX,
    id::SAL_BOX_SLICE,
];
/// They own nothing.
const POINTERS: [u64; 4] = [id::GC, id::GC_WEAK, id::OFFSET, id::PHANTOM];

/// What a type has to do with pools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owned {
    /// Whether there is a pool, or a pointer to an object.
    pub(crate) leads_to_pools: bool,
    /// Whether who has a value alone has all pools in it alone.
    pub(crate) is_exclusive: bool,
}

impl Owned {
    pub(crate) fn by(description: &TypeDescription) -> Self {
        let mut owned = Self { leads_to_pools: false, is_exclusive: true };
        let (mut left, mut seen) = (vec![(description.root(), true)], HashSet::<(NodeId, bool)>::new());
        while let Some((node, is_exclusive)) = left.pop() {
            if !seen.insert((node, is_exclusive)) {
                continue;
            }
            match &description.nodes()[node.index()] {
                Node::Leaf { .. } => {}
                Node::Struct { fields, .. } => left.extend(fields.iter().map(|field| (field.node, is_exclusive))),
                Node::Enum { variants, .. } => {
                    let fields = variants.iter().flat_map(|variant| &variant.fields);
                    left.extend(fields.map(|field| (field.node, is_exclusive)));
                }
                Node::Array { element, .. } => left.push((*element, is_exclusive)),
                Node::Container { id, parameters, .. } => {
                    owned.leads_to_pools |= matches!(*id, id::POOL | id::GC);
                    owned.is_exclusive &= *id != id::POOL || is_exclusive;
                    if !POINTERS.contains(id) {
                        let is_exclusive = is_exclusive && OWNERS.contains(id);
                        left.extend(parameters.iter().map(|&parameter| (parameter, is_exclusive)));
                    }
                }
            }
        }
        owned
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collections::{CowMap, SalHashMap, SalString, SalVec};
    use crate::persist::Persist;
    use crate::{Gc, Pool, SalRc};

    fn of<T: Persist>() -> Owned {
        Owned::by(&TypeDescription::of::<T>())
    }

    #[test]
    fn pools_that_a_value_has_alone_may_be_collected() {
        assert!(of::<Pool<u64>>().is_exclusive);
        assert!(of::<(SalVec<Pool<u64>>, SalHashMap<SalString, Pool<Gc<u64>>>)>().is_exclusive);
        assert!(of::<(Pool<SalRc<u64>>, SalRc<SalVec<Gc<Pool<u64>>>>)>().is_exclusive);
    }

    #[test]
    fn pools_that_may_be_shared_and_pools_in_pools_may_not() {
        assert!(!of::<SalRc<Pool<u64>>>().is_exclusive);
        assert!(!of::<(Pool<u64>, CowMap<u64, SalVec<Pool<u64>>>)>().is_exclusive);
        assert!(!of::<Pool<Pool<u64>>>().is_exclusive && !of::<Pool<SalVec<Pool<u64>>>>().is_exclusive);
    }

    #[test]
    fn types_without_pools_lead_to_none() {
        assert!(!of::<(SalVec<u64>, CowMap<u64, SalString>)>().leads_to_pools);
        assert!(of::<SalRc<Gc<u64>>>().leads_to_pools && of::<SalVec<Option<Gc<u64>>>>().leads_to_pools);
    }
}
