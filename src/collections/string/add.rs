//! Text added with operators, by iterators and by formatting.

use super::SalString;
use core::fmt;
use core::ops::{Add, AddAssign};
use std::borrow::Cow;

impl Add<&str> for SalString {
    type Output = Self;

    #[inline]
    #[track_caller]
    fn add(mut self, text: &str) -> Self {
        self.push_str(text);
        self
    }
}

impl AddAssign<&str> for SalString {
    #[inline]
    #[track_caller]
    fn add_assign(&mut self, text: &str) {
        self.push_str(text);
    }
}

/// Writing adds at the end. A full disk is an error here, not an abort; the text written before it stays.
///
/// ```
/// use sal::collections::SalString;
/// use std::fmt::Write;
///
/// let mut line = SalString::new();
/// write!(line, "{} of {}", 3, 7)?;
/// assert_eq!(line, "3 of 7");
/// # Ok::<(), std::fmt::Error>(())
/// ```
impl fmt::Write for SalString {
    #[inline]
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.try_push_str(text).map_err(|_| fmt::Error)
    }

    #[inline]
    fn write_char(&mut self, c: char) -> fmt::Result {
        self.try_push(c).map_err(|_| fmt::Error)
    }
}

impl Extend<char> for SalString {
    #[track_caller]
    fn extend<I: IntoIterator<Item = char>>(&mut self, items: I) {
        let items = items.into_iter();
        self.reserve(items.size_hint().0);
        for c in items {
            self.push(c);
        }
    }
}

impl<'a> Extend<&'a char> for SalString {
    #[track_caller]
    fn extend<I: IntoIterator<Item = &'a char>>(&mut self, items: I) {
        self.extend(items.into_iter().copied());
    }
}

macro_rules! extend_with_text {
    ($([$($generics:tt)*] $text:ty;)*) => {$(
        impl<$($generics)*> Extend<$text> for SalString {
            #[track_caller]
            fn extend<I: IntoIterator<Item = $text>>(&mut self, items: I) {
                for text in items {
                    self.push_str(&text);
                }
            }
        }

        impl<$($generics)*> FromIterator<$text> for SalString {
            #[track_caller]
            fn from_iter<I: IntoIterator<Item = $text>>(items: I) -> Self {
                let mut string = Self::new();
                string.extend(items);
                string
            }
        }
    )*};
}

extend_with_text! {
    ['a] &'a str;
    ['a] Cow<'a, str>;
    [] String;
    [] Box<str>;
    [] SalString;
}

impl FromIterator<char> for SalString {
    #[track_caller]
    fn from_iter<I: IntoIterator<Item = char>>(items: I) -> Self {
        let mut string = Self::new();
        string.extend(items);
        string
    }
}

impl<'a> FromIterator<&'a char> for SalString {
    #[track_caller]
    fn from_iter<I: IntoIterator<Item = &'a char>>(items: I) -> Self {
        items.into_iter().copied().collect()
    }
}
