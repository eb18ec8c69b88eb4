//! The nodes that hold elements: leaves of the tree, which are full, and the tail, which is being filled.
//!
//! Both have room for the same number of elements, which follows from the size of one: as many as fit
//! [`LEAF_BYTES`], but [`FEWEST`] at least. A leaf has no field but its elements, and so fills a block of its heap.
//!
//! # Invariants
//! - **L1** A leaf's [`width`] elements are initialised, and the leaf's alone. What lies behind them is zeros.
//! - **L2** The first `len` elements of a tail are initialised, and the tail's alone. All that lies behind them is
//!   zeros, if elements can own anything: a pointer that was moved away must not be found there.
#![allow(unsafe_code)]

use crate::collections::TryReserveError;
use crate::collections::error::no_room_for;

use crate::gc::trace::layouts::{Shape, cow_vec};
use crate::heap::SalAlloc;
use crate::heap::placement::HeapScope;
use crate::ptr::SalRc;
use core::mem::{ManuallyDrop, MaybeUninit, needs_drop, offset_of, transmute};
use core::{ptr, slice};

/// Bytes of a leaf whose elements are not large.
pub(super) const LEAF_BYTES: usize = 256;

/// Elements of a leaf whose elements are large.
pub(super) const FEWEST: usize = 4;

/// Elements of a leaf, and what a tail has room for. Those without bytes never fill one.
pub(super) const fn width<T: 'static>() -> usize {
    match size_of::<T>() {
        0 => isize::MAX as usize,
        size if size > LEAF_BYTES / FEWEST => FEWEST,
        size => LEAF_BYTES / size,
    }
}

/// Room for [`width`] elements.
#[repr(C)]
pub(super) union Slots<T: 'static> {
    bytes: [MaybeUninit<u8>; LEAF_BYTES],
    few: ManuallyDrop<[MaybeUninit<T>; FEWEST]>,
}

impl<T: 'static> Slots<T> {
    fn start(&self) -> *const T {
        (&raw const *self).cast()
    }

    fn start_mut(&mut self) -> *mut T {
        (&raw mut *self).cast()
    }
}

/// A full node.
#[repr(C)]
pub(super) struct Leaf<T: 'static>(Slots<T>);

/// A node that is not full, or not in the tree yet.
#[repr(C)]
pub(super) struct Tail<T: 'static> {
    len: usize,
    slots: Slots<T>,
}

const _: () = assert!(size_of::<Leaf<u64>>() == LEAF_BYTES && size_of::<Tail<u64>>() == LEAF_BYTES + 8);
const _: () = assert!(size_of::<Leaf<[u64; 100]>>() == 3200);

/// Whether what follows types has the same byte map.
const fn is_traced<T: 'static>() -> bool {
    let (slots, tail) = cow_vec::tail(Shape::of::<T>());
    cow_vec::width(Shape::of::<T>()) == width::<T>()
        && cow_vec::leaf(Shape::of::<T>()).size == size_of::<Leaf<T>>()
        && offset_of!(Tail<T>, len) == 0
        && offset_of!(Tail<T>, slots) == slots
        && size_of::<Tail<T>>() == tail.size
}

const _: () = assert!(is_traced::<u8>() && is_traced::<u64>() && is_traced::<u128>() && is_traced::<[u64; 100]>());
const _: () = assert!(is_traced::<[u8; 24]>() && is_traced::<[u8; 65]>() && is_traced::<[u16; 7]>());

/// Where the elements of a leaf that is being filled begin.
fn slots_of<T: 'static>(leaf: &mut SalRc<MaybeUninit<Leaf<T>>>) -> *mut T {
    SalRc::alone_mut(leaf).expect("nobody else has a new node").as_mut_ptr().cast()
}

/// # Safety
/// L1 holds for the leaf.
unsafe fn assume_filled<T: 'static>(leaf: SalRc<MaybeUninit<Leaf<T>>>) -> SalRc<Leaf<T>> {
    // SAFETY: the types of both pointers are one word that leads to a block of the same layout, and the caller
    // promises that there is a leaf in it.
    unsafe { transmute(leaf) }
}

/// Zeros what lies behind the elements of a leaf.
///
/// # Safety
/// `slots` are those of a leaf that may be written to.
unsafe fn zero_slack<T: 'static>(slots: *mut T) {
    if size_of::<T>() != 0 {
        let used = width::<T>() * size_of::<T>();
        // SAFETY: the elements and what lies behind them are within the leaf.
        unsafe { slots.cast::<u8>().add(used).write_bytes(0, size_of::<Leaf<T>>() - used) };
    }
}

impl<T: 'static> Leaf<T> {
    #[inline(always)]
    pub(super) fn elements(&self) -> &[T] {
        // SAFETY: L1.
        unsafe { slice::from_raw_parts(self.0.start(), width::<T>()) }
    }

    #[inline(always)]
    fn elements_mut(&mut self) -> &mut [T] {
        // SAFETY: L1.
        unsafe { slice::from_raw_parts_mut(self.0.start_mut(), width::<T>()) }
    }

    /// The elements, for who has the only pointer to the leaf; with another one, of a copy that the pointer leads to from
    /// now on. Without room for that nothing changes.
    #[inline]
    pub(super) fn make_mut(this: &mut SalRc<Self>) -> Result<&mut [T], TryReserveError>
    where
        T: Clone,
    {
        let leaf: *mut SalRc<Self> = this;
        // SAFETY: the pointer is borrowed for as long as what is returned; this borrow is over where there is none.
        if let Some(leaf) = SalRc::get_mut(unsafe { &mut *leaf }) {
            return Ok(leaf.elements_mut());
        }
        *this = Self::copy_of(this)?;
        Ok(SalRc::alone_mut(this).expect("nobody else has a new node").elements_mut())
    }

    /// A copy beside it.
    #[cold]
    #[inline(never)]
    fn copy_of(this: &SalRc<Self>) -> Result<SalRc<Self>, TryReserveError>
    where
        T: Clone,
    {
        /// Drops what was written, if a clone panics.
        struct Written<T: 'static>(*mut T, usize);
        impl<T: 'static> Drop for Written<T> {
            fn drop(&mut self) {
                // SAFETY: so many were written, and nobody else has them.
                unsafe { ptr::slice_from_raw_parts_mut(self.0, self.1).drop_in_place() }
            }
        }
        let mut copy = SalRc::try_new_near(MaybeUninit::uninit(), this).map_err(|_| no_room_for::<Self>())?;
        // What the clones take lies in the same heap.
        let _scope = HeapScope::enter(SalRc::heap(this));
        let mut written = Written(slots_of::<T>(&mut copy), 0);
        // SAFETY: there is room for as many elements as a leaf has.
        unsafe {
            for element in this.elements() {
                written.0.add(written.1).write(element.clone());
                written.1 += 1;
            }
            zero_slack(written.0);
        }
        core::mem::forget(written);
        // SAFETY: all were written (L1).
        Ok(unsafe { assume_filled(copy) })
    }
}

impl<T: 'static> Drop for Leaf<T> {
    fn drop(&mut self) {
        // SAFETY: L1; they are used no more.
        unsafe { ptr::drop_in_place(self.elements_mut()) }
    }
}

impl<T: 'static> Tail<T> {
    /// An empty one in a heap.
    pub(super) fn new_in(heap: SalAlloc) -> Result<SalRc<Self>, TryReserveError> {
        let tail = SalRc::try_new_in(MaybeUninit::uninit(), heap).map_err(|_| no_room_for::<Self>())?;
        Ok(Self::emptied(tail))
    }

    /// An empty one beside a node.
    pub(super) fn new_near<U: 'static>(beside: &SalRc<U>) -> Result<SalRc<Self>, TryReserveError> {
        let tail = SalRc::try_new_near(MaybeUninit::uninit(), beside).map_err(|_| no_room_for::<Self>())?;
        Ok(Self::emptied(tail))
    }

    fn emptied(mut tail: SalRc<MaybeUninit<Self>>) -> SalRc<Self> {
        let place = SalRc::alone_mut(&mut tail).expect("nobody else has a new node");
        // SAFETY: zeros are a tail without elements (L2), and padding.
        unsafe {
            place.as_mut_ptr().write_bytes(0, 1);
            transmute::<SalRc<MaybeUninit<Self>>, SalRc<Self>>(tail)
        }
    }

    /// One with copies of so many elements, beside the node that has them.
    pub(super) fn copy_of<U: 'static>(elements: &[T], beside: &SalRc<U>) -> Result<SalRc<Self>, TryReserveError>
    where
        T: Clone,
    {
        let mut copy = Self::new_near(beside)?;
        Self::copy_to(elements, &mut copy);
        Ok(copy)
    }

    /// Puts copies of elements into a new, empty one.
    pub(super) fn copy_to(elements: &[T], new: &mut SalRc<Self>)
    where
        T: Clone,
    {
        let _scope = HeapScope::enter(SalRc::heap(new));
        let tail = SalRc::alone_mut(new).expect("nobody else has a new node");
        tail.fill(&mut elements.iter().cloned());
    }

    /// Moves the first elements of a leaf to a new, empty one; the others are dropped. It needs the only pointer to the leaf, and
    /// gives it back otherwise.
    pub(super) fn take_from(new: &mut SalRc<Self>, mut leaf: SalRc<Leaf<T>>, len: usize) -> Result<(), SalRc<Leaf<T>>> {
        debug_assert!(len <= width::<T>());
        if SalRc::get_mut(&mut leaf).is_none() {
            return Err(leaf);
        }
        let tail = SalRc::alone_mut(new).expect("nobody else has a new node");
        debug_assert!(tail.len == 0);
        // SAFETY: nobody else has the leaf, and the block is given back without dropping elements from here on. The
        // tail has the first of them (L2), and the others are dropped.
        unsafe {
            let mut leaf = transmute::<SalRc<Leaf<T>>, SalRc<MaybeUninit<Leaf<T>>>>(leaf);
            let slots = slots_of::<T>(&mut leaf);
            ptr::copy_nonoverlapping(slots, tail.slots.start_mut(), len);
            tail.len = len;
            ptr::slice_from_raw_parts_mut(slots.add(len), width::<T>() - len).drop_in_place();
        }
        Ok(())
    }

    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Where the elements are.
    pub(super) fn start(&self) -> *const T {
        self.slots.start()
    }

    /// Counts no elements any more.
    ///
    /// # Safety
    /// They are the caller's from now on; the tail is only kept for them.
    pub(super) unsafe fn disown(&mut self) {
        self.len = 0;
    }

    #[inline(always)]
    pub(super) fn elements(&self) -> &[T] {
        // SAFETY: L2.
        unsafe { slice::from_raw_parts(self.slots.start(), self.len) }
    }

    #[inline(always)]
    pub(super) fn elements_mut(&mut self) -> &mut [T] {
        // SAFETY: L2.
        unsafe { slice::from_raw_parts_mut(self.slots.start_mut(), self.len) }
    }

    /// Adds an element, if there is room.
    #[inline(always)]
    pub(super) fn push(&mut self, element: T) -> Result<(), T> {
        if self.len == width::<T>() {
            return Err(element);
        }
        // SAFETY: there is room (L2).
        unsafe { self.slots.start_mut().add(self.len).write(element) };
        self.len += 1;
        Ok(())
    }

    /// Adds elements as long as there is room and any are left.
    #[inline]
    pub(super) fn fill(&mut self, elements: &mut impl Iterator<Item = T>) {
        /// Keeps the length in a register, and writes it also if the iterator panics.
        struct Filled<'t>(&'t mut usize, usize);
        impl Drop for Filled<'_> {
            fn drop(&mut self) {
                *self.0 = self.1;
            }
        }
        let slots = self.slots.start_mut();
        let len = self.len;
        let mut filled = Filled(&mut self.len, len);
        while filled.1 < width::<T>() {
            let Some(element) = elements.next() else { return };
            // SAFETY: there is room (L2).
            unsafe { slots.add(filled.1).write(element) };
            filled.1 += 1;
        }
    }

    /// Takes the last element.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<T> {
        self.len = self.len.checked_sub(1)?;
        // SAFETY: it was initialised (L2), and is counted no more.
        let element = unsafe { self.slots.start().add(self.len).read() };
        self.forget_behind(self.len + 1);
        Some(element)
    }

    /// Drops all but the first elements.
    pub(super) fn truncate(&mut self, len: usize) {
        /// Zeros, also if an element panics.
        struct Forget<'t, T: 'static>(&'t mut Tail<T>, usize);
        impl<T: 'static> Drop for Forget<'_, T> {
            fn drop(&mut self) {
                self.0.forget_behind(self.1);
            }
        }
        let end = self.len;
        if len >= end {
            return;
        }
        self.len = len;
        let tail = Forget(self, end);
        // SAFETY: these were initialised (L2), and are counted no more.
        unsafe { ptr::slice_from_raw_parts_mut(tail.0.slots.start_mut().add(len), end - len).drop_in_place() }
    }

    /// Zeros the places from the end of the elements up to where they ended before.
    fn forget_behind(&mut self, end: usize) {
        if needs_drop::<T>() {
            // SAFETY: these places are the tail's, and hold no elements any more.
            unsafe { self.slots.start_mut().add(self.len).write_bytes(0, end - self.len) };
        }
    }

    /// Moves the elements of a full tail to a leaf.
    pub(super) fn take_leaf(&mut self, heap: SalAlloc) -> Result<SalRc<Leaf<T>>, TryReserveError> {
        debug_assert!(self.len == width::<T>());
        let mut leaf = SalRc::try_new_in(MaybeUninit::uninit(), heap).map_err(|_| no_room_for::<Leaf<T>>())?;
        let slots = slots_of::<T>(&mut leaf);
        // SAFETY: a full tail has as many elements as a leaf (L1, L2), and does not count them any more.
        unsafe {
            ptr::copy_nonoverlapping(self.slots.start(), slots, width::<T>());
            zero_slack(slots);
            self.len = 0;
            self.forget_behind(width::<T>());
            Ok(assume_filled(leaf))
        }
    }

    /// Moves them back to the tail, which has not been used since.
    ///
    /// # Safety
    /// The leaf is from [`Tail::take_leaf`], and this is the only pointer to it.
    pub(super) unsafe fn put_back(&mut self, leaf: SalRc<Leaf<T>>) {
        debug_assert!(self.len == 0);
        // SAFETY: nobody else has the leaf, whose block is given back without dropping elements from here on; they are the tail's
        // again, which has room for them (L1, L2).
        unsafe {
            let leaf = transmute::<SalRc<Leaf<T>>, SalRc<MaybeUninit<Leaf<T>>>>(leaf);
            ptr::copy_nonoverlapping(SalRc::as_ptr(&leaf).cast::<T>(), self.slots.start_mut(), width::<T>());
        }
        self.len = width::<T>();
    }
}

impl<T: 'static> Drop for Tail<T> {
    fn drop(&mut self) {
        // SAFETY: L2; they are used no more.
        unsafe { ptr::drop_in_place(self.elements_mut()) }
    }
}
