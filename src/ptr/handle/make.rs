//! Making values that may be moved.

use super::{Handle, Movable, Pinned};
use crate::error::SessionError;
use crate::handle::moving::Entry;
use crate::handle::object::{Head, Shape};
use crate::heap::placement::heap_for_value_at;
use crate::heap::{Heap, compact, counted, movable};
use crate::ptr::tagged::Tagged;
use crate::ptr::target::{Target, elements_offset, sized_layout, slice_layout};
use crate::{CompactOptions, CompactReport, SalAlloc};
use allocator_api2::alloc::AllocError;
use core::alloc::Layout;
use core::mem::ManuallyDrop;
use core::ptr::{self, NonNull};
use std::alloc::handle_alloc_error;

const ENTRY: Layout = Layout::new::<Entry>();

/// An object for an entry, with its value; returns where that lies. None if the heap has no room; the value is dropped then.
#[inline]
pub(super) fn object<T: 'static>(heap: SalAlloc, entry: NonNull<u8>, value: T) -> Option<usize> {
    let room = Room::take(heap, entry, const { sized_layout::<T>() })?;
    // SAFETY: room for a `T`, and ours.
    unsafe { ptr::with_exposed_provenance_mut::<T>(room.location()).write(value) };
    Some(room.finish())
}

/// Room for an object, whose word is written; given back if nothing comes there.
struct Room {
    address: usize,
    shape: Shape,
}

impl Room {
    #[inline]
    fn take(heap: SalAlloc, entry: NonNull<u8>, value: Layout) -> Option<Self> {
        let shape = Shape::of(value)?;
        let address = movable::allocate(heap, shape)?;
        // SAFETY: ours.
        unsafe { Head::new(entry.addr().get(), shape).put(address) };
        Some(Self { address, shape })
    }

    #[inline(always)]
    fn location(&self) -> usize {
        self.address + self.shape.offset
    }

    /// The value is there: the object has begun.
    #[inline(always)]
    fn finish(self) -> usize {
        let this = ManuallyDrop::new(self);
        movable::begin(this.address, this.shape);
        this.location()
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // SAFETY: ours, and nothing is there.
        unsafe { movable::free(self.address, self.shape) };
    }
}

/// An entry that leads nowhere yet; freed if it never does.
struct NewEntry(NonNull<u8>);

impl NewEntry {
    #[inline]
    fn take(heap: SalAlloc) -> Option<Self> {
        let block = counted::allocate(heap, ENTRY)?;
        // Who moves objects looks at the entry as soon as the object has begun: it must not find what was there before.
        // SAFETY: the block is ours, and large enough.
        unsafe { block.cast::<Entry>().write(Entry::new(0)) };
        Some(Self(block))
    }

    /// # Safety
    /// There is a finished object of a `T` at the location, whose word names this entry (D1).
    #[inline]
    unsafe fn lead_to<T: ?Sized + Target>(self, location: usize) -> Handle<T> {
        let block = ManuallyDrop::new(self).0;
        // SAFETY: the block is ours, and large enough.
        unsafe {
            block.cast::<Entry>().as_ref().replace(location);
            counted::begin_unsealed(block, ENTRY);
            Handle::of_entry(Tagged::of_block(block))
        }
    }
}

impl Drop for NewEntry {
    fn drop(&mut self) {
        // SAFETY: ours, and empty.
        unsafe { counted::free(self.0, ENTRY) };
    }
}

impl<T: Movable> Handle<T> {
    /// Puts a value into the heap of the thread's newest write session, or into the process's default heap if there is none.
    ///
    /// A heap without room for it is a call of [`handle_alloc_error`]; see [`Handle::try_new_in`].
    pub fn new(value: T) -> Self {
        Self::new_in(value, heap_for_value_at(0))
    }

    /// Puts a value into a heap.
    ///
    /// A heap without room for it is a call of [`handle_alloc_error`].
    #[inline]
    pub fn new_in(value: T, heap: SalAlloc) -> Self {
        Self::try_new_in(value, heap).unwrap_or_else(|_| handle_alloc_error(Layout::new::<T>()))
    }

    /// Puts a value into a heap, and drops it if there is no room. A heap takes two megabytes for values up to 256 KiB each time that
    /// those it has taken are full.
    ///
    /// # Errors
    /// If the heap is full, or closed, or the system refuses the addresses that counts need.
    #[inline]
    pub fn try_new_in(value: T, heap: SalAlloc) -> Result<Self, AllocError> {
        let entry = NewEntry::take(heap).ok_or(AllocError)?;
        let location = object(heap, entry.0, value).ok_or(AllocError)?;
        // SAFETY: made just now, for this entry.
        Ok(unsafe { entry.lead_to(location) })
    }
}

impl<T: Movable> Handle<[T]> {
    /// Puts copies of a slice's elements into a heap, side by side.
    ///
    /// # Errors
    /// As for [`Handle::try_new_in`].
    ///
    /// ```
    /// use sal::{Handle, SalAlloc, SalMovable};
    /// let heap = SalAlloc::new();
    /// let squares: Handle<[u32]> = Handle::try_from_slice_in(&[0, 1, 4, 9], heap).expect("room");
    /// assert_eq!(squares.get(&heap.pin()), [0, 1, 4, 9]);
    /// ```
    pub fn try_from_slice_in(elements: &[T], heap: SalAlloc) -> Result<Self, AllocError>
    where
        T: Clone,
    {
        /// Drops the elements written so far if a clone panics.
        struct Written<T>(*mut T, usize);
        impl<T> Drop for Written<T> {
            fn drop(&mut self) {
                // SAFETY: so many have been written, and nobody else has them.
                unsafe { ptr::drop_in_place(ptr::slice_from_raw_parts_mut(self.0, self.1)) };
            }
        }
        let entry = NewEntry::take(heap).ok_or(AllocError)?;
        let layout = slice_layout::<T>(elements.len()).ok_or(AllocError)?;
        let room = Room::take(heap, entry.0, layout).ok_or(AllocError)?;
        let block: *mut u8 = ptr::with_exposed_provenance_mut(room.location());
        // SAFETY: room for the length and so many elements, and ours.
        unsafe {
            block.cast::<usize>().write(elements.len());
            let mut written = Written(block.byte_add(elements_offset::<T>()).cast::<T>(), 0);
            for element in elements {
                written.0.add(written.1).write(element.clone());
                written.1 += 1;
            }
            core::mem::forget(written);
        }
        // SAFETY: all of it is there, for this entry.
        Ok(unsafe { entry.lead_to(room.finish()) })
    }
}

impl Handle<str> {
    /// Puts a copy of a text into a heap.
    ///
    /// # Errors
    /// As for [`Handle::try_new_in`].
    pub fn try_from_str_in(text: &str, heap: SalAlloc) -> Result<Self, AllocError> {
        let bytes = ManuallyDrop::new(Handle::try_from_slice_in(text.as_bytes(), heap)?);
        // SAFETY: a text and its bytes lie alike, and these are the bytes of a text.
        Ok(unsafe { Self::of_entry(bytes.entry) })
    }
}

/// Values in a heap that may be moved.
///
/// ```
/// use sal::{HeapOptions, SalMovable};
/// let heap = HeapOptions::new().volatile()?;
/// let answer = heap.handle(42);
/// let text = heap.handle_str("text");
/// let pin = heap.pin();
/// assert_eq!((*answer.get(&pin), text.get(&pin)), (42, "text"));
/// # Ok::<(), sal::OpenError>(())
/// ```
pub trait SalMovable {
    /// The heap's handle.
    #[doc(hidden)]
    fn movable_heap(&self) -> SalAlloc;

    /// Puts a value into the heap; see [`Handle::new_in`].
    #[inline]
    fn handle<T: Movable>(&self, value: T) -> Handle<T> {
        Handle::new_in(value, self.movable_heap())
    }

    /// Puts copies of a slice's elements into the heap; one without room for them is a call of [`handle_alloc_error`].
    fn handle_slice<T: Movable + Clone>(&self, elements: &[T]) -> Handle<[T]> {
        Handle::try_from_slice_in(elements, self.movable_heap())
            .unwrap_or_else(|_| handle_alloc_error(Layout::for_value(elements)))
    }

    /// Puts a copy of a text into the heap; one without room for it is a call of [`handle_alloc_error`].
    fn handle_str(&self, text: &str) -> Handle<str> {
        Handle::try_from_str_in(text, self.movable_heap())
            .unwrap_or_else(|_| handle_alloc_error(Layout::for_value(text)))
    }

    /// Moves values together where the heap has become sparse, and gives back the memory that is free then.
    ///
    /// Readers and writers go on meanwhile. It is done in steps of a millisecond or so, each a write session of the heap.
    ///
    /// # Errors
    /// If the heap cannot be changed.
    ///
    /// ```
    /// use sal::{HeapOptions, SalMovable};
    /// let heap = HeapOptions::new().volatile()?;
    /// let mut all: Vec<_> = (0..100_000_u64).map(|n| heap.handle([n; 12])).collect();
    /// all.retain(|handle| handle.get(&heap.pin())[0] % 5 == 0);
    /// let report = heap.compact()?;
    /// assert!(report.held_bytes[1] < report.held_bytes[0] / 2);
    /// assert_eq!(all[7].get(&heap.pin())[0], 35);
    /// # Ok::<(), sal::Error>(())
    /// ```
    fn compact(&self) -> Result<CompactReport, SessionError> {
        self.compact_with(CompactOptions::new())
    }

    /// As [`SalMovable::compact`], and says what, in which order, and for how long.
    ///
    /// # Errors
    /// If the heap cannot be changed.
    fn compact_with(&self, options: CompactOptions) -> Result<CompactReport, SessionError> {
        compact::compact(self.movable_heap(), options)
    }

    /// Moves values so that they lie one behind the other in the order in which their handles come: those that are used one after the
    /// other, say. Handles of other heaps are passed over, as are values of more than 256 KiB.
    ///
    /// # Errors
    /// If the heap cannot be changed.
    ///
    /// ```
    /// use sal::{HeapOptions, SalMovable};
    /// let heap = HeapOptions::new().volatile()?;
    /// let all: Vec<_> = (0..1_000_u64).map(|n| heap.handle(n)).collect();
    /// heap.place_in_order(all.iter().rev())?;
    /// let pin = heap.pin();
    /// let place = |n: usize| std::ptr::from_ref(all[n].get(&pin)).addr();
    /// assert!((1..1_000).all(|n| place(n) < place(n - 1)));
    /// # Ok::<(), sal::Error>(())
    /// ```
    fn place_in_order<'a, T: Movable>(
        &self,
        handles: impl IntoIterator<Item = &'a Handle<T>>,
    ) -> Result<CompactReport, SessionError> {
        let heap = self.movable_heap();
        let shape = const { Shape::of(sized_layout::<T>()) };
        let objects = handles.into_iter().filter(|handle| handle.heap() == heap).filter_map(|handle| {
            let shape = shape.filter(|shape| !shape.stands_alone())?;
            Some(handle.entry().location() - shape.offset)
        });
        compact::place_in_order(heap, objects)
    }

    /// The right to read what handles lead to, as long as it lives.
    #[inline(always)]
    fn pin(&self) -> Pinned<'_> {
        Pinned::begin()
    }
}

impl SalMovable for SalAlloc {
    fn movable_heap(&self) -> SalAlloc {
        *self
    }
}

impl SalMovable for Heap {
    fn movable_heap(&self) -> SalAlloc {
        self.alloc()
    }
}
