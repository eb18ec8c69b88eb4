//! LMDB through heed: keys compared as integers, and its default flags, so that each commit is synced.
#![allow(unsafe_code)]

use super::{Kind, Outcome, Store, Use, missing};
use heed::byteorder::NativeEndian;
use heed::types::U64;
use heed::{CommitOrAbort, Database, Env, EnvOpenOptions, IntegerComparator};
use std::path::Path;

pub(super) const KIND: Kind = Kind {
    name: "lmdb",
    package: Some("heed"),
    about: || format!("{}, integer keys", heed::lmdb_version().string),
    with,
};

/// Most that the file may ever take; only what is used is written.
const MAP_SIZE: usize = 4 << 30;

type Map<'e> = Database<'e, U64<NativeEndian>, U64<NativeEndian>, IntegerComparator>;

fn with(directory: &Path, body: Use<'_>) -> Outcome {
    // SAFETY: the directory is this program's own, and opened once at a time.
    let env = unsafe { EnvOpenOptions::new().map_size(MAP_SIZE).max_dbs(1).open(directory) }?;
    let tx = env.write_txn()?;
    // If the database is there, nothing is written.
    let map = env.create_databases_and_commit(tx, |opener, tx| {
        let options = opener.database_options().types::<U64<NativeEndian>, U64<NativeEndian>>();
        let mut options = options.key_comparator::<IntegerComparator>();
        options.name("map").create(tx).map(CommitOrAbort::<_, ()>::Commit)
    });
    let map = map?.commit().ok_or("the database was not made")?;
    let outcome = body(&mut Open { env: &env, map });
    env.prepare_for_closing().wait();
    outcome
}

struct Open<'e> {
    env: &'e Env,
    map: Map<'e>,
}

impl Store for Open<'_> {
    fn commit(&mut self, updates: &[(u64, u64)]) -> Outcome {
        let mut tx = self.env.write_txn()?;
        for (key, value) in updates {
            self.map.put(&mut tx, key, value)?;
        }
        tx.commit()?;
        Ok(())
    }

    fn sum(&mut self, keys: &[u64]) -> Outcome<Option<u64>> {
        let tx = self.env.read_txn()?;
        let mut sum = 0_u64;
        for key in keys {
            sum = sum.wrapping_add(self.map.get(&tx, key)?.ok_or_else(|| missing(*key))?);
        }
        Ok(Some(sum))
    }
}
