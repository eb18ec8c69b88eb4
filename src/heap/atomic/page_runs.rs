//! Sets of pages, as ascending runs of their numbers.

use core::ops::Range;

/// A set of page numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PageRuns {
    /// Once tidied: ascending, none empty, none touching the next.
    runs: Vec<Range<u64>>,
    is_tidy: bool,
}

impl PageRuns {
    /// Adds pages; cheap where they follow those added last.
    pub(super) fn add(&mut self, pages: Range<u64>) {
        if pages.is_empty() {
            return;
        }
        match self.runs.last_mut() {
            Some(last) if last.end == pages.start => last.end = pages.end,
            _ => {
                self.is_tidy = false;
                self.runs.push(pages);
            }
        }
    }

    /// The runs, in ascending order.
    pub(super) fn runs(&mut self) -> &[Range<u64>] {
        if !self.is_tidy {
            self.runs.sort_unstable_by_key(|run| run.start);
            self.runs.dedup_by(|next, kept| {
                let touches = next.start <= kept.end;
                if touches {
                    kept.end = kept.end.max(next.end);
                }
                touches
            });
            self.is_tidy = true;
        }
        &self.runs
    }

    pub(super) fn clear(&mut self) {
        self.runs.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_ascending_and_apart_however_they_were_added() {
        let mut pages = PageRuns::default();
        for run in [10..12, 12..13, 4..6, 5..9, 30..30, 9..10, 40..41, 2..3] {
            pages.add(run);
        }
        assert_eq!(pages.runs(), [2..3, 4..13, 40..41]);
        // A run that is added behind the last one, and reaches back over it later.
        pages.add(41..45);
        pages.add(0..100);
        assert_eq!(pages.runs().first(), Some(&(0..100)));
        assert_eq!(pages.runs().len(), 1);
        pages.clear();
        assert!(pages.runs().is_empty());
    }
}
