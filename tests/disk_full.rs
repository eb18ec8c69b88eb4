//! A full disk is an error of the allocation that needs it, and never a signal.
#![cfg_attr(feature = "nightly", feature(allocator_api))]
#![allow(unsafe_code)]

mod support;

use allocator_api2::alloc::Allocator;
use allocator_api2::vec::Vec as SalVector;
use sal::{Heap, HeapOptions, Mode, OpenError, Root, SalAlloc};
use std::alloc::Layout;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::ptr::NonNull;
use support::process::{self, say};
use support::{bytes, fresh_path};

const NUMBERS: Root<SalVector<u64, SalAlloc>> = Root::new("numbers");

fn open(path: &Path) -> Result<Heap, OpenError> {
    // SAFETY: only these tests write to the file.
    unsafe { HeapOptions::new().mode(Mode::Shared).open_or_create(path) }
}

fn take(heap: SalAlloc, layout: Layout) -> Option<NonNull<u8>> {
    let block = heap.allocate(layout).ok()?.cast::<u8>();
    // SAFETY: a new block of that size. Every page of it is written: it must be there.
    unsafe { block.write_bytes(0xCD, layout.size()) };
    Some(block)
}

/// Fills the disk below a heap from both sides, in a process of its own, so that a signal is seen as such.
fn fill(path: &Path, fill_up: impl Fn() -> Option<File>) {
    let heap = open(path).unwrap();
    let mut numbers = SalVector::new_in(heap.alloc());
    numbers.extend(0..10_000);
    heap.write().unwrap().set_root(NUMBERS, numbers).unwrap();
    for size in [48, 5000, 70_000, 400_000, 3 << 20] {
        let layout = Layout::from_size_align(size, 8).unwrap();
        let mut blocks = Vec::new();
        while let Some(block) = take(heap.alloc(), layout) {
            blocks.push(block);
            assert!(blocks.len() * size < 1 << 30, "the disk has no end");
        }
        assert!(!blocks.is_empty(), "size {size}");
        // Half of it goes back, also to the disk, and then something else takes the disk.
        for block in blocks.split_off(blocks.len() / 2) {
            // SAFETY: ours, freed once.
            unsafe { heap.alloc().deallocate(block, layout) };
        }
        heap.purge();
        let other = fill_up();
        let mut more = Vec::new();
        while let Some(block) = take(heap.alloc(), layout) {
            more.push(block);
            assert!(more.len() * size < 1 << 30, "the disk has no end");
        }
        drop(other);
        for block in blocks.into_iter().chain(more) {
            // SAFETY: ours, freed once.
            unsafe { heap.alloc().deallocate(block, layout) };
        }
        heap.purge();
    }
    assert!(heap.read().unwrap().root(NUMBERS).unwrap().iter().zip(0..).all(|(number, at)| *number == at));
    let other = fill_up();
    // SAFETY: nothing of it is used again.
    unsafe { heap.close_and_unmap() }.unwrap();
    drop(other);

    // What the last process gave back at its close is no more there for sure than what it punched itself.
    let heap = open(path).unwrap();
    let other = fill_up();
    while take(heap.alloc(), Layout::from_size_align(100_000, 8).unwrap()).is_some() {}
    while take(heap.alloc(), Layout::from_size_align(100, 8).unwrap()).is_some() {}
    assert_eq!(heap.read().unwrap().root(NUMBERS).unwrap().len(), 10_000);
    drop(other);
    heap.close().unwrap();
    say("done");
}

#[test]
fn allocations_fail_on_a_full_file_system_and_the_heap_closes_and_opens_again() {
    let name = "allocations_fail_on_a_full_file_system_and_the_heap_closes_and_opens_again";
    if let Some((_, path)) = process::role() {
        fill(&path, || Some(process::fill_disk(path.parent().unwrap())));
        return;
    }
    let (_directory, path) = fresh_path();
    // Where it is not permitted, the limit on the file's size below stands for it.
    if let Some(child) = process::start_on_small_disk(name, "fill", &path, 40) {
        child.succeed();
    }
}

#[test]
fn allocations_fail_at_the_limit_on_file_size_and_the_heap_closes_and_opens_again() {
    let name = "allocations_fail_at_the_limit_on_file_size_and_the_heap_closes_and_opens_again";
    let limited = |path: &Path, role: &str, limit: u64| {
        process::start_with(name, role, path, |command| {
            // SAFETY: system calls only, between fork and exec.
            unsafe {
                command.pre_exec(move || {
                    let limit = libc::rlimit { rlim_cur: limit, rlim_max: limit };
                    libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
                    libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit);
                    Ok(())
                });
            }
        })
    };
    match process::role() {
        Some((role, path)) if role == "create" => {
            // Not even the areas fit.
            assert!(matches!(open(&path), Err(OpenError::Os { .. })));
            assert!(!path.exists(), "a failed creation leaves no file");
        }
        Some((_, path)) => fill(&path, || None),
        None => {
            let (_directory, path) = fresh_path();
            limited(&path, "create", 1 << 20).succeed();
            let heap = open(&path).unwrap();
            // SAFETY: nothing of it is used again.
            unsafe { heap.close_and_unmap() }.unwrap();
            let len = std::fs::metadata(&path).unwrap().len();
            limited(&path, "fill", len + (30 << 20)).succeed();
            assert_eq!(bytes::half_word(&bytes::newest(&path), bytes::header::STATE), 1);
        }
    }
}
