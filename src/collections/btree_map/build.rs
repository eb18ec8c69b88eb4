//! Adding pairs in ascending order, which fills nodes to the brim.
#![allow(unsafe_code)]

use super::SalBTreeMap;
use super::change::Spare;
use super::node::{CAPACITY, MIN_LEN};
use super::path::Path;
use crate::collections::TryReserveError;

/// Entries in ascending order, of which the last one with a key counts.
pub(in crate::collections) fn sorted<K: Ord, V>(entries: impl IntoIterator<Item = (K, V)>) -> Vec<(K, V)> {
    let mut sorted: Vec<(K, V)> = entries.into_iter().collect();
    sorted.sort_by(|a, b| a.0.cmp(&b.0));
    // `dedup_by` drops the later of two; so values change places, and the first key stays.
    sorted.dedup_by(|later, kept| {
        let is_same = later.0 == kept.0;
        if is_same {
            core::mem::swap(&mut later.1, &mut kept.1);
        }
        is_same
    });
    sorted
}

/// Adds pairs at the end of a map.
///
/// Meanwhile nodes on the way to the last leaf may have fewer pairs than they must; dropping the builder mends that.
pub(super) struct Builder<'a, K, V> {
    map: &'a mut SalBTreeMap<K, V>,
    /// The last leaf edge.
    path: Path<K, V>,
}

impl<'a, K, V> Builder<'a, K, V> {
    pub(super) fn new(map: &'a mut SalBTreeMap<K, V>) -> Self {
        let path = map.end(true);
        Self { map, path }
    }

    /// Adds a pair; it must not be smaller than the ones before.
    pub(super) fn push(&mut self, key: K, value: V) -> Result<(), TryReserveError> {
        let path = &mut self.path;
        if self.map.root.is_none() {
            // SAFETY: the map is empty.
            unsafe { self.map.insert_at(path, key, value)? };
            *path = self.map.end(true);
            return Ok(());
        }
        let levels = path.depth();
        // SAFETY: P1; the path's nodes are the map's.
        let roomy = (0..levels).rev().find(|&step| unsafe { path.node(step).len() } < CAPACITY);
        let missing = match roomy {
            Some(step) => levels - 1 - step,
            None => levels,
        };
        let mut spare = Spare::allocate(self.map, 0..if roomy.is_none() { levels + 1 } else { missing })?;
        self.map.len += 1;
        let step = match (roomy, self.map.root) {
            (None, Some(root)) => {
                let new_root = spare.take(levels);
                // SAFETY: it has one height more than the root, and no pairs.
                unsafe { new_root.set_first_child(root) };
                self.map.root = Some(new_root);
                self.map.height += 1;
                path.insert_first(new_root, 0);
                0
            }
            (step, _) => step.unwrap_or(0),
        };
        // SAFETY: the node of `step` has room. Below it there is a new node of each height down to the leaf, each
        // the only child of the one above; the path goes there.
        unsafe {
            let mut child = None;
            for height in 0..missing {
                let node = spare.take(height);
                if let Some(child) = child {
                    node.set_first_child(child);
                }
                child = Some(node);
            }
            let (node, at) = (path.node(step), path.node(step).len());
            node.insert(at, key, value, child);
            path.set(step, node, at + 1);
            if let Some(mut child) = child {
                for below in step + 1..path.depth() {
                    path.set(below, child, 0);
                    if below + 1 < path.depth() {
                        child = child.child(0);
                    }
                }
            }
        }
        Ok(())
    }
}

impl<K, V> Drop for Builder<'_, K, V> {
    fn drop(&mut self) {
        // From the root down: each parent has a pair, as the root has and the others got enough before.
        for step in 1..self.path.depth() {
            // SAFETY: P1 and N2. The left neighbour of a short node was filled before this one was begun, or both
            // were there before: then neither is short. After giving away at most `MIN_LEN` of `CAPACITY` it has
            // enough left.
            unsafe {
                let parent = self.path.node(step - 1);
                let last = parent.len();
                let node = parent.child(last);
                let len = node.len();
                if len < MIN_LEN {
                    parent.move_right(last - 1, self.path.depth() - 1 - step, MIN_LEN - len);
                }
            }
        }
    }
}
