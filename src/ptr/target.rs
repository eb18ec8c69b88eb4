//! What can be pointed to, and how it lies in its block.
//!
//! A value whose size the compiler knows lies at the block's start. A slice, or a text, has its length before it.
//!
//! # Invariants
//! - **G1** A block begins with the value, or with the length of the slice, which never changes.

use super::SalRc;
use super::drop_moved::{drop_each_moved, drop_moved};
use crate::SalAlloc;
use crate::heap::placement::HeapScope;
use core::alloc::Layout;
use core::ptr::NonNull;

/// Values that [`SalRc`], [`SalWeak`](super::SalWeak) and [`SalBox`](super::SalBox) can point to: all whose size is known, slices of them, and `str`.
/// They borrow nothing: a value deep within others may be dropped a little later than its last pointer.
///
/// # Safety
/// Implemented here only.
pub unsafe trait Target: sealed::Sealed + 'static {
    /// The layout of this value's block.
    #[doc(hidden)]
    fn block_layout(&self) -> Layout;

    /// Where the value lies in its block.
    ///
    /// # Safety
    /// The block was made for a value of this type; its length, if it has one, has been written.
    #[doc(hidden)]
    unsafe fn in_block(block: NonNull<u8>) -> NonNull<Self>;

    /// The block of a value.
    ///
    /// # Safety
    /// The value is where [`Target::in_block`] says.
    #[doc(hidden)]
    unsafe fn block_of(value: NonNull<Self>) -> NonNull<u8>;

    /// The layout of a block.
    ///
    /// # Safety
    /// As for [`Target::in_block`].
    #[doc(hidden)]
    unsafe fn layout_of(block: NonNull<u8>) -> Layout;

    /// Whether dropping a value does anything.
    #[doc(hidden)]
    const NEEDS_DROP: bool;

    /// Drops a value without writing to the place where it lies.
    ///
    /// # Safety
    /// It is dropped by nobody else, nor used any more.
    #[doc(hidden)]
    unsafe fn drop_moved(value: NonNull<Self>);
}

/// Values that [`SalRc::make_mut`] can copy.
pub trait CloneTarget: Target {
    /// A copy in a heap; none if it has no room.
    #[doc(hidden)]
    fn copy_to(&self, heap: SalAlloc) -> Option<SalRc<Self>>;
}

mod sealed {
    pub trait Sealed {}
    impl<T> Sealed for T {}
    impl<T> Sealed for [T] {}
    impl Sealed for str {}
}

/// The layout of a block for a value, which has at least a byte.
pub(super) const fn sized_layout<T>() -> Layout {
    let layout = Layout::new::<T>();
    if layout.size() == 0 {
        match Layout::from_size_align(1, layout.align()) {
            Ok(layout) => layout,
            Err(_) => panic!("one byte always fits"),
        }
    } else {
        layout
    }
}

/// Where the elements of a slice begin in their block.
pub(super) const fn elements_offset<T>() -> usize {
    if align_of::<T>() > size_of::<usize>() { align_of::<T>() } else { size_of::<usize>() }
}

const _: () = {
    use crate::gc::trace::layouts::{Shape, slice_elements};
    assert!(elements_offset::<u8>() == slice_elements(Shape::of::<u8>()));
    assert!(elements_offset::<u128>() == slice_elements(Shape::of::<u128>()));
};

/// The layout of a block for a slice of that many elements; none if it is too large.
pub(super) fn slice_layout<T>(len: usize) -> Option<Layout> {
    let size = size_of::<T>().checked_mul(len)?.checked_add(elements_offset::<T>())?;
    let align = if align_of::<T>() > align_of::<usize>() { align_of::<T>() } else { align_of::<usize>() };
    Layout::from_size_align(size, align).ok()
}

// SAFETY: the value is the block's first bytes.
unsafe impl<T: 'static> Target for T {
    const NEEDS_DROP: bool = core::mem::needs_drop::<T>();

    #[inline(always)]
    fn block_layout(&self) -> Layout {
        sized_layout::<T>()
    }

    #[inline(always)]
    unsafe fn in_block(block: NonNull<u8>) -> NonNull<T> {
        block.cast()
    }

    #[inline(always)]
    unsafe fn block_of(value: NonNull<T>) -> NonNull<u8> {
        value.cast()
    }

    #[inline(always)]
    unsafe fn layout_of(_: NonNull<u8>) -> Layout {
        sized_layout::<T>()
    }

    unsafe fn drop_moved(value: NonNull<T>) {
        // SAFETY: the caller's promise.
        unsafe { drop_moved(value.as_ptr()) }
    }
}

// SAFETY: the length lies at the block's start, and the elements behind it.
unsafe impl<T: 'static> Target for [T] {
    const NEEDS_DROP: bool = core::mem::needs_drop::<T>();

    #[inline]
    fn block_layout(&self) -> Layout {
        // A slice that exists is not too large; one whose length makes it so has elements without a size.
        slice_layout::<T>(self.len()).unwrap_or(Layout::new::<usize>())
    }

    #[inline]
    unsafe fn in_block(block: NonNull<u8>) -> NonNull<[T]> {
        // SAFETY: the caller's promise (G1).
        unsafe {
            let len = block.cast::<usize>().read();
            NonNull::slice_from_raw_parts(block.byte_add(elements_offset::<T>()).cast(), len)
        }
    }

    #[inline]
    unsafe fn block_of(value: NonNull<[T]>) -> NonNull<u8> {
        // SAFETY: the caller's promise: so far behind the block's start the elements begin.
        unsafe { value.cast::<u8>().byte_sub(elements_offset::<T>()) }
    }

    #[inline]
    unsafe fn layout_of(block: NonNull<u8>) -> Layout {
        // SAFETY: the caller's promise (G1).
        let len = unsafe { block.cast::<usize>().read() };
        slice_layout::<T>(len).unwrap_or(Layout::new::<usize>())
    }

    unsafe fn drop_moved(value: NonNull<[T]>) {
        // SAFETY: the caller's promise.
        unsafe { drop_each_moved(value.as_ptr()) }
    }
}

// SAFETY: as its bytes.
unsafe impl Target for str {
    const NEEDS_DROP: bool = false;

    #[inline]
    fn block_layout(&self) -> Layout {
        self.as_bytes().block_layout()
    }

    #[inline]
    unsafe fn in_block(block: NonNull<u8>) -> NonNull<str> {
        // SAFETY: the caller's promise. A text and its bytes are pointed to alike.
        unsafe {
            let bytes = <[u8]>::in_block(block);
            NonNull::new_unchecked(bytes.as_ptr() as *mut str)
        }
    }

    #[inline]
    unsafe fn block_of(value: NonNull<str>) -> NonNull<u8> {
        // SAFETY: the caller's promise. A text and its bytes lie alike.
        unsafe { value.cast::<u8>().byte_sub(elements_offset::<u8>()) }
    }

    #[inline]
    unsafe fn layout_of(block: NonNull<u8>) -> Layout {
        // SAFETY: the caller's promise.
        unsafe { <[u8]>::layout_of(block) }
    }

    unsafe fn drop_moved(_: NonNull<str>) {}
}

impl<T: Clone + 'static> CloneTarget for T {
    fn copy_to(&self, heap: SalAlloc) -> Option<SalRc<T>> {
        // What the copy takes lies in the same heap.
        let _scope = HeapScope::enter(heap);
        SalRc::try_new_with(heap, || self.clone()).ok()
    }
}

impl<T: Clone + 'static> CloneTarget for [T] {
    fn copy_to(&self, heap: SalAlloc) -> Option<SalRc<[T]>> {
        let _scope = HeapScope::enter(heap);
        SalRc::try_from_slice_in(self, heap).ok()
    }
}

impl CloneTarget for str {
    fn copy_to(&self, heap: SalAlloc) -> Option<SalRc<str>> {
        SalRc::try_from_str_in(self, heap).ok()
    }
}
