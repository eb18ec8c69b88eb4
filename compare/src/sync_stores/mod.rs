//! What durable commits are compared on: one map of `u64` to `u64`, kept by several libraries.
//!
//! Each is a [`Kind`]. It opens a directory of its own, lends itself out as a [`Store`] and closes again, so that whatever a
//! library's handles borrow from each other stays in one place. All of them promise the same: what [`Store::commit`] was told
//! survives a power cut once it returns, all of it or nothing. [`raw_file`] promises less, and shows what the disk asks for.

mod lmdb;
mod raw_file;
mod redb_file;
mod sal_heap;
mod sqlite;

use std::error::Error;
use std::path::Path;

/// Success, or what the library said.
pub type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// A map that is open.
pub trait Store {
    /// Gives some keys new values, durably and all or none.
    fn commit(&mut self, updates: &[(u64, u64)]) -> Outcome;

    /// The sum of the values of `keys`, wrapping around, or nothing if the store cannot be read; a key without a value is an
    /// error.
    fn sum(&mut self, keys: &[u64]) -> Outcome<Option<u64>>;
}

/// Uses a store while it is open.
pub type Use<'a> = &'a mut dyn FnMut(&mut dyn Store) -> Outcome;

/// A library to keep the map with.
#[derive(Debug)]
pub struct Kind {
    /// Its name in the tables.
    pub name: &'static str,
    /// The package whose version in the lock file is the library's.
    pub package: Option<&'static str>,
    /// What the library says of its own version and what was chosen where it gives a choice.
    pub about: fn() -> String,
    /// Opens the map in a directory, or makes it there, lends it out, and closes it.
    pub with: fn(&Path, Use<'_>) -> Outcome,
}

/// All of them in the order of the tables.
pub const ALL: [Kind; 7] =
    [sal_heap::TREE, sal_heap::COW, sal_heap::HASH, lmdb::KIND, redb_file::KIND, sqlite::KIND, raw_file::KIND];

/// The store called `name`.
pub fn named(name: &str) -> Option<&'static Kind> {
    const KINDS: &[Kind] = &ALL;
    KINDS.iter().find(|kind| kind.name == name)
}

/// What a store says when a key has no value.
fn missing(key: u64) -> Box<dyn Error> {
    format!("key {key} has no value").into()
}

#[cfg(test)]
mod tests {
    use super::{ALL, Kind};

    fn check(kind: &Kind) {
        let directory = tempfile::tempdir().unwrap();
        (kind.with)(directory.path(), &mut |store| {
            store.commit(&[(7, 1), (u64::MAX, 2)])?;
            store.commit(&[(7, 40)])
        })
        .unwrap();
        (kind.with)(directory.path(), &mut |store| {
            let sum = store.sum(&[7, u64::MAX])?;
            assert!(sum == Some(42) || (sum.is_none() && kind.name == "raw"), "{}: {sum:?}", kind.name);
            assert!(sum.is_none() || store.sum(&[8]).is_err(), "{}", kind.name);
            Ok(())
        })
        .unwrap();
    }

    #[test]
    fn every_store_has_its_last_values_when_opened_again() {
        ALL.iter().for_each(check);
    }
}
