//! The iterator that takes a range of elements out of a vector.
//!
//! # Invariants
//! - **D1** While the iterator lives the vector's `len` counts only the elements before the range; those in
//!   `left` belong to the iterator, and the `tail` behind the range is initialised and belongs to nobody
//!   until the iterator is dropped and gives it back.

use super::SalVec;
use crate::ptr::drop_moved::drop_elements;
use core::fmt;
use core::iter::FusedIterator;
use core::mem;
use core::ops::Range;
use core::ptr;
use core::slice;

/// What [`SalVec::drain`] returns.
pub struct Drain<'v, T> {
    vec: &'v mut SalVec<T>,
    left: Range<usize>,
    tail: Range<usize>,
}

impl<'v, T> Drain<'v, T> {
    /// The drain of `range`, which lies within the vector.
    pub(super) fn new(vec: &'v mut SalVec<T>, range: Range<usize>) -> Self {
        let tail = range.end..vec.len;
        vec.len = range.start;
        Self { vec, left: range, tail }
    }

    /// The elements that are still to come.
    pub fn as_slice(&self) -> &[T] {
        // SAFETY: by D1 these elements are initialised and ours.
        unsafe { slice::from_raw_parts(self.vec.as_ptr().add(self.left.start), self.left.len()) }
    }

    /// Takes an element whose number has just left `left`.
    ///
    /// # Safety
    /// `index` was in `left` and no longer is.
    unsafe fn take(&mut self, index: usize) -> T {
        // SAFETY: by D1 the element is initialised and was ours; nobody else counts it.
        unsafe { self.vec.as_ptr().add(index).read() }
    }
}

impl<T> Iterator for Drain<'_, T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        let index = self.left.next()?;
        // SAFETY: `index` has just left `left`.
        Some(unsafe { self.take(index) })
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.left.size_hint()
    }
}

impl<T> DoubleEndedIterator for Drain<'_, T> {
    #[inline]
    fn next_back(&mut self) -> Option<T> {
        let index = self.left.next_back()?;
        // SAFETY: `index` has just left `left`.
        Some(unsafe { self.take(index) })
    }
}

impl<T> ExactSizeIterator for Drain<'_, T> {}
impl<T> FusedIterator for Drain<'_, T> {}

impl<T> Drop for Drain<'_, T> {
    fn drop(&mut self) {
        /// Gives the tail back even if an element panics.
        struct CloseGap<'d, 'v, T>(&'d mut Drain<'v, T>);
        impl<T> Drop for CloseGap<'_, '_, T> {
            fn drop(&mut self) {
                let Drain { vec, tail, .. } = &mut *self.0;
                // SAFETY: by D1 the tail is initialised and nobody's, and nothing is left between it and
                // the end of the vector, to which it moves.
                unsafe { ptr::copy(vec.as_ptr().add(tail.start), vec.end(), tail.len()) };
                vec.len += tail.len();
            }
        }
        let gap = CloseGap(self);
        let left = mem::replace(&mut gap.0.left, 0..0);
        let base = gap.0.vec.as_mut_ptr();
        // SAFETY: by D1 these elements are initialised and ours; `left` no longer counts them.
        unsafe { drop_elements(ptr::slice_from_raw_parts_mut(base.add(left.start), left.len())) }
    }
}

impl<T: fmt::Debug> fmt::Debug for Drain<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Drain").field(&self.as_slice()).finish()
    }
}
