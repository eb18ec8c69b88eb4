//! What a review found in how shared heaps that were not closed go back to their last sync.
#![allow(unsafe_code)]

mod support;

use sal::collections::{CowMap, CowVec};
use sal::prelude::*;
use sal::{HeapOptions, Mode, OpenError, SealPolicy, SyncLevel};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use support::heaps::{run_and_kill, unmap};
use support::{alone, fresh_path, process};

const MAP: Root<CowMap<u64, u64>> = Root::new("map");
const LIST: Root<CowVec<SalRc<[u64]>>> = Root::new("list");
const BLOB: Root<SalRc<[u8]>> = Root::new("blob");
const MIB: usize = 1 << 20;
/// Where the slab table begins, in pages of 512 units.
const TABLE: u64 = 65536;

fn options() -> HeapOptions {
    HeapOptions::new().mode(Mode::Shared).capacity(64 << 20)
}

fn try_open(path: &Path) -> Result<Heap, OpenError> {
    // SAFETY: written through this crate only, or as a power cut might leave it.
    unsafe { options().open_or_create(path) }
}

fn len(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().len()
}

fn cut(path: &Path, len: u64) {
    File::options().write(true).open(path).unwrap().set_len(len).unwrap();
}

fn wait() {
    process::say("done");
    process::hear();
}

/// A heap with a root, synced; its length then is written beside it. Then it grows.
fn grow_behind_a_sync(path: &Path) {
    let heap = try_open(path).unwrap();
    heap.with_session(|tx| tx.set_root(MAP, [(1, 1)].into())).unwrap();
    heap.sync().unwrap();
    std::fs::write(path.with_extension("len"), len(path).to_string()).unwrap();
    let mut page = vec![0; 4096];
    File::open(path).unwrap().read_exact_at(&mut page, TABLE).unwrap();
    std::fs::write(path.with_extension("page"), page).unwrap();
    let object = |_| SalRc::try_from_slice_in(&vec![1_u8; 700 << 10], heap.alloc()).unwrap();
    let more: Vec<_> = (0..45).map(object).collect();
    wait();
    drop(more);
}

fn len_at_sync(path: &Path) -> u64 {
    std::fs::read_to_string(path.with_extension("len")).unwrap().parse().unwrap()
}

/// The number of the class was taken for the place of a name, which it lay behind the heap's end.
#[test]
fn a_root_whose_class_is_a_large_number_can_be_gone_back_to() {
    const CLASS: Root<CowMap<u64, u64>> = Root::class(0xdead_beef_0000_0001);
    let name = "a_root_whose_class_is_a_large_number_can_be_gone_back_to";
    if let Some((_, path)) = process::role() {
        let heap = try_open(&path).unwrap();
        heap.with_session(|tx| tx.set_root(CLASS, [(1, 7)].into())).unwrap();
        heap.sync().unwrap();
        return wait();
    }
    let _alone = alone();
    let (_directory, path) = fresh_path();
    run_and_kill(name, "writer", &path);
    let heap = try_open(&path).unwrap();
    assert_eq!(heap.read().unwrap().root(CLASS).unwrap().get(&1), Some(&7));
    unmap(heap);
}

/// A header in use had the length of the last clean close, and the file was refused when a close that had cut it did not come to its end.
#[test]
fn a_file_in_use_may_be_shorter_than_when_it_was_last_closed() {
    let name = "a_file_in_use_may_be_shorter_than_when_it_was_last_closed";
    if let Some((_, path)) = process::role() {
        let heap = try_open(&path).unwrap();
        heap.with_session(|tx| {
            tx.root_mut(LIST)?.clear();
            Ok::<_, sal::RootError>(())
        })
        .unwrap();
        heap.sync().unwrap();
        heap.purge();
        return wait();
    }
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let heap = try_open(&path).unwrap();
    let before = len(&path);
    let tx = heap.write().unwrap();
    let list = tx.root_or_default(LIST).unwrap();
    (0..200).for_each(|n| list.push(SalRc::from_iter_in(vec![n; 10_000], heap.alloc())));
    drop(tx);
    unmap(heap);
    assert!(len(&path) > before + (12 << 20));
    run_and_kill(name, "writer", &path);
    cut(&path, before + (8 << 20));
    let heap = try_open(&path).unwrap();
    assert!(heap.read().unwrap().root(LIST).unwrap().is_empty());
    unmap(heap);
}

/// The commits of such a heap named no file, and were refused.
#[test]
fn a_heap_that_somebody_vouched_for_is_gone_back_to_after_its_next_sync() {
    let name = "a_heap_that_somebody_vouched_for_is_gone_back_to_after_its_next_sync";
    if let Some((role, path)) = process::role() {
        let heap = match role.as_str() {
            "first" => try_open(&path).unwrap(),
            // SAFETY: the process was killed when it wrote nothing.
            _ => unsafe { options().accept_unclean().open(&path) }.unwrap(),
        };
        heap.with_session(|tx| tx.set_root(MAP, [(1, role.len() as u64)].into())).unwrap();
        heap.sync().unwrap();
        return wait();
    }
    let _alone = alone();
    let (_directory, path) = fresh_path();
    run_and_kill(name, "first", &path);
    run_and_kill(name, "second", &path);
    let heap = try_open(&path).unwrap();
    assert_eq!(heap.read().unwrap().root(MAP).unwrap()[&1], 6);
    unmap(heap);
}

/// There was no room for the copy of the roots, so no sync succeeded, and nothing that was dropped came back.
#[test]
fn a_heap_that_is_full_can_be_synced_and_emptied() {
    let (_directory, path) = fresh_path();
    // SAFETY: a new file, written through this crate only.
    let heap = unsafe { options().capacity(4 << 20).open_or_create(&path) }.unwrap();
    let mut held = Vec::new();
    let mut size = 200_000;
    while size > 8 {
        while let Ok(slice) = SalRc::try_from_slice_in(&vec![1_u8; size], heap.alloc()) {
            held.push(slice);
        }
        size -= size / 8 + 8;
    }
    heap.sync().unwrap();
    drop(held);
    heap.sync().unwrap();
    assert!(SalRc::try_from_slice_in(&[1_u8; 200_000], heap.alloc()).is_ok());
    heap.close().unwrap();
}

/// Runs that the table had behind the end of the file were damage.
#[test]
fn a_table_that_is_newer_than_the_length_of_the_file_is_no_damage() {
    let name = "a_table_that_is_newer_than_the_length_of_the_file_is_no_damage";
    if let Some((_, path)) = process::role() {
        return grow_behind_a_sync(&path);
    }
    let _alone = alone();
    let (_directory, path) = fresh_path();
    run_and_kill(name, "writer", &path);
    cut(&path, len_at_sync(&path));
    let heap = try_open(&path).unwrap();
    assert!(heap.verify().is_good());
    // Nothing of the old table comes to light where the heap grows.
    let large: SalRc<[u8]> = SalRc::try_from_slice_in(&vec![1; 40 * MIB], heap.alloc()).unwrap();
    let block = heap.locate(large.as_ptr().addr());
    assert!(block.is_some());
    for at in (0..40 * MIB).step_by(16 << 10) {
        assert_eq!(heap.locate(large.as_ptr().addr() + at), block, "{at:#x}");
    }
    drop(large);
    heap.sync().unwrap();
    assert!(heap.stats().live_bytes < 4096, "{}", heap.stats());
    unmap(heap);
}

/// What stood in the table behind the end broke a run that was laid over it, at the next crash.
#[test]
fn what_is_committed_over_remains_of_an_older_table_stays() {
    let name = "what_is_committed_over_remains_of_an_older_table_stays";
    if let Some((role, path)) = process::role() {
        if role == "first" {
            return grow_behind_a_sync(&path);
        }
        let heap = try_open(&path).unwrap();
        let large = SalRc::try_from_slice_in(&vec![7_u8; 40 * MIB], heap.alloc()).unwrap();
        heap.set_root(BLOB, large).unwrap();
        heap.sync().unwrap();
        return wait();
    }
    let _alone = alone();
    let (_directory, path) = fresh_path();
    run_and_kill(name, "first", &path);
    // The table's first page, and the length, have not reached the disk; its other pages have.
    cut(&path, len_at_sync(&path));
    let page = std::fs::read(path.with_extension("page")).unwrap();
    File::options().write(true).open(&path).unwrap().write_all_at(&page, TABLE).unwrap();
    run_and_kill(name, "second", &path);
    let heap = try_open(&path).unwrap();
    let read = heap.read().unwrap();
    let large = read.root(BLOB).unwrap();
    assert!(heap.locate(large.as_ptr().addr()).is_some() && large.iter().all(|&byte| byte == 7));
    drop(read);
    unmap(heap);
}

/// Each of them was moved to the stack first.
#[test]
fn dropping_a_sealed_chain_of_large_values_takes_little_stack() {
    struct Node {
        _next: Option<SalRc<Node>>,
        _bytes: [u8; 16_000],
    }
    let heap = HeapOptions::new().seal_policy(SealPolicy::Logical).volatile().unwrap();
    let mut list: Option<SalRc<Node>> = None;
    for _ in 0..100 {
        list = Some(heap.rc(Node { _next: list, _bytes: [1; 16_000] }));
    }
    heap.sync_with(SyncLevel::Seal).unwrap();
    std::thread::Builder::new().stack_size(512 << 10).spawn(move || drop(list)).unwrap().join().unwrap();
    assert_eq!(heap.stats().live_bytes, 0);
}
