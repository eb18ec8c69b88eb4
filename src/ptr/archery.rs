//! Pointers for collections that leave it to a type parameter how what they share is counted (the crate `archery`).
//!
//! Such a pointer does not know what it leads to; who uses it says so each time. It counts in the same table as a [`SalRc`](super::SalRc),
//! but is dropped at once, whatever it is within: what it leads to may borrow, and so must not be dropped later.
//!
//! # Invariants
//! - **K1** A pointer leads to a counted block, of the layout of the `T` that it was made with, and counts as one there. As long as there
//!   is one, a `T` lies at the block's start.
//! - **K2** There are no weak pointers to such blocks, and their numbers are known: they were made by this process.

use super::drop_moved::drop_moved;
use super::sal_rc::current_heap;
use super::target::sized_layout;
use crate::SalAlloc;
use crate::alloc::ref_count::{Dropped, RefCount};
use crate::heap::counted;
use crate::heap::placement::HeapScope;
use ::archery::SharedPointerKind;
use core::fmt;
use core::mem::replace;
use core::ptr::NonNull;
use std::alloc::handle_alloc_error;

/// For the collections of `rpds`, and others whose pointers are those of the crate `archery`: keeps their nodes in a heap.
///
/// New nodes go to the heap of the thread's newest write session, or to the process's default heap if there is none; copies of nodes to
/// the heap of those. So a collection that is to be in one heap is to be changed within sessions of that.
///
/// Such a collection belongs to this process: it cannot be stored in a heap file, because it holds no counted pointers that a recovery
/// could tell from other words, and because its nodes have the layout that the compiler gave them. A heap in memory is the place for it
/// (`HeapOptions::volatile`); nodes in a heap file are in its commits until they are dropped, and of no use there. The collections whose
/// names begin with `Cow` are those that can be stored.
///
/// What a pointer leads to is dropped with the last one, within that call: unlike with [`SalRc`](super::SalRc) a long chain takes stack.
/// A heap without room is a call of [`handle_alloc_error`].
///
/// ```
/// use rpds::RedBlackTreeMap;
/// use sal::{HeapOptions, SalRcK};
///
/// let heap = HeapOptions::new().volatile()?;
/// let session = heap.write()?;
/// let stock: RedBlackTreeMap<&str, u32, SalRcK> = RedBlackTreeMap::new_with_ptr_kind().insert("apples", 7);
/// let later = stock.insert("apples", 3);
/// assert_eq!((stock["apples"], later["apples"]), (7, 3));
/// assert!(heap.stats().live_bytes > 0);
/// # drop((stock, later, session));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SalRcK {
    block: NonNull<u8>,
}

// SAFETY: as `archery` has it: whether what it leads to may be sent and shared, `SharedPointer` asks, which knows the type.
unsafe impl Send for SalRcK {}
// SAFETY: as above.
unsafe impl Sync for SalRcK {}

impl SalRcK {
    fn new_in<T>(value: T, heap: SalAlloc) -> Self {
        let layout = const { sized_layout::<T>() };
        let Some(block) = counted::allocate(heap, layout) else { handle_alloc_error(layout) };
        // SAFETY: of the layout, and ours (K1).
        unsafe {
            block.cast::<T>().write(value);
            counted::begin(block, layout);
        }
        Self { block }
    }

    /// # Safety
    /// It was made with a `T`.
    unsafe fn count<T>(&self) -> &RefCount {
        // SAFETY: K1.
        unsafe { counted::count_of(self.block, const { sized_layout::<T>() }) }
    }

    /// # Safety
    /// It was made with a `T`, which has been moved out or dropped; nobody else has the block.
    unsafe fn free<T>(block: NonNull<u8>) {
        // SAFETY: the caller's promise, K1.
        unsafe { counted::free(block, const { sized_layout::<T>() }) };
    }
}

// SAFETY: a value is reached mutably by `get_mut` and `make_mut` only, leaves its block in `try_unwrap` only, and is otherwise dropped where
// it is, before its block is used again.
unsafe impl SharedPointerKind for SalRcK {
    fn new<T>(value: T) -> Self {
        Self::new_in(value, current_heap())
    }

    fn from_box<T>(value: Box<T>) -> Self {
        Self::new(*value)
    }

    #[inline(always)]
    unsafe fn as_ptr<T>(&self) -> *const T {
        self.block.as_ptr().cast()
    }

    #[inline(always)]
    unsafe fn deref<T>(&self) -> &T {
        // SAFETY: the caller's promise, K1.
        unsafe { self.block.cast().as_ref() }
    }

    unsafe fn try_unwrap<T>(self) -> Result<T, Self> {
        // SAFETY: the caller's promise.
        match unsafe { self.count::<T>() }.release_if_last() {
            // SAFETY: it was the last one (K1, K2), so the value is ours, and then the block is nobody's.
            Dropped::Last { .. } => unsafe {
                let value = self.block.cast::<T>().read();
                Self::free::<T>(self.block);
                Ok(value)
            },
            Dropped::Shared | Dropped::Unknown => Err(self),
        }
    }

    unsafe fn get_mut<T>(&mut self) -> Option<&mut T> {
        // SAFETY: the caller's promise; with the only pointer, which is borrowed, nobody else reaches the value (K1, K2).
        unsafe { self.count::<T>().is_only().then(|| self.block.cast().as_mut()) }
    }

    unsafe fn make_mut<T: Clone>(&mut self) -> &mut T {
        // SAFETY: the caller's promise.
        unsafe {
            if !self.count::<T>().is_only() {
                let heap = counted::heap_of(self.block);
                let copy = {
                    // What the copy takes lies in the same heap.
                    let _scope = HeapScope::enter(heap);
                    Self::new_in(self.deref::<T>().clone(), heap)
                };
                let mut shared = replace(self, copy);
                SharedPointerKind::drop::<T>(&mut shared);
            }
            // Nobody else has it: it was the only one, or is new.
            self.block.cast().as_mut()
        }
    }

    unsafe fn strong_count<T>(&self) -> usize {
        // SAFETY: the caller's promise.
        unsafe { self.count::<T>() }.number().unwrap_or(usize::MAX)
    }

    #[inline(always)]
    unsafe fn clone<T>(&self) -> Self {
        // SAFETY: the caller's promise.
        unsafe { self.count::<T>() }.retain();
        Self { block: self.block }
    }

    unsafe fn drop<T>(&mut self) {
        /// Gives the block back, also if its value panics.
        struct Freed<T>(NonNull<u8>, core::marker::PhantomData<T>);
        impl<T> Drop for Freed<T> {
            fn drop(&mut self) {
                // SAFETY: of a last pointer, see below.
                unsafe { SalRcK::free::<T>(self.0) };
            }
        }
        // SAFETY: the caller's promise. After the last pointer the value is ours to drop, once, where it is (K1, K2).
        unsafe {
            if let Dropped::Last { .. } = self.count::<T>().release() {
                let freed = Freed::<T>(self.block, core::marker::PhantomData);
                if counted::is_young(self.count::<T>()) {
                    freed.0.cast::<T>().drop_in_place();
                } else {
                    // It may be where nobody may write.
                    drop_moved(freed.0.cast::<T>().as_ptr());
                }
            }
        }
    }
}

impl fmt::Debug for SalRcK {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SalRcK")
    }
}
