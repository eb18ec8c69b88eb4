//! [`SalString`]: text that may live in a heap file.
//!
//! A [`SalVec`] of bytes that are UTF-8. Everything about memory is the vector's; what is here keeps the
//! bytes text.
//!
//! # Invariants
//! - **S1** The bytes are valid UTF-8 whenever a `str` of them can be seen. Methods move bytes at character
//!   boundaries only, and a guard closes the gap if a caller's closure panics between.
//!
//! # What survives a crash
//! What survives of the vector.
#![allow(unsafe_code)]

mod add;
mod compare;
mod convert;
mod drain;
mod edit;
mod from_utf8;
mod persist;
mod retain;
#[cfg(feature = "serde")]
mod serde;

pub use drain::Drain;
pub use from_utf8::FromUtf8Error;

use super::error::{TryReserveError, or_raise};
use super::vec::SalVec;
use core::ops::{Deref, DerefMut};
use core::str;

/// Growable text that may live in a heap file: `String` without a handle and with a fixed layout.
///
/// It feels like [`String`], dereferences to `str`, and hashes and compares as `str` does, so a map whose
/// keys are of this type can be asked with a `&str`. Its bytes live where the elements of a [`SalVec`] in
/// the same place would, and what is said there about the methods whose name begins with `try_` holds here
/// too.
///
/// # Layout
/// That of [`SalVec<u8>`]. The bytes are UTF-8, without a terminator.
///
/// # Example
/// ```
/// use sal::collections::SalString;
///
/// let mut greeting = SalString::from("Hello");
/// greeting += ", ";
/// greeting.push_str("heap");
/// greeting.push('!');
/// assert_eq!(greeting, "Hello, heap!");
/// assert_eq!(greeting.to_uppercase(), "HELLO, HEAP!");
/// ```
#[repr(C)]
pub struct SalString {
    bytes: SalVec<u8>,
}

const _: () = assert!(size_of::<SalString>() == 24 && align_of::<SalString>() == 8);

impl SalString {
    /// An empty string. It owns no block and belongs to no heap.
    #[inline]
    pub const fn new() -> Self {
        Self { bytes: SalVec::new() }
    }

    /// An empty string with room for at least `capacity` bytes, placed as
    /// [`SalVec::with_capacity`] says.
    ///
    /// # Panics
    /// If the capacity is more than `isize::MAX`.
    #[inline]
    #[track_caller]
    pub fn with_capacity(capacity: usize) -> Self {
        or_raise(Self::try_with_capacity(capacity))
    }

    /// As [`with_capacity`](Self::with_capacity), but reports failure.
    ///
    /// # Errors
    /// If the capacity overflows or the heap cannot serve the block.
    #[inline]
    pub fn try_with_capacity(capacity: usize) -> Result<Self, TryReserveError> {
        Ok(Self { bytes: SalVec::try_with_capacity(capacity)? })
    }

    /// A copy of `text`. `From<&str>` is the twin that does not report failure.
    ///
    /// ```
    /// use sal::collections::{SalString, TryReserveError};
    ///
    /// # fn main() -> Result<(), TryReserveError> {
    /// assert_eq!(SalString::try_from_str("kept")?, "kept");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`try_with_capacity`](Self::try_with_capacity).
    pub fn try_from_str(text: &str) -> Result<Self, TryReserveError> {
        let mut string = Self::try_with_capacity(text.len())?;
        string.try_push_str(text)?;
        Ok(string)
    }

    /// As `clone`, but reports failure.
    ///
    /// # Errors
    /// As [`try_with_capacity`](Self::try_with_capacity).
    pub fn try_clone(&self) -> Result<Self, TryReserveError> {
        Self::try_from_str(self)
    }

    /// How many bytes there are.
    #[inline]
    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is no text.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// How many bytes fit before the string must grow.
    #[inline]
    pub const fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// The text.
    #[inline]
    pub const fn as_str(&self) -> &str {
        // SAFETY: S1.
        unsafe { str::from_utf8_unchecked(self.bytes.as_slice()) }
    }

    /// The text, to change it in place.
    #[inline]
    pub const fn as_mut_str(&mut self) -> &mut str {
        // SAFETY: S1, which a `&mut str` keeps.
        unsafe { str::from_utf8_unchecked_mut(self.bytes.as_mut_slice()) }
    }

    /// The bytes of the text.
    #[inline]
    pub const fn as_bytes(&self) -> &[u8] {
        self.bytes.as_slice()
    }

    /// The bytes of the text in their vector, to change them.
    ///
    /// # Safety
    /// They are valid UTF-8 again when the borrow ends.
    #[inline]
    pub const unsafe fn as_mut_vec(&mut self) -> &mut SalVec<u8> {
        &mut self.bytes
    }

    /// The bytes of the text, which stay where they are.
    #[inline]
    pub fn into_bytes(self) -> SalVec<u8> {
        self.bytes
    }

    /// Makes room for at least `additional` more bytes, and for some to spare.
    ///
    /// # Panics
    /// As [`SalVec::reserve`].
    #[inline]
    #[track_caller]
    pub fn reserve(&mut self, additional: usize) {
        self.bytes.reserve(additional);
    }

    /// As [`reserve`](Self::reserve), but reports failure.
    ///
    /// # Errors
    /// As [`SalVec::try_reserve`].
    #[inline]
    pub fn try_reserve(&mut self, additional: usize) -> Result<(), TryReserveError> {
        self.bytes.try_reserve(additional)
    }

    /// Makes room for at least `additional` more bytes, and for no more than the heap gives anyway.
    ///
    /// # Panics
    /// As [`SalVec::reserve`].
    #[inline]
    #[track_caller]
    pub fn reserve_exact(&mut self, additional: usize) {
        self.bytes.reserve_exact(additional);
    }

    /// As [`reserve_exact`](Self::reserve_exact), but reports failure.
    ///
    /// # Errors
    /// As [`SalVec::try_reserve`].
    #[inline]
    pub fn try_reserve_exact(&mut self, additional: usize) -> Result<(), TryReserveError> {
        self.bytes.try_reserve_exact(additional)
    }

    /// Gives back what the text does not need, as far as the heap can.
    #[inline]
    pub fn shrink_to_fit(&mut self) {
        self.bytes.shrink_to_fit();
    }

    /// As [`shrink_to_fit`](Self::shrink_to_fit), but keeps room for at least `min_capacity` bytes.
    #[inline]
    pub fn shrink_to(&mut self, min_capacity: usize) {
        self.bytes.shrink_to(min_capacity);
    }
}

impl Clone for SalString {
    #[track_caller]
    fn clone(&self) -> Self {
        or_raise(self.try_clone())
    }

    /// Keeps the block, and with it the heap, of `self` if it has one.
    #[track_caller]
    fn clone_from(&mut self, source: &Self) {
        self.clear();
        self.push_str(source);
    }
}

impl Default for SalString {
    #[inline]
    fn default() -> Self {
        Self::new()
    }
}

impl Deref for SalString {
    type Target = str;

    #[inline]
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl DerefMut for SalString {
    #[inline]
    fn deref_mut(&mut self) -> &mut str {
        self.as_mut_str()
    }
}
