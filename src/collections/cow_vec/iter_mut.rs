//! The iterator that changes elements.
//!
//! # Invariants
//! - **M1** The slices lie in nodes that no other version has, each in one of its own, and none of these nodes is looked
//!   up again: the two ends meet without crossing.
#![allow(unsafe_code)]

use super::CowVec;
use super::leaf::width;
use crate::collections::error::or_raise;
use core::fmt;
use core::iter::FusedIterator;
use core::ops::Range;
use core::slice;

/// The elements of a [`CowVec`], in order, to be changed. Nodes that other versions have are copied when it comes to them.
pub struct IterMut<'v, T: 'static> {
    vec: &'v mut CowVec<T>,
    front: slice::IterMut<'v, T>,
    between: Range<usize>,
    back: slice::IterMut<'v, T>,
}

impl<T: Clone + 'static> CowVec<T> {
    /// The elements, in order, to be changed. Nodes that other versions have are copied when the iterator comes to them.
    ///
    /// ```
    /// use sal::collections::CowVec;
    ///
    /// let mut numbers: CowVec<u32> = (0..1000).collect();
    /// let before = numbers.clone();
    /// numbers.iter_mut().for_each(|n| *n *= 2);
    /// assert_eq!((before[999], numbers[999]), (999, 1998));
    /// ```
    pub fn iter_mut(&mut self) -> IterMut<'_, T> {
        let between = 0..self.chunk_count();
        IterMut { vec: self, front: [].iter_mut(), between, back: [].iter_mut() }
    }
}

impl<'v, T: Clone + 'static> IterMut<'v, T> {
    fn chunk(&mut self, number: usize) -> slice::IterMut<'v, T> {
        let chunk = or_raise(self.vec.chunk_mut(number));
        let chunk: *mut [T] = chunk;
        // SAFETY: M1; the vector is borrowed for as long as the slice.
        unsafe { (*chunk).iter_mut() }
    }
}

impl<'v, T: Clone + 'static> Iterator for IterMut<'v, T> {
    type Item = &'v mut T;

    #[inline]
    fn next(&mut self) -> Option<&'v mut T> {
        loop {
            if let Some(element) = self.front.next() {
                return Some(element);
            }
            let Some(number) = self.between.next() else { return self.back.next() };
            self.front = self.chunk(number);
        }
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        let mut len = self.front.len() + self.back.len() + self.between.len() * width::<T>();
        if self.between.end == self.vec.chunk_count() && !self.between.is_empty() {
            // The last chunk may not be full.
            len -= self.vec.chunk_count() * width::<T>() - self.vec.len();
        }
        (len, Some(len))
    }
}

impl<'v, T: Clone + 'static> DoubleEndedIterator for IterMut<'v, T> {
    #[inline]
    fn next_back(&mut self) -> Option<&'v mut T> {
        loop {
            if let Some(element) = self.back.next_back() {
                return Some(element);
            }
            let Some(number) = self.between.next_back() else { return self.front.next_back() };
            self.back = self.chunk(number);
        }
    }
}

impl<T: Clone + 'static> ExactSizeIterator for IterMut<'_, T> {}
impl<T: Clone + 'static> FusedIterator for IterMut<'_, T> {}

impl<T: 'static> fmt::Debug for IterMut<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IterMut").finish_non_exhaustive()
    }
}
