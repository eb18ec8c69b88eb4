//! The allocator's state, made anew from the slab table.
//!
//! After an unclean stop only the table and the blocks are there. Everything that the table says is allocated counts as
//! in use, block by block, and everything else as free; who finds out which blocks nobody reaches gives them back
//! later, as any thread frees another one's blocks.
//!
//! A commit is captured while threads without a session go on allocating and freeing, so its table may be a mixture of
//! several moments, by pages. That touches only runs that nothing in the commit refers to: a run that is reachable was
//! there all the time, with all its entries. So two runs that overlap, or one whose tails are missing, are not damage.
//! They are *dropped*: of overlapping runs the one with the highest head stays, if it is whole.
//!
//! # Invariants
//! - **E1** A run that stays is whole, and no entry inside it leads elsewhere. Every other entry below the end is free.
//! - **E2** A slab that stays has no owner and is in no list, and all its blocks count as handed out.
//!
//! # What survives a crash
//! The table, which is corrected in place; the rest is derived from it and can be derived again.

use super::backing::Backing;
use super::heap_core::Core;
use super::size_class::{class_size, slab_blocks, slab_units};
use super::whole_runs::{SlabTable, drop_broken_runs, head_flaw};
use crate::format::slab_entry::{SlabEntry, units_of_pages};
use crate::format::soft::SlabLocal;
use crate::format::{PAGE, SEGMENT_UNITS};
use crate::os::CallError;
use crate::sync::Ordering;

/// What the table held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rebuilt {
    /// Units that are usable now.
    pub(crate) units: usize,
    pub(crate) used_units: u64,
    pub(crate) slabs: u64,
    /// Blocks of these slabs, and bytes in them.
    pub(crate) blocks: u64,
    pub(crate) block_bytes: u64,
    pub(crate) large_count: u64,
    pub(crate) large_bytes: u64,
    /// Runs that were not whole.
    pub(crate) dropped: u64,
    /// Tails that led nowhere.
    pub(crate) orphan_tails: u64,
}

/// Why there is no state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RebuildError {
    /// The entry of that unit, so many bytes from the heap's start, is one that was never stored.
    Damaged { unit: usize, offset: u64, what: &'static str },
    /// Memory for the state could not be had.
    Os(CallError),
}

impl From<CallError> for RebuildError {
    fn from(error: CallError) -> Self {
        Self::Os(error)
    }
}

impl SlabTable for &Core {
    fn word(&self, unit: usize) -> u64 {
        self.raw_entry(unit)
    }

    fn clear(&mut self, unit: usize) {
        self.set_entry(unit, SlabEntry::Free);
    }
}

/// Makes the allocator's state from the table's first `units` entries.
///
/// # Errors
/// See [`RebuildError`]. The state is worth nothing then.
///
/// # Safety
/// The heap's soft areas hold zeros as far as they are mapped, and nobody else has used `core`, nor does now. Pages of
/// the table that hold no entry of these units hold zeros.
pub(crate) unsafe fn rebuild(core: &Core, units: usize) -> Result<Rebuilt, RebuildError> {
    // SAFETY: the caller's promise.
    unsafe { rebuild_with(core, units, false) }
}

/// As [`rebuild`], of a file whose table may be newer than its length: runs that reach past the end are dropped.
///
/// # Errors
/// As for [`rebuild`].
///
/// # Safety
/// As for [`rebuild`].
pub(crate) unsafe fn rebuild_shorter(core: &Core, units: usize) -> Result<Rebuilt, RebuildError> {
    // SAFETY: the caller's promise.
    unsafe { rebuild_with(core, units, true) }
}

/// # Safety
/// As for [`rebuild`].
unsafe fn rebuild_with(core: &Core, units: usize, may_be_shorter: bool) -> Result<Rebuilt, RebuildError> {
    if units as u64 > core.layout.units {
        return Err(damaged(core, core.layout.units as usize, "more units than the heap has"));
    }
    let _guard = core.lock.lock();
    // SAFETY: under the lock (K1).
    let space = unsafe { &mut *core.space.get() };
    // Of a heap that is only read, the state lies in memory that was made for it.
    let backing = if let Backing::ReadOnly(_) = core.backing { &Backing::Private } else { &core.backing };
    let mut rebuilt = Rebuilt { units: space.adopt(backing, units)?, ..Rebuilt::default() };
    // The rest of the last page of the table that holds something. Whatever stood there would show inside a run that grows
    // over it.
    const ENTRIES: usize = PAGE / size_of::<u64>();
    for unit in units..units.next_multiple_of(ENTRIES).min(core.layout.units as usize) {
        if core.raw_entry(unit) != 0 {
            core.set_entry(unit, SlabEntry::Free);
        }
    }
    rebuilt.dropped = drop_broken_runs(&mut { core }, units, core.ladder, |unit, what| {
        let is_cut_off = head_flaw(core.raw_entry(unit), unit, core.layout.units as usize, core.ladder).is_none();
        if may_be_shorter && is_cut_off { Ok(()) } else { Err(damaged(core, unit, what)) }
    })?;
    let mut unit = 0;
    while unit < units {
        let len = match core.entry(unit) {
            SlabEntry::SlabHead { class } => {
                // SAFETY: as promised, nobody else is there, and the slab is whole (E1).
                unsafe { adopt_slab(core, unit, class as usize, &mut rebuilt) };
                slab_units(class as usize)
            }
            SlabEntry::LargeHead { len_pages } => {
                let len = units_of_pages(len_pages);
                clear_inside(core, unit, len, &mut rebuilt);
                rebuilt.large_count += 1;
                rebuilt.large_bytes += len_pages * PAGE as u64;
                len
            }
            entry => {
                if entry != SlabEntry::Free {
                    core.set_entry(unit, SlabEntry::Free);
                    rebuilt.orphan_tails += 1;
                }
                unit += 1;
                continue;
            }
        };
        space.adopt_run(unit, len);
        rebuilt.used_units += len as u64;
        unit += len;
    }
    // SAFETY: mapped, and under the lock (K1).
    let locked = unsafe { &(*core.soft()).locked };
    locked.large_count.store(rebuilt.large_count, Ordering::Relaxed);
    locked.large_bytes.store(rebuilt.large_bytes, Ordering::Relaxed);
    #[cfg(feature = "checked")]
    core.checked.set_earlier_units(rebuilt.units);
    Ok(rebuilt)
}

fn damaged(core: &Core, unit: usize, what: &'static str) -> RebuildError {
    RebuildError::Damaged { unit, offset: core.layout.slab_table.offset + unit as u64 * 8, what }
}

/// # Safety
/// Under the heap's lock; a whole slab of the class begins at `head`, and nobody else touches its state.
unsafe fn adopt_slab(core: &Core, head: usize, class: usize, rebuilt: &mut Rebuilt) {
    let blocks = slab_blocks(class);
    let state = core.slab_state(head);
    // SAFETY: the caller's promise. The remote words and the free bits are zeros already.
    unsafe {
        (*state).owner.store(0, Ordering::Relaxed);
        (*state).local = SlabLocal {
            free: 0,
            fresh: blocks,
            blocks,
            next: 0,
            previous: 0,
            is_listed: 0,
            remote_early: 0,
            is_zeroed: 0,
            unused: [0; 7],
        };
    }
    let (slabs, live) = (core.slabs_of(class), core.live_of(class));
    slabs.store(slabs.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    live.store(live.load(Ordering::Relaxed) + i64::from(blocks), Ordering::Relaxed);
    rebuilt.slabs += 1;
    rebuilt.blocks += u64::from(blocks);
    rebuilt.block_bytes += u64::from(blocks) * class_size(class) as u64;
}

/// Makes the entries inside a large object free that must be: those behind the first border and between borders.
fn clear_inside(core: &Core, head: usize, len: usize, rebuilt: &mut Rebuilt) {
    let border = (head + 1).next_multiple_of(SEGMENT_UNITS);
    for unit in (border..head + len).filter(|unit| unit % SEGMENT_UNITS != 0) {
        if core.entry(unit) != SlabEntry::Free {
            core.set_entry(unit, SlabEntry::Free);
            rebuilt.orphan_tails += 1;
        }
    }
}

#[cfg(test)]
mod tests;
