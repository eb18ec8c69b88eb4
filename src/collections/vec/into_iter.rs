//! The iterator that takes a vector apart, and the two that borrow it.
//!
//! # Invariants
//! - **I1** The vector inside an [`IntoIter`] counts no element and keeps the block; the elements in `left`
//!   are initialised and belong to the iterator.

use super::SalVec;
use crate::ptr::drop_moved::drop_elements;
use core::fmt;
use core::iter::FusedIterator;
use core::mem;
use core::ops::Range;
use core::ptr;
use core::slice;

/// What a [`SalVec`] turns into when it is iterated over by value.
///
/// Forgetting it leaks the block and the elements that are left.
pub struct IntoIter<T> {
    vec: SalVec<T>,
    left: Range<usize>,
}

impl<T> IntoIter<T> {
    /// The elements that are still to come.
    pub fn as_slice(&self) -> &[T] {
        // SAFETY: by I1 these elements are initialised and ours.
        unsafe { slice::from_raw_parts(self.vec.as_ptr().add(self.left.start), self.left.len()) }
    }

    /// The elements that are still to come, to change them.
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        let base = self.vec.as_mut_ptr();
        // SAFETY: as in `as_slice`; `self` is borrowed exclusively.
        unsafe { slice::from_raw_parts_mut(base.add(self.left.start), self.left.len()) }
    }

    /// Takes an element whose number has just left `left`.
    ///
    /// # Safety
    /// `index` was in `left` and no longer is.
    unsafe fn take(&mut self, index: usize) -> T {
        // SAFETY: by I1 the element is initialised and was ours; nobody else counts it.
        unsafe { self.vec.as_ptr().add(index).read() }
    }
}

impl<T> Iterator for IntoIter<T> {
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

impl<T> DoubleEndedIterator for IntoIter<T> {
    #[inline]
    fn next_back(&mut self) -> Option<T> {
        let index = self.left.next_back()?;
        // SAFETY: `index` has just left `left`.
        Some(unsafe { self.take(index) })
    }
}

impl<T> ExactSizeIterator for IntoIter<T> {}
impl<T> FusedIterator for IntoIter<T> {}

impl<T> Drop for IntoIter<T> {
    fn drop(&mut self) {
        let left = mem::replace(&mut self.left, 0..0);
        let base = self.vec.as_mut_ptr();
        // SAFETY: by I1 these elements are initialised and ours; `left` no longer counts them. The vector
        // frees the block afterwards, also if one of them panics.
        unsafe { drop_elements(ptr::slice_from_raw_parts_mut(base.add(left.start), left.len())) }
    }
}

impl<T: fmt::Debug> fmt::Debug for IntoIter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("IntoIter").field(&self.as_slice()).finish()
    }
}

impl<T> IntoIterator for SalVec<T> {
    type Item = T;
    type IntoIter = IntoIter<T>;

    #[inline]
    fn into_iter(mut self) -> IntoIter<T> {
        let left = 0..mem::take(&mut self.len);
        IntoIter { vec: self, left }
    }
}

impl<'v, T> IntoIterator for &'v SalVec<T> {
    type Item = &'v T;
    type IntoIter = slice::Iter<'v, T>;

    #[inline]
    fn into_iter(self) -> slice::Iter<'v, T> {
        self.iter()
    }
}

impl<'v, T> IntoIterator for &'v mut SalVec<T> {
    type Item = &'v mut T;
    type IntoIter = slice::IterMut<'v, T>;

    #[inline]
    fn into_iter(self) -> slice::IterMut<'v, T> {
        self.iter_mut()
    }
}
