//! The shape of the trie, and hashing that changes.

use super::branch::{LEVELS, kind};
use super::leaf::{LARGE, MIDDLE, SMALL, capacity};
use super::*;
use crate::HeapOptions;
use crate::collections::hash::override_fingerprint;
use crate::collections::{SalString, SalVec};
use crate::persist::{BlockVisitor, Foreign, Persist, TypeDescription};
use core::alloc::Layout;
use core::ptr::NonNull;
use std::collections::{HashMap, HashSet};

/// The blocks of a map that a visitor is told, each once.
fn blocks<T: Persist>(values: &[&T]) -> Vec<(usize, usize)> {
    let mut seen = Vec::new();
    let mut observer = |start: NonNull<u8>, layout: Layout| seen.push((start.addr().get(), layout.size()));
    let mut visitor = BlockVisitor::observing(0..usize::MAX, SalAlloc::new(), &mut observer);
    values.iter().for_each(|value| value.visit_blocks(&mut visitor));
    assert!(visitor.finish().is_ok());
    seen
}

#[test]
fn leaves_have_room_as_their_entries_are_large() {
    assert_eq!((capacity::<u64, u64>(), capacity::<(), ()>(), capacity::<[u64; 6], ()>()), (LARGE, LARGE, LARGE));
    assert_eq!(
        (capacity::<u64, [u64; 6]>(), capacity::<[u64; 14], ()>(), capacity::<u64, [u64; 14]>()),
        (MIDDLE, MIDDLE, SMALL)
    );
}

#[test]
fn leaves_are_well_filled_and_shrink_away() {
    let mut map: CowHashMap<u64, u64> = (0..50_000).map(|n| (n, n)).collect();
    map.check().unwrap();
    let bytes: usize = blocks(&[&map]).iter().map(|block| block.1).sum();
    assert!((16 * 50_000..40 * 50_000).contains(&bytes), "{bytes}");
    for n in 0..49_900 {
        map.remove(&n);
    }
    map.check().unwrap();
    let bytes: usize = blocks(&[&map]).iter().map(|block| block.1).sum();
    assert!(bytes < 80 * 100, "{bytes}");
    assert!((49_900..50_000).all(|n| map[&n] == n));
}

#[test]
fn a_change_copies_no_more_than_its_way() {
    let map: CowHashMap<u64, u64> = (0..50_000).map(|n| (n, n)).collect();
    let all = blocks(&[&map]).len();
    for n in 0..100 {
        let mut changed = map.clone();
        assert!(changed.ptr_eq(&map));
        changed.insert(n * 997, 7);
        changed.insert(n * 997, 8);
        let both = blocks(&[&map, &changed]).len();
        assert!((all + 2..all + 9).contains(&both), "{all} {both}");
        assert_eq!(map.diff(&changed).count(), 1);
    }
}

#[test]
fn what_is_not_there_copies_nothing() {
    let map: CowHashMap<u64, u64> = (0..5000).map(|n| (n, n)).collect();
    let mut other = map.clone();
    assert_eq!((other.remove(&5000), other.remove_entry(&5002), other.get_mut(&5001)), (None, None, None));
    assert!(other.ptr_eq(&map));
    assert!(matches!(other.entry_ref(&5003), Entry::Vacant(entry) if entry.key() == &&5003));
    assert!(other.ptr_eq(&map));
}

#[test]
fn every_block_is_named_once_and_shared_ones_too() {
    let mut map: CowHashMap<SalString, SalVec<u64>> =
        (0..2000_u64).map(|n| (SalString::from(n.to_string().as_str()), SalVec::from([n]))).collect();
    let before = map.clone();
    map.remove("7");
    map.insert("new", SalVec::from([1]));
    let seen = blocks(&[&map, &before]);
    let starts: HashSet<usize> = seen.iter().map(|block| block.0).collect();
    assert_eq!(starts.len(), seen.len());
    for (key, value) in map.iter().chain(&before) {
        assert!(starts.contains(&key.as_ptr().addr()) && starts.contains(&value.as_ptr().addr()));
        assert!(seen.iter().any(|&(start, size)| (start..start + size).contains(&(&raw const *key).addr())));
    }
}

#[test]
fn node_outside_the_window_is_found_and_an_empty_map_belongs_everywhere() {
    let mut map: CowHashMap<u8, u8> = [(1, 1)].into();
    let mut visitor = BlockVisitor::new(0..1, SalAlloc::new());
    map.visit_blocks(&mut visitor);
    assert!(matches!(visitor.finish().unwrap_err().found(), Foreign::Block { .. }));
    map.remove(&1);
    let mut visitor = BlockVisitor::new(0..0, SalAlloc::new());
    map.visit_blocks(&mut visitor);
    assert!(visitor.finish().is_ok());
}

#[test]
fn maps_of_other_keys_or_values_differ() {
    let map = TypeDescription::of::<CowHashMap<u64, u32>>();
    assert!(map.difference(&TypeDescription::of::<CowHashMap<u64, u32>>()).is_none());
    assert!(map.difference(&TypeDescription::of::<CowHashMap<u64, i32>>()).is_some());
    assert!(map.difference(&TypeDescription::of::<CowHashMap<i64, u32>>()).is_some());
}

/// All whose number has the same upper half have the same hash.
#[derive(Clone, Debug, PartialEq, Eq, crate::Persist)]
#[repr(transparent)]
struct Halved(u64);

impl Hash for Halved {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.0 >> 32).hash(state);
    }
}

#[test]
fn keys_of_one_hash_are_a_list_below_all_branches() {
    let keys = |of: u64| (0..40).map(move |n| Halved(of << 32 | n));
    let mut map: CowHashMap<Halved, SalString> = CowHashMap::new();
    for key in keys(1).chain(keys(2)) {
        map.insert(key.clone(), key.0.to_string().as_str().into());
        map.check().unwrap();
    }
    let blocks = blocks(&[&map]);
    assert!(blocks.iter().filter(|block| block.1 == 72).count() >= LEVELS);
    let before = map.clone();
    for key in keys(1).skip(1) {
        assert!(map.contains_key(&key) && map.remove(&key).is_some() && map.remove(&key).is_none());
        map.check().unwrap();
    }
    *map.get_mut(&Halved(1 << 32)).unwrap() = "other".into();
    assert_eq!((map.len(), before.len(), before.diff(&map).count()), (41, 80, 40));
    assert_eq!(before[&Halved(1 << 32)], *(1_u64 << 32).to_string());
    map.retain(|key, _| key.0 == 2 << 32);
    map.check().unwrap();
    assert!(map.into_iter().eq([(Halved(2 << 32), SalString::from((2_u64 << 32).to_string().as_str()))]));
    assert!(before.into_iter().count() == 80);
}

#[test]
fn map_of_a_process_that_hashed_otherwise_is_read_and_then_built_anew() {
    override_fingerprint(Some(1));
    let mut map: CowHashMap<u64, u64> = (0..1000).map(|n| (n, n)).collect();
    let other = map.clone();
    override_fingerprint(None);
    // What a key hashes to has changed.
    map.seed ^= 1;
    assert_eq!((map.get(&5), map.get(&1000)), (Some(&5), None));
    assert!(map == other && map.diff(&other).next().is_none());
    map.insert(5, 6);
    map.check().unwrap();
    assert!(!map.ptr_eq(&other));
    assert_eq!((map.len(), map[&5], other[&5]), (1000, 6, 5));
    assert!((6..1000).all(|n| map[&n] == n));
    map.rehash();
    map.check().unwrap();
    assert!((6..1000).all(|n| map.remove(&n) == Some(n)));
}

#[test]
fn nodes_lie_in_the_heap_of_the_map_and_so_do_copies_and_what_they_take() {
    let heap = HeapOptions::new().volatile().unwrap();
    let mut map: CowHashMap<SalString, SalVec<u64>> = CowHashMap::new();
    {
        let _session = heap.write().unwrap();
        map.insert("one", SalVec::new());
    }
    assert_eq!(map.heap(), heap.alloc());
    let bytes = heap.stats().live_bytes;
    // Without a session.
    for n in 0..500_u64 {
        map.entry_ref(n.to_string().as_str()).or_default().push(n);
    }
    let mut copy = map.clone();
    copy.iter_mut().for_each(|(_, value)| value.push(1));
    let own: HashSet<usize> = blocks(&[&map]).into_iter().map(|block| block.0).collect();
    assert!(blocks(&[&copy]).iter().all(|block| !own.contains(&block.0)));
    for (start, _) in blocks(&[&map, &copy]) {
        assert_eq!(SalAlloc::of_address(start), Some(heap.alloc()));
    }
    assert!(heap.stats().live_bytes > bytes);
    drop((map, copy));
    assert_eq!(heap.stats().live_bytes, 0);
}

/// What was removed leaves no word in a node: `check` looks at all places without an entry, of all maps here.
#[test]
fn removed_entries_leave_zeros() {
    let mut map: CowHashMap<u64, crate::SalRc<u64>> = (0..3000).map(|n| (n, crate::SalRc::new(n))).collect();
    let version = map.clone();
    map.retain(|n, _| n % 3 == 0);
    map.check().unwrap();
    for n in (0..3000).step_by(6) {
        map.remove(&n);
    }
    map.check().unwrap();
    version.check().unwrap();
    assert_eq!((map.len(), version.len()), (500, 3000));
    drop(version);
    assert!(map.values().all(|value| crate::SalRc::strong_count(value) == 1));
}

#[test]
fn an_empty_map_has_no_root() {
    let mut map: CowHashMap<u64, String> = CowHashMap::new();
    assert!(map.root.is_none() && map.kind() == kind::NONE && map.iter().next().is_none());
    map.insert(1, "one".into());
    map.remove(&1);
    assert!(map.root.is_none() && map.kind() == kind::NONE);
    map.insert(1, "one".into());
    map.clear();
    assert!(map.root.is_none());
    map.check().unwrap();
    let model: HashMap<u64, String> = map.into_iter().collect();
    assert!(model.is_empty());
}
