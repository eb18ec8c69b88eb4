//! Heap files with damaged bytes: reading them gives errors or right answers, never a crash and never wrong answers.
//!
//! Damaged are the headers, the directory of roots, the type table and the parts of the allocator state that say which
//! blocks exist. The values themselves carry no checksum: `open` is `unsafe` because their bytes are believed.
#![allow(unsafe_code)]

mod support;

use sal::collections::{SalString, SalVec};
use sal::{CloseError, Heap, HeapOptions, Mode, OpenError, Root, RootError, SalCollect, Tag};
use std::os::unix::fs::FileExt;
use std::path::Path;
use support::bytes::{self, header};
use support::process::{self, say};
use support::{Random, alone, fresh_path, seed};

const NUMBERS: Root<SalVec<u64>> = Root::new("numbers");
const TEXT: Root<SalString> = Root::new("text");
const LISTS: Root<SalVec<SalVec<u64>>> = Root::new("lists");
const PAIR: Root<(u32, f64)> = Root::class(77);

fn create(path: &Path) {
    // SAFETY: only these tests write to the file; what they damage is meant to be refused.
    let heap = unsafe { HeapOptions::new().mode(Mode::Shared).create(path) }.unwrap();
    let tx = heap.write().unwrap();
    tx.root_or_default(NUMBERS).unwrap().extend(0..1000);
    tx.root_or_default(TEXT).unwrap().push_str("as it was");
    tx.set_root(PAIR, (3, 0.25)).unwrap();
    tx.set_root(Root::new("gone"), 1_u8).unwrap();
    tx.take_root(Root::<u8>::new("gone")).unwrap();
    drop(tx);
    // SAFETY: nothing of it is used again.
    unsafe { heap.close_and_unmap() }.unwrap();
}

/// Size classes.
const CLASSES: usize = 96;

fn create_lists(path: &Path, mode: Mode) {
    // SAFETY: a new file.
    let heap = unsafe { HeapOptions::new().mode(mode).create(path) }.unwrap();
    let tx = heap.write().unwrap();
    let lists = tx.root_or_default(LISTS).unwrap();
    lists.extend((0..500).map(|len| (0..len % 40).collect::<SalVec<u64>>()));
    lists.push((0..100_000).collect());
    drop(tx);
    // SAFETY: nothing of it is used again.
    unsafe { heap.close_and_unmap() }.unwrap();
}

fn open_read_only(path: &Path) -> Result<Heap, OpenError> {
    // SAFETY: see `create`.
    unsafe { HeapOptions::new().read_only(true).open(path) }
}

/// Reads everything that there is; panics on what is neither right nor an error. Returns whether all was right.
fn read_all(path: &Path) -> bool {
    let Ok(heap) = open_read_only(path) else { return false };
    let session = heap.read().unwrap();
    let mut right = true;
    match session.roots() {
        Ok(roots) => {
            let tags: Vec<_> = roots.iter().map(|root| (root.tag.clone(), root.len)).collect();
            let expected = [(NUMBERS.tag().clone(), 24), (TEXT.tag().clone(), 24), (Tag::Class(77), 16)];
            assert_eq!(tags.len(), 3);
            for ((tag, len), (expected, size)) in tags.iter().zip(&expected) {
                assert!(tag == expected && (len == size || *size == 24), "{tag:?} {len}");
            }
        }
        Err(RootError::Damaged { .. }) => right = false,
        Err(other) => panic!("{other:?}"),
    }
    let mut outcome = |outcome: Result<bool, RootError>| match outcome {
        Ok(is_right) => assert!(is_right, "a wrong value"),
        Err(RootError::Damaged { .. }) => right = false,
        Err(other) => panic!("{other:?}"),
    };
    outcome(
        session.root(NUMBERS).map(|numbers| numbers.len() == 1000 && numbers.iter().zip(0..).all(|(a, b)| *a == b)),
    );
    outcome(session.root(TEXT).map(|text| text.as_str() == "as it was"));
    outcome(session.root(PAIR).map(|pair| *pair == (3, 0.25)));
    drop(session);
    // SAFETY: nothing of it is used again.
    unsafe { heap.close_and_unmap() }.unwrap();
    right
}

#[test]
fn two_thousand_damaged_files_give_errors_or_right_answers() {
    let name = "two_thousand_damaged_files_give_errors_or_right_answers";
    // In a process of its own, so that a crash is told from a failure.
    let Some((_, path)) = process::role() else {
        let (_directory, path) = fresh_path();
        return process::run(name, "damage", &path);
    };
    create(&path);
    assert!(read_all(&path));
    let seed = seed(0xDA3A6E);
    println!("seed {seed}");
    let mut random = Random(seed);
    let newest = bytes::newest(&path);
    let [table, roots, types] =
        [header::SLAB_TABLE, header::ROOTS, header::TYPES].map(|field| bytes::word(&newest, field));
    let areas = [(0, 512), (bytes::SLOT, 512), (roots, 5 * 64), (roots, 64), (types, 1200), (table, 1024)];
    let file = bytes::writable(&path);
    let (mut errors, mut harmless) = (0, 0);
    for round in 0..2000 {
        let (start, len) = areas[random.below(areas.len())];
        let count = 1 << random.below(4);
        let at = start + random.below(len - count) as u64;
        let mut good = vec![0; count];
        file.read_exact_at(&mut good, at).unwrap();
        let mut damaged = good.clone();
        for byte in &mut damaged {
            *byte = match random.below(3) {
                0 => *byte ^ 1 << random.below(8),
                1 => random.below(256) as u8,
                _ => [0xFF, 0x7F, 0x80, 1][random.below(4)],
            };
        }
        file.write_all_at(&damaged, at).unwrap();
        println!("round {round}: {damaged:x?} instead of {good:x?} at {at:#x}");
        if read_all(&path) {
            harmless += 1;
        } else {
            errors += 1;
        }
        file.write_all_at(&good, at).unwrap();
    }
    assert!(read_all(&path));
    assert!(errors > 500 && harmless > 50, "{errors} errors, {harmless} harmless");
    say("done");
}

#[test]
fn a_damaged_root_is_not_made_anew_and_the_others_can_be_used() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    create(&path);
    let roots = bytes::word(&bytes::newest(&path), header::ROOTS);
    // The value's place in the second entry.
    bytes::write(&path, roots + 2 * 64 + 24, &[0xEE; 3]);
    // SAFETY: see `create`.
    let heap = unsafe { Heap::open(&path) }.unwrap();
    let tx = heap.write().unwrap();
    assert!(matches!(tx.root_or_default(TEXT), Err(RootError::Damaged { .. })));
    assert!(matches!(tx.set_root(TEXT, SalString::new()), Err(RootError::Damaged { .. })));
    assert!(matches!(tx.roots(), Err(RootError::Damaged { .. })));
    assert_eq!(tx.root_mut(NUMBERS).unwrap().len(), 1000);
    assert_eq!(tx.set_root(PAIR, (4, 0.5)), Ok(Some((3, 0.25))));
    drop(tx);
    // SAFETY: nothing of it is used again.
    unsafe { heap.close_and_unmap() }.unwrap();
}

#[test]
fn a_damaged_record_of_the_type_table_is_not_overwritten() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    create(&path);
    let types = bytes::word(&bytes::newest(&path), header::TYPES);
    for damage in [0, 4, 8] {
        let good = bytes::read(&path, types, 2000);
        bytes::write(&path, types + damage, &[0; 1]);
        let damaged = bytes::read(&path, types, 2000);
        assert_ne!(good, damaged);
        // SAFETY: see `create`.
        let heap = unsafe { Heap::open(&path) }.unwrap();
        let tx = heap.write().unwrap();
        assert!(matches!(tx.set_root(Root::new("new"), [1_u8; 3]), Err(RootError::Damaged { .. })));
        assert!(matches!(tx.root(NUMBERS), Err(RootError::Damaged { part: "type", .. })));
        assert_eq!(tx.root(PAIR), Ok(&(3, 0.25)));
        drop(tx);
        // SAFETY: nothing of it is used again.
        unsafe { heap.close_and_unmap() }.unwrap();
        assert_eq!(bytes::read(&path, types, 2000), damaged);
        bytes::write(&path, types, &good);
    }
}

#[test]
fn without_the_directorys_count_all_roots_are_found_and_none_can_be_added() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    create(&path);
    let roots = bytes::word(&bytes::newest(&path), header::ROOTS);
    bytes::write(&path, roots + 8, &[1]);
    // SAFETY: see `create`.
    let heap = unsafe { Heap::open(&path) }.unwrap();
    let tx = heap.write().unwrap();
    assert_eq!(tx.root(NUMBERS).unwrap().len(), 1000);
    assert_eq!(tx.root(TEXT).unwrap().as_str(), "as it was");
    assert_eq!(tx.root(PAIR), Ok(&(3, 0.25)));
    assert!(matches!(tx.set_root(Root::new("new"), 1_u64), Err(RootError::Damaged { .. })));
    assert!(matches!(tx.add_root(Root::new("new"), 1_u64), Err(RootError::Damaged { .. })));
    drop(tx);
    // SAFETY: nothing of it is used again.
    unsafe { heap.close_and_unmap() }.unwrap();
}

/// Everything that changes a heap's counters; ends the process if a thread panics.
fn use_damaged(heap: &Heap) {
    std::panic::set_hook(Box::new(|info| {
        println!("{info}");
        std::process::abort();
    }));
    let free_one = || {
        let tx = heap.write().unwrap();
        tx.root_mut(LISTS).unwrap().pop();
        std::mem::forget(SalVec::<u64>::with_capacity(30_000));
        std::mem::forget(SalVec::<u64>::with_capacity(30));
    };
    std::thread::scope(|scope| scope.spawn(free_one).join().unwrap());
    heap.purge();
    // SAFETY: no other thread uses the heap, and only roots hold anything in it.
    assert!(unsafe { heap.collect() }.unwrap().reclaimed_blocks > 0);
    assert!(heap.stats().to_string().contains('%'));
    let _ = heap.sync();
}

/// What counts, in the allocator's state of a file, was added to and subtracted from: debug builds panicked, some of them
/// when a thread had announced itself, and closing the heap waited for that thread for ever.
#[test]
fn wrong_counts_of_an_allocator_state_end_in_an_error_at_close_and_no_panic() {
    let name = "wrong_counts_of_an_allocator_state_end_in_an_error_at_close_and_no_panic";
    if let Some((role, path)) = process::role() {
        // SAFETY: the blocks are as they were; what is damaged only counts them.
        let heap = unsafe { Heap::open(&path) }.unwrap();
        use_damaged(&heap);
        // SAFETY: nothing of it is used again.
        let closed = unsafe { heap.close_and_unmap() };
        assert!(!cfg!(debug_assertions) || matches!(closed, Err(CloseError::DamagedState)), "{role}: {closed:?}");
        if role == "Atomic" {
            // SAFETY: as above.
            let heap = unsafe { Heap::open(&path) }.unwrap();
            heap.wait_for_recovery();
            assert!(heap.verify().is_good());
            // SAFETY: as above.
            unsafe { heap.close_and_unmap() }.unwrap();
        }
        return;
    }
    for mode in [Mode::Shared, Mode::Atomic] {
        // The units in use; the live blocks of all classes.
        let damages = [(16, 1, 0), (16, 1, 1), (816, CLASSES, i64::MAX), (816, CLASSES, i64::MIN)];
        for (offset, count, value) in damages {
            let (_directory, path) = fresh_path();
            create_lists(&path, mode);
            let soft = bytes::word(&bytes::newest(&path), header::SOFT);
            let words: Vec<u8> = std::iter::repeat_n(value.to_le_bytes(), count).flatten().collect();
            bytes::write(&path, soft + offset, &words);
            println!("{mode:?}: {value} at {offset}");
            process::run(name, &format!("{mode:?}"), &path);
        }
    }
}

/// It was refused for good, although all that was wrong can be made anew.
#[test]
fn an_atomic_heap_whose_allocator_state_says_nonsense_makes_it_anew() {
    let _alone = alone();
    for (field, value) in [(8, u64::MAX), (8, 1 << 40), (16, u64::MAX), (8, 0)] {
        let (_directory, path) = fresh_path();
        create_lists(&path, Mode::Atomic);
        let soft = bytes::word(&bytes::newest(&path), header::SOFT);
        bytes::write(&path, soft + field, &value.to_le_bytes());
        for read_only in [true, false, false] {
            // SAFETY: the blocks are as they were.
            let heap = unsafe { HeapOptions::new().read_only(read_only).open(&path) }.unwrap();
            assert!(heap.verify().is_good(), "{field} {value}");
            assert_eq!(heap.read().unwrap().root(LISTS).unwrap().len(), 501);
            // SAFETY: nothing of it is used again.
            unsafe { heap.close_and_unmap() }.unwrap();
        }
    }
}
