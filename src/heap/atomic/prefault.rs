//! Making memory of an atomic heap ready without making it part of a commit.
//!
//! A page that was made ready looks written: it is plain memory of our own, and nobody has armed it yet. What lies behind
//! the segments ever in use no capture looks at. Of a segment that comes into use, huge pages are reported whole with
//! their first write anyway, ready or not. Small pages are armed as they are made ready.
//!
//! # Invariants
//! - **E1** [Q1](super::capture) holds: while pages are armed without being noted nobody captures, and if somebody has taken
//!   units of that segment by then, all of it is noted.

use super::Atomic;
use super::capture::{Capture, page_of};
use super::regions::REGION;
use crate::alloc::heap_core::Core;
use crate::format::{SEGMENT_UNITS, UNIT};
use crate::os::CallError;
use crate::os::dirty_pages::Tracking;
use core::ops::Range;

const _: () = assert!(REGION == SEGMENT_UNITS * UNIT);

impl Atomic {
    /// The first segment that is plain memory and no part of the file.
    pub(in crate::heap) fn first_plain_unit(&self, core: &Core) -> usize {
        let segments = core.layout.segments.offset as usize;
        (self.plain_from - segments).div_ceil(UNIT).next_multiple_of(SEGMENT_UNITS)
    }

    /// As [`Core::make_ready`], with one segment. Nothing is done where pages can neither be huge nor be armed: all of them
    /// would count as new ones.
    pub(in crate::heap) fn make_ready(&self, core: &Core, units: &Range<usize>) -> Result<usize, CallError> {
        if self.upkeep.is_some() {
            return core.make_ready(units);
        }
        let mut capture = self.capture();
        if capture.tracker.tracking() != Tracking::WriteProtect {
            return Ok(0);
        }
        capture.register(core)?;
        let bytes = core.make_ready(units)?;
        capture.arm_fresh(core, units);
        Ok(bytes)
    }
}

impl Capture {
    /// Arms a segment that nobody is thought to have written to (E1).
    fn arm_fresh(&mut self, core: &Core, units: &Range<usize>) {
        let region = core.address_of(units.start);
        self.scan_region(region, false);
        let is_taken = {
            let _guard = core.lock.lock();
            // SAFETY: under the lock (K1).
            unsafe { (*core.space.get()).peak_end() > units.start }
        };
        if is_taken {
            self.dirty.add(page_of(self.base, region)..page_of(self.base, region + REGION));
        }
    }
}
