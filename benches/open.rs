//! Opening a heap that was closed well, and closing it again: `open/SIZE/1t` and `open_close/SIZE/1t`.
//!
//! The heaps hold one vector of the given size, sparse for the largest. Nothing of it is read: what is timed is the
//! header, the lock, the mapping and the durable mark that the heap is in use.
#![allow(unsafe_code)]

mod common;

use sal::collections::SalVec;
use sal::{Heap, HeapOptions, Root};
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

const BYTES: Root<SalVec<u8>> = Root::new("bytes");

fn main() {
    let mut criterion = common::criterion();
    let directory = tempfile::tempdir_in(".").expect("a directory for the heaps");
    for (name, len, touched) in [("1MiB", 1 << 20, 1 << 20), ("1GiB", 1 << 30, 1 << 30), ("10GiB", 10 << 30, 1 << 20)] {
        let path = directory.path().join(format!("{name}.sal"));
        make(&path, len, touched);
        let mut group = criterion.benchmark_group(format!("open/{name}"));
        group.bench_function("1t", |bencher| {
            bencher.iter_custom(|rounds| {
                (0..rounds).fold(Duration::ZERO, |total, _| {
                    let start = Instant::now();
                    let heap = open(&path);
                    let spent = start.elapsed();
                    close(heap);
                    total + spent
                })
            });
        });
        group.finish();
        let mut group = criterion.benchmark_group(format!("open_close/{name}"));
        group.bench_function("1t", |bencher| bencher.iter(|| close(black_box(open(&path)))));
        group.finish();
        std::fs::remove_file(path).expect("the heap is there");
    }
    criterion.final_summary();
}

fn make(path: &Path, len: usize, touched: usize) {
    // SAFETY: the file is this program's own.
    let heap = unsafe { HeapOptions::new().create(path) }.expect("a new heap");
    let tx = heap.write().expect("a session");
    let bytes = tx.root_or_default(BYTES).expect("a root");
    bytes.try_reserve_exact(len).expect("room for the vector");
    bytes.resize(touched, 1);
    drop(tx);
    close(heap);
}

fn open(path: &Path) -> Heap {
    // SAFETY: the file is this program's own.
    unsafe { HeapOptions::new().open(path) }.expect("the heap opens")
}

fn close(heap: Heap) {
    // SAFETY: nothing in the heap is used afterwards.
    unsafe { heap.close_and_unmap() }.expect("the heap closes");
}
