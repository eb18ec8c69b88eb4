//! Which ranges of heaps are kept in memory, and for whom.
//!
//! The system keeps no count of who has locked a page. So what is locked is noted here, and unlocked when nobody wants it any more.

use crate::alloc::tracts::TRACT;
use crate::format::PAGE;
use crate::os::{CallError, errno, memory_lock, process};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Of each holder its ranges: whole pages, in order, apart from each other.
#[derive(Debug)]
struct Locks {
    next: u64,
    held: BTreeMap<u64, Vec<Range<usize>>>,
    /// Where tracts begin that are locked because of what is read often.
    tracts: BTreeSet<usize>,
}

static LOCKS: Mutex<Locks> = Mutex::new(Locks { next: 0, held: BTreeMap::new(), tracts: BTreeSet::new() });

/// The process that locks; zero if none does yet.
static PROCESS: AtomicU64 = AtomicU64::new(0);

/// None in a forked child: it inherits no locked memory, and another thread may have been here when it was made.
fn locks() -> Option<MutexGuard<'static, Locks>> {
    let process = process::incarnation();
    // Relaxed: a number that is set once.
    let first = PROCESS.compare_exchange(0, process, Ordering::Relaxed, Ordering::Relaxed);
    if first.is_err_and(|other| other != process) {
        return None;
    }
    // Nothing panics while it is locked.
    Some(LOCKS.lock().unwrap_or_else(PoisonError::into_inner))
}

/// What locking fails with there.
const IN_CHILD: CallError = CallError { call: "mlock2", errno: errno::NOT_SUPPORTED };

/// Ranges in order and apart from each other that cover the same pages as those given.
pub(crate) fn pages_of(ranges: impl IntoIterator<Item = Range<usize>>) -> Vec<Range<usize>> {
    let whole = |range: Range<usize>| range.start & !(PAGE - 1)..range.end.next_multiple_of(PAGE);
    let mut all: Vec<Range<usize>> = ranges.into_iter().filter(|range| !range.is_empty()).map(whole).collect();
    all.sort_unstable_by_key(|range| range.start);
    all.dedup_by(|next, range| {
        let touches = next.start <= range.end;
        if touches {
            range.end = range.end.max(next.end);
        }
        touches
    });
    all
}

/// What of ranges lies in none of others; both in order and apart from each other.
fn subtract(ranges: Vec<Range<usize>>, others: &[Range<usize>]) -> Vec<Range<usize>> {
    let mut left = Vec::with_capacity(ranges.len());
    for mut range in ranges {
        let first = others.partition_point(|other| other.end <= range.start);
        for other in others[first..].iter().take_while(|other| other.start < range.end) {
            if range.start < other.start {
                left.push(range.start..other.start);
            }
            range.start = range.start.max(other.end);
        }
        if !range.is_empty() {
            left.push(range);
        }
    }
    left
}

impl Locks {
    /// Unlocks what nobody has any more of ranges that their holder does not want.
    fn unlock(&self, ranges: Vec<Range<usize>>) {
        let tracts: Vec<Range<usize>> = self.tracts.iter().map(|&start| start..start + TRACT).collect();
        let unwanted = self.held.values().fold(subtract(ranges, &tracts), |left, held| subtract(left, held));
        for range in unwanted {
            memory_lock::unlock(range.start, range.len());
        }
    }
}

/// Memory that is kept in RAM until this is dropped, or the heap closed; from [`SalHotSet`](crate::SalHotSet).
///
/// Which pages these are does not change: not if the heap moves values from there, nor if it gives the blocks to others.
#[derive(Debug)]
#[must_use = "the memory is unlocked when this is dropped"]
pub struct MemoryLock {
    number: u64,
    bytes: u64,
}

impl MemoryLock {
    /// Bytes of the pages that are locked.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        let Some(mut locks) = locks() else { return };
        if let Some(ranges) = locks.held.remove(&self.number) {
            locks.unlock(ranges);
        }
    }
}

/// Locks pages as they come. The ranges are as [`pages_of`] makes them.
pub(crate) fn lock(ranges: Vec<Range<usize>>) -> Result<MemoryLock, CallError> {
    let mut locks = locks().ok_or(IN_CHILD)?;
    for (at, range) in ranges.iter().enumerate() {
        if let Err(error) = memory_lock::lock(range.start, range.len()) {
            // That of which it failed may be locked in part.
            locks.unlock(ranges[..=at].to_vec());
            return Err(error);
        }
    }
    let number = locks.next;
    locks.next += 1;
    let bytes = ranges.iter().map(|range| range.len() as u64).sum();
    locks.held.insert(number, ranges);
    Ok(MemoryLock { number, bytes })
}

/// Locks a tract.
pub(super) fn lock_tract(start: usize) -> Result<(), CallError> {
    let mut locks = locks().ok_or(IN_CHILD)?;
    memory_lock::lock(start, TRACT)?;
    locks.tracts.insert(start);
    Ok(())
}

/// A tract need not be locked any more, if it is.
pub(super) fn unlock_tract(start: usize) {
    let Some(mut locks) = locks() else { return };
    if locks.tracts.remove(&start) {
        let tract = start..start + TRACT;
        locks.unlock(vec![tract]);
    }
}

/// Whether a tract is locked.
pub(super) fn is_tract_locked(start: usize) -> bool {
    locks().is_some_and(|locks| locks.tracts.contains(&start))
}

/// Unlocks what is locked of a heap that is being closed.
pub(super) fn forget(heap: &Range<usize>) {
    let Some(mut locks) = locks() else { return };
    // A holder's ranges are all of one heap.
    let is_inside = |ranges: &Vec<Range<usize>>| ranges.first().is_some_and(|first| heap.contains(&first.start));
    for ranges in locks.held.values().filter(|ranges| is_inside(ranges)) {
        ranges.iter().for_each(|range| memory_lock::unlock(range.start, range.len()));
    }
    locks.held.retain(|_, ranges| !is_inside(ranges));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_merged_that_touch_each_other() {
        let page = |number: usize| number * PAGE;
        let ranges = [page(9) + 1..page(9) + 2, page(1) + 5..page(2) + 1, page(3)..page(3), page(3)..page(4), 7..9];
        assert_eq!(pages_of(ranges), [0..page(4), page(9)..page(10)]);
    }

    #[test]
    fn what_somebody_else_has_stays() {
        let ranges = || vec![0..10, 20..30, 40..50];
        assert_eq!(subtract(ranges(), &[]), ranges());
        assert_eq!(subtract(ranges(), &[2..4, 8..22, 29..41, 43..44]), [0..2, 4..8, 22..29, 41..43, 44..50]);
        assert_eq!(subtract(ranges(), &[0..25, 25..50]), []);
        assert_eq!(subtract(ranges(), &[10..20, 30..40, 50..60]), ranges());
    }
}
