//! Finding, adding and removing leaves.
//!
//! The digits of a leaf's number, to the base of a branch's children, are the way to it. Changing goes that way too, and
//! copies the nodes that other versions have.
#![allow(unsafe_code)]

use super::CowVec;
use super::branch::{Branch, Children, digit, leaves_of};
use super::leaf::{Leaf, Tail, width};
use crate::collections::TryReserveError;
use crate::collections::error::no_room_for;
use crate::heap::SalAlloc;
use crate::heap::placement::heap_for_value_at;
use crate::ptr::SalRc;
use core::mem;

/// Puts a branch into a heap.
fn new_branch<T: 'static>(branch: Branch<T>, heap: SalAlloc) -> Result<SalRc<Branch<T>>, TryReserveError> {
    SalRc::try_new_in(branch, heap).map_err(|_| no_room_for::<Branch<T>>())
}

/// The branch, to be changed; one that others have is copied. Without room for that nothing changes.
#[inline]
fn own<T: 'static>(branch: &mut SalRc<Branch<T>>) -> Result<&mut Branch<T>, TryReserveError> {
    SalRc::try_make_mut(branch).map_err(|_| no_room_for::<Branch<T>>())
}

/// Branches that lead to a node alone, up to a level, which is not below the node's own.
fn lift<T: 'static>(mut node: Node<T>, level: usize, heap: SalAlloc) -> Result<SalRc<Branch<T>>, TryReserveError> {
    loop {
        let above = match node {
            Node::Branch(branch) if branch.level() == level => return Ok(branch),
            Node::Branch(branch) => Branch::of_branch(branch),
            Node::Leaf(leaf) => Branch::of_leaf(leaf),
        };
        node = Node::Branch(new_branch(above, heap)?);
    }
}

/// A copy of a branch, and of all below it on the way to a leaf, that leads to no leaf behind that.
fn first_leaves<T: 'static>(branch: &SalRc<Branch<T>>, last: usize) -> Result<SalRc<Branch<T>>, TryReserveError> {
    let at = digit(last, branch.level());
    let copy = if branch.level() == 1 {
        branch.first(at + 1)
    } else {
        let mut copy = branch.first(at);
        // SAFETY: the level is more than 1, and the leaf is below one of the children.
        copy.push_branch(first_leaves(unsafe { branch.branch(at) }, last)?);
        copy
    };
    SalRc::try_new_near(copy, branch).map_err(|_| no_room_for::<Branch<T>>())
}

/// What a tree is put together of.
pub(super) enum Node<T: 'static> {
    Leaf(SalRc<Leaf<T>>),
    Branch(SalRc<Branch<T>>),
}

impl<T: 'static> Node<T> {
    /// 0 for a leaf.
    fn level(&self) -> usize {
        match self {
            Self::Leaf(_) => 0,
            Self::Branch(branch) => branch.level(),
        }
    }

    fn heap(&self) -> SalAlloc {
        match self {
            Self::Leaf(leaf) => SalRc::heap(leaf),
            Self::Branch(branch) => SalRc::heap(branch),
        }
    }

    /// Another pointer to it.
    fn share(&self) -> Self {
        match self {
            Self::Leaf(leaf) => Self::Leaf(SalRc::clone(leaf)),
            Self::Branch(branch) => Self::Branch(SalRc::clone(branch)),
        }
    }
}

/// Takes the node out of `slot` for `work`, and puts it back if that finds no room.
#[cold]
fn take_for<T: 'static, R>(
    slot: &mut Option<Node<T>>,
    work: impl FnOnce(Node<T>) -> Result<R, TryReserveError>,
) -> Result<R, TryReserveError> {
    let node = slot.take().expect("there is a node to be put in");
    let spare = node.share();
    work(node).inspect_err(|_| *slot = Some(spare))
}

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

    /// The elements of a leaf, to be changed. Nodes on the way to them that others have are copied; without room for that, the elements
    /// stay as they are.
    ///
    /// # Safety
    /// There is a leaf of this number.
    #[inline]
    pub(super) unsafe fn leaf_mut(&mut self, number: usize) -> Result<&mut [T], TryReserveError>
    where
        T: Clone,
    {
        debug_assert!(number < self.leaves());
        // SAFETY: as in `leaf`; a copy has the same level and children.
        unsafe {
            let mut branch = own(self.root.as_mut().unwrap_unchecked())?;
            let mut level = self.height;
            while level > 1 {
                branch = own(branch.branch_mut(digit(number, level)))?;
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

    /// Adds a leaf behind the others. There is no tail, or it has no elements. Without room for that nothing changes.
    pub(super) fn push_leaf(&mut self, leaf: SalRc<Leaf<T>>) -> Result<(), TryReserveError> {
        self.push_node(&mut Some(Node::Leaf(leaf)), 1)
    }

    /// Adds a node that leads to so many leaves behind those there are, whose number is a multiple of what a node of its level has room for.
    /// There is no tail, or it has no elements. Without room for that nothing changes, and the node stays in `slot`.
    fn push_node(&mut self, slot: &mut Option<Node<T>>, leaves: usize) -> Result<(), TryReserveError> {
        debug_assert!(self.len == self.tree_len);
        self.insert_node(self.leaves(), slot)?;
        self.tree_len += leaves * width::<T>();
        self.len = self.tree_len;
        Ok(())
    }

    #[inline]
    fn insert_node(&mut self, number: usize, slot: &mut Option<Node<T>>) -> Result<(), TryReserveError> {
        let node = slot.as_ref().expect("there is a node to be put in");
        let (lowest, heap) = (node.level() + 1, node.heap());
        debug_assert!(number % leaves_of(node.level()) == 0);
        let Some(root) = &mut self.root else {
            let mut root = take_for(slot, |node| lift(node, 1.max(lowest - 1), heap))?;
            // One child of a higher branch that is not full is enough of a tree.
            while root.level() > 1 && root.len() == 1 {
                // SAFETY: a branch of a level above 1, and its only child.
                root = SalRc::clone(unsafe { root.branch(0) });
            }
            self.height = root.level();
            self.root = Some(root);
            return Ok(());
        };
        if number == leaves_of(self.height) {
            let mut above = Branch::of_branch(SalRc::clone(root));
            let height = self.height;
            *root = take_for(slot, |node| {
                above.push_branch(lift(node, height, heap)?);
                new_branch(above, heap)
            })?;
            self.height += 1;
            return Ok(());
        }
        let mut branch = own(root)?;
        for level in (lowest..=self.height).rev() {
            let at = digit(number, level);
            if level == lowest {
                match slot.take() {
                    Some(Node::Leaf(leaf)) => branch.push_leaf(leaf),
                    Some(Node::Branch(child)) => branch.push_branch(child),
                    None => {}
                }
                return Ok(());
            }
            if at == branch.len() {
                branch.push_branch(take_for(slot, |node| lift(node, level - 1, heap))?);
                return Ok(());
            }
            // SAFETY: a branch of a level above 1, and one of its children (V1, N2).
            branch = own(unsafe { branch.branch_mut(at) })?;
        }
        unreachable!("there is no leaf of this number")
    }

    /// Adds the leaves below a branch from a number on, which belongs to a tree with `end` leaves, of which `first` is the first below
    /// the branch. Whole branches are shared where they fit in; if there is no room, those added so far stay.
    pub(super) fn push_leaves_of(
        &mut self,
        branch: &SalRc<Branch<T>>,
        first: usize,
        from: usize,
        end: usize,
    ) -> Result<(), TryReserveError> {
        let below = leaves_of(branch.level());
        if first >= from && self.leaves() % below == 0 {
            let mut node = Some(Node::Branch(SalRc::clone(branch)));
            return self.push_node(&mut node, below.min(end - first));
        }
        match branch.children() {
            Children::Leaves(leaves) => {
                for leaf in &leaves[from.saturating_sub(first)..] {
                    self.push_leaf(SalRc::clone(leaf))?;
                }
            }
            Children::Branches(branches) => {
                let below = leaves_of(branch.level() - 1);
                for (at, child) in branches.iter().enumerate().skip(from.saturating_sub(first) / below) {
                    self.push_leaves_of(child, first + at * below, from, end)?;
                }
            }
        }
        Ok(())
    }

    /// Removes all leaves but the first, and what is in the tail. The vector is in order when this returns, and
    /// `removed` is to be dropped then. Without room for what has to be copied nothing changes.
    pub(super) fn cut(
        &mut self,
        leaves: usize,
        removed: &mut Removed<T>,
    ) -> Result<Option<SalRc<Tail<T>>>, TryReserveError> {
        let Some(last) = leaves.checked_sub(1) else {
            removed.nodes.extend(self.root.take());
            (self.height, self.tree_len, self.len) = (0, 0, 0);
            return Ok(self.tail.take());
        };
        let copied = self.copy_shared(last)?;
        let tail = self.tail.take();
        self.tree_len = leaves * width::<T>();
        self.len = self.tree_len;
        let Some(root) = &mut self.root else { return Ok(tail) };
        let own_levels = copied.as_ref().map_or(1, |copied| copied.level() + 1);
        let mut node = &mut *root;
        for level in (own_levels..=self.height).rev() {
            let kept = digit(last, level) + 1;
            // SAFETY: nobody else has the branches above the one that was copied, as `copy_shared` has seen, and nothing has run since.
            let branch = unsafe { &mut *SalRc::as_ptr(node).cast_mut() };
            if kept < branch.len() {
                removed.parts.push(branch.split_off(kept));
            }
            if level > 1 {
                // SAFETY: a branch of a level above 1, and its last child.
                node = unsafe { branch.branch_mut(kept - 1) };
            }
        }
        if let Some(copied) = copied {
            removed.nodes.push(mem::replace(node, copied));
        }
        while self.height > 1 && root.len() == 1 {
            // SAFETY: a branch of a level above 1, and its only child.
            let child = SalRc::clone(unsafe { root.branch(0) });
            removed.nodes.push(mem::replace(root, child));
            self.height -= 1;
        }
        Ok(tail)
    }

    /// Of the branches on the way to a leaf the first one that another version has, copied with those below it and without what lies behind
    /// the leaf; none if no other version has one.
    fn copy_shared(&mut self, last: usize) -> Result<Option<SalRc<Branch<T>>>, TryReserveError> {
        let Some(mut node) = self.root.as_mut() else { return Ok(None) };
        for level in (1..=self.height).rev() {
            let branch: *mut SalRc<Branch<T>> = node;
            // SAFETY: borrowed with the vector; this borrow is over where there is none.
            let Some(branch) = SalRc::get_mut(unsafe { &mut *branch }) else {
                return first_leaves(node, last).map(Some);
            };
            if level > 1 {
                // SAFETY: a branch of a level above 1, and the child on the way to a leaf that there is.
                node = unsafe { branch.branch_mut(digit(last, level)) };
            }
        }
        Ok(None)
    }

    /// The tail, to be changed, if there is one. One that others have is copied; without room for that nothing changes.
    #[inline]
    pub(super) fn own_tail(&mut self) -> Result<Option<&mut Tail<T>>, TryReserveError>
    where
        T: Clone,
    {
        let Some(tail) = self.tail.as_mut() else { return Ok(None) };
        if SalRc::get_mut(tail).is_none() {
            *tail = Tail::copy_of(tail.elements(), tail)?;
        }
        Ok(SalRc::alone_mut(tail))
    }

    /// A tail of its own with room for an element. Without memory for that the elements are where they were.
    pub(super) fn room(&mut self) -> Result<&mut Tail<T>, TryReserveError>
    where
        T: Clone,
    {
        let heap = self.heap();
        if self.tail.is_none() {
            let tail = Tail::new_in(heap)?;
            return Ok(SalRc::alone_mut(self.tail.insert(tail)).expect("nobody else has a new node"));
        }
        let is_full = self.len - self.tree_len == width::<T>();
        if is_full {
            assert!(self.len <= usize::MAX - 2 * width::<T>(), "more elements than can be counted");
            let tail = self.own_tail()?.expect("there is one");
            let leaf = tail.take_leaf(heap)?;
            self.len = self.tree_len;
            let mut slot = Some(Node::Leaf(leaf));
            if let Err(error) = self.push_node(&mut slot, 1) {
                if let (Some(Node::Leaf(leaf)), Some(tail)) = (slot, &self.tail) {
                    // SAFETY: the tail is this vector's own, as it was above, and the leaf was taken from it; it came back, and other
                    // pointers to it were dropped.
                    unsafe { (*SalRc::as_ptr(tail).cast_mut()).put_back(leaf) };
                    self.len += width::<T>();
                }
                return Err(error);
            }
        }
        Ok(self.own_tail()?.expect("there is one"))
    }

    /// Ends the vector within a leaf: so many of its elements are kept, and become the tail. Copies of them if another
    /// version has the leaf; a panic of theirs changes nothing, and neither does lack of room.
    ///
    /// # Safety
    /// There is a leaf of this number.
    pub(super) unsafe fn end_within(&mut self, number: usize, kept: usize) -> Result<(), TryReserveError>
    where
        T: Clone,
    {
        // SAFETY: the caller's promise.
        let (is_own, leaf) = unsafe { (self.owns_leaf(number), SalRc::clone(self.leaf(number))) };
        let mut tail = Tail::new_near(&leaf)?;
        if !is_own {
            Tail::copy_to(&leaf.elements()[..kept], &mut tail);
        }
        let mut removed = Removed::new();
        let old = self.cut(number, &mut removed)?;
        drop((removed, old));
        if is_own {
            if let Err(leaf) = Tail::take_from(&mut tail, leaf, kept) {
                Tail::copy_to(&leaf.elements()[..kept], &mut tail);
            }
        }
        self.tail = Some(tail);
        self.len += kept;
        Ok(())
    }
}
