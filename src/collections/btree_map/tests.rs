//! What only the crate itself can test: heaps that are full.

use super::build::Builder;
use super::*;
use crate::collections::TryReserveError;
use crate::collections::raw_block::refusal;
use std::panic::{AssertUnwindSafe, catch_unwind};

#[test]
fn map_is_as_it_was_when_no_node_can_be_had() {
    let mut map: SalBTreeMap<u64, Box<u64>> = SalBTreeMap::new();
    let mut refused = [0; 4];
    for n in 0..3000_u64 {
        let key = n * 1237 % 3000; // all over the tree
        let mut allowed = 0;
        loop {
            refusal::allow(Some(allowed));
            match map.try_insert(key, Box::new(n)) {
                Ok(before) => {
                    assert_eq!(before, None);
                    break;
                }
                Err(error) => {
                    assert!(matches!(error, TryReserveError::AllocError { .. }));
                    assert_eq!((map.len() as u64, map.get(&key)), (n, None));
                    map.check().unwrap();
                    refused[allowed] += 1;
                    allowed += 1;
                }
            }
        }
    }
    refusal::allow(None);
    map.check().unwrap();
    assert_eq!(map.len(), 3000);
    assert!(refused[0] > 100 && refused[1] > 1 && refused[2] > 0, "{refused:?}");
}

#[test]
fn map_that_is_being_built_is_in_order_wherever_the_heap_ends() {
    for allowed in 0..60 {
        let mut map: SalBTreeMap<u64, Box<u64>> = SalBTreeMap::new();
        refusal::allow(Some(allowed));
        let mut pushed = 0;
        {
            let mut builder = Builder::new(&mut map);
            while builder.push(pushed, Box::new(pushed)).is_ok() {
                pushed += 1;
            }
        }
        map.check().unwrap();
        assert!(map.keys().copied().eq(0..pushed));
        // Removing takes no memory.
        while map.pop_last().is_some() {
            map.check().unwrap();
        }
        refusal::allow(None);
    }
}

#[test]
fn copy_that_panics_halfway_frees_what_there_was_of_it() {
    struct Fragile(u64);
    impl Clone for Fragile {
        fn clone(&self) -> Self {
            assert!(self.0 < 700, "too large to copy");
            Self(self.0)
        }
    }
    let map: SalBTreeMap<u64, Fragile> = (0..1000).map(|n| (n, Fragile(n))).collect();
    assert!(catch_unwind(AssertUnwindSafe(|| map.clone().len())).is_err());
    map.check().unwrap();
}

#[test]
fn map_from_which_everything_was_taken_has_no_root() {
    let full = || (0..100).map(|n| (n, n)).collect::<SalBTreeMap<u32, u32>>();
    let mut maps = [full(), full(), full(), full(), full()];
    maps[0].clear();
    maps[1].retain(|_, _| false);
    drop(core::mem::take(&mut maps[2]));
    drop(maps[3].split_off(&0));
    while maps[4].pop_first().is_some() {}
    assert!(maps.iter().all(|map| map.root.is_none() && map.len == 0));
}
