//! Memory that is made ready before anybody needs it: what lies behind all that was ever in use.
//!
//! The heap grows at its end, segment by segment. Whoever touches a page first waits for the kernel to find and clear it; a
//! thread that does nothing else can do that ahead of them. Pages of zeros that are written by nobody change nothing.

use super::backing::Backing;
use super::heap_core::Core;
use crate::format::layout::BITS_PER_UNIT_BYTES;
use crate::format::soft::SlabState;
use crate::format::{PAGE, SEGMENT_UNITS, UNIT};
use crate::os::CallError;
use crate::os::mapping;
use core::ops::Range;

/// What a heap tells whoever maintains it; see [`crate::os::signal`].
pub(crate) mod event {
    /// A segment was taken into use that never was before.
    pub(crate) const GROWN: u32 = 1;
    /// Units were given back.
    pub(crate) const FREED: u32 = 1 << 1;
    /// The log has become long.
    pub(crate) const LOG_GREW: u32 = 1 << 2;
    /// Huge pages that writes have split may be made whole.
    pub(crate) const SPLIT: u32 = 1 << 3;
    /// It shall end.
    pub(crate) const STOP: u32 = 1 << 4;
    /// Of a tract not much is alive any more.
    pub(crate) const SPARSE: u32 = 1 << 5;
    /// There is a hot set to look after.
    pub(crate) const HOT_SET: u32 = 1 << 6;
    /// With every [`FREED`], and wakes nobody.
    pub(crate) const FREED_AGAIN: u32 = 1 << 16;

    const _: () = assert!(FREED_AGAIN & crate::os::signal::QUIET != 0);
}

impl Core {
    /// The next segment to make ready so that `ahead` units are behind the last one ever in use, and that lies at `from` or
    /// behind it; memory is reserved for it. None if enough are ready, or the heap has no more. When enough are, nobody is told of growth
    /// until half of them are in use: to be told costs who has the heap grow as much as a call to the system.
    pub(crate) fn next_to_make_ready(&self, from: usize, ahead: usize) -> Result<Option<Range<usize>>, CallError> {
        let _guard = self.lock.lock();
        // SAFETY: under the lock (K1).
        let space = unsafe { &mut *self.space.get() };
        let peak_end = space.peak_end();
        let start = from.max(peak_end).next_multiple_of(SEGMENT_UNITS);
        let end = start + SEGMENT_UNITS;
        let most = space.capacity_units.min(space.most_committed).min(self.layout.units as usize);
        let is_enough = start >= peak_end.saturating_add(ahead);
        // Growth is looked at where a segment begins: the last one that is ready is such a place.
        let last = start.saturating_sub(SEGMENT_UNITS);
        space.quiet_until = if is_enough { peak_end.saturating_add(ahead / 2).min(last) } else { 0 };
        if is_enough || end > most {
            return Ok(None);
        }
        if space.committed_units() < peak_end {
            // It has shrunk, and will first grow where it was.
            return Ok(None);
        }
        // Private memory can be used without: what counts as reserved is what commits look at.
        if !matches!(self.backing, Backing::Private) {
            space.commit(&self.backing, end)?;
        }
        Ok(Some(start..end))
    }

    /// What was made ready may have been given back: growth is told of again.
    pub(crate) fn forget_ready(&self) {
        let _guard = self.lock.lock();
        // SAFETY: under the lock (K1).
        unsafe { (*self.space.get()).quiet_until = 0 };
    }

    /// Makes units ready, and what the allocator keeps for them; returns how many bytes. Others may take them meanwhile.
    pub(crate) fn make_ready(&self, units: &Range<usize>) -> Result<usize, CallError> {
        let layout = &self.layout;
        let parts = [
            (layout.slab_states.offset, size_of::<SlabState>()),
            (layout.free_bits.offset, BITS_PER_UNIT_BYTES),
            (layout.remote_bits.offset, BITS_PER_UNIT_BYTES),
            (layout.segments.offset, UNIT),
        ];
        let mut bytes = 0;
        for (offset, stride) in parts {
            let start = (offset as usize + units.start * stride) & !(PAGE - 1);
            let end = (offset as usize + units.end * stride).next_multiple_of(PAGE);
            // Private or shared, a write that changes nothing makes a page ready.
            mapping::copy_private_range(self.base + start, end - start)?;
            bytes += end - start;
        }
        Ok(bytes)
    }

    /// Bytes in runs of at least `least` free units that do not read as zeros: what purging could give back.
    pub(crate) fn purgeable(&self, least: usize) -> usize {
        let _guard = self.lock.lock();
        let mut bytes = 0;
        // SAFETY: under the lock (K1).
        unsafe {
            (*self.space.get()).give_back(least, true, |_, len| {
                bytes += len;
                false
            });
        }
        bytes
    }
}
