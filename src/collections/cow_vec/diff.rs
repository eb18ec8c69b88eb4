//! What differs between two versions.
//!
//! Leaves of the same number have elements of the same positions, in all vectors of a type, so two trees are gone down side
//! by side, and where both lead to the same node all below it is passed over.
#![allow(unsafe_code)]

use super::CowVec;
use super::branch::{BITS, Branch, digit};
use super::leaf::width;
use crate::ptr::SalRc;
use core::fmt;
use core::iter::FusedIterator;

/// A position at which two vectors differ.
#[derive(Debug, PartialEq, Eq)]
pub enum Difference<'v, T> {
    /// Only the newer one has it: it is behind the end of the older one.
    Added {
        /// The position.
        index: usize,
        /// The newer vector's element.
        new: &'v T,
    },
    /// Only the older one has it: it is behind the end of the newer one.
    Removed {
        /// The position.
        index: usize,
        /// The older vector's element.
        old: &'v T,
    },
    /// Both have it, and the elements are not equal.
    Changed {
        /// The position.
        index: usize,
        /// The older vector's element.
        old: &'v T,
        /// The newer vector's element.
        new: &'v T,
    },
}

impl<T> Clone for Difference<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Difference<'_, T> {}

/// The positions at which two vectors differ, in ascending order; see [`CowVec::diff`].
pub struct Diff<'v, T> {
    old: &'v CowVec<T>,
    new: &'v CowVec<T>,
    /// The chunk to be looked at when the elements at hand are through.
    next: usize,
    /// Of the chunk before it, what was not looked at.
    olds: &'v [T],
    news: &'v [T],
    index: usize,
}

impl<T> CowVec<T> {
    /// The positions at which a newer version differs from this one.
    ///
    /// Nodes that both share are passed over, so the time is about that of the changes that made one of the other. Shared
    /// elements count as equal, even those that do not equal themselves. Any two vectors may be compared.
    ///
    /// ```
    /// use sal::collections::CowVec;
    /// use sal::collections::cow_vec::Difference;
    ///
    /// let before: CowVec<u32> = (0..100_000).collect();
    /// let mut after = before.clone();
    /// after[70_000] = 1;
    /// after.pop();
    /// let [changed, removed] = *before.diff(&after).collect::<Vec<_>>() else { panic!() };
    /// assert_eq!(changed, Difference::Changed { index: 70_000, old: &70_000, new: &1 });
    /// assert_eq!(removed, Difference::Removed { index: 99_999, old: &99_999 });
    /// ```
    pub fn diff<'v>(&'v self, newer: &'v Self) -> Diff<'v, T>
    where
        T: PartialEq,
    {
        Diff { old: self, new: newer, next: 0, olds: &[], news: &[], index: 0 }
    }
}

/// If two vectors share a chunk, the first chunk behind the node in which they do.
fn end_of_shared<T>(a: &CowVec<T>, b: &CowVec<T>, number: usize) -> Option<usize> {
    let leaves = a.leaves().min(b.leaves());
    if number >= leaves {
        let tails = a.tail.as_ref().zip(b.tail.as_ref());
        let is_shared = a.leaves() == b.leaves() && tails.is_some_and(|(a, b)| SalRc::ptr_eq(a, b));
        return is_shared.then_some(number + 1);
    }
    let (mut one, mut other) = (a.root.as_ref()?, b.root.as_ref()?);
    // SAFETY: both have the leaf; branches above level 1 have branches below them (V1, N1, N2).
    let below = |node: &SalRc<Branch<T>>| unsafe { &raw const *node.branch(digit(number, node.level())) };
    while one.level() > other.level() {
        // SAFETY: the nodes of a vector that is borrowed.
        one = unsafe { &*below(one) };
    }
    while other.level() > one.level() {
        // SAFETY: as above.
        other = unsafe { &*below(other) };
    }
    loop {
        let level = one.level();
        if SalRc::ptr_eq(one, other) {
            let bits = BITS * level;
            return Some((((number >> bits) + 1) << bits).min(leaves));
        }
        if level == 1 {
            let at = digit(number, 1);
            // SAFETY: as above; level 1 has leaves.
            let is_shared = unsafe { SalRc::ptr_eq(one.leaf(at), other.leaf(at)) };
            return is_shared.then_some(number + 1);
        }
        // SAFETY: as above.
        (one, other) = unsafe { (&*below(one), &*below(other)) };
    }
}

impl<T> Diff<'_, T> {
    /// Goes to the next chunk that is not shared; false if there is none.
    fn advance(&mut self) -> bool {
        let end = self.old.chunk_count().max(self.new.chunk_count());
        while self.next < end {
            if let Some(behind) = end_of_shared(self.old, self.new, self.next) {
                self.next = behind;
                continue;
            }
            let chunk = |vec: &CowVec<T>| self.next < vec.chunk_count();
            let (has_old, has_new) = (chunk(self.old), chunk(self.new));
            self.olds = if has_old { self.old.chunk(self.next) } else { &[] };
            self.news = if has_new { self.new.chunk(self.next) } else { &[] };
            self.index = self.next * width::<T>();
            self.next += 1;
            return true;
        }
        false
    }
}

impl<'v, T: PartialEq> Iterator for Diff<'v, T> {
    type Item = Difference<'v, T>;

    fn next(&mut self) -> Option<Difference<'v, T>> {
        loop {
            let index = self.index;
            match (self.olds, self.news) {
                ([old, olds @ ..], [new, news @ ..]) => {
                    (self.olds, self.news, self.index) = (olds, news, index + 1);
                    if old != new {
                        return Some(Difference::Changed { index, old, new });
                    }
                }
                ([old, olds @ ..], []) => {
                    (self.olds, self.index) = (olds, index + 1);
                    return Some(Difference::Removed { index, old });
                }
                ([], [new, news @ ..]) => {
                    (self.news, self.index) = (news, index + 1);
                    return Some(Difference::Added { index, new });
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

impl<T: PartialEq> FusedIterator for Diff<'_, T> {}

impl<T> Clone for Diff<'_, T> {
    fn clone(&self) -> Self {
        Self { ..*self }
    }
}

impl<T: PartialEq + fmt::Debug> fmt::Debug for Diff<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.clone()).finish()
    }
}
