//! What turns into a string, what a string turns into, and what it can be borrowed as.

use super::{FromUtf8Error, SalString, TryReserveError, or_raise};
use crate::collections::SalVec;
use core::borrow::{Borrow, BorrowMut};
use core::convert::Infallible;
use core::str::FromStr;
use std::borrow::Cow;
use std::ffi::OsStr;
use std::path::Path;

macro_rules! from_text {
    ($($text:ty),*) => {$(
        impl From<$text> for SalString {
            #[inline]
            #[track_caller]
            fn from(text: $text) -> Self {
                or_raise(Self::try_from_str(&text))
            }
        }
    )*};
}

from_text!(&str, &mut str, String, &String, Box<str>, Cow<'_, str>);

impl From<char> for SalString {
    #[inline]
    #[track_caller]
    fn from(c: char) -> Self {
        Self::from(&*c.encode_utf8(&mut [0; 4]))
    }
}

impl FromStr for SalString {
    type Err = Infallible;

    #[inline]
    #[track_caller]
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self::from(text))
    }
}

impl TryFrom<SalVec<u8>> for SalString {
    type Error = FromUtf8Error;

    fn try_from(bytes: SalVec<u8>) -> Result<Self, FromUtf8Error> {
        Self::from_utf8(bytes)
    }
}

impl From<SalString> for SalVec<u8> {
    #[inline]
    fn from(text: SalString) -> Self {
        text.into_bytes()
    }
}

impl From<SalString> for String {
    /// Copies the text into the memory of the process's global allocator.
    fn from(text: SalString) -> Self {
        text.as_str().to_owned()
    }
}

impl From<&SalString> for String {
    fn from(text: &SalString) -> Self {
        text.as_str().to_owned()
    }
}

impl<'a> From<&'a SalString> for Cow<'a, str> {
    fn from(text: &'a SalString) -> Self {
        Cow::Borrowed(text)
    }
}

impl AsRef<str> for SalString {
    #[inline]
    fn as_ref(&self) -> &str {
        self
    }
}

impl AsMut<str> for SalString {
    #[inline]
    fn as_mut(&mut self) -> &mut str {
        self
    }
}

impl AsRef<[u8]> for SalString {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl AsRef<OsStr> for SalString {
    #[inline]
    fn as_ref(&self) -> &OsStr {
        self.as_str().as_ref()
    }
}

impl AsRef<Path> for SalString {
    #[inline]
    fn as_ref(&self) -> &Path {
        self.as_str().as_ref()
    }
}

impl Borrow<str> for SalString {
    #[inline]
    fn borrow(&self) -> &str {
        self
    }
}

impl BorrowMut<str> for SalString {
    #[inline]
    fn borrow_mut(&mut self) -> &mut str {
        self
    }
}

impl SalString {
    /// Adds all `items` at the end, as `extend` does, but reports failure. What was added before the item
    /// that found no room stays.
    ///
    /// # Errors
    /// As [`SalVec::try_reserve`].
    pub fn try_extend<I>(&mut self, items: I) -> Result<(), TryReserveError>
    where
        I: IntoIterator<Item: AsRef<str>>,
    {
        items.into_iter().try_for_each(|text| self.try_push_str(text.as_ref()))
    }

    /// Collects `items` into a new string, as `collect` does, but reports failure.
    ///
    /// # Errors
    /// As [`try_with_capacity`](Self::try_with_capacity).
    pub fn try_from_iter<I>(items: I) -> Result<Self, TryReserveError>
    where
        I: IntoIterator<Item: AsRef<str>>,
    {
        let mut string = Self::new();
        string.try_extend(items)?;
        Ok(string)
    }
}
