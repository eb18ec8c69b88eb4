//! Bytes of heap files, as the format lays them out.

use std::fs::{File, OpenOptions};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Where the fields of a header slot lie.
pub(crate) mod header {
    pub(crate) const MAGIC: usize = 0;
    pub(crate) const VERSION: usize = 8;
    pub(crate) const ENDIANNESS: usize = 12;
    pub(crate) const INCOMPATIBLE: usize = 24;
    pub(crate) const READ_ONLY_COMPATIBLE: usize = 32;
    pub(crate) const HEAP_ID: usize = 40;
    pub(crate) const GENERATION: usize = 56;
    pub(crate) const PAGE_LEN: usize = 64;
    pub(crate) const POINTER_LEN: usize = 68;
    pub(crate) const WINDOW: usize = 72;
    pub(crate) const WINDOWS: usize = 76;
    pub(crate) const CAPACITY: usize = 80;
    pub(crate) const MODE: usize = 88;
    pub(crate) const STATE: usize = 92;
    pub(crate) const FOLDED_THROUGH: usize = 120;
    pub(crate) const EPOCH: usize = 128;
    pub(crate) const UNITS: usize = 136;
    pub(crate) const SLAB_TABLE: usize = 144;
    pub(crate) const ROOTS: usize = 160;
    pub(crate) const TYPES: usize = 176;
    pub(crate) const SOFT: usize = 192;
    pub(crate) const SEGMENTS: usize = 256;
    pub(crate) const BASES: usize = 272;
    pub(crate) const FILE_LEN: usize = 336;
    pub(crate) const LOG_START: usize = 344;
    pub(crate) const CHECKSUM: usize = 508;
    pub(crate) const LEN: usize = 512;
}

/// Where the second slot and the holder lie.
pub(crate) const SLOT: u64 = 4096;
pub(crate) const HOLDER: u64 = 8192;

pub(crate) fn word(slot: &[u8], field: usize) -> u64 {
    u64::from_le_bytes(slot[field..field + 8].try_into().unwrap())
}

pub(crate) fn half_word(slot: &[u8], field: usize) -> u32 {
    u32::from_le_bytes(slot[field..field + 4].try_into().unwrap())
}

pub(crate) fn writable(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).open(path).unwrap()
}

/// Both slots, the one that counts first, with where they lie.
pub(crate) fn slots(path: &Path) -> [(u64, [u8; header::LEN]); 2] {
    let file = File::open(path).unwrap();
    let mut slots = [0, SLOT].map(|at| {
        let mut slot = [0; header::LEN];
        file.read_exact_at(&mut slot, at).unwrap();
        (at, slot)
    });
    let generation = |slot: &[u8]| match slot[..4] == *b"\x89SAL" {
        true => 1 + word(slot, header::GENERATION),
        false => 0,
    };
    if generation(&slots[0].1) < generation(&slots[1].1) {
        slots.swap(0, 1);
    }
    slots
}

/// The slot that counts.
pub(crate) fn newest(path: &Path) -> [u8; header::LEN] {
    slots(path)[0].1
}

/// Changes the slot that counts, and makes its checksum good again.
pub(crate) fn edit_header(path: &Path, edit: impl FnOnce(&mut [u8])) {
    let (at, mut slot) = slots(path)[0];
    edit(&mut slot);
    let checksum = crc32c::crc32c(&slot[..header::CHECKSUM]);
    slot[header::CHECKSUM..].copy_from_slice(&checksum.to_le_bytes());
    write(path, at, &slot);
}

/// Puts a number of four or eight bytes into a slot.
pub(crate) fn put<const LEN: usize>(slot: &mut [u8], field: usize, bytes: [u8; LEN]) {
    slot[field..field + LEN].copy_from_slice(&bytes);
}

pub(crate) fn write(path: &Path, at: u64, bytes: &[u8]) {
    writable(path).write_all_at(bytes, at).unwrap();
}

pub(crate) fn read(path: &Path, at: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    File::open(path).unwrap().read_exact_at(&mut bytes, at).unwrap();
    bytes
}

/// The parts of a file that are no holes: pages that hold a byte that is not zero.
pub(crate) fn pages(path: &Path) -> Vec<(u64, Vec<u8>)> {
    let file = File::open(path).unwrap();
    let page_at = |at: u64| {
        let mut page = vec![0; 4096];
        let read = file.read_at(&mut page, at).unwrap();
        page.truncate(read);
        (at, page)
    };
    let pages = extents(&file).into_iter().flat_map(|data| data.step_by(4096)).map(page_at);
    pages.filter(|(_, page)| page.iter().any(|&byte| byte != 0)).collect()
}

/// Where a file is no hole; multiples of its blocks, or where it ends.
pub(crate) fn extents(file: &File) -> Vec<Range<u64>> {
    let seek = |at: i64, whence| {
        // SAFETY: a plain call on an open descriptor.
        let found = unsafe { libc::lseek(file.as_raw_fd(), at, whence) };
        (found >= 0).then_some(found)
    };
    let mut extents = Vec::new();
    let mut at = 0;
    while let Some(start) = seek(at, libc::SEEK_DATA) {
        at = seek(start, libc::SEEK_HOLE).unwrap();
        extents.push(start.unsigned_abs()..at.unsigned_abs());
    }
    extents
}

/// A number that any change of the file's contents or length changes.
pub(crate) fn hash(path: &Path) -> (u64, u32) {
    let len = std::fs::metadata(path).unwrap().len();
    let hash = pages(path)
        .iter()
        .fold(0, |hash, (at, page)| crc32c::crc32c_append(crc32c::crc32c_append(hash, &at.to_le_bytes()), page));
    (len, hash)
}

/// Bytes of disk that a file takes.
pub(crate) fn disk(path: &Path) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(path).unwrap()) * 512
}

/// Copies a file and leaves its holes out.
pub(crate) fn copy(from: &Path, to: &Path) {
    let file = File::create(to).unwrap();
    file.set_len(std::fs::metadata(from).unwrap().len()).unwrap();
    for (at, page) in pages(from) {
        file.write_all_at(&page, at).unwrap();
    }
}
