//! Making values that pointers share.

use super::super::tagged::Tagged;
use super::super::target::{elements_offset, sized_layout, slice_layout};
use super::{Freed, SalRc};
use crate::SalAlloc;
use crate::heap::counted;
use crate::heap::placement::heap_for_value_at;
use allocator_api2::alloc::AllocError;
use core::alloc::Layout;
use core::mem::ManuallyDrop;
use core::ptr::{self, NonNull};
use std::alloc::handle_alloc_error;

/// The heap of the thread's newest write session, else the default one.
#[inline]
pub(in crate::ptr) fn current_heap() -> SalAlloc {
    heap_for_value_at(0)
}

impl<T: 'static> SalRc<T> {
    /// Puts a value into the heap of the thread's newest write session, or into the process's default heap if there is none.
    ///
    /// A heap without room for it is a call of [`handle_alloc_error`]; see [`SalRc::try_new_in`].
    ///
    /// ```
    /// let seven = sal::SalRc::new(7);
    /// assert_eq!(*seven, 7);
    /// ```
    #[inline]
    pub fn new(value: T) -> Self {
        Self::new_in(value, current_heap())
    }

    /// Puts a value into a heap.
    ///
    /// A heap without room for it is a call of [`handle_alloc_error`].
    #[inline]
    pub fn new_in(value: T, heap: SalAlloc) -> Self {
        Self::try_new_in(value, heap).unwrap_or_else(|_| handle_alloc_error(const { sized_layout::<T>() }))
    }

    /// Puts a value into a heap, and drops it if there is no room.
    ///
    /// # Errors
    /// If the heap is full, or closed, or the system refuses the addresses that counts need.
    #[inline]
    pub fn try_new_in(value: T, heap: SalAlloc) -> Result<Self, AllocError> {
        let block = counted::allocate(heap, const { sized_layout::<T>() }).ok_or(AllocError)?;
        // SAFETY: of the layout, and ours.
        Ok(unsafe { Self::fill(block, value) })
    }

    /// Puts a value into the heap in which another one lies, as near to it as there is room: pointers to neighbours are counted
    /// side by side. Meant for the children of one node.
    ///
    /// A heap without room for it, or one that is closed or only read, is a call of [`handle_alloc_error`].
    #[inline]
    pub fn new_near<U: ?Sized + super::Target>(value: T, other: &SalRc<U>) -> Self {
        Self::try_new_near(value, other).unwrap_or_else(|_| handle_alloc_error(const { sized_layout::<T>() }))
    }

    /// As [`SalRc::new_near`]; drops the value if there is no room.
    ///
    /// # Errors
    /// If the heap is full, closed, or only read.
    #[inline]
    pub fn try_new_near<U: ?Sized + super::Target>(value: T, other: &SalRc<U>) -> Result<Self, AllocError> {
        let block = counted::allocate_near(other.tagged().block(), const { sized_layout::<T>() }).ok_or(AllocError)?;
        // SAFETY: of the layout, and ours.
        Ok(unsafe { Self::fill(block, value) })
    }

    /// Puts what `make` makes into a heap, if it has room: only then it is made.
    pub(in crate::ptr) fn try_new_with(heap: SalAlloc, make: impl FnOnce() -> T) -> Result<Self, AllocError> {
        /// Frees the block if nothing comes into it.
        struct Empty(NonNull<u8>, Layout);
        impl Drop for Empty {
            fn drop(&mut self) {
                // SAFETY: ours, and empty.
                unsafe { counted::free(self.0, self.1) };
            }
        }
        let layout = const { sized_layout::<T>() };
        let empty = Empty(counted::allocate(heap, layout).ok_or(AllocError)?, layout);
        let value = make();
        let block = ManuallyDrop::new(empty).0;
        // SAFETY: of the layout, and ours.
        Ok(unsafe { Self::fill(block, value) })
    }

    /// # Safety
    /// A new counted block for a `T`, which the caller alone has.
    #[inline(always)]
    unsafe fn fill(block: NonNull<u8>, value: T) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            block.cast::<T>().write(value);
            counted::begin(block, const { sized_layout::<T>() });
            Self::of_tagged(Tagged::of_block(block))
        }
    }
}

/// Frees the block, and drops the elements written so far, if a clone panics.
struct Unfinished<T> {
    block: NonNull<u8>,
    written: usize,
    layout: Layout,
    of: core::marker::PhantomData<T>,
}

impl<T: 'static> Unfinished<T> {
    fn begin(len: usize, heap: SalAlloc) -> Result<Self, AllocError> {
        let layout = slice_layout::<T>(len).ok_or(AllocError)?;
        let block = counted::allocate(heap, layout).ok_or(AllocError)?;
        // SAFETY: the block has room for the length (G1).
        unsafe { block.cast::<usize>().write(len) };
        Ok(Self { block, written: 0, layout, of: core::marker::PhantomData })
    }

    /// # Safety
    /// Fewer elements than the block has room for have been written.
    unsafe fn push(&mut self, element: T) {
        // SAFETY: the caller's promise.
        unsafe { self.elements().add(self.written).write(element) };
        self.written += 1;
    }

    /// # Safety
    /// All elements have been written.
    unsafe fn finish(self) -> SalRc<[T]> {
        let this = ManuallyDrop::new(self);
        // SAFETY: the caller's promise.
        unsafe {
            counted::begin(this.block, this.layout);
            SalRc::of_tagged(Tagged::of_block(this.block))
        }
    }
}

impl<T> Unfinished<T> {
    fn elements(&self) -> *mut T {
        // SAFETY: within the block.
        unsafe { self.block.as_ptr().add(elements_offset::<T>()).cast() }
    }
}

impl<T> Drop for Unfinished<T> {
    fn drop(&mut self) {
        // SAFETY: so many elements have been written, and nobody else has the block.
        unsafe {
            ptr::drop_in_place(ptr::slice_from_raw_parts_mut(self.elements(), self.written));
            counted::free(self.block, self.layout);
        }
    }
}

impl<T: 'static> SalRc<[T]> {
    /// Puts copies of a slice's elements into a heap.
    ///
    /// # Errors
    /// As [`SalRc::try_new_in`].
    pub fn try_from_slice_in(elements: &[T], heap: SalAlloc) -> Result<Self, AllocError>
    where
        T: Clone,
    {
        let mut unfinished = Unfinished::begin(elements.len(), heap)?;
        for element in elements {
            // SAFETY: as many as there is room for.
            unsafe { unfinished.push(element.clone()) };
        }
        // SAFETY: all of them.
        Ok(unsafe { unfinished.finish() })
    }

    /// Moves elements into a heap; as many as the iterator says it has.
    ///
    /// A heap without room for them is a call of [`handle_alloc_error`].
    ///
    /// # Panics
    /// If the iterator has fewer than it says.
    ///
    /// ```
    /// let squares = sal::SalRc::from_iter_in((0..4_u32).map(|n| n * n), sal::SalAlloc::new());
    /// assert_eq!(squares[..], [0, 1, 4, 9]);
    /// ```
    pub fn from_iter_in<I: IntoIterator<Item = T, IntoIter: ExactSizeIterator>>(elements: I, heap: SalAlloc) -> Self {
        let elements = elements.into_iter();
        let len = elements.len();
        Self::try_from_iter_in(elements, heap)
            .unwrap_or_else(|_| handle_alloc_error(slice_layout::<T>(len).unwrap_or(Layout::new::<usize>())))
    }

    /// As [`SalRc::from_iter_in`].
    ///
    /// # Errors
    /// As [`SalRc::try_new_in`]; none of the elements has been asked for then.
    ///
    /// # Panics
    /// If the iterator has fewer than it says.
    pub fn try_from_iter_in<I>(elements: I, heap: SalAlloc) -> Result<Self, AllocError>
    where
        I: IntoIterator<Item = T, IntoIter: ExactSizeIterator>,
    {
        let mut elements = elements.into_iter();
        let len = elements.len();
        let mut unfinished = Unfinished::begin(len, heap)?;
        for _ in 0..len {
            let element = elements.next().expect("an iterator has as many elements as it says");
            // SAFETY: as many as there is room for.
            unsafe { unfinished.push(element) };
        }
        // SAFETY: all of them.
        Ok(unsafe { unfinished.finish() })
    }
}

impl SalRc<str> {
    /// Puts a copy of a text into a heap.
    ///
    /// # Errors
    /// As [`SalRc::try_new_in`].
    pub fn try_from_str_in(text: &str, heap: SalAlloc) -> Result<Self, AllocError> {
        let bytes = SalRc::try_from_slice_in(text.as_bytes(), heap)?;
        // SAFETY: a text and its bytes lie alike, and these are the bytes of a text.
        Ok(unsafe { Self::of_tagged(Tagged::of_block(bytes.into_tagged().block())) })
    }
}

impl<T: 'static> SalRc<T> {
    /// The value, if this is the only pointer to it that is not weak; otherwise the pointer again.
    ///
    /// # Errors
    /// The pointer, if there are others, or may be: while they are being counted after a crash. Also if the value is sealed and
    /// owns something in a [`Mode::Shared`](crate::Mode::Shared) heap, where that may not be changed either.
    pub fn try_unwrap(this: Self) -> Result<T, Self> {
        use crate::alloc::ref_count::Dropped;
        match this.pointer.count().release_if_last() {
            Dropped::Shared | Dropped::Unknown => Err(this),
            // Asked now that nobody can seal it any more.
            Dropped::Last { .. } if this.is_withheld() => {
                this.pointer.count().begin_late();
                Err(this)
            }
            // SAFETY: it was the last.
            Dropped::Last { is_weakly_held } => Ok(unsafe { this.take_value(is_weakly_held) }),
        }
    }

    /// The value, if this is the last pointer to it that is not weak; otherwise the pointer is dropped. Of several threads that call
    /// this for their pointers to one value, one gets it; none if [`SalRc::try_unwrap`] would not give it though there are no others.
    pub fn into_inner(this: Self) -> Option<T> {
        use crate::alloc::ref_count::Dropped;
        match this.pointer.count().release() {
            Dropped::Shared => {
                core::mem::forget(this);
                None
            }
            // As when it is dropped.
            Dropped::Unknown => None,
            Dropped::Last { is_weakly_held } if this.is_withheld() => {
                core::mem::ManuallyDrop::new(this).drop_last(is_weakly_held);
                None
            }
            // SAFETY: it was the last.
            Dropped::Last { is_weakly_held } => Some(unsafe { this.take_value(is_weakly_held) }),
        }
    }

    /// Moves the value out.
    ///
    /// # Safety
    /// The last pointer, which does not count any more.
    unsafe fn take_value(self, is_weakly_held: bool) -> T {
        let pointer = self.into_tagged();
        // SAFETY: the caller's promise; the block is freed by who finds out that nobody else will.
        unsafe {
            let value = pointer.value().read();
            if !is_weakly_held || super::weak_table::bury(pointer.block().addr().get()) {
                drop(Freed(pointer));
            }
            value
        }
    }
}
