//! Heap files with damaged bytes: reading them gives errors or right answers, never a crash and never wrong answers.
//!
//! Damaged are the headers, the directory of roots, the type table and the parts of the allocator state that say which
//! blocks exist. The values themselves carry no checksum: `open` is `unsafe` because their bytes are believed.
#![allow(unsafe_code)]

mod support;

use sal::collections::{SalString, SalVec};
use sal::{Heap, HeapOptions, Mode, OpenError, Root, RootError, Tag};
use std::os::unix::fs::FileExt;
use std::path::Path;
use support::bytes::{self, header};
use support::process::{self, say};
use support::{Random, alone, fresh_path, seed};

const NUMBERS: Root<SalVec<u64>> = Root::new("numbers");
const TEXT: Root<SalString> = Root::new("text");
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
