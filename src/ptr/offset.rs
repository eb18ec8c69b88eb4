//! Pointers that hold positions instead of addresses.
//!
//! An [`Offset`] says how far a value lies from the start of its heap. It means the same wherever the heap is mapped, and it
//! owns nothing: like a raw pointer it may dangle.
//!
//! # Invariants
//! - **O1** An offset is not zero: the heap's header lies there, and never a value.
//!
//! # What survives a crash
//! An offset is a plain number; it is as durable as the value it lies in.
#![allow(unsafe_code)]

use crate::gc::trace::layouts::id;
use crate::heap::SalAlloc;
use crate::persist::{BlockVisitor, Describer, Node, Persist};
use core::cmp::Ordering;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::marker::PhantomData;
use core::num::NonZero;
use core::ptr::{self, NonNull};

/// Where a `T` lies in its heap, in bytes from the heap's start: 8 bytes, with a niche for `None`.
///
/// It owns nothing. What nothing else leads to is still kept by recovery and [`collect`](crate::SalCollect::collect), with all that
/// looks like a pointer in it.
///
/// ```
/// use sal::{HeapOptions, Offset};
/// use allocator_api2::boxed::Box;
///
/// let heap = HeapOptions::new().volatile()?;
/// let boxed = Box::new_in(7_u64, heap.alloc());
/// let offset = Offset::of(heap.alloc(), &*boxed).expect("it lies in the heap");
/// assert_eq!(offset.to_ptr(heap.alloc()).map(|pointer| pointer.as_ptr().cast_const()), Some(&raw const *boxed));
/// assert_eq!(Offset::of(heap.alloc(), &1_u64), None); // on the stack
/// # Ok::<(), sal::OpenError>(())
/// ```
#[repr(transparent)]
pub struct Offset<T> {
    bytes: NonZero<u64>,
    of: PhantomData<fn() -> T>,
}

const _: () = assert!(size_of::<Option<Offset<u8>>>() == 8);

/// Of [`Offset`] among the containers' ids.
const CONTAINER_ID: u64 = id::OFFSET;

impl<T> Offset<T> {
    /// The offset of a value in a heap; none if it does not lie there. Blocks of the default heap that have grown lie beside it
    /// and have none.
    pub fn of(heap: SalAlloc, value: *const T) -> Option<Self> {
        let range = heap.address_range()?;
        if !range.contains(&value.addr()) {
            return None;
        }
        NonZero::new((value.addr() - range.start) as u64).map(|bytes| Self { bytes, of: PhantomData })
    }

    /// Where the value lies in this process; none if the heap is not open, or not so large, or `T` cannot lie there.
    ///
    /// Nothing is said about what lies there now.
    pub fn to_ptr(self, heap: SalAlloc) -> Option<NonNull<T>> {
        let range = heap.address_range()?;
        let address = range.start.checked_add(usize::try_from(self.bytes.get()).ok()?)?;
        let end = address.checked_add(size_of::<T>())?;
        let fits = end <= range.end && address % align_of::<T>() == 0;
        fits.then(|| NonNull::new(ptr::with_exposed_provenance_mut(address))).flatten()
    }

    /// Bytes from the start of the heap.
    pub fn bytes(self) -> u64 {
        self.bytes.get()
    }
}

impl<T> Clone for Offset<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Offset<T> {}

impl<T> PartialEq for Offset<T> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl<T> Eq for Offset<T> {}

impl<T> PartialOrd for Offset<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Offset<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.bytes.cmp(&other.bytes)
    }
}

impl<T> Hash for Offset<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bytes.hash(state);
    }
}

impl<T> fmt::Debug for Offset<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Offset({:#x})", self.bytes)
    }
}

// SAFETY: a number that is never zero, described with its layout and with the type it leads to; it owns no block.
unsafe impl<T: Persist> Persist for Offset<T> {
    const OWNS_BLOCKS: bool = false;

    fn describe(describer: &mut Describer) -> Node {
        let of = describer.node_of::<T>();
        Node::container::<Self>(CONTAINER_ID, "Offset", 1, vec![of])
    }

    fn visit_blocks(&self, _: &mut BlockVisitor<'_>) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HeapOptions;
    use crate::persist::TypeDescription;
    use allocator_api2::boxed::Box;

    #[test]
    fn an_offset_leads_back_to_the_value_and_nowhere_in_another_heap() {
        let [heap, other] =
            [1 << 30, 1 << 20].map(|capacity| HeapOptions::new().capacity(capacity).volatile().unwrap());
        let value = Box::new_in([1_u32, 2, 3], heap.alloc());
        let offset = Offset::of(heap.alloc(), &*value).unwrap();
        assert_eq!(offset.to_ptr(heap.alloc()).unwrap().addr().get(), (&raw const *value).addr());
        assert_eq!(Offset::of(other.alloc(), &*value), None);
        assert_eq!(offset.bytes() as usize, (&raw const *value).addr() - heap.address_range().start);
        let handle = heap.alloc();
        heap.close().unwrap();
        assert!(Offset::of(handle, &*value).is_none() && offset.to_ptr(handle).is_none());
    }

    #[test]
    fn offsets_that_cannot_be_right_lead_nowhere() {
        let heap = HeapOptions::new().volatile().unwrap();
        let last = (heap.address_range().len() - 4) as u64;
        for bytes in [3, last, last + 8, u64::MAX] {
            let offset = Offset::<u64> { bytes: NonZero::new(bytes).unwrap(), of: PhantomData };
            assert_eq!(offset.to_ptr(heap.alloc()), None, "{bytes}");
        }
    }

    #[test]
    fn offsets_of_different_types_are_described_differently() {
        let [first, second] = [TypeDescription::of::<Offset<u32>>(), TypeDescription::of::<Offset<u64>>()];
        assert!(first.difference(&second).is_some() && first.difference(&first).is_none());
    }
}
