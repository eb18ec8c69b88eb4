//! Heaps that are read at other addresses than their own: everything that their roots lead to is there, at whatever place, what is
//! shared stays shared, and no byte of a file changes.
#![allow(unsafe_code)]

#[path = "support/relocated.rs"]
mod relocated;
#[path = "support/sample.rs"]
mod sample;
mod support;

use allocator_api2::boxed::Box as AllocBox;
use allocator_api2::vec::Vec as AllocVec;
use relocated::{InTheWay, atomic, copied, home, is_whole, moved, relocated};
use sal::collections::{CowHashMap, CowHashSet, CowMap, CowSet, CowVec, SalBTreeSet};
use sal::prelude::*;
use sal::{
    CollectError, Handle, HeapOptions, Mode, Offset, OpenError, SalBox, SalCollect, SalVersions, SessionError,
    SizeClasses, SyncError,
};
use sample::{Mixed, Sample, Signed, Tree, Wide};
use std::fmt::Debug;
use std::num::NonZero;
use std::path::PathBuf;
use support::bytes;
use support::heaps::{log_of, opened, resident, run_and_kill, unmap, wait_for_the_kill};
use support::{Random, alone, fresh_path, process};

const SEED: u64 = 0x4E10_CA7E;

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
    values_that_move_read_the_same: Handle<Text>, Handle<u8>, Handle<()>, Handle<[Shared]>, Handle<str>, Option<Handle<str>>, Handle<Handle<SalVec<Tree>>>, Handle<(Text, Handle<[Text]>)>, SalRc<Handle<u64>>, CowMap<Text, Handle<SalHashMap<u8, Shared>>>, Handle<[[u64; 9]]>;
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
        heap.set_root(TEXTS, SalVec::new()).unwrap();
        heap.with_root_mut(TEXTS, |texts| texts.push("first".into())).unwrap();
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
fn a_shared_heap_that_was_not_closed_is_refused_as_it_is_in_its_own_place() {
    const NUMBERS: Root<CowVec<u64>> = Root::new("numbers");
    let options = HeapOptions::new().mode(Mode::Shared);
    if let Some((_, path)) = process::role() {
        let heap = opened(&options, &path);
        heap.set_root(NUMBERS, CowVec::new()).unwrap();
        heap.with_root_mut(NUMBERS, |numbers| numbers.extend(0..100)).unwrap();
        heap.sync().unwrap();
        wait_for_the_kill();
    }
    let _alone = alone();
    let (_directory, path) = fresh_path();
    run_and_kill("a_shared_heap_that_was_not_closed_is_refused_as_it_is_in_its_own_place", "fill", &path);
    let before = bytes::hash(&path);
    let in_the_way = InTheWay::of(&path);
    assert!(matches!(relocated(&path), Err(OpenError::Unclean)));
    // SAFETY: it is only looked at whether this is refused, because the file would have to be changed.
    let accepting = unsafe { options.clone().accept_unclean() };
    // SAFETY: as said.
    assert!(unsafe { accepting.open_relocated(&path) }.is_err());
    assert_eq!(bytes::hash(&path), before);
    drop(in_the_way);
    unmap(opened(&options, &path));
    let _in_the_way = InTheWay::of(&path);
    let heap = moved(&path);
    assert_eq!(heap.with_root(NUMBERS, |numbers| numbers.iter().sum::<u64>()).unwrap(), 4950);
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
    // What holds no pointers was not even read.
    assert!(resident(&heap) < 4 << 20, "{}", resident(&heap));
    assert!(
        heap.with_root(BIG, |big| big.iter().zip(0_u8..).all(|(vec, byte)| vec.iter().all(|&is| is == byte))).unwrap()
    );
    assert_eq!(heap.with_root(BIG, |big| big.len()).unwrap(), 3);
    unmap(heap);
    drop(in_the_way);
    assert_eq!(bytes::hash(&path), hash);
    assert!(matches!(relocated(&path.with_file_name("none")), Err(OpenError::Os { .. })));
}
