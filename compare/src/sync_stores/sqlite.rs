//! SQLite with a write-ahead log that is synced by each commit; statements are prepared once.

use super::{Kind, Outcome, Store, Use, missing};
use rusqlite::{Connection, OptionalExtension};
use std::path::Path;

pub(super) const KIND: Kind = Kind {
    name: "sqlite",
    package: Some("rusqlite"),
    about: || format!("SQLite {}, WAL, synchronous=FULL", rusqlite::version()),
    with,
};

fn with(directory: &Path, body: Use<'_>) -> Outcome {
    let connection = Connection::open(directory.join("map.sqlite"))?;
    let mode: String = connection.query_row("PRAGMA journal_mode=WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(format!("SQLite keeps its journal as {mode}").into());
    }
    connection.execute_batch(
        "PRAGMA synchronous=FULL; CREATE TABLE IF NOT EXISTS map(key INTEGER PRIMARY KEY, value INTEGER NOT NULL)",
    )?;
    let outcome = body(&mut Open(&connection));
    connection.close().map_err(|(_, error)| error)?;
    outcome
}

struct Open<'c>(&'c Connection);

impl Store for Open<'_> {
    fn commit(&mut self, updates: &[(u64, u64)]) -> Outcome {
        let tx = self.0.unchecked_transaction()?;
        let mut put = tx.prepare_cached("REPLACE INTO map(key, value) VALUES(?1, ?2)")?;
        for &(key, value) in updates {
            put.execute((key as i64, value as i64))?;
        }
        drop(put);
        tx.commit()?;
        Ok(())
    }

    fn sum(&mut self, keys: &[u64]) -> Outcome<Option<u64>> {
        let tx = self.0.unchecked_transaction()?;
        let mut get = tx.prepare_cached("SELECT value FROM map WHERE key = ?1")?;
        let mut sum = 0_u64;
        for &key in keys {
            let value: Option<i64> = get.query_row([key as i64], |row| row.get(0)).optional()?;
            sum = sum.wrapping_add(value.ok_or_else(|| missing(key))? as u64);
        }
        Ok(Some(sum))
    }
}
