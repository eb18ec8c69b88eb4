//! Finding, adding and removing leaves.
//!
//! The digits of a leaf's number, to the base of a branch's children, are the way to it. Changing goes that way too, and
//! copies the nodes that other versions have.
#![allow(unsafe_code)]

use super::CowVec;
use super::branch::{Branch, digit, leaves_of};
use super::leaf::{Leaf, Tail, width};
use crate::heap::SalAlloc;
use crate::heap::placement::heap_for_value_at;
use crate::ptr::SalRc;
use core::mem;

/// Nodes that a vector does not lead to any more. They are dropped when the vector is in order again, since
/// elements may panic.
pub(super) struct Removed<T: 'static> {
    parts: Vec<Branch<T>>,
    nodes: Vec<SalRc<Branch<T>>>,
}

impl<T: 'static> Removed<T> {
    pub(super) fn new() -> Self {
        Self { parts: Vec::new(), nodes: Vec::new() }
    }
}

impl<T: 'static> CowVec<T> {
    /// The heap that new nodes go to.
    pub(super) fn heap(&self) -> SalAlloc {
        match (&self.tail, &self.root) {
            (Some(tail), _) => SalRc::heap(tail),
            (None, Some(root)) => SalRc::heap(root),
            (None, None) => heap_for_value_at((&raw const *self).addr()),
        }
    }

    /// Leaves in the tree.
    #[inline(always)]
    pub(super) fn leaves(&self) -> usize {
        self.tree_len / width::<T>()
    }

    /// # Safety
    /// There is a leaf of this number.
    #[inline(always)]
    pub(super) unsafe fn leaf(&self, number: usize) -> &SalRc<Leaf<T>> {
        debug_assert!(number < self.leaves());
        // SAFETY: a tree with leaves has a root, of this level, and the digits lead to the leaf (V1, N2).
        unsafe {
            let mut branch: &Branch<T> = self.root.as_ref().unwrap_unchecked();
            let mut level = self.height;
            while level > 1 {
                branch = branch.branch(digit(number, level));
                level -= 1;
            }
            branch.leaf(digit(number, 1))
        }
    }

    /// The elements of a leaf, to be changed. Nodes on the way to them that others have are copied.
    ///
    /// # Safety
    /// There is a leaf of this number.
    #[inline]
    pub(super) unsafe fn leaf_mut(&mut self, number: usize) -> &mut [T]
    where
        T: Clone,
    {
        debug_assert!(number < self.leaves());
        // SAFETY: as in `leaf`; a copy has the same level and children.
        unsafe {
            let mut branch = SalRc::make_mut(self.root.as_mut().unwrap_unchecked());
            let mut level = self.height;
            while level > 1 {
                branch = SalRc::make_mut(branch.branch_mut(digit(number, level)));
                level -= 1;
            }
            Leaf::make_mut(branch.leaf_mut(digit(number, 1)))
        }
    }

    /// Whether no other version has a leaf.
    ///
    /// # Safety
    /// There is a leaf of this number.
    pub(super) unsafe fn owns_leaf(&mut self, number: usize) -> bool {
        // SAFETY: as in `leaf`.
        unsafe {
            let mut node = self.root.as_mut().unwrap_unchecked();
            for level in (2..=self.height).rev() {
                let Some(branch) = SalRc::get_mut(node) else { return false };
                node = branch.branch_mut(digit(number, level));
            }
            let Some(branch) = SalRc::get_mut(node) else { return false };
            SalRc::get_mut(branch.leaf_mut(digit(number, 1))).is_some()
        }
    }

    /// Adds a leaf behind the others. There is no tail, or it has no elements.
    pub(super) fn push_leaf(&mut self, leaf: SalRc<Leaf<T>>) {
        debug_assert!(self.len == self.tree_len);
        let number = self.leaves();
        self.insert_leaf(number, leaf);
        self.tree_len += width::<T>();
        self.len = self.tree_len;
    }

    fn insert_leaf(&mut self, number: usize, leaf: SalRc<Leaf<T>>) {
        let heap = SalRc::heap(&leaf);
        let Some(root) = &mut self.root else {
            self.root = Some(SalRc::new_in(Branch::of_leaf(leaf), heap));
            self.height = 1;
            return;
        };
        if number == leaves_of(self.height) {
            *root = SalRc::new_in(Branch::of_branch(SalRc::clone(root)), heap);
            self.height += 1;
        }
        let mut branch = SalRc::make_mut(root);
        for level in (2..=self.height).rev() {
            let at = digit(number, level);
            if at == branch.len() {
                let mut chain = Branch::of_leaf(leaf);
                for _ in 2..level {
                    chain = Branch::of_branch(SalRc::new_in(chain, heap));
                }
                branch.push_branch(SalRc::new_in(chain, heap));
                return;
            }
            // SAFETY: a branch of a level above 1, and one of its children (V1, N2).
            branch = SalRc::make_mut(unsafe { branch.branch_mut(at) });
        }
        branch.push_leaf(leaf);
    }

    /// Removes all leaves but the first, and what is in the tail. The vector is in order when this returns, and
    /// `removed` is to be dropped then.
    pub(super) fn cut(&mut self, leaves: usize, removed: &mut Removed<T>) -> Option<SalRc<Tail<T>>> {
        let tail = self.tail.take();
        self.tree_len = leaves * width::<T>();
        self.len = self.tree_len;
        if leaves == 0 {
            removed.nodes.extend(self.root.take());
            self.height = 0;
            return tail;
        }
        let Some(root) = &mut self.root else { return tail };
        let mut node = &mut *root;
        for level in (1..=self.height).rev() {
            let kept = digit(leaves - 1, level) + 1;
            match SalRc::get_mut(node) {
                Some(branch) if kept < branch.len() => removed.parts.push(branch.split_off(kept)),
                Some(_) => {}
                None => {
                    let copy = SalRc::new_near(node.first(kept), node);
                    removed.nodes.push(mem::replace(node, copy));
                }
            }
            if level > 1 {
                let branch = SalRc::alone_mut(node).expect("nobody else has it, or it is new");
                // SAFETY: a branch of a level above 1, and its last child.
                node = unsafe { branch.branch_mut(kept - 1) };
            }
        }
        while self.height > 1 && root.len() == 1 {
            // SAFETY: a branch of a level above 1, and its only child.
            let child = SalRc::clone(unsafe { root.branch(0) });
            removed.nodes.push(mem::replace(root, child));
            self.height -= 1;
        }
        tail
    }

    /// The tail, to be changed, if there is one. One that others have is copied.
    #[inline]
    pub(super) fn own_tail(&mut self) -> Option<&mut Tail<T>>
    where
        T: Clone,
    {
        let tail = self.tail.as_mut()?;
        if SalRc::get_mut(tail).is_none() {
            *tail = Tail::copy_of(tail.elements(), tail);
        }
        SalRc::alone_mut(tail)
    }

    /// A tail of its own with room for an element.
    pub(super) fn room(&mut self) -> &mut Tail<T>
    where
        T: Clone,
    {
        let heap = self.heap();
        if self.tail.is_none() {
            self.tail = Some(Tail::new_in(heap));
        }
        let is_full = self.len - self.tree_len == width::<T>();
        if is_full {
            assert!(self.len <= usize::MAX - 2 * width::<T>(), "more elements than can be counted");
            let tail = self.own_tail().expect("made above");
            let leaf = tail.take_leaf(heap);
            self.len = self.tree_len;
            self.push_leaf(leaf);
        }
        self.own_tail().expect("made above")
    }

    /// Ends the vector within a leaf: so many of its elements are kept, and become the tail. Copies of them if another
    /// version has the leaf; a panic of theirs changes nothing.
    ///
    /// # Safety
    /// There is a leaf of this number.
    pub(super) unsafe fn end_within(&mut self, number: usize, kept: usize)
    where
        T: Clone,
    {
        // SAFETY: the caller's promise.
        let (is_own, leaf) = unsafe { (self.owns_leaf(number), SalRc::clone(self.leaf(number))) };
        let copied = (!is_own).then(|| Tail::copy_of(&leaf.elements()[..kept], &leaf));
        let mut removed = Removed::new();
        let old = self.cut(number, &mut removed);
        drop((removed, old));
        let moved = || Tail::of_leaf(leaf, kept);
        let tail =
            copied.unwrap_or_else(|| moved().unwrap_or_else(|leaf| Tail::copy_of(&leaf.elements()[..kept], &leaf)));
        self.tail = Some(tail);
        self.len += kept;
    }
}
