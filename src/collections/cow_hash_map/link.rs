//! Links: what leads from a map or a branch to a node.
//!
//! # Invariants
//! - **K1** A link that is not zero is the word of a [`SalRc`] to a node of the kind that is kept beside it, and counts as
//!   one. Leaves are of the [`rung`] of the map's entries.
#![allow(unsafe_code)]

use super::branch::{Branch, kind};
use super::leaf::{LARGE, Leaf, LeafMut, LeafRef, MIDDLE, Pair, SMALL, rung};
use crate::collections::error::{no_room_for, or_raise};
use crate::collections::{SalVec, TryReserveError};
use crate::heap::placement::HeapScope;
use crate::persist::BlockVisitor;
use crate::{SalAlloc, SalRc};
use core::alloc::Layout;
use core::mem::{ManuallyDrop, MaybeUninit};
use core::ptr::NonNull;

/// Entries all of whose hashes are the same, in the order in which they came.
pub(super) type Same<K, V> = SalVec<Pair<K, V>>;

/// Overwrites the places of a list that have no entry with zeros, so that no word in them keeps a block alive.
pub(super) fn clean<K: 'static, V: 'static>(entries: &mut Same<K, V>) {
    entries.spare_capacity_mut().fill_with(MaybeUninit::zeroed);
}

/// A pointer to a node, or zero. What kind of node is kept beside it.
#[repr(C)]
pub(super) union Link<K: 'static, V: 'static> {
    word: usize,
    branch: ManuallyDrop<SalRc<Branch<K, V>>>,
    large: ManuallyDrop<SalRc<Leaf<K, V, LARGE>>>,
    middle: ManuallyDrop<SalRc<Leaf<K, V, MIDDLE>>>,
    small: ManuallyDrop<SalRc<Leaf<K, V, SMALL>>>,
    same: ManuallyDrop<SalRc<Same<K, V>>>,
}

const _: () = assert!(size_of::<Link<u8, u8>>() == size_of::<usize>());

/// `$body` with the pointer to a leaf, of whatever rung; `$borrow` is `&` or `&mut`.
macro_rules! with_leaf {
    ([$($borrow:tt)+] $link:expr, $rc:ident, $body:expr) => {
        match const { rung::<K, V>() } {
            0 => {
                let $rc = $($borrow)+ $link.large;
                $body
            }
            1 => {
                let $rc = $($borrow)+ $link.middle;
                $body
            }
            _ => {
                let $rc = $($borrow)+ $link.small;
                $body
            }
        }
    };
}

/// `$body` with the pointer to a node of a kind.
macro_rules! with_node {
    ([$($borrow:tt)+] $link:expr, $kind:expr, $rc:ident, $body:expr) => {
        match $kind {
            kind::LEAF => with_leaf!([$($borrow)+] $link, $rc, $body),
            kind::BRANCH => {
                let $rc = $($borrow)+ $link.branch;
                $body
            }
            _ => {
                let $rc = $($borrow)+ $link.same;
                $body
            }
        }
    };
}

/// Makes a pointer lead to a node of its own, into which `fill` copies the one before: where it is to be, in the same heap.
#[cold]
#[inline(never)]
fn copy<T: 'static>(rc: &mut SalRc<T>, empty: T, fill: impl FnOnce(&T, &mut T)) -> Result<(), TryReserveError> {
    let mut new = SalRc::try_new_near(empty, rc).map_err(|_| no_room_for::<T>())?;
    {
        // What the copy takes lies in the same heap.
        let _scope = HeapScope::enter(SalRc::heap(rc));
        fill(rc, SalRc::alone_mut(&mut new).expect("nobody else has it"));
    }
    *rc = new;
    Ok(())
}

/// Puts a node into a heap.
#[inline]
pub(super) fn new_in<T: 'static>(node: T, heap: SalAlloc) -> Result<SalRc<T>, TryReserveError> {
    SalRc::try_new_in(node, heap).map_err(|_| no_room_for::<T>())
}

impl<K: 'static, V: 'static> Link<K, V> {
    /// A link that leads nowhere.
    #[inline(always)]
    pub(super) const fn none() -> Self {
        Self { word: 0 }
    }

    #[inline(always)]
    pub(super) fn is_none(&self) -> bool {
        // SAFETY: any link is a word (K1).
        unsafe { self.word == 0 }
    }

    /// Whether both lead to the same node, or nowhere.
    #[inline(always)]
    pub(super) fn ptr_eq(&self, other: &Self) -> bool {
        // SAFETY: as above.
        unsafe { self.word == other.word }
    }

    /// A link to a branch.
    #[inline]
    pub(super) fn to_branch(branch: SalRc<Branch<K, V>>) -> Self {
        Self { branch: ManuallyDrop::new(branch) }
    }

    /// A link to a new leaf in a heap that has this entry.
    #[inline]
    pub(super) fn to_new_leaf(heap: SalAlloc, tag: u8, pair: Pair<K, V>) -> Result<Self, TryReserveError> {
        let mut link = Self::to_empty_leaf(heap)?;
        // SAFETY: a new leaf is a leaf that nobody else has, and has room for one.
        unsafe { link.alone_leaf().unwrap_unchecked().push(tag, pair) };
        Ok(link)
    }

    /// A link to a new leaf in a heap.
    #[inline]
    pub(super) fn to_empty_leaf(heap: SalAlloc) -> Result<Self, TryReserveError> {
        Ok(match const { rung::<K, V>() } {
            0 => Self { large: ManuallyDrop::new(new_in(Leaf::new(), heap)?) },
            1 => Self { middle: ManuallyDrop::new(new_in(Leaf::new(), heap)?) },
            _ => Self { small: ManuallyDrop::new(new_in(Leaf::new(), heap)?) },
        })
    }

    /// A link to a list of entries, in the heap from which they are.
    pub(super) fn to_same(heap: SalAlloc, entries: Same<K, V>) -> Result<Self, TryReserveError> {
        Ok(Self { same: ManuallyDrop::new(new_in(entries, heap)?) })
    }

    /// Another pointer to the node.
    ///
    /// # Safety
    /// The link leads to a node of this kind.
    #[inline]
    pub(super) unsafe fn share(&self, kind: u8) -> Self {
        // SAFETY: the caller's promise, K1; the word counts from here on.
        unsafe {
            with_node!([&] self, kind, rc, core::mem::forget(SalRc::clone(rc)));
            core::ptr::read(self)
        }
    }

    /// Drops the pointer.
    ///
    /// # Safety
    /// If the link leads to a node, that is of this kind.
    #[inline]
    pub(super) unsafe fn release(mut self, kind: u8) {
        if !self.is_none() {
            // SAFETY: the caller's promise, K1; the link is gone afterwards.
            unsafe { with_node!([&mut] self, kind, rc, ManuallyDrop::drop(rc)) };
        }
    }

    /// The heap of the node.
    ///
    /// # Safety
    /// As for [`Link::share`].
    #[inline]
    pub(super) unsafe fn heap(&self, kind: u8) -> SalAlloc {
        // SAFETY: the caller's promise, K1.
        unsafe { with_node!([&] self, kind, rc, SalRc::heap(rc)) }
    }

    /// The branch.
    ///
    /// # Safety
    /// The link leads to a branch.
    #[inline(always)]
    pub(super) unsafe fn branch(&self) -> &Branch<K, V> {
        // SAFETY: the caller's promise, K1.
        unsafe { &self.branch }
    }

    /// The pointer to the branch.
    ///
    /// # Safety
    /// As for [`Link::branch`].
    #[inline]
    pub(super) unsafe fn into_branch(self) -> SalRc<Branch<K, V>> {
        // SAFETY: the caller's promise, K1.
        unsafe { ManuallyDrop::into_inner(self.branch) }
    }

    /// The branch, if nobody else has it and it may be changed.
    ///
    /// # Safety
    /// As for [`Link::branch`].
    #[inline(always)]
    pub(super) unsafe fn own_branch(&mut self) -> Option<&mut Branch<K, V>> {
        // SAFETY: the caller's promise, K1.
        unsafe { SalRc::get_mut(&mut self.branch) }
    }

    /// As [`Link::own_branch`], sealed or not: of one that was made, or found to be so, just now.
    ///
    /// # Safety
    /// As for [`Link::branch`].
    #[inline(always)]
    pub(super) unsafe fn alone_branch(&mut self) -> Option<&mut Branch<K, V>> {
        // SAFETY: the caller's promise, K1.
        unsafe { SalRc::alone_mut(&mut self.branch) }
    }

    /// The branch, or a copy of it that the link leads to from now on.
    ///
    /// # Safety
    /// As for [`Link::branch`].
    #[inline(always)]
    pub(super) unsafe fn branch_mut(&mut self) -> &mut Branch<K, V> {
        // SAFETY: the caller's promise.
        or_raise(unsafe { self.try_branch_mut() })
    }

    /// As [`Link::branch_mut`]; without room nothing changes.
    ///
    /// # Safety
    /// As for [`Link::branch`].
    #[inline(always)]
    pub(super) unsafe fn try_branch_mut(&mut self) -> Result<&mut Branch<K, V>, TryReserveError> {
        // SAFETY: the caller's promise, K1; after `copy` the link has the only pointer.
        unsafe {
            if self.own_branch().is_none() {
                copy(&mut self.branch, Branch::new(), Branch::copy_to)?;
            }
            Ok(self.alone_branch().unwrap_unchecked())
        }
    }

    /// The leaf.
    ///
    /// # Safety
    /// The link leads to a leaf.
    #[inline(always)]
    pub(super) unsafe fn leaf(&self) -> LeafRef<'_, K, V> {
        // SAFETY: the caller's promise, K1.
        unsafe { with_leaf!([&] self, rc, rc.view()) }
    }

    /// The leaf, if nobody else has it and it may be changed.
    ///
    /// # Safety
    /// As for [`Link::leaf`].
    #[inline(always)]
    pub(super) unsafe fn own_leaf(&mut self) -> Option<LeafMut<'_, K, V>> {
        // SAFETY: the caller's promise, K1.
        unsafe { with_leaf!([&mut] self, rc, SalRc::get_mut(rc).map(Leaf::edit)) }
    }

    /// As [`Link::own_leaf`], sealed or not: of one that was made, or found to be so, just now.
    ///
    /// # Safety
    /// As for [`Link::leaf`].
    #[inline(always)]
    pub(super) unsafe fn alone_leaf(&mut self) -> Option<LeafMut<'_, K, V>> {
        // SAFETY: the caller's promise, K1.
        unsafe { with_leaf!([&mut] self, rc, SalRc::alone_mut(rc).map(Leaf::edit)) }
    }

    /// The list of entries.
    ///
    /// # Safety
    /// The link leads to such a list.
    #[inline]
    pub(super) unsafe fn same(&self) -> &Same<K, V> {
        // SAFETY: the caller's promise, K1.
        unsafe { &self.same }
    }

    /// The list of entries, if nobody else has it and it may be changed.
    ///
    /// # Safety
    /// As for [`Link::same`].
    #[inline]
    pub(super) unsafe fn own_same(&mut self) -> Option<&mut Same<K, V>> {
        // SAFETY: the caller's promise, K1.
        unsafe { SalRc::get_mut(&mut self.same) }
    }

    /// As [`Link::own_same`], sealed or not: of one that was made, or found to be so, just now.
    ///
    /// # Safety
    /// As for [`Link::same`].
    #[inline]
    pub(super) unsafe fn alone_same(&mut self) -> Option<&mut Same<K, V>> {
        // SAFETY: the caller's promise, K1.
        unsafe { SalRc::alone_mut(&mut self.same) }
    }

    /// The entries of a node that is no branch.
    ///
    /// # Safety
    /// If the link leads to a node, that is of this kind, and not a branch.
    #[inline(always)]
    pub(super) unsafe fn entries(&self, kind: u8) -> &[Pair<K, V>] {
        // SAFETY: the caller's promise.
        unsafe {
            match kind {
                kind::LEAF => self.leaf().entries(),
                kind::SAME => self.same(),
                _ => &[],
            }
        }
    }

    /// Tells a visitor the node's block; whether its content has not been visited yet.
    ///
    /// # Safety
    /// As for [`Link::share`].
    pub(super) unsafe fn visit(&self, kind: u8, visitor: &mut BlockVisitor<'_>) -> bool {
        fn block<T: 'static>(rc: &SalRc<T>) -> (NonNull<u8>, Layout) {
            (NonNull::from(&**rc).cast(), Layout::new::<T>())
        }
        // SAFETY: the caller's promise, K1.
        let (block, layout) = unsafe { with_node!([&] self, kind, rc, block(rc)) };
        visitor.shared_block(block, layout)
    }
}

impl<K: Clone + 'static, V: Clone + 'static> Link<K, V> {
    /// The leaf, or a copy of it that the link leads to from now on.
    ///
    /// # Safety
    /// As for [`Link::leaf`].
    #[inline(always)]
    pub(super) unsafe fn leaf_mut(&mut self) -> LeafMut<'_, K, V> {
        // SAFETY: the caller's promise.
        or_raise(unsafe { self.try_leaf_mut() })
    }

    /// As [`Link::leaf_mut`]; without room nothing changes.
    ///
    /// # Safety
    /// As for [`Link::leaf`].
    #[inline(always)]
    pub(super) unsafe fn try_leaf_mut(&mut self) -> Result<LeafMut<'_, K, V>, TryReserveError> {
        // SAFETY: the caller's promise, K1; after `copy` the link has the only pointer.
        unsafe {
            if self.own_leaf().is_none() {
                with_leaf!([&mut] self, rc, copy(rc, Leaf::new(), Leaf::copy_to))?;
            }
            Ok(self.alone_leaf().unwrap_unchecked())
        }
    }

    /// The list of entries, or a copy of it that the link leads to from now on.
    ///
    /// # Safety
    /// As for [`Link::same`].
    #[cold]
    pub(super) unsafe fn same_mut(&mut self) -> &mut Same<K, V> {
        // SAFETY: the caller's promise.
        or_raise(unsafe { self.try_same_mut() })
    }

    /// As [`Link::same_mut`]; without room nothing changes.
    ///
    /// # Safety
    /// As for [`Link::same`].
    #[cold]
    pub(super) unsafe fn try_same_mut(&mut self) -> Result<&mut Same<K, V>, TryReserveError> {
        // SAFETY: the caller's promise, K1; after the copy the link has the only pointer.
        unsafe {
            if self.own_same().is_none() {
                let heap = self.heap(kind::SAME);
                let mut entries = {
                    // What the copy takes lies in the same heap.
                    let _scope = HeapScope::enter(heap);
                    self.same().try_clone()?
                };
                clean(&mut entries);
                *self.same = new_in(entries, heap)?;
            }
            Ok(self.alone_same().unwrap_unchecked())
        }
    }

    /// The entries of a node that is no branch, or of a copy of it that the link leads to from now on.
    ///
    /// # Safety
    /// As for [`Link::entries`].
    pub(super) unsafe fn entries_mut(&mut self, kind: u8) -> &mut [Pair<K, V>] {
        // SAFETY: the caller's promise.
        unsafe {
            match kind {
                kind::LEAF => self.leaf_mut().into_entries(),
                kind::SAME => self.same_mut(),
                _ => &mut [],
            }
        }
    }
}
