//! What differs between two versions.
//!
//! Two walks: over the entries of one map that lie in nodes that the other does not have in the same place, and then the other
//! way round. Each entry that is met is looked up in the other map.
#![allow(unsafe_code)]

use super::CowHashMap;
use super::branch::{Branch, LEVELS, kind};
use super::leaf::Pair;
use super::link::Link;
use core::fmt;
use core::hash::Hash;
use core::iter::FusedIterator;
use core::slice;

/// What a change of a map did to one key, from [`CowHashMap::diff`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference<'a, K: 'static, V: 'static> {
    /// The key is in the newer map only.
    Added(&'a K, &'a V),
    /// The key is in the older map only.
    Removed(&'a K, &'a V),
    /// The key has another value.
    Changed {
        /// The key, as it is in the older map.
        key: &'a K,
        /// Its value in the older map.
        old: &'a V,
        /// Its value in the newer map.
        new: &'a V,
    },
}

/// The entries of a map that lie in nodes that another one does not have in the same place.
struct Unshared<'a, K: 'static, V: 'static> {
    /// The branches on the way to the current leaf, those at the same place in the other map, and which slot comes next.
    way: [Option<Step<'a, K, V>>; LEVELS],
    depth: usize,
    pairs: slice::Iter<'a, Pair<K, V>>,
}

struct Step<'a, K: 'static, V: 'static> {
    branch: &'a Branch<K, V>,
    other: Option<&'a Branch<K, V>>,
    next: usize,
}

impl<K: 'static, V: 'static> Clone for Step<'_, K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K: 'static, V: 'static> Copy for Step<'_, K, V> {}

impl<K: 'static, V: 'static> Clone for Unshared<'_, K, V> {
    fn clone(&self) -> Self {
        Self { way: self.way, depth: self.depth, pairs: self.pairs.clone() }
    }
}

impl<'a, K: 'static, V: 'static> Unshared<'a, K, V> {
    fn new(map: &'a CowHashMap<K, V>, other: &'a CowHashMap<K, V>) -> Self {
        let mut walk = Self { way: [None; LEVELS], depth: 0, pairs: [].iter() };
        // SAFETY: M1.
        unsafe { walk.enter(&map.root, map.kind(), Some((&other.root, other.kind()))) };
        walk
    }

    /// # Safety
    /// If the links lead to nodes, those are of these kinds.
    unsafe fn enter(&mut self, link: &'a Link<K, V>, kind: u8, other: Option<(&'a Link<K, V>, u8)>) {
        if other.is_some_and(|(other, _)| link.ptr_eq(other)) {
            return;
        }
        // SAFETY: the caller's promise.
        unsafe {
            if kind == kind::BRANCH {
                let other = other.filter(|&(_, kind)| kind == kind::BRANCH).map(|(other, _)| other.branch());
                self.way[self.depth] = Some(Step { branch: link.branch(), other, next: 0 });
                self.depth += 1;
            } else {
                self.pairs = link.entries(kind).iter();
            }
        }
    }
}

impl<'a, K: 'static, V: 'static> Iterator for Unshared<'a, K, V> {
    type Item = &'a Pair<K, V>;

    fn next(&mut self) -> Option<&'a Pair<K, V>> {
        loop {
            if let Some(pair) = self.pairs.next() {
                return Some(pair);
            }
            let step = self.way[self.depth.checked_sub(1)?].as_mut()?;
            let Some(at) = step.branch.next(step.next) else {
                self.depth -= 1;
                continue;
            };
            step.next = at + 1;
            let step = *step;
            let other = step.other.map(|other| {
                let (first, kind) = other.range(at);
                (other.link(first), kind)
            });
            // SAFETY: R2.
            unsafe { self.enter(step.branch.link(at), step.branch.range(at).1, other) };
        }
    }
}

/// What differs between two maps, from [`CowHashMap::diff`].
pub struct Diff<'a, K: 'static, V: 'static> {
    old: &'a CowHashMap<K, V>,
    new: &'a CowHashMap<K, V>,
    of_old: Unshared<'a, K, V>,
    of_new: Unshared<'a, K, V>,
}

impl<K: Eq + Hash + 'static, V: PartialEq + 'static> CowHashMap<K, V> {
    /// What has to be done to this map to make it equal `newer`, in no particular order.
    ///
    /// If one was made from a clone of the other, this takes about as long as changing that much did: what they share is not
    /// looked at.
    ///
    /// ```
    /// use sal::collections::CowHashMap;
    /// use sal::collections::cow_hash_map::Difference;
    ///
    /// let old: CowHashMap<u32, char> = [(1, 'a'), (2, 'b')].into();
    /// let mut new = old.clone();
    /// new.insert(2, 'c');
    /// new.insert(3, 'd');
    /// assert_eq!(old.diff(&new).count(), 2);
    /// assert!(old.diff(&new).any(|difference| difference == Difference::Added(&3, &'d')));
    /// ```
    pub fn diff<'a>(&'a self, newer: &'a Self) -> Diff<'a, K, V> {
        Diff { old: self, new: newer, of_old: Unshared::new(self, newer), of_new: Unshared::new(newer, self) }
    }
}

impl<'a, K: Eq + Hash + 'static, V: PartialEq + 'static> Iterator for Diff<'a, K, V> {
    type Item = Difference<'a, K, V>;

    fn next(&mut self) -> Option<Difference<'a, K, V>> {
        for Pair { key, value: old } in self.of_old.by_ref() {
            match self.new.get(key) {
                None => return Some(Difference::Removed(key, old)),
                Some(new) if new != old => return Some(Difference::Changed { key, old, new }),
                Some(_) => {}
            }
        }
        let added = self.of_new.by_ref().find(|pair| !self.old.contains_key(&pair.key));
        added.map(|Pair { key, value }| Difference::Added(key, value))
    }
}

impl<K: Eq + Hash + 'static, V: PartialEq + 'static> FusedIterator for Diff<'_, K, V> {}

impl<K: 'static, V: 'static> Clone for Diff<'_, K, V> {
    fn clone(&self) -> Self {
        Self { old: self.old, new: self.new, of_old: self.of_old.clone(), of_new: self.of_new.clone() }
    }
}

impl<K: Eq + Hash + fmt::Debug + 'static, V: PartialEq + fmt::Debug + 'static> fmt::Debug for Diff<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.clone()).finish()
    }
}

/// What two versions share is not compared.
impl<K: Eq + Hash + 'static, V: PartialEq + 'static> PartialEq for CowHashMap<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && Unshared::new(self, other).all(|pair| other.get(&pair.key) == Some(&pair.value))
    }
}

impl<K: Eq + Hash + 'static, V: Eq + 'static> Eq for CowHashMap<K, V> {}
