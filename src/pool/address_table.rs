//! A hash table from addresses to words, in a heap.
//!
//! Open addressing with linear probing; an entry that goes makes those behind it close up, so there are no traces of it. At most half of the
//! entries are used.
//!
//! # Invariants
//! - **A1** There are no entries, or a power of two of them, of which at most half are used. The key 0 means unused.
//! - **A2** Between the place that a key's hash says and the key's entry no entry is unused.

use super::control::visit_plain;
use crate::collections::{SalVec, TryReserveError};
use crate::persist::BlockVisitor;

/// See the module.
#[repr(C)]
#[derive(Default)]
pub(super) struct AddressTable {
    /// Key and value.
    entries: SalVec<[usize; 2]>,
    len: usize,
}

const _: () = assert!(size_of::<AddressTable>() == 32);

/// Entries of the smallest table.
const FEWEST: usize = 8;

impl AddressTable {
    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Where a key's entry is looked for first.
    #[inline(always)]
    fn home(&self, key: usize) -> usize {
        // Addresses differ in the middle bits; the product's upper bits depend on all of them.
        let hash = (key as u64 >> 4).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (hash >> 32) as usize & (self.entries.len() - 1)
    }

    #[inline(always)]
    fn find(&self, key: usize) -> Option<usize> {
        let entries = self.entries.as_slice();
        if entries.is_empty() {
            return None;
        }
        let mut at = self.home(key);
        loop {
            match entries[at][0] {
                0 => return None,
                found if found == key => return Some(at),
                _ => at = (at + 1) & (entries.len() - 1),
            }
        }
    }

    /// The value of a key.
    #[inline(always)]
    pub(super) fn get(&self, key: usize) -> Option<usize> {
        self.find(key).map(|at| self.entries[at][1])
    }

    /// Gives a key, which is not 0, a value; returns the one that it had.
    ///
    /// # Errors
    /// If the table cannot grow.
    pub(super) fn insert(&mut self, key: usize, value: usize) -> Result<Option<usize>, TryReserveError> {
        if let Some(at) = self.find(key) {
            return Ok(Some(core::mem::replace(&mut self.entries[at][1], value)));
        }
        if (self.len + 1) * 2 > self.entries.len() {
            self.grow()?;
        }
        self.put(key, value);
        self.len += 1;
        Ok(None)
    }

    fn put(&mut self, key: usize, value: usize) {
        let mask = self.entries.len() - 1;
        let mut at = self.home(key);
        while self.entries[at][0] != 0 {
            at = (at + 1) & mask;
        }
        self.entries[at] = [key, value];
    }

    #[cold]
    fn grow(&mut self) -> Result<(), TryReserveError> {
        let len = (self.entries.len() * 2).max(FEWEST);
        let before: Vec<[usize; 2]> = self.iter().map(|(key, value)| [key, value]).collect();
        self.entries.try_reserve_exact(len - self.entries.len())?;
        self.entries.clear();
        self.entries.resize(len, [0, 0]);
        before.into_iter().for_each(|[key, value]| self.put(key, value));
        Ok(())
    }

    /// Removes a key; returns its value.
    pub(super) fn remove(&mut self, key: usize) -> Option<usize> {
        let mut hole = self.find(key)?;
        let value = self.entries[hole][1];
        let mask = self.entries.len() - 1;
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let entry = self.entries[at];
            if entry[0] == 0 {
                break;
            }
            // It may move to the hole if that is not before its home.
            let home = self.home(entry[0]);
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(hole) & mask {
                self.entries[hole] = entry;
                hole = at;
            }
        }
        self.entries[hole] = [0, 0];
        self.len -= 1;
        Some(value)
    }

    /// Names the table's block.
    pub(super) fn visit_blocks(&self, visitor: &mut BlockVisitor<'_>) {
        visit_plain(&self.entries, visitor);
    }

    /// All keys and values, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.entries.iter().filter(|entry| entry[0] != 0).map(|&[key, value]| (key, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn it_is_as_a_map_after_any_insertions_and_removals() {
        let (mut table, mut model) = (AddressTable::default(), HashMap::new());
        let mut state = 0x9001_u64;
        for _ in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let key = ((state >> 40) as usize % 300 + 1) << 18;
            if state >> 33 & 1 == 0 {
                assert_eq!(table.insert(key, state as usize).unwrap(), model.insert(key, state as usize));
            } else {
                assert_eq!(table.remove(key), model.remove(&key));
            }
            assert_eq!(table.len(), model.len());
            assert_eq!(table.get(key), model.get(&key).copied());
        }
        let mut all: Vec<_> = table.iter().collect();
        all.sort_unstable();
        let mut expected: Vec<_> = model.into_iter().collect();
        expected.sort_unstable();
        assert_eq!(all, expected);
    }
}
