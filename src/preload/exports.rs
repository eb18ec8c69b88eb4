//! The functions themselves.
//!
//! Where standards leave a choice, they do what glibc does, as programs here were tested with it:
//! - nothing is a size, too: `malloc(0)` is a block of its own; but `realloc(block, 0)` frees and returns null;
//! - all blocks are aligned to 16; `memalign` rounds an alignment up to a power of two, `aligned_alloc` and
//!   `posix_memalign` refuse others (`EINVAL`), and what is above 4 MiB (`ENOMEM`);
//! - what would be larger than `PTRDIFF_MAX`, or overflows in a multiplication, is `ENOMEM`;
//! - a block has all the bytes that `malloc_usable_size` says;
//! - `free` keeps `errno`.
//!
//! None calls another by its exported name, which may be another library's. What the fast paths call has C's calling
//! convention, too: nothing unwinds out of it, so it can be a jump.

use super::{message, next, start};
use crate::format::PAGE;
use crate::heap::untyped::{self, NotOurs};
use crate::os::{Errno, errno};
use core::alloc::Layout;
use core::ffi::{c_int, c_void};
use core::ptr;

const ALIGN: usize = 16;
/// From here on zeros may come from the system, and need not be written.
const FRESH_ZEROS: usize = 16 << 10;

#[inline(always)]
fn allocate(size: usize) -> *mut c_void {
    match untyped::take_small(size) {
        Some(block) => block.cast(),
        None => allocate_medium(size),
    }
}

/// As [`allocate`], for the next larger sizes, and whatever comes.
#[inline(never)]
extern "C" fn allocate_medium(size: usize) -> *mut c_void {
    match untyped::take(size) {
        Some(block) => block.cast(),
        None => allocate_slow(size, ALIGN, false),
    }
}

/// A block; null, and `ENOMEM`, if there is none. `align` is a power of two.
#[cold]
#[inline(never)]
extern "C" fn allocate_slow(size: usize, align: usize, zeroed: bool) -> *mut c_void {
    if let Ok(layout) = Layout::from_size_align(size.max(1), align.max(ALIGN)) {
        if start::begin() {
            let block = untyped::allocate(layout, zeroed);
            if !block.is_null() {
                return block.cast();
            }
        }
    }
    errno::NO_MEMORY.set();
    ptr::null_mut()
}

#[inline(always)]
fn allocate_zeroed(size: usize) -> *mut c_void {
    if size < FRESH_ZEROS {
        if let Some(block) = untyped::take(size) {
            // SAFETY: the block is ours and has so many bytes.
            unsafe { block.write_bytes(0, size) };
            return block.cast();
        }
    }
    allocate_slow(size, ALIGN, true)
}

/// # Safety
/// `block` is null, or a block that is the caller's to free.
#[inline(always)]
unsafe fn release(block: *mut c_void) {
    // SAFETY: the caller's promise; if it is not taken, it is still the caller's.
    unsafe {
        if !untyped::give(block.cast()) {
            release_slow(block);
        }
    }
}

/// # Safety
/// As for [`release`].
#[cold]
#[inline(never)]
unsafe extern "C" fn release_slow(block: *mut c_void) {
    if block.is_null() {
        return;
    }
    let before = Errno::last();
    // SAFETY: the caller's promise.
    match unsafe { untyped::free(block.cast()) } {
        Ok(()) => {}
        // SAFETY: the caller's promise.
        Err(NotOurs::Foreign) => unsafe { next::free(block) },
        Err(NotOurs::NoBlock) => no_block("free", block),
    }
    before.set();
}

#[cold]
fn no_block(what: &str, block: *mut c_void) -> ! {
    message::abort(format_args!("{what} of {:#x}, which is no block: freed twice, or never allocated", block.addr()))
}

/// # Safety
/// As for [`release`].
unsafe fn resize(block: *mut c_void, size: usize) -> *mut c_void {
    if block.is_null() {
        return allocate(size);
    }
    if size == 0 {
        // SAFETY: the caller's promise.
        unsafe { release(block) };
        return ptr::null_mut();
    }
    // SAFETY: the caller's promise.
    match unsafe { untyped::resize_in_place(block.cast(), size) } {
        Ok(true) => return block,
        Err(NotOurs::NoBlock) => no_block("realloc", block),
        Ok(false) | Err(NotOurs::Foreign) => {}
    }
    let moved = untyped::take_to_grow(block.cast(), size).map_or_else(|| allocate(size), <*mut u8>::cast);
    if !moved.is_null() {
        // SAFETY: both blocks are ours, and have so many bytes. The old one is freed once, after that.
        unsafe {
            ptr::copy_nonoverlapping(block.cast::<u8>(), moved.cast::<u8>(), usable_size(block).min(size));
            release(block);
        }
    }
    moved
}

/// # Safety
/// As for [`release`], but that the block stays in use.
unsafe fn usable_size(block: *mut c_void) -> usize {
    if block.is_null() {
        return 0;
    }
    match untyped::usable_size(block.addr()) {
        Ok(size) => size,
        // SAFETY: the caller's promise.
        Err(NotOurs::Foreign) => unsafe { next::usable_size(block) },
        Err(NotOurs::NoBlock) => no_block("malloc_usable_size", block),
    }
}

/// A block at a multiple of `align`, which is a power of two.
fn allocate_aligned(align: usize, size: usize) -> *mut c_void {
    if align <= ALIGN { allocate(size) } else { allocate_slow(size, align, false) }
}

/// As [`allocate_aligned`], with the alignment rounded up if need be.
fn allocate_aligned_up(align: usize, size: usize) -> *mut c_void {
    match align.max(1).checked_next_power_of_two() {
        Some(align) => allocate_aligned(align, size),
        None => invalid(),
    }
}

#[cold]
fn invalid() -> *mut c_void {
    errno::INVALID.set();
    ptr::null_mut()
}

#[cold]
fn too_large() -> *mut c_void {
    errno::NO_MEMORY.set();
    ptr::null_mut()
}

fn allocate_pages(size: usize) -> *mut c_void {
    match size.max(1).checked_next_multiple_of(PAGE) {
        Some(size) => allocate_aligned(PAGE, size),
        None => too_large(),
    }
}

/// Defines functions under their C names; a test program has its own.
macro_rules! export {
    ($($(#[$doc:meta])* fn $name:ident($($argument:ident: $type:ty),*) $(-> $returned:ty)? $body:block)*) => {
        $(
            $(#[$doc])*
            ///
            /// # Safety
            /// What C demands: blocks that are passed are the caller's, and were allocated by one of these functions.
            #[cfg_attr(not(test), unsafe(no_mangle))]
            pub(super) unsafe extern "C" fn $name($($argument: $type),*) $(-> $returned)? $body
        )*
    };
}

export! {
    /// A block of `size` bytes.
    fn malloc(size: usize) -> *mut c_void { allocate(size) }

    /// The C library's own name for [`malloc`].
    fn __libc_malloc(size: usize) -> *mut c_void { allocate(size) }

    /// A block of zeros.
    fn calloc(count: usize, size: usize) -> *mut c_void {
        count.checked_mul(size).map_or_else(too_large, allocate_zeroed)
    }

    /// The C library's own name for [`calloc`].
    fn __libc_calloc(count: usize, size: usize) -> *mut c_void {
        count.checked_mul(size).map_or_else(too_large, allocate_zeroed)
    }

    /// Gives a block back.
    fn free(block: *mut c_void) {
        // SAFETY: the caller's promise.
        unsafe { release(block) }
    }

    /// The C library's own name for [`free`].
    fn __libc_free(block: *mut c_void) {
        // SAFETY: the caller's promise.
        unsafe { release(block) }
    }

    /// [`free`] with the size that was asked for, which is not needed.
    fn free_sized(block: *mut c_void, _size: usize) {
        // SAFETY: the caller's promise.
        unsafe { release(block) }
    }

    /// [`free`] with what was asked for, which is not needed.
    fn free_aligned_sized(block: *mut c_void, _align: usize, _size: usize) {
        // SAFETY: the caller's promise.
        unsafe { release(block) }
    }

    /// Gives the contents of a block a block of another size.
    fn realloc(block: *mut c_void, size: usize) -> *mut c_void {
        // SAFETY: the caller's promise.
        unsafe { resize(block, size) }
    }

    /// The C library's own name for [`realloc`].
    fn __libc_realloc(block: *mut c_void, size: usize) -> *mut c_void {
        // SAFETY: the caller's promise.
        unsafe { resize(block, size) }
    }

    /// [`realloc`] to the size of an array.
    fn reallocarray(block: *mut c_void, count: usize, size: usize) -> *mut c_void {
        match count.checked_mul(size) {
            // SAFETY: the caller's promise.
            Some(size) => unsafe { resize(block, size) },
            None => too_large(),
        }
    }

    /// An aligned block.
    fn aligned_alloc(align: usize, size: usize) -> *mut c_void {
        if align.is_power_of_two() { allocate_aligned(align, size) } else { invalid() }
    }

    /// An aligned block.
    fn memalign(align: usize, size: usize) -> *mut c_void { allocate_aligned_up(align, size) }

    /// The C library's own name for [`memalign`].
    fn __libc_memalign(align: usize, size: usize) -> *mut c_void { allocate_aligned_up(align, size) }

    /// An aligned block; `errno` is kept, and `place` too unless there is one.
    fn posix_memalign(place: *mut *mut c_void, align: usize, size: usize) -> c_int {
        if !align.is_power_of_two() || align % size_of::<*mut c_void>() != 0 {
            return errno::INVALID.0;
        }
        let before = Errno::last();
        let block = allocate_aligned(align, size);
        before.set();
        if block.is_null() {
            return errno::NO_MEMORY.0;
        }
        // SAFETY: the caller's promise.
        unsafe { place.write(block) };
        0
    }

    /// A block at a page border.
    fn valloc(size: usize) -> *mut c_void { allocate_aligned(PAGE, size) }

    /// The C library's own name for [`valloc`].
    fn __libc_valloc(size: usize) -> *mut c_void { allocate_aligned(PAGE, size) }

    /// Whole pages.
    fn pvalloc(size: usize) -> *mut c_void { allocate_pages(size) }

    /// The C library's own name for [`pvalloc`].
    fn __libc_pvalloc(size: usize) -> *mut c_void { allocate_pages(size) }

    /// Bytes that a block has.
    fn malloc_usable_size(block: *mut c_void) -> usize {
        // SAFETY: the caller's promise.
        unsafe { usable_size(block) }
    }

    /// Gives free memory back to the system; 1 if there was some. What shall be kept is not looked at.
    fn malloc_trim(_keep: usize) -> c_int { c_int::from(untyped::purge() > 0) }
}
