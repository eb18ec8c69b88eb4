//! Which heap a value without a handle belongs to.

use super::SalAlloc;

/// The heap whose window holds `address`, if any does.
#[inline]
pub(crate) fn heap_of_address(_address: usize) -> Option<SalAlloc> {
    None
}

/// Where a value at `place` that owns no block yet takes its first block from: the heap whose window holds
/// `place`, else the heap of the calling thread's current session, else the process's default heap.
#[inline]
pub(crate) fn heap_for_value_at(place: usize) -> SalAlloc {
    heap_of_address(place).unwrap_or(SalAlloc::new())
}
