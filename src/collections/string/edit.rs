//! Text put in, taken out and replaced.

use super::{Drain, SalString, TryReserveError, or_raise};
use crate::collections::vec::resolve;
use core::ops::{Range, RangeBounds};

impl SalString {
    /// Adds `text` at the end.
    ///
    /// # Panics
    /// As [`SalVec::reserve`](crate::collections::SalVec::reserve).
    #[inline]
    #[track_caller]
    pub fn push_str(&mut self, text: &str) {
        or_raise(self.try_push_str(text));
    }

    /// As [`push_str`](Self::push_str), but reports failure; the string is then as it was.
    ///
    /// # Errors
    /// As [`SalVec::try_reserve`](crate::collections::SalVec::try_reserve).
    #[inline]
    pub fn try_push_str(&mut self, text: &str) -> Result<(), TryReserveError> {
        self.bytes.try_extend_from_copies(text.as_bytes())
    }

    /// Adds `c` at the end.
    ///
    /// # Panics
    /// As [`SalVec::reserve`](crate::collections::SalVec::reserve).
    #[inline]
    #[track_caller]
    pub fn push(&mut self, c: char) {
        or_raise(self.try_push(c));
    }

    /// As [`push`](Self::push), but reports failure; the string is then as it was.
    ///
    /// # Errors
    /// As [`SalVec::try_reserve`](crate::collections::SalVec::try_reserve).
    #[inline]
    pub fn try_push(&mut self, c: char) -> Result<(), TryReserveError> {
        self.try_push_str(c.encode_utf8(&mut [0; 4]))
    }

    /// Takes the last character.
    pub fn pop(&mut self) -> Option<char> {
        let last = self.chars().next_back()?;
        self.bytes.truncate(self.len() - last.len_utf8());
        Some(last)
    }

    /// Puts `c` before byte `index`.
    ///
    /// # Panics
    /// If `index` is not at a character boundary; else as
    /// [`SalVec::reserve`](crate::collections::SalVec::reserve).
    #[track_caller]
    pub fn insert(&mut self, index: usize, c: char) {
        self.insert_str(index, c.encode_utf8(&mut [0; 4]));
    }

    /// As [`insert`](Self::insert), but reports that there is no memory; the string is then as it was.
    ///
    /// # Errors
    /// As [`SalVec::try_reserve`](crate::collections::SalVec::try_reserve).
    ///
    /// # Panics
    /// If `index` is not at a character boundary.
    #[track_caller]
    pub fn try_insert(&mut self, index: usize, c: char) -> Result<(), TryReserveError> {
        self.try_insert_str(index, c.encode_utf8(&mut [0; 4]))
    }

    /// Puts `text` before byte `index`.
    ///
    /// # Panics
    /// As [`insert`](Self::insert).
    #[track_caller]
    pub fn insert_str(&mut self, index: usize, text: &str) {
        or_raise(self.try_insert_str(index, text));
    }

    /// As [`insert_str`](Self::insert_str), but reports that there is no memory; the string is then as it
    /// was.
    ///
    /// # Errors
    /// As [`SalVec::try_reserve`](crate::collections::SalVec::try_reserve).
    ///
    /// # Panics
    /// If `index` is not at a character boundary.
    #[track_caller]
    pub fn try_insert_str(&mut self, index: usize, text: &str) -> Result<(), TryReserveError> {
        self.try_replace_range(index..index, text)
    }

    /// Takes the character that begins at byte `index`.
    ///
    /// # Panics
    /// If no character begins there.
    #[track_caller]
    pub fn remove(&mut self, index: usize) -> char {
        let Some(c) = self[index..].chars().next() else {
            panic!("cannot remove a character at the end of the text");
        };
        self.bytes.drain(index..index + c.len_utf8());
        c
    }

    /// Drops the text from byte `len` on. The capacity stays.
    ///
    /// # Panics
    /// If `len` is less than the length and not at a character boundary.
    #[track_caller]
    pub fn truncate(&mut self, len: usize) {
        if len < self.len() {
            assert!(self.is_char_boundary(len), "byte {len} is inside a character");
            self.bytes.truncate(len);
        }
    }

    /// Drops all text. The capacity stays.
    #[inline]
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Moves the text from byte `at` on into a string of its own, placed as
    /// [`with_capacity`](Self::with_capacity) says.
    ///
    /// # Panics
    /// If `at` is not at a character boundary.
    #[track_caller]
    pub fn split_off(&mut self, at: usize) -> Self {
        or_raise(self.try_split_off(at))
    }

    /// As [`split_off`](Self::split_off), but reports that there is no memory; the string is then as it was.
    ///
    /// # Errors
    /// As [`try_with_capacity`](Self::try_with_capacity).
    ///
    /// # Panics
    /// If `at` is not at a character boundary.
    #[track_caller]
    pub fn try_split_off(&mut self, at: usize) -> Result<Self, TryReserveError> {
        assert!(self.is_char_boundary(at), "byte {at} is not at a character boundary");
        Ok(Self { bytes: self.bytes.try_split_off(at)? })
    }

    /// Replaces the text in `range`, in bytes, by `with`.
    ///
    /// ```
    /// use sal::collections::SalString;
    ///
    /// let mut when = SalString::from("today at 9");
    /// when.replace_range(..5, "tomorrow");
    /// assert_eq!(when, "tomorrow at 9");
    /// ```
    ///
    /// # Panics
    /// If the range does not lie within the text or an end of it is not at a character boundary; else as
    /// [`SalVec::reserve`](crate::collections::SalVec::reserve).
    #[track_caller]
    pub fn replace_range(&mut self, range: impl RangeBounds<usize>, with: &str) {
        or_raise(self.try_replace_range(range, with));
    }

    /// As [`replace_range`](Self::replace_range), but reports that there is no memory; the string is then as
    /// it was.
    ///
    /// # Errors
    /// As [`SalVec::try_reserve`](crate::collections::SalVec::try_reserve).
    ///
    /// # Panics
    /// If the range does not lie within the text or an end of it is not at a character boundary.
    #[track_caller]
    pub fn try_replace_range(&mut self, range: impl RangeBounds<usize>, with: &str) -> Result<(), TryReserveError> {
        let Range { start, end } = self.resolve_at_boundaries(range);
        let old_len = self.len();
        let new_end = start + with.len();
        // Not even a panic can come between the first of these lines that changes the text and the last.
        if new_end > end {
            self.bytes.try_resize(old_len + (new_end - end), 0)?;
        }
        self.bytes.copy_within(end..old_len, new_end);
        self.bytes[start..new_end].copy_from_slice(with.as_bytes());
        self.bytes.truncate(new_end + (old_len - end));
        Ok(())
    }

    /// Takes the characters in `range`, in bytes, out one by one.
    ///
    /// Dropping the iterator removes the whole range, whatever it has returned; forgetting it removes
    /// nothing.
    ///
    /// ```
    /// use sal::collections::SalString;
    ///
    /// let mut line = SalString::from("key=value");
    /// let key: String = line.drain(..3).collect();
    /// assert_eq!((key.as_str(), line.as_str()), ("key", "=value"));
    /// ```
    ///
    /// # Panics
    /// If the range does not lie within the text or an end of it is not at a character boundary.
    #[track_caller]
    pub fn drain(&mut self, range: impl RangeBounds<usize>) -> Drain<'_> {
        let range = self.resolve_at_boundaries(range);
        Drain::new(self, range)
    }

    /// The bytes that `range` means.
    #[track_caller]
    fn resolve_at_boundaries(&self, range: impl RangeBounds<usize>) -> Range<usize> {
        let range = resolve(range, self.len());
        for end in [range.start, range.end] {
            assert!(self.is_char_boundary(end), "byte {end} is inside a character");
        }
        range
    }
}
