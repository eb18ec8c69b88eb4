//! Memory straight from the kernel, for bulk copies that are made again and again.
//!
//! A commit copies thousands of pages while the program waits. Memory that is touched for the first time costs more
//! than the copy itself; a buffer that stays mapped costs nothing, and huge pages make its first touch cheap as well.
//!
//! # Invariants
//! - **B1** `capacity` bytes from `start` on are mapped, readable, writable and ours alone; both are multiples of a page,
//!   or both are 0.
//! - **B2** `len <= capacity`.

use super::CallError;
use super::mapping::{self, Access, Advice, PAGE, Source};
use core::ptr;
use core::slice;

/// Bytes of a huge page: buffers of that size and more have a multiple of it.
const HUGE: usize = 2 << 20;

/// Page-aligned bytes that can grow.
#[derive(Debug)]
pub(crate) struct Buffer {
    start: usize,
    capacity: usize,
    len: usize,
}

impl Buffer {
    /// An empty one, without memory.
    pub(crate) const fn new() -> Self {
        Self { start: 0, capacity: 0, len: 0 }
    }

    /// Bytes in use.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Bytes that are there without asking the kernel.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Forgets the contents and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }

    /// Forgets what lies behind the first `len` bytes.
    #[cfg(test)]
    pub(crate) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Sees to it that `bytes` bytes have room, those in use included.
    pub(crate) fn reserve(&mut self, bytes: usize) -> Result<(), CallError> {
        if bytes <= self.capacity {
            return Ok(());
        }
        let no_memory = CallError { call: "mmap", errno: super::errno::NO_MEMORY };
        let wanted = bytes.max(self.capacity.saturating_mul(2)).max(PAGE);
        let unit = if wanted >= HUGE { HUGE } else { PAGE };
        let capacity = wanted.checked_next_multiple_of(unit).filter(|&len| len <= isize::MAX as usize);
        let capacity = capacity.ok_or(no_memory)?;
        if self.capacity == 0 {
            self.start = mapping::map_anywhere(capacity, Access::ReadWrite, Source::Anonymous)?;
        } else {
            // SAFETY: the range is ours alone (B1), so that it may move; `&mut self` proves that nobody looks at it.
            self.start = unsafe { mapping::resize(self.start, self.capacity, capacity)? };
        }
        self.capacity = capacity;
        self.advise();
        Ok(())
    }

    /// Adds `bytes` bytes of unspecified contents (zeros, or what lay there before), for the caller to fill.
    pub(crate) fn append(&mut self, bytes: usize) -> Result<&mut [u8], CallError> {
        let no_memory = CallError { call: "mmap", errno: super::errno::NO_MEMORY };
        let old_len = self.len;
        let len = old_len.checked_add(bytes).ok_or(no_memory)?;
        self.reserve(len)?;
        self.len = len;
        Ok(&mut self.as_mut_slice()[old_len..])
    }

    /// Gives back what lies behind the first `bytes` bytes, rounded up to pages, also if it is in use.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        let capacity = bytes.checked_next_multiple_of(PAGE).unwrap_or(usize::MAX);
        if capacity < self.capacity {
            // SAFETY: the range is ours alone (B1), and `&mut self` proves that nobody looks at it.
            let unmapped = unsafe { mapping::unmap(self.start + capacity, self.capacity - capacity) };
            if unmapped.is_ok() {
                self.capacity = capacity;
                self.len = self.len.min(capacity);
            }
        }
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        if self.capacity == 0 {
            return &[];
        }
        // SAFETY: the bytes are mapped and ours (B1, B2), and initialised, as the kernel hands out zeros.
        unsafe { slice::from_raw_parts(ptr::with_exposed_provenance(self.start), self.len) }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        if self.capacity == 0 {
            return &mut [];
        }
        // SAFETY: as in `as_slice`, and `&mut self` makes it the only reference.
        unsafe { slice::from_raw_parts_mut(ptr::with_exposed_provenance_mut(self.start), self.len) }
    }

    fn advise(&self) {
        if self.capacity >= HUGE {
            // Only speed depends on it.
            let _ = mapping::advise(self.start, self.capacity, Advice::HugePage);
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.capacity != 0 {
            // SAFETY: the range is ours alone (B1) and goes with the buffer. A failure leaves nothing to do.
            let _ = unsafe { mapping::unmap(self.start, self.capacity) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growing_keeps_what_was_appended() {
        let mut buffer = Buffer::new();
        assert!(buffer.as_slice().is_empty() && buffer.as_mut_slice().is_empty());
        for round in 0..1500_usize {
            buffer.append(PAGE).unwrap().fill(round as u8);
            assert_eq!(buffer.len(), (round + 1) * PAGE);
        }
        assert!(
            buffer
                .as_slice()
                .chunks(PAGE)
                .enumerate()
                .all(|(round, page)| page.iter().all(|&byte| byte == round as u8))
        );
        assert_eq!(buffer.as_slice().as_ptr().addr() % PAGE, 0);
    }

    #[test]
    fn a_cleared_buffer_keeps_its_memory_until_it_is_shrunk() {
        let mut buffer = Buffer::new();
        buffer.append(8 << 20).unwrap().fill(1);
        let start = buffer.as_slice().as_ptr();
        buffer.clear();
        assert!(buffer.as_slice().is_empty());
        assert_eq!(buffer.append(8 << 20).unwrap().as_ptr(), start);
        buffer.truncate(5);
        assert_eq!(buffer.as_slice(), [1; 5]);
        buffer.shrink_to(2 * PAGE + 1);
        assert_eq!(buffer.capacity(), 3 * PAGE);
        assert_eq!(buffer.as_slice(), [1; 5]);
        buffer.shrink_to(0);
        assert_eq!((buffer.capacity(), buffer.len()), (0, 0));
        buffer.append(1).unwrap()[0] = 3;
        assert_eq!(buffer.as_slice(), [3]);
    }

    #[test]
    fn what_no_machine_has_is_an_error() {
        let mut buffer = Buffer::new();
        buffer.append(3).unwrap().fill(7);
        assert!(buffer.reserve(usize::MAX).is_err());
        assert!(buffer.reserve(isize::MAX as usize - PAGE).is_err());
        assert!(buffer.append(usize::MAX).is_err());
        assert_eq!(buffer.as_slice(), [7; 3]);
    }
}
