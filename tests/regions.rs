//! Regions where it takes a whole program to see what they do: how long they may be, pages that leave memory, full disks.
//! The rest is tested where they are defined.
#![allow(unsafe_code)]

mod support;

use sal::region::Advice;
use sal::{HeapOptions, Region, RegionError};
use std::fs::File;
use std::marker::PhantomData;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use support::heaps::resident;
use support::process::{self, say};
use support::{alone, fresh_path};

const GIB: usize = 1 << 30;

/// Says at compile time whether a type may be sent or shared: with two impls that fit, the call would be ambiguous.
trait Unless<Marker> {
    fn is_so() {}
}
struct Sent;
struct Shared;
impl<T: ?Sized> Unless<()> for PhantomData<T> {}
impl<T: ?Sized + Send> Unless<Sent> for PhantomData<T> {}
impl<T: ?Sized + Sync> Unless<Shared> for PhantomData<T> {}

#[test]
fn a_region_may_be_sent_and_shared_just_as_its_elements() {
    fn both<T: Send + Sync>() {}
    both::<Region<u64>>();
    both::<Region<String>>();
    <PhantomData<Region<Rc<u64>>> as Unless<_>>::is_so();
}

#[test]
fn a_region_is_as_long_as_asked_up_to_48_gib_and_takes_what_is_touched() {
    let _alone = alone();
    let heap = HeapOptions::new().capacity(56 << 30).huge_pages(false).volatile().unwrap();
    for len in [2 << 20, (2 << 20) + 1, 64 << 20, GIB + 1, 32 * GIB + 1, 48 * GIB] {
        let mut region = Region::<u8>::with_capacity_in(len, heap.alloc());
        assert_eq!(region.capacity(), len.next_multiple_of(4096), "no power of two");
        assert!(heap.stats().used as usize - region.capacity() < 32 << 10);
        let before = resident(&heap);
        region.extend_from_slice(&[7; 10_000]);
        assert!(resident(&heap) < before + (1 << 20), "{len}");
        assert_eq!(region[9999], 7);
        drop(region);
        heap.purge();
    }
}

#[test]
fn a_region_over_a_temporary_file_leaves_memory_without_swap_and_comes_back() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let heap = HeapOptions::new().capacity(1 << 30).temporary_in(directory.path()).volatile().unwrap();
    let region = Region::from_fn_in(4 << 20, heap.alloc(), |n| n as u64);
    let bytes = region.capacity_bytes();
    assert!(resident(&heap) >= bytes);
    let directory = File::open(directory.path()).unwrap();
    // What is written to the disk can be dropped at once; otherwise the kernel does that first, at its own time.
    // SAFETY: a plain call.
    assert_eq!(unsafe { libc::syncfs(directory.as_raw_fd()) }, 0);
    if region.advise(.., Advice::PageOut).is_err() {
        println!("this kernel takes no such advice");
        return;
    }
    let left = resident(&heap);
    println!("{left} of {bytes} bytes are in memory");
    assert!(left < bytes / 2, "{left} of {bytes}");
    assert!(region.iter().enumerate().all(|(n, &word)| n as u64 == word));
    assert!(resident(&heap) >= bytes);
}

#[test]
fn a_region_over_a_temporary_file_on_a_full_disk_is_an_error_and_no_signal() {
    let name = "a_region_over_a_temporary_file_on_a_full_disk_is_an_error_and_no_signal";
    if let Some((_, path)) = process::role() {
        let directory = path.parent().unwrap();
        let heap = HeapOptions::new().capacity(1 << 30).temporary_in(directory).volatile().unwrap();
        let full = Region::<u8>::try_with_capacity_in(200 << 20, heap.alloc()).err();
        assert_eq!(full, Some(RegionError::NoRoom { bytes: 200 << 20 }));
        let mut region = Region::<u8>::with_capacity_in(10 << 20, heap.alloc());
        while region.try_push(3).is_ok() {}
        assert!((10 << 20..40 << 20).contains(&region.len()), "{}", region.len());
        let filler = process::fill_disk(directory);
        region.fill(4);
        assert!(region.try_push(5).is_err());
        drop(filler);
        // What was freed and purged is reserved anew, or refused, but never missing when it is touched.
        drop(region);
        heap.purge();
        let filler = process::fill_disk(directory);
        let mut regions = Vec::new();
        while let Ok(mut region) = Region::<u8>::try_with_capacity_in(1 << 20, heap.alloc()) {
            region.extend_from_slice(&vec![6; 1 << 20]);
            regions.push(region);
            assert!(regions.len() < 64);
        }
        drop(filler);
        return say("done");
    }
    let (_directory, path) = fresh_path();
    if let Some(child) = process::start_on_small_disk(name, "fill", &path, 40) {
        child.succeed();
    }
}
