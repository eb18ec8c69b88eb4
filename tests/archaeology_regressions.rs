//! What once went wrong with looking at heap files.
#![allow(unsafe_code)]

mod support;

use sal::prelude::*;
use sal::{Archaeology, ArchaeologyOptions, HeapOptions, Mode};
use std::fs::OpenOptions;
use std::ops::ControlFlow;
use support::{alone, bytes, fresh_path, process};

const NUMBERS: Root<SalVec<u64>> = Root::new("numbers");
const UNIT: u64 = 32 << 10;

/// The size of an unclean shared heap is that of its file, which a copy that broke off, or a cut, leaves at any length.
/// The units of that length were rounded up, but a unit with less than a page in it was not mapped: marking read on there,
/// and the process was killed by a signal.
#[test]
fn an_unclean_heap_that_was_cut_at_an_odd_length_is_searched_for_orphans_without_a_crash() {
    let name = "an_unclean_heap_that_was_cut_at_an_odd_length_is_searched_for_orphans_without_a_crash";
    if let Some((_, copy)) = process::role() {
        for options in [ArchaeologyOptions::default(), ArchaeologyOptions::default().salvage(true)] {
            // It may be refused, and anything may be reported.
            let Ok(found) = options.open(&copy) else { continue };
            let blocks: Vec<_> = found.blocks().collect();
            for block in &blocks {
                let read = found
                    .bytes(block.offset, block.len)
                    .map(|bytes| bytes.iter().map(|&byte| u64::from(byte)).sum::<u64>());
                std::hint::black_box(read);
            }
            for root in found.roots() {
                std::hint::black_box(root.offset.and_then(|offset| found.bytes(offset, 8)).map(<[u8]>::to_vec));
            }
            std::hint::black_box(found.orphans().map(|orphans| orphans.len()).ok());
            std::hint::black_box((found.verify(), found.scrub(|_| ControlFlow::Continue(()))));
        }
        return;
    }
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let copy = path.with_file_name("copy");
    // SAFETY: the file is written only here.
    let heap = unsafe { HeapOptions::new().mode(Mode::Shared).capacity(1 << 30).open_or_create(&path) }.unwrap();
    let tx = heap.write().unwrap();
    let numbers = tx.root_or_default(NUMBERS).unwrap();
    numbers.reserve(1 << 18);
    numbers.extend(0..1 << 18);
    let end = (numbers.as_ptr() as usize + (8 << 18) - heap.address_range().start) as u64;
    drop(tx);
    bytes::copy(&path, &copy);
    // SAFETY: nothing of the heap is used afterwards.
    unsafe { heap.close_and_unmap() }.unwrap();
    assert!(Archaeology::open(&path).unwrap().orphans().unwrap().is_empty());
    // The object ends where a unit does: a few bytes of a unit, less than one, and whole pages and a part of one.
    for cut in [end + 100, end - UNIT + 100, end - 1, end - (1 << 20) - 5000] {
        OpenOptions::new().write(true).open(&copy).unwrap().set_len(cut).unwrap();
        process::run(name, "look", &copy);
    }
}
