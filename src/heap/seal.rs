//! Sealing: what a sync has seen is not changed in place any more.
//!
//! A [`SalRc`](crate::SalRc) that is the only one to its value may change it in place: nobody could tell the difference, but for
//! whoever looks at the heap's memory from outside, as a shared mapping's file does, or a wild pointer. A heap that seals draws a
//! line with each sync: values of before are copied, or moved, when they are changed.
//!
//! Whether a value is sealed is a bit in the word that counts its pointers, and is looked at together with their number. Sealing sets
//! it for the values that were made since the last time, which [`young`] has noted.
//!
//! # Invariants
//! - **Z1** While the gate is closed no session is open. So a value that a root reaches is not being changed, and every value that a
//!   root reaches then is sealed afterwards.
//! - **Z2** What a heap file holds when it is opened is sealed: its counts are zeros at first, which nobody takes for unsealed, and
//!   become known as sealed.

use super::gate::Capture;
use super::options::Mode;
use super::owner::HeapInner;
use crate::alloc::count_table::place_of;
use crate::alloc::heap_core::{Core, Run};
use crate::alloc::size_class::{CLASSES, class_size, slab_blocks};
use crate::alloc::young;

/// Whether a sync makes values unchangeable that [`SalRc`](crate::SalRc) and [`SalBox`](crate::SalBox) lead to, those of the
/// copy-on-write collections included.
///
/// Other values, as those of [`SalVec`](crate::collections::SalVec), are changed in place at all times.
///
/// ```
/// use sal::prelude::*;
/// use sal::{HeapOptions, SealPolicy, SyncLevel};
///
/// let heap = HeapOptions::new().seal_policy(SealPolicy::Logical).volatile()?;
/// let mut seven = heap.rc(7);
/// let place = SalRc::as_ptr(&seven);
/// *SalRc::make_mut(&mut seven) += 1;
/// assert_eq!(SalRc::as_ptr(&seven), place); // in place: nobody else has it
/// heap.sync_with(SyncLevel::Seal)?;
/// *SalRc::make_mut(&mut seven) += 1;
/// assert_ne!(SalRc::as_ptr(&seven), place); // a copy, which is not sealed
/// assert_eq!(*seven, 9);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SealPolicy {
    /// No: a value with one pointer is always changed in place. For heaps whose commits do not depend on it: it is what
    /// [`Mode::Volatile`] and [`Mode::Atomic`] heaps do unless said otherwise.
    Off,
    /// Yes: [`SalRc::make_mut`](crate::SalRc::make_mut) copies a value that was there at the last sync,
    /// [`SalRc::get_mut`](crate::SalRc::get_mut) does not give it, and a [`SalBox`](crate::SalBox) moves it when it is borrowed
    /// mutably. It is what [`Mode::Shared`] heaps do unless said otherwise. Making a value costs some nanoseconds more.
    ///
    /// In a [`Mode::Shared`] heap values that are dropped stay as they are until the next sync as well, save for what their `Drop` writes
    /// to blocks that they own (as one that scrubs a buffer does), or to elements of a `Vec` or `Box` of `allocator_api2`, which
    /// drop them where they lie.
    Logical,
}

impl SealPolicy {
    pub(super) fn of(asked: Option<Self>, mode: Mode) -> Self {
        asked.unwrap_or(match mode {
            Mode::Shared => Self::Logical,
            Mode::Volatile | Mode::Atomic => Self::Off,
        })
    }
}

impl HeapInner {
    /// Seals what has not been sealed, if the heap does so; the gate is closed (Z1).
    pub(super) fn seal(&self, _closed: &Capture<'_>) {
        let core = self.core();
        let mut sealed = None;
        young::take(core.window, core.layout.windows(), |unit| {
            let run = core.run_of(unit);
            // The units of a slab follow each other.
            if run.is_some() && run != sealed {
                sealed = run;
                run.into_iter().for_each(|run| seal_run(core, run));
            }
        });
    }
}

/// Seals all values in a run.
fn seal_run(core: &Core, run: Run) {
    match run {
        Run::Slab { head, class } if class < CLASSES => {
            let start = core.address_of(head);
            for block in 0..slab_blocks(class) as usize {
                // SAFETY: a counted block was made in this window, so counts are mapped for all of them.
                unsafe { place_of(start + block * class_size(class), Some(class)).as_ref() }.seal();
            }
        }
        // There are no counted blocks of such a class.
        Run::Slab { .. } => {}
        // SAFETY: as above.
        Run::Large { head, .. } => {
            unsafe { place_of(core.address_of(head), None).as_ref() }.seal();
        }
    }
}
