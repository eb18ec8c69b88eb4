//! What one worker still has to look at.
//!
//! A stack of ranges of the segments, bounded. A long range is looked at piece by piece and stays on the stack until its
//! last piece is taken, so taking never needs room; only a new range may find none.

use super::trace::{PlanId, WORDS};
use super::zeroed::Zeroed;
use crate::os::CallError;
use core::ops::Range;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Bytes that are taken at once.
pub(crate) const PIECE: usize = 1024;
/// A range from here on is given to others by halves.
pub(crate) const WORTH_HALVING: usize = 16 * PIECE;
/// Ranges that are worth sharing: handing over fewer costs more than looking at them.
const LEAST_SHARED: usize = 32;

/// Bytes of the segments, and what lies there: whole words of which nothing is known, or whole values of a plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) plan: PlanId,
    /// A number that plans have a use for: levels below a node of a tree, or which power of two the slots of a hash table are.
    pub(crate) above: u32,
}

impl Span {
    /// Words of which nothing is known.
    pub(crate) fn words(start: usize, end: usize) -> Self {
        Self { start, end, plan: WORDS, above: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start >= self.end
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Stack {
    spans: Zeroed<Span>,
    len: usize,
}

impl Stack {
    pub(crate) fn new(room: usize) -> Result<Self, CallError> {
        Ok(Self { spans: Zeroed::new(room)?, len: 0 })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether there is so much that others should have a part. `middle` says where a long range can be cut.
    pub(crate) fn has_to_spare(&self, middle: impl Fn(&Span) -> Option<usize>) -> bool {
        let bottom = self.spans.first().filter(|_| self.len > 0);
        self.len >= LEAST_SHARED || bottom.is_some_and(|bottom| middle(bottom).is_some())
    }

    /// False if there is no room.
    #[inline(always)]
    #[must_use]
    pub(crate) fn push(&mut self, span: Span) -> bool {
        let Some(slot) = self.spans.get_mut(self.len) else { return false };
        *slot = span;
        self.len += 1;
        true
    }

    /// The next piece: what `first_part` says is to be looked at first of a range, and an empty part at the end if nothing
    /// is.
    #[inline(always)]
    pub(crate) fn take(&mut self, first_part: impl Fn(&Span) -> Range<usize>) -> Option<Span> {
        loop {
            let last = self.len.checked_sub(1)?;
            let span = self.spans.get_mut(last)?;
            let part = first_part(span);
            let (plan, above) = (span.plan, span.above);
            if part.end < span.end {
                span.start = part.end;
            } else {
                self.len = last;
            }
            if !part.is_empty() {
                return Some(Span { start: part.start, end: part.end, plan, above });
            }
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }

    /// Takes out work for others, from the bottom, where the most hangs on an entry: half of a long range, or up to
    /// `most` ranges, half of those that are there. `middle` says where a long range can be cut.
    pub(crate) fn donate(&mut self, most: usize, middle: impl Fn(&Span) -> Option<usize>, mut give: impl FnMut(Span)) {
        let Some(bottom) = self.spans.first_mut().filter(|_| self.len > 0) else { return };
        if let Some(middle) = middle(bottom) {
            give(Span { start: middle, ..*bottom });
            bottom.end = middle;
            return;
        }
        let count = (self.len / 2).min(most);
        // Those on top take the places of those that go.
        for slot in 0..count {
            give(self.spans[slot]);
            self.len -= 1;
            self.spans[slot] = self.spans[self.len];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(start: usize, len: usize) -> Span {
        Span::words(start, start + len)
    }

    fn piece(span: &Span) -> Range<usize> {
        span.start..span.end.min(span.start + PIECE)
    }

    fn middle(span: &Span) -> Option<usize> {
        let len = span.end - span.start;
        (len >= WORTH_HALVING).then_some(span.start + len / 2 / PIECE * PIECE)
    }

    #[test]
    fn a_long_range_is_taken_in_pieces_and_needs_no_room() {
        let mut stack = Stack::new(1).unwrap();
        assert!(stack.push(span(64, 2 * PIECE + 8)));
        assert!(!stack.push(span(0, 8)));
        let pieces: Vec<Span> = std::iter::from_fn(|| stack.take(piece)).collect();
        assert_eq!(pieces, [span(64, PIECE), span(64 + PIECE, PIECE), span(64 + 2 * PIECE, 8)]);
    }

    #[test]
    fn what_is_donated_and_what_stays_is_all_there_was() {
        for (count, len) in [(1, WORTH_HALVING + 8), (9, 64), (1, 64), (0, 0)] {
            let mut stack = Stack::new(16).unwrap();
            for at in 0..count {
                assert!(stack.push(span(at * len, len)));
            }
            let mut words = Vec::new();
            stack.donate(3, middle, |span| words.extend((span.start..span.end).step_by(8)));
            assert_eq!(words.is_empty(), count < 2 && len < WORTH_HALVING);
            while let Some(span) = stack.take(piece) {
                words.extend((span.start..span.end).step_by(8));
            }
            words.sort_unstable();
            assert_eq!(words, (0..count * len).step_by(8).collect::<Vec<_>>());
        }
    }
}
