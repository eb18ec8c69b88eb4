//! The ends of values: when their last handle is gone, or another value stands in their place.

use super::{place, shape_of};
use crate::alloc::heat;
use crate::handle::limbo;
use crate::handle::moving::Entry;
use crate::handle::object::{self, Shape};
use crate::handle::pin::Pins;
use crate::heap::movable;
use crate::ptr::tagged::Tagged;
use crate::ptr::target::Target;
use crate::ptr::weak_table;

/// The value of an entry's last handle goes, and the entry with it, unless there are weak handles.
///
/// # Safety
/// The last handle of the entry was dropped; the entry leads to a `T` (D1).
#[cold]
pub(super) unsafe fn last<T: ?Sized + Target>(entry: Tagged<Entry>, is_weakly_held: bool) {
    // SAFETY: the caller's promise: the value does not move to another shape, and no reader is let in any more.
    unsafe {
        let of = entry.value().as_ref();
        // The length of a slice lies where the value does, which may be moved meanwhile.
        let pins = (size_of::<*const T>() > size_of::<usize>()).then(Pins::begin);
        if let Some(shape) = shape_of::<T>(of.location()) {
            let location = object::end_last(of, shape);
            drop(pins);
            let_go::<T>(location, shape);
        }
        heat::forget(entry.block().addr().get());
        if !is_weakly_held || weak_table::bury(entry.block().addr().get()) {
            entry.free();
        }
    }
}

/// A value goes in whose place its entry leads to another one.
///
/// # Safety
/// The entry led there and does not any more (D2), and a handle of it is alive.
pub(super) unsafe fn replaced<T: ?Sized + Target>(location: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        if let Some(shape) = shape_of::<T>(location) {
            object::end_replaced(location, shape);
            let_go::<T>(location, shape);
        }
    }
}

/// A value goes to which nothing ever led.
///
/// # Safety
/// It is the caller's.
pub(super) unsafe fn unused<T: ?Sized + Target>(location: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        if let Some(shape) = shape_of::<T>(location) {
            object::end_replaced(location, shape);
            finish::<T>(location, 0);
        }
    }
}

/// Drops a value and gives its object up as soon as nobody sees it.
///
/// # Safety
/// It has ended, so this is done once, and nothing leads to it any more (D2).
#[inline]
unsafe fn let_go<T: ?Sized + Target>(location: usize, shape: Shape) {
    if T::NEEDS_DROP || shape.stands_alone() {
        // SAFETY: the caller's promise.
        unsafe { limbo::put(location, 0, finish::<T>) };
    } else {
        // Its tract stays until nobody sees it.
        movable::give_up(location - shape.offset, shape.granules());
    }
}

/// Drops a value and gives its object up.
///
/// # Safety
/// Nobody sees it any more (L1), and this is done once.
unsafe fn finish<T: ?Sized + Target>(location: usize, _: usize) {
    /// Also if the value panics when it is dropped.
    struct GiveUp(usize, Shape);
    impl Drop for GiveUp {
        fn drop(&mut self) {
            // SAFETY: the value was dropped, and the object is ours.
            unsafe { movable::free(self.0, self.1) };
        }
    }
    // SAFETY: the caller's promise; a `T` lies there (D1).
    unsafe {
        let Some(shape) = shape_of::<T>(location) else { return };
        // The last commit may lead there, and to what the value owns.
        let _withholding = movable::withhold(location);
        let _give_up = GiveUp(location - shape.offset, shape);
        let value = T::in_block(place(location));
        if T::NEEDS_DROP && movable::is_sealed_at(location) {
            T::drop_moved(value);
        } else {
            core::ptr::drop_in_place(value.as_ptr());
        }
    }
}
