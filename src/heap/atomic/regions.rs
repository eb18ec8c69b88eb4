//! Where huge pages may have been split, and for how long nothing has been written there.
//!
//! The kernel splits a huge page at the first write after it was armed. Looking at small pages takes ten times as long, and
//! every sync does it. To make them one again costs as much as a thousand looks, so a region must have been quiet for some
//! time first, and for longer each time it is split again.
//!
//! Time is counted in epochs. One lasts for a number of captures, because it is these that whole regions serve, and for a
//! while, because a program that syncs again and again is not quiet.

use std::ops::Range;
use std::time::{Duration, Instant};

/// Bytes of a huge page.
pub(super) const REGION: usize = 2 << 20;

/// An epoch lasts at least for so many captures, and so long.
const CAPTURES: u32 = 256;
const TIME: Duration = Duration::from_secs(2);

/// A region waits for at most two to the power of this many epochs.
const MOST_PATIENCE: u8 = 6;

#[derive(Clone, Copy, Debug, Default)]
struct Region {
    /// The epoch when pages of it were last reported; 0: never, or not since it was made whole.
    written_in: u32,
    /// How often it was made whole, or that was tried.
    patience: u8,
}

/// What is known of each region of a part of the heap.
#[derive(Debug)]
pub(super) struct Regions {
    /// The part, in whole regions.
    part: Range<usize>,
    /// As far as anything was ever reported.
    regions: Vec<Region>,
    epoch: u32,
    captures: u32,
    began: Instant,
    /// Where the search goes on.
    next: usize,
}

impl Regions {
    /// Of the whole regions in a range of addresses.
    pub(super) fn new(range: Range<usize>) -> Self {
        let start = range.start.next_multiple_of(REGION);
        let part = start..(range.end / REGION * REGION).max(start);
        Self { part, regions: Vec::new(), epoch: 1, captures: 0, began: Instant::now(), next: 0 }
    }

    /// Notes that pages were reported.
    pub(super) fn note(&mut self, found: &Range<usize>) {
        let (start, end) = (found.start.max(self.part.start), found.end.min(self.part.end));
        if start >= end {
            return;
        }
        let first = (start - self.part.start) / REGION;
        let behind = (end - self.part.start).div_ceil(REGION);
        if behind > self.regions.len() {
            self.regions.resize(behind, Region::default());
        }
        for region in &mut self.regions[first..behind] {
            region.written_in = self.epoch;
        }
    }

    /// A capture has been made. Whether an epoch ended with it, and a region has been quiet for long enough.
    pub(super) fn captured(&mut self) -> bool {
        self.captures += 1;
        if self.captures < CAPTURES || self.began.elapsed() < TIME {
            return false;
        }
        self.end_epoch();
        self.regions.iter().any(|region| self.is_quiet(region))
    }

    fn end_epoch(&mut self) {
        // Enough for centuries.
        self.epoch += 1;
        (self.captures, self.began) = (0, Instant::now());
    }

    fn is_quiet(&self, region: &Region) -> bool {
        region.written_in != 0 && self.epoch - region.written_in > 1 << region.patience
    }

    /// The address of the next region that has been quiet for long enough.
    pub(super) fn next_quiet(&mut self) -> Option<usize> {
        let len = self.regions.len();
        let found = (self.next..len).chain(0..self.next.min(len)).find(|&at| self.is_quiet(&self.regions[at]))?;
        self.next = found + 1;
        Some(self.part.start + found * REGION)
    }

    /// Somebody has tried to make a region whole.
    pub(super) fn tried(&mut self, address: usize, is_whole: bool) {
        let epoch = self.epoch;
        if let Some(region) = self.regions.get_mut((address - self.part.start) / REGION) {
            region.written_in = if is_whole { 0 } else { epoch };
            region.patience = (region.patience + 1).min(MOST_PATIENCE);
        }
    }

    /// Lets so much time pass that every region has been quiet for long enough.
    #[cfg(test)]
    pub(super) fn pass_time(&mut self) {
        (0..=1 << MOST_PATIENCE).for_each(|_| self.end_epoch());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_quiet_after_a_whole_epoch_without_a_report_and_later_each_time() {
        let mut regions = Regions::new(REGION - 4096..4 * REGION + 4096);
        assert_eq!(regions.next_quiet(), None);
        regions.note(&(0..2 * REGION + 1));
        for patience in 0..9 {
            for _ in 0..1 << MOST_PATIENCE.min(patience) {
                regions.end_epoch();
                assert_eq!(regions.next_quiet(), None);
            }
            regions.end_epoch();
            assert_eq!([regions.next_quiet(), regions.next_quiet()], [Some(REGION), Some(2 * REGION)]);
            regions.tried(REGION, true);
            regions.tried(2 * REGION, false);
            assert_eq!(regions.next_quiet(), None, "the one is whole, the other waits longer");
            regions.note(&(REGION + 4096..REGION + 8192));
        }
        regions.note(&(3 * REGION..9 * REGION));
        regions.pass_time();
        let quiet: Vec<_> = (0..3).map(|_| regions.next_quiet()).collect();
        assert_eq!(
            quiet,
            [Some(3 * REGION), Some(REGION), Some(2 * REGION)],
            "what lies behind the part is left alone"
        );
    }

    #[test]
    fn captures_alone_end_no_epoch_while_hardly_any_time_has_passed() {
        let mut regions = Regions::new(0..REGION);
        regions.note(&(0..4096));
        regions.began = Instant::now() + Duration::from_secs(3600);
        assert!((0..3 * CAPTURES).all(|_| !regions.captured()));
        regions.began = Instant::now() - TIME;
        assert!(!regions.captured(), "not quiet for a whole epoch");
        assert_eq!(regions.epoch, 2);
        regions.began -= TIME;
        assert!((1..CAPTURES).all(|_| !regions.captured()), "too few captures");
        assert!(regions.captured());
    }
}
