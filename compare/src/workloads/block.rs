//! Blocks of memory as the workloads take them: touched, and seen by the compiler as escaped.
//!
//! # Invariants
//! - **B1** A pointer that [`boxed`] or [`raw`] returned owns its block until the matching [`drop_boxed`] or [`free_raw`].
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::hint::black_box;
use std::mem::MaybeUninit;

/// `SIZE` bytes aligned like most Rust values.
#[repr(align(8))]
pub(super) struct Block<const SIZE: usize>([MaybeUninit<u8>; SIZE]);

/// Alignment of [`raw`] blocks, that of [`Block`].
const ALIGN: usize = align_of::<Block<8>>();

/// A block of a size known at compile time, its first byte written.
#[inline(always)]
pub(super) fn new_block<const SIZE: usize>() -> Box<Block<SIZE>> {
    // SAFETY: a Block is an array of MaybeUninit, for which any bytes, also none, are valid.
    let mut block = unsafe { Box::<Block<SIZE>>::new_uninit().assume_init() };
    // SAFETY: SIZE is at least 1, the box is ours and live.
    unsafe { block.0.as_mut_ptr().cast::<u8>().write_volatile(1) };
    // The result is dropped: the address escapes, but need not come back through memory.
    black_box(block.0.as_ptr());
    block
}

/// [`new_block`] as a pointer (B1).
#[inline(always)]
pub(super) fn boxed<const SIZE: usize>() -> *mut u8 {
    Box::into_raw(new_block::<SIZE>()).cast()
}

/// Frees a block.
///
/// # Safety
/// `block` came from [`boxed`] with the same `SIZE` and is not used again.
#[inline(always)]
pub(super) unsafe fn drop_boxed<const SIZE: usize>(block: *mut u8) {
    // SAFETY: by B1 and the caller's promise the pointer is that of a box of this type, given back once.
    drop(unsafe { Box::from_raw(block.cast::<Block<SIZE>>()) });
}

/// The layout of a [`raw`] block of `size` bytes.
#[inline(always)]
pub(super) fn layout(size: usize) -> Layout {
    debug_assert!(size <= isize::MAX as usize - ALIGN);
    // SAFETY: the alignment is a power of two and no workload's size comes near isize::MAX.
    unsafe { Layout::from_size_align_unchecked(size, ALIGN) }
}

/// A block of a size that only the running program knows, its first byte written (B1). `size` is not zero.
#[inline(always)]
pub(super) fn raw(size: usize) -> *mut u8 {
    let layout = layout(size);
    assert_ne!(size, 0);
    // SAFETY: the size is not zero.
    let block = unsafe { alloc(layout) };
    if block.is_null() {
        handle_alloc_error(layout);
    }
    // SAFETY: the block is live and has a first byte.
    unsafe { block.write_volatile(1) };
    black_box(block);
    block
}

/// Frees a block.
///
/// # Safety
/// `block` came from [`raw`] with the same `size` and is not used again.
#[inline(always)]
pub(super) unsafe fn free_raw(block: *mut u8, size: usize) {
    // SAFETY: by B1 and the caller's promise it was allocated with this layout and is given back once.
    unsafe { dealloc(block, layout(size)) }
}
