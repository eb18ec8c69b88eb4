//! Which units of the segments are in use: a bitmap with counters for groups of it.
//!
//! One bit a unit, set while the unit belongs to a slab, a large object or a thread's lease. A group of 4,096 bits
//! counts its set bits and keeps a bound on its longest free run, so a search skips groups that cannot help. All
//! searches are first-fit by address, which keeps a heap dense. The map of a new heap is all zeros: nothing has to be
//! written before the first use.
//!
//! # Invariants
//! - **U1** `group.used` is the number of set bits of the group.
//! - **U2** No free run inside a group is longer than `GROUP_UNITS - group.shortfall`.
//! - **U3** A group below `hints[order]` has no free aligned run of `2^order` units.
//! - **U4** Bits at or behind `limit` are never set.
//! - **U5** A group below `holes[order]` has no free aligned run of `2^order` units in a segment that is in use.
//! - **U6** Groups at or behind `reached` have no set bit.

use crate::format::soft::GROUP_UNITS;

const GROUP_WORDS: usize = GROUP_UNITS / 64;
/// Searches for aligned runs go by the power of two of their length, up to a segment.
const ORDERS: usize = 7;

/// Counters of a group; zeros for one that is free.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Group {
    used: u32,
    shortfall: u32,
}

const _: () = assert!(size_of::<Group>() == 8);

/// The first aligned run of `2^order` set bits of a segment.
pub(crate) fn first_aligned(free: u64, order: u32) -> Option<u32> {
    const STARTS: [u64; ORDERS] = [
        u64::MAX,
        0x5555_5555_5555_5555,
        0x1111_1111_1111_1111,
        0x0101_0101_0101_0101,
        0x0001_0001_0001_0001,
        0x0000_0001_0000_0001,
        1,
    ];
    let mut runs = free;
    for step in 0..order {
        runs &= runs >> (1 << step);
    }
    runs &= STARTS[order as usize];
    (runs != 0).then(|| runs.trailing_zeros())
}

/// The map; its words lie in the heap's allocator state, the hints in the process.
#[derive(Debug)]
pub(crate) struct UnitMap {
    groups: *mut Group,
    words: *mut u64,
    /// Units that may be used.
    limit: usize,
    hints: [u32; ORDERS],
    holes: [u32; ORDERS],
    reached: usize,
}

impl UnitMap {
    /// A map over memory that holds one.
    ///
    /// # Safety
    /// `groups` and `words` are valid for reads and writes, for as many groups as `limit` reaches into, as long as the
    /// map is used, and nobody else touches them.
    pub(crate) unsafe fn new(groups: *mut Group, words: *mut u64, limit: usize) -> Self {
        // What has been reached before is not looked for here: it would read counters that a search may never need.
        Self { groups, words, limit, hints: [0; ORDERS], holes: [0; ORDERS], reached: limit.div_ceil(GROUP_UNITS) }
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    fn group_count(&self) -> usize {
        self.limit.div_ceil(GROUP_UNITS)
    }

    #[inline]
    fn group(&mut self, index: usize) -> &mut Group {
        debug_assert!(index < self.group_count());
        // SAFETY: in bounds by the caller's check against `group_count`; valid and ours by `new`.
        unsafe { &mut *self.groups.add(index) }
    }

    #[inline]
    fn word(&self, index: usize) -> u64 {
        debug_assert!(index < self.group_count() * GROUP_WORDS);
        // SAFETY: as in `group`.
        unsafe { *self.words.add(index) }
    }

    /// Finds `2^order` free units at a multiple of their number, within one segment.
    pub(crate) fn find_aligned(&mut self, order: u32) -> Option<usize> {
        let wanted = 1_u32 << order;
        for index in self.hints[order as usize] as usize..self.group_count() {
            let group = *self.group(index);
            // The bound (U2) may be stale but is never too small.
            if group.used == 0 {
                self.hints[order as usize] = index as u32;
                let start = index * GROUP_UNITS;
                return (start + (1 << order) <= self.limit).then_some(start);
            }
            let most = (GROUP_UNITS as u32).saturating_sub(group.used.max(group.shortfall));
            if most >= wanted {
                for word in index * GROUP_WORDS..(index + 1) * GROUP_WORDS {
                    if let Some(start) = first_aligned(!self.word(word), order) {
                        let start = word * 64 + start as usize;
                        self.hints[order as usize] = index as u32;
                        return (start + (1 << order) <= self.limit).then_some(start);
                    }
                }
            }
        }
        self.hints[order as usize] = self.group_count() as u32;
        None
    }

    /// As [`UnitMap::find_aligned`], but only in segments that are in use already, so that larger holes stay whole.
    pub(crate) fn find_aligned_in_used(&mut self, order: u32) -> Option<usize> {
        while self.reached > 0 && self.is_untouched(self.reached - 1) {
            self.reached -= 1;
        }
        let wanted = 1_u32 << order;
        for index in self.holes[order as usize] as usize..self.reached {
            let used = self.group(index).used;
            if used == 0 || (GROUP_UNITS as u32).saturating_sub(used) < wanted {
                continue;
            }
            for word in index * GROUP_WORDS..(index + 1) * GROUP_WORDS {
                let used = self.word(word);
                if used == 0 || used == u64::MAX {
                    continue;
                }
                if let Some(start) = first_aligned(!used, order) {
                    let start = word * 64 + start as usize;
                    self.holes[order as usize] = index as u32;
                    return (start + (1 << order) <= self.limit).then_some(start);
                }
            }
        }
        self.holes[order as usize] = self.reached as u32;
        None
    }

    /// Finds `units` free units that start at a multiple of `align`, a power of two.
    pub(crate) fn find_run(&mut self, units: usize, align: usize) -> Option<usize> {
        let mut start = self.hints[0] as usize * GROUP_UNITS;
        let fits = |start: usize, end: usize| {
            let aligned = start.next_multiple_of(align);
            (aligned + units <= end).then_some(aligned)
        };
        let within = |found: usize, limit: usize| (found + units <= limit).then_some(found);
        for index in self.hints[0] as usize..self.group_count() {
            let (first, last) = (index * GROUP_UNITS, (index + 1) * GROUP_UNITS);
            let group = *self.group(index);
            if group.used == 0 {
                if let Some(found) = fits(start, last) {
                    return within(found, self.limit);
                }
                continue;
            }
            if group.used == GROUP_UNITS as u32 {
                if index == self.hints[0] as usize {
                    self.hints[0] += 1;
                }
                start = last;
                continue;
            }
            let lead = self.first_used(first, last);
            if let Some(found) = fits(start, lead) {
                return within(found, self.limit);
            }
            if GROUP_UNITS.saturating_sub(group.shortfall as usize) >= units {
                let mut longest = 0;
                let mut at = first;
                while at < last {
                    let end = self.first_used(at, last);
                    longest = longest.max(end - at);
                    if let Some(found) = fits(at, end) {
                        return within(found, self.limit);
                    }
                    at = self.first_free(end, last);
                }
                self.group(index).shortfall = (GROUP_UNITS - longest) as u32;
            }
            start = self.free_tail(first, last);
        }
        None
    }

    /// Finds `units` free units below `end` that start at a multiple of `align`, a power of two, in the shortest run of free
    /// units that has them; of several the first.
    pub(crate) fn find_best_run(&self, units: usize, align: usize, end: usize) -> Option<usize> {
        let mut best = None;
        let mut at = 0;
        while let Some((start, len)) = self.next_free_run(at, end) {
            at = start + len;
            let aligned = start.next_multiple_of(align);
            if aligned + units <= at && best.is_none_or(|(_, shortest)| len < shortest) {
                best = Some((aligned, len));
            }
        }
        best.map(|(start, _)| start)
    }

    /// The first used unit at or behind `at`, or `end`.
    fn first_used(&self, mut at: usize, end: usize) -> usize {
        while at < end {
            if at % GROUP_UNITS == 0 && self.is_untouched(at / GROUP_UNITS) {
                at += GROUP_UNITS;
                continue;
            }
            let rest = self.word(at / 64) >> (at % 64);
            if rest != 0 {
                return (at + rest.trailing_zeros() as usize).min(end);
            }
            at = (at / 64 + 1) * 64;
        }
        end
    }

    /// Whether no bit of a group is set (U1), so that its words need not be read: they may lie in a hole of the file,
    /// and on some file systems even reading a hole takes space.
    fn is_untouched(&self, group: usize) -> bool {
        debug_assert!(group < self.group_count());
        // SAFETY: as in `group`.
        unsafe { (*self.groups.add(group)).used == 0 }
    }

    /// The first free unit at or behind `at`, or `end`.
    fn first_free(&self, mut at: usize, end: usize) -> usize {
        while at < end {
            let rest = !self.word(at / 64) >> (at % 64);
            if rest != 0 {
                return (at + rest.trailing_zeros() as usize).min(end);
            }
            at = (at / 64 + 1) * 64;
        }
        end
    }

    /// Where the free run that ends at `last` begins; `last` is a multiple of 64.
    fn free_tail(&self, first: usize, last: usize) -> usize {
        let mut at = last;
        while at > first {
            let word = self.word(at / 64 - 1);
            at -= word.leading_zeros() as usize;
            if word != 0 {
                break;
            }
        }
        at
    }

    /// Whether units `start..start + units` are free.
    pub(crate) fn is_free(&self, start: usize, units: usize) -> bool {
        start + units <= self.limit && self.first_used(start, start + units) == start + units
    }

    /// The next run of used units at or behind `at`, below `end`.
    pub(crate) fn next_used_run(&self, at: usize, end: usize) -> Option<(usize, usize)> {
        let start = self.first_used(at, end);
        (start < end).then(|| (start, self.first_free(start, end) - start))
    }

    /// The unit behind the last used one below `end`, a multiple of 64.
    pub(crate) fn used_end(&self, end: usize) -> usize {
        let mut at = end;
        while at > 0 {
            let word = self.word(at / 64 - 1);
            if word != 0 {
                return at - word.leading_zeros() as usize;
            }
            at -= 64;
        }
        0
    }

    /// The next run of free units at or behind `at`, below `end`.
    pub(crate) fn next_free_run(&self, at: usize, end: usize) -> Option<(usize, usize)> {
        let start = self.first_free(at, end);
        (start < end).then(|| (start, self.first_used(start, end) - start))
    }

    fn for_each_word(start: usize, units: usize, mut change: impl FnMut(usize, u64)) {
        let end = start + units;
        let mut at = start;
        while at < end {
            let step = (64 - at % 64).min(end - at);
            let mask = (u64::MAX >> (64 - step)) << (at % 64);
            change(at / 64, mask);
            at += step;
        }
    }

    /// Marks free units as used.
    pub(crate) fn take(&mut self, start: usize, units: usize) {
        debug_assert!(self.is_free(start, units));
        Self::for_each_word(start, units, |word, mask| {
            // SAFETY: within the limit, which the caller's search or check found free.
            unsafe { *self.words.add(word) |= mask };
            let group = self.group(word / GROUP_WORDS);
            // What a file says of itself may be anything.
            group.used = group.used.saturating_add(mask.count_ones());
        });
        // The rest of a segment that was not in use is a hole now.
        self.note_holes(start);
        self.reached = self.reached.max((start + units).div_ceil(GROUP_UNITS));
    }

    /// Lets searches for holes begin no later than at a unit whose segment has changed.
    fn note_holes(&mut self, unit: usize) {
        for first in &mut self.holes {
            *first = (*first).min((unit / GROUP_UNITS) as u32);
        }
    }

    /// Marks used units as free.
    pub(crate) fn give(&mut self, start: usize, units: usize) {
        Self::for_each_word(start, units, |word, mask| {
            debug_assert!(self.word(word) & mask == mask);
            // SAFETY: these units were taken, so they are within the map.
            unsafe { *self.words.add(word) &= !mask };
            let group = self.group(word / GROUP_WORDS);
            group.used = group.used.saturating_sub(mask.count_ones());
            group.shortfall = 0;
        });
        let first = (start / GROUP_UNITS) as u32;
        for hint in &mut self.hints {
            *hint = (*hint).min(first);
        }
        self.note_holes(start);
    }

    /// Units that are used, by the counters.
    pub(crate) fn used_units(&mut self) -> usize {
        (0..self.group_count()).map(|index| self.group(index).used as usize).sum()
    }

    /// Whether the counters agree with the bits of the units below `end`, and no others are set.
    pub(crate) fn check(&mut self, end: usize) -> bool {
        let groups = self.group_count();
        let reached = end.div_ceil(GROUP_UNITS);
        (reached..groups).all(|index| self.is_untouched(index))
            && (0..reached).all(|index| {
                let words = index * GROUP_WORDS..(index + 1) * GROUP_WORDS;
                let used: u32 = words.map(|word| self.word(word).count_ones()).sum();
                self.group(index).used == used
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A map of three groups, the last one cut short, beside a vector of what should be used.
    struct Model {
        groups: Vec<u64>,
        words: Vec<u64>,
        used: Vec<bool>,
    }

    impl Model {
        fn new(limit: usize) -> Self {
            Self { groups: vec![0; 3], words: vec![0; 3 * GROUP_WORDS], used: vec![false; limit] }
        }

        fn map(&mut self) -> UnitMap {
            // SAFETY: both vectors live as long as the model and hold three groups.
            unsafe { UnitMap::new(self.groups.as_mut_ptr().cast(), self.words.as_mut_ptr(), self.used.len()) }
        }

        fn first_fit(&self, units: usize, align: usize) -> Option<usize> {
            let starts = (0..self.used.len().saturating_sub(units - 1)).step_by(align);
            starts.into_iter().find(|&start| self.used[start..start + units].iter().all(|&used| !used))
        }

        fn best_fit(&self, units: usize, align: usize, end: usize) -> Option<usize> {
            let mut runs: Vec<(usize, usize)> = Vec::new();
            for at in (0..end).filter(|&at| !self.used[at]) {
                match runs.last_mut() {
                    Some((start, len)) if *start + *len == at => *len += 1,
                    _ => runs.push((at, 1)),
                }
            }
            let fits = |&(start, len): &(usize, usize)| start.next_multiple_of(align) + units <= start + len;
            let best = runs.into_iter().filter(fits).min_by_key(|&(_, len)| len);
            best.map(|(start, _)| start.next_multiple_of(align))
        }

        fn first_hole(&self, units: usize) -> Option<usize> {
            let is_in_use = |segment: usize| self.used[segment..].iter().take(64).any(|&used| used);
            let starts = (0..self.used.len().saturating_sub(units - 1)).step_by(units);
            starts
                .into_iter()
                .find(|&at| is_in_use(at / 64 * 64) && self.used[at..at + units].iter().all(|&used| !used))
        }
    }

    #[test]
    fn searches_agree_with_a_plain_scan_under_random_churn() {
        let seed = 0x5EED_0001_u64;
        let mut state = seed;
        let mut random = move |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        let limit = 2 * GROUP_UNITS + 1000;
        let mut model = Model::new(limit);
        let mut map = model.map();
        let mut runs: Vec<(usize, usize)> = Vec::new();
        for round in 0..4_000 {
            let order = random(ORDERS);
            assert_eq!(
                map.find_aligned_in_used(order as u32),
                model.first_hole(1 << order),
                "seed {seed:#x} round {round}: a hole of order {order}"
            );
            let (units, align, end) = (1 + random(200), 1 << random(7), random(limit + 1));
            assert_eq!(
                map.find_best_run(units, align, end),
                model.best_fit(units, align, end),
                "seed {seed:#x} round {round}: the best of {units} by {align} below {end}"
            );
            let grow = runs.len() < 20 || random(100) < 52;
            if grow {
                let (units, align) = match random(4) {
                    0 => (1 << random(7), 0),
                    1 => (1 + random(600), 1),
                    2 => (1 + random(5000), 1),
                    _ => (1 + random(300), 1 << random(9)),
                };
                let (found, align) = if align == 0 {
                    (map.find_aligned(units.trailing_zeros()), units)
                } else {
                    (map.find_run(units, align), align)
                };
                assert_eq!(found, model.first_fit(units, align), "seed {seed:#x} round {round}: {units} by {align}");
                if let Some(start) = found {
                    assert!(map.is_free(start, units));
                    map.take(start, units);
                    model.used[start..start + units].fill(true);
                    runs.push((start, units));
                }
            } else {
                let (start, units) = runs.swap_remove(random(runs.len()));
                map.give(start, units);
                model.used[start..start + units].fill(false);
            }
            assert!(map.check(limit));
        }
    }

    #[test]
    fn a_run_may_span_groups() {
        let mut model = Model::new(3 * GROUP_UNITS);
        let mut map = model.map();
        map.take(0, 10);
        assert_eq!(map.find_run(2 * GROUP_UNITS + 5, 1), Some(10));
        map.take(2 * GROUP_UNITS, 1);
        assert_eq!(map.find_run(2 * GROUP_UNITS + 5, 1), None);
        assert_eq!(map.find_run(2 * GROUP_UNITS - 10, 1), Some(10));
    }
}
