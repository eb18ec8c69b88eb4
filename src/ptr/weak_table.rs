//! Which blocks weak pointers lead to, and how many.
//!
//! Few values are pointed to weakly, so this is not kept beside the counts, but in a table of this process: a block is in it as
//! long as there are weak pointers to it, and is freed by the last of them if its value was dropped before.
//!
//! # Invariants
//! - **W1** A block that is in the table is not freed by anybody but who takes it out.
//! - **W2** A block to which there are weak pointers is in the table, with their number.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

const SHARDS: usize = 64;

struct Entry {
    pointers: usize,
    /// Its value was dropped.
    is_dead: bool,
}

static SHARDS_OF_BLOCKS: [Mutex<BTreeMap<usize, Entry>>; SHARDS] = [const { Mutex::new(BTreeMap::new()) }; SHARDS];

fn shard(block: usize) -> MutexGuard<'static, BTreeMap<usize, Entry>> {
    // Nothing panics while it is locked.
    SHARDS_OF_BLOCKS[block / 16 % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
}

/// One weak pointer more, beside one that there is.
pub(super) fn add(block: usize) {
    add_first(block, || ());
}

/// One weak pointer more, and `note` with it.
pub(super) fn add_first(block: usize, note: impl FnOnce()) {
    let mut shard = shard(block);
    shard.entry(block).or_insert(Entry { pointers: 0, is_dead: false }).pointers += 1;
    note();
}

/// One weak pointer less; true if the block is to be freed, by the caller.
#[must_use]
pub(super) fn remove(block: usize) -> bool {
    let mut shard = shard(block);
    let Some(entry) = shard.get_mut(&block) else { return false };
    entry.pointers -= 1;
    let is_last = entry.pointers == 0;
    let is_dead = entry.is_dead;
    if is_last {
        shard.remove(&block);
    }
    is_last && is_dead
}

/// The value of a block was dropped; true if the block is to be freed, by the caller.
#[must_use]
pub(super) fn bury(block: usize) -> bool {
    match shard(block).get_mut(&block) {
        Some(entry) => {
            entry.is_dead = true;
            false
        }
        None => true,
    }
}

/// There is a value in a block again, or for the first time.
pub(super) fn unbury(block: usize) {
    if let Some(entry) = shard(block).get_mut(&block) {
        entry.is_dead = false;
    }
}

/// Runs `work`, if there are no weak pointers to the block; nobody makes one meanwhile but from a pointer that is not weak.
pub(super) fn if_none<R>(block: usize, work: impl FnOnce() -> R) -> Option<R> {
    let shard = shard(block);
    (!shard.contains_key(&block)).then(work)
}

/// Weak pointers to a block at this moment.
pub(super) fn number(block: usize) -> usize {
    shard(block).get(&block).map_or(0, |entry| entry.pointers)
}
