//! A heap file's bytes at one commit, as a private copy that grows as it is looked at.
//!
//! Address space for all of the file is reserved, where the heap believes to be if that is free; 64 KiB at a time are
//! copied into it when they are first asked for, from the file or, for pages that it names, from the log. Nothing is
//! mapped from the files: whatever others do to them, references stay what they were, and reading a file that becomes
//! shorter is no signal.
//!
//! # Invariants
//! - **A1** `len` bytes from `start` on, rounded up to whole units, are readable and writable memory of this image's alone.
//! - **A2** The bytes of a chunk whose bit is set are not written to, but through `&mut` of the image. The bit is set, with
//!   Release, under the lock `loading`, under which alone chunks are filled.

use crate::commit::inspect::Inspected;
use crate::commit::storage::{Part, Storage};
use crate::format::{PAGE, UNIT};
use crate::gc::zeroed::Zeroed;
use crate::os::CallError;
use crate::os::file_ranges::next_data;
use crate::os::mapping::{self, Access, Source};
use std::collections::BTreeSet;
use std::ops::Range;
use std::ptr::{with_exposed_provenance, with_exposed_provenance_mut};
use std::slice;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bytes that are copied at once.
const CHUNK: usize = 16 * PAGE;

/// See the module.
#[derive(Debug)]
pub(super) struct Image {
    start: usize,
    /// Bytes at the commit, a multiple of the page.
    len: usize,
    /// Bytes that the file has, and should have but for what the log names; behind these all else is zeros.
    in_file: u64,
    folded: u64,
    is_loaded: Zeroed<AtomicU64>,
    /// Pages that could not be had.
    loading: Mutex<BTreeSet<u64>>,
}

/// Bytes of memory: up to the end of the last unit, which a commit may cut.
fn mapped_len(len: usize) -> usize {
    len.next_multiple_of(UNIT).max(UNIT)
}

/// Where the bytes come from.
pub(super) struct Files<'a> {
    pub(super) storage: &'a dyn Storage,
    pub(super) commit: &'a Inspected,
}

impl Image {
    /// An image of `len` bytes, of which the file has `in_file` and should have `folded`, at `address` if that is free.
    pub(super) fn new(address: usize, len: u64, in_file: u64, folded: u64) -> Result<Self, CallError> {
        let len = len as usize / PAGE * PAGE;
        let mapped = mapped_len(len);
        let start = match mapping::map_at(address, mapped, Access::ReadWrite, Source::Anonymous) {
            Ok(()) => address,
            Err(_) => mapping::map_anywhere(mapped, Access::ReadWrite, Source::Anonymous)?,
        };
        let is_loaded = Zeroed::new(len.div_ceil(CHUNK).div_ceil(64)).inspect_err(|_| {
            // SAFETY: mapped above, and nobody knows of it.
            let _ = unsafe { mapping::unmap(start, mapped) };
        })?;
        Ok(Self { start, len, in_file, folded, is_loaded, loading: Mutex::default() })
    }

    /// Where the image lies.
    pub(super) fn address(&self) -> usize {
        self.start
    }

    fn range(&self, offset: u64, len: u64) -> Option<Range<usize>> {
        let end = offset.checked_add(len).filter(|&end| end <= self.len as u64)?;
        Some(offset as usize..end as usize)
    }

    /// The bytes of a range; none if it reaches past the end or some of it cannot be had.
    pub(super) fn bytes(&self, files: &Files<'_>, offset: u64, len: u64) -> Option<&[u8]> {
        let range = self.range(offset, len)?;
        if !self.load(files, range.clone()) {
            return None;
        }
        // SAFETY: within the image (A1), and its chunks are loaded (A2).
        Some(unsafe { slice::from_raw_parts(with_exposed_provenance(self.start + range.start), range.len()) })
    }

    /// As [`Image::bytes`], to change.
    pub(super) fn bytes_mut(&mut self, files: &Files<'_>, offset: u64, len: u64) -> Option<&mut [u8]> {
        let range = self.range(offset, len)?;
        if !self.load(files, range.clone()) {
            return None;
        }
        // SAFETY: as in `bytes`, and `&mut self` makes it the only reference.
        Some(unsafe { slice::from_raw_parts_mut(with_exposed_provenance_mut(self.start + range.start), range.len()) })
    }

    /// Loads a range, as far as it can be had, for those who read the memory itself; the rest reads as zeros. False if
    /// some of it could not be had.
    pub(super) fn load(&self, files: &Files<'_>, range: Range<usize>) -> bool {
        let range = range.start..range.end.min(self.len);
        if range.is_empty() {
            return true;
        }
        for chunk in range.start / CHUNK..range.end.div_ceil(CHUNK) {
            self.load_chunk(files, chunk);
        }
        let pages = (range.start / PAGE) as u64..range.end.div_ceil(PAGE) as u64;
        self.missing().range(pages).next().is_none()
    }

    /// Pages that could not be had so far.
    pub(super) fn missing(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        // Whoever panicked had not yet said that a chunk is loaded.
        self.loading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn load_chunk(&self, files: &Files<'_>, chunk: usize) {
        let (word, bit) = (&self.is_loaded[chunk / 64], 1 << (chunk % 64));
        // Acquire pairs with the Release below: the bytes are seen.
        if word.load(Ordering::Acquire) & bit != 0 {
            return;
        }
        let mut missing = self.missing();
        if word.load(Ordering::Acquire) & bit != 0 {
            return;
        }
        let range = chunk * CHUNK..((chunk + 1) * CHUNK).min(self.len);
        // SAFETY: within the image (A1); nobody has a reference to a chunk that is not loaded, and under the lock
        // nobody else fills it (A2).
        let bytes =
            unsafe { slice::from_raw_parts_mut(with_exposed_provenance_mut(self.start + range.start), range.len()) };
        let first = (range.start / PAGE) as u64;
        let in_log = files.commit.named.partition_point(|newest| newest.page < first);
        let is_named =
            files.commit.named.get(in_log).is_some_and(|newest| newest.page * (PAGE as u64) < range.end as u64);
        let is_hole = next_data(files.storage.data_fd(), range.start as u64, range.end as u64) == Ok(None);
        if is_hole && !is_named && range.end as u64 <= self.in_file {
            word.fetch_or(bit, Ordering::Release);
            return;
        }
        let mut read = vec![0; range.len()];
        let is_read = files.storage.read_at(Part::Data, &mut read, range.start as u64).is_ok();
        for (index, page) in read.chunks_exact_mut(PAGE).enumerate() {
            let number = first + index as u64;
            let offset = number * PAGE as u64;
            let is_there = match files.commit.named_page(number) {
                Some((checksum, Some(image))) => {
                    files.storage.read_at(Part::Log, page, image) == Ok(PAGE) && crc32c::crc32c(page) == checksum
                }
                // Written to the heap file behind what was folded, for a commit that did not come to be.
                None if offset >= self.folded => {
                    page.fill(0);
                    true
                }
                _ if is_read => offset < self.in_file,
                // One page that cannot be read hides the others.
                _ => offset < self.in_file && files.storage.read_at(Part::Data, page, offset).is_ok(),
            };
            if !is_there {
                missing.insert(number);
            } else if page.iter().any(|&byte| byte != 0) {
                // What is zero takes no memory.
                bytes[index * PAGE..(index + 1) * PAGE].copy_from_slice(page);
            }
        }
        word.fetch_or(bit, Ordering::Release);
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        // SAFETY: ours alone (A1), and references borrow the image. A failure leaves nothing to do.
        let _ = unsafe { mapping::unmap(self.start, mapped_len(self.len)) };
    }
}
