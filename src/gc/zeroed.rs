//! Tables of zeros that take memory only where they are written.

use crate::os::CallError;
use crate::os::mapping::{self, Access, Source};
use core::ops::{Deref, DerefMut};
use core::slice;
use zerocopy::FromZeros;

/// A slice in a mapping of its own.
///
/// # Invariants
/// - **Z1** `len` values from `start` on are mapped, initialised, and belong to this one, until it is dropped.
#[derive(Debug)]
pub(crate) struct Zeroed<T> {
    start: *mut T,
    len: usize,
}

// SAFETY: it owns its values.
unsafe impl<T: Send> Send for Zeroed<T> {}
// SAFETY: shared, it gives out shared references only.
unsafe impl<T: Sync> Sync for Zeroed<T> {}

impl<T: FromZeros> Zeroed<T> {
    /// So many zeros.
    pub(crate) fn new(len: usize) -> Result<Self, CallError> {
        let start = mapping::map_anywhere(Self::bytes(len), Access::ReadWrite, Source::Anonymous)?;
        Ok(Self { start: core::ptr::with_exposed_provenance_mut(start), len })
    }
}

impl<T> Zeroed<T> {
    /// Bytes of the mapping; an empty one would be an error.
    fn bytes(len: usize) -> usize {
        len.saturating_mul(size_of::<T>()).max(1)
    }
}

impl<T> Deref for Zeroed<T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        // SAFETY: Z1; the mapping is aligned to a page.
        unsafe { slice::from_raw_parts(self.start, self.len) }
    }
}

impl<T> DerefMut for Zeroed<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: Z1; the mapping is aligned to a page.
        unsafe { slice::from_raw_parts_mut(self.start, self.len) }
    }
}

impl<T> Drop for Zeroed<T> {
    fn drop(&mut self) {
        // SAFETY: Z1. Values that are made of zeros and live here own nothing.
        let _ = unsafe { mapping::unmap(self.start.expose_provenance(), Self::bytes(self.len)) };
    }
}
