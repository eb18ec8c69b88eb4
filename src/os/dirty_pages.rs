//! Which pages of a private mapping may have been written since somebody last asked.
//!
//! A [`Tracker`] arms each page it reports, so that the next scan reports only what has been written since
//! ([`Tracking::WriteProtect`]). Where the kernel cannot do that, it reports all pages that are our own copies or
//! anonymous, again and again, and the caller compares ([`Tracking::Compare`]). Pages that were never written (pages
//! of the file, of zeros, not there at all) are not reported by either. No memory is armed before its first report: what
//! is fresh costs nothing and may come as huge pages; the first write to such a page reports all of it. Where a
//! file is mapped, its pages are armed as well, and what does not exist beside them, because it takes long to tell them
//! from private pages and a bit says that they are armed.
//!
//! A tracker that loses its hold on a range (the descriptor was closed, the range was moved or mapped anew) notices at
//! the next scan, reports all private pages of the range once, and takes hold again; if that is refused, it compares
//! from then on.
//!
//! What is written by a device into pinned pages (direct reads in flight, registered buffers of io_uring) goes around
//! the page tables: it is seen only if the page is written by other means, too, or not yet armed.
//!
//! # Invariants
//! - **T1** A page written since a scan last reported it, or written and never reported, is reported by the next scan of
//!   it, or that scan fails.
//! - **T2** Only the process that made the tracker reads or arms pages through it: the page tables behind its descriptors
//!   are those of that process, also in a child after fork.
//!
//! # Volatile
//! All of it is gone with the process. A heap that is opened maps its file anew, and then nothing in it is private.

use super::mapping::{self, Access, Advice, PAGE, Source};
pub(crate) use super::pagemap::Memory;
use super::pagemap::Pagemap;
use super::userfault::Userfault;
use super::{CallError, Errno, process};
use core::ops::Range;
use core::ptr;
use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How written pages are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tracking {
    /// Each reported page is armed against writes, which the kernel lets through and remembers. Linux 6.8.10.
    WriteProtect,
    /// All private pages are candidates; the caller compares them with what it last saw.
    Compare,
}

/// Finds the written pages of the ranges that are registered with it; its end disarms them.
///
/// Scans exclude each other. `found` must not call the tracker.
#[derive(Debug)]
pub(crate) struct Tracker {
    /// The process whose pages these are (T2).
    process: u64,
    /// Held for a whole scan. Taken before `userfault`.
    pagemap: Mutex<Pagemap>,
    /// None: comparing.
    userfault: Mutex<Option<Userfault>>,
    /// Whether all scans since the last [`Tracker::begin`] reported only what was written.
    is_exact: AtomicBool,
}

/// Scans that follow each other; meanwhile there are no others.
#[derive(Debug)]
pub(crate) struct Scans<'a> {
    tracker: &'a Tracker,
    pagemap: MutexGuard<'a, Pagemap>,
}

/// What a panic in a callback leaves behind is as good as before: there is nothing half-done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The whole pages that a range touches.
fn pages(address: usize, len: usize) -> Range<usize> {
    let start = address & !(PAGE - 1);
    start..address.saturating_add(len).checked_next_multiple_of(PAGE).unwrap_or(usize::MAX & !(PAGE - 1))
}

impl Tracker {
    /// The wanted way, or the best that works here, tried on a few pages: filters of system calls, old kernels and odd
    /// configurations are found out now and not when something is to be made durable. `Err`: nothing works here.
    pub(crate) fn new(wanted: Option<Tracking>) -> Result<Self, CallError> {
        if wanted != Some(Tracking::Compare) {
            if let Ok(tracker) = Self::new_as(Tracking::WriteProtect) {
                return Ok(tracker);
            }
        }
        Self::new_as(Tracking::Compare)
    }

    fn new_as(tracking: Tracking) -> Result<Self, CallError> {
        let userfault = match tracking {
            Tracking::WriteProtect => Some(Userfault::open()?),
            Tracking::Compare => None,
        };
        let tracker = Self {
            process: process::incarnation(),
            pagemap: Mutex::new(Pagemap::open()?),
            userfault: Mutex::new(userfault),
            is_exact: AtomicBool::new(tracking == Tracking::WriteProtect),
        };
        let scratch = mapping::map_anywhere(3 * PAGE, Access::ReadWrite, Source::Anonymous)?;
        let tried = tracker.try_out(scratch);
        // SAFETY: mapped above, and only `try_out` knew of it.
        let unmapped = unsafe { mapping::unmap(scratch, 3 * PAGE) };
        tried.and(unmapped)?;
        if tracker.tracking() == tracking { Ok(tracker) } else { Err(unusable()) }
    }

    /// Writes to three fresh pages in turn and looks whether the scans see just that.
    fn try_out(&self, scratch: usize) -> Result<(), CallError> {
        // SAFETY: the caller's scratch pages, of which nobody else knows.
        let write = |page: usize| unsafe {
            ptr::with_exposed_provenance_mut::<u8>(scratch + page * PAGE).write_volatile(1);
        };
        let seen = |expected: u32| {
            let mut seen = 0_u32;
            self.begin()?.scan(scratch, 3 * PAGE, Memory::Mixed, &mut |range| {
                for page in range.step_by(PAGE) {
                    seen |= 1 << ((page - scratch) / PAGE).min(31);
                }
            })?;
            if seen == expected { Ok(()) } else { Err(unusable()) }
        };
        let is_exact = self.tracking() == Tracking::WriteProtect;
        self.register(scratch, 3 * PAGE)?;
        seen(0)?;
        write(0);
        write(2);
        seen(0b101)?;
        seen(if is_exact { 0 } else { 0b101 })?;
        write(1);
        write(2);
        seen(if is_exact { 0b110 } else { 0b111 })
    }

    /// How pages are found now: a tracker that lost the means to protect pages goes over to comparing.
    pub(crate) fn tracking(&self) -> Tracking {
        if lock(&self.userfault).is_some() { Tracking::WriteProtect } else { Tracking::Compare }
    }

    /// Whether the pages that all scans since the last [`Tracker::begin`] reported were really written, or newly made by
    /// a write near by; the caller compares them otherwise.
    pub(crate) fn sees_exactly(&self) -> bool {
        // Relaxed: asked by the thread that scanned.
        self.is_exact.load(Ordering::Relaxed)
    }

    fn check_process(&self) -> Result<(), CallError> {
        let is_same = process::incarnation() == self.process;
        if is_same { Ok(()) } else { Err(CallError { call: "fork", errno: Errno(libc::ESRCH) }) }
    }

    /// Registers what is mapped in a range, of however many mappings; cheap, also a second time. Nothing is armed before
    /// the first scan. What is mapped there later on must be registered, too.
    pub(crate) fn register(&self, address: usize, len: usize) -> Result<(), CallError> {
        self.check_process()?;
        self.register_pages(&pages(address, len))
    }

    fn register_pages(&self, range: &Range<usize>) -> Result<(), CallError> {
        let mut userfault = lock(&self.userfault);
        let Some(held) = userfault.as_mut() else { return Ok(()) };
        if !held.is_intact() {
            // What was registered with the old one is registered again when its scan finds out.
            *held = Userfault::open()?;
        }
        held.register(range.start, range.len())
    }

    /// Begins a series of scans, with one look at whether the tracker still has its means: who takes them away in between
    /// makes the next scan fail, or report too much.
    ///
    /// `Err`: nothing can be scanned. In a child of the tracker's process it is always `ESRCH`.
    pub(crate) fn begin(&self) -> Result<Scans<'_>, CallError> {
        self.check_process()?;
        let mut pagemap = lock(&self.pagemap);
        // Relaxed, here and below: read by the thread that scans.
        self.is_exact.store(false, Ordering::Relaxed);
        pagemap.keep_open()?;
        self.is_exact.store(true, Ordering::Relaxed);
        Ok(Scans { tracker: self, pagemap })
    }

    /// Takes hold of a range that is registered no more; if that is refused, goes over to comparing.
    #[cold]
    fn arm_again(&self, pagemap: &Pagemap, range: &Range<usize>, memory: Memory) {
        let armed =
            self.register_pages(range).is_ok() && pagemap.take_written(range.clone(), memory, &mut |_| ()).is_ok();
        if !armed {
            *lock(&self.userfault) = None;
        }
    }

    /// Reports the pages of a range that are our own copies or anonymous: all that were written since they were mapped,
    /// whatever has been reported before. Arms nothing, and needs no registration; of registered memory, pages that do not
    /// exist may be among them.
    pub(crate) fn private_pages(
        &self,
        address: usize,
        len: usize,
        found: &mut dyn FnMut(Range<usize>),
    ) -> Result<(), CallError> {
        self.check_process()?;
        let mut pagemap = lock(&self.pagemap);
        pagemap.keep_open()?;
        pagemap.private_pages(pages(address, len), found)
    }

    /// Whether all of a range lies in huge pages that no write has split.
    pub(crate) fn is_huge(&self, address: usize, len: usize) -> bool {
        self.check_process().is_ok() && lock(&self.pagemap).is_huge(pages(address, len))
    }

    /// Moves whole huge pages of registered memory, split by earlier writes, together again. The next scan reports them
    /// as written. An error is harmless: at worst the next scan has to take hold of the range again.
    pub(crate) fn collapse(&self, address: usize, len: usize) -> Result<(), CallError> {
        self.check_process()?;
        // No scan sees the range while it is not registered.
        let _no_scan = lock(&self.pagemap);
        let userfault = lock(&self.userfault);
        let Some(held) = userfault.as_ref().filter(|held| held.is_intact()) else {
            return mapping::advise(address, len, Advice::Collapse);
        };
        // What is armed cannot be moved. Disarmed, all of it counts as written, so that no write meanwhile is lost.
        held.unregister(address, len)?;
        let collapsed = mapping::advise(address, len, Advice::Collapse);
        held.register(address, len)?;
        collapsed
    }
}

impl Scans<'_> {
    /// Reports every page that may have been written since the last scan of it (at the first: every private page), as
    /// ranges of addresses, some of them perhaps twice, and arms them again, in one step per page: a write meanwhile is
    /// reported now or next time. What `memory` says decides how long that takes; only [`Memory::Anonymous`] must be true,
    /// or else pages of a file that were only read may be reported, too, once.
    ///
    /// `Err`: the whole range must be taken as written, because some pages may have been armed without a report.
    pub(crate) fn scan(
        &mut self,
        address: usize,
        len: usize,
        memory: Memory,
        found: &mut dyn FnMut(Range<usize>),
    ) -> Result<(), CallError> {
        let Self { tracker, pagemap } = self;
        let range = pages(address, len);
        if tracker.tracking() == Tracking::Compare {
            tracker.is_exact.store(false, Ordering::Relaxed);
            return pagemap.private_pages(range, found);
        }
        let Err(stopped) = pagemap.take_written(range.clone(), memory, found) else { return Ok(()) };
        tracker.is_exact.store(false, Ordering::Relaxed);
        let rest = stopped.at..range.end;
        if stopped.error.errno == Errno(libc::EPERM) {
            tracker.arm_again(pagemap, &rest, memory);
        }
        // Only now: a write before the pages were armed, by the failed walk or just now, made its page private. One
        // after it disarms the page, and is reported next time at the latest (T1).
        pagemap.private_pages(rest, found)
    }
}

/// The kernel accepts the calls and does not do what they are for.
fn unusable() -> CallError {
    CallError { call: "ioctl", errno: super::errno::NOT_SUPPORTED }
}

#[cfg(test)]
mod tests;
