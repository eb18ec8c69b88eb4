//! The word that a counted pointer is: its block's address, plus a tag.
//!
//! In the heap's own place an address is the pair of window and position, so nothing has to be looked up to follow a pointer.
//! Blocks begin at multiples of sixteen, so the lowest bits are free for the tag, by which recovery tells a pointer that is
//! counted from any other word. Taking it off costs nothing: it is part of the distance to the field that is read.
//!
//! # Invariants
//! - **A1** A word is a block's address plus the tag, and never zero.

use super::target::Target;
use crate::alloc::ref_count::{COUNTED, RefCount};
use crate::heap::counted;
use core::marker::PhantomData;
use core::ptr::NonNull;

/// A word that leads to a block with a `T`.
#[repr(transparent)]
pub(super) struct Tagged<T: ?Sized> {
    word: NonNull<u8>,
    of: PhantomData<*const T>,
}

impl<T: ?Sized> Clone for Tagged<T> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: ?Sized> Copy for Tagged<T> {}

impl<T: ?Sized + Target> Tagged<T> {
    /// # Safety
    /// The block was allocated as a counted one for a `T`, and begins with it (G1).
    #[inline(always)]
    pub(super) unsafe fn of_block(block: NonNull<u8>) -> Self {
        // SAFETY: within the block, which has sixteen bytes at least.
        Self { word: unsafe { block.byte_add(COUNTED) }, of: PhantomData }
    }

    /// The word as it is.
    #[inline(always)]
    pub(super) fn word(self) -> NonNull<u8> {
        self.word
    }

    /// # Safety
    /// `word` came from [`Tagged::word`] of the same type; or nothing but [`Tagged::word`] is asked for.
    #[inline(always)]
    pub(super) const unsafe fn of_word(word: NonNull<u8>) -> Self {
        Self { word, of: PhantomData }
    }

    #[inline(always)]
    pub(super) fn block(self) -> NonNull<u8> {
        // SAFETY: A1.
        unsafe { self.word.byte_sub(COUNTED) }
    }

    /// Where the value lies.
    #[inline(always)]
    pub(super) fn value(self) -> NonNull<T> {
        // SAFETY: G1, A1.
        unsafe { T::in_block(self.block()) }
    }

    /// The count of the block.
    #[inline(always)]
    pub(super) fn count<'a>(self) -> &'a RefCount {
        // SAFETY: G1, A1.
        unsafe { counted::count_of(self.block(), T::layout_of(self.block())) }
    }

    /// Says that this pointer is the only one, and about to go: before its value is dropped or moved out.
    ///
    /// # Safety
    /// It is the only one, and nobody makes another of it.
    #[inline(always)]
    pub(super) unsafe fn give_up(self) {
        // SAFETY: G1, A1.
        unsafe { counted::give_up(self.block(), T::layout_of(self.block())) }
    }

    /// Frees the block.
    ///
    /// # Safety
    /// Its value has been dropped or moved out, and nobody uses it any more; its last pointer was dropped, or [given
    /// up](Tagged::give_up).
    #[inline]
    pub(super) unsafe fn free(self) {
        // SAFETY: the caller's promise, G1, A1.
        unsafe { counted::free(self.block(), T::layout_of(self.block())) }
    }
}
