//! Ranges as callers write them, turned into a start and an end.

use core::ops::{Bound, Range, RangeBounds};

/// The part of a sequence of `len` that `range` means: `start <= end <= len`.
///
/// # Panics
/// If the range begins after its end or ends after `len`.
#[track_caller]
pub(crate) fn resolve(range: impl RangeBounds<usize>, len: usize) -> Range<usize> {
    let start = match range.start_bound() {
        Bound::Included(&start) => Some(start),
        Bound::Excluded(&before) => before.checked_add(1),
        Bound::Unbounded => Some(0),
    };
    let end = match range.end_bound() {
        Bound::Included(&last) => last.checked_add(1),
        Bound::Excluded(&end) => Some(end),
        Bound::Unbounded => Some(len),
    };
    match (start, end) {
        (Some(start), Some(end)) if start <= end && end <= len => start..end,
        _ => panic!("range {:?} to {:?} is not within a length of {len}", range.start_bound(), range.end_bound()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::catch_unwind;

    #[test]
    fn every_kind_of_bound_is_understood() {
        assert_eq!(resolve(.., 3), 0..3);
        assert_eq!(resolve(1.., 3), 1..3);
        assert_eq!(resolve(..=1, 3), 0..2);
        assert_eq!(resolve((Bound::Excluded(0), Bound::Included(2)), 3), 1..3);
        assert_eq!(resolve(3..3, 3), 3..3);
    }

    #[test]
    fn a_range_that_does_not_fit_panics() {
        #[expect(clippy::reversed_empty_ranges, reason = "this is the case in question")]
        let reversed = 2..1;
        assert!(catch_unwind(|| resolve(reversed, 3)).is_err());
        assert!(catch_unwind(|| resolve(..4, 3)).is_err());
        assert!(catch_unwind(|| resolve(..=usize::MAX, 3)).is_err());
        assert!(catch_unwind(|| resolve((Bound::Excluded(usize::MAX), Bound::Unbounded), 3)).is_err());
    }
}
