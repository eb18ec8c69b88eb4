//! Iterators that take a map apart.
//!
//! # Invariants
//! - **I1** `at` is at most the number of entries of the current node, and those before it have not been handed out. If the
//!   node is not shared, it has no others.
#![allow(unsafe_code)]

use super::CowHashMap;
use super::branch::{Branch, LEVELS, kind};
use super::leaf::Pair;
use super::link::{Link, clean};
use crate::SalRc;
use core::fmt;
use core::iter::FusedIterator;

/// The entries of a map, from [`CowHashMap::into_iter`](IntoIterator::into_iter): moved if no other version has them, else clones.
pub struct IntoIter<K: 'static, V: 'static> {
    /// The branches on the way to the current node, and which slot comes next in each.
    way: [Option<Step<K, V>>; LEVELS],
    depth: usize,
    current: Current<K, V>,
    left: usize,
}

struct Step<K: 'static, V: 'static> {
    branch: SalRc<Branch<K, V>>,
    next: usize,
}

/// A leaf or a list that is handed out from its end.
struct Current<K: 'static, V: 'static> {
    link: Link<K, V>,
    kind: u8,
    at: usize,
    is_shared: bool,
}

impl<K: 'static, V: 'static> Current<K, V> {
    const fn none() -> Self {
        Self { link: Link::none(), kind: kind::NONE, at: 0, is_shared: true }
    }
}

impl<K: 'static, V: 'static> Drop for Current<K, V> {
    fn drop(&mut self) {
        // SAFETY: the link is of this kind.
        unsafe { self.link.clear(self.kind) };
    }
}

impl<K: 'static, V: 'static> IntoIter<K, V> {
    fn new(mut map: CowHashMap<K, V>) -> Self {
        let mut iter = Self {
            way: [const { None }; LEVELS],
            depth: 0,
            current: Current::none(),
            left: core::mem::take(&mut map.len),
        };
        let kind = core::mem::replace(&mut map.kind, u64::from(kind::NONE)) as u8;
        let root = core::mem::replace(&mut map.root, Link::none());
        // SAFETY: M1 of the map, which has none any more.
        unsafe { iter.enter(root, kind) };
        iter
    }

    /// # Safety
    /// If the link leads to a node, that is of this kind.
    unsafe fn enter(&mut self, mut link: Link<K, V>, kind: u8) {
        // SAFETY: the caller's promise.
        unsafe {
            if kind == kind::BRANCH {
                self.way[self.depth] = Some(Step { branch: link.into_branch(), next: 0 });
                self.depth += 1;
                return;
            }
            let at = link.entries(kind).len();
            let is_shared = match kind {
                kind::LEAF => link.own_leaf().is_none(),
                kind::SAME => link.own_same().is_none(),
                _ => true,
            };
            self.current = Current { link, kind, at, is_shared };
        }
    }

    /// Goes on to the next node with entries; false if there is none.
    fn next_node(&mut self) -> bool {
        while self.depth > 0 {
            let step = self.way[self.depth - 1].as_mut().expect("there is a branch at each step of the way");
            let Some(at) = step.branch.next(step.next) else {
                self.depth -= 1;
                self.way[self.depth] = None;
                continue;
            };
            step.next = at + 1;
            let kind = step.branch.range(at).1;
            let link = match SalRc::get_mut(&mut step.branch) {
                Some(branch) => branch.take(at),
                // SAFETY: it is of this kind (R2).
                None => unsafe { step.branch.link(at).share(kind) },
            };
            // SAFETY: R2.
            unsafe { self.enter(link, kind) };
            if self.current.at > 0 {
                return true;
            }
        }
        false
    }
}

impl<K: Clone + 'static, V: Clone + 'static> Iterator for IntoIter<K, V> {
    type Item = (K, V);

    fn next(&mut self) -> Option<(K, V)> {
        if self.current.at == 0 && !self.next_node() {
            return None;
        }
        let current = &mut self.current;
        current.at -= 1;
        self.left -= 1;
        // SAFETY: the link is of this kind, and there is such an entry (I1), the last one if the node is not shared.
        let Pair { key, value } = unsafe {
            match current.kind {
                _ if current.is_shared => current.link.entries(current.kind)[current.at].clone(),
                kind::LEAF => current.link.alone_leaf().unwrap_unchecked().take(current.at).0,
                _ => {
                    let entries = current.link.alone_same().unwrap_unchecked();
                    let pair = entries.swap_remove(current.at);
                    clean(entries);
                    pair
                }
            }
        };
        Some((key, value))
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<K: Clone + 'static, V: Clone + 'static> ExactSizeIterator for IntoIter<K, V> {}
impl<K: Clone + 'static, V: Clone + 'static> FusedIterator for IntoIter<K, V> {}

impl<K: 'static, V: 'static> fmt::Debug for IntoIter<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IntoIter").field("left", &self.left).finish_non_exhaustive()
    }
}

impl<K: Clone + 'static, V: Clone + 'static> IntoIterator for CowHashMap<K, V> {
    type Item = (K, V);
    type IntoIter = IntoIter<K, V>;

    fn into_iter(self) -> IntoIter<K, V> {
        IntoIter::new(self)
    }
}
