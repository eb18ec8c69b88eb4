//! Which pages of an image hold something else than zeros.
//!
//! A large object may have been written here and there only. Reading the holes of a file takes page cache, or on a file
//! system in memory space that there may be none of, which ends the process; and of plain memory, page tables.
//!
//! # Invariants
//! - **P1** A page that is not in the set holds zeros only, as long as the image stays as it is.

use super::zeroed::Zeroed;
use crate::format::PAGE;
use crate::os::CallError;
use crate::os::file_ranges::next_data;
use core::ops::Range;

/// See the module.
#[derive(Debug)]
pub(crate) struct DataPages {
    words: Zeroed<u64>,
}

impl DataPages {
    /// An empty set, for pages of the first `len` bytes.
    pub(crate) fn none_of(len: usize) -> Result<Self, CallError> {
        Ok(Self { words: Zeroed::new(len.div_ceil(PAGE).div_ceil(64))? })
    }

    /// Adds what the file holds in a range; all of it, if the file cannot say.
    pub(crate) fn add_file(&mut self, fd: i32, range: Range<u64>) {
        let mut at = range.start;
        loop {
            match next_data(fd, at, range.end) {
                Ok(Some(data)) => {
                    at = data.end;
                    self.add(data.start as usize..data.end as usize);
                }
                Ok(None) => return,
                Err(_) => return self.add(at as usize..range.end as usize),
            }
        }
    }

    /// Adds the pages that a range of bytes touches.
    pub(crate) fn add(&mut self, bytes: Range<usize>) {
        let (mut page, end) = (bytes.start / PAGE, bytes.end.div_ceil(PAGE));
        while page < end {
            let in_word = (end - page).min(64 - page % 64);
            if let Some(word) = self.words.get_mut(page / 64) {
                *word |= (u64::MAX >> (64 - in_word)) << (page % 64);
            }
            page += in_word;
        }
    }

    #[inline(always)]
    fn has_page(&self, page: usize) -> bool {
        self.words.get(page / 64).is_some_and(|word| word >> (page % 64) & 1 != 0)
    }

    /// Whether the page of a byte is in the set.
    #[inline(always)]
    pub(crate) fn has(&self, at: usize) -> bool {
        self.has_page(at / PAGE)
    }

    /// The first bytes of `start..end` that lie in pages of the set, up to `most` of them, which is no more than a page;
    /// `end..end` if there are none.
    #[inline(always)]
    pub(crate) fn first_in(&self, start: usize, end: usize, most: usize) -> Range<usize> {
        let start = if self.has(start) { start } else { self.next(start, end) };
        let until = end.min(start.saturating_add(most));
        let border = (start / PAGE + 1) * PAGE;
        start..if until > border && !self.has(border) { border } else { until }
    }

    /// Where the first page of the set behind that of `start` begins; at most `end`.
    fn next(&self, start: usize, end: usize) -> usize {
        let mut page = start / PAGE + 1;
        while page * PAGE < end {
            let Some(&word) = self.words.get(page / 64) else { return end };
            let rest = word >> (page % 64);
            if rest != 0 {
                return end.min((page + rest.trailing_zeros() as usize) * PAGE);
            }
            page = (page / 64 + 1) * 64;
        }
        end
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::FileExt;

    const PAGES: usize = 300;

    fn all_of(set: &DataPages, mut start: usize, end: usize, most: usize) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        loop {
            let part = set.first_in(start, end, most);
            if part.is_empty() {
                assert_eq!(part.start, end);
                return found;
            }
            assert!(part.start >= start && part.end <= end && part.len() <= most);
            start = part.end;
            found.push(part);
        }
    }

    #[test]
    fn the_parts_of_a_range_are_exactly_its_pages_of_the_set() {
        let mut random = 0x5EED_u64;
        let mut below = |end: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) as usize % end
        };
        for _ in 0..200 {
            let mut set = DataPages::none_of(PAGES * PAGE).unwrap();
            let mut model = vec![false; PAGES];
            for _ in 0..below(8) {
                let first = below(PAGES);
                let count = 1 + below(PAGES - first).min(below(100));
                set.add(first * PAGE + below(PAGE)..(first + count - 1) * PAGE + 1 + below(PAGE));
                model[first..first + count].fill(true);
            }
            let start = below(PAGES * PAGE / 8) * 8;
            let end = start + below(PAGES * PAGE - start) / 8 * 8;
            let mut seen = vec![false; (end - start) / 8];
            for part in all_of(&set, start, end, 1024) {
                seen[(part.start - start) / 8..(part.end - start) / 8].fill(true);
            }
            for (word, seen) in seen.into_iter().enumerate() {
                assert_eq!(seen, model[(start + word * 8) / PAGE], "seed 0x5eed: word {word} of {start}..{end}");
            }
        }
    }

    #[test]
    fn holes_of_a_file_are_not_in_the_set_and_its_data_is() {
        let file = tempfile::tempfile().unwrap();
        let len = 8_u64 << 30;
        file.set_len(len).unwrap();
        for at in [0, 5 << 30, len - 8] {
            file.write_all_at(&[1; 8], at).unwrap();
        }
        let mut set = DataPages::none_of(len as usize).unwrap();
        set.add_file(file.as_raw_fd(), 0..len);
        for at in [0, 5 << 30, len - 8] {
            assert!(set.has(at as usize));
        }
        let bytes: usize = all_of(&set, 0, len as usize, 1024).into_iter().map(|part| part.len()).sum();
        assert!(bytes <= 3 << 20, "{bytes} bytes are no holes");
    }
}
