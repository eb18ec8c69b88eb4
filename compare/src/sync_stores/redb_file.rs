//! redb with its defaults: each commit is durable at once.

use super::{Kind, Outcome, Store, Use, missing};
use redb::{Database, ReadableDatabase, TableDefinition};
use std::path::Path;

pub(super) const KIND: Kind =
    Kind { name: "redb", package: Some("redb"), about: || "Durability::Immediate".to_owned(), with };

const MAP: TableDefinition<'static, u64, u64> = TableDefinition::new("map");

fn with(directory: &Path, body: Use<'_>) -> Outcome {
    body(&mut Open(Database::create(directory.join("map.redb"))?))
}

struct Open(Database);

impl Store for Open {
    fn commit(&mut self, updates: &[(u64, u64)]) -> Outcome {
        let tx = self.0.begin_write()?;
        let mut map = tx.open_table(MAP)?;
        for (key, value) in updates {
            map.insert(key, value)?;
        }
        drop(map);
        tx.commit()?;
        Ok(())
    }

    fn sum(&mut self, keys: &[u64]) -> Outcome<Option<u64>> {
        let map = self.0.begin_read()?.open_table(MAP)?;
        let mut sum = 0_u64;
        for key in keys {
            sum = sum.wrapping_add(map.get(key)?.ok_or_else(|| missing(*key))?.value());
        }
        Ok(Some(sum))
    }
}
