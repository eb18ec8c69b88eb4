//! SAL: a map in an atomic heap, as an ordered map, like those of the others, as one whose versions share nodes, and as a hash map.
#![allow(unsafe_code)]

use super::{Kind, Outcome, Store, Use, missing};
use sal::collections::{CowMap, SalBTreeMap, SalHashMap};
use sal::{Heap, HeapOptions, Mode, Persist, Root};
use std::marker::PhantomData;
use std::path::Path;

pub(super) const TREE: Kind = Kind {
    name: "sal",
    package: Some("sal"),
    about: || "SalBTreeMap, Mode::Atomic".to_owned(),
    with: with::<SalBTreeMap<u64, u64>>,
};

pub(super) const COW: Kind = Kind {
    name: "sal_cow",
    package: Some("sal"),
    about: || "CowMap, Mode::Atomic".to_owned(),
    with: with::<CowMap<u64, u64>>,
};

pub(super) const HASH: Kind = Kind {
    name: "sal_hash",
    package: Some("sal"),
    about: || "SalHashMap, Mode::Atomic".to_owned(),
    with: with::<SalHashMap<u64, u64>>,
};

/// What is stored, by the same name for each.
trait Map: Persist + Default {
    fn put(&mut self, key: u64, value: u64);
    fn value(&self, key: u64) -> Option<u64>;
}

macro_rules! map {
    ($map:ident) => {
        impl Map for $map<u64, u64> {
            fn put(&mut self, key: u64, value: u64) {
                self.insert(key, value);
            }

            fn value(&self, key: u64) -> Option<u64> {
                self.get(&key).copied()
            }
        }
    };
}

map!(SalBTreeMap);
map!(CowMap);
map!(SalHashMap);

fn root<M>() -> Root<M> {
    Root::new("map")
}

fn with<M: Map>(directory: &Path, body: Use<'_>) -> Outcome {
    // SAFETY: the directory is this program's own.
    let heap = unsafe { HeapOptions::new().mode(Mode::Atomic).open_or_create(directory.join("map.sal")) }?;
    heap.write()?.root_or_default(root::<M>())?;
    body(&mut SalStore::<M>(&heap, PhantomData))?;
    // SAFETY: sessions and what they lent out have ended with `body`.
    unsafe { heap.close_and_unmap() }?;
    Ok(())
}

struct SalStore<'h, M>(&'h Heap, PhantomData<M>);

impl<M: Map> Store for SalStore<'_, M> {
    fn commit(&mut self, updates: &[(u64, u64)]) -> Outcome {
        let tx = self.0.write()?;
        let map = tx.root_mut(root::<M>())?;
        for &(key, value) in updates {
            map.put(key, value);
        }
        tx.sync()?;
        Ok(())
    }

    fn sum(&mut self, keys: &[u64]) -> Outcome<Option<u64>> {
        let session = self.0.read()?;
        let map = session.root(root::<M>())?;
        let value = |key| map.value(key).ok_or_else(|| missing(key));
        keys.iter().try_fold(0, |sum: u64, &key| Ok(sum.wrapping_add(value(key)?))).map(Some)
    }
}
