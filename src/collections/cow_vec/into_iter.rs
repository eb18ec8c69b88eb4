//! The iterator that takes a vector apart.
//!
//! # Invariants
//! - **I1** Of a node that nobody else has the elements in `left` are initialised, and the iterator's alone: dropping the node
//!   drops none of them.
#![allow(unsafe_code)]

use super::CowVec;
use super::leaf::{Leaf, Tail, width};
use crate::ptr::SalRc;
use core::fmt;
use core::iter::FusedIterator;
use core::mem::{MaybeUninit, transmute};
use core::ops::Range;
use core::ptr;

/// What a [`CowVec`] turns into when it is iterated over by value: elements that no other version has are moved, the others
/// are cloned.
///
/// Where the leaves are is noted before the first element is taken, in 8 bytes for each of them.
pub struct IntoIter<T: 'static> {
    front: Taken<T>,
    leaves: std::vec::IntoIter<SalRc<Leaf<T>>>,
    tail: Option<SalRc<Tail<T>>>,
    back: Taken<T>,
}

/// A node whose elements are being taken.
struct Taken<T: 'static> {
    node: Node<T>,
    left: Range<usize>,
}

enum Node<T: 'static> {
    None,
    /// A leaf that nobody else has.
    Leaf(SalRc<MaybeUninit<Leaf<T>>>),
    /// A tail that nobody else has, and that counts no elements.
    Tail(SalRc<Tail<T>>),
    SharedLeaf(SalRc<Leaf<T>>),
    SharedTail(SalRc<Tail<T>>),
}

impl<T: 'static> Taken<T> {
    const NONE: Self = Self { node: Node::None, left: 0..0 };

    fn leaf(mut leaf: SalRc<Leaf<T>>) -> Self {
        let node = if SalRc::get_mut(&mut leaf).is_some() {
            // SAFETY: both are a word that leads to a block of this layout, and nobody else has it; its elements are
            // dropped by the iterator (I1).
            Node::Leaf(unsafe { transmute::<SalRc<Leaf<T>>, SalRc<MaybeUninit<Leaf<T>>>>(leaf) })
        } else {
            Node::SharedLeaf(leaf)
        };
        Self { node, left: 0..width::<T>() }
    }

    fn tail(mut tail: SalRc<Tail<T>>) -> Self {
        let left = 0..tail.len();
        let node = match SalRc::get_mut(&mut tail) {
            Some(own) => {
                // SAFETY: they are the iterator's from now on (I1).
                unsafe { own.disown() };
                Node::Tail(tail)
            }
            None => Node::SharedTail(tail),
        };
        Self { node, left }
    }

    /// Where the elements of a node that nobody else has are.
    fn own(&self) -> Option<*mut T> {
        match &self.node {
            Node::Leaf(leaf) => Some(SalRc::as_ptr(leaf).cast_mut().cast()),
            Node::Tail(tail) => Some(tail.start().cast_mut()),
            _ => None,
        }
    }

    fn take(&self, at: usize) -> T
    where
        T: Clone,
    {
        match &self.node {
            Node::SharedLeaf(leaf) => leaf.elements()[at].clone(),
            Node::SharedTail(tail) => tail.elements()[at].clone(),
            // SAFETY: `at` has just left `left` (I1).
            _ => unsafe { self.own().expect("no element is left of no node").add(at).read() },
        }
    }

    #[inline]
    fn next(&mut self) -> Option<T>
    where
        T: Clone,
    {
        self.left.next().map(|at| self.take(at))
    }

    #[inline]
    fn next_back(&mut self) -> Option<T>
    where
        T: Clone,
    {
        self.left.next_back().map(|at| self.take(at))
    }
}

impl<T: 'static> Drop for Taken<T> {
    fn drop(&mut self) {
        if let Some(elements) = self.own() {
            let left = core::mem::replace(&mut self.left, 0..0);
            // SAFETY: I1; they are counted no more. The block is given back afterwards, also if one of them panics.
            unsafe { ptr::slice_from_raw_parts_mut(elements.add(left.start), left.len()).drop_in_place() }
        }
    }
}

impl<T: Clone + 'static> Iterator for IntoIter<T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        loop {
            if let Some(element) = self.front.next() {
                return Some(element);
            }
            if let Some(leaf) = self.leaves.next() {
                self.front = Taken::leaf(leaf);
            } else if let Some(tail) = self.tail.take() {
                self.front = Taken::tail(tail);
            } else {
                return self.back.next();
            }
        }
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        let tail = self.tail.as_ref().map_or(0, |tail| tail.len());
        let len = self.front.left.len() + self.leaves.len() * width::<T>() + tail + self.back.left.len();
        (len, Some(len))
    }
}

impl<T: Clone + 'static> DoubleEndedIterator for IntoIter<T> {
    #[inline]
    fn next_back(&mut self) -> Option<T> {
        loop {
            if let Some(element) = self.back.next_back() {
                return Some(element);
            }
            if let Some(tail) = self.tail.take() {
                self.back = Taken::tail(tail);
            } else if let Some(leaf) = self.leaves.next_back() {
                self.back = Taken::leaf(leaf);
            } else {
                return self.front.next_back();
            }
        }
    }
}

impl<T: Clone + 'static> ExactSizeIterator for IntoIter<T> {}
impl<T: Clone + 'static> FusedIterator for IntoIter<T> {}

impl<T: 'static> fmt::Debug for IntoIter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IntoIter").finish_non_exhaustive()
    }
}

impl<T: Clone + 'static> IntoIterator for CowVec<T> {
    type Item = T;
    type IntoIter = IntoIter<T>;

    fn into_iter(mut self) -> IntoIter<T> {
        let mut leaves = Vec::with_capacity(self.leaves());
        if let Some(root) = self.root.take() {
            SalRc::unwrap_or_clone(root).into_leaves(&mut leaves);
        }
        IntoIter { front: Taken::NONE, leaves: leaves.into_iter(), tail: self.tail.take(), back: Taken::NONE }
    }
}

impl<'v, T: 'static> IntoIterator for &'v CowVec<T> {
    type Item = &'v T;
    type IntoIter = super::Iter<'v, T>;

    #[inline]
    fn into_iter(self) -> super::Iter<'v, T> {
        self.iter()
    }
}

impl<'v, T: Clone + 'static> IntoIterator for &'v mut CowVec<T> {
    type Item = &'v mut T;
    type IntoIter = super::IterMut<'v, T>;

    #[inline]
    fn into_iter(self) -> super::IterMut<'v, T> {
        self.iter_mut()
    }
}
