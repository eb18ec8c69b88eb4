//! Iterators that look at elements: one by one, and by the slices in which they lie.

use super::CowVec;
use super::leaf::width;
use core::fmt;
use core::iter::FusedIterator;
use core::ops::Range;
use core::slice;

/// The elements of a [`CowVec`], or some of them, in order.
///
/// Chunks of which none was looked at yet are between the two that are being gone through. All of them are full: only
/// the last chunk of a vector may not be.
pub struct Iter<'v, T: 'static> {
    vec: &'v CowVec<T>,
    front: slice::Iter<'v, T>,
    between: Range<usize>,
    back: slice::Iter<'v, T>,
}

impl<'v, T: 'static> Iter<'v, T> {
    #[inline]
    pub(super) fn new(vec: &'v CowVec<T>, positions: Range<usize>) -> Self {
        let (mut front, mut back, mut between) = ([].iter(), [].iter(), 0..0);
        if !positions.is_empty() {
            let (first, last) = (positions.start / width::<T>(), (positions.end - 1) / width::<T>());
            let (from, to) = (positions.start % width::<T>(), (positions.end - 1) % width::<T>() + 1);
            if first == last {
                front = vec.chunk(first)[from..to].iter();
            } else {
                front = vec.chunk(first)[from..].iter();
                back = vec.chunk(last)[..to].iter();
                between = first + 1..last;
            }
        }
        Self { vec, front, between, back }
    }

    #[cold]
    fn next_slow(&mut self) -> Option<&'v T> {
        if let Some(number) = self.between.next() {
            self.front = self.vec.chunk(number).iter();
            return self.front.next();
        }
        self.back.next()
    }

    #[cold]
    fn next_back_slow(&mut self) -> Option<&'v T> {
        if let Some(number) = self.between.next_back() {
            self.back = self.vec.chunk(number).iter();
            return self.back.next_back();
        }
        self.front.next_back()
    }
}

impl<'v, T: 'static> Iterator for Iter<'v, T> {
    type Item = &'v T;

    #[inline]
    fn next(&mut self) -> Option<&'v T> {
        match self.front.next() {
            Some(element) => Some(element),
            None => self.next_slow(),
        }
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        let len = self.front.len() + self.between.len() * width::<T>() + self.back.len();
        (len, Some(len))
    }

    #[inline]
    fn count(self) -> usize {
        self.len()
    }

    #[inline]
    fn last(mut self) -> Option<&'v T> {
        self.next_back()
    }

    fn nth(&mut self, mut n: usize) -> Option<&'v T> {
        if n < self.front.len() {
            return self.front.nth(n);
        }
        n -= self.front.len();
        let skipped = n / width::<T>();
        if skipped < self.between.len() {
            self.front = self.vec.chunk(self.between.start + skipped).iter();
            self.between.start += skipped + 1;
            return self.front.nth(n % width::<T>());
        }
        n -= self.between.len() * width::<T>();
        self.front = [].iter();
        self.between = 0..0;
        self.back.nth(n)
    }

    #[inline]
    fn fold<A, F: FnMut(A, &'v T) -> A>(self, mut folded: A, mut step: F) -> A {
        folded = self.front.fold(folded, &mut step);
        for number in self.between {
            folded = self.vec.chunk(number).iter().fold(folded, &mut step);
        }
        self.back.fold(folded, step)
    }
}

impl<'v, T: 'static> DoubleEndedIterator for Iter<'v, T> {
    #[inline]
    fn next_back(&mut self) -> Option<&'v T> {
        match self.back.next_back() {
            Some(element) => Some(element),
            None => self.next_back_slow(),
        }
    }

    #[inline]
    fn rfold<A, F: FnMut(A, &'v T) -> A>(self, mut folded: A, mut step: F) -> A {
        folded = self.back.rfold(folded, &mut step);
        for number in self.between.rev() {
            folded = self.vec.chunk(number).iter().rfold(folded, &mut step);
        }
        self.front.rfold(folded, step)
    }
}

impl<T: 'static> ExactSizeIterator for Iter<'_, T> {}
impl<T: 'static> FusedIterator for Iter<'_, T> {}

impl<T: 'static> Clone for Iter<'_, T> {
    fn clone(&self) -> Self {
        Self { vec: self.vec, front: self.front.clone(), between: self.between.clone(), back: self.back.clone() }
    }
}

impl<T: fmt::Debug + 'static> fmt::Debug for Iter<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.clone()).finish()
    }
}

/// The slices in which the elements of a [`CowVec`] lie.
pub struct Chunks<'v, T: 'static> {
    vec: &'v CowVec<T>,
    left: Range<usize>,
}

impl<'v, T: 'static> Chunks<'v, T> {
    #[inline]
    pub(super) fn new(vec: &'v CowVec<T>) -> Self {
        Self { vec, left: 0..vec.chunk_count() }
    }
}

impl<'v, T: 'static> Iterator for Chunks<'v, T> {
    type Item = &'v [T];

    #[inline]
    fn next(&mut self) -> Option<&'v [T]> {
        self.left.next().map(|number| self.vec.chunk(number))
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.left.size_hint()
    }

    #[inline]
    fn nth(&mut self, n: usize) -> Option<&'v [T]> {
        self.left.nth(n).map(|number| self.vec.chunk(number))
    }
}

impl<'v, T: 'static> DoubleEndedIterator for Chunks<'v, T> {
    #[inline]
    fn next_back(&mut self) -> Option<&'v [T]> {
        self.left.next_back().map(|number| self.vec.chunk(number))
    }
}

impl<T: 'static> ExactSizeIterator for Chunks<'_, T> {}
impl<T: 'static> FusedIterator for Chunks<'_, T> {}

impl<T: 'static> Clone for Chunks<'_, T> {
    fn clone(&self) -> Self {
        Self { vec: self.vec, left: self.left.clone() }
    }
}

impl<T: fmt::Debug + 'static> fmt::Debug for Chunks<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.clone()).finish()
    }
}
