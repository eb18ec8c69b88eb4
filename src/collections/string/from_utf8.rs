//! Bytes that are found to be text, or not.

use super::SalString;
use crate::collections::SalVec;
use core::{error, fmt, str};

/// Why bytes are not text, with the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FromUtf8Error {
    bytes: SalVec<u8>,
    error: str::Utf8Error,
}

impl FromUtf8Error {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes, given back.
    pub fn into_bytes(self) -> SalVec<u8> {
        self.bytes
    }

    /// Where and how they stop being text.
    pub fn utf8_error(&self) -> str::Utf8Error {
        self.error
    }
}

impl fmt::Display for FromUtf8Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl error::Error for FromUtf8Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        Some(&self.error)
    }
}

impl SalString {
    /// The text whose bytes these are. They stay where they are.
    ///
    /// ```
    /// use sal::collections::{SalString, SalVec};
    ///
    /// let text = SalString::from_utf8(SalVec::from(b"caf\xC3\xA9")).unwrap();
    /// assert_eq!(text, "café");
    ///
    /// let error = SalString::from_utf8(SalVec::from(b"caf\xC3")).unwrap_err();
    /// assert_eq!(error.utf8_error().valid_up_to(), 3);
    /// assert_eq!(error.into_bytes(), b"caf\xC3");
    /// ```
    ///
    /// # Errors
    /// If they are not valid UTF-8; the error holds them.
    pub fn from_utf8(bytes: SalVec<u8>) -> Result<Self, FromUtf8Error> {
        match str::from_utf8(&bytes) {
            Ok(_) => Ok(Self { bytes }),
            Err(error) => Err(FromUtf8Error { bytes, error }),
        }
    }

    /// As [`from_utf8`](Self::from_utf8), without looking.
    ///
    /// # Safety
    /// The bytes are valid UTF-8.
    #[inline]
    pub unsafe fn from_utf8_unchecked(bytes: SalVec<u8>) -> Self {
        Self { bytes }
    }
}
