//! What lies under a heap's window, and how memory is reserved before it is used.

use crate::format::{SEGMENT_UNITS, UNIT};
use crate::os::file::File;
use crate::os::mapping::{self, Access, Advice, PAGE};
use crate::os::{CallError, errno};
use core::sync::atomic::{AtomicBool, Ordering};

/// Bytes of a segment.
const SEGMENT: usize = SEGMENT_UNITS * UNIT;

/// Whether a heap's memory comes in huge pages.
#[derive(Debug)]
pub(crate) struct HugePages {
    wanted: bool,
    /// Whether the first segment has not been advised yet.
    first_waits: AtomicBool,
}

impl HugePages {
    const fn new(wanted: bool) -> Self {
        Self { wanted, first_waits: AtomicBool::new(wanted) }
    }
}

/// Where a heap's bytes live.
#[derive(Debug)]
pub(crate) enum Backing {
    /// Memory of this process; inaccessible until committed.
    Anonymous { huge_pages: HugePages },
    /// A file that is mapped as a whole, shared.
    File {
        file: File,
        /// Whether this process was forked from the file's and has its memory to itself.
        is_detached: AtomicBool,
        huge_pages: HugePages,
    },
    /// Private memory over a file that others write: what is stored here reaches it by commits, which find the space.
    Private,
    /// A mapping that is only read.
    ReadOnly(Option<File>),
}

impl Backing {
    pub(crate) const fn anonymous(huge_pages: bool) -> Self {
        Self::Anonymous { huge_pages: HugePages::new(huge_pages) }
    }

    pub(crate) const fn of_file(file: File) -> Self {
        Self::of_temporary_file(file, false)
    }

    /// A file that nobody syncs.
    pub(crate) const fn of_temporary_file(file: File, huge_pages: bool) -> Self {
        Self::File { file, is_detached: AtomicBool::new(false), huge_pages: HugePages::new(huge_pages) }
    }

    /// In a forked child: the file is the parent's, and the window holds private memory from now on.
    pub(crate) fn detach(&self) {
        if let Self::File { is_detached, .. } = self {
            // Relaxed: the child has one thread.
            is_detached.store(true, Ordering::Relaxed);
        }
    }

    /// Whether memory that reads as zeros may have no disk space, because it was given back.
    pub(crate) fn can_lose_space(&self) -> bool {
        self.own_file().is_some()
    }

    /// The file that is written by writing to the window.
    fn own_file(&self) -> Option<&File> {
        match self {
            // Relaxed: changes only in a process with one thread.
            Self::File { file, is_detached, .. } => (!is_detached.load(Ordering::Relaxed)).then_some(file),
            _ => None,
        }
    }

    /// Makes a range of the window usable: disk space is reserved, so that a full disk is an error here and no signal
    /// later, and memory is counted where the kernel counts it.
    pub(crate) fn commit(&self, base: usize, offset: usize, len: usize) -> Result<(), CallError> {
        let start = offset & !(PAGE - 1);
        let len = (offset + len).next_multiple_of(PAGE) - start;
        match self {
            // SAFETY: the range lies in the heap's own window, and more rights hurt nobody.
            Self::Anonymous { .. } => unsafe { mapping::protect(base + start, len, Access::ReadWrite) },
            Self::File { .. } => self.own_file().map_or(Ok(()), |file| file.reserve(start as u64, len as u64)),
            // One that is only read is rebuilt in memory of its own before that is protected.
            Self::Private | Self::ReadOnly(None) => Ok(()),
            Self::ReadOnly(Some(_)) => Err(CallError { call: "fallocate", errno: errno::READ_ONLY }),
        }
    }

    fn huge_pages(&self) -> Option<&HugePages> {
        match self {
            Self::Anonymous { huge_pages } | Self::File { huge_pages, .. } if huge_pages.wanted => Some(huge_pages),
            _ => None,
        }
    }

    /// Advice for the segments area of a new mapping, but for its first segment: a small heap stays small.
    ///
    /// A file's pages then come into the page cache by 2 MiB, which takes a fraction of the time. The kernel also writes
    /// them out so, whole where one page was stored to: no advice for a file that is synced.
    pub(crate) fn advise_segments(&self, address: usize, len: usize) {
        if self.huge_pages().is_some() && len > SEGMENT {
            // Without huge pages everything works, only slower.
            let _ = mapping::advise(address + SEGMENT, len - SEGMENT, Advice::HugePage);
        }
    }

    /// The first segment, too, is served from huge pages from now on: called when the heap is no longer small, as often as
    /// one likes.
    #[inline]
    pub(crate) fn advise_first_segment(&self, address: usize) {
        if let Some(huge_pages) = self.huge_pages() {
            // Relaxed: the flag guards nothing but the advice, which does no harm if two give it.
            if huge_pages.first_waits.load(Ordering::Relaxed) {
                huge_pages.first_waits.store(false, Ordering::Relaxed);
                self.advise_first_segment_now(address);
            }
        }
    }

    #[cold]
    fn advise_first_segment_now(&self, address: usize) {
        let _ = mapping::advise(address, SEGMENT, Advice::HugePage);
        if self.is_anonymous() {
            // Some of it has been touched, and without this that part decides for the rest. A kernel before 6.1 does it
            // when it comes to it.
            let _ = mapping::advise(address, SEGMENT, Advice::Collapse);
        }
    }

    pub(crate) fn has_huge_pages(&self) -> bool {
        matches!(self, Self::Anonymous { huge_pages } if huge_pages.wanted)
    }

    /// Gives the memory and the disk space of a free range back; true if it reads as zeros from now on.
    ///
    /// # Safety
    /// The range lies in the heap's window at `base`, and nobody relies on what it holds.
    pub(crate) unsafe fn purge(&self, base: usize, offset: usize, len: usize) -> bool {
        match self {
            // SAFETY: the caller's promise.
            Self::Anonymous { .. } => unsafe { mapping::discard(base + offset, len).is_ok() },
            Self::File { .. } => self.own_file().is_some_and(|file| file.punch(offset as u64, len as u64).is_ok()),
            // Memory that is dropped shows the file again, which may hold other bytes than zeros.
            Self::Private | Self::ReadOnly(_) => false,
        }
    }

    pub(crate) fn is_anonymous(&self) -> bool {
        matches!(self, Self::Anonymous { .. })
    }

    /// The file that the window shows.
    pub(crate) fn file(&self) -> Option<&File> {
        match self {
            Self::ReadOnly(file) => file.as_ref(),
            _ => self.own_file(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alloc::heap_core::testing::TestHeap;
    use crate::alloc::size_class::class_of;
    use crate::alloc::thread_heap::ThreadHeap;
    use crate::os::mapping::Source;
    use crate::os::residency;
    use core::ptr::with_exposed_provenance_mut as exposed;

    /// The address of a segment of memory of which all but the last `missing` bytes are there, with something in it.
    fn segment(missing: usize) -> usize {
        let mapped = mapping::map_anywhere(2 * SEGMENT, Access::ReadWrite, Source::Anonymous).unwrap();
        let start = mapped.next_multiple_of(SEGMENT);
        // SAFETY: just mapped, and nobody knows of it.
        unsafe {
            if missing > 0 {
                mapping::unmap(start + SEGMENT - missing, missing).unwrap();
            }
            for at in (0..SEGMENT / 4).step_by(5_000) {
                exposed::<u8>(start + at).write(at as u8);
            }
        }
        start
    }

    fn is_whole(start: usize) -> bool {
        // SAFETY: mapped by `segment`, and initialised.
        (0..SEGMENT / 4).step_by(5_000).all(|at| unsafe { exposed::<u8>(start + at).read() == at as u8 })
    }

    #[test]
    fn what_lies_in_the_first_segment_stays_when_its_pages_are_moved() {
        let (backing, start) = (Backing::anonymous(true), segment(0));
        backing.advise_first_segment(start);
        assert!(is_whole(start));
    }

    #[test]
    fn where_pages_cannot_be_moved_the_heap_goes_on_with_those_it_has() {
        let (backing, start) = (Backing::anonymous(true), segment(PAGE));
        assert!(mapping::advise(start, SEGMENT, Advice::Collapse).is_err());
        backing.advise_first_segment(start);
        assert!(is_whole(start));
        let last: *mut u8 = exposed(start + SEGMENT - 2 * PAGE);
        // SAFETY: mapped by `segment`.
        unsafe { last.write(7) };
        let Backing::Anonymous { huge_pages } = &backing else { unreachable!() };
        assert!(!huge_pages.first_waits.load(Ordering::Relaxed), "it is not tried again");
    }

    #[test]
    fn a_small_heap_has_small_pages_and_what_it_holds_stays_when_it_grows() {
        let heap = TestHeap::with_backing(256 << 20, Backing::anonymous(true));
        let thread = heap.take_thread_heap();
        let class = class_of(256);
        let take = |count: usize| -> Vec<*mut u8> {
            // SAFETY: this thread's own, and a block has that size.
            let one = |_| unsafe {
                let block =
                    ThreadHeap::allocate(thread, class).unwrap_or_else(|| ThreadHeap::allocate_slow(thread, class));
                block.write_bytes(9, 256);
                block
            };
            (0..count).map(one).collect()
        };
        let few = take(64);
        let present = |heap: &TestHeap| residency::pages(heap.segments, SEGMENT).unwrap().present;
        // Where the kernel makes huge pages unasked, it made one here.
        let unasked = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
        assert!(present(&heap) == 4 || unasked.is_ok_and(|kinds| kinds.contains("[always]")));
        let many = take(20_000);
        let Backing::Anonymous { huge_pages } = &heap.backing else { unreachable!() };
        assert!(!huge_pages.first_waits.load(Ordering::Relaxed));
        for block in few.into_iter().chain(many) {
            // SAFETY: taken above and written whole.
            assert!((0..256).all(|at| unsafe { block.add(at).read() } == 9));
        }
    }
}
