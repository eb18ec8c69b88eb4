//! The invariants of a map, as code.
#![allow(unsafe_code)]

use super::control::{DELETED, EMPTY, GROUP, is_full, tag};
use super::table::capacity;
use super::{SalHashMap, hash_of};
use crate::collections::hash::fingerprint;
use core::hash::Hash;

impl<K: Eq + Hash, V> SalHashMap<K, V> {
    /// Whether the map is in order; else what is not. Looks at everything, and so takes its time.
    ///
    /// Of a map that only safe code has used it always is.
    pub fn check(&self) -> Result<(), &'static str> {
        let table = &self.table;
        if table.block.is_none() {
            let zero = table.slots == 0 && table.len == 0 && table.growth_left == 0;
            return if zero { Ok(()) } else { Err("a map without a block has a size (T1)") };
        }
        let is_size = matches!(table.slots, 4 | 8) || (table.slots >= 16 && table.slots.is_power_of_two());
        if !is_size {
            return Err("the number of slots is none a table can have (T2)");
        }
        let (mut full, mut deleted) = (0, 0);
        for slot in 0..table.slots.max(GROUP) {
            // SAFETY: there is a block, which begins with so many control bytes (T2).
            match unsafe { *table.control(slot) } {
                EMPTY => {}
                _ if slot >= table.slots => {
                    return Err("a control byte past the slots is not empty (T3)");
                }
                DELETED => deleted += 1,
                control if is_full(control) => full += 1,
                _ => return Err("a control byte has no meaning (T3)"),
            }
        }
        if full != table.len {
            return Err("the length is not the number of full slots (T4)");
        }
        if full + deleted + table.growth_left != capacity(table.slots) {
            return Err("the slots do not add up (T4)");
        }
        if self.filled_under != fingerprint() {
            return Ok(());
        }
        let mut slots = table.iter();
        while let Some(slot) = slots.next_slot() {
            // SAFETY: the slot is full.
            let key = unsafe { &self.pair(slot).key };
            let hash = hash_of(self.seed, key);
            // SAFETY: the slot exists.
            if unsafe { *table.control(slot) } != tag(hash) {
                return Err("a tag is not that of its key's hash (T5)");
            }
            if table.find(hash, |pair| core::ptr::eq(&raw const pair.key, key)) != Some(slot) && size_of::<K>() != 0 {
                return Err("a search does not reach an entry (T5)");
            }
        }
        Ok(())
    }
}
