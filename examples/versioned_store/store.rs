//! The store: a map in a heap file, and its snapshots.

use sal::collections::CowMap;
use sal::collections::cow_map::Difference;
use sal::prelude::*;
use sal::{CloseError, Error, OpenError, RootError};
use std::path::Path;

/// Keys and values, as they are now.
pub(crate) type Map = CowMap<SalString, SalString>;

const MAP: Root<Map> = Root::new("map");

/// An open store.
#[derive(Debug)]
pub(crate) struct Store {
    heap: Heap,
}

impl Store {
    #[expect(unsafe_code, reason = "the file's bytes are trusted")]
    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        // SAFETY: only this program writes the file, through this crate; nothing else changes it while it is open.
        Ok(Self { heap: unsafe { Heap::open(path)? } })
    }

    pub(crate) fn close(self) -> Result<(), CloseError> {
        self.heap.close()
    }

    /// Bytes that the store takes in the heap.
    pub(crate) fn live_bytes(&self) -> u64 {
        self.heap.stats().live_bytes
    }

    /// Changes the map, and makes that durable; the map as it is then.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut Map) -> R) -> Result<(R, Map), Error> {
        let tx = self.heap.write()?;
        let map = tx.root_or_default(MAP)?;
        let done = change(map);
        let version = map.clone();
        tx.sync()?;
        Ok((done, version))
    }

    /// The map as it is now, or as it was when a snapshot was taken: a version that nothing changes.
    pub(crate) fn map(&self, snapshot: Option<&str>) -> Result<Map, RootError> {
        match snapshot {
            Some(name) => self.heap.open_version(MAP, name),
            None => match self.heap.with_root(MAP, Map::clone) {
                Err(RootError::NotFound { .. }) => Ok(Map::new()),
                found => found,
            },
        }
    }

    pub(crate) fn put(&self, key: &str, value: &str) -> Result<Option<SalString>, Error> {
        Ok(self.change(|map| map.insert(key, value.into()))?.0)
    }

    pub(crate) fn delete(&self, key: &str) -> Result<Option<SalString>, Error> {
        Ok(self.change(|map| map.remove(key))?.0)
    }

    pub(crate) fn snapshot(&self, name: &str) -> Result<(), Error> {
        self.heap.keep_version(MAP, name)?;
        self.heap.sync()?;
        Ok(())
    }

    pub(crate) fn snapshots(&self) -> Result<Vec<String>, RootError> {
        self.heap.versions(MAP)
    }

    pub(crate) fn roll_back(&self, name: &str) -> Result<(), Error> {
        self.heap.roll_back(MAP, name)?;
        self.heap.sync()?;
        Ok(())
    }

    pub(crate) fn drop_snapshot(&self, name: &str) -> Result<(), Error> {
        self.heap.drop_version(MAP, name)?;
        self.heap.sync()?;
        Ok(())
    }

    pub(crate) fn print_changes_since(&self, name: &str) -> Result<(), RootError> {
        let (before, now) = (self.map(Some(name))?, self.map(None)?);
        for difference in before.diff(&now) {
            match difference {
                Difference::Added(key, value) => println!("+ {key}\t{value}"),
                Difference::Removed(key, value) => println!("- {key}\t{value}"),
                Difference::Changed { key, before, after } => println!("~ {key}\t{before} -> {after}"),
            }
        }
        Ok(())
    }
}
