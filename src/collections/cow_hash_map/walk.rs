//! A walk over all entries, leaf by leaf.
#![allow(unsafe_code)]

use super::CowHashMap;
use super::branch::{Branch, LEVELS, kind};
use super::leaf::Pair;
use super::link::Link;
use core::marker::PhantomData;
use core::ptr::NonNull;

/// How a walk comes from a link to what it leads to.
///
/// # Safety
/// What is returned belongs to the node that the link leads to afterwards.
pub(super) unsafe trait Access<K: 'static, V: 'static> {
    /// The branch that a link leads to.
    ///
    /// # Safety
    /// The link leads to a branch. If this changes links, nobody else uses it.
    unsafe fn branch(link: NonNull<Link<K, V>>) -> NonNull<Branch<K, V>>;

    /// The entries that a link leads to.
    ///
    /// # Safety
    /// As for [`Link::entries`]. If this changes links, nobody else uses it.
    unsafe fn entries(link: NonNull<Link<K, V>>, kind: u8) -> NonNull<[Pair<K, V>]>;
}

/// To read.
pub(super) struct Shared;

// SAFETY: it is what the link leads to.
unsafe impl<K: 'static, V: 'static> Access<K, V> for Shared {
    #[inline(always)]
    unsafe fn branch(link: NonNull<Link<K, V>>) -> NonNull<Branch<K, V>> {
        // SAFETY: the caller's promise.
        NonNull::from(unsafe { link.as_ref().branch() })
    }

    #[inline(always)]
    unsafe fn entries(link: NonNull<Link<K, V>>, kind: u8) -> NonNull<[Pair<K, V>]> {
        // SAFETY: the caller's promise.
        NonNull::from(unsafe { link.as_ref().entries(kind) })
    }
}

/// To change: nodes that others have are copied.
pub(super) struct Own;

// SAFETY: it is what the link leads to, now.
unsafe impl<K: Clone + 'static, V: Clone + 'static> Access<K, V> for Own {
    #[inline(always)]
    unsafe fn branch(mut link: NonNull<Link<K, V>>) -> NonNull<Branch<K, V>> {
        // SAFETY: the caller's promise.
        NonNull::from(unsafe { link.as_mut().branch_mut() })
    }

    #[inline(always)]
    unsafe fn entries(mut link: NonNull<Link<K, V>>, kind: u8) -> NonNull<[Pair<K, V>]> {
        // SAFETY: the caller's promise.
        NonNull::from(unsafe { link.as_mut().entries_mut(kind) })
    }
}

/// A walk over the entries of a map, which stays borrowed and as it is; each is met once.
pub(super) struct Walk<K: 'static, V: 'static> {
    /// The branches on the way to the current leaf, and which slot comes next in each.
    way: [(NonNull<Branch<K, V>>, usize); LEVELS],
    depth: usize,
    /// What is left of the current leaf.
    pairs: NonNull<Pair<K, V>>,
    pairs_left: usize,
    /// Entries that have not been met.
    pub(super) left: usize,
    of: PhantomData<(K, V)>,
}

impl<K: 'static, V: 'static> Clone for Walk<K, V> {
    fn clone(&self) -> Self {
        Self { of: PhantomData, ..*self }
    }
}

impl<K: 'static, V: 'static> Walk<K, V> {
    /// A walk over nothing.
    pub(super) const fn empty() -> Self {
        Self {
            way: [(NonNull::dangling(), 0); LEVELS],
            depth: 0,
            pairs: NonNull::dangling(),
            pairs_left: 0,
            left: 0,
            of: PhantomData,
        }
    }

    /// A walk over a map.
    ///
    /// # Safety
    /// The map is borrowed as long as the walk is used; mutably if the access changes links.
    #[inline]
    pub(super) unsafe fn new<A: Access<K, V>>(map: NonNull<CowHashMap<K, V>>) -> Self {
        let mut walk = Self::empty();
        // SAFETY: the caller's promise, M1.
        unsafe {
            let kind = (*map.as_ptr()).kind();
            walk.left = (*map.as_ptr()).len;
            walk.enter::<A>(NonNull::new_unchecked(&raw mut (*map.as_ptr()).root), kind);
        }
        walk
    }

    /// # Safety
    /// If the link leads to a node, that is of this kind.
    #[inline(always)]
    unsafe fn enter<A: Access<K, V>>(&mut self, link: NonNull<Link<K, V>>, kind: u8) {
        // SAFETY: the caller's promise.
        unsafe {
            if kind == kind::BRANCH {
                self.way[self.depth] = (A::branch(link), 0);
                self.depth += 1;
            } else {
                let entries = A::entries(link, kind);
                self.pairs = entries.cast();
                self.pairs_left = entries.len();
            }
        }
    }

    /// The next entry.
    ///
    /// # Safety
    /// The access is that with which the walk began.
    #[inline(always)]
    pub(super) unsafe fn next<A: Access<K, V>>(&mut self) -> Option<NonNull<Pair<K, V>>> {
        // SAFETY: the caller's promise.
        if self.pairs_left == 0 && !unsafe { self.next_leaf::<A>() } {
            return None;
        }
        let pair = self.pairs;
        // SAFETY: one of the leaf's entries.
        self.pairs = unsafe { pair.add(1) };
        self.pairs_left -= 1;
        self.left = self.left.wrapping_sub(1);
        Some(pair)
    }

    /// Goes on to the next leaf with entries; false if there is none.
    ///
    /// # Safety
    /// As for `next`.
    #[inline]
    unsafe fn next_leaf<A: Access<K, V>>(&mut self) -> bool {
        while self.depth > 0 {
            let (branch, from) = &mut self.way[self.depth - 1];
            // SAFETY: the branch is borrowed with the map; its links are used one after the other (R2, M2).
            unsafe {
                let Some(at) = branch.as_ref().next(*from) else {
                    self.depth -= 1;
                    continue;
                };
                *from = at + 1;
                let kind = branch.as_ref().range(at).1;
                let link = Branch::link_ptr(*branch, at);
                self.enter::<A>(link, kind);
            }
            if self.pairs_left > 0 {
                return true;
            }
        }
        false
    }
}
