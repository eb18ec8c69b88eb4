//! Characters dropped because a closure says so.

use super::SalString;
use core::str;

/// Walks over the text and closes the gap behind it; when dropped, early or not, it keeps what is unjudged.
///
/// The bytes before `kept` and those from `next` on are text. Nobody can see those between until they are
/// overwritten or cut off (S1).
struct Sieve<'s> {
    string: &'s mut SalString,
    kept: usize,
    next: usize,
}

impl Drop for Sieve<'_> {
    fn drop(&mut self) {
        let bytes = &mut self.string.bytes;
        let len = bytes.len();
        bytes.copy_within(self.next..len, self.kept);
        bytes.truncate(self.kept + (len - self.next));
    }
}

impl SalString {
    /// Drops the characters for which `keep` says no.
    ///
    /// If `keep` panics, what it has not judged stays.
    ///
    /// ```
    /// use sal::collections::SalString;
    ///
    /// let mut number = SalString::from("1 234 567");
    /// number.retain(|c| c != ' ');
    /// assert_eq!(number, "1234567");
    /// ```
    pub fn retain(&mut self, mut keep: impl FnMut(char) -> bool) {
        let mut sieve = Sieve { string: self, kept: 0, next: 0 };
        loop {
            let unjudged = &sieve.string.bytes[sieve.next..];
            // SAFETY: `next` only ever moves by whole characters, and nothing behind it has been changed.
            let Some(c) = unsafe { str::from_utf8_unchecked(unjudged) }.chars().next() else {
                return;
            };
            let len = c.len_utf8();
            if keep(c) {
                sieve.string.bytes.copy_within(sieve.next..sieve.next + len, sieve.kept);
                sieve.kept += len;
            }
            sieve.next += len;
        }
    }
}
