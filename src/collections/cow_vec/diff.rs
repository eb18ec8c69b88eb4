//! What differs between two versions.
//!
//! Leaves of the same number have elements of the same positions, in all vectors of a type, so two trees are gone down side
//! by side, and where both lead to the same node all below it is passed over.
#![allow(unsafe_code)]

use super::CowVec;
use super::branch::{BITS, digit};
use super::leaf::width;
use crate::ptr::SalRc;
use core::fmt;
use core::iter::FusedIterator;

/// One position at which two versions differ.
#[derive(Debug, PartialEq, Eq)]
pub enum Difference<'v, T: 'static> {
    /// The later version has this element, the earlier one ends before it.
    Added(usize, &'v T),
    /// The earlier version has this element, the later one ends before it.
    Removed(usize, &'v T),
    /// Both have an element at this position, and they are not equal.
    Changed {
        /// The position.
        index: usize,
        /// What the earlier version has.
        before: &'v T,
        /// What the later version has.
        after: &'v T,
    },
}

impl<T: 'static> Clone for Difference<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: 'static> Copy for Difference<'_, T> {}

/// The positions at which two vectors differ, in ascending order; see [`CowVec::diff`].
pub struct Diff<'v, T: 'static> {
    before: &'v CowVec<T>,
    after: &'v CowVec<T>,
    /// The chunk to be looked at when the elements at hand are through.
    next: usize,
    /// Of the chunk before it, what was not looked at.
    befores: &'v [T],
    afters: &'v [T],
    index: usize,
}

impl<T: 'static> CowVec<T> {
    /// What has to be done to this vector to get `later`, by position, in ascending order.
    ///
    /// Nodes that both share are passed over, so the time is about that of the changes that made one of the other. Shared
    /// elements count as equal, even those that do not equal themselves. Any two vectors may be compared.
    ///
    /// ```
    /// use sal::collections::CowVec;
    /// use sal::collections::cow_vec::Difference::*;
    ///
    /// let before: CowVec<u32> = (0..100_000).collect();
    /// let mut after = before.clone();
    /// after[70_000] = 1;
    /// after.pop();
    /// let differences: Vec<_> = before.diff(&after).collect();
    /// assert_eq!(differences, [Changed { index: 70_000, before: &70_000, after: &1 }, Removed(99_999, &99_999)]);
    /// ```
    pub fn diff<'v>(&'v self, later: &'v Self) -> Diff<'v, T>
    where
        T: PartialEq,
    {
        Diff { before: self, after: later, next: 0, befores: &[], afters: &[], index: 0 }
    }
}

/// If two vectors share a chunk, the first chunk behind the node in which they do.
pub(super) fn end_of_shared<T: 'static>(a: &CowVec<T>, b: &CowVec<T>, number: usize) -> Option<usize> {
    let leaves = a.leaves().min(b.leaves());
    if number >= leaves {
        let tails = a.tail.as_ref().zip(b.tail.as_ref());
        let is_shared = a.leaves() == b.leaves() && tails.is_some_and(|(a, b)| SalRc::ptr_eq(a, b));
        return is_shared.then_some(number + 1);
    }
    let (mut one, mut other) = (a.root.as_ref()?, b.root.as_ref()?);
    // SAFETY: both vectors have the leaf; branches of a level above 1 have branches below them, and those of level 1 leaves
    // (V1, N1, N2).
    unsafe {
        while one.level() > other.level() {
            one = one.branch(digit(number, one.level()));
        }
        while other.level() > one.level() {
            other = other.branch(digit(number, other.level()));
        }
        loop {
            let level = one.level();
            if SalRc::ptr_eq(one, other) {
                let bits = BITS * level;
                return Some((((number >> bits) + 1) << bits).min(leaves));
            }
            let at = digit(number, level);
            if level == 1 {
                return SalRc::ptr_eq(one.leaf(at), other.leaf(at)).then_some(number + 1);
            }
            (one, other) = (one.branch(at), other.branch(at));
        }
    }
}

impl<T: 'static> Diff<'_, T> {
    /// Goes to the next chunk that is not shared; false if there is none.
    fn advance(&mut self) -> bool {
        let end = self.before.chunk_count().max(self.after.chunk_count());
        while self.next < end {
            if let Some(behind) = end_of_shared(self.before, self.after, self.next) {
                self.next = behind;
                continue;
            }
            self.befores = chunk_or_none(self.before, self.next);
            self.afters = chunk_or_none(self.after, self.next);
            self.index = self.next * width::<T>();
            self.next += 1;
            return true;
        }
        false
    }
}

fn chunk_or_none<T: 'static>(vec: &CowVec<T>, number: usize) -> &[T] {
    if number < vec.chunk_count() { vec.chunk(number) } else { &[] }
}

impl<'v, T: PartialEq + 'static> Iterator for Diff<'v, T> {
    type Item = Difference<'v, T>;

    fn next(&mut self) -> Option<Difference<'v, T>> {
        loop {
            let index = self.index;
            match (self.befores, self.afters) {
                ([before, befores @ ..], [after, afters @ ..]) => {
                    (self.befores, self.afters, self.index) = (befores, afters, index + 1);
                    if before != after {
                        return Some(Difference::Changed { index, before, after });
                    }
                }
                ([before, befores @ ..], []) => {
                    (self.befores, self.index) = (befores, index + 1);
                    return Some(Difference::Removed(index, before));
                }
                ([], [after, afters @ ..]) => {
                    (self.afters, self.index) = (afters, index + 1);
                    return Some(Difference::Added(index, after));
                }
                ([], []) => {
                    if !self.advance() {
                        return None;
                    }
                }
            }
        }
    }
}

impl<T: PartialEq + 'static> FusedIterator for Diff<'_, T> {}

impl<T: 'static> Clone for Diff<'_, T> {
    fn clone(&self) -> Self {
        Self { ..*self }
    }
}

impl<T: PartialEq + fmt::Debug + 'static> fmt::Debug for Diff<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.clone()).finish()
    }
}
