//! What one can tell the kernel about a region's pages.

use super::Region;
use crate::format::PAGE;
use crate::os::mapping;
use core::ops::{Bound, RangeBounds};
use core::sync::atomic::Ordering;
use std::io;

/// How elements will be used, for [`Region::advise`]. None of this changes what they hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Advice {
    /// In no particular way: takes [`Advice::Sequential`] and [`Advice::Random`] back.
    Normal,
    /// From first to last: the kernel reads far ahead from the file.
    Sequential,
    /// Here and there: it does not read ahead.
    Random,
    /// Soon: what is not in memory is read in, in the background. [`Region::prefetch`] is short for this.
    WillNeed,
    /// Not for a while: these pages go first when memory is short.
    Cold,
    /// Not for a long while: they are written out (to the temporary file, or to swap space if there is some) and dropped.
    PageOut,
    /// Soon, and now is the time to pay for it: every page gets memory. Linux 5.14. In an atomic heap these pages count as
    /// written.
    Populate,
    /// They are worth huge pages: what lies in them is moved there now. Linux 6.1.
    HugePages,
}

impl Advice {
    /// Whether the mapping remembers it.
    fn lasts(self) -> bool {
        matches!(self, Self::Sequential | Self::Random)
    }

    fn of_mapping(self) -> mapping::Advice {
        match self {
            Self::Normal => mapping::Advice::Normal,
            Self::Sequential => mapping::Advice::Sequential,
            Self::Random => mapping::Advice::Random,
            Self::WillNeed => mapping::Advice::WillNeed,
            Self::Cold => mapping::Advice::Cold,
            Self::PageOut => mapping::Advice::PageOut,
            Self::Populate => mapping::Advice::PopulateWrite,
            Self::HugePages => mapping::Advice::Collapse,
        }
    }
}

impl<T> Region<T> {
    /// Tells the kernel how the elements of a range will be used; the range may reach into the room behind the last element,
    /// up to the capacity. All pages count that it touches.
    ///
    /// ```
    /// use sal::region::Advice;
    /// use sal::{HeapOptions, Region};
    ///
    /// let heap = HeapOptions::new().temporary_in(std::env::temp_dir()).volatile()?;
    /// let table = Region::<u64>::default_in(1 << 20, heap.alloc());
    /// table.iter().sum::<u64>();
    /// table.advise(.., Advice::PageOut)?; // memory is needed elsewhere
    /// table.prefetch(1000..2000)?; // here we go on
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// What the kernel says, above all `InvalidInput` for advice that it does not know. It is advice: nothing else depends on
    /// it.
    ///
    /// # Panics
    /// If the range reaches past the capacity, or its end lies before its start.
    pub fn advise(&self, range: impl RangeBounds<usize>, advice: Advice) -> io::Result<()> {
        let Some((start, len)) = self.pages_of(range) else { return Ok(()) };
        if advice.lasts() {
            // Relaxed: whoever drops the region has it alone, and so sees what others did with it.
            self.is_advised.store(true, Ordering::Relaxed);
        }
        mapping::advise(start, len, advice.of_mapping()).map_err(|error| error.errno.into())
    }

    /// Has the elements of a range read in, in the background, if they are not in memory.
    ///
    /// # Errors
    /// As for [`Region::advise`].
    ///
    /// # Panics
    /// As for [`Region::advise`].
    pub fn prefetch(&self, range: impl RangeBounds<usize>) -> io::Result<()> {
        self.advise(range, Advice::WillNeed)
    }

    /// The pages that the elements of a range lie in: where they begin and their bytes; none if there are none.
    fn pages_of(&self, range: impl RangeBounds<usize>) -> Option<(usize, usize)> {
        let room = self.capacity();
        let from = match range.start_bound() {
            Bound::Included(&from) => Some(from),
            Bound::Excluded(&before) => before.checked_add(1),
            Bound::Unbounded => Some(0),
        };
        let to = match range.end_bound() {
            Bound::Included(&last) => last.checked_add(1),
            Bound::Excluded(&to) => Some(to),
            Bound::Unbounded => Some(room),
        };
        let (Some(from), Some(to)) = (from, to) else { panic!("the range reaches past the capacity, which is {room}") };
        assert!(to <= room, "the range reaches to {to}, past the capacity, which is {room}");
        assert!(from <= to, "the range begins at {from}, behind its end, which is {to}");
        if from == to || self.run_len == 0 {
            return None;
        }
        // The run begins at a page.
        let start = from * size_of::<T>() / PAGE * PAGE;
        let end = (to * size_of::<T>()).next_multiple_of(PAGE);
        Some((self.start.as_ptr().addr() + start, end - start))
    }

    /// Before the run is given back: the mapping forgets what it was told of it.
    pub(super) fn take_advice_back(&mut self) {
        if *self.is_advised.get_mut() {
            // What cannot be taken back makes reading slower, and nothing else.
            let _ = mapping::advise(self.start.as_ptr().addr(), self.run_len, mapping::Advice::Normal);
            *self.is_advised.get_mut() = false;
        }
    }
}
