//! What moves pairs and children within a node and between neighbours. None of it runs code of keys or values, but where it
//! says so; a call with arguments that do not fit panics before it changes anything.
#![allow(unsafe_code)]

use super::node::{Link, Node};
use super::slots;

impl<K: 'static, V: 'static> Node<K, V> {
    /// Puts a pair into a leaf that has room.
    #[inline]
    pub(super) fn insert_pair(&mut self, at: usize, key: K, value: V) {
        let len = self.len();
        assert!(self.is_leaf() && at <= len && len < Self::LEAF_CAPACITY);
        // SAFETY: N1 and the assertion; it holds for one pair more.
        unsafe {
            slots::insert(self.key_slots(), len, at, key);
            slots::insert(self.value_slots(), len, at, value);
        }
        self.len += 1;
    }

    /// Takes a pair out of a leaf.
    #[inline]
    pub(super) fn remove_pair(&mut self, at: usize) -> (K, V) {
        let len = self.len();
        assert!(self.is_leaf() && at < len);
        self.len -= 1;
        // SAFETY: N1 and the assertion; it holds for one pair less, and N3 for the slots it leaves.
        unsafe { (slots::remove(self.key_slots(), len, at), slots::remove(self.value_slots(), len, at)) }
    }

    /// Gives a branch without children its first one.
    pub(super) fn set_only_child(&mut self, child: Link<K, V>) {
        assert!(self.len == 0 && self.height() == child.height() + 1);
        // SAFETY: N2, which holds for one child and no key.
        unsafe { slots::insert(self.child_slots(), 0, 0, child) };
        self.len = 1;
    }

    /// Puts a child behind the one at `at - 1` of a branch that has room, and the key that bounds both.
    pub(super) fn insert_child(&mut self, at: usize, bound: K, child: Link<K, V>) {
        let len = self.len();
        assert!(1 <= at && at <= len && len < Self::BRANCH_CAPACITY && self.height() == child.height() + 1);
        // SAFETY: N2 and the assertion; it holds for one child and one key more.
        unsafe {
            slots::insert(self.key_slots(), len - 1, at - 1, bound);
            slots::insert(self.child_slots(), len, at, child);
        }
        self.len += 1;
    }

    /// Puts a child before all others of a branch that has room, and the key that bounds both.
    fn insert_first_child(&mut self, child: Link<K, V>, bound: K) {
        let len = self.len();
        assert!(1 <= len && len < Self::BRANCH_CAPACITY && self.height() == child.height() + 1);
        // SAFETY: as in `insert_child`.
        unsafe {
            slots::insert(self.key_slots(), len - 1, 0, bound);
            slots::insert(self.child_slots(), len, 0, child);
        }
        self.len += 1;
    }

    /// Takes a child out of a branch, and the key that bounds it from the one before, or if it is the first, from the next.
    pub(super) fn remove_child(&mut self, at: usize) -> (Option<K>, Link<K, V>) {
        let len = self.len();
        assert!(!self.is_leaf() && at < len);
        self.len -= 1;
        // SAFETY: N2 and the assertion; it holds for one child and one key less, and N3 for the slots they leave.
        unsafe {
            let bound = (len > 1).then(|| slots::remove(self.key_slots(), len - 1, at.saturating_sub(1)));
            (bound, slots::remove(self.child_slots(), len, at))
        }
    }

    /// Moves the pairs from `at` on to a leaf without any.
    pub(super) fn split_leaf(&mut self, at: usize, right: &mut Self) {
        assert!(self.is_leaf() && right.is_leaf() && right.len == 0 && at <= self.len());
        let moved = self.len() - at;
        // SAFETY: N1 and the assertion: as many slots as there are pairs; N3 for those they leave.
        unsafe {
            slots::transfer(self.key_slots().add(at), right.key_slots(), moved);
            slots::transfer(self.value_slots().add(at), right.value_slots(), moved);
        }
        self.len = at as u16;
        right.len = moved as u16;
    }

    /// Moves the children from `at` on to a branch without any, and returns the key that bounds both.
    pub(super) fn split_branch(&mut self, at: usize, right: &mut Self) -> K {
        assert!(!self.is_leaf() && right.height() == self.height() && right.len == 0 && 1 <= at && at < self.len());
        let moved = self.len() - at;
        // SAFETY: N2 and the assertion: as many slots as there are children and keys between them; N3 for those they leave.
        unsafe {
            slots::transfer(self.child_slots().add(at), right.child_slots(), moved);
            slots::transfer(self.key_slots().add(at), right.key_slots(), moved - 1);
            self.len = at as u16;
            right.len = moved as u16;
            slots::remove(self.key_slots(), at, at - 1)
        }
    }

    /// Moves all pairs, or all children and the key that bounds both nodes, from the right neighbour to this node. Of leaves the
    /// key comes back.
    pub(super) fn append(&mut self, bound: K, right: &mut Self) -> Option<K> {
        let (len, moved) = (self.len(), right.len());
        assert!(self.height() == right.height() && 1 <= len && 1 <= moved && len + moved <= self.capacity());
        let bound = if self.is_leaf() {
            // SAFETY: N1 and the assertion: room for all; N3 for the slots they leave.
            unsafe {
                slots::transfer(right.key_slots(), self.key_slots().add(len), moved);
                slots::transfer(right.value_slots(), self.value_slots().add(len), moved);
            }
            Some(bound)
        } else {
            // SAFETY: N2 and the assertion: room for all, the key in between included; N3 for the slots they leave.
            unsafe {
                slots::insert(self.key_slots(), len - 1, len - 1, bound);
                slots::transfer(right.key_slots(), self.key_slots().add(len), moved - 1);
                slots::transfer(right.child_slots(), self.child_slots().add(len), moved);
            }
            None
        };
        right.len = 0;
        self.len += moved as u16;
        bound
    }

    /// Moves the last `count` pairs or children of this node to its right neighbour, and returns the key that bounds them then: of
    /// leaves it is still `bound`.
    pub(super) fn move_right(&mut self, right: &mut Self, mut bound: K, count: usize) -> K {
        assert!(count < self.len());
        for _ in 0..count {
            if self.is_leaf() {
                let (key, value) = self.remove_pair(self.len() - 1);
                right.insert_pair(0, key, value);
            } else if let (Some(key), child) = self.remove_child(self.len() - 1) {
                right.insert_first_child(child, core::mem::replace(&mut bound, key));
            }
        }
        bound
    }

    /// Moves the first `count` pairs or children of the right neighbour to this node; otherwise as [`Node::move_right`].
    pub(super) fn move_left(&mut self, right: &mut Self, mut bound: K, count: usize) -> K {
        assert!(count < right.len());
        for _ in 0..count {
            let len = self.len();
            if self.is_leaf() {
                let (key, value) = right.remove_pair(0);
                self.insert_pair(len, key, value);
            } else if let (Some(key), child) = right.remove_child(0) {
                self.insert_child(len, core::mem::replace(&mut bound, key), child);
            }
        }
        bound
    }
}
