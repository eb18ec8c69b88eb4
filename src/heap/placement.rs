//! Which heap a value without a handle belongs to.

use super::SalAlloc;
use core::cell::Cell;
use core::marker::PhantomData;

/// The heap whose window holds `address`, if any does.
#[inline]
pub(crate) fn heap_of_address(address: usize) -> Option<SalAlloc> {
    SalAlloc::of_address(address)
}

/// Where a value at `place` that owns no block yet takes its first block from: the heap whose window holds
/// `place`, else the heap of the innermost [`HeapScope`] of the calling thread, else the heap of its current
/// session, else the process's default heap.
#[inline]
pub(crate) fn heap_for_value_at(place: usize) -> SalAlloc {
    heap_of_address(place).or_else(scoped_heap).unwrap_or(SalAlloc::new())
}

std::thread_local! {
    static SCOPED: Cell<Option<SalAlloc>> = const { Cell::new(None) };
}

/// The heap of the innermost [`HeapScope`] of the calling thread.
#[inline]
pub(crate) fn scoped_heap() -> Option<SalAlloc> {
    SCOPED.get()
}

/// While it lives, values on this thread's stack take their blocks from one heap.
///
/// A collection that makes a key or a value on behalf of its caller (`entry_ref`, `or_default`, `clone`)
/// makes it on the stack and then moves it to its own block; the scope sees to it that the new value's
/// blocks are in the collection's heap and not in the session's.
#[must_use]
pub(crate) struct HeapScope {
    outer: Option<SalAlloc>,
    /// It must end on the thread on which it began.
    not_send: PhantomData<*const ()>,
}

impl HeapScope {
    /// Begins a scope inside the current one.
    #[inline]
    pub(crate) fn enter(heap: SalAlloc) -> Self {
        Self { outer: SCOPED.replace(Some(heap)), not_send: PhantomData }
    }
}

impl Drop for HeapScope {
    #[inline]
    fn drop(&mut self) {
        SCOPED.set(self.outer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_nest_and_end_also_by_panic() {
        assert_eq!(scoped_heap(), None);
        let outer = HeapScope::enter(SalAlloc::new());
        let panicked = std::panic::catch_unwind(|| {
            let _inner = HeapScope::enter(SalAlloc::new());
            panic!("ends the inner scope");
        });
        assert!(panicked.is_err());
        assert_eq!(scoped_heap(), Some(SalAlloc::new()));
        drop(outer);
        assert_eq!(scoped_heap(), None);
    }
}
