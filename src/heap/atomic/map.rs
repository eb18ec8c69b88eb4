//! How an atomic heap's file appears in memory.
//!
//! Everything is private memory. What the file holds is mapped from it, copied by the kernel when first written; what it
//! does not hold yet is plain memory, which is cheaper to touch for the first time and can be huge pages.
//!
//! A file system in memory takes space for a hole when it is first touched, even through a private mapping, and ends the
//! process if it has none. So the holes of all areas but the segments are plain memory as well. Those of the segments
//! are not: there may be very many.

use crate::commit::storage::{Part, Storage};
use crate::error::OpenError;
use crate::format::header::Header;
use crate::format::layout::{Area, BITS_PER_UNIT_BYTES, Layout};
use crate::format::soft::SlabState;
use crate::format::{PAGE, UNIT, WINDOW};
use crate::heap::lifecycle::check_soft_state;
use crate::os::CallError;
use crate::os::file_ranges::next_data;
use crate::os::mapping::{self, Access, Advice, Source};
use core::mem::offset_of;

/// The allocator's state as the file has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SoftState {
    /// It belongs to the header, and covers that many units.
    Valid { committed: u64 },
    /// It is that of an earlier close, or damaged, or none.
    Stale,
}

/// Reads from the file what the allocator's state says of itself.
pub(super) fn soft_state(storage: &dyn Storage, header: &Header) -> Result<SoftState, OpenError> {
    use crate::format::soft::{SoftHeader, SoftLocked};
    const _: () = assert!(offset_of!(SoftHeader, epoch) == 0 && offset_of!(SoftHeader, committed_units) == 8);
    const _: () = assert!(offset_of!(SoftHeader, locked) + offset_of!(SoftLocked, used_units) == 16);
    let mut words = [[0_u8; 8]; 3];
    storage.read_at(Part::Data, words.as_flattened_mut(), header.layout.soft.offset)?;
    let [epoch, committed, used] = words.map(u64::from_le_bytes);
    if epoch != header.epoch {
        return Ok(SoftState::Stale);
    }
    match check_soft_state(header, committed, used) {
        Ok(()) => Ok(SoftState::Valid { committed }),
        // Damage, after which it can be made anew as after a crash.
        Err(OpenError::Inconsistent { .. }) => Ok(SoftState::Stale),
        Err(error) => Err(error),
    }
}

/// Maps a heap over its reserved windows.
///
/// `data_len` is the length of the file's valid part, from its start; `file_len` is how long it is.
pub(super) fn map(
    header: &Header,
    fd: i32,
    data_len: u64,
    file_len: u64,
    soft: SoftState,
    huge_pages: bool,
) -> Result<(), CallError> {
    let layout = &header.layout;
    let base = header.window as usize * WINDOW;
    // SAFETY: the windows are reserved for this heap, and nothing is in them yet.
    unsafe { mapping::replace(base, layout.end() as usize, Access::ReadWrite, Source::Anonymous)? };
    let in_file = |offset: u64, len: u64| -> Result<(), CallError> {
        let len = (len as usize).next_multiple_of(PAGE);
        if len == 0 {
            return Ok(());
        }
        // SAFETY: as above.
        unsafe { mapping::replace_with_part(base + offset as usize, len, Access::ReadWrite, fd, offset) }
    };
    // As far as there is data.
    let in_file_with_holes = |offset: u64, len: u64| -> Result<(), CallError> {
        let mut at = offset;
        while let Some(data) = next_data(fd, at, offset + len)? {
            at = data.end;
            let start = data.start / PAGE as u64 * PAGE as u64;
            in_file(start, data.end - start)?;
        }
        Ok(())
    };
    let units = data_len.saturating_sub(layout.segments.offset).div_ceil(UNIT as u64);
    in_file(0, layout.slab_table.offset)?;
    in_file_with_holes(layout.slab_table.offset, units * 8)?;
    in_file_with_holes(layout.roots.offset, layout.roots.len)?;
    in_file_with_holes(layout.types.offset, layout.types.len)?;
    if let SoftState::Valid { committed } = soft {
        in_file_with_holes(layout.soft.offset, layout.soft.len)?;
        let part =
            |area: Area, stride: usize| in_file_with_holes(area.offset, (committed * stride as u64).min(area.len));
        part(layout.slab_states, size_of::<SlabState>())?;
        part(layout.free_bits, BITS_PER_UNIT_BYTES)?;
        part(layout.remote_bits, BITS_PER_UNIT_BYTES)?;
    }
    // Behind its end there would be no memory.
    let end = data_len.min(file_len.next_multiple_of(PAGE as u64));
    in_file(layout.segments.offset, end.saturating_sub(layout.segments.offset))?;
    if huge_pages {
        let start = plain_from(layout, end);
        // Without huge pages everything works, only slower.
        let _ = mapping::advise(base + start, layout.end() as usize - start, Advice::HugePage);
    }
    Ok(())
}

/// From where on the segments are plain memory.
pub(super) fn plain_from(layout: &Layout, data_len: u64) -> usize {
    (data_len.max(layout.segments.offset) as usize).next_multiple_of(PAGE)
}
