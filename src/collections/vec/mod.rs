//! [`SalVec`]: a growable array without a handle.
//!
//! Three words say where the block is, how many elements it holds and how many it can hold. An empty vector
//! owns no block and belongs to no heap. `growth` takes, grows and shrinks the block; everything else
//! works on the elements, by number and not by address, so that one code path serves types without bytes.
//!
//! # Invariants
//! - **V1** `block` is null if and only if `capacity` is 0, which it always is if `T` has no bytes.
//!   Otherwise `block` came from `raw_block`, is aligned for `T`, and a layout of
//!   `capacity * size_of::<T>()` bytes with the alignment of `T` fits it.
//! - **V2** `len <= self.capacity()`, the method, which says `usize::MAX` if `T` has no bytes.
//! - **V3** The first `len` elements are initialised, and owned by the vector alone.
//! - **V4** All of this holds whenever foreign code runs: a closure, an iterator, `Clone` or `Drop` of an
//!   element. A method that moves elements past such code first lowers `len`, and a guard restores it. A
//!   panic therefore leaves a valid vector, and so does forgetting an iterator that borrows it. Only a vector that is
//!   dropped counts its elements still while they are dropped: nobody sees it again.
//!
//! # What survives a crash
//! The words and the elements as the last sync found them. Nothing is cached elsewhere and nothing is
//! repaired at opening.
#![allow(unsafe_code)]

mod compare;
mod convert;
mod drain;
mod edit;
mod extend;
mod growth;
mod into_iter;
mod persist;
mod range;
mod retain;
#[cfg(feature = "serde")]
mod serde;

pub use drain::Drain;
pub use into_iter::IntoIter;
pub(crate) use range::resolve;

use super::error::{TryReserveError, or_raise};
use super::raw_block;
use crate::gc::trace::layouts::sal_vec;

use crate::ptr::drop_moved::drop_elements;
use core::alloc::Layout;
use core::marker::PhantomData;
use core::mem::{MaybeUninit, offset_of};
use core::ops::{Deref, DerefMut};
use core::ptr::{self, NonNull};
use core::slice;

/// A growable array that may live in a heap file: `Vec` without a handle and with a fixed layout.
///
/// It feels like [`Vec`], and dereferences to a slice. Where its elements live follows from where the
/// vector lives when it first needs a block: inside a heap's window they go to that heap, elsewhere to the
/// heap of the thread's session, or else to the process's default heap. Later they stay in the heap they
/// are in, wherever the vector is moved.
///
/// Methods whose name begins with `try_` report a full disk; their twins call
/// [`handle_alloc_error`](std::alloc::handle_alloc_error) instead, and panic if the capacity overflows or
/// the vector lies in one heap and its block in another.
///
/// # Layout
/// | offset | bytes | field |
/// |---|---|---|
/// | 0 | 8 | address of the block; 0 if there is none |
/// | 8 | 8 | number of elements |
/// | 16 | 8 | number of elements the block can hold; 0 if there is none |
///
/// The elements follow each other in the block as in an array. A vector of a type without bytes never has
/// a block.
///
/// # Example
/// ```
/// use sal::collections::SalVec;
///
/// let mut primes = SalVec::from([2, 3, 5]);
/// primes.push(7);
/// primes.extend([11, 13]);
/// primes.retain(|p| p % 4 == 3);
/// assert_eq!(primes, [3, 7, 11]);
/// assert_eq!(primes.iter().sum::<i32>(), 21);
/// ```
#[repr(C)]
pub struct SalVec<T> {
    block: Option<NonNull<T>>,
    len: usize,
    capacity: usize,
    owned: PhantomData<T>,
}

const _: () = {
    assert!(size_of::<SalVec<u8>>() == 24 && align_of::<SalVec<u8>>() == 8);
    assert!(size_of::<SalVec<[u128; 3]>>() == 24 && align_of::<SalVec<[u128; 3]>>() == 8);
    assert!(offset_of!(SalVec<u8>, block) == 0 && sal_vec::BLOCK == 0);
    assert!(offset_of!(SalVec<u8>, len) == 8 && sal_vec::LEN == 8);
    assert!(offset_of!(SalVec<u8>, capacity) == 16 && sal_vec::CAPACITY == 16 && sal_vec::SIZE == 24);
};

// SAFETY: by V3 the vector owns its elements as an array of them would.
unsafe impl<T: Send> Send for SalVec<T> {}
// SAFETY: as for `Send`; a shared vector hands out shared elements only.
unsafe impl<T: Sync> Sync for SalVec<T> {}

impl<T> SalVec<T> {
    /// An empty vector. It owns no block and belongs to no heap.
    ///
    /// ```
    /// use sal::collections::SalVec;
    ///
    /// static NONE: SalVec<u32> = SalVec::new();
    /// assert_eq!(NONE.capacity(), 0);
    /// ```
    #[inline]
    pub const fn new() -> Self {
        Self { block: None, len: 0, capacity: 0, owned: PhantomData }
    }

    /// An empty vector with room for at least `capacity` elements.
    ///
    /// The vector does not lie in any heap yet, so the block comes from the heap of the thread's session, or
    /// else from the process's default heap. To fill a vector that does lie in a heap, use
    /// [`reserve`](Self::reserve).
    ///
    /// # Panics
    /// If the capacity is more than `isize::MAX` bytes.
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
        let mut vec = Self::new();
        vec.try_reserve_exact(capacity)?;
        Ok(vec)
    }

    /// How many elements there are.
    #[inline]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no element.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many elements fit before the vector must grow; `usize::MAX` if `T` has no bytes.
    #[inline]
    pub const fn capacity(&self) -> usize {
        if size_of::<T>() == 0 { usize::MAX } else { self.capacity }
    }

    /// Where the elements are. Valid until the vector changes; dangling, but aligned, if there is no block.
    #[inline]
    pub const fn as_ptr(&self) -> *const T {
        self.base().as_ptr()
    }

    /// As [`as_ptr`](Self::as_ptr), to write through.
    #[inline]
    pub const fn as_mut_ptr(&mut self) -> *mut T {
        self.base().as_ptr()
    }

    /// The elements.
    #[inline]
    pub const fn as_slice(&self) -> &[T] {
        // SAFETY: by V1 to V3 there are `len` initialised elements at `base`, ours as long as `self` is
        // borrowed.
        unsafe { slice::from_raw_parts(self.base().as_ptr(), self.len) }
    }

    /// The elements, to change them.
    #[inline]
    pub const fn as_mut_slice(&mut self) -> &mut [T] {
        // SAFETY: as in `as_slice`; `self` is borrowed exclusively.
        unsafe { slice::from_raw_parts_mut(self.base().as_ptr(), self.len) }
    }

    /// The room behind the last element. Fill it, then call [`set_len`](Self::set_len).
    ///
    /// ```
    /// use sal::collections::SalVec;
    ///
    /// let mut squares = SalVec::with_capacity(4);
    /// for (n, slot) in squares.spare_capacity_mut()[..4].iter_mut().enumerate() {
    ///     slot.write(n * n);
    /// }
    /// // SAFETY: there is room for four elements, and four were written.
    /// unsafe { squares.set_len(4) };
    /// assert_eq!(squares, [0, 1, 4, 9]);
    /// ```
    #[inline]
    pub fn spare_capacity_mut(&mut self) -> &mut [MaybeUninit<T>] {
        let spare = self.capacity() - self.len;
        // SAFETY: by V1 and V2 the block has room for `spare` elements behind the first `len`, and
        // `MaybeUninit` asks nothing of their bytes.
        unsafe { slice::from_raw_parts_mut(self.end().cast(), spare) }
    }

    /// Says how many elements there are, without dropping or creating any.
    ///
    /// # Safety
    /// `len` is at most the capacity, and the first `len` elements are initialised.
    #[inline]
    pub unsafe fn set_len(&mut self, len: usize) {
        debug_assert!(len <= self.capacity());
        self.len = len;
    }

    /// The first element's place.
    #[inline]
    const fn base(&self) -> NonNull<T> {
        match self.block {
            Some(block) => block,
            None => NonNull::dangling(),
        }
    }

    /// The place behind the last element; it may be written if `len < capacity()`.
    #[inline]
    fn end(&mut self) -> *mut T {
        // SAFETY: by V2 this is inside the block or just behind it.
        unsafe { self.base().as_ptr().add(self.len) }
    }

    /// Adds an element for which there is room.
    ///
    /// # Safety
    /// `self.len < self.capacity()`.
    #[inline]
    unsafe fn push_within_capacity(&mut self, value: T) {
        debug_assert!(self.len < self.capacity());
        // SAFETY: the caller says that there is room; the element becomes ours (V3).
        unsafe { self.end().write(value) };
        self.len += 1;
    }

    /// The layout that fits the block.
    #[inline]
    fn layout(&self) -> Layout {
        // SAFETY: by V1 a block of this size and alignment exists, so neither overflows.
        unsafe { Layout::from_size_align_unchecked(self.capacity * size_of::<T>(), align_of::<T>()) }
    }

    /// Gives the block, if there is one, back to its heap.
    ///
    /// The elements are not dropped: `len` is 0, or they have been moved out.
    #[inline]
    fn free_block(&mut self) {
        let layout = self.layout();
        if let Some(block) = self.block.take() {
            self.capacity = 0;
            // SAFETY: by V1 the block is in use and `layout` fits it; `take` forgets it.
            unsafe { raw_block::deallocate(block.cast(), layout) }
        }
    }

    /// Panics if V1 or V2 does not hold.
    #[track_caller]
    pub(crate) fn check(&self) {
        assert!(self.block.is_none() == (self.capacity == 0), "V1: a block without capacity");
        assert!(self.len <= self.capacity(), "V2: more elements than fit");
        assert!(self.base().is_aligned(), "V1: a block that is not aligned");
        assert!(
            size_of::<T>() == 0 || self.capacity <= isize::MAX as usize / size_of::<T>(),
            "V1: a block larger than memory"
        );
        assert!(size_of::<T>() != 0 || self.block.is_none(), "V1: a block for nothing");
    }
}

impl<T> Drop for SalVec<T> {
    fn drop(&mut self) {
        /// Frees the block even if an element panics.
        struct Free<T>(Option<NonNull<T>>, Layout);
        impl<T> Drop for Free<T> {
            fn drop(&mut self) {
                if let Some(block) = self.0 {
                    // SAFETY: by V1 the block is in use and the layout fits it; the vector goes away.
                    unsafe { raw_block::deallocate(block.cast(), self.1) }
                }
            }
        }
        // Nothing is written to the vector (D1 of `ptr::drop_moved`).
        let vec = &*self;
        if cfg!(debug_assertions) {
            vec.check();
        }
        let _free = Free(vec.block, vec.layout());
        // SAFETY: by V3 these elements are ours, and the vector goes away.
        unsafe { drop_elements(ptr::slice_from_raw_parts_mut(vec.base().as_ptr(), vec.len)) }
    }
}

impl<T> Default for SalVec<T> {
    #[inline]
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Deref for SalVec<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        self.as_slice()
    }
}

impl<T> DerefMut for SalVec<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        self.as_mut_slice()
    }
}
