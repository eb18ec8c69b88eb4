//! A heap file of format version 1 that every later version must open, and where its bytes lie.
//!
//! The file is kept as its bytes that are not zero, see [`golden`]. `SAL_WRITE_GOLDEN=1` makes it anew; that is right
//! only as long as no heap of this version exists outside of this repository.
#![allow(unsafe_code)]

mod support;

use sal::collections::{SalBTreeMap, SalHashMap, SalString, SalVec};
use sal::{Heap, HeapOptions, Mode, Persist, Root, Tag};
use std::path::Path;
use support::bytes::{self, half_word, header, word};
use support::heaps::unmap;
use support::{alone, fresh_path, golden};

const COUNT: Root<u64> = Root::new("count");
const TEXT: Root<SalString> = Root::new("text");
const LIST: Root<SalVec<SalVec<u16>>> = Root::new("list");
const WORDS: Root<SalHashMap<SalString, SalVec<u64>>> = Root::new("words");
const TREE: Root<SalBTreeMap<u32, SalString>> = Root::new("tree");
const SHAPES: Root<SalVec<Shape>> = Root::class(0x5AFE);
const LARGE: Root<SalVec<u64>> = Root::class(0xB16);

#[derive(Persist, Debug, PartialEq)]
#[repr(C, u8)]
enum Shape {
    Empty,
    Circle { x: f64, y: f64, radius: f32 },
    Named(SalString),
}

const GOLDEN: &str = "heap_v1.sal.parts";

fn open(options: &HeapOptions, path: &Path) -> Heap {
    // SAFETY: the file was written by `write_golden`, and only this test has its copy.
    unsafe { options.open(path) }.unwrap()
}

/// Where heaps without a file, and most others, do not lie.
const HIGH: usize = 0x4800_0000_0000;

/// Makes the heap anew and keeps it.
fn write_golden() {
    let (_directory, path) = fresh_path();
    // A high window, which other heaps of the process that opens it are unlikely to have.
    loop {
        let _ = std::fs::remove_file(&path);
        // SAFETY: a file of our own.
        let heap = unsafe { HeapOptions::new().mode(Mode::Shared).create(&path) }.unwrap();
        if heap.address_range().start < HIGH {
            unmap(heap);
            continue;
        }
        fill(&heap);
        unmap(heap);
        break;
    }
    golden::keep(&path, GOLDEN);
}

fn fill(heap: &Heap) {
    let tx = heap.write().unwrap();
    tx.set_root(COUNT, 0x0123_4567_89AB_CDEF).unwrap();
    tx.root_or_default(TEXT).unwrap().push_str("schön, dass du noch da bist");
    tx.root_or_default(LIST).unwrap().extend((0..20_u16).map(|at| SalVec::from([at; 5])));
    let words = tx.root_or_default(WORDS).unwrap();
    for word in 0..60_u64 {
        words.entry_ref(format!("word {word}").as_str()).or_default().extend(0..word % 5);
    }
    let tree = tx.root_or_default(TREE).unwrap();
    for key in 0..100_u32 {
        tree.insert(key * 3, SalString::from(key.to_string().as_str()));
    }
    let shapes = tx.root_or_default(SHAPES).unwrap();
    shapes.push(Shape::Empty);
    shapes.push(Shape::Circle { x: 1.5, y: -2.25, radius: 0.1 });
    shapes.push(Shape::Named(SalString::from("square")));
    // A large object, nearly all of it zeros.
    let large = tx.root_or_default(LARGE).unwrap();
    large.resize(100_000, 0);
    large[99_999] = 77;
    // Holes among what lives.
    tx.set_root(Root::new("passing"), 1_u64).unwrap();
    tx.take_root(Root::<u64>::new("passing")).unwrap();
}

/// Writes the golden heap to `path`.
fn expand(path: &Path) {
    if golden::is_to_be_made() {
        write_golden();
    }
    golden::expand(GOLDEN, path);
}

fn check(heap: &Heap) {
    let session = heap.read().unwrap();
    let roots: Vec<_> = session.roots().unwrap().into_iter().map(|root| root.tag).collect();
    let expected: Vec<Tag> = [COUNT.tag(), TEXT.tag(), LIST.tag(), WORDS.tag(), TREE.tag(), SHAPES.tag(), LARGE.tag()]
        .into_iter()
        .cloned()
        .collect();
    assert_eq!(roots, expected);
    assert_eq!(session.root(COUNT), Ok(&0x0123_4567_89AB_CDEF));
    assert_eq!(session.root(TEXT).unwrap().as_str(), "schön, dass du noch da bist");
    let list = session.root(LIST).unwrap();
    assert!(list.len() == 20 && list.iter().zip(0..).all(|(inner, at)| inner[..] == [at; 5]));
    let words = session.root(WORDS).unwrap();
    assert_eq!(words.len(), 60);
    for at in 0..60_u64 {
        assert!(words.get(format!("word {at}").as_str()).unwrap().iter().copied().eq(0..at % 5));
    }
    let tree = session.root(TREE).unwrap();
    assert!(
        tree.len() == 100 && tree.iter().zip(0..).all(|((key, text), at)| *key == at * 3 && *text == at.to_string())
    );
    let shapes = session.root(SHAPES).unwrap();
    assert_eq!(shapes[0], Shape::Empty);
    assert_eq!(shapes[1], Shape::Circle { x: 1.5, y: -2.25, radius: 0.1 });
    assert_eq!(shapes[2], Shape::Named(SalString::from("square")));
    let large = session.root(LARGE).unwrap();
    assert!(large.len() == 100_000 && large[99_999] == 77 && large[..99_999].iter().all(|number| *number == 0));
}

#[test]
fn a_heap_of_version_1_opens_and_holds_what_was_stored() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    expand(&path);
    let heap = open(&HeapOptions::new().read_only(true), &path);
    check(&heap);
    unmap(heap);

    // It is also written: its allocator state is adopted as it is.
    for _ in 0..3 {
        let heap = open(&HeapOptions::new(), &path);
        check(&heap);
        let tx = heap.write().unwrap();
        let more = tx.root_or_default(Root::<SalVec<SalString>>::new("more")).unwrap();
        more.extend((0..2000).map(|at| SalString::from(format!("{at}, long enough to have a block").as_str())));
        drop(tx);
        let more = heap.write().unwrap().take_root(Root::<SalVec<SalString>>::new("more")).unwrap();
        assert!(more.len() == 2000 && more[1234].starts_with("1234, long"));
        drop(more);
        check(&heap);
        unmap(heap);
    }
}

/// Offset and length of an area, as the header has them.
fn area(slot: &[u8], field: usize) -> (u64, u64) {
    (word(slot, field), word(slot, field + 8))
}

const MIB: u64 = 1 << 20;

#[test]
fn the_bytes_of_version_1_lie_where_they_always_lay() {
    let (_directory, path) = fresh_path();
    expand(&path);
    let [(at, slot), (other_at, other)] = bytes::slots(&path);
    assert_eq!((at.min(other_at), at.max(other_at)), (0, 4096));
    for slot in [&slot, &other] {
        assert_eq!(slot[header::MAGIC..8], *b"\x89SAL\r\n\x1a\n");
        assert_eq!(half_word(slot, header::VERSION), 1);
        assert_eq!(slot[header::ENDIANNESS..16], [4, 3, 2, 1]);
        assert_eq!(slot[16..40], [0; 24], "no features");
        assert_eq!(half_word(slot, header::CHECKSUM), crc32c::crc32c(&slot[..header::CHECKSUM]));
    }
    let generation = word(&slot, header::GENERATION);
    assert_eq!((generation, word(&other, header::GENERATION)), (2, 1));
    assert_eq!(at, generation % 2 * 4096);
    assert_eq!((half_word(&slot, header::STATE), half_word(&other, header::STATE)), (1, 2));
    assert_eq!((half_word(&slot, header::PAGE_LEN), half_word(&slot, header::POINTER_LEN)), (4096, 8));
    assert_eq!((half_word(&slot, header::MODE), half_word(&slot, 96)), (1, 1), "shared, first hash tables");
    let (window, windows) = (u64::from(half_word(&slot, header::WINDOW)), u64::from(half_word(&slot, header::WINDOWS)));
    let base = word(&slot, 272);
    let window_len = base / window;
    assert!(base >= HIGH as u64 && base % window == 0 && window_len.is_power_of_two());
    assert_eq!(windows, (word(&slot, header::SEGMENTS) + (60 << 30)).div_ceil(window_len));
    assert_eq!(slot[280..336], [0; 56], "no other base");
    assert_eq!(word(&slot, header::CAPACITY), 60 << 30);
    assert_eq!(slot[344..508], [0; 164]);

    let units = (60 << 30) / 32_768;
    assert_eq!(word(&slot, header::UNITS), units);
    assert_eq!(area(&slot, header::SLAB_TABLE), (65_536, 15 * MIB));
    assert_eq!(area(&slot, header::ROOTS), (65_536 + 15 * MIB, 64 * MIB));
    assert_eq!(area(&slot, header::TYPES), (65_536 + 79 * MIB, 64 * MIB));
    let soft = area(&slot, header::SOFT);
    assert_eq!(soft, (65_536 + 143 * MIB, (4096 + units / 4096 * 8 + 2 * units / 8).next_multiple_of(4096)));
    let (states, free, remote) = (area(&slot, 208), area(&slot, 224), area(&slot, 240));
    assert_eq!(states, (soft.0 + soft.1, 240 * MIB));
    assert_eq!((free, remote), ((states.0 + states.1, 480 * MIB), (free.0 + free.1, 480 * MIB)));
    let segments = area(&slot, header::SEGMENTS);
    assert_eq!(segments, ((remote.0 + remote.1).next_multiple_of(4 * MIB), 60 << 30));
    assert_eq!(word(&slot, header::FILE_LEN), std::fs::metadata(&path).unwrap().len());

    let allocator = bytes::read(&path, soft.0, 4096);
    assert_eq!(word(&allocator, 0), word(&slot, header::EPOCH));
    let committed = word(&allocator, 8);
    assert_eq!(segments.0 + committed * 32_768, word(&slot, header::FILE_LEN));
    assert_eq!(word(&allocator, 40), 1, "one large object");

    let roots = bytes::read(&path, area(&slot, header::ROOTS).0, 9 * 64);
    let entry = |slot: usize| &roots[slot * 64..(slot + 1) * 64];
    assert_eq!((&entry(0)[..4], word(entry(0), 8), word(entry(0), 16)), (&b"SLOT"[..], 8, 8));
    let first = entry(1);
    assert_eq!((&first[..4], half_word(first, 4), word(first, 16)), (&b"NAME"[..], 5, 1));
    assert_eq!(bytes::read(&path, word(first, 8), 5), b"count");
    assert_eq!(bytes::read(&path, word(first, 24), 8), 0x0123_4567_89AB_CDEF_u64.to_le_bytes());
    assert_eq!((word(first, 32), half_word(first, 40)), (8, 3));
    let mut unsigned = first.to_vec();
    unsigned[44..48].fill(0);
    unsigned.extend(b"count");
    assert_eq!(half_word(first, 44), crc32c::crc32c(&unsigned));
    let sixth = entry(6);
    assert_eq!((&sixth[..4], word(sixth, 8), word(sixth, 16)), (&b"CLAS"[..], 0x5AFE, 6));
    assert_eq!(entry(8)[..4], [0; 4], "removed");

    let record = bytes::read(&path, area(&slot, header::TYPES).0 + word(first, 48), 8);
    let description =
        bytes::read(&path, area(&slot, header::TYPES).0 + word(first, 48) + 8, half_word(&record, 0) as usize);
    assert_eq!(half_word(&record, 4), crc32c::crc32c(&description));
}

#[test]
fn classes_and_names_are_what_the_roots_are_found_by() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    expand(&path);
    let heap = open(&HeapOptions::new().read_only(true), &path);
    let roots = heap.read().unwrap().roots().unwrap();
    assert_eq!(roots[5].tag, Tag::Class(0x5AFE));
    assert_eq!(roots[0].type_name, "u64");
    assert!(roots.iter().all(|root| !root.type_name.is_empty()));
    unmap(heap);
}
