//! Building a map from pairs in ascending order, which fills leaves to the brim.

use super::CowMap;
use super::copy::{fresh, new_beside, new_leaf, scope};
use super::node::{Link, Node};
use crate::collections::TryReserveError;
use crate::collections::btree_map::sorted;
use crate::collections::error::or_raise;
use crate::heap::placement::heap_for_value_at;

impl<K: Ord + Clone + 'static, V: Clone + 'static> CowMap<K, V> {
    /// A map of pairs whose keys ascend, in time proportional to their number, with full leaves one behind the other.
    ///
    /// It is in the heap of the calling thread's newest write session, if there is one. A pair whose key is not greater than those
    /// before is inserted when the others are there, as by [`insert`](Self::insert). A heap without room for a node is a call of
    /// [`handle_alloc_error`](std::alloc::handle_alloc_error).
    ///
    /// ```
    /// use sal::collections::CowMap;
    ///
    /// let squares = CowMap::from_sorted((0..1000_u64).map(|n| (n, n * n)));
    /// assert_eq!((squares.len(), squares[&30]), (1000, 900));
    /// ```
    pub fn from_sorted<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        or_raise(Self::try_from_sorted(pairs))
    }

    /// As [`from_sorted`](Self::from_sorted), for a heap that may be full.
    ///
    /// # Errors
    /// [`AllocError`](TryReserveError::AllocError); the pairs taken so far are dropped.
    pub fn try_from_sorted<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Result<Self, TryReserveError> {
        let mut late = Vec::new();
        let leaves = fill_leaves(pairs.into_iter(), &mut late)?;
        let mut map = Self { len: leaves.iter().map(|leaf| leaf.len()).sum(), root: join(leaves)? };
        for (key, value) in late {
            map.insert_pair(key, value)?;
        }
        Ok(map)
    }

    /// As [`collect`](Iterator::collect), for a heap that may be full.
    ///
    /// # Errors
    /// [`AllocError`](TryReserveError::AllocError); the entries are dropped.
    pub fn try_from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Result<Self, TryReserveError> {
        Self::try_from_sorted(sorted(entries))
    }

    /// As [`extend`](Extend::extend), for a heap that may be full. The entries before the one that found no room stay in the map;
    /// that one is dropped.
    ///
    /// # Errors
    /// As [`try_insert`](Self::try_insert).
    pub fn try_extend<I: IntoIterator<Item = (K, V)>>(&mut self, entries: I) -> Result<(), TryReserveError> {
        entries.into_iter().try_for_each(|(key, value)| self.insert_pair(key, value).map(drop))
    }
}

/// Leaves of the pairs, all of them full but the last two. Pairs that are not in order go to `late`.
fn fill_leaves<K: Ord + 'static, V: 'static>(
    mut pairs: impl Iterator<Item = (K, V)>,
    late: &mut Vec<(K, V)>,
) -> Result<Vec<Link<K, V>>, TryReserveError> {
    let heap = heap_for_value_at(0);
    let mut leaves = Vec::<Link<K, V>>::new();
    let mut next = pairs.next();
    while let Some(first) = next {
        if leaves.last().and_then(|leaf| leaf.keys().last()).is_some_and(|last| first.0 <= *last) {
            late.push(first);
            next = pairs.next();
            continue;
        }
        leaves.push(new_leaf(heap)?);
        let leaf = leaves.last_mut().map(fresh).expect("pushed just now");
        leaf.insert_pair(0, first.0, first.1);
        next = loop {
            match pairs.next() {
                Some((key, value)) if leaf.keys().last().is_some_and(|last| key <= *last) => late.push((key, value)),
                Some((key, value)) if leaf.len() < leaf.capacity() => leaf.insert_pair(leaf.len(), key, value),
                next => break next,
            }
        };
    }
    if let [.., before, last] = &mut leaves[..] {
        let (before, last) = (fresh(before), fresh(last));
        while last.len() < last.least() {
            let (key, value) = before.remove_pair(before.len() - 1);
            last.insert_pair(0, key, value);
        }
    }
    Ok(leaves)
}

/// The root of a tree with these leaves: of each height as few branches as there can be, of about the same size.
fn join<K: Clone + 'static, V: 'static>(leaves: Vec<Link<K, V>>) -> Result<Option<Link<K, V>>, TryReserveError> {
    let first_key = |leaf: Link<K, V>| {
        let _scope = scope(&leaf);
        (leaf.keys()[0].clone(), leaf)
    };
    let mut level: Vec<(K, Link<K, V>)> = leaves.into_iter().map(first_key).collect();
    while level.len() > 1 {
        let total = level.len();
        let branches = total.div_ceil(Node::<K, V>::BRANCH_CAPACITY);
        let mut nodes = level.into_iter();
        level = Vec::with_capacity(branches);
        for at in 0..branches {
            let size = total * (at + 1) / branches - total * at / branches;
            let (bound, first) = nodes.next().expect("the sizes add up to the total");
            let mut link = new_beside(first.height() + 1, &first)?;
            let branch = fresh(&mut link);
            branch.set_only_child(first);
            for (bound, node) in nodes.by_ref().take(size - 1) {
                branch.insert_child(branch.len(), bound, node);
            }
            level.push((bound, link));
        }
    }
    Ok(level.pop().map(|(_, root)| root))
}
