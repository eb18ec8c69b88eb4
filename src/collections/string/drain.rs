//! The iterator that takes a range of characters out of a string.

use super::SalString;
use core::fmt;
use core::iter::FusedIterator;
use core::ops::Range;

/// What [`SalString::drain`] returns.
///
/// The text stays whole until the iterator is dropped, so forgetting it leaves a valid string.
pub struct Drain<'s> {
    string: &'s mut SalString,
    removed: Range<usize>,
    left: Range<usize>,
}

impl<'s> Drain<'s> {
    /// The drain of `range`, which lies within the text and ends at character boundaries.
    pub(super) fn new(string: &'s mut SalString, range: Range<usize>) -> Self {
        Self { string, removed: range.clone(), left: range }
    }

    /// The text that is still to come.
    pub fn as_str(&self) -> &str {
        &self.string[self.left.clone()]
    }
}

impl Iterator for Drain<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        let c = self.as_str().chars().next()?;
        self.left.start += c.len_utf8();
        Some(c)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.as_str().chars().size_hint()
    }
}

impl DoubleEndedIterator for Drain<'_> {
    fn next_back(&mut self) -> Option<char> {
        let c = self.as_str().chars().next_back()?;
        self.left.end -= c.len_utf8();
        Some(c)
    }
}

impl FusedIterator for Drain<'_> {}

impl Drop for Drain<'_> {
    fn drop(&mut self) {
        self.string.bytes.drain(self.removed.clone());
    }
}

impl fmt::Debug for Drain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Drain").field(&self.as_str()).finish()
    }
}
