//! Heaps at other addresses than their own.
#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(unsafe_code)]

use crate::support::bytes::{self, header};
use crate::support::heaps::{opened, unmap};
use sal::persist::BlockVisitor;
use sal::prelude::*;
use sal::{HeapOptions, Mode, OpenError};
use std::path::{Path, PathBuf};

pub(crate) fn atomic() -> HeapOptions {
    HeapOptions::new().mode(Mode::Atomic)
}

pub(crate) fn relocated(path: &Path) -> Result<Heap, OpenError> {
    // SAFETY: written through this crate only; where a test damages a file it looks at nothing that is not told to be good.
    unsafe { Heap::open_relocated(path) }
}

/// Opens a copy whose addresses are taken.
pub(crate) fn moved(path: &Path) -> Heap {
    let heap = relocated(path).unwrap();
    assert!(heap.is_relocated() && home(path) != heap.address_range().start);
    heap
}

/// Where a file's heap belongs.
pub(crate) fn home(path: &Path) -> usize {
    bytes::half_word(&bytes::newest(path), header::WINDOW) as usize * (1 << 36)
}

/// A page in the way of a heap.
pub(crate) struct InTheWay(*mut libc::c_void);

impl InTheWay {
    pub(crate) fn of(path: &Path) -> Self {
        let address = std::ptr::with_exposed_provenance_mut(home(path) + (7 << 20));
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
        // SAFETY: takes only free addresses.
        let page = unsafe { libc::mmap(address, 4096, libc::PROT_NONE, flags, -1, 0) };
        assert_eq!(page, address, "{}", std::io::Error::last_os_error());
        Self(page)
    }
}

impl Drop for InTheWay {
    fn drop(&mut self) {
        // SAFETY: mapped by this value, and nobody uses it.
        unsafe { libc::munmap(self.0, 4096) };
    }
}

/// A copy of a heap's file, and the heap, which is open.
pub(crate) fn copied(heap: Heap, options: &HeapOptions, path: &Path) -> (Heap, PathBuf) {
    let copy = path.with_file_name("copy.sal");
    if heap.mode() == Mode::Atomic {
        heap.sync().unwrap();
        heap.snapshot_to(&copy).unwrap();
        return (heap, copy);
    }
    unmap(heap);
    bytes::copy(path, &copy);
    (opened(options, path), copy)
}

/// Whether all blocks and handles of a value are those of the heap.
pub(crate) fn is_whole<T: Persist>(value: &T, heap: &Heap) {
    let mut visitor = BlockVisitor::new(heap.address_range(), heap.alloc());
    visitor.value(value);
    visitor.finish().unwrap();
}
