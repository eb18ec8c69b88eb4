//! Values that hold weak pointers to themselves.
//!
//! The block comes first, with no pointer to it but a weak one, as if its value had been dropped already: so nobody gets to it, and it
//! is freed with the last weak pointer if no value is made. Then the value is written, and the first pointer to it counted.

use super::make::current_heap;
use super::{SalRc, weak_table};
use crate::SalAlloc;
use crate::heap::counted;
use crate::ptr::sal_weak::SalWeak;
use crate::ptr::tagged::Tagged;
use crate::ptr::target::sized_layout;
use std::alloc::handle_alloc_error;

impl<T: 'static> SalRc<T> {
    /// Puts a value into the heap that [`SalRc::new`] would choose. What makes it gets a weak pointer to it, which leads nowhere until
    /// the value is there.
    ///
    /// A heap without room for it is a call of [`handle_alloc_error`], before anything is made. Weak pointers cannot be stored in a heap
    /// file, and so values that hold some cannot either.
    ///
    /// ```
    /// use sal::{SalRc, SalWeak};
    ///
    /// struct Node(SalWeak<Node>);
    /// let node = SalRc::new_cyclic(|itself| {
    ///     assert!(itself.upgrade().is_none());
    ///     Node(itself.clone())
    /// });
    /// assert!(SalRc::ptr_eq(&node, &node.0.upgrade().unwrap()));
    /// ```
    pub fn new_cyclic(make: impl FnOnce(&SalWeak<T>) -> T) -> Self {
        Self::new_cyclic_in(current_heap(), make)
    }

    /// As [`SalRc::new_cyclic`], in a heap.
    pub fn new_cyclic_in(heap: SalAlloc, make: impl FnOnce(&SalWeak<T>) -> T) -> Self {
        let layout = const { sized_layout::<T>() };
        let Some(block) = counted::allocate(heap, layout) else { handle_alloc_error(layout) };
        let place = block.addr().get();
        // SAFETY: of the layout, and ours; nobody looks at the value before there is one.
        let pointer = unsafe { Tagged::<T>::of_block(block) };
        weak_table::add_first(place, || pointer.count().begin_weak());
        // Nobody is to free it but the last weak pointer: ours, or a clone that `make` leaves elsewhere. Also if `make` panics.
        let is_free = weak_table::bury(place);
        debug_assert!(!is_free, "a weak pointer has just been entered");
        let weak = SalWeak::of_tagged(pointer);
        let value = make(&weak);
        // SAFETY: the block is kept by `weak`, and empty: its count is zero, so there is no pointer to read it by. Then there is a value,
        // and a pointer that counts as one (S1).
        unsafe {
            pointer.value().write(value);
            weak_table::unbury(place);
            counted::begin_late(block, layout);
            Self::of_tagged(pointer)
        }
    }
}
