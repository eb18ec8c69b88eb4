//! Which objects belong into a hot set.
//!
//! Those that were read most often, as many as fit. How many blocks have which count, a look through the counts says; then the
//! blocks with the highest counts are looked up, level by level, until their objects fill the budget. So what is hardly ever read is not
//! touched for this, and nothing is sorted.

use super::counts_of;
use crate::SalAlloc;
use crate::alloc::heat::Histogram;
use crate::alloc::tracts;
use crate::handle::object;
use crate::handle::pin::Pins;
use crate::os::copy;

/// Objects that are looked up with one pin.
const AT_ONCE: usize = 1024;

/// An object that was chosen and is not in the hot set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) address: usize,
    pub(super) len: usize,
    pub(super) count: u8,
}

/// What was chosen.
#[derive(Debug, Default)]
pub(super) struct Choice {
    /// What is to come, those read most often first.
    pub(super) candidates: Vec<Candidate>,
    /// The lowest count that belongs to the hot set; zero if all that was counted fits.
    pub(super) least: u8,
}

/// How many blocks of a heap have which count.
pub(super) fn histogram(heap: SalAlloc) -> Histogram {
    let mut histogram = [0; 256];
    counts_of(heap).for_each(|(_, table)| table.add_to(&mut histogram));
    histogram
}

/// Chooses objects of so many bytes.
///
/// The heap stays open meanwhile.
pub(super) fn choose(heap: SalAlloc, histogram: &Histogram, room: usize) -> Choice {
    let mut choice = Choice::default();
    let (mut bytes, mut objects) = (0_usize, 0_usize);
    let mut high = u8::MAX;
    while high > 0 {
        // As many levels as may fit, if their objects are as large as those before.
        let mean = bytes.checked_div(objects).unwrap_or(64).max(1);
        let (mut low, mut expected) = (high, histogram[high as usize]);
        while low > 1 && (expected + histogram[low as usize - 1]) as usize <= (room - bytes) / mean {
            low -= 1;
            expected += histogram[low as usize];
        }
        if expected > 0 {
            for (count, entries) in (low..=high).zip(levels(heap, low, high, expected)).rev() {
                for entries in entries.chunks(AT_ONCE) {
                    let _pins = Pins::begin();
                    for &entry in entries {
                        let Some((address, len)) = object_of(entry) else { continue };
                        bytes += len;
                        objects += 1;
                        if bytes > room {
                            choice.least = count;
                            return choice;
                        }
                        if !tracts::is_hot_at(address) {
                            choice.candidates.push(Candidate { address, len, count });
                        }
                    }
                }
            }
        }
        high = low - 1;
    }
    choice
}

/// The entries that have each count of a range.
fn levels(heap: SalAlloc, low: u8, high: u8, expected: u64) -> Vec<Vec<usize>> {
    let mut levels = vec![Vec::new(); usize::from(high - low) + 1];
    if let [only] = levels.as_mut_slice() {
        only.reserve_exact(expected as usize);
    }
    for (start, table) in counts_of(heap) {
        table.for_each(|at, count| {
            if (low..=high).contains(&count) {
                levels[usize::from(count - low)].push(start + at);
            }
        });
    }
    levels
}

/// Where the object lies to which an entry leads, and its bytes; none if the entry is gone, or the object is not in a tract.
fn object_of(entry: usize) -> Option<(usize, usize)> {
    let mut word = [0; size_of::<u64>()];
    // SAFETY: an entry was here when a read of it was counted. So this lies in a segment in use, which stays mapped and readable as
    // long as the heap is open. What is there now may be something else, and what it says is not believed.
    unsafe { copy::copy_out(entry, &mut word) };
    let (address, shape) = object::of_entry(entry, u64::from_ne_bytes(word) as usize)?;
    Some((address, shape.len))
}
