//! Heaps that are read at other addresses than their own: everything that their roots lead to is there, at whatever place, what is
//! shared stays shared, and no byte of a file changes. What cannot be moved is refused, whatever the file's bytes are, and the rest
//! is handed out.
#![allow(unsafe_code)]

#[path = "support/sample.rs"]
mod sample;
mod support;

use allocator_api2::boxed::Box as AllocBox;
use allocator_api2::vec::Vec as AllocVec;
use sal::collections::{CowHashMap, CowHashSet, CowMap, CowSet, CowVec, SalBTreeSet};
use sal::persist::{BlockVisitor, Describer, Node};
use sal::prelude::*;
use sal::{
    CollectError, HeapOptions, Mode, Offset, OpenError, RootError, SalBox, SalCollect, SalVersions, SessionError,
    SizeClasses, SyncError,
};
use sample::{Mixed, Sample, Signed, Tree, Wide};
use std::fmt::Debug;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use support::bytes::{self, header};
use support::heaps::{log_of, opened, run_and_kill, unmap, wait_for_the_kill};
use support::{Address, Random, alone, fresh_path, process};

const SEED: u64 = 0x4E10_CA7E;

fn atomic() -> HeapOptions {
    HeapOptions::new().mode(Mode::Atomic)
}

fn relocated(path: &Path) -> Result<Heap, OpenError> {
    // SAFETY: written through this crate only; where a test damages a file it looks at nothing that is not told to be good.
    unsafe { Heap::open_relocated(path) }
}

/// Opens a copy whose addresses are taken.
fn moved(path: &Path) -> Heap {
    let heap = relocated(path).unwrap();
    assert!(heap.is_relocated() && home(path) != heap.address_range().start);
    heap
}

/// Where a file's heap belongs.
fn home(path: &Path) -> usize {
    bytes::half_word(&bytes::newest(path), header::WINDOW) as usize * (1 << 36)
}

/// A page in the way of a heap.
struct InTheWay(*mut libc::c_void);

impl InTheWay {
    fn of(path: &Path) -> Self {
        let address = std::ptr::with_exposed_provenance_mut(home(path) + (7 << 20));
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
        // SAFETY: takes only free addresses.
        let page = unsafe { libc::mmap(address, 4096, libc::PROT_NONE, flags, -1, 0) };
        assert_eq!(page, address);
        Self(page)
    }
}

impl Drop for InTheWay {
    fn drop(&mut self) {
        // SAFETY: mapped by this value, and nobody uses it.
        unsafe { libc::munmap(self.0, 4096) };
    }
}

/// A copy of a heap's file, and the heap, which is open.
fn copied(heap: Heap, options: &HeapOptions, path: &Path) -> (Heap, PathBuf) {
    let copy = path.with_file_name("copy.sal");
    if heap.mode() == Mode::Atomic {
        heap.sync().unwrap();
        heap.snapshot_to(&copy).unwrap();
        return (heap, copy);
    }
    unmap(heap);
    bytes::copy(path, &copy);
    (opened(options, path), copy)
}

/// Whether all blocks and handles of a value are those of the heap.
fn is_whole<T: Persist>(value: &T, heap: &Heap) {
    let mut visitor = BlockVisitor::new(heap.address_range(), heap.alloc());
    visitor.value(value);
    visitor.finish().unwrap();
}

fn check_in<T: Sample + Debug>(options: &HeapOptions, random: &mut Random) {
    let root = || Root::<SalVec<T>>::new("values");
    let what = std::any::type_name::<T>();
    let (_directory, path) = fresh_path();
    let heap = opened(options, &path);
    let tx = heap.write().unwrap();
    let values = tx.root_or_default(root()).unwrap();
    let samples: Vec<T> = (0..20).map(|_| T::sample(random, &heap)).collect();
    values.extend(samples);
    // What was moved out still stands in the block.
    (0..5).for_each(|_| drop(values.pop()));
    drop(tx);
    let (heap, copy) = copied(heap, options, &path);
    let before = bytes::hash(&copy);
    let twin = moved(&copy);
    {
        let (read, here) = (heap.read().unwrap(), twin.read().unwrap());
        let (original, moved) = (read.root(root()).unwrap(), here.root(root()).unwrap());
        assert_eq!(format!("{moved:?}"), format!("{original:?}"), "{what}");
        is_whole(original, &heap);
        is_whole(moved, &twin);
    }
    let report = twin.verify();
    assert!(report.is_good(), "{what}: {report}");
    unmap(twin);
    assert_eq!(bytes::hash(&copy), before, "{what}");
    unmap(heap);
}

fn check<T: Sample + Debug>() {
    let _alone = alone();
    let mut random = Random(support::seed(SEED));
    for mode in [Mode::Atomic, Mode::Shared] {
        check_in::<T>(&HeapOptions::new().mode(mode), &mut random);
    }
}

macro_rules! reads_the_same {
    ($($name:ident: $($type:ty),*;)*) => {$(
        #[test]
        fn $name() {
            $(check::<$type>();)*
        }
    )*};
}

type Text = SalString;
type Shared = SalRc<SalString>;

reads_the_same! {
    vectors_read_the_same: Text, SalVec<Text>, SalVec<Shared>, SalVec<()>, SalVec<[u8; 3]>, SalVec<(u8, Shared, u16)>, SalVec<Wide>, SalVec<SalVec<Tree>>;
    shared_values_read_the_same: SalRc<u8>, SalRc<()>, SalRc<Shared>, SalRc<[Text]>, SalRc<[Shared]>, SalRc<[()]>, SalRc<[Wide]>, SalRc<str>, SalRc<[u16]>, SalRc<SalRc<[Wide]>>;
    options_read_the_same: Option<Shared>, Option<SalRc<[Shared]>>, Option<SalRc<str>>, Option<SalBox<Tree>>, Option<SalBox<[Text]>>, Option<SalBox<str>>, Option<NonZero<u64>>;
    boxes_read_the_same: SalBox<[Shared]>, SalBox<[Text]>, SalBox<str>, SalBox<Text>, SalBox<SalBox<Tree>>, SalBox<u8>, SalBox<()>;
    hash_tables_read_the_same: SalHashMap<Text, Shared>, SalHashMap<u8, Wide>, SalHashMap<Shared, ()>, SalHashMap<u32, u32>, SalHashSet<Text>, SalHashSet<()>, SalHashMap<Wide, Tree>;
    trees_read_the_same: SalBTreeMap<Text, Shared>, SalBTreeMap<u8, Wide>, SalBTreeMap<Shared, ()>, SalBTreeMap<u32, u32>, SalBTreeSet<Text>, SalBTreeMap<Wide, u8>, SalBTreeSet<u64>;
    shared_trees_read_the_same: CowMap<Text, Shared>, CowMap<u8, Wide>, CowMap<Shared, ()>, CowMap<u32, u32>, CowSet<Text>, CowMap<Wide, u8>, CowMap<u8, [Shared; 100]>;
    shared_hash_tables_read_the_same: CowHashMap<Text, Shared>, CowHashMap<u8, Wide>, CowHashMap<Shared, ()>, CowHashMap<u32, u32>, CowHashSet<Text>, CowHashMap<Wide, u8>, CowHashMap<u32, [u64; 8]>;
    shared_vectors_read_the_same: CowVec<Text>, CowVec<Shared>, CowVec<u8>, CowVec<Wide>, CowVec<[Shared; 20]>, CowVec<(u8, Shared)>;
    vectors_and_boxes_of_other_crates_read_the_same: AllocVec<Text, SalAlloc>, AllocVec<AllocVec<AllocBox<Tree, SalAlloc>, SalAlloc>, SalAlloc>, AllocBox<Tree, SalAlloc>, AllocVec<(), SalAlloc>, AllocBox<(), SalAlloc>, AllocBox<u8, SalAlloc>, SalHashMap<u8, AllocVec<Shared, SalAlloc>>;
    enums_arrays_and_tuples_read_the_same: Tree, Signed, Mixed, [Tree; 9], [[Shared; 5]; 2], (u8, Tree, Signed);
    mixes_read_the_same: SalHashMap<u64, CowMap<Text, SalVec<Tree>>>, CowHashMap<Text, CowVec<SalRc<[Tree]>>>, SalBTreeMap<Text, SalHashMap<u16, SalBox<Tree>>>, CowMap<u8, SalBTreeMap<u8, CowHashSet<Shared>>>;
}

#[test]
fn handles_are_the_heaps_new_name_in_heaps_of_either_ladder() {
    type Handles = (SalAlloc, AllocVec<[u8; 600], SalAlloc>, SalVec<[SalAlloc; 3]>);
    const HANDLES: Root<Handles> = Root::new("handles");
    let _alone = alone();
    for classes in [SizeClasses::default(), SizeClasses::fine()] {
        let (_directory, path) = fresh_path();
        let options = atomic().size_classes(classes);
        let heap = opened(&options, &path);
        let handle = heap.alloc();
        let mut vec = AllocVec::new_in(handle);
        vec.extend([[1; 600], [2; 600]]);
        let tx = heap.write().unwrap();
        tx.set_root(HANDLES, (handle, vec, [[handle; 3]; 5].into_iter().collect())).unwrap();
        drop(tx);
        let (heap, copy) = copied(heap, &options, &path);
        let twin = moved(&copy);
        let read = twin.read().unwrap();
        let (own, vec, more) = read.root(HANDLES).unwrap();
        assert!(twin.alloc() != handle && *own == twin.alloc() && *vec.allocator() == twin.alloc());
        assert!(more.len() == 5 && more.iter().flatten().all(|handle| *handle == twin.alloc()));
        assert_eq!((vec.len(), vec[1]), (2, [2; 600]));
        drop(read);
        unmap(twin);
        unmap(heap);
    }
}

#[test]
fn a_forked_child_finds_what_its_parent_has_moved() {
    const TEXTS: Root<SalVec<Shared>> = Root::new("texts");
    let _alone = alone();
    for mode in [Mode::Atomic, Mode::Shared] {
        let (_directory, path) = fresh_path();
        let options = HeapOptions::new().mode(mode);
        let heap = opened(&options, &path);
        let texts = || (0..100).map(|number: u64| SalRc::new(SalString::from(&*number.to_string())));
        heap.with_session(|tx| {
            tx.root_or_default(TEXTS)?.extend(texts());
            Ok(())
        })
        .unwrap();
        unmap(heap);
        // What is not moved leads nowhere.
        let in_the_way = InTheWay::of(&path);
        let twin = moved(&path);
        let kept: Vec<Shared> = twin.with_root(TEXTS, |texts| texts.iter().cloned().collect()).unwrap();
        let is_good = || kept.iter().zip(0_u64..).all(|(text, number)| text.parse() == Ok(number));
        // SAFETY: the child looks at memory and ends.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: as said.
            unsafe { libc::_exit(i32::from(!is_good())) };
        }
        let mut status = -1;
        // SAFETY: waits for the child.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert_eq!(status, 0, "{mode:?}");
        assert!(is_good());
        drop(kept);
        unmap(twin);
        drop(in_the_way);
    }
}

#[derive(Debug, Persist)]
#[repr(C)]
struct Friend {
    name: SalString,
    next: [Option<SalRc<Friend>>; 2],
}

#[test]
fn what_is_shared_is_shared_at_any_of_several_places_and_each_node_is_there_once() {
    const ENDS: Root<(SalRc<Friend>, SalRc<Friend>)> = Root::new("ends");
    const ALL: Root<SalVec<SalRc<Friend>>> = Root::new("all");
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let options = atomic();
    let heap = opened(&options, &path);
    let tx = heap.write().unwrap();
    let mut all: SalVec<SalRc<Friend>> = SalVec::new();
    for number in 0..200_usize {
        let next = [number.checked_sub(1), number.checked_sub(7)].map(|next| next.map(|next| all[next].clone()));
        all.push(heap.rc(Friend { name: SalString::from(&*number.to_string()), next }));
    }
    tx.set_root(ENDS, (all[199].clone(), all[150].clone())).unwrap();
    // Of another description than the one above.
    tx.set_root(ALL, all).unwrap();
    drop(tx);
    let (heap, copy) = copied(heap, &options, &path);
    let copies: Vec<PathBuf> = (0..3).map(|number| path.with_file_name(format!("{number}.sal"))).collect();
    copies.iter().for_each(|path| bytes::copy(&copy, path));
    let twins: Vec<Heap> = copies.iter().map(|path| moved(path)).collect();
    for (at, twin) in twins.iter().enumerate() {
        assert!(twins[..at].iter().all(|other| other.address_range() != twin.address_range()));
        let read = twin.read().unwrap();
        let (all, ends) = (read.root(ALL).unwrap(), read.root(ENDS).unwrap());
        assert!(SalRc::ptr_eq(&ends.0, &all[199]) && SalRc::ptr_eq(&ends.1, &all[150]));
        for (number, node) in all.iter().enumerate() {
            assert_eq!(node.name, *number.to_string());
            for (next, back) in node.next.iter().zip([1, 7]) {
                assert_eq!(next.is_some(), number >= back);
                assert!(next.as_ref().is_none_or(|next| SalRc::ptr_eq(next, &all[number - back])));
            }
        }
        is_whole(all, twin);
    }
    // What belongs to the file of one has nothing to do with the others.
    let addresses: Vec<*const Friend> =
        twins.iter().map(|twin| &raw const **twin.read().unwrap().root(ALL).unwrap().first().unwrap()).collect();
    assert!(addresses.windows(2).all(|pair| pair[0] != pair[1]));
    twins.into_iter().for_each(unmap);
    unmap(heap);
}

#[test]
fn shared_values_can_be_cloned_and_dropped_and_nothing_else_can_be_made() {
    const VALUES: Root<SalVec<Shared>> = Root::new("values");
    let _alone = alone();
    for mode in [Mode::Atomic, Mode::Shared] {
        let (_directory, path) = fresh_path();
        let options = HeapOptions::new().mode(mode);
        let heap = opened(&options, &path);
        heap.with_session(|tx| {
            tx.root_or_default(VALUES)?
                .extend((0..100).map(|number| SalRc::new(SalString::from(&*format!("{number}")))));
            Ok(())
        })
        .unwrap();
        let (heap, copy) = copied(heap, &options, &path);
        let before = bytes::hash(&copy);
        let twin = moved(&copy);
        let kept: Vec<Shared> = {
            let read = twin.read().unwrap();
            let values = read.root(VALUES).unwrap();
            for _ in 0..3 {
                drop(values.iter().map(SalRc::clone).collect::<Vec<_>>());
            }
            values.iter().map(SalRc::clone).collect()
        };
        assert!(kept.iter().enumerate().all(|(number, text)| **text == *number.to_string()));
        drop(kept);
        assert_eq!(twin.with_root(VALUES, |values| values.len()).unwrap(), 100);
        assert_eq!(twin.with_root(VALUES, |values| values[99].len()).unwrap(), 2);
        assert!(SalRc::try_new_in(1_u64, twin.alloc()).is_err());
        assert!(AllocVec::<u8, SalAlloc>::new_in(twin.alloc()).try_reserve(1).is_err());
        assert_eq!(twin.write().err(), Some(SessionError::ReadOnly));
        twin.close().unwrap();
        assert_eq!(bytes::hash(&copy), before);
        unmap(heap);
    }
}

#[test]
fn a_heap_that_was_closed_and_keeps_its_addresses_can_be_read_again() {
    const TEXTS: Root<SalVec<SalString>> = Root::new("texts");
    let _alone = alone();
    for mode in [Mode::Atomic, Mode::Shared] {
        let (_directory, path) = fresh_path();
        let options = HeapOptions::new().mode(mode);
        let heap = opened(&options, &path);
        heap.with_session(|tx| Ok(tx.root_or_default(TEXTS)?.push("first".into()))).unwrap();
        let kept = SalBox::leak(SalBox::new_in(11_u64, heap.alloc()));
        heap.close().unwrap();
        let twins = [0, 1].map(|_| moved(&path));
        assert!(twins[0].address_range() != twins[1].address_range());
        for twin in &twins {
            assert!(twin.with_root(TEXTS, |texts| texts.len() == 1 && texts[0] == "first").unwrap());
        }
        // A writer waits for its readers, wherever they are.
        let refused = support::heaps::open_with(&options, &path);
        assert!(matches!(refused, Err(OpenError::Locked { .. })), "{refused:?}");
        assert_eq!(*kept, 11);
        twins.into_iter().for_each(unmap);
    }
}

#[test]
fn what_looks_at_whole_heaps_works_in_one_that_was_moved_and_what_writes_does_not() {
    const STORE: Root<(SalVec<SalString>, CowMap<u64, Shared>)> = Root::new("store");
    let _alone = alone();
    for mode in [Mode::Atomic, Mode::Shared] {
        let (_directory, path) = fresh_path();
        let options = HeapOptions::new().mode(mode);
        let heap = opened(&options, &path);
        heap.with_session(|tx| {
            let (texts, map) = tx.root_or_default(STORE)?;
            texts.extend((0..100).map(|number: u64| SalString::from(&*number.to_string())));
            (0..100).for_each(|key| drop(map.insert(key, SalRc::new("shared".into()))));
            std::mem::forget(heap.rc_str("lost"));
            Ok(())
        })
        .unwrap();
        let (heap, copy) = copied(heap, &options, &path);
        let twin = moved(&copy);
        assert!(twin.verify().is_good(), "{}", twin.verify());
        // SAFETY: nobody else uses the heap.
        assert!(matches!(unsafe { twin.collect() }, Err(CollectError::ReadOnly)));
        assert!(matches!(twin.sync(), Err(SyncError::ReadOnly)));
        let snapshot = path.with_file_name("snapshot.sal");
        assert!(twin.snapshot_to(&snapshot).is_err() && !snapshot.exists());
        let first = twin.with_root(STORE, |store| store.0[7].as_ptr().addr()).unwrap();
        assert_eq!(twin.locate(first).unwrap().start, first);
        // What leads nowhere in its own place does not here, either.
        unmap(heap);
        let home = opened(&HeapOptions::new().read_only(true), &copy);
        let [here, there] = [&twin, &home].map(|heap| {
            // SAFETY: as above.
            let report = unsafe { heap.leak_report() }.unwrap();
            (report.blocks, report.bytes)
        });
        assert!(here.0 > 0);
        assert_eq!(here, there);
        [twin, home].into_iter().for_each(unmap);
    }
}

#[test]
fn versions_are_there_and_differ_as_they_did() {
    type State = (CowMap<u64, SalString>, CowHashMap<SalString, u64>, CowVec<SalRc<str>>);
    const STATE: Root<State> = Root::new("state");
    let _alone = alone();
    for mode in [Mode::Atomic, Mode::Shared] {
        let (_directory, path) = fresh_path();
        let options = HeapOptions::new().mode(mode);
        let heap = opened(&options, &path);
        heap.set_root(STATE, State::default()).unwrap();
        for version in 0..8_u64 {
            heap.with_root_mut(STATE, |(map, table, vec)| {
                for key in 0..50 {
                    let text = SalString::from(&*format!("{version} {key}"));
                    map.insert(version * 31 + key, text.clone());
                    table.insert(text, key);
                    vec.push(SalRc::from("text"));
                }
            })
            .unwrap();
            heap.keep_version(STATE, &version.to_string()).unwrap();
        }
        let (heap, copy) = copied(heap, &options, &path);
        let twin = moved(&copy);
        let names = heap.versions(STATE).unwrap();
        assert_eq!((twin.versions(STATE).unwrap(), names.len()), (names.clone(), 8));
        for name in &names {
            let [original, moved]: [State; 2] = [&heap, &twin].map(|heap| heap.open_version(STATE, name).unwrap());
            assert_eq!(format!("{moved:?}"), format!("{original:?}"));
        }
        let read = twin.read().unwrap();
        let (first, second) = (read.version(STATE, "0").unwrap(), read.version(STATE, "1").unwrap());
        assert_eq!(first.0.diff(&second.0).count(), 50);
        assert_eq!(first.2.len() + 50, second.2.len());
        drop(read);
        unmap(twin);
        unmap(heap);
    }
}

#[test]
fn an_offset_leads_to_the_value_at_its_new_place() {
    type Places = (SalVec<u64>, SalVec<Offset<u64>>, Option<Offset<u64>>);
    const PLACE: Root<Places> = Root::new("place");
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let options = atomic();
    let heap = opened(&options, &path);
    let tx = heap.write().unwrap();
    let numbers: SalVec<u64> = (0..100).map(|number| number * number).collect();
    let offsets: SalVec<_> = numbers.iter().map(|number| Offset::of(heap.alloc(), number).unwrap()).collect();
    let last = offsets.last().copied();
    tx.set_root(PLACE, (numbers, offsets, last)).unwrap();
    drop(tx);
    let (heap, copy) = copied(heap, &options, &path);
    let twin = moved(&copy);
    let read = twin.read().unwrap();
    let (numbers, offsets, last) = read.root(PLACE).unwrap();
    for (number, offset) in numbers.iter().zip(offsets) {
        assert_eq!(offset.to_ptr(twin.alloc()).unwrap().as_ptr().cast_const(), &raw const *number);
    }
    assert_eq!(*last, offsets.last().copied());
    drop(read);
    unmap(twin);
    unmap(heap);
}

#[derive(Persist)]
#[repr(C)]
struct Link {
    text: SalString,
    next: Option<SalBox<Link>>,
}

#[test]
fn a_list_of_a_million_links_needs_no_deep_stack() {
    const LIST: Root<Option<SalBox<Link>>> = Root::new("list");
    const LINKS: u64 = 1_000_000;
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let options = atomic();
    let heap = opened(&options, &path);
    let tx = heap.write().unwrap();
    let mut list = None;
    for number in 0..LINKS {
        let text = if number % 1000 == 0 { SalString::from("thousand") } else { SalString::new() };
        list = Some(heap.boxed(Link { text, next: list }));
    }
    tx.set_root(LIST, list).unwrap();
    drop(tx);
    let (heap, copy) = copied(heap, &options, &path);
    let twin = std::thread::Builder::new().stack_size(512 << 10).spawn(move || moved(&copy)).unwrap().join().unwrap();
    let read = twin.read().unwrap();
    let (mut at, mut links, mut thousands) = (read.root(LIST).unwrap().as_ref(), 0, 0);
    while let Some(link) = at {
        links += 1;
        thousands += u64::from(link.text == "thousand");
        at = link.next.as_ref();
    }
    assert_eq!((links, thousands), (LINKS, LINKS / 1000));
    drop(read);
    unmap(twin);
    unmap(heap);
}

#[test]
fn an_atomic_heap_that_was_not_closed_is_moved_with_what_its_log_holds() {
    type Store = (SalHashMap<u64, SalString>, CowMap<u64, Shared>);
    const STORE: Root<Store> = Root::new("store");
    if let Some((_, path)) = process::role() {
        let heap = opened(&atomic(), &path);
        for round in 0..3_u64 {
            let tx = heap.write().unwrap();
            let (table, map) = tx.root_or_default(STORE).unwrap();
            for key in round * 100..round * 100 + 100 {
                let text = SalString::from(&*format!("{key}"));
                table.insert(key, text.clone());
                map.insert(key, SalRc::new(text));
            }
            tx.sync().unwrap();
        }
        heap.with_root_mut(STORE, |store| store.0.insert(9999, SalString::from("lost"))).unwrap();
        wait_for_the_kill();
    }
    let _alone = alone();
    let (_directory, path) = fresh_path();
    run_and_kill("an_atomic_heap_that_was_not_closed_is_moved_with_what_its_log_holds", "fill", &path);
    let before = [bytes::hash(&path), bytes::hash(&log_of(&path))];
    let in_the_way = InTheWay::of(&path);
    let heap = moved(&path);
    let read = heap.read().unwrap();
    let store = read.root(STORE).unwrap();
    assert_eq!((store.0.len(), store.1.len()), (300, 300));
    for key in 0..300 {
        assert_eq!(store.0[&key], *key.to_string());
        assert_eq!(**store.1.get(&key).unwrap(), *key.to_string());
    }
    is_whole(store, &heap);
    drop(read);
    unmap(heap);
    assert_eq!([bytes::hash(&path), bytes::hash(&log_of(&path))], before);
    drop(in_the_way);
    // It is still what it was.
    let heap = opened(&atomic(), &path);
    assert_eq!(heap.with_root(STORE, |store| store.0.len()).unwrap(), 300);
    unmap(heap);
}

#[test]
fn a_heap_whose_addresses_are_free_stays_there_and_one_of_several_windows_moves_as_a_whole() {
    const BIG: Root<SalVec<SalVec<u8>>> = Root::new("big");
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let options = atomic().capacity(200 << 30);
    let heap = opened(&options, &path);
    let tx = heap.write().unwrap();
    tx.root_or_default(BIG)
        .unwrap()
        .extend((0..3).map(|byte| std::iter::repeat_n(byte, 3 << 20).collect::<SalVec<u8>>()));
    drop(tx);
    unmap(heap);
    let hash = bytes::hash(&path);
    let heap = relocated(&path).unwrap();
    assert!(!heap.is_relocated() && heap.address_range().start == home(&path));
    unmap(heap);
    let in_the_way = InTheWay::of(&path);
    let refused = support::heaps::open_with(&HeapOptions::new().read_only(true), &path);
    assert!(matches!(refused, Err(OpenError::AddressTaken { .. })));
    assert!(refused.unwrap_err().to_string().contains("open_relocated"));
    let heap = moved(&path);
    assert!(
        heap.with_root(BIG, |big| big.iter().zip(0_u8..).all(|(vec, byte)| vec.iter().all(|&is| is == byte))).unwrap()
    );
    assert_eq!(heap.with_root(BIG, |big| big.len()).unwrap(), 3);
    unmap(heap);
    drop(in_the_way);
    assert_eq!(bytes::hash(&path), hash);
    assert!(matches!(relocated(&path.with_file_name("none")), Err(OpenError::Os { .. })));
}

#[derive(Persist)]
#[persist(same_build)]
enum Chosen {
    Number(u64),
    #[expect(dead_code, reason = "what makes a value of the type unknown")]
    Text(SalString),
}

/// A container of a program's own.
#[repr(transparent)]
struct Own(SalVec<u64>);

// SAFETY: the vector that it is; its id is its own.
unsafe impl Persist for Own {
    const OWNS_BLOCKS: bool = true;
    fn describe(_: &mut Describer) -> Node {
        Node::container::<Self>(0x55D1_90AB_3C4E_8F07, "Own", 1, Vec::new())
    }
    fn visit_blocks(&self, visitor: &mut BlockVisitor<'_>) {
        self.0.visit_blocks(visitor);
    }
}

fn refusal<T: Persist>(heap: &Heap, root: Root<T>) -> String {
    match heap.with_root(root, |_| ()) {
        Err(RootError::NotMoved { reason, .. }) => reason.to_owned(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn roots_that_may_hold_pointers_nobody_knows_of_are_refused_and_the_others_work() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let options = atomic();
    let heap = opened(&options, &path);
    let tx = heap.write().unwrap();
    let text = heap.rc(SalString::from("shared"));
    let address = &raw const *text as usize as u64;
    tx.set_root(Root::new("own"), (Own((0..9).collect()), text.clone())).unwrap();
    tx.set_root(Root::new("chosen"), [Chosen::Number(7), Chosen::Number(8)]).unwrap();
    tx.set_root(Root::new("no chosen"), (SalVec::<Chosen>::new(), text.clone())).unwrap();
    tx.set_root(Root::new("address"), (Address(address), text.clone())).unwrap();
    tx.set_root(Root::new("number"), (Address(!address), address, text.clone())).unwrap();
    tx.set_root(Root::new("text"), text).unwrap();
    drop(tx);
    let (heap, copy) = copied(heap, &options, &path);
    let twin = moved(&copy);
    let own = refusal(&twin, Root::<(Own, Shared)>::new("own"));
    assert!(own.contains("not known"), "{own}");
    let chosen = refusal(&twin, Root::<[Chosen; 2]>::new("chosen"));
    assert!(chosen.contains("compiler"), "{chosen}");
    let leaf = refusal(&twin, Root::<(Address, Shared)>::new("address"));
    assert!(leaf.contains("leaf"), "{leaf}");
    let read = twin.read().unwrap();
    let text = read.root(Root::<Shared>::new("text")).unwrap();
    assert_eq!(**text, "shared");
    let number = read.root(Root::<(Address, u64, Shared)>::new("number")).unwrap();
    assert!((number.0.0, number.1) == (!address, address) && SalRc::ptr_eq(&number.2, text));
    let empty = read.root(Root::<(SalVec<Chosen>, Shared)>::new("no chosen")).unwrap();
    assert!(empty.0.is_empty() && SalRc::ptr_eq(&empty.1, text));
    // They are all listed, and asking for another type is what it always was.
    assert_eq!(read.roots().unwrap().len(), 6);
    assert!(matches!(read.root(Root::<u64>::new("text")), Err(RootError::OtherType { .. })));
    assert!(matches!(read.root(Root::<u64>::new("none")), Err(RootError::NotFound { .. })));
    drop(read);
    unmap(twin);
    // In its own place nothing is the matter.
    unmap(heap);
    let heap = relocated(&copy).unwrap();
    assert_eq!(heap.with_root(Root::<(Own, Shared)>::new("own"), |own| own.0.0.len()).unwrap(), 9);
    unmap(heap);
}

/// A heap with three roots that share a text, the second of which is to be damaged; where its value lies in the file.
struct Damaged {
    _directory: tempfile::TempDir,
    heap: Heap,
    copy: PathBuf,
    value: u64,
    text: u64,
}

const FIRST: Root<SalVec<Shared>> = Root::new("first");
const LAST: Root<(Shared, SalBTreeMap<u64, SalString>)> = Root::new("last");

fn damaged<T: Persist>(key: Root<T>, make: impl FnOnce(&Heap, &Shared) -> T) -> Damaged {
    let (directory, path) = fresh_path();
    let options = atomic();
    let heap = opened(&options, &path);
    let tx = heap.write().unwrap();
    let text = heap.rc(SalString::from("shared"));
    tx.set_root(FIRST, [text.clone(), text.clone()].into_iter().collect()).unwrap();
    tx.set_root(key.clone(), make(&heap, &text)).unwrap();
    let tree = (0..200).map(|key| (key, SalString::from("value"))).collect();
    tx.set_root(LAST, (text.clone(), tree)).unwrap();
    let start = heap.address_range().start;
    let value = (std::ptr::from_ref(tx.root(key).unwrap()).addr() - start) as u64;
    let text = ((&raw const *text).addr() - start) as u64;
    drop(tx);
    let (heap, copy) = copied(heap, &options, &path);
    Damaged { _directory: directory, heap, copy, value, text }
}

impl Damaged {
    /// Puts a word into the value of the middle root.
    fn put(&self, at: u64, word: u64) {
        bytes::write(&self.copy, self.value + at, &word.to_le_bytes());
    }

    fn word(&self, at: u64) -> u64 {
        bytes::word(&bytes::read(&self.copy, at, 8), 0)
    }

    /// The others are whole, and the middle one is refused.
    fn check<T: Persist>(&self, key: Root<T>) {
        let twin = moved(&self.copy);
        let reason = refusal(&twin, key);
        assert!(reason.contains("cannot be"), "{reason}");
        let read = twin.read().unwrap();
        let (first, last) = (read.root(FIRST).unwrap(), read.root(LAST).unwrap());
        assert!(first.len() == 2 && SalRc::ptr_eq(&first[0], &last.0) && **last.0 == *"shared");
        assert!(last.1.len() == 200 && last.1.values().all(|value| value == "value"));
        is_whole(first, &twin);
        is_whole(last, &twin);
        drop(read);
        unmap(twin);
    }
}

#[test]
fn pointers_that_cannot_be_refuse_their_root_alone() {
    type Middle = (SalBox<[u64; 4]>, SalVec<Shared>, Shared);
    const MIDDLE: Root<Middle> = Root::new("middle");
    let _alone = alone();
    let case = damaged(MIDDLE, |heap, text| {
        (heap.boxed([7; 4]), [text.clone(), text.clone(), heap.rc("own".into())].into_iter().collect(), text.clone())
    });
    let whole: Vec<u64> = (0..5).map(|word| case.word(case.value + word * 8)).collect();
    let home = case.heap.address_range().start as u64;
    let elements = whole.iter().position(|&word| word != 0 && word % 2 == 0 && word > home).unwrap();
    let boxed = whole.iter().position(|&word| word % 2 == 1 && word > home && word != home + case.text + 1).unwrap();
    let shared = whole.iter().position(|&word| word == home + case.text + 1).unwrap();
    let at = |word: usize| word as u64 * 8;
    let wrong = [
        (at(boxed), 1, "below all heaps"),
        (at(boxed), u64::MAX, "above all"),
        (at(boxed), whole[boxed] - 1, "not counted"),
        (at(boxed), whole[boxed] + 16, "inside a block"),
        (at(boxed), home + 1, "the header"),
        (at(boxed), home + case.value + 1, "a root's value"),
        (at(boxed), home + (8 << 30) + 1, "behind the end"),
        (at(shared), whole[shared] + (1 << 36), "another window"),
        (at(elements), whole[shared], "a counted block"),
        (at(elements), whole[shared] - 1, "a block that is shared"),
        (at(elements), whole[boxed] - 1, "a block that has an owner"),
        (at(elements), 0, "none, with a length"),
        (at(elements), home + case.value, "the value itself"),
        (at(elements + 1), 1000, "more elements than there is room for"),
        (at(elements + 1), u64::MAX / 4, "more than there can be"),
    ];
    for (at, word, what) in wrong {
        println!("{what}");
        let was = case.word(case.value + at);
        case.put(at, word);
        case.check(MIDDLE);
        case.put(at, was);
    }
    // Nothing else was wrong.
    let twin = moved(&case.copy);
    assert_eq!(twin.with_root(MIDDLE, |middle| (*middle.0, middle.1.len())).unwrap(), ([7; 4], 3));
    unmap(twin);
    unmap(case.heap);
}

#[test]
fn tags_lengths_and_handles_that_cannot_be_refuse_their_root_alone() {
    let _alone = alone();
    const TREE: Root<Tree> = Root::new("tree");
    let case = damaged(TREE, |heap, _| Tree::Shared { number: 1, node: heap.rc(Tree::Text("leaf".into())) });
    case.put(0, case.word(case.value) | 0xEE);
    case.check(TREE);
    unmap(case.heap);

    const TABLE: Root<SalHashMap<u64, SalString>> = Root::new("table");
    let case = damaged(TABLE, |_, _| (0..50).map(|key| (key, "text".into())).collect());
    for slots in [3, 4096, 1 << 47, u64::MAX] {
        let was = case.word(case.value + 8);
        case.put(8, slots);
        case.check(TABLE);
        case.put(8, was);
    }
    unmap(case.heap);

    const NUMBERS: Root<AllocVec<u64, SalAlloc>> = Root::new("numbers");
    let case = damaged(NUMBERS, |heap, _| {
        let mut numbers = AllocVec::new_in(heap.alloc());
        numbers.extend(0..9);
        numbers
    });
    let window = u64::from(bytes::half_word(&bytes::newest(&case.copy), header::WINDOW));
    let handle = (0..4).find(|&word| case.word(case.value + word * 8) & 0xFFFF_FFFF == window).unwrap();
    for name in [0, 1, window + 1, window | 1 << 31] {
        case.put(handle * 8, name);
        case.check(NUMBERS);
    }
    unmap(case.heap);

    const TEXTS: Root<(SalString, SalRc<str>, SalRc<[u64]>)> = Root::new("texts");
    let case = damaged(TEXTS, |heap, _| ("text".into(), heap.rc_str("text"), heap.rc_slice([1_u64, 2, 3])));
    let home = case.heap.address_range().start as u64;
    for word in 0..5 {
        let at = case.value + word * 8;
        let was = case.word(at);
        // A length, or what begins with one.
        let place = match was {
            0..100 => at,
            pointer if pointer % 2 == 1 => pointer - 1 - home,
            _ => continue,
        };
        let was = bytes::read(&case.copy, place, 8);
        if bytes::word(&was, 0) < 100 {
            bytes::write(&case.copy, place, &(1_u64 << 20).to_le_bytes());
            let is_capacity = place == at && bytes::word(&was, 0) > 4;
            if !is_capacity {
                case.check(TEXTS);
            }
            bytes::write(&case.copy, place, &was);
        }
    }
    unmap(case.heap);
}

#[test]
fn a_block_has_one_owner_and_one_type() {
    type Owners = (SalVec<Shared>, SalVec<Shared>, SalVec<u64>);
    const OWNERS: Root<Owners> = Root::new("owners");
    let _alone = alone();
    let case = damaged(OWNERS, |_, text| {
        let shared = || [text.clone(), text.clone()].into_iter().collect::<SalVec<Shared>>();
        (shared(), shared(), [1, 2].into_iter().collect())
    });
    let home = case.heap.address_range().start as u64;
    let vectors: Vec<u64> = (0..9).filter(|&word| case.word(case.value + word * 8) > home).collect();
    let blocks: Vec<u64> = vectors.iter().map(|&word| case.word(case.value + word * 8)).collect();
    assert_eq!(blocks.len(), 3);
    for (from, to) in [(0, 1), (1, 0), (0, 2), (2, 0), (2, 1)] {
        case.put(vectors[from] * 8, blocks[to]);
        case.check(OWNERS);
        case.put(vectors[from] * 8, blocks[from]);
    }
    unmap(case.heap);

    // Blocks of one size, one of which has a pointer in it.
    type Types = (SalRc<(u64, SalString)>, SalRc<[u64; 4]>);
    const TYPES: Root<Types> = Root::new("types");
    let case = damaged(TYPES, |heap, _| (heap.rc((7, "text".into())), heap.rc([7; 4])));
    let words = [0, 8].map(|at| case.word(case.value + at));
    for at in [0, 1] {
        case.put(at as u64 * 8, words[1 - at]);
        case.check(TYPES);
        case.put(at as u64 * 8, words[at]);
    }
    unmap(case.heap);
}

#[test]
fn a_free_block_is_nobodys() {
    const BOXED: Root<(SalVec<[u64; 40]>, Shared)> = Root::new("boxed");
    let _alone = alone();
    let (_directory, path) = fresh_path();
    // Its state says which blocks are free.
    let options = HeapOptions::new().mode(Mode::Shared);
    let heap = opened(&options, &path);
    let tx = heap.write().unwrap();
    let boxes: SalVec<SalVec<[u64; 40]>> = (0..20).map(|number| [[number; 40]].into_iter().collect()).collect();
    let start = heap.address_range().start;
    let (kept, freed) = (boxes[3].clone(), boxes[5].as_ptr().addr());
    tx.set_root(Root::new("boxes"), boxes).unwrap();
    tx.set_root(BOXED, (kept, heap.rc("text".into()))).unwrap();
    let value = std::ptr::from_ref(tx.root(BOXED).unwrap()).addr() - start;
    drop(tx.root_mut(Root::<SalVec<SalVec<[u64; 40]>>>::new("boxes")).unwrap().remove(5));
    drop(tx);
    let (heap, copy) = copied(heap, &options, &path);
    // Of the two pointers the one that is not counted.
    let at = (0..4).map(|word| (value + word * 8) as u64).find(|&at| {
        let word = bytes::word(&bytes::read(&copy, at, 8), 0);
        word > start as u64 && word % 2 == 0
    });
    bytes::write(&copy, at.unwrap(), &(freed as u64).to_le_bytes());
    let twin = moved(&copy);
    assert!(refusal(&twin, BOXED).contains("cannot be"));
    let boxes = Root::<SalVec<SalVec<[u64; 40]>>>::new("boxes");
    assert_eq!(twin.with_root(boxes, |boxes| boxes.iter().map(|vec| vec[0][39]).sum::<u64>()).unwrap(), 185);
    unmap(twin);
    unmap(heap);
}

#[test]
fn a_root_that_shares_with_a_damaged_one_is_whole_whichever_comes_first() {
    type Version = CowMap<u64, Shared>;
    let key = |number: usize| Root::<(Version, SalVec<SalBox<Tree>>)>::class(number as u64);
    let _alone = alone();
    let mut random = Random(support::seed(SEED));
    let (_directory, path) = fresh_path();
    let options = atomic();
    let heap = opened(&options, &path);
    let tx = heap.write().unwrap();
    let mut map: Version = (0..2000).map(|key| (key, heap.rc(SalString::from(&*format!("{key}"))))).collect();
    let mut places = Vec::new();
    for number in 0..20 {
        for _ in 0..10 {
            map.insert(random.next() % 2000, heap.rc("new".into()));
        }
        let own = (0..4).map(|_| heap.boxed(Tree::Text("own".into()))).collect();
        tx.set_root(key(number), (map.clone(), own)).unwrap();
        let value = tx.root(key(number)).unwrap();
        places.push((value.1.as_ptr().addr() - heap.address_range().start) as u64);
    }
    drop((map, tx));
    let (heap, copy) = copied(heap, &options, &path);
    for round in 0..10 {
        let bad: Vec<usize> = (0..20).filter(|_| random.below(10) < round).collect();
        let copy_of_copy = path.with_file_name("damaged.sal");
        bytes::copy(&copy, &copy_of_copy);
        for &number in &bad {
            bytes::write(&copy_of_copy, places[number] + 8 * random.below(4) as u64, &0x1234_5670_u64.to_le_bytes());
        }
        let twin = moved(&copy_of_copy);
        let (read, original) = (twin.read().unwrap(), heap.read().unwrap());
        for number in 0..20 {
            match read.root(key(number)) {
                Ok(value) => {
                    assert!(!bad.contains(&number));
                    is_whole(value, &twin);
                    assert_eq!(format!("{value:?}"), format!("{:?}", original.root(key(number)).unwrap()));
                }
                Err(RootError::NotMoved { .. }) => assert!(bad.contains(&number), "{number} of {bad:?}"),
                Err(error) => panic!("{error}"),
            }
        }
        drop((read, original));
        unmap(twin);
    }
    unmap(heap);
}

#[test]
fn whatever_bytes_a_file_has_it_is_opened_or_refused() {
    type Everything = (
        (SalVec<Tree>, SalHashMap<SalString, Shared>, SalBTreeMap<u64, SalVec<Tree>>),
        (CowMap<u64, Shared>, CowHashMap<SalString, Tree>, CowVec<SalRc<[Tree]>>),
        AllocVec<AllocBox<Tree, SalAlloc>, SalAlloc>,
    );
    let key = |number: usize| Root::<Everything>::class(number as u64);
    let _alone = alone();
    let seed = support::seed(SEED);
    println!("SAL_TEST_SEED={seed}");
    let mut random = Random(seed);
    for mode in [Mode::Atomic, Mode::Shared] {
        let (_directory, path) = fresh_path();
        let options = HeapOptions::new().mode(mode);
        let heap = opened(&options, &path);
        let tx = heap.write().unwrap();
        for number in 0..6 {
            tx.set_root(key(number), Everything::sample(&mut random, &heap)).unwrap();
        }
        drop(tx);
        let (heap, copy) = copied(heap, &options, &path);
        let pages = bytes::pages(&copy);
        let (mut opened, mut refused, mut handed_out) = (0, 0, 0);
        for _ in 0..150 {
            let mut changed = Vec::new();
            for _ in 0..1 + random.below(4) {
                let (at, page) = &pages[random.below(pages.len())];
                // Mostly where words are.
                let full: Vec<usize> = (0..page.len()).filter(|&byte| page[byte] != 0).collect();
                let byte = full[random.below(full.len())];
                let place = at + byte as u64;
                changed.push((place, bytes::read(&copy, place, 1)));
                bytes::write(&copy, place, &[random.next() as u8]);
            }
            match relocated(&copy) {
                Ok(twin) => {
                    opened += 1;
                    let read = twin.read().unwrap();
                    for number in 0..6 {
                        match read.root(key(number)) {
                            Ok(_) => handed_out += 1,
                            Err(_) => refused += 1,
                        }
                    }
                    drop(read);
                    unmap(twin);
                }
                Err(error) => drop(error.to_string()),
            }
            for (place, was) in changed.into_iter().rev() {
                bytes::write(&copy, place, &was);
            }
        }
        println!("{mode:?}: opened {opened}, refused {refused}, handed out {handed_out}");
        assert!(opened > 20 && refused > 0 && handed_out > refused);
        let twin = moved(&copy);
        let (read, original) = (twin.read().unwrap(), heap.read().unwrap());
        for number in 0..6 {
            let (value, original) = (read.root(key(number)).unwrap(), original.root(key(number)).unwrap());
            assert_eq!(format!("{value:?}"), format!("{original:?}"));
        }
        drop((read, original));
        unmap(twin);
        unmap(heap);
    }
}
