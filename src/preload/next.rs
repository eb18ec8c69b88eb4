//! The allocator that would have served the program: it gets its own blocks back.
//!
//! # Invariants
//! - **A1** The addresses are null, or those of functions of the types that the C library gives them.

use super::message;
use crate::os::loader::next_symbol;
use core::ffi::c_void;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, Ordering};

static FREE: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
static USABLE_SIZE: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());

/// Looks for it.
pub(super) fn find() {
    for (place, name) in [(&FREE, c"free"), (&USABLE_SIZE, c"malloc_usable_size")] {
        // Relaxed: code is published by the linker.
        place.store(next_symbol(name).map_or(ptr::null_mut(), NonNull::as_ptr), Ordering::Relaxed);
    }
}

/// Frees its block, or, if it is not known, lets it be.
///
/// # Safety
/// `block` is the caller's to free, from an allocator that this one took the place of.
pub(super) unsafe fn free(block: *mut c_void) {
    let address = FREE.load(Ordering::Relaxed);
    if !address.is_null() {
        // SAFETY: of this type (A1); the caller's promise.
        unsafe { core::mem::transmute::<*mut c_void, unsafe extern "C" fn(*mut c_void)>(address)(block) }
    }
}

/// Bytes of its block. Without knowing it, there is nothing sensible to be done.
///
/// # Safety
/// As for [`free`], but that the block stays in use.
pub(super) unsafe fn usable_size(block: *mut c_void) -> usize {
    let address = USABLE_SIZE.load(Ordering::Relaxed);
    if address.is_null() {
        message::abort(format_args!("{:#x} is a block of another allocator, whose size is not known", block.addr()));
    }
    // SAFETY: of this type (A1); the caller's promise.
    unsafe { core::mem::transmute::<*mut c_void, unsafe extern "C" fn(*mut c_void) -> usize>(address)(block) }
}
