//! Large owned arrays that stay where they are: [`Region`].
//!
//! A region has a run of whole pages of its own, at whatever size. It is never moved: it grows where the pages behind it are
//! free, and says so when they are not. What it has reserved and never touched costs addresses, and in a file disk space, but
//! no memory. So the usual way is to ask for as much as will ever be needed.
//!
//! # Which heap
//! Any. In memory ([`HeapOptions::volatile`](crate::HeapOptions::volatile), or [`SalAlloc::new`]) a region is what a `Vec` is.
//! Over a temporary file ([`HeapOptions::temporary_in`](crate::HeapOptions::temporary_in), or [`SalAlloc::file_backed`]) the
//! kernel pages it out without swap space, so it may be larger than memory.
//!
//! # Invariants
//! - **A1** If `run_len` is zero, the region has no run and `start` dangles. Otherwise `start` is the begin of a run that was
//!   taken from `heap`, or resized since, with the layout that `run_layout` gives for `run_len`.
//! - **A2** `len <= capacity()`, and the first `len` elements are initialised and owned by the region alone.
//! - **A3** Both hold whenever foreign code runs: an iterator, `Clone`, `Default` or `Drop` of an element.
//!
//! # What survives a crash
//! Nothing. A region is no root and cannot be stored in one. In a heap file its run counts as unreachable once the program has
//! ended: of an atomic heap that was not closed, recovery gives it back; of any other, a
//! [collection](crate::SalCollect). Until a region in an atomic heap is dropped, syncs write the pages of it that have changed.
#![allow(unsafe_code)]

mod advice;
mod fill;
mod into_iter;
mod slice;
#[cfg(test)]
mod tests;

pub use advice::Advice;
pub use fill::Zeros;
pub use into_iter::IntoIter;

use crate::error::RegionError;
use crate::format::PAGE;
use crate::heap::SalAlloc;
use core::alloc::Layout;
use core::marker::PhantomData;
use core::ptr::{self, NonNull};
use core::sync::atomic::AtomicBool;

/// Bytes that a region begins with which nobody gave a capacity.
const FIRST_BYTES: usize = 16 * PAGE;

/// An owned array of whole pages that is never moved. See the [module](self) for what it is good for.
///
/// It dereferences to a slice, drops its elements, and is `Send` and `Sync` where they are. Methods whose name begins with
/// `try_` give an error where their twins panic; none aborts.
///
/// ```
/// use sal::{HeapOptions, Region};
///
/// let heap = HeapOptions::new().volatile()?;
/// let mut samples = Region::with_capacity_in(1_000_000, heap.alloc());
/// let place = samples.as_ptr();
/// samples.extend((0..1_000_000).map(|n| n as f32));
/// assert_eq!(samples.as_ptr(), place); // whoever has its address may keep it
/// assert_eq!(samples[999_999], 999_999.0);
/// samples.clear(); // the pages stay
/// assert!(samples.capacity() >= 1_000_000);
/// # Ok::<(), sal::OpenError>(())
/// ```
pub struct Region<T> {
    start: NonNull<T>,
    /// Bytes of the run.
    run_len: usize,
    len: usize,
    heap: SalAlloc,
    /// Whether advice was given that outlasts the region if nobody takes it back.
    is_advised: AtomicBool,
    elements: PhantomData<T>,
}

// SAFETY: a region owns its elements, and its handle may be used by any thread.
unsafe impl<T: Send> Send for Region<T> {}
// SAFETY: through a shared region one reaches shared elements only.
unsafe impl<T: Sync> Sync for Region<T> {}

impl<T> Region<T> {
    /// Bytes of an element; at least one, to divide by.
    const SIZE: usize = if size_of::<T>() == 0 { 1 } else { size_of::<T>() };

    /// An empty region without a run.
    ///
    /// ```
    /// use sal::{Region, SalAlloc};
    ///
    /// let mut lines = Region::new_in(SalAlloc::new());
    /// lines.push("one");
    /// lines.push("two");
    /// assert_eq!(lines.concat(), "onetwo");
    /// ```
    pub const fn new_in(heap: SalAlloc) -> Self {
        Self {
            start: NonNull::dangling(),
            run_len: 0,
            len: 0,
            heap,
            is_advised: AtomicBool::new(false),
            elements: PhantomData,
        }
    }

    /// An empty region with room for at least `capacity` elements: for as many as fill its pages.
    ///
    /// # Panics
    /// If the heap has no room for it.
    pub fn with_capacity_in(capacity: usize, heap: SalAlloc) -> Self {
        or_panic(Self::try_with_capacity_in(capacity, heap))
    }

    /// As [`Region::with_capacity_in`], with an error instead of a panic.
    ///
    /// ```
    /// use sal::{HeapOptions, Region, RegionError};
    ///
    /// let heap = HeapOptions::new().capacity(1 << 20).volatile()?;
    /// let error = Region::<u8>::try_with_capacity_in(2 << 20, heap.alloc()).unwrap_err();
    /// assert_eq!(error, RegionError::NoRoom { bytes: 2 << 20 });
    /// # Ok::<(), sal::OpenError>(())
    /// ```
    ///
    /// # Errors
    /// [`RegionError::TooLarge`] and [`RegionError::NoRoom`].
    pub fn try_with_capacity_in(capacity: usize, heap: SalAlloc) -> Result<Self, RegionError> {
        let mut region = Self::new_in(heap);
        region.take_run(capacity, false)?;
        Ok(region)
    }

    /// The layout of a run (A1).
    fn run_layout(bytes: usize) -> Result<Layout, RegionError> {
        Layout::from_size_align(bytes, align_of::<T>().max(PAGE)).map_err(|_| too_large::<T>(bytes))
    }

    /// The layout of a run for so many elements; its size is zero if they have no bytes.
    fn layout_for(len: usize) -> Result<Layout, RegionError> {
        let bytes = len.checked_mul(size_of::<T>()).and_then(|bytes| bytes.checked_next_multiple_of(PAGE));
        Self::run_layout(bytes.ok_or(RegionError::TooLarge { len })?)
    }

    /// Gives an empty region without a run its first one.
    fn take_run(&mut self, capacity: usize, zeroed: bool) -> Result<(), RegionError> {
        debug_assert!(self.run_len == 0 && self.len == 0);
        let layout = Self::layout_for(capacity)?;
        if layout.size() > 0 {
            let run = self.heap.take_run(layout, zeroed);
            self.start = run.ok_or(RegionError::NoRoom { bytes: layout.size() })?.cast();
            self.run_len = layout.size();
        }
        Ok(())
    }

    /// The heap that the region's pages belong to.
    pub const fn allocator(&self) -> SalAlloc {
        self.heap
    }

    /// Elements that there is room for.
    pub const fn capacity(&self) -> usize {
        if size_of::<T>() == 0 { usize::MAX } else { self.run_len / Self::SIZE }
    }

    /// Bytes of the pages that it has.
    pub const fn capacity_bytes(&self) -> usize {
        self.run_len
    }

    /// Makes room for at least `additional` elements behind the last one, without moving those that there are; false if that
    /// cannot be had. It then is as before.
    ///
    /// ```
    /// use sal::{HeapOptions, Region};
    ///
    /// let heap = HeapOptions::new().volatile()?;
    /// let mut first = Region::<u64>::with_capacity_in(1000, heap.alloc());
    /// assert!(first.try_grow_in_place(1_000_000));
    /// assert!(first.capacity() >= 1_000_000);
    /// # Ok::<(), sal::OpenError>(())
    /// ```
    #[must_use]
    pub fn try_grow_in_place(&mut self, additional: usize) -> bool {
        self.try_reserve(additional).is_ok()
    }

    /// As [`Region::try_grow_in_place`], and says why not.
    ///
    /// # Errors
    /// All of [`RegionError`].
    pub fn try_reserve(&mut self, additional: usize) -> Result<(), RegionError> {
        let needed = self.len.checked_add(additional).ok_or(RegionError::TooLarge { len: usize::MAX })?;
        if needed <= self.capacity() {
            return Ok(());
        }
        if self.run_len == 0 {
            return self.take_run(needed, false);
        }
        self.resize(Self::layout_for(needed)?)
    }

    /// Gives the run another length in place.
    fn resize(&mut self, new: Layout) -> Result<(), RegionError> {
        let old = Self::run_layout(self.run_len)?;
        // SAFETY: A1.
        if !unsafe { self.heap.resize_run(self.start.cast(), old, new) } {
            return Err(RegionError::CannotGrow { bytes: new.size() });
        }
        self.run_len = new.size();
        Ok(())
    }

    /// Makes room for one more element: for half as many again as there are if possible, else for one.
    #[cold]
    fn grow_by_one(&mut self) -> Result<(), RegionError> {
        let generous = (self.capacity() / 2).max(FIRST_BYTES / Self::SIZE);
        self.try_reserve(generous).or_else(|_| self.try_reserve(1))
    }

    /// Gives the pages behind the last element back.
    ///
    /// ```
    /// use sal::{Region, SalAlloc};
    ///
    /// let mut region = Region::with_capacity_in(1 << 20, SalAlloc::new());
    /// region.push(1_u8);
    /// region.shrink_to_fit();
    /// assert_eq!(region.capacity_bytes(), 4096);
    /// ```
    pub fn shrink_to_fit(&mut self) {
        let Ok(layout) = Self::layout_for(self.len) else { return };
        if layout.size() == 0 {
            self.give_run();
        } else if layout.size() < self.run_len {
            // A closed heap takes nothing back.
            let _ = self.resize(layout);
        }
    }

    /// Gives the run back; there is no element.
    fn give_run(&mut self) {
        debug_assert!(self.len == 0);
        self.take_advice_back();
        if let (1.., Ok(layout)) = (self.run_len, Self::run_layout(self.run_len)) {
            // SAFETY: A1; no element is left, so nobody uses it.
            unsafe { self.heap.give_run(self.start.cast(), layout) };
        }
        (self.start, self.run_len) = (NonNull::dangling(), 0);
    }

    /// Appends an element.
    ///
    /// # Panics
    /// If there is no room, and none to be had in place.
    #[inline]
    pub fn push(&mut self, value: T) {
        if self.len == self.capacity() {
            or_panic(self.grow_by_one());
        }
        // SAFETY: there is room now.
        unsafe { self.push_unchecked(value) };
    }

    /// Appends an element, or gives it back if there is no room for it and none to be had in place.
    ///
    /// # Errors
    /// The element.
    #[inline]
    pub fn try_push(&mut self, value: T) -> Result<(), T> {
        if self.len == self.capacity() && self.grow_by_one().is_err() {
            return Err(value);
        }
        // SAFETY: there is room now.
        unsafe { self.push_unchecked(value) };
        Ok(())
    }

    /// # Safety
    /// `len < capacity()`.
    #[inline(always)]
    unsafe fn push_unchecked(&mut self, value: T) {
        // SAFETY: the caller's promise.
        unsafe { self.start.as_ptr().add(self.len).write(value) };
        self.len += 1;
    }

    /// Takes the last element out.
    pub fn pop(&mut self) -> Option<T> {
        self.len = self.len.checked_sub(1)?;
        // SAFETY: initialised (A2), and no longer the region's.
        Some(unsafe { self.start.as_ptr().add(self.len).read() })
    }

    /// Drops the elements from `len` on, if there are so many.
    pub fn truncate(&mut self, len: usize) {
        if len < self.len {
            let rest = ptr::slice_from_raw_parts_mut(self.start.as_ptr().wrapping_add(len), self.len - len);
            self.len = len;
            // SAFETY: initialised, and no longer the region's (A2, A3).
            unsafe { rest.drop_in_place() };
        }
    }

    /// Drops all elements. The pages stay.
    pub fn clear(&mut self) {
        self.truncate(0);
    }

    /// Where the elements are, as long as the region lives.
    pub const fn as_ptr(&self) -> *const T {
        self.start.as_ptr()
    }

    /// Where the elements are, as long as the region lives.
    pub const fn as_mut_ptr(&mut self) -> *mut T {
        self.start.as_ptr()
    }

    /// The elements, for as long as the process lives. Their pages are never given back.
    pub fn leak<'a>(self) -> &'a mut [T]
    where
        T: 'a,
    {
        let mut region = core::mem::ManuallyDrop::new(self);
        // SAFETY: A2; closing a heap never unmaps, and nobody else has the region any more.
        unsafe { core::slice::from_raw_parts_mut(region.as_mut_ptr(), region.len) }
    }
}

impl<T> Drop for Region<T> {
    fn drop(&mut self) {
        /// Gives the run back, also when dropping an element panics.
        struct GiveRun<'a, T>(&'a mut Region<T>);
        impl<T> Drop for GiveRun<'_, T> {
            fn drop(&mut self) {
                self.0.len = 0;
                self.0.give_run();
            }
        }
        GiveRun(self).0.clear();
    }
}

fn too_large<T>(bytes: usize) -> RegionError {
    RegionError::TooLarge { len: bytes / size_of::<T>().max(1) }
}

#[track_caller]
fn or_panic<R>(result: Result<R, RegionError>) -> R {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{error}"),
    }
}
