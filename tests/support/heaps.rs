//! Opening, closing and killing heaps.
//!
//! The tests write their files through this crate only; where they damage one on purpose, or interfere with it, it is so that
//! no object suffers or nothing is believed.

use super::bytes::{self, header};
use super::process;
use sal::{Heap, HeapOptions, Mode, OpenError};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Opens a heap file, or creates it.
pub(crate) fn open_with(options: &HeapOptions, path: &Path) -> Result<Heap, OpenError> {
    // SAFETY: see the module.
    unsafe { options.open_or_create(path) }
}

/// As [`open_with`]; it must go well.
pub(crate) fn opened(options: &HeapOptions, path: &Path) -> Heap {
    open_with(options, path).unwrap()
}

/// As [`opened`], with the default options.
pub(crate) fn open(path: &Path) -> Heap {
    opened(&HeapOptions::new(), path)
}

/// Closes a heap and gives its addresses back. The tests use nothing of it afterwards.
pub(crate) fn unmap(heap: Heap) {
    // SAFETY: as said.
    unsafe { heap.close_and_unmap() }.unwrap();
}

/// The commit log of a heap file.
pub(crate) fn log_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-log");
    name.into()
}

/// In the other process: waits to be killed.
pub(crate) fn wait_for_the_kill() {
    process::say("done");
    process::hear();
    unreachable!("killed before");
}

/// Runs a test in another role, up to where it [waits](wait_for_the_kill), and kills it there. A heap that it has made lies where
/// there is nothing of this process.
pub(crate) fn run_and_kill(test: &str, role: &str, path: &Path) {
    let is_new = !path.exists();
    loop {
        let mut child = process::start(test, role, path);
        child.wait_for("done");
        child.kill();
        if !is_new || !path.exists() || has_room_for(path) {
            return;
        }
        let stem = path.file_stem().unwrap().to_str().unwrap();
        for entry in std::fs::read_dir(path.parent().unwrap()).unwrap().map(Result::unwrap) {
            if entry.file_name().to_str().is_some_and(|name| name.starts_with(stem)) {
                std::fs::remove_file(entry.path()).unwrap();
            }
        }
    }
}

/// Whether the addresses of a heap file are free in this process.
fn has_room_for(path: &Path) -> bool {
    let bytes = bytes::newest(path);
    let [window, windows] = [header::WINDOW, header::WINDOWS].map(|field| bytes::half_word(&bytes, field) as usize);
    let (address, len) = (std::ptr::with_exposed_provenance_mut(window << 36), windows << 36);
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED_NOREPLACE;
    // SAFETY: takes only free addresses, and gives them back.
    unsafe {
        let mapped = libc::mmap(address, len, libc::PROT_NONE, flags, -1, 0);
        mapped != libc::MAP_FAILED && libc::munmap(mapped, len) == 0
    }
}

/// A heap of each kind; those that are files of their own with their paths.
pub(crate) fn each_kind(options: &HeapOptions, directory: &Path) -> [(&'static str, Heap, Option<PathBuf>); 4] {
    let file = |mode: Mode| {
        let path = directory.join(format!("{mode:?}"));
        (opened(&options.clone().mode(mode), &path), Some(path))
    };
    let (shared, atomic) = (file(Mode::Shared), file(Mode::Atomic));
    [
        ("in memory", options.volatile().unwrap(), None),
        ("over a temporary file", options.clone().temporary_in(directory).volatile().unwrap(), None),
        ("shared", shared.0, shared.1),
        ("atomic", atomic.0, atomic.1),
    ]
}

/// Bytes of a heap's addresses that are in memory.
pub(crate) fn resident(heap: &Heap) -> usize {
    resident_in(&heap.address_range())
}

/// Bytes of addresses that are in memory.
pub(crate) fn resident_in(range: &Range<usize>) -> usize {
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let mut inside = false;
    let mut bytes = 0;
    for line in maps.lines() {
        // A mapping begins with its addresses; anything can stand in the name of its file.
        if let Some(start) = line.split_once('-').and_then(|(start, _)| usize::from_str_radix(start, 16).ok()) {
            inside = range.contains(&start);
        } else if let Some(rest) = line.strip_prefix("Rss:").filter(|_| inside) {
            bytes += rest.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024;
        }
    }
    bytes
}
