//! Roots that cannot be read at other addresses than their heap's own are refused, whatever the file's bytes are, and all others are
//! handed out.
#![allow(unsafe_code)]

#[path = "support/relocated.rs"]
mod relocated;
#[path = "support/sample.rs"]
mod sample;
mod support;

use allocator_api2::boxed::Box as AllocBox;
use allocator_api2::vec::Vec as AllocVec;
use relocated::{atomic, copied, is_whole, moved, relocated};
use sal::collections::{CowHashMap, CowMap, CowVec};
use sal::persist::{BlockVisitor, Describer, Node};
use sal::prelude::*;
use sal::{HeapOptions, Mode, RootError, SalBox};
use sample::{Sample, Tree};
use std::path::PathBuf;
use support::bytes::{self, header};
use support::heaps::{opened, unmap};
use support::{Address, Random, alone, fresh_path};

const SEED: u64 = 0x4E10_CA7F;

type Shared = SalRc<SalString>;

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

#[test]
fn a_root_with_a_pool_is_refused_and_the_others_are_moved() {
    const POOL: Root<sal::Pool<u64>> = Root::new("pool");
    const PLAIN: Root<SalString> = Root::new("plain");
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let heap = opened(&atomic(), &path);
    {
        let tx = heap.write().unwrap();
        tx.root_or_default(POOL).unwrap().insert(7);
        tx.set_root(PLAIN, "text".into()).unwrap();
    }
    let (heap, copy) = copied(heap, &atomic(), &path);
    let twin = moved(&copy);
    {
        let read = twin.read().unwrap();
        assert!(matches!(read.root(POOL), Err(RootError::NotMoved { .. })));
        assert_eq!(read.root(PLAIN).unwrap(), "text");
    }
    unmap(twin);
    unmap(heap);
}
