//! Following types finds exactly the blocks that values own, for every container and mixes of them, and exactly as many pointers
//! as there are.
//!
//! What is found is compared with what `Persist::visit_blocks` names for the living value, so the tracer's byte maps cannot
//! part from the containers. The values have been worked with before: there is spare capacity with old elements in it, there are
//! emptied slots, inactive variants, padding.
#![allow(unsafe_code)]

#[path = "support/sample.rs"]
mod sample;
mod support;

use allocator_api2::boxed::Box as AllocBox;
use allocator_api2::vec::Vec as AllocVec;
use sal::collections::{CowHashMap, CowHashSet, CowMap, CowSet, CowVec, SalBTreeSet};
use sal::persist::BlockVisitor;
use sal::prelude::*;
use sal::{HeapOptions, Mode, Offset, Pool, Recovery, SalBox, SalCollect, SealPolicy};
use sample::{Mixed, Object, Sample, Signed, Tree, Wide};
use std::collections::HashSet;
use std::num::NonZero;
use std::ptr::NonNull;
use support::heaps::{opened, unmap};
use support::{Random, alone, fresh_path};

const SEED: u64 = 0x7AC3_ED00;

fn blocks_of<T: Persist>(value: &T, heap: &Heap) -> HashSet<usize> {
    let mut seen = HashSet::new();
    let mut observer = |start: NonNull<u8>, _| assert!(seen.insert(start.addr().get()), "named twice");
    let mut visitor = BlockVisitor::observing(0..usize::MAX, heap.alloc(), &mut observer);
    value.visit_blocks(&mut visitor);
    visitor.finish().unwrap();
    seen
}

fn objects(heap: &Heap) -> HashSet<usize> {
    // SAFETY: no other thread uses the heap.
    unsafe { heap.objects() }.unwrap().map(|block| block.start).collect()
}

/// Fills a root, and some that share with it, in each kind of heap; everything must be found and nothing else, also after the heap
/// was opened again; and when all is dropped nothing is left.
fn check_in<T: Sample>(mode: Mode, random: &mut Random, same: impl Fn(&T) -> Option<T>) {
    let root = || Root::<SalVec<T>>::new("values");
    let version = || Root::<SalVec<T>>::new("version");
    let what = std::any::type_name::<T>();
    let (_directory, path) = fresh_path();
    // A heap that seals has blocks of its own.
    let options =
        HeapOptions::new().mode(mode).capacity(256 << 20).recovery(Recovery::Eager).seal_policy(SealPolicy::Off);
    let open = || if mode == Mode::Volatile { options.volatile().unwrap() } else { opened(&options, &path) };
    let heap = open();
    let mut own = HashSet::new();
    {
        let tx = heap.write().unwrap();
        let values = tx.root_or_default(root()).unwrap();
        let samples: Vec<T> = (0..20).map(|_| T::sample(random, &heap)).collect();
        values.extend(samples);
        (0..5).for_each(|_| drop(values.pop()));
        let versions = tx.root_or_default(version()).unwrap();
        versions.extend(values.iter().filter_map(&same));
        // Nobody has these.
        std::mem::forget(T::sample(random, &heap));
        std::mem::forget(heap.rc_str("lost"));
        let empty = tx.root_or_default(Root::<SalVec<u8>>::class(7)).unwrap();
        own.insert(std::ptr::from_ref(empty).addr());
        drop(tx);
    }
    let found: HashSet<usize> = {
        let read = heap.read().unwrap();
        let (values, versions) = (read.root(root()).unwrap(), read.root(version()).unwrap());
        own.extend([std::ptr::from_ref(values).addr(), std::ptr::from_ref(versions).addr()]);
        blocks_of(values, &heap).union(&blocks_of(versions, &heap)).copied().collect()
    };
    let all = objects(&heap);
    assert!(found.is_subset(&all), "{what}");
    // SAFETY: no other thread uses the heap, and nothing but the roots holds anything.
    unsafe {
        let leaks = heap.leak_report().unwrap();
        let (lost_blocks, lost) = (leaks.blocks as usize, leaks.largest.iter().map(|leak| leak.block.start));
        let lost: HashSet<usize> = lost.collect();
        assert!(lost.is_disjoint(&found) && lost.is_disjoint(&own), "{what}");
        // Three values and the names of two.
        assert_eq!(all.len() - lost_blocks, found.len() + own.len() + 2, "{what}");
        let report = heap.collect().unwrap();
        assert!(report.is_precise, "{what}");
        assert_eq!(report.marked_blocks as usize, found.len() + own.len() + 2, "{what}");
        assert_eq!(report.reclaimed_blocks as usize, lost_blocks, "{what}");
    }
    let heap = if mode == Mode::Volatile {
        heap
    } else {
        unmap(heap);
        open()
    };
    if let Some(report) = heap.wait_for_recovery() {
        assert!(report.collected.is_precise, "{what}");
        assert_eq!(report.collected.marked_blocks as usize, found.len() + own.len() + 2, "{what}");
    }
    let tx = heap.write().unwrap();
    drop(tx.take_root(root()).unwrap());
    // What both had is still there.
    let versions = tx.take_root(version()).unwrap();
    assert!(blocks_of(&versions, &heap).is_subset(&objects(&heap)), "{what}");
    drop(versions);
    tx.take_root(Root::<SalVec<u8>>::class(7)).unwrap();
    drop(tx);
    assert_eq!(objects(&heap).len(), 0, "{what}, {mode:?}: {}", heap.stats());
    if mode != Mode::Volatile {
        unmap(heap);
    }
}

fn check_all<T: Sample>(same: impl Fn(&T) -> Option<T> + Copy) {
    let _alone = alone();
    let mut random = Random(support::seed(SEED));
    for mode in [Mode::Volatile, Mode::Atomic, Mode::Shared] {
        check_in(mode, &mut random, same);
    }
}

macro_rules! checks {
    ($($name:ident: $($type:ty),*;)*) => {$(
        #[test]
        fn $name() {
            $(check_all::<$type>(|value| Some(value.clone()));)*
        }
    )*};
}

type Text = SalString;
type Shared = SalRc<SalString>;

checks! {
    vectors: SalVec<Text>, SalVec<Shared>, SalVec<()>, SalVec<[u8; 3]>, SalVec<(u8, Shared, u16)>, SalVec<Wide>, SalVec<SalVec<Tree>>;
    shared_values: SalRc<u8>, SalRc<()>, SalRc<Shared>, SalRc<[Text]>, SalRc<[Shared]>, SalRc<[()]>, SalRc<[Wide]>, SalRc<str>, SalRc<[u16]>, SalRc<SalRc<[Wide]>>;
    options: Option<Shared>, SalVec<Option<SalRc<[Shared]>>>, (u8, Option<SalRc<str>>), [Option<SalBox<Text>>; 3], SalVec<Option<SalBox<[Text]>>>, SalRc<(Option<SalBox<str>>, Option<Shared>)>, CowMap<u32, Option<Shared>>;
    boxes: SalBox<[Shared]>, SalBox<[Text]>, SalBox<str>, SalBox<Text>, SalBox<SalBox<Tree>>, SalBox<u8>, SalBox<()>;
    hash_tables: SalHashMap<Text, Shared>, SalHashMap<u8, Wide>, SalHashMap<Shared, ()>, SalHashMap<u32, u32>, SalHashSet<Text>, SalHashSet<()>, SalHashMap<Wide, Tree>;
    trees: SalBTreeMap<Text, Shared>, SalBTreeMap<u8, Wide>, SalBTreeMap<Shared, ()>, SalBTreeMap<u32, u32>, SalBTreeSet<Text>, SalBTreeMap<Wide, u8>, SalBTreeSet<u64>;
    shared_trees: CowMap<Text, Shared>, CowMap<u8, Wide>, CowMap<Shared, ()>, CowMap<u32, u32>, CowSet<Text>, CowMap<Wide, u8>, CowMap<u8, [Shared; 100]>;
    shared_hash_tables: CowHashMap<Text, Shared>, CowHashMap<u8, Wide>, CowHashMap<Shared, ()>, CowHashMap<u32, u32>, CowHashSet<Text>, CowHashMap<Wide, u8>, CowHashMap<u32, [u64; 8]>;
    shared_vectors: CowVec<Text>, CowVec<Shared>, CowVec<u8>, CowVec<Wide>, CowVec<[Shared; 20]>, CowVec<(u8, Shared)>;
    enums_arrays_and_tuples: Tree, Signed, [Tree; 9], [[Shared; 5]; 2], (u8, Tree, Signed), Option<NonZero<u64>>;
    layouts_of_the_compiler: Mixed, SalVec<Mixed>, CowMap<u64, Mixed>;
    mixes: SalHashMap<u64, CowMap<Text, SalVec<Tree>>>, CowHashMap<Text, CowVec<SalRc<[Tree]>>>, SalBTreeMap<Text, SalHashMap<u16, SalBox<Tree>>>, CowMap<u8, SalBTreeMap<u8, CowHashSet<Shared>>>;
}

#[test]
fn vectors_and_boxes_with_handles() {
    check_all::<AllocVec<Shared, SalAlloc>>(|vec| Some(vec.clone()));
    check_all::<AllocVec<AllocVec<Text, SalAlloc>, SalAlloc>>(|vec| Some(vec.clone()));
    check_all::<AllocBox<Tree, SalAlloc>>(|boxed| Some(boxed.clone()));
    check_all::<AllocVec<AllocBox<u8, SalAlloc>, SalAlloc>>(|vec| Some(vec.clone()));
    check_all::<AllocVec<AllocBox<(), SalAlloc>, SalAlloc>>(|vec| Some(vec.clone()));
}

#[test]
fn pools() {
    check_all::<Pool<u64>>(|_| None);
    check_all::<Pool<Text>>(|_| None);
    check_all::<Pool<()>>(|_| None);
    check_all::<Pool<Wide>>(|_| None);
    check_all::<Pool<Tree>>(|_| None);
    check_all::<Pool<Object>>(|_| None);
    check_all::<Pool<[Shared; 100]>>(|_| None);
    check_all::<(u8, Pool<SalVec<Pool<Shared>>>)>(|_| None);
}

#[test]
fn what_only_an_offset_leads_to_is_kept() {
    type Offsets = SalVec<Offset<SalRc<u64>>>;
    let root: Root<Offsets> = Root::new("offsets");
    let heap = HeapOptions::new().volatile().unwrap();
    let shared = heap.rc(7_u64);
    let lost = AllocBox::leak(AllocBox::new_in(shared.clone(), heap.alloc()));
    let tx = heap.write().unwrap();
    tx.set_root(root, SalVec::from([Offset::of(heap.alloc(), lost).unwrap()])).unwrap();
    drop(tx);
    drop(shared);
    // SAFETY: nobody else uses the heap.
    let report = unsafe { heap.collect() }.unwrap();
    // The root and its name, the vector's block, the box, and what that leads to.
    assert_eq!((report.marked_blocks, report.reclaimed_blocks, report.is_precise), (5, 0, true));
    assert_eq!(SalRc::strong_count(lost), 1);
}
