//! Moving values between the slots of arrays, of which the first ones are in use.
//!
//! What leaves a slot leaves zeros: a word that stayed behind would look like one more pointer to whoever counts the words
//! of a heap after a crash.
#![allow(unsafe_code)]

use core::ptr;

/// Puts a value at `at`.
///
/// # Safety
/// There are more than `len` slots, of which the first `len` are in use; `at <= len`.
#[inline(always)]
pub(super) unsafe fn insert<T: 'static>(slots: *mut T, len: usize, at: usize, value: T) {
    debug_assert!(at <= len);
    // SAFETY: the caller's promise.
    unsafe {
        ptr::copy(slots.add(at), slots.add(at + 1), len - at);
        slots.add(at).write(value);
    }
}

/// Takes the value at `at`.
///
/// # Safety
/// The first `len` slots are in use; `at < len`.
#[inline(always)]
pub(super) unsafe fn remove<T: 'static>(slots: *mut T, len: usize, at: usize) -> T {
    debug_assert!(at < len);
    // SAFETY: the caller's promise.
    unsafe {
        let value = slots.add(at).read();
        ptr::copy(slots.add(at + 1), slots.add(at), len - at - 1);
        ptr::write_bytes(slots.add(len - 1), 0, 1);
        value
    }
}

/// Moves `count` values to slots of another array.
///
/// # Safety
/// The values are in use, the slots they go to are not, and are as many.
#[inline(always)]
pub(super) unsafe fn transfer<T: 'static>(from: *mut T, to: *mut T, count: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        ptr::copy_nonoverlapping(from, to, count);
        ptr::write_bytes(from, 0, count);
    }
}
