//! No store: the updates written in a row into space that was written before, and `fdatasync`. Whoever logs what changed
//! needs that much; it cannot be read again.

use super::{Kind, Outcome, Store, Use};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

pub(super) const KIND: Kind =
    Kind { name: "raw", package: None, about: || "whole pages and fdatasync".to_owned(), with };

const PAGE: usize = 4096;
/// Bytes that are written over again and again.
const ROOM: usize = 4 << 20;

fn with(directory: &Path, body: Use<'_>) -> Outcome {
    let options = OpenOptions::new().write(true).create(true).truncate(false).open(directory.join("raw"));
    let file = options?;
    if file.metadata()?.len() < ROOM as u64 {
        let page = [0_u8; PAGE];
        (0..ROOM / PAGE).try_for_each(|at| file.write_all_at(&page, (at * PAGE) as u64))?;
        file.sync_all()?;
    }
    body(&mut Open { file, next: 0, bytes: Vec::new() })
}

struct Open {
    file: File,
    next: usize,
    bytes: Vec<u8>,
}

impl Store for Open {
    fn commit(&mut self, updates: &[(u64, u64)]) -> Outcome {
        self.bytes.clear();
        for (key, value) in updates {
            self.bytes.extend(key.to_ne_bytes());
            self.bytes.extend(value.to_ne_bytes());
        }
        self.bytes.resize(self.bytes.len().next_multiple_of(PAGE), 0);
        if self.next + self.bytes.len() > ROOM {
            self.next = 0;
        }
        self.file.write_all_at(&self.bytes, self.next as u64)?;
        self.next += self.bytes.len();
        self.file.sync_data()?;
        Ok(())
    }

    fn sum(&mut self, _keys: &[u64]) -> Outcome<Option<u64>> {
        Ok(None)
    }
}
