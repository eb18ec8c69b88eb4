//! How often what lies in a block has been read of late.
//!
//! For each sixteen bytes of a window there is a byte in memory of the process: where it lies follows from the address. A read that is
//! sampled adds one to it, up to 255, and all are halved from time to time; so a byte says how often, and not how lately, and what
//! was read often long ago is forgotten. That is the counter with aging of TinyLFU (Einziger, Friedman and Manes, *TinyLFU: a
//! highly efficient cache admission policy*, 2017), without a sketch: only those who ask for it pay for a byte.
//!
//! A bit for each page of bytes says whether any of them was ever raised, so who looks at all looks at what was touched only.
//!
//! # Invariants
//! - **H1** A page of bytes whose bit is not set has zeros only.
//!
//! # Volatile
//! All of it, and nothing depends on it: a count that is lost between two threads makes an estimate worse.

use super::windows;
use crate::format::{END_WINDOW, WINDOW, WINDOW_SHIFT};
use crate::os::mapping;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

/// Bytes for which there is a count.
const GRAIN: usize = 16;
/// Counts in a word.
const IN_WORD: usize = size_of::<u64>();
/// Words of a page.
const PAGE_WORDS: usize = mapping::PAGE / IN_WORD;
const WORDS: usize = WINDOW / GRAIN / IN_WORD;
const PAGES: usize = WORDS / PAGE_WORDS;

/// How many blocks have been counted how often.
pub(crate) type Histogram = [u64; 256];

/// The counts of one window.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Table {
    /// Reads that were sampled.
    samples: AtomicU64,
    /// Those of them that fell into the hot set.
    hits: AtomicU64,
    touched: [AtomicU64; PAGES / 64],
    words: [AtomicU64; WORDS],
}

static TABLES: [AtomicPtr<Table>; END_WINDOW as usize] =
    [const { AtomicPtr::new(ptr::null_mut()) }; END_WINDOW as usize];

const LEN: usize = size_of::<Table>().next_multiple_of(mapping::PAGE);

/// The table of the window that has an address, if there is one.
#[inline]
pub(crate) fn table_at(address: usize) -> Option<&'static Table> {
    // Acquire pairs with the Release in `windows::ensure_table`.
    // SAFETY: mapped until nobody uses a block of the window any more. All of it is atomic, and zeros are a table.
    unsafe { TABLES.get(address >> WINDOW_SHIFT)?.load(Ordering::Acquire).as_ref() }
}

/// The table of the window that has an address, made if need be: addresses, and memory only where something is counted. None without
/// addresses.
pub(crate) fn ensure_table_at(address: usize) -> Option<&'static Table> {
    let place = TABLES.get(address >> WINDOW_SHIFT)?;
    windows::ensure_table(place, LEN).then(|| table_at(address))?
}

/// What was counted of a block means nothing for the next one there.
#[inline]
pub(crate) fn forget(address: usize) {
    if let Some(table) = table_at(address) {
        let (word, shift) = place_of(address);
        // Relaxed, here and below: a figure.
        if table.words[word].load(Ordering::Relaxed) >> shift & 0xFF != 0 {
            table.words[word].fetch_and(!(0xFF << shift), Ordering::Relaxed);
        }
    }
}

/// Gives the tables of windows back.
///
/// # Safety
/// The registry is locked, and nobody uses a block of these windows any more.
pub(super) unsafe fn release(first: u32, windows: u32) {
    for window in first as usize..(first + windows) as usize {
        let Some(place) = TABLES.get(window) else { continue };
        // Relaxed: under the lock.
        let table = place.swap(ptr::null_mut(), Ordering::Relaxed);
        if !table.is_null() {
            // SAFETY: mapped by `ensure_table_at`, and by the caller's promise nobody else uses it.
            let _ = unsafe { mapping::unmap(table.expose_provenance(), LEN) };
        }
    }
}

impl Table {
    /// A read of what lies in the block at an address was sampled.
    pub(crate) fn note(&self, address: usize, is_hit: bool) {
        self.samples.fetch_add(1, Ordering::Relaxed);
        self.hits.fetch_add(u64::from(is_hit), Ordering::Relaxed);
        let (word, shift) = place_of(address);
        let page = word / PAGE_WORDS;
        let (touched, bit) = (&self.touched[page / 64], 1 << (page % 64));
        // Relaxed, all: a figure.
        if touched.load(Ordering::Relaxed) & bit == 0 {
            touched.fetch_or(bit, Ordering::Relaxed);
        }
        let counts = self.words[word].load(Ordering::Relaxed);
        if counts >> shift & 0xFF != 0xFF {
            // Who is disturbed leaves it.
            let more = counts + (1 << shift);
            let _ = self.words[word].compare_exchange(counts, more, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// How often reads of the block at an address were sampled of late.
    pub(crate) fn count(&self, address: usize) -> u8 {
        let (word, shift) = place_of(address);
        (self.words[word].load(Ordering::Relaxed) >> shift) as u8
    }

    /// Reads that were sampled, and those of them that fell into the hot set.
    pub(crate) fn samples_and_hits(&self) -> (u64, u64) {
        // Relaxed: figures.
        (self.samples.load(Ordering::Relaxed), self.hits.load(Ordering::Relaxed))
    }

    /// The words that may not be zero, and their numbers.
    fn touched(&self) -> impl Iterator<Item = (usize, &AtomicU64)> {
        let pages = self.touched.iter().enumerate().flat_map(|(at, bits)| {
            let mut bits = bits.load(Ordering::Relaxed);
            core::iter::from_fn(move || {
                let bit = bits.trailing_zeros();
                bits &= bits.wrapping_sub(1);
                (bit < 64).then_some(at * 64 + bit as usize)
            })
        });
        pages.flat_map(|page| {
            let first = page * PAGE_WORDS;
            self.words[first..first + PAGE_WORDS].iter().enumerate().map(move |(at, word)| (first + at, word))
        })
    }

    /// Halves all counts.
    pub(crate) fn halve(&self) {
        for (_, word) in self.touched() {
            let counts = word.load(Ordering::Relaxed);
            if counts != 0 {
                // What is counted meanwhile may be lost.
                word.store(counts >> 1 & 0x7F7F_7F7F_7F7F_7F7F, Ordering::Relaxed);
            }
        }
    }

    /// Nothing has been counted.
    pub(crate) fn clear(&self) {
        self.touched().for_each(|(_, word)| word.store(0, Ordering::Relaxed));
    }

    /// Adds how many blocks have each count.
    pub(crate) fn add_to(&self, histogram: &mut Histogram) {
        self.for_each(|_, count| histogram[count as usize] += 1);
    }

    /// Calls `visit` with all blocks that were counted: the distance from the window's start, and the count.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(usize, u8)) {
        for (at, word) in self.touched() {
            let counts = word.load(Ordering::Relaxed);
            if counts != 0 {
                for (byte, &count) in counts.to_le_bytes().iter().enumerate() {
                    if count != 0 {
                        visit((at * IN_WORD + byte) * GRAIN, count);
                    }
                }
            }
        }
    }
}

/// The word that has a block's count, and where in it.
#[inline(always)]
fn place_of(address: usize) -> (usize, usize) {
    let grain = (address & (WINDOW - 1)) / GRAIN;
    (grain / IN_WORD, grain % IN_WORD * 8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::mapping::{Access, Source};

    const START: usize = 0x1040_0000_0000;

    fn table() -> &'static Table {
        let table = mapping::map_anywhere(LEN, Access::ReadWrite, Source::Anonymous).unwrap();
        // SAFETY: mapped just now, and never unmapped; zeros are a table.
        unsafe { &*ptr::with_exposed_provenance::<Table>(table) }
    }

    fn all(table: &Table) -> Vec<(usize, u8)> {
        let mut all = Vec::new();
        table.for_each(|at, count| all.push((at, count)));
        all
    }

    #[test]
    fn each_block_has_a_count_of_its_own_that_ends_at_the_highest() {
        let table = table();
        let places = [0, 16, 112, 128, 1 << 16, WINDOW - 16];
        for (number, at) in places.into_iter().enumerate() {
            (0..=number).for_each(|_| table.note(START + at, false));
        }
        (0..300).for_each(|_| table.note(START + 16, true));
        let wanted = [(0, 1), (16, 255), (112, 3), (128, 4), (1 << 16, 5), (WINDOW - 16, 6)];
        assert_eq!(all(table), wanted);
        assert!(wanted.iter().all(|&(at, count)| table.count(START + at) == count));
        assert_eq!(table.samples_and_hits(), (321, 300));
        let mut histogram = [0; 256];
        table.add_to(&mut histogram);
        assert_eq!((histogram[255], histogram[3], histogram.iter().sum::<u64>()), (1, 1, 6));
    }

    #[test]
    fn counts_are_halved_and_none_takes_from_its_neighbour() {
        let table = table();
        for (at, times) in [(0, 255), (16, 1), (32, 8), (48, 129)] {
            (0..times).for_each(|_| table.note(START + at, false));
        }
        table.halve();
        assert_eq!(all(table), [(0, 127), (32, 4), (48, 64)]);
        (0..7).for_each(|_| table.halve());
        assert_eq!(all(table), []);
    }
}
