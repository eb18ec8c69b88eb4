//! What one process stores, the next ones find, change and free: real processes, one after the other or side by side.
#![allow(unsafe_code)]

mod support;

use allocator_api2::alloc::Allocator;
use allocator_api2::boxed::Box as SalBox;
use allocator_api2::vec::Vec as SalVector;
use sal::collections::{SalBTreeMap, SalHashMap, SalString, SalVec};
use sal::{Heap, HeapOptions, OpenError, Persist, Root, SalAlloc, SessionError};
use std::alloc::Layout;
use std::path::Path;
use std::ptr::NonNull;
use support::heaps::open;
use support::process::{self, hear, say};
use support::{Random, bytes, fresh_path};

#[derive(Persist)]
#[repr(C)]
struct Account {
    id: u64,
    owner: SalString,
    entries: SalVec<Entry>,
    spare: SalBox<[u64; 3], SalAlloc>,
}

#[derive(Persist, Clone, PartialEq, Debug)]
#[repr(C, u8)]
enum Entry {
    Empty,
    Note(SalString),
    Amount { cents: i64, year: u16 },
}

const NUMBERS: Root<SalVector<u64, SalAlloc>> = Root::new("numbers");
const BOXED: Root<SalBox<[u64; 40], SalAlloc>> = Root::new("boxed");
const NESTED: Root<SalVector<SalVector<u32, SalAlloc>, SalAlloc>> = Root::new("nested");
const LIST: Root<SalVec<SalVec<u16>>> = Root::new("list");
const TEXT: Root<SalString> = Root::new("text");
const WORDS: Root<SalHashMap<SalString, SalVec<u64>>> = Root::new("words");
const TREE: Root<SalBTreeMap<u64, SalString>> = Root::new("tree");
const ACCOUNTS: Root<SalVec<Account>> = Root::class(0xACC0);

/// What the first generation stores, and each later one finds, checks and takes a step further.
fn generation(path: &Path, number: u64) {
    let heap = open(path);
    let tx = heap.write().unwrap();
    assert_eq!(tx.roots().unwrap().len(), if number == 0 { 0 } else { 8 });

    let numbers = tx.root_or_insert_with(NUMBERS, || SalVector::new_in(heap.alloc())).unwrap();
    assert!(numbers.len() as u64 == number * 5000 && numbers.iter().zip(0..).all(|(found, at)| *found == at));
    numbers.extend(number * 5000..(number + 1) * 5000);

    let boxed = tx.root_or_insert_with(BOXED, || SalBox::new_in([0; 40], heap.alloc())).unwrap();
    assert!(boxed.iter().all(|found| *found == number));
    boxed.fill(number + 1);

    let nested = tx.root_or_insert_with(NESTED, || SalVector::new_in(heap.alloc())).unwrap();
    assert!(
        nested.iter().zip(1..).all(|(inner, len)| inner.len() == len && inner.iter().all(|word| *word == len as u32))
    );
    let len = nested.len() + 1;
    let mut inner = SalVector::new_in(heap.alloc());
    inner.resize(len, len as u32);
    nested.push(inner);

    let list = tx.root_or_default(LIST).unwrap();
    assert!(list.iter().zip(0..).all(|(inner, at)| inner[..] == [at; 9]));
    list.push(SalVec::from([number as u16; 9]));

    let text = tx.root_or_default(TEXT).unwrap();
    assert_eq!(text.as_str(), (0..number).map(|at| format!("{at} generations; ")).collect::<String>());
    text.push_str(&format!("{number} generations; "));

    let words = tx.root_or_default(WORDS).unwrap();
    assert_eq!(words.len(), if number == 0 { 0 } else { 3000 });
    for word in 0..3000_u64 {
        let places = words.entry_ref(format!("word {word}").as_str()).or_default();
        assert!(places.len() as u64 == number && places.iter().zip(0..).all(|(found, at)| *found == at * word));
        places.push(number * word);
    }

    let tree = tx.root_or_default(TREE).unwrap();
    assert_eq!(tree.len() as u64, number * 500);
    assert!(tree.iter().zip(0..).all(|((key, value), at)| *key == at && value.as_str() == at.to_string()));
    for key in number * 500..(number + 1) * 500 {
        tree.insert(key, SalString::from(key.to_string().as_str()));
    }

    let accounts = tx.root_or_default(ACCOUNTS).unwrap();
    for (account, id) in accounts.iter_mut().zip(0..) {
        assert!(account.id == id && account.owner.as_str() == format!("owner {id}") && *account.spare == [id; 3]);
        let [empty, note, amount] = &account.entries[..] else { panic!("{:?}", account.entries) };
        assert_eq!((empty, note), (&Entry::Empty, &Entry::Note(SalString::from(format!("note of {id}").as_str()))));
        assert_eq!(amount, &Entry::Amount { cents: -5, year: 2000 + number as u16 });
        account.entries[2] = Entry::Amount { cents: -5, year: 2001 + number as u16 };
    }
    accounts.push(Account {
        id: number,
        owner: SalString::from(format!("owner {number}").as_str()),
        entries: SalVec::from([
            Entry::Empty,
            Entry::Note(SalString::from(format!("note of {number}").as_str())),
            Entry::Amount { cents: -5, year: 2001 + number as u16 },
        ]),
        spare: SalBox::new_in([number; 3], heap.alloc()),
    });
    tx.sync().unwrap();
    heap.close().unwrap();
}

#[test]
fn every_container_is_found_changed_and_found_again_over_four_generations() {
    let name = "every_container_is_found_changed_and_found_again_over_four_generations";
    if let Some((role, path)) = process::role() {
        return generation(&path, role.parse().unwrap());
    }
    let (_directory, path) = fresh_path();
    for number in 0..4 {
        process::run(name, &number.to_string(), &path);
    }
}

#[test]
fn replacing_everything_for_twenty_generations_keeps_the_file_within_bounds() {
    let name = "replacing_everything_for_twenty_generations_keeps_the_file_within_bounds";
    if let Some((role, path)) = process::role() {
        let number: u64 = role.parse().unwrap();
        let heap = open(&path);
        let tx = heap.write().unwrap();
        let words = tx.root_or_default(WORDS).unwrap();
        let old = std::mem::take(words);
        assert!(old.len() == if number == 0 { 0 } else { 20_000 });
        for word in 0..20_000_u64 {
            words.entry_ref(format!("{number} {word}").as_str()).or_default().extend(0..word % 50);
        }
        drop(old);
        let mut numbers = SalVector::new_in(heap.alloc());
        numbers.resize(1_000_000, number);
        tx.set_root(NUMBERS, numbers).unwrap();
        drop(tx);
        return heap.close().unwrap();
    }
    let (_directory, path) = fresh_path();
    let mut sizes = Vec::new();
    for number in 0..20 {
        process::run(name, &number.to_string(), &path);
        sizes.push((std::fs::metadata(&path).unwrap().len() >> 10, bytes::disk(&path) >> 10));
    }
    // Some 36 MiB are alive at once, while old and new are both there. The second generation is the first with both.
    let most = |of: fn(&(u64, u64)) -> u64| sizes.iter().map(of).max().unwrap();
    assert!(most(|size| size.1) <= 64 << 10, "KiB: {sizes:?}");
    assert!(most(|size| size.0) <= sizes[1].0 + (36 << 10), "KiB: {sizes:?}");
}

#[test]
fn threads_that_have_ended_and_other_threads_frees_leave_nothing_behind() {
    let name = "threads_that_have_ended_and_other_threads_frees_leave_nothing_behind";
    if let Some((role, path)) = process::role() {
        let heap = open(&path);
        let handle = heap.alloc();
        match role.as_str() {
            // Each thread fills a list and ends; the lists outlive it.
            "fill" => {
                let lists: Vec<_> = (0..8_u64)
                    .map(|thread| {
                        std::thread::spawn(move || {
                            let mut list = SalVector::new_in(handle);
                            for at in 0..2000 {
                                let mut inner = SalVector::new_in(handle);
                                inner.resize(1 + (at as usize * 7 + thread as usize) % 300, thread as u32);
                                list.push(inner);
                            }
                            list
                        })
                    })
                    .map(|thread| thread.join().unwrap())
                    .collect();
                let tx = heap.write().unwrap();
                for list in lists {
                    tx.add_root(NESTED, list).unwrap();
                }
            }
            // Four threads free what eight others took in the last generation, and what one takes now.
            _ => {
                let mut lists = Vec::new();
                let tx = heap.write().unwrap();
                while let Ok(list) = tx.take_root(NESTED) {
                    assert!(list.iter().all(|inner| inner.iter().all(|word| *word == inner[0])));
                    lists.push(list);
                }
                assert_eq!(lists.len(), 8);
                std::thread::scope(|scope| {
                    while let Some(list) = lists.pop() {
                        let (left, right): (Vec<_>, Vec<_>) =
                            list.into_iter().enumerate().partition(|(at, _)| at % 2 == 0);
                        scope.spawn(move || drop(left));
                        scope.spawn(move || {
                            let mut more = SalVector::new_in(handle);
                            more.resize(10_000, 1_u8);
                            drop(right);
                        });
                    }
                });
                drop(tx);
                assert_eq!(heap.stats().live_bytes, 0, "{}", heap.stats());
            }
        }
        return heap.close().unwrap();
    }
    let (_directory, path) = fresh_path();
    let mut sizes = Vec::new();
    for _ in 0..4 {
        process::run(name, "fill", &path);
        sizes.push(bytes::disk(&path) >> 10);
        process::run(name, "free", &path);
    }
    assert!(sizes[3] <= sizes[0] + (2 << 10), "KiB: {sizes:?}");
}

/// Blocks of one generation of the churn below: address, size and tag of each, in an array that is itself a root.
const BLOCKS: Root<SalVec<(u64, u32, u32)>> = Root::new("blocks");

#[test]
fn blocks_survive_ten_generations_of_random_churn_with_threads() {
    let name = "blocks_survive_ten_generations_of_random_churn_with_threads";
    if let Some((role, path)) = process::role() {
        let seed: u64 = role.parse().unwrap();
        let heap = open(&path);
        let handle = heap.alloc();
        let tx = heap.write().unwrap();
        let list = tx.root_or_default(BLOCKS).unwrap();
        let blocks: Vec<_> = list.drain(..).collect();
        let parts: Vec<Vec<_>> = (0..4).map(|part| blocks.iter().skip(part).step_by(4).copied().collect()).collect();
        let results: Vec<Vec<(u64, u32, u32)>> = std::thread::scope(|scope| {
            let churn = |(part, mut blocks): (usize, Vec<(u64, u32, u32)>)| {
                scope.spawn(move || {
                    let mut random = Random(seed + part as u64);
                    for _ in 0..6000 {
                        if blocks.len() < 500 || random.below(2) == 0 {
                            let size = match random.below(30) {
                                0 => 1 + random.below(700_000),
                                1..=5 => 1 + random.below(40_000),
                                _ => 1 + random.below(800),
                            };
                            let block = handle.allocate(Layout::from_size_align(size, 16).unwrap()).unwrap();
                            let tag = random.below(256) as u32;
                            // SAFETY: a new block of that size.
                            unsafe { block.cast::<u8>().write_bytes(tag as u8, size) };
                            blocks.push((block.cast::<u8>().addr().get() as u64, size as u32, tag));
                        } else {
                            let at = random.below(blocks.len());
                            check_and_free(handle, blocks.swap_remove(at));
                        }
                    }
                    blocks
                })
            };
            let threads: Vec<_> = parts.into_iter().enumerate().map(churn).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        list.extend(results.into_iter().flatten());
        drop(tx);
        return heap.close().unwrap();
    }
    let seed = support::seed(0x6E4E);
    println!("seed {seed}");
    let (_directory, path) = fresh_path();
    for number in 0..10 {
        process::run(name, &(seed + number * 100).to_string(), &path);
    }
}

fn check_and_free(heap: SalAlloc, (address, size, tag): (u64, u32, u32)) {
    let start = NonNull::new(std::ptr::with_exposed_provenance_mut::<u8>(address as usize)).unwrap();
    // SAFETY: a block of this heap, which is always mapped at the same address; freed once.
    unsafe {
        let bytes = std::slice::from_raw_parts(start.as_ptr(), size as usize);
        assert!(bytes.iter().all(|byte| u32::from(*byte) == tag), "{size} bytes at {address:#x}");
        heap.deallocate(start, Layout::from_size_align(size as usize, 16).unwrap());
    }
}

#[test]
fn several_processes_read_one_heap_at_once_and_change_no_byte() {
    let name = "several_processes_read_one_heap_at_once_and_change_no_byte";
    let read_only = HeapOptions::new().read_only(true);
    if let Some((role, path)) = process::role() {
        if role == "write" {
            return generation(&path, 0);
        }
        // SAFETY: only these tests write to the file.
        let heap = unsafe { read_only.open(&path) }.unwrap();
        let session = heap.read().unwrap();
        assert!(session.root(NUMBERS).unwrap().iter().zip(0..).all(|(found, at)| *found == at));
        assert_eq!(session.root(WORDS).unwrap().get("word 7").unwrap()[..], [0]);
        assert_eq!(session.root(TREE).unwrap().range(5..8).count(), 3);
        say("reading");
        hear();
        assert!(matches!(heap.write(), Err(SessionError::ReadOnly)));
        for size in [8, 50_000, 5 << 20] {
            assert!(heap.alloc().allocate(Layout::from_size_align(size, 8).unwrap()).is_err());
        }
        assert_eq!(session.roots().unwrap().len(), 8);
        assert_eq!(heap.purge(), 0);
        drop(session);
        assert!(matches!(heap.sync(), Err(sal::SyncError::ReadOnly)));
        return heap.close().unwrap();
    }
    let (_directory, path) = fresh_path();
    // SAFETY: as above.
    let missing = unsafe { read_only.open(&path) }.unwrap_err();
    assert!(matches!(&missing, OpenError::Os { source, .. } if source.kind() == std::io::ErrorKind::NotFound));
    process::run(name, "write", &path);
    let mut permissions = std::fs::metadata(&path).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o400);
    std::fs::set_permissions(&path, permissions).unwrap();
    let before = bytes::hash(&path);
    let mut readers: Vec<_> = (0..3).map(|_| process::start(name, "read", &path)).collect();
    for reader in &mut readers {
        reader.wait_for("reading");
    }
    if let Ok(file) = std::fs::OpenOptions::new().write(true).open(&path) {
        drop(file);
        // SAFETY: as above.
        assert!(matches!(unsafe { Heap::open(&path) }, Err(OpenError::Locked { holder: None })));
    }
    for mut reader in readers {
        reader.tell("go on");
        reader.succeed();
    }
    assert_eq!(bytes::hash(&path), before);
}
