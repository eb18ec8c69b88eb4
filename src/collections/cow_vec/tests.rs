//! What only the crate itself can test: the bytes of nodes, and what a visitor is told.
#![allow(unsafe_code)]

use super::branch::{Branch, FAN};
use super::diff::end_of_shared;
use super::leaf::{LEAF_BYTES, Leaf, Tail, width};
use super::*;
use crate::collections::SalString;
use crate::persist::{BlockVisitor, Foreign, Persist, TypeDescription};
use crate::{HeapOptions, SalAlloc};
use core::alloc::Layout;
use core::cell::Cell;
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use std::collections::HashMap;

fn texts(numbers: core::ops::Range<u64>) -> impl Iterator<Item = SalString> {
    numbers.map(|n| SalString::from(format!("{n:030}").as_str()))
}

/// Leaves blocks of the sizes of nodes behind that are full of ones.
fn dirty(heap: SalAlloc) {
    let blocks: Vec<_> = (0..500)
        .map(|_| {
            let (leaf, tail) = (SalRc::new_in([!0_u8; LEAF_BYTES], heap), SalRc::new_in([!0_u8; LEAF_BYTES + 8], heap));
            (leaf, tail, SalRc::new_in([!0_u8; size_of::<Branch<u8>>()], heap))
        })
        .collect();
    drop(blocks);
}

/// Whether a node's bytes from an offset on are zeros.
fn is_zero_from<N: 'static>(node: &SalRc<N>, offset: usize) -> bool {
    let bytes = SalRc::as_ptr(node).cast::<MaybeUninit<u8>>();
    // SAFETY: within the node; the test makes sure that these bytes were written.
    (offset..size_of::<N>()).all(|at| unsafe { (*bytes.add(at)).assume_init() } == 0)
}

fn has_no_stale_words(vec: &CowVec<SalString>) -> bool {
    let is_clean = |tail| is_zero_from(tail, 8 + (vec.len - vec.tree_len) * size_of::<SalString>());
    vec.check().is_ok() // which looks at branches
        && vec.tail.as_ref().is_none_or(is_clean)
        && (0..vec.leaves()).all(|number| {
            // SAFETY: this many are there.
            let leaf = unsafe { vec.leaf(number) };
            is_zero_from(leaf, width::<SalString>() * size_of::<SalString>())
        })
}

#[test]
fn places_without_an_element_or_a_child_are_zeros() {
    let heap = HeapOptions::new().volatile().unwrap();
    let tx = heap.write().unwrap();
    dirty(heap.alloc());
    let mut vec: CowVec<SalString> = CowVec::new();
    for (round, text) in texts(0..2000).enumerate() {
        vec.push(text);
        if round % 37 == 0 {
            let version = vec.clone();
            dirty(heap.alloc());
            vec[round / 2].push('x');
            (0..9.min(vec.len())).for_each(|_| drop(vec.pop()));
            assert!(has_no_stale_words(&vec) && has_no_stale_words(&version));
        }
    }
    for len in [1500, 1400, 1000, 999, 400, 3] {
        let mut version = vec.clone();
        dirty(heap.alloc());
        vec.truncate(len);
        version.truncate(len + 1);
        version[len] = SalString::from("other");
        assert!(has_no_stale_words(&vec) && has_no_stale_words(&version));
    }
    let mut other: CowVec<SalString> = texts(0..500).collect();
    vec.append(&mut other);
    vec.retain(|text| text.len() != 3);
    assert!(has_no_stale_words(&vec));
    drop((vec, other));
    drop(tx);
    assert_eq!(heap.stats().live_bytes, 0);
}

#[test]
fn every_node_is_named_once_however_many_versions_share_it() {
    let mut vec: CowVec<SalString> = texts(0..2000).collect();
    let mut versions = vec![vec.clone()];
    for at in [0, 700, 1999] {
        vec[at] = SalString::from("a text with a block");
        versions.push(vec.clone());
    }
    let mut seen: HashMap<usize, Layout> = HashMap::new();
    let mut observer = |start: NonNull<u8>, layout: Layout| {
        assert_eq!(seen.insert(start.addr().get(), layout), None);
    };
    let mut visitor = BlockVisitor::observing(0..usize::MAX, SalAlloc::new(), &mut observer);
    versions.iter().for_each(|version| version.visit_blocks(&mut visitor));
    assert!(visitor.finish().is_ok());
    let mut expected = HashMap::new();
    for version in &versions {
        assert!(version.iter().all(|text| seen.contains_key(&text.as_ptr().addr())));
        expected.extend(version.iter().map(|text| (text.as_ptr().addr(), None)));
        let tail = version.tail.as_ref().map(|tail| SalRc::as_ptr(tail).addr());
        expected.extend(tail.map(|tail| (tail, Some(Layout::new::<Tail<SalString>>()))));
        // SAFETY: this many are there.
        let leaves = (0..version.leaves()).map(|number| SalRc::as_ptr(unsafe { version.leaf(number) }).addr());
        expected.extend(leaves.map(|leaf| (leaf, Some(Layout::new::<Leaf<SalString>>()))));
    }
    for (address, layout) in &expected {
        assert!(layout.is_none_or(|layout| seen[address] == layout));
    }
    let branches = seen.iter().filter(|(address, _)| !expected.contains_key(address));
    assert!(branches.clone().all(|(_, layout)| *layout == Layout::new::<Branch<SalString>>()));
    assert!(branches.count() >= 1 + 3 + width::<SalString>().div_ceil(16));
}

#[test]
fn node_outside_the_window_is_found_and_an_empty_vector_belongs_everywhere() {
    let mut vec: CowVec<u8> = CowVec::from([1]);
    let mut visitor = BlockVisitor::new(0..1, SalAlloc::new());
    vec.visit_blocks(&mut visitor);
    assert!(matches!(visitor.finish().unwrap_err().found(), Foreign::Block { .. }));
    vec.pop();
    let mut visitor = BlockVisitor::new(0..0, SalAlloc::new());
    vec.visit_blocks(&mut visitor);
    assert!(visitor.finish().is_ok());
}

#[test]
fn vectors_of_other_elements_differ() {
    let vec = TypeDescription::of::<CowVec<u64>>();
    assert!(vec.difference(&TypeDescription::of::<CowVec<u64>>()).is_none());
    assert!(vec.difference(&TypeDescription::of::<CowVec<i64>>()).is_some());
    assert!(vec.difference(&TypeDescription::of::<crate::collections::SalVec<u64>>()).is_some());
}

std::thread_local! {
    static COMPARED: Cell<usize> = const { Cell::new(0) };
}

#[derive(Clone)]
struct Compared(u64);

impl PartialEq for Compared {
    fn eq(&self, other: &Self) -> bool {
        COMPARED.set(COMPARED.get() + 1);
        self.0 == other.0
    }
}

#[test]
fn diff_looks_only_at_what_is_not_shared() {
    let old: CowVec<Compared> = (0..1_000_000).map(Compared).collect();
    for at in [0, 63, 64, 500_000, 999_999] {
        let mut new = old.clone();
        new[at].0 += 1;
        COMPARED.set(0);
        assert_eq!(old.diff(&new).count(), 1);
        assert!(COMPARED.get() <= width::<Compared>(), "{}", COMPARED.get());
        new.extend((0..3_000_000).map(Compared)); // a higher tree
        COMPARED.set(0);
        assert_eq!((old.diff(&new).count(), new.diff(&old).count()), (3_000_001, 3_000_001));
        assert!(COMPARED.get() <= 4 * width::<Compared>(), "{}", COMPARED.get());
    }
}

#[test]
fn diff_passes_over_shared_branches_at_once() {
    let old: CowVec<u64> = (0..1_000_000).collect();
    assert_eq!(end_of_shared(&old, &old.clone(), 0), Some(old.leaves()));
    for at in [0, 500_000, 999_000] {
        let mut new = old.clone();
        new[at] += 1;
        new.push(1);
        let (mut number, mut steps) = (0, 0);
        while number < new.chunk_count() {
            number = end_of_shared(&old, &new, number).unwrap_or(number + 1);
            steps += 1;
        }
        // On both sides of two ways down: to the change, and to the end.
        assert!(steps <= 2 * FAN * old.height, "{steps} steps");
    }
}

#[test]
fn changing_after_a_clone_copies_one_node_of_each_level() {
    let heap = HeapOptions::new().volatile().unwrap();
    let tx = heap.write().unwrap();
    let mut vec: CowVec<u64> = (0..200_000).collect();
    let version = vec.clone();
    let before = heap.stats().live_bytes;
    vec[100_000] = 1;
    let path = (vec.height * size_of::<Branch<u64>>() + LEAF_BYTES) as u64;
    let copied = heap.stats().live_bytes - before;
    assert!(copied >= path && copied < path + path / 8, "{copied} bytes copied, {path} needed");
    assert_eq!(version[100_000], 100_000);
    drop((vec, version, tx));
}
