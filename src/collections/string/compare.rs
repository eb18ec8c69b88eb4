//! Comparing, hashing and printing: all as `str` does it, which `Borrow<str>` demands.

use super::SalString;
use core::cmp::Ordering;
use core::fmt;
use core::hash::{Hash, Hasher};
use std::borrow::Cow;

macro_rules! equal_as_text {
    ($($left:ty, $right:ty;)*) => {$(
        impl PartialEq<$right> for $left {
            #[inline]
            fn eq(&self, other: &$right) -> bool {
                self[..] == other[..]
            }
        }
    )*};
}

equal_as_text! {
    SalString, SalString;
    SalString, str;
    SalString, &str;
    SalString, String;
    SalString, Cow<'_, str>;
    str, SalString;
    &str, SalString;
    String, SalString;
    Cow<'_, str>, SalString;
}

impl Eq for SalString {}

impl PartialOrd for SalString {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for SalString {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl Hash for SalString {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Debug for SalString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for SalString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.as_str(), f)
    }
}
