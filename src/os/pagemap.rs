//! What the page tables say about our own memory.
//!
//! The kernel tells it in two ways: one request that walks a range, reports pages of certain kinds and can arm them
//! against writes in the same step (Linux 6.7), and an array of one word per page, to be read like a file. Both go
//! through `/proc/self/pagemap`, and both show the process that opened it: after a fork the child must not use it.
//!
//! # Invariants
//! - **P1** With write protection, a page is reported and armed in one step, under the lock of its page table: a write
//!   comes before it and is reported, or after it and lifts the protection. A page that did not exist may be armed without
//!   a report; then it is looked at once more after that.
//! - **P2** A walk that fails may have armed pages from the address it gives with the error on, without a report.

use super::buffer::Buffer;
use super::descriptor::Descriptor;
use super::mapping::PAGE;
use super::{CallError, Errno, check};
use core::ffi::c_ulong;
use core::ops::Range;

/// The request `_IOWR('f', 16, Walk)`.
const REQUEST_SCAN: c_ulong = 0xC060_6610;

/// Arm the reported pages against writes.
const WP_MATCHING: u64 = 1 << 0;
/// Fail where a mapping has no asynchronous write protection, instead of passing over it.
const CHECK_WPASYNC: u64 = 1 << 1;

/// Kinds of pages: not armed, of a file (and not our own copy), in memory, in swap, the page of zeros.
const IS_WRITTEN: u64 = 1 << 1;
const IS_FILE: u64 = 1 << 2;
const IS_PRESENT: u64 = 1 << 3;
const IS_SWAPPED: u64 = 1 << 4;
const IS_ZERO: u64 = 1 << 5;
/// In a huge page that is mapped as one.
const IS_HUGE: u64 = 1 << 6;

/// Bits of a page's word: the same as the kinds of these names. A shared anonymous page counts as one of a file.
const WORD_PRESENT: u64 = 1 << 63;
const WORD_SWAPPED: u64 = 1 << 62;
const WORD_FILE: u64 = 1 << 61;

/// Bytes of words that are read at once.
const CHUNK: usize = 512 << 10;

/// Ranges that the kernel reports at once.
const SPANS: usize = 512;

/// Bytes that one page table covers.
const TABLE: usize = 512 * PAGE;

/// Bytes between two spans that are walked together sooner than by a call for each.
const NEAR: u64 = 64 * PAGE as u64;

/// What lies in a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Memory {
    /// Anything. Pages of a file are armed when they are first seen, and so are pages that do not exist beside others.
    Mixed,
    /// Anonymous memory only. Pages of a file count as written until they have been reported once.
    Anonymous,
}

#[repr(C)]
struct Walk {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    spans: u64,
    spans_len: u64,
    max_pages: u64,
    inverted: u64,
    all_of: u64,
    any_of: u64,
    told: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Span {
    start: u64,
    end: u64,
    kinds: u64,
}

const NO_SPAN: Span = Span { start: 0, end: 0, kinds: 0 };

const _: () = assert!(size_of::<Walk>() == 96 && size_of::<Span>() == 24);

/// Pages that a walk reports.
struct Wanted {
    flags: u64,
    inverted: u64,
    all_of: u64,
    any_of: u64,
    /// Kinds that keep neighbours apart if they differ in them.
    told: u64,
}

/// Pages that are not armed, those included that do not exist where others near by do. Asked just so, the kernel looks at
/// nothing but one bit of the page tables.
const UNARMED: Wanted = Wanted { flags: CHECK_WPASYNC, inverted: 0, all_of: IS_WRITTEN, any_of: 0, told: IS_WRITTEN };

/// Pages that are not armed and exist, but for those of zeros; armed as they are reported.
const ARMING: Wanted = Wanted {
    flags: WP_MATCHING | CHECK_WPASYNC,
    inverted: IS_ZERO,
    all_of: IS_WRITTEN | IS_ZERO,
    any_of: IS_PRESENT | IS_SWAPPED,
    told: 0,
};

/// The same with pages of zeros and of a file, told apart. For that the kernel must look at each page that is there, and
/// not just at the page tables, which takes 25 times as long: so these are armed, too, and passed over from then on.
const ARMING_ALL: Wanted = Wanted { inverted: 0, all_of: IS_WRITTEN, told: IS_FILE | IS_ZERO, ..ARMING };

/// Pages that do not exist, armed. It makes the page tables for that, if there are none, so it is asked only of pages
/// beside others ([`edges`]). In plain memory it would be one more fault for each at its first use.
const ARMING_MISSING: Wanted =
    Wanted { inverted: IS_PRESENT | IS_SWAPPED, all_of: IS_PRESENT | IS_SWAPPED, any_of: 0, ..ARMING };

/// Pages that are there and our own. Where a whole table is missing, the kernel finds that out and arms what it is then to
/// hold in two steps, so what was written in between has to be looked for afterwards.
const OUR_OWN: Wanted = Wanted { any_of: 0, all_of: IS_FILE | IS_ZERO | IS_PRESENT, ..PRIVATE };

/// Private pages: our own copies of a file's, and anonymous ones.
const PRIVATE: Wanted = Wanted {
    flags: 0,
    inverted: IS_FILE | IS_ZERO,
    all_of: IS_FILE | IS_ZERO,
    any_of: IS_PRESENT | IS_SWAPPED,
    told: 0,
};

/// Pages in huge ones that are mapped as such.
const HUGE: Wanted = Wanted { flags: 0, inverted: 0, all_of: IS_HUGE, any_of: 0, told: 0 };

/// What of a span is sure to lie in page tables that exist, since its neighbours do: not what whole tables would cover.
fn edges(span: &Span) -> impl Iterator<Item = Range<usize>> {
    let (start, end) = (span.start as usize, span.end as usize);
    let behind_first = start.next_multiple_of(TABLE).min(end);
    let last = (end / TABLE * TABLE).max(behind_first);
    [start..behind_first, last..end].into_iter().filter(|edge| !edge.is_empty())
}

/// A walk that failed: all before `at` has been reported.
#[derive(Debug)]
pub(super) struct Stopped {
    pub(super) at: usize,
    pub(super) error: CallError,
}

/// The page tables of the process that opened them.
#[derive(Debug)]
pub(super) struct Pagemap {
    descriptor: Descriptor,
    words: Buffer,
    /// Whether the kernel lacks the request that walks, or forbids it.
    #[cfg(test)]
    pub(super) reads_only: bool,
}

impl Pagemap {
    pub(super) fn open() -> Result<Self, CallError> {
        Ok(Self {
            descriptor: open_descriptor()?,
            words: Buffer::new(),
            #[cfg(test)]
            reads_only: false,
        })
    }

    /// Opens it again if somebody has closed the descriptor.
    pub(super) fn keep_open(&mut self) -> Result<(), CallError> {
        if !self.descriptor.is_intact() {
            self.descriptor = open_descriptor()?;
        }
        Ok(())
    }

    /// Reports the private pages of a range that are not armed, and arms them (P1); of a mixed range also what else lies
    /// near by.
    pub(super) fn take_written(
        &self,
        range: Range<usize>,
        memory: Memory,
        found: &mut dyn FnMut(Range<usize>),
    ) -> Result<(), Stopped> {
        // What is armed is passed over quickly. What becomes disarmed behind the first walk is for the next scan.
        let is_mixed = memory == Memory::Mixed;
        let exactly = if is_mixed { &ARMING_ALL } else { &ARMING };
        let mut spans = [NO_SPAN; SPANS];
        let mut found_spans = [NO_SPAN; SPANS];
        let mut at = range.start;
        while at < range.end {
            let (count, walked) =
                self.step(at..range.end, &UNARMED, &mut spans).map_err(|error| Stopped { at, error })?;
            let are_near = |before: &Span, next: &Span| next.start.saturating_sub(before.end) <= NEAR;
            for group in spans[..count].chunk_by(are_near) {
                let near = group[0].start as usize..group[group.len() - 1].end as usize;
                let unarmed: u64 = group.iter().map(|span| span.end - span.start).sum();
                let armed = self.walk(near, exactly, &mut found_spans, found)?;
                if is_mixed && (armed as u64) < unarmed {
                    for edge in group.iter().flat_map(edges) {
                        self.walk(edge.clone(), &ARMING_MISSING, &mut found_spans, &mut |_| ())?;
                        self.walk(edge, &OUR_OWN, &mut found_spans, found)?;
                    }
                }
            }
            at = walked;
            if count == SPANS && !is_mixed {
                // Much has been written: from here on two walks would cost more than they save.
                self.walk(at..range.end, exactly, &mut found_spans, found)?;
                return Ok(());
            }
        }
        Ok(())
    }

    /// Whether all of a range lies in huge pages that are mapped as such.
    pub(super) fn is_huge(&self, range: Range<usize>) -> bool {
        let walked = self.walk(range.clone(), &HUGE, &mut [NO_SPAN; SPANS], &mut |_| ());
        walked.is_ok_and(|bytes| bytes == range.len())
    }

    /// Reports all private pages of a range, and where they cannot be told apart pages of zeros.
    pub(super) fn private_pages(
        &mut self,
        range: Range<usize>,
        found: &mut dyn FnMut(Range<usize>),
    ) -> Result<(), CallError> {
        match self.walk(range.clone(), &PRIVATE, &mut [NO_SPAN; SPANS], found) {
            Ok(_) => Ok(()),
            // Nothing has been reported from there on, and this walk arms nothing.
            Err(stopped) => self.read_private(stopped.at..range.end, found),
        }
    }

    /// Reports the wanted pages of a range; returns how many bytes of it are wanted, told apart or not.
    fn walk(
        &self,
        range: Range<usize>,
        wanted: &Wanted,
        spans: &mut [Span; SPANS],
        found: &mut dyn FnMut(Range<usize>),
    ) -> Result<usize, Stopped> {
        let mut at = range.start;
        let mut bytes = 0;
        while at < range.end {
            let (count, walked) = self.step(at..range.end, wanted, spans).map_err(|error| Stopped { at, error })?;
            for span in &spans[..count] {
                let pages = span.start as usize..span.end as usize;
                bytes += pages.len();
                // Of those that are told apart, only what is our own.
                if span.kinds & (IS_FILE | IS_ZERO) & wanted.told == 0 {
                    found(pages);
                }
            }
            at = walked;
        }
        Ok(bytes)
    }

    /// One call: how many spans it gave, and where it ended, which is behind the start.
    fn step(
        &self,
        range: Range<usize>,
        wanted: &Wanted,
        spans: &mut [Span; SPANS],
    ) -> Result<(usize, usize), CallError> {
        #[cfg(test)]
        if self.reads_only {
            return Err(CallError { call: "ioctl", errno: Errno(libc::ENOTTY) });
        }
        let mut walk = Walk {
            size: size_of::<Walk>() as u64,
            flags: wanted.flags,
            start: range.start as u64,
            end: range.end as u64,
            walk_end: 0,
            spans: spans.as_mut_ptr().expose_provenance() as u64,
            spans_len: SPANS as u64,
            max_pages: 0,
            inverted: wanted.inverted,
            all_of: wanted.all_of,
            any_of: wanted.any_of,
            told: wanted.told,
        };
        // SAFETY: the request reads and writes one `Walk` and writes at most `SPANS` spans, which are ours. It changes no
        // contents; armed pages are disarmed by whoever writes to them.
        let returned = unsafe { libc::ioctl(self.descriptor.fd(), REQUEST_SCAN, &raw mut walk) };
        let count = check("ioctl", i64::from(returned))?;
        if walk.walk_end as usize <= range.start {
            // No kernel does this. To go on would be to stay here for ever.
            return Err(CallError { call: "ioctl", errno: Errno(libc::EIO) });
        }
        Ok(((count as usize).min(SPANS), walk.walk_end as usize))
    }

    fn read_private(&mut self, range: Range<usize>, found: &mut dyn FnMut(Range<usize>)) -> Result<(), CallError> {
        let fd = self.descriptor.fd();
        let mut open: Option<Range<usize>> = None;
        let mut at = range.start;
        while at < range.end {
            let len = CHUNK.min((range.end - at) / PAGE * size_of::<u64>());
            self.words.clear();
            let words = self.words.append(len)?;
            let offset = (at / PAGE * size_of::<u64>()) as i64;
            // SAFETY: `words` is ours and writable for its length.
            let read = unsafe { libc::pread(fd, words.as_mut_ptr().cast(), words.len(), offset) };
            let read = match check("pread", read as i64) {
                Ok(read) => read as usize / size_of::<u64>() * size_of::<u64>(),
                Err(CallError { errno: Errno(libc::EINTR), .. }) => continue,
                Err(error) => return Err(error),
            };
            if read == 0 {
                return Err(CallError { call: "pread", errno: Errno(libc::EIO) });
            }
            for word in words[..read].chunks_exact(size_of::<u64>()) {
                let word = word.try_into().map_or(0, u64::from_ne_bytes);
                let is_private = word & (WORD_PRESENT | WORD_SWAPPED) != 0 && word & WORD_FILE == 0;
                if !is_private {
                    if let Some(pages) = open.take() {
                        found(pages);
                    }
                } else if let Some(pages) = &mut open {
                    pages.end = at + PAGE;
                } else {
                    open = Some(at..at + PAGE);
                }
                at += PAGE;
            }
        }
        open.into_iter().for_each(found);
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn fd(&self) -> i32 {
        self.descriptor.fd()
    }
}

fn open_descriptor() -> Result<Descriptor, CallError> {
    // SAFETY: the path is a terminated string.
    let returned = unsafe { libc::open(c"/proc/self/pagemap".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
    Descriptor::new("open", i64::from(returned))
}
