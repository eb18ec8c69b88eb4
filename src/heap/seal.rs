//! Sealing: what a sync has seen is not changed in place any more.
//!
//! A [`SalRc`](crate::SalRc) that is the only one to its value may change it in place: nobody could tell the difference, but for
//! whoever looks at the heap's memory from outside, as a shared mapping's file does, or a wild pointer. A heap that seals draws a
//! line with each sync: values of before are copied, or moved, when they are changed.
//!
//! Whether a value is sealed is a bit in the word that counts its pointers, and is looked at together with their number. Sealing sets
//! it for the values that were made since the last time, which [`young`] has noted.
//!
//! A heap may also have memory that holds only sealed values made read-only ([`protect`]).
//!
//! # Invariants
//! - **Z1** While the gate is closed no session is open. So a value that a root reaches is not being changed, and every value that a
//!   root reaches then is sealed afterwards.
//! - **Z2** What a heap file holds when it is opened is sealed: its counts are zeros at first, which nobody takes for unsealed, and
//!   become known as sealed.

pub(super) mod protect;

use super::gate::Capture;
use super::options::Mode;
use super::owner::HeapInner;
use super::stats::Bytes;
use crate::alloc::count_table;
use crate::alloc::heap_core::{Core, Run};
use crate::alloc::size_class::CLASSES;
use crate::alloc::young;
use protect::Candidates;
use std::fmt;
use std::sync::atomic::Ordering;

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
    /// As [`SealPolicy::Logical`], and memory that holds nothing but sealed values is made read-only: a stray write to it, by a wild
    /// pointer or a bug in unsafe code, ends the process with a fault (`SIGSEGV`) instead of damaging the value.
    ///
    /// That goes by pieces of 2 MiB, which hold counted values only, all of them sealed and made since the heap was opened. What lies
    /// in others stays as it was: beside values that are not sealed, blocks of other kinds, or free blocks; and all that was in the
    /// file. So it is bulk that is protected, not each value. Blocks that are freed in read-only memory wait until an eighth of the
    /// piece is free, or the heap has no more room. [`Stats::seals`](crate::Stats::seals) tells how much there is of both.
    ///
    /// Who changes a value that is sealed meanwhile gets the same fault, so of such a heap
    /// - values are changed within write sessions, for which a sync waits. A `&mut` from [`SalRc::make_mut`](crate::SalRc::make_mut),
    ///   [`SalRc::get_mut`](crate::SalRc::get_mut), a [`SalBox`](crate::SalBox) or a collection that is used outside of sessions
    ///   while another thread syncs may lead to memory that has become read-only. Making, reading, sharing and dropping values is
    ///   safe anywhere;
    /// - values that change behind a shared reference (atomics, cells, locks, a [`SalArcCell`](crate::SalArcCell)) do not lie in counted
    ///   blocks, whoever changes them.
    ///
    /// A fault is the worst that comes of it.
    ///
    /// ```
    /// use sal::prelude::*;
    /// use sal::{HeapOptions, SealPolicy, SyncLevel};
    ///
    /// let heap = HeapOptions::new().seal_policy(SealPolicy::Mprotect).volatile()?;
    /// let values: Vec<_> = (0..100_000).map(|n| heap.rc([n; 16])).collect();
    /// heap.sync_with(SyncLevel::Seal)?;
    /// assert!(heap.stats().seals.is_some_and(|seals| seals.protected_bytes > 4 << 20));
    /// drop(values);
    /// assert_eq!(heap.stats().live_bytes, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    Mprotect,
}

/// What a heap with [`SealPolicy::Mprotect`] has made read-only.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct SealStats {
    /// Bytes of memory that are read-only now.
    pub protected_bytes: u64,
    /// Ranges that these form. The kernel has up to two mappings more for each, so there is a limit to their number: 4,096 in a
    /// process.
    pub ranges: u64,
    /// Bytes of blocks that were freed there and wait until they can be used again; among the live ones until then.
    pub withheld_bytes: u64,
    /// Bytes that stayed writable because there would have been too many ranges, each time that they might have been made read-only.
    pub unprotected_bytes: u64,
    /// Calls of `mprotect` that failed; what they were for stayed as it was.
    pub failed_calls: u64,
}

impl fmt::Display for SealStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "seals: {} read-only in {} ranges, {} wait there to be free, {} left writable, {} calls failed",
            Bytes(self.protected_bytes),
            self.ranges,
            Bytes(self.withheld_bytes),
            Bytes(self.unprotected_bytes),
            self.failed_calls
        )
    }
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
        // Relaxed: set before the heap was known to others.
        let mut candidates = core.protection.is_wanted.load(Ordering::Relaxed).then(Candidates::default);
        let mut sealed = None;
        young::take(core.window, core.layout.windows(), |unit| {
            let run = core.run_of(unit);
            // The units of a slab follow each other.
            if run.is_none() || run != sealed {
                sealed = run;
                let is_full = run.is_some_and(|run| seal_run(core, run));
                if let Some(candidates) = &mut candidates {
                    candidates.add(core, unit, run, is_full);
                }
            }
        });
        if let Some(candidates) = candidates {
            protect::protect(core, candidates);
        }
    }
}

/// Seals all values in a run; whether it holds nothing else.
fn seal_run(core: &Core, run: Run) -> bool {
    match run {
        Run::Slab { head, class } if class < CLASSES => {
            // SAFETY: a slab's, and a counted block was made in this window, so counts are mapped for all of them.
            let counts = unsafe { count_table::of_slab(core.address_of(head), class) };
            counts.filter(|count| !count.seal()).count() == 0
        }
        // There are no counted blocks of such a class.
        Run::Slab { .. } => false,
        // SAFETY: as above.
        Run::Large { head, .. } => unsafe { count_table::place_of(core.address_of(head), None).as_ref() }.seal(),
    }
}
