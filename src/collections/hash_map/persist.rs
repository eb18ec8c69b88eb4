//! What a map tells about itself before it may live in a file.
#![allow(unsafe_code)]

use super::SalHashMap;
use super::table::layout;
use crate::gc::trace::layouts::id;
use crate::persist::{BlockVisitor, Describer, Node, Persist};

/// The container's number, given by hand and never to another one.
const ID: u64 = id::SAL_HASH_MAP;

/// Changes with the meaning of the six words, of the control bytes, or with the place of the entries.
const LAYOUT_VERSION: u32 = 1;

// SAFETY: the map is `repr(C)` and stores no handle. Its only address is an aligned, unmodified word that is null or
// the start of the block that `visit_blocks` names with its layout (T1, T2), also when it is empty. Seed and
// fingerprint mean the same in every process. Keys and values are visited and keep their own promise; a shared map
// hands out shared ones only.
unsafe impl<K: Persist, V: Persist> Persist for SalHashMap<K, V> {
    const OWNS_BLOCKS: bool = true;

    fn describe(describer: &mut Describer) -> Node {
        let parameters = vec![describer.node_of::<K>(), describer.node_of::<V>()];
        Node::container::<Self>(ID, "SalHashMap", LAYOUT_VERSION, parameters)
    }

    fn visit_blocks(&self, visitor: &mut BlockVisitor<'_>) {
        if let (Some(block), Ok(layout)) = (self.table.block, layout::<super::Pair<K, V>>(self.table.slots)) {
            visitor.block(block, layout);
        }
        if K::OWNS_BLOCKS || V::OWNS_BLOCKS {
            for (key, value) in self {
                if visitor.has_found() {
                    return;
                }
                visitor.value(key);
                visitor.value(value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SalAlloc;
    use crate::collections::{SalHashSet, SalString, SalVec};
    use crate::persist::{Foreign, TypeDescription};
    use core::ptr::NonNull;

    #[test]
    fn every_block_is_named_once() {
        let map: SalHashMap<SalString, SalVec<u64>> =
            (0..100_u64).map(|n| (SalString::from(n.to_string().as_str()), SalVec::from([n]))).collect();
        let mut expected: Vec<usize> = vec![map.table.block.unwrap().addr().get()];
        expected.extend(map.keys().map(|key| key.as_ptr().addr()));
        expected.extend(map.values().map(|value| value.as_ptr().addr()));
        let mut seen = Vec::new();
        let mut observer = |start: NonNull<u8>, _| seen.push(start.addr().get());
        let mut visitor = BlockVisitor::observing(0..usize::MAX, SalAlloc::new(), &mut observer);
        map.visit_blocks(&mut visitor);
        assert!(visitor.finish().is_ok());
        expected.sort_unstable();
        seen.sort_unstable();
        assert_eq!(seen, expected);
    }

    #[test]
    fn block_of_a_value_outside_the_window_is_found() {
        let map: SalHashMap<u8, SalVec<u8>> = [(1, SalVec::from([1]))].into();
        let start = map.table.block.unwrap().addr().get();
        let block = layout::<super::super::Pair<u8, SalVec<u8>>>(map.table.slots).unwrap();
        let mut visitor = BlockVisitor::new(start..start + block.size(), SalAlloc::new());
        map.visit_blocks(&mut visitor);
        let value = map[&1].as_ptr().addr();
        assert!(matches!(visitor.finish().unwrap_err().found(), Foreign::Block { address, .. } if address == value));
    }

    #[test]
    fn map_without_a_block_belongs_to_every_heap() {
        let mut visitor = BlockVisitor::new(0..0, SalAlloc::new());
        let mut map: SalHashMap<u64, u64> = (0..10).map(|n| (n, n)).collect();
        core::mem::forget(map.drain());
        map.visit_blocks(&mut visitor);
        assert!(visitor.finish().is_ok());
    }

    #[test]
    fn maps_of_other_keys_or_values_and_sets_differ() {
        let map = TypeDescription::of::<SalHashMap<u64, u32>>();
        assert!(map.difference(&TypeDescription::of::<SalHashMap<u64, u32>>()).is_none());
        assert!(map.difference(&TypeDescription::of::<SalHashMap<u64, i32>>()).is_some());
        assert!(map.difference(&TypeDescription::of::<SalHashMap<i64, u32>>()).is_some());
        let unit = TypeDescription::of::<SalHashMap<u64, ()>>();
        assert!(unit.difference(&TypeDescription::of::<SalHashSet<u64>>()).is_some());
    }
}
