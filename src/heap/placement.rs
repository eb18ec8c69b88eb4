//! Which heap a value without a handle belongs to.

use super::SalAlloc;
use core::cell::{Cell, RefCell};
use core::marker::PhantomData;

/// The heap whose window holds `address`, open or closed, if any does.
#[inline]
pub(crate) fn heap_of_address(address: usize) -> Option<SalAlloc> {
    SalAlloc::of_address(address)
}

/// Where a value at `place` that owns no block yet takes its first block from: the heap whose window holds
/// `place`, else the heap of the innermost [`HeapScope`] of the calling thread, else the heap of its newest write
/// session, else the process's default heap.
#[inline]
pub(crate) fn heap_for_value_at(place: usize) -> SalAlloc {
    heap_of_address(place).or_else(scoped_heap).or_else(session_heap).unwrap_or(SalAlloc::new())
}

std::thread_local! {
    static SCOPED: Cell<Option<SalAlloc>> = const { Cell::new(None) };
    /// The heaps of the thread's write sessions, and of those it is attached to, in the order in which they began.
    static SESSIONS: RefCell<Vec<(u64, SalAlloc)>> = const { RefCell::new(Vec::new()) };
    static NEXT: Cell<u64> = const { Cell::new(0) };
}

/// The heap of the innermost [`HeapScope`] of the calling thread.
#[inline]
pub(crate) fn scoped_heap() -> Option<SalAlloc> {
    SCOPED.get()
}

/// The heap of the calling thread's newest write session.
fn session_heap() -> Option<SalAlloc> {
    // In a destructor of another thread local this one may be gone, and with it all sessions of the thread.
    SESSIONS.try_with(|sessions| sessions.borrow().last().map(|&(_, heap)| heap)).ok().flatten()
}

/// Whether the calling thread has a write session of a heap, or is attached to one.
pub(super) fn has_session_of(heap: SalAlloc) -> bool {
    // As in `session_heap`.
    SESSIONS.try_with(|sessions| sessions.borrow().iter().any(|&(_, other)| other == heap)).unwrap_or(false)
}

/// While it lives, values on this thread's stack take their blocks from one heap.
///
/// A collection that makes a key or a value on behalf of its caller (`entry_ref`, `or_default`, `clone`)
/// makes it on the stack and then moves it to its own block; the scope sees to it that the new value's
/// blocks are in the collection's heap and not in the session's.
#[must_use]
#[derive(Debug)]
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

/// While it lives, its heap is that of one of the thread's write sessions, or of one it is attached to; these may end in
/// any order.
#[must_use]
#[derive(Debug)]
pub(super) struct SessionScope {
    number: u64,
    /// It must end on the thread on which it began.
    not_send: PhantomData<*const ()>,
}

impl SessionScope {
    pub(super) fn enter(heap: SalAlloc) -> Self {
        let number = NEXT.replace(NEXT.get() + 1);
        let _ = SESSIONS.try_with(|sessions| sessions.borrow_mut().push((number, heap)));
        Self { number, not_send: PhantomData }
    }
}

impl Drop for SessionScope {
    fn drop(&mut self) {
        let _ = SESSIONS.try_with(|sessions| sessions.borrow_mut().retain(|&(number, _)| number != self.number));
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

    #[test]
    fn the_newest_session_counts_whatever_the_order_in_which_they_end() {
        let [first, second] = [70, 71].map(SalAlloc::of_name);
        let (one, two) = (SessionScope::enter(first), SessionScope::enter(second));
        assert_eq!(session_heap(), Some(second));
        drop(one);
        assert_eq!(session_heap(), Some(second));
        drop(two);
        assert_eq!(session_heap(), None);
    }
}
