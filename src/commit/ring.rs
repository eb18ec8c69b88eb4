//! Where in the log the next record goes.
//!
//! The log is one file whose space goes round. Records follow each other; where the next does not fit, a jump of one
//! block says where the chain goes on: at the start of the file if enough has been folded there, else behind what the
//! file had, which then grows by zeros that are really written, so that later records overwrite blocks that the file
//! system knows already.
//!
//! # Invariants
//! - **G1** `runs` covers every byte that recovery may need as long as the header on the medium is the one that was last
//!   made durable; nothing is placed over it.
//! - **G2** Behind `end` there is room for a jump, within the file or at its end.

use crate::format::log_record::{BLOCK, RECORDS_START};
use core::ops::Range;
use std::collections::VecDeque;

/// How the log's file grows: by as much as it has, within these bounds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Growth {
    pub(crate) least: u64,
    pub(crate) most: u64,
}

impl Default for Growth {
    fn default() -> Self {
        Self { least: 1 << 20, most: 16 << 20 }
    }
}

impl Growth {
    /// Bytes of a new log.
    pub(super) fn first_len(self) -> u64 {
        RECORDS_START + self.least.max(2 * BLOCK)
    }
}

/// Where a record goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) at: u64,
    /// Where the jump to it is written, if it does not lie where the last record ends.
    pub(super) jump_at: Option<u64>,
    /// Bytes that the file must have, and should have.
    pub(super) file_len: [u64; 2],
}

/// The space of the log.
#[derive(Debug)]
pub(super) struct Ring {
    /// Bytes in use, in the chain's order.
    runs: VecDeque<Range<u64>>,
    /// Where the last record ends.
    end: u64,
    /// Bytes of the file.
    len: u64,
    growth: Growth,
}

impl Ring {
    /// A log of `len` bytes, whole blocks, without records, whose first will lie at `start` or be jumped to from there.
    pub(super) fn new(start: u64, len: u64, growth: Growth) -> Self {
        debug_assert!(start % BLOCK == 0 && len % BLOCK == 0);
        Self { runs: VecDeque::new(), end: start, len, growth }
    }

    #[cfg(any(test, feature = "testing"))]
    pub(super) fn set_growth(&mut self, growth: Growth) {
        self.growth = growth;
    }

    /// Bytes in use.
    pub(super) fn used(&self) -> u64 {
        self.runs.iter().map(|run| run.end.saturating_sub(run.start)).sum()
    }

    /// Bytes of the file.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Where the chain goes on.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Where what lies in use behind `position` begins, or the end of the file.
    fn limit(&self, position: u64) -> u64 {
        let of_runs = self.runs.iter().map(|run| run.start).filter(|start| *start >= position).min();
        // Where the chain goes on there may be a jump before long.
        let of_end = (self.end > position).then_some(self.end);
        [of_runs, of_end].into_iter().flatten().min().unwrap_or(self.len)
    }

    /// Where a record of `len` bytes goes.
    pub(super) fn place(&self, len: u64) -> Place {
        // G2
        let needed = len + BLOCK;
        let as_it_is = |at, jump_at| Place { at, jump_at, file_len: [self.len; 2] };
        let limit = self.limit(self.end);
        if self.end + needed <= limit {
            return as_it_is(self.end, None);
        }
        if self.end != RECORDS_START && RECORDS_START + needed <= self.limit(RECORDS_START) {
            return as_it_is(RECORDS_START, Some(self.end));
        }
        // A record of an earlier lap lies behind the end: then not even the jump's block is at the end of the file.
        let (at, jump_at) =
            if limit == self.len || self.end >= self.len { (self.end, None) } else { (self.len, Some(self.end)) };
        let least = at + needed;
        let step = self.len.clamp(self.growth.least, self.growth.most.max(self.growth.least));
        Place { at, jump_at, file_len: [least, least.max(self.len + step).next_multiple_of(BLOCK)] }
    }

    /// Begins again at the start. The header says so, and nothing is in use.
    pub(super) fn rewind(&mut self) {
        self.runs.clear();
        self.end = RECORDS_START;
    }

    /// The file has grown.
    pub(super) fn grown(&mut self, len: u64) {
        self.len = self.len.max(len);
    }

    /// A record of `len` bytes has been written at `at`, and a jump to it.
    pub(super) fn take(&mut self, at: u64, jump_at: Option<u64>, len: u64) {
        if let Some(jump_at) = jump_at {
            self.cover(jump_at..jump_at + BLOCK);
            self.grown(jump_at + BLOCK);
        }
        self.cover(at..at + len);
        self.grown(at + len);
        self.end = at + len;
    }

    fn cover(&mut self, range: Range<u64>) {
        match self.runs.back_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => self.runs.push_back(range),
        }
    }

    /// What lies before the record, or the jump, at `first` is no longer needed; without one, nothing is.
    pub(super) fn free_before(&mut self, first: Option<u64>) {
        let Some(first) = first else {
            self.runs.clear();
            return;
        };
        while self.runs.front().is_some_and(|run| !run.contains(&first)) {
            self.runs.pop_front();
        }
        if let Some(run) = self.runs.front_mut() {
            run.start = first;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Growth = Growth { least: 8 * BLOCK, most: 16 * BLOCK };

    fn ring() -> Ring {
        Ring::new(RECORDS_START, SMALL.first_len(), SMALL)
    }

    fn add(ring: &mut Ring, blocks: u64) -> Place {
        let place = ring.place(blocks * BLOCK);
        ring.grown(place.file_len[1]);
        ring.take(place.at, place.jump_at, blocks * BLOCK);
        place
    }

    #[test]
    fn records_follow_each_other_and_the_file_grows_by_what_it_has() {
        let mut ring = ring();
        let at = |block| RECORDS_START + block * BLOCK;
        assert_eq!(add(&mut ring, 3).at, at(0));
        assert_eq!(add(&mut ring, 4).at, at(3));
        let grown = add(&mut ring, 1);
        assert_eq!((grown.at, grown.jump_at), (at(7), None));
        assert_eq!(grown.file_len, [at(9), at(17)]);
        assert_eq!(ring.used(), 8 * BLOCK);
    }

    #[test]
    fn folded_space_at_the_start_is_used_before_the_file_grows() {
        let mut ring = ring();
        add(&mut ring, 4);
        let second = add(&mut ring, 3);
        ring.free_before(Some(second.at));
        let third = add(&mut ring, 3);
        assert_eq!((third.at, third.jump_at), (RECORDS_START, Some(second.at + 3 * BLOCK)));
        // One block is left before the second record, for a jump.
        let fourth = add(&mut ring, 1);
        assert_eq!(fourth.jump_at, Some(RECORDS_START + 3 * BLOCK));
        assert_eq!(fourth.at, SMALL.first_len());
        ring.free_before(Some(fourth.at));
        assert_eq!(ring.used(), BLOCK);
    }

    #[test]
    fn an_empty_ring_jumps_only_to_what_ends_before_the_jump() {
        let mut ring = ring();
        add(&mut ring, 6);
        ring.free_before(None);
        assert_eq!(ring.used(), 0);
        let place = ring.place(6 * BLOCK);
        assert_eq!((place.at, place.jump_at), (ring.end(), None), "the jump lies in the way");
        assert_eq!(add(&mut ring, 5).at, RECORDS_START);
        assert_eq!(ring.used(), 6 * BLOCK, "the jump is still needed");
    }

    #[test]
    fn a_record_of_nearly_the_whole_file_fits_at_the_start_of_an_emptied_one() {
        let mut ring = ring();
        add(&mut ring, 3);
        ring.free_before(None);
        let all = (SMALL.first_len() - RECORDS_START) / BLOCK - 1;
        assert!(ring.place(all * BLOCK).file_len[0] > SMALL.first_len());
        ring.rewind();
        assert_eq!((add(&mut ring, all).at, ring.len()), (RECORDS_START, SMALL.first_len()));
    }

    #[test]
    fn random_records_never_overlap_what_is_in_use() {
        let mut state = 0x1234_5678_9abc_def1_u64;
        let mut random = move |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        let mut ring = ring();
        let mut live: VecDeque<Range<u64>> = VecDeque::new();
        for _ in 0..20_000 {
            if random(3) == 0 && !live.is_empty() {
                let keep = live.len() - 1 - random(live.len() as u64) as usize;
                live.drain(..live.len() - keep);
                ring.free_before(live.front().map(|range| range.start));
            } else {
                let len = BLOCK * (1 + random(20));
                let place = ring.place(len);
                ring.grown(place.file_len[random(2) as usize]);
                let record = place.at..place.at + len;
                let mut parts = Vec::from_iter(place.jump_at.map(|at| at..at + BLOCK));
                parts.insert(0, record.clone());
                assert!(place.at + len + BLOCK <= ring.len());
                for part in &parts {
                    assert!(part.start >= RECORDS_START);
                    assert!(live.iter().all(|range| range.end <= part.start || part.end <= range.start));
                }
                assert!(parts.len() == 1 || parts[1].end <= parts[0].start || parts[0].end <= parts[1].start);
                ring.take(place.at, place.jump_at, len);
                live.push_back(record);
            }
            assert!(ring.len() < 2000 * BLOCK || live.len() > 50, "space is used again");
        }
    }
}
