//! Roots: tags, types, borrows, and every error.
#![allow(unsafe_code)]

mod support;

use allocator_api2::boxed::Box as SalBox;
use allocator_api2::vec::Vec as SalVector;
use sal::collections::{SalString, SalVec};
use sal::{Heap, HeapOptions, Persist, Root, RootError, SalAlloc, SalRoots, SessionError, Tag};
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Barrier;
use support::heaps::{open, unmap};
use support::{alone, fresh_path};

fn volatile() -> Heap {
    HeapOptions::new().volatile().unwrap()
}

const NUMBER: Root<u64> = Root::new("number");
const TEXT: Root<SalString> = Root::new("text");
const CLASS: Root<u64> = Root::class(0xC1A55);

#[test]
fn a_root_that_is_missing_is_not_found_by_any_of_its_tags() {
    let heap = volatile();
    let tx = heap.write().unwrap();
    let id = tx.add_root(NUMBER, 1).unwrap();
    tx.take_root(NUMBER).unwrap();
    for key in [NUMBER, CLASS, Root::id(id)] {
        let text = key.to_string();
        let missing =
            |outcome: Option<RootError>| assert_eq!(outcome, Some(RootError::NotFound { root: text.clone() }));
        missing(tx.root(key.clone()).err());
        missing(tx.root_mut(key.clone()).err());
        missing(tx.take_root(key.clone()).err());
        missing(tx.forget_root(key.tag().clone()).err());
        missing(heap.read().unwrap().root(key).err());
    }
    assert_eq!(tx.set_root(Root::id(id), 5), Err(RootError::NotFound { root: id.to_string() }));
    assert_eq!(tx.add_root(Root::id(id), 5), Err(RootError::NotFound { root: id.to_string() }));
    assert!(tx.roots().unwrap().is_empty());
}

#[test]
fn set_root_gives_the_old_value_back_and_take_root_frees_everything() {
    let heap = volatile();
    let tx = heap.write().unwrap();
    let empty = heap.stats().live_bytes;
    assert_eq!(tx.set_root(TEXT, SalString::from("one")).unwrap().as_deref(), None);
    assert_eq!(tx.set_root(TEXT, SalString::from("two")).unwrap().as_deref(), Some("one"));
    assert_eq!(tx.root(TEXT).unwrap().as_str(), "two");
    drop(tx);
    let tx = heap.write().unwrap();
    assert_eq!(tx.take_root(TEXT).unwrap().as_str(), "two");
    assert_eq!(heap.stats().live_bytes, empty);
    tx.set_root(TEXT, SalString::from("lost")).unwrap();
    let before = heap.stats().live_bytes;
    tx.forget_root(TEXT.tag().clone()).unwrap();
    let text_and_value = before - heap.stats().live_bytes;
    assert!(text_and_value <= 16, "only the name is freed");
    assert!(matches!(tx.root(TEXT), Err(RootError::NotFound { .. })));
}

#[test]
fn several_roots_of_one_tag_are_found_oldest_first_and_each_by_its_number() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let heap = open(&path);
    let tx = heap.write().unwrap();
    let ids: Vec<_> = (0..5).map(|value| tx.add_root(CLASS, value).unwrap()).collect();
    tx.add_root(NUMBER, 100).unwrap();
    assert!(ids.is_sorted());
    assert_eq!(tx.take_root(CLASS), Ok(0));
    assert_eq!(tx.take_root(Root::<u64>::id(ids[2])), Ok(2));
    let newest = tx.add_root(CLASS, 9).unwrap();
    assert!(newest > ids[4], "a number is never given out again");
    drop(tx);
    unmap(heap);

    let heap = open(&path);
    let roots = heap.roots().unwrap();
    let found: Vec<_> =
        roots.iter().map(|info| (info.id, info.tag.clone(), info.type_name.as_str(), info.len)).collect();
    let class = Tag::Class(0xC1A55);
    let expected = [
        (ids[1], class.clone()),
        (ids[3], class.clone()),
        (ids[4], class.clone()),
        (roots[3].id, NUMBER.tag().clone()),
        (newest, class),
    ];
    assert_eq!(found, expected.map(|(id, tag)| (id, tag, "u64", 8)));
    let session = heap.read().unwrap();
    assert_eq!(session.root(CLASS), Ok(&1));
    assert_eq!(session.root(Root::<u64>::id(newest)), Ok(&9));
    drop(session);
    unmap(heap);
}

#[test]
fn a_root_is_busy_for_everyone_else_while_a_session_has_it() {
    let heap = volatile();
    heap.write().unwrap().set_root(NUMBER, 1).unwrap();
    let busy = |by_this_session| Some(RootError::RootBusy { root: "\"number\"".into(), by_this_session });

    let tx = heap.write().unwrap();
    *tx.root_mut(NUMBER).unwrap() = 2;
    assert_eq!(tx.root_mut(NUMBER).err(), busy(true));
    assert_eq!(tx.root(NUMBER).err(), busy(true));
    assert_eq!(tx.set_root(NUMBER, 3).err(), busy(true));
    assert_eq!(tx.take_root(NUMBER).err(), busy(true));
    assert_eq!(tx.forget_root(NUMBER.tag().clone()).err(), busy(true));
    assert_eq!(tx.root_or_default(NUMBER).err(), busy(true));
    std::thread::scope(|scope| {
        scope
            .spawn(|| {
                assert_eq!(heap.read().unwrap().root(NUMBER).err(), busy(false));
                assert_eq!(heap.write().unwrap().root_mut(NUMBER).err(), busy(false));
                assert_eq!(heap.write().unwrap().set_root(NUMBER, 4).err(), busy(false));
                assert_eq!(heap.write().unwrap().take_root(NUMBER).err(), busy(false));
                assert_eq!(heap.alloc().with_root(NUMBER, |number| *number).err(), busy(false));
            })
            .join()
            .unwrap();
    });
    drop(tx);

    let (one, other) = (heap.read().unwrap(), heap.read().unwrap());
    assert_eq!((one.root(NUMBER), other.root(NUMBER), one.root(NUMBER)), (Ok(&2), Ok(&2), Ok(&2)));
    assert_eq!(heap.write().unwrap().root_mut(NUMBER).err(), busy(false));
    drop(one);
    assert_eq!(heap.write().unwrap().root_mut(NUMBER).err(), busy(false));
    drop(other);

    let mut tx = heap.write().unwrap();
    *tx.root_mut(NUMBER).unwrap() += 1;
    tx.release_roots().unwrap();
    assert_eq!(heap.read().unwrap().root(NUMBER), Ok(&3));
    *tx.root_mut(NUMBER).unwrap() += 1;
    tx.release_roots().unwrap();
    assert_eq!(tx.take_root(NUMBER), Ok(4));
    // The slot is free again, and so is its borrow.
    tx.set_root(NUMBER, 5).unwrap();
    assert_eq!(tx.root_mut(NUMBER).map(|number| *number), Ok(5));
}

#[test]
fn two_sessions_change_two_roots_on_two_threads_at_once() {
    let heap = volatile();
    let meet = Barrier::new(2);
    std::thread::scope(|scope| {
        for name in ["left", "right"] {
            let (heap, meet) = (&heap, &meet);
            scope.spawn(move || {
                for round in 0..50 {
                    let tx = heap.write().unwrap();
                    let list = tx.root_or_default(Root::<SalVec<u64>>::new(name)).unwrap();
                    meet.wait();
                    for at in 0..200 {
                        list.push(round * 200 + at);
                    }
                    meet.wait();
                }
            });
        }
    });
    let session = heap.read().unwrap();
    for name in ["left", "right"] {
        let list = session.root(Root::<SalVec<u64>>::new(name)).unwrap();
        assert!(list.len() == 10_000 && list.iter().zip(0..).all(|(value, at)| *value == at));
    }
}

#[test]
fn of_many_threads_that_set_one_new_root_at_once_none_makes_a_second() {
    for _ in 0..200 {
        let heap = volatile();
        let meet = Barrier::new(4);
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                let (heap, meet) = (&heap, &meet);
                scope.spawn(move || {
                    meet.wait();
                    if thread % 2 == 0 {
                        while let Err(RootError::RootBusy { .. }) = heap.write().unwrap().set_root(NUMBER, thread) {}
                    } else {
                        while let Err(RootError::RootBusy { .. }) =
                            heap.write().unwrap().root_or_insert_with(NUMBER, || thread)
                        {}
                    }
                });
            }
        });
        assert_eq!(heap.roots().unwrap().len(), 1);
        unmap(heap);
    }
}

mod first {
    #[derive(sal::Persist)]
    #[repr(C)]
    pub(super) struct Settings {
        pub(super) limit: u32,
        pub(super) ratio: f32,
    }
}

mod second {
    #[derive(sal::Persist)]
    #[repr(C)]
    pub(super) struct Settings {
        pub(super) limit: u32,
        pub(super) ratio: u32,
    }
}

#[test]
fn another_type_is_refused_and_the_error_names_the_field_and_both_sides() {
    let heap = volatile();
    let tx = heap.write().unwrap();
    tx.set_root(Root::new("settings"), first::Settings { limit: 7, ratio: 0.5 }).unwrap();
    let error = tx.root(Root::<second::Settings>::new("settings")).err().unwrap();
    let RootError::OtherType { root, field, stored, asked } = &error else { panic!("{error:?}") };
    assert_eq!((root.as_str(), field.as_str()), ("\"settings\"", "ratio"));
    assert!(stored.contains("f32") && asked.contains("u32"), "{error}");
    let text = error.to_string();
    assert!(["settings", "ratio", "f32", "u32"].iter().all(|word| text.contains(word)), "{text}");
    let refused = [
        tx.root_mut(Root::<u64>::new("settings")).err(),
        tx.set_root(Root::<u64>::new("settings"), 3).err(),
        tx.take_root(Root::<SalString>::new("settings")).err(),
        tx.root_or_default(Root::<i64>::new("settings")).err(),
        heap.read().unwrap().root(Root::<[u32; 2]>::new("settings")).err(),
    ];
    assert!(refused.iter().all(|error| matches!(error, Some(RootError::OtherType { .. }))), "{refused:?}");
    assert!(
        tx.root(Root::<first::Settings>::new("settings")).is_ok_and(|found| found.limit == 7 && found.ratio == 0.5)
    );
    let settings = second::Settings { limit: 1, ratio: 2 };
    assert_eq!((settings.limit, settings.ratio), (1, 2));
}

#[derive(Persist)]
#[repr(C)]
struct Holder {
    heap: SalAlloc,
    list: SalVec<u64>,
}

#[test]
fn values_with_blocks_or_handles_of_another_heap_are_refused() {
    let (heap, other) = (volatile(), volatile());
    let tx = heap.write().unwrap();
    let foreign = |outcome: Result<(), RootError>| {
        assert!(matches!(outcome, Err(RootError::ForeignBlock { .. })), "{outcome:?}");
    };
    for handle in [other.alloc(), SalAlloc::new(), SalAlloc::file_backed()] {
        let mut list = SalVector::new_in(handle);
        list.push(1_u64);
        foreign(tx.set_root(Root::new("list"), list).map(drop));
        foreign(tx.add_root(Root::new("boxed"), SalBox::new_in(1_u64, handle)).map(drop));
        foreign(tx.set_root(Root::new("handle"), Holder { heap: handle, list: SalVec::new() }).map(drop));
        foreign(tx.root_or_insert_with(Root::new("made"), || SalVector::<u8, _>::new_in(handle)).map(drop));
    }
    let strange: SalVec<u64> = {
        let _session = other.write().unwrap();
        SalVec::from([1, 2, 3])
    };
    foreign(tx.set_root(Root::new("holder"), Holder { heap: heap.alloc(), list: strange }).map(drop));
    assert!(tx.roots().unwrap().is_empty());
    let list = SalVec::from([4]);
    tx.set_root(Root::new("holder"), Holder { heap: heap.alloc(), list }).unwrap();
    let holder = tx.root(Root::<Holder>::new("holder")).unwrap();
    assert!(holder.heap == heap.alloc() && holder.list[..] == [4]);
    assert_eq!(other.stats().live_bytes, 0, "what was refused has been dropped");
}

#[test]
fn ten_thousand_roots_are_all_found_again() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let heap = open(&path);
    let tx = heap.write().unwrap();
    for number in 0..10_000_u64 {
        tx.set_root(Root::named(format!("root {number}")), number).unwrap();
    }
    for number in (0..10_000_u64).step_by(3) {
        assert_eq!(tx.take_root(Root::named(format!("root {number}"))), Ok(number));
    }
    drop(tx);
    unmap(heap);
    let heap = open(&path);
    assert_eq!(heap.roots().unwrap().len(), 6666);
    let session = heap.read().unwrap();
    for number in 0..10_000_u64 {
        let found = session.root(Root::<u64>::named(format!("root {number}"))).copied();
        assert_eq!(found.ok(), (number % 3 != 0).then_some(number));
    }
    drop(session);
    unmap(heap);
}

#[test]
fn the_slots_of_removed_roots_are_used_again_in_later_generations() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let roots_at = |path: &Path| {
        let header = support::bytes::newest(path);
        let at = support::bytes::word(&header, support::bytes::header::ROOTS);
        let counts = support::bytes::read(path, at, 64);
        support::bytes::word(&counts, 8)
    };
    for generation in 0..10_u64 {
        let heap = open(&path);
        let tx = heap.write().unwrap();
        let kept = tx.root_or_default(Root::<u64>::new("kept")).unwrap();
        *kept += 1;
        let passing: Vec<_> = (0..3).map(|at| tx.add_root(CLASS, at).unwrap()).collect();
        for id in passing {
            tx.take_root(Root::<u64>::id(id)).unwrap();
        }
        assert_eq!(*kept, generation + 1);
        drop(tx);
        unmap(heap);
        assert_eq!(roots_at(&path), 4, "slots that were ever used");
    }
}

#[test]
fn names_may_be_long_empty_and_odd_but_not_endless() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let names = [
        String::new(),
        " ".into(),
        "a\0b".into(),
        "\u{1F980} καρκίνος \u{200F}".into(),
        "\n\"quoted\"\\".into(),
        "x".repeat(64 << 10),
        "y".repeat((64 << 10) - 1),
    ];
    let heap = open(&path);
    let tx = heap.write().unwrap();
    for (value, name) in names.iter().enumerate() {
        tx.set_root(Root::named(name), value as u64).unwrap();
    }
    let before = heap.stats().live_bytes;
    let error = tx.set_root(Root::named("z".repeat((64 << 10) + 1)), 1_u64).unwrap_err();
    assert_eq!(error, RootError::NameTooLong { len: (64 << 10) + 1, longest: 64 << 10 });
    assert_eq!(heap.stats().live_bytes, before);
    drop(tx);
    unmap(heap);
    let heap = open(&path);
    let session = heap.read().unwrap();
    for (value, name) in names.iter().enumerate() {
        assert_eq!(session.root(Root::<u64>::named(name)), Ok(&(value as u64)));
    }
    assert_eq!(Root::<u64>::new("a\n\"").to_string(), "\"a\\n\\\"\"");
    drop(session);
    unmap(heap);
}

#[derive(Default, Persist, PartialEq, Debug)]
#[repr(C)]
struct Nothing;

#[derive(Persist)]
#[repr(C, align(4096))]
struct Page([u8; 4096]);

#[test]
fn values_without_a_size_and_with_a_large_alignment_are_roots_like_others() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let heap = open(&path);
    let tx = heap.write().unwrap();
    assert_eq!(tx.set_root(Root::new("nothing"), Nothing), Ok(None));
    assert_eq!(tx.set_root(Root::new("nothing"), Nothing), Ok(Some(Nothing)));
    tx.set_root(Root::new("none"), [0_u64; 0]).unwrap();
    tx.set_root(Root::new("page"), Page([3; 4096])).unwrap();
    drop(tx);
    unmap(heap);
    let heap = open(&path);
    let tx = heap.write().unwrap();
    assert_eq!(tx.root_mut(Root::<Nothing>::new("nothing")).map(|nothing| &*nothing), Ok(&Nothing));
    assert!(matches!(tx.root_mut(Root::<Nothing>::new("nothing")), Err(RootError::RootBusy { .. })));
    assert!((&raw const *tx.root(Root::<[u64; 0]>::new("none")).unwrap()).is_aligned());
    let page = tx.root(Root::<Page>::new("page")).unwrap();
    assert!((&raw const *page).addr() % 4096 == 0 && page.0 == [3; 4096]);
    drop(tx);
    let tx = heap.write().unwrap();
    assert_eq!(tx.take_root(Root::<Nothing>::new("nothing")), Ok(Nothing));
    assert_eq!(tx.roots().unwrap().len(), 2);
    drop(tx);
    unmap(heap);
}

#[test]
fn a_panic_while_a_value_is_made_leaves_no_trace() {
    let heap = volatile();
    let tx = heap.write().unwrap();
    let panicked = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let _ = tx.root_or_insert_with(TEXT, || {
            let _half = SalString::from("half of it, long enough for a block");
            panic!("no value")
        });
    }));
    assert!(panicked.is_err());
    assert_eq!(heap.stats().live_bytes, 0);
    assert!(tx.roots().unwrap().is_empty());
    // Values on this thread come from the session's heap as before.
    assert_eq!(tx.root_or_insert_with(TEXT, || SalString::from("whole")).unwrap().as_str(), "whole");
    let stray = SalString::from("a string that is long enough for a block");
    assert_eq!(SalAlloc::of_address(stray.as_ptr().addr()), Some(heap.alloc()));
}

#[test]
fn a_session_that_panics_lets_go_of_its_roots() {
    let heap = volatile();
    heap.write().unwrap().set_root(NUMBER, 1).unwrap();
    let panicked = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let tx = heap.write().unwrap();
        *tx.root_mut(NUMBER).unwrap() = 9;
        panic!("in the middle");
    }));
    assert!(panicked.is_err());
    assert_eq!(heap.write().unwrap().root_mut(NUMBER).map(|number| *number), Ok(9));
    let panicked = std::panic::catch_unwind(AssertUnwindSafe(|| {
        heap.with_root_mut(NUMBER, |_| panic!("in the middle")).unwrap_or(())
    }));
    assert!(panicked.is_err());
    assert_eq!(heap.take_root(NUMBER), Ok(9));
    heap.close().unwrap();
}

#[test]
fn handles_of_default_and_closed_heaps_have_no_roots() {
    let refused = |handle: SalAlloc| handle.with_session(|_| Ok(())).unwrap_err();
    assert_eq!(refused(SalAlloc::new()), RootError::Session(SessionError::NoRoots));
    assert_eq!(refused(SalAlloc::file_backed()), RootError::Session(SessionError::NoRoots));
    let heap = volatile();
    let handle = heap.alloc();
    unmap(heap);
    assert_eq!(refused(handle), RootError::Session(SessionError::Closed));
    assert_eq!(handle.roots(), Err(RootError::Session(SessionError::Closed)));
}
