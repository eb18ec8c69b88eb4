//! The nodes that lead to others.
//!
//! # Invariants
//! - **N1** The first `len` children of a branch are pointers: to leaves if its level is 1, else to branches of one level less.
//!   All other places are zeros.
//! - **N2** All children but the last are full: the leaves below each of them are as many as fit its level.
#![allow(unsafe_code)]

use super::leaf::Leaf;
use crate::ptr::SalRc;
use core::mem::{ManuallyDrop, offset_of};
use core::{ptr, slice};

/// Bits of a leaf's number that choose a child.
pub(super) const BITS: usize = 4;

/// Children of a branch, at most.
pub(super) const FAN: usize = 1 << BITS;

/// A place for a pointer to a node one level below.
#[repr(C)]
union Child<T: 'static> {
    none: usize,
    leaf: ManuallyDrop<SalRc<Leaf<T>>>,
    branch: ManuallyDrop<SalRc<Branch<T>>>,
}

/// A node with nodes below it.
#[repr(C)]
pub(super) struct Branch<T: 'static> {
    level: u32,
    len: u32,
    children: [Child<T>; FAN],
}

const _: () = assert!(size_of::<Branch<u8>>() == 8 + 8 * FAN && align_of::<Branch<u128>>() == 8);

const _: () = {
    use crate::gc::trace::layouts::cow_vec::branch;
    assert!(offset_of!(Branch<u8>, level) == branch::LEVEL && offset_of!(Branch<u8>, len) == branch::LEN);
    assert!(offset_of!(Branch<u8>, children) == branch::CHILDREN && branch::FAN == FAN);
    assert!(size_of::<Branch<u8>>() == branch::SIZE);
};

/// The children of a branch.
pub(super) enum Children<'b, T: 'static> {
    /// Of one of level 1.
    Leaves(&'b [SalRc<Leaf<T>>]),
    /// Of a higher one.
    Branches(&'b [SalRc<Branch<T>>]),
}

/// Which child of a branch of that level leads to a leaf.
#[inline(always)]
pub(super) const fn digit(leaf: usize, level: usize) -> usize {
    leaf >> (BITS * (level - 1)) & (FAN - 1)
}

/// As many leaves as a tree of that height has room for.
#[inline(always)]
pub(super) const fn leaves_of(height: usize) -> usize {
    1 << (BITS * height)
}

impl<T: 'static> Branch<T> {
    fn empty(level: u32) -> Self {
        Self { level, len: 0, children: [const { Child { none: 0 } }; FAN] }
    }

    /// One of level 1 with one leaf.
    pub(super) fn of_leaf(leaf: SalRc<Leaf<T>>) -> Self {
        let mut branch = Self::empty(1);
        branch.push_leaf(leaf);
        branch
    }

    /// One with one branch, of the level above it.
    pub(super) fn of_branch(child: SalRc<Branch<T>>) -> Self {
        let mut branch = Self::empty(child.level + 1);
        branch.push_branch(child);
        branch
    }

    #[inline(always)]
    pub(super) fn level(&self) -> usize {
        self.level as usize
    }

    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.len as usize
    }

    /// The children, all of them.
    #[inline]
    pub(super) fn children(&self) -> Children<'_, T> {
        let (start, len) = (self.children.as_ptr(), self.len());
        // SAFETY: N1; a pointer lies in its place alone.
        unsafe {
            if self.level == 1 {
                Children::Leaves(slice::from_raw_parts(start.cast(), len))
            } else {
                Children::Branches(slice::from_raw_parts(start.cast(), len))
            }
        }
    }

    /// # Safety
    /// The level is 1, and `at` below the length.
    #[inline(always)]
    pub(super) unsafe fn leaf(&self, at: usize) -> &SalRc<Leaf<T>> {
        debug_assert!(self.level == 1 && at < self.len());
        // SAFETY: the caller's promise, N1.
        unsafe { &self.children.get_unchecked(at).leaf }
    }

    /// # Safety
    /// The level is more than 1, and `at` below the length.
    #[inline(always)]
    pub(super) unsafe fn branch(&self, at: usize) -> &SalRc<Branch<T>> {
        debug_assert!(self.level > 1 && at < self.len());
        // SAFETY: the caller's promise, N1.
        unsafe { &self.children.get_unchecked(at).branch }
    }

    /// # Safety
    /// As for [`Branch::leaf`].
    #[inline(always)]
    pub(super) unsafe fn leaf_mut(&mut self, at: usize) -> &mut SalRc<Leaf<T>> {
        debug_assert!(self.level == 1 && at < self.len());
        // SAFETY: the caller's promise, N1.
        unsafe { &mut self.children.get_unchecked_mut(at).leaf }
    }

    /// # Safety
    /// As for [`Branch::branch`].
    #[inline(always)]
    pub(super) unsafe fn branch_mut(&mut self, at: usize) -> &mut SalRc<Branch<T>> {
        debug_assert!(self.level > 1 && at < self.len());
        // SAFETY: the caller's promise, N1.
        unsafe { &mut self.children.get_unchecked_mut(at).branch }
    }

    /// Adds a leaf behind the others. The level is 1, and there is room.
    pub(super) fn push_leaf(&mut self, leaf: SalRc<Leaf<T>>) {
        assert!(self.level == 1 && self.len() < FAN);
        self.children[self.len()].leaf = ManuallyDrop::new(leaf);
        self.len += 1;
    }

    /// Adds a branch behind the others. It is of the level below, and there is room.
    pub(super) fn push_branch(&mut self, branch: SalRc<Branch<T>>) {
        assert!(self.level == branch.level + 1 && self.len() < FAN);
        self.children[self.len()].branch = ManuallyDrop::new(branch);
        self.len += 1;
    }

    /// Whether the places without a child are zeros (N1).
    pub(super) fn is_zero_behind(&self) -> bool {
        // SAFETY: a pointer is a word, and a word is read.
        self.children[self.len()..].iter().all(|child| unsafe { child.none } == 0)
    }

    /// One with pointers to the first children.
    pub(super) fn first(&self, len: usize) -> Self {
        debug_assert!(len <= self.len());
        let mut copy = Self::empty(self.level);
        match self.children() {
            Children::Leaves(leaves) => {
                for (place, leaf) in copy.children.iter_mut().zip(&leaves[..len]) {
                    place.leaf = ManuallyDrop::new(SalRc::clone(leaf));
                }
            }
            Children::Branches(branches) => {
                for (place, branch) in copy.children.iter_mut().zip(&branches[..len]) {
                    place.branch = ManuallyDrop::new(SalRc::clone(branch));
                }
            }
        }
        copy.len = len as u32;
        copy
    }

    /// Moves all children but the first to a branch of their own.
    pub(super) fn split_off(&mut self, at: usize) -> Self {
        debug_assert!(at <= self.len());
        let mut behind = Self::empty(self.level);
        let moved = self.len() - at;
        // SAFETY: both have so many places, which do not overlap; what was moved is counted by one of them, and zeros
        // are left (N1).
        unsafe {
            let from = self.children.as_mut_ptr().add(at);
            ptr::copy_nonoverlapping(from, behind.children.as_mut_ptr(), moved);
            from.write_bytes(0, moved);
        }
        self.len = at as u32;
        behind.len = moved as u32;
        behind
    }

    /// The leaves below, in order: those that nobody else has come with the only pointer to them.
    pub(super) fn into_leaves(mut self, leaves: &mut Vec<SalRc<Leaf<T>>>) {
        let len = core::mem::take(&mut self.len) as usize;
        for child in &mut self.children[..len] {
            let child = core::mem::replace(child, Child { none: 0 });
            // SAFETY: a pointer of this kind (N1), which the branch does not count any more.
            unsafe {
                if self.level == 1 {
                    leaves.push(ManuallyDrop::into_inner(child.leaf));
                } else {
                    SalRc::unwrap_or_clone(ManuallyDrop::into_inner(child.branch)).into_leaves(leaves);
                }
            }
        }
    }
}

impl<T: 'static> Clone for Branch<T> {
    fn clone(&self) -> Self {
        self.first(self.len())
    }
}

impl<T: 'static> Drop for Branch<T> {
    fn drop(&mut self) {
        let (start, len) = (self.children.as_mut_ptr(), self.len());
        // SAFETY: N1; they are used no more. A slice drops the others also if one panics.
        unsafe {
            if self.level == 1 {
                ptr::slice_from_raw_parts_mut(start.cast::<SalRc<Leaf<T>>>(), len).drop_in_place();
            } else {
                ptr::slice_from_raw_parts_mut(start.cast::<SalRc<Branch<T>>>(), len).drop_in_place();
            }
        }
    }
}
