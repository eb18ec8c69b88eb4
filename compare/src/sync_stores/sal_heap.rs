//! SAL: a map in an atomic heap, as an ordered map, like those of the others, and as a hash map.
#![allow(unsafe_code)]

use super::{Kind, Outcome, Store, missing};
use sal::collections::{SalBTreeMap, SalHashMap};
use sal::{Heap, HeapOptions, Mode, Root};
use std::path::Path;

pub(super) const TREE: Kind = Kind {
    name: "sal",
    package: Some("sal"),
    about: || "SalBTreeMap, Mode::Atomic".to_owned(),
    with: |directory, body| {
        with(directory, |heap| {
            heap.write()?.root_or_default(TREE_ROOT)?;
            body(&mut Tree(heap))
        })
    },
};

pub(super) const HASH: Kind = Kind {
    name: "sal_hash",
    package: Some("sal"),
    about: || "SalHashMap, Mode::Atomic".to_owned(),
    with: |directory, body| {
        with(directory, |heap| {
            heap.write()?.root_or_default(HASH_ROOT)?;
            body(&mut Hash(heap))
        })
    },
};

const TREE_ROOT: Root<SalBTreeMap<u64, u64>> = Root::new("map");
const HASH_ROOT: Root<SalHashMap<u64, u64>> = Root::new("map");

fn with(directory: &Path, body: impl FnOnce(&Heap) -> Outcome) -> Outcome {
    // SAFETY: the directory is this program's own.
    let heap = unsafe { HeapOptions::new().mode(Mode::Atomic).open_or_create(directory.join("map.sal")) }?;
    body(&heap)?;
    // SAFETY: sessions and what they lent out have ended with `body`.
    unsafe { heap.close_and_unmap() }?;
    Ok(())
}

struct Tree<'h>(&'h Heap);

impl Store for Tree<'_> {
    fn commit(&mut self, updates: &[(u64, u64)]) -> Outcome {
        let tx = self.0.write()?;
        let map = tx.root_mut(TREE_ROOT)?;
        for &(key, value) in updates {
            map.insert(key, value);
        }
        tx.sync()?;
        Ok(())
    }

    fn sum(&mut self, keys: &[u64]) -> Outcome<Option<u64>> {
        let session = self.0.read()?;
        let map = session.root(TREE_ROOT)?;
        let value = |key| map.get(key).copied().ok_or_else(|| missing(*key));
        keys.iter().try_fold(0, |sum: u64, key| Ok(sum.wrapping_add(value(key)?))).map(Some)
    }
}

struct Hash<'h>(&'h Heap);

impl Store for Hash<'_> {
    fn commit(&mut self, updates: &[(u64, u64)]) -> Outcome {
        let tx = self.0.write()?;
        let map = tx.root_mut(HASH_ROOT)?;
        for &(key, value) in updates {
            map.insert(key, value);
        }
        tx.sync()?;
        Ok(())
    }

    fn sum(&mut self, keys: &[u64]) -> Outcome<Option<u64>> {
        let session = self.0.read()?;
        let map = session.root(HASH_ROOT)?;
        let value = |key| map.get(key).copied().ok_or_else(|| missing(*key));
        keys.iter().try_fold(0, |sum: u64, key| Ok(sum.wrapping_add(value(key)?))).map(Some)
    }
}
