//! Blocks of memory as the workloads take them: touched, and seen by the compiler as escaped.
//!
//! # Invariants
//! - **B1** A pointer that [`boxed`], [`raw`] or [`raw_touched`] returned owns its block until the matching [`drop_boxed`] or
//!   [`free_raw`].
//! - **B2** The block of an [`Owned`] is one of [`raw`] or [`raw_touched`] with the size beside it.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::hint::black_box;
use std::mem::MaybeUninit;

/// `SIZE` bytes aligned like most Rust values.
#[repr(align(8))]
pub(super) struct Block<const SIZE: usize>([MaybeUninit<u8>; SIZE]);

/// Bytes in a page, as most machines have them.
pub(super) const PAGE: usize = 4096;

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

/// [`raw`], with a byte of each 4 KiB page written.
pub(super) fn raw_touched(size: usize) -> *mut u8 {
    let block = raw(size);
    for page in (0..size).step_by(PAGE) {
        // SAFETY: `page` is less than the block's size.
        unsafe { block.add(page).write_volatile(1) };
    }
    block
}

/// A block with its size; freed when dropped, on whatever thread that is (B2).
pub(super) struct Owned {
    block: *mut u8,
    size: usize,
}

// SAFETY: the block is plain memory that only its owner touches, and any thread may free it.
unsafe impl Send for Owned {}

impl Owned {
    /// A block of `size` bytes, which is not zero; its first byte is written.
    #[inline(always)]
    pub(super) fn new(size: usize) -> Self {
        Self { block: raw(size), size }
    }

    /// The same with a byte of each page written.
    pub(super) fn touched(size: usize) -> Self {
        Self { block: raw_touched(size), size }
    }

    /// Writes `byte` to each byte in turn, `times` times over.
    #[inline]
    pub(super) fn hammer(&mut self, times: usize, byte: u8) {
        for _ in 0..times {
            for place in 0..self.size {
                // SAFETY: by B2 the block has `size` bytes, and it is ours.
                unsafe { self.block.add(place).write_volatile(byte) };
            }
        }
    }

    /// Writes a byte of each 64 bytes, as a program that fills what it asked for reaches each cache line.
    #[inline]
    pub(super) fn fill(&mut self, byte: u8) {
        for place in (0..self.size).step_by(64) {
            // SAFETY: by B2 the block has more than `place` bytes, and it is ours.
            unsafe { self.block.add(place).write_volatile(byte) };
        }
    }

    /// Reads back what [`Owned::fill`] wrote first.
    #[inline]
    pub(super) fn first_byte(&self) -> u8 {
        // SAFETY: by B2 the block has a first byte, and it has been written.
        unsafe { self.block.read_volatile() }
    }
}

impl Drop for Owned {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: by B2 it was allocated with this size; it is owned, and dropped once.
        unsafe { free_raw(self.block, self.size) }
    }
}
