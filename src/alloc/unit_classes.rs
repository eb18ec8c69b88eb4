//! Which class the blocks of a unit have, for frees that do not say.
//!
//! The slab table knows it too, but has eight bytes for each unit, and a slab's tail leads to its head first. Here is one
//! byte for each unit of one heap, the default heap of a process whose `malloc` this is: a free loads it and has the
//! number of the magazine. The table is memory of the process and is written where slabs are made and dissolved.
//!
//! # Invariants
//! - **N1** The byte of a unit that belongs to a slab of the heap is its class + 1; that of any other unit is 0. It is set
//!   before the slab's first block is handed out, and cleared after the last one is back.
//! - **N2** `units` is not 0 only after `segments` and `numbers` have got their values, which then stay; `numbers` has a
//!   byte for each of so many units.

use super::heap_core::Core;
use crate::format::UNIT_SHIFT;
use crate::os::CallError;
use crate::os::mapping::{self, Access, Source};
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU8, AtomicUsize, Ordering};

static SEGMENTS: AtomicUsize = AtomicUsize::new(0);
static NUMBERS: AtomicPtr<AtomicU8> = AtomicPtr::new(ptr::null_mut());
static UNITS: AtomicUsize = AtomicUsize::new(0);

/// Covers a heap that has no slab yet; called for one heap, once, before others know of it.
pub(crate) fn cover(core: &Core) -> Result<(), CallError> {
    let units = core.layout.units as usize;
    let table = mapping::map_anywhere(units.next_multiple_of(mapping::PAGE), Access::ReadWrite, Source::Anonymous)?;
    // Relaxed: published by the last store.
    NUMBERS.store(ptr::with_exposed_provenance_mut(table), Ordering::Relaxed);
    SEGMENTS.store(core.segments, Ordering::Relaxed);
    // Release pairs with the Acquire in `number_at` (N2).
    UNITS.store(units, Ordering::Release);
    Ok(())
}

/// For an address in the heap, the class of the slab that it lies in, plus 1; 0 if it lies in no slab. None for any other
/// address.
#[inline(always)]
pub(crate) fn number_at(address: usize) -> Option<usize> {
    // Acquire pairs with the Release in `cover`.
    let units = UNITS.load(Ordering::Acquire);
    // Relaxed: ordered by the load before (N2).
    let unit = address.wrapping_sub(SEGMENTS.load(Ordering::Relaxed)) >> UNIT_SHIFT;
    if unit >= units {
        return None;
    }
    // SAFETY: the table has so many bytes (N2), and all access is atomic.
    // Relaxed: whoever has a block there got it after the byte was set (N1), through something that orders it.
    Some(usize::from(unsafe { (*NUMBERS.load(Ordering::Relaxed).add(unit)).load(Ordering::Relaxed) }))
}

/// Sets the bytes of a run of units, if its heap is covered.
pub(super) fn note(core: &Core, head: usize, units: usize, number: usize) {
    // Acquire as in `number_at`.
    let covered = UNITS.load(Ordering::Acquire);
    if SEGMENTS.load(Ordering::Relaxed) != core.segments || head + units > covered {
        return;
    }
    for unit in head..head + units {
        // SAFETY: as in `number_at`.
        unsafe { (*NUMBERS.load(Ordering::Relaxed).add(unit)).store(number as u8, Ordering::Relaxed) };
    }
}

const _: () = assert!(super::size_class::CLASSES < u8::MAX as usize);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alloc::heap_core::testing::TestHeap;
    use crate::alloc::size_class::{class_of, slab_units};
    use crate::alloc::slab::Slab;

    #[test]
    fn every_unit_of_a_slab_leads_to_its_class_as_long_as_the_slab_lives() {
        let (heap, other) = (TestHeap::new(64 << 20), TestHeap::new(64 << 20));
        assert_eq!(number_at(heap.segments), None, "nothing is covered yet");
        cover(&heap).unwrap();
        let class = class_of(5000);
        let units = slab_units(class);
        {
            let _guard = heap.lock.lock();
            // SAFETY: under the lock.
            assert!(unsafe { (*heap.space.get()).take_exact(&heap.backing, 64, units) });
        }
        // SAFETY: the units are ours, and nobody else uses the heap.
        let slab = unsafe { Slab::create(&heap, 64, class, 1, true) };
        for unit in 60..64 + units + 4 {
            let expected = if (64..64 + units).contains(&unit) { class + 1 } else { 0 };
            for offset in [0, 17, crate::format::UNIT - 1] {
                assert_eq!(number_at(heap.address_of(unit) + offset), Some(expected));
            }
        }
        // SAFETY: it never gave a block away.
        unsafe { slab.dissolve() };
        assert_eq!(number_at(heap.address_of(64)), Some(0));
        let outside = [0, 1, heap.segments - 1, other.segments, usize::MAX, (&raw const heap).addr()];
        assert_eq!(outside.map(number_at), [None; 6]);
        // The table outlives the test; another heap at the same place would be covered, too, which nothing asks about.
    }
}
