//! Looking an open heap through for damage: what is reported, and the part that needs no knowledge of roots.
//!
//! Everything is read as it is now, in memory and in the file, and held against what it must be; nothing is believed and
//! nothing is changed. The directory of roots and the type table are looked at by the layer that knows them.

use super::options::Mode;
use super::owner::HeapInner;
use crate::alloc::check::Broken;
use crate::alloc::size_class::Ladder;
use crate::alloc::whole_runs::head_flaw;
use crate::format::header::{HEADER_LEN, Header, SlotError, newest};
use crate::format::slab_entry::SlabEntry;
use crate::format::{PAGE, UNIT};
use crate::os::copy::copy_out;
use std::fmt;
use std::sync::PoisonError;

/// What [`Heap::verify`](crate::Heap::verify) found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyReport {
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// Roots that were looked at.
    pub roots: u64,
    /// Roots whose blocks were not looked at: their type is not one that this process has asked for yet, or a session
    /// has them to change.
    pub roots_unvisited: u64,
    /// Entries of the slab table that were looked at, one for each 32 KiB.
    pub table_entries: u64,
    /// Records of the type table that were looked at.
    pub types: u64,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// Where in the heap file, if at a certain place.
    pub offset: Option<u64>,
    /// What it is.
    pub flaw: Flaw,
}

/// What can be wrong with a heap.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Flaw {
    /// One of the two headers is damaged; the other one counts. A power cut in the middle of a header's write leaves
    /// this behind, too, until the header is next written.
    HeaderSlot {
        /// Which of the two.
        slot: u32,
        /// What is wrong with it.
        part: &'static str,
    },
    /// The header in the file is not that of the open heap: something else has written to the file.
    OtherHeader,
    /// The file cannot be read.
    Unreadable {
        /// The call that failed, as in its manual page.
        call: &'static str,
    },
    /// The file is shorter than its header says.
    Truncated {
        /// Bytes that it had.
        expected: u64,
        /// Bytes that it has.
        found: u64,
    },
    /// The commit log is missing, damaged, or that of another heap: commits may be lost.
    Log {
        /// Where in the log.
        offset: u64,
        /// What is wrong with it.
        part: &'static str,
    },
    /// An entry of the slab table makes no sense.
    TableEntry {
        /// What is wrong with it.
        part: &'static str,
    },
    /// The allocator's bookkeeping contradicts itself.
    Bookkeeping {
        /// In which respect.
        what: String,
    },
    /// An entry of the root directory makes no sense.
    Root {
        /// The root, as far as it is known.
        root: String,
        /// Which part of the entry.
        part: &'static str,
    },
    /// The type of a root cannot be read.
    RootType {
        /// The root.
        root: String,
    },
    /// A record of the type table is damaged; those behind it cannot be found.
    TypeRecord,
    /// A root holds a block of another heap, or one that is none.
    ForeignBlock {
        /// The root.
        root: String,
        /// Where the block lies; 0 for the handle of another heap.
        address: usize,
    },
    /// The heap belongs to the process that this one was forked from, and was not looked at.
    Forked,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    pub fn is_good(&self) -> bool {
        self.findings.is_empty()
    }

    pub(crate) fn add(&mut self, offset: Option<u64>, flaw: Flaw) {
        self.findings.push(Finding { offset, flaw });
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HeaderSlot { slot, part } => write!(f, "header {slot} is damaged: {part}"),
            Self::OtherHeader => f.write_str("the header is not that of the open heap"),
            Self::Unreadable { call } => write!(f, "{call} failed"),
            Self::Truncated { expected, found } => write!(f, "the file has {found} bytes where it had {expected}"),
            Self::Log { offset, part } => write!(f, "the commit log is damaged at byte {offset}: {part}"),
            Self::TableEntry { part } => write!(f, "an entry of the slab table is damaged: {part}"),
            Self::Bookkeeping { what } => write!(f, "the allocator's bookkeeping contradicts itself: {what}"),
            Self::Root { root, part } => write!(f, "root {root} is damaged: {part}"),
            Self::RootType { root } => write!(f, "the type of root {root} cannot be read"),
            Self::TypeRecord => f.write_str("a record of the type table is damaged"),
            Self::ForeignBlock { root, address: 0 } => write!(f, "root {root} holds a handle of another heap"),
            Self::ForeignBlock { root, address } => {
                write!(f, "root {root} holds a block that is none of the heap's, at {address:#x}")
            }
            Self::Forked => f.write_str("the heap belongs to the process that this one was forked from"),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(offset) = self.offset {
            write!(f, "at {offset:#x}: ")?;
        }
        self.flaw.fmt(f)
    }
}

impl fmt::Display for VerifyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} roots ({} of them without a look at their blocks), {} types, {} table entries: {} findings",
            self.roots,
            self.roots_unvisited,
            self.types,
            self.table_entries,
            self.findings.len()
        )?;
        self.findings.iter().try_for_each(|finding| writeln!(f, "{finding}"))
    }
}

/// Which part of a slot is wrong.
pub(crate) fn slot_flaw(error: SlotError) -> &'static str {
    match error {
        SlotError::NotAHeap => "magic number",
        SlotError::OtherMachine => "byte order, page or pointer size",
        SlotError::NewerVersion(_) => "version",
        SlotError::Damaged => "checksum",
        SlotError::Nonsense(part) => part,
    }
}

/// Looks at both header slots; returns the header that counts.
pub(crate) fn check_slots(slots: &[[u8; HEADER_LEN]; 2], report: &mut VerifyReport) -> Option<Header> {
    let newest = newest([&slots[0], &slots[1]]).ok();
    for (index, slot) in slots.iter().enumerate() {
        let flaw = match (Header::decode(slot), &newest) {
            // The second is written with the first header after the heap's creation.
            (Err(_), Some(newest)) if index == 1 && newest.generation == 0 && slot.iter().all(|&byte| byte == 0) => {
                None
            }
            (Err(error), _) => Some(slot_flaw(error)),
            (Ok(header), _) if header.generation % 2 != index as u64 => Some("place"),
            (Ok(header), Some(newest)) if header.heap_id != newest.heap_id => Some("heap"),
            _ => None,
        };
        if let Some(part) = flaw {
            report.add(Some((index * PAGE) as u64), Flaw::HeaderSlot { slot: index as u32, part });
        }
    }
    newest
}

/// What is wrong with an entry of the slab table by itself; none if it may be right.
pub(crate) fn entry_flaw(word: u64, unit: usize, units: usize, ladder: Ladder) -> Option<&'static str> {
    head_flaw(word, unit, units, ladder).or(match SlabEntry::decode(word) {
        Some(SlabEntry::SlabTail { back: 0 } | SlabEntry::LargeTail { back: 0 }) => Some("a tail that is its own head"),
        Some(SlabEntry::SlabTail { back } | SlabEntry::LargeTail { back }) if back > unit as u64 => {
            Some("a tail whose head lies before the first unit")
        }
        _ => None,
    })
}

impl HeapInner {
    /// Holds the headers in the file against that of the open heap.
    pub(crate) fn verify_headers(&self, report: &mut VerifyReport) {
        if self.mode == Mode::Volatile {
            return;
        }
        let mut slots = [[0; HEADER_LEN]; 2];
        let expected = if let Some(atomic) = &self.atomic {
            match atomic.journal().header_slots() {
                Ok((header, found)) => {
                    slots = found;
                    header
                }
                Err(error) => return report.add(None, Flaw::Unreadable { call: error.call }),
            }
        } else {
            let core = self.core();
            for (index, slot) in slots.iter_mut().enumerate() {
                match core.backing.file() {
                    Some(file) => {
                        if let Err(error) = file.read_at(slot, (index * PAGE) as u64) {
                            return report.add(None, Flaw::Unreadable { call: error.call });
                        }
                    }
                    // SAFETY: the window begins with the file's first pages, which are readable.
                    None => unsafe { copy_out(core.base + index * PAGE, slot) },
                }
            }
            *self.header.lock().unwrap_or_else(PoisonError::into_inner)
        };
        let found = check_slots(&slots, report);
        let key = |header: &Header| (header.heap_id, header.generation, header.epoch, header.state, header.log_salt);
        if found.as_ref().map(key) != Some(key(&expected)) {
            report.add(Some(found.map_or(0, |found| found.slot_offset())), Flaw::OtherHeader);
        }
    }

    /// Looks at each entry by itself, which is right at every moment. How entries fit together is known of a quiet heap
    /// only.
    pub(crate) fn verify_table(&self, report: &mut VerifyReport) {
        let core = self.core();
        let _guard = core.lock.lock();
        // SAFETY: under the lock (K1).
        let space = unsafe { &mut *core.space.get() };
        let units = space.committed_units();
        if !space.map.check(units) {
            report.add(Some(core.layout.soft.offset), bookkeeping(Broken::UnitMap));
        } else if space.map.used_units() != space.used_units() {
            report.add(Some(core.layout.soft.offset), bookkeeping(Broken::UsedUnits));
        }
        for unit in 0..units {
            if let Some(part) = entry_flaw(core.raw_entry(unit), unit, units, core.ladder) {
                let offset = core.layout.slab_table.offset + unit as u64 * 8;
                report.add(Some(offset), Flaw::TableEntry { part });
            }
        }
        report.table_entries = units as u64;
    }

    /// # Safety
    /// As for [`Core::check`](crate::alloc::heap_core::Core::check).
    pub(crate) unsafe fn verify_bookkeeping(&self, report: &mut VerifyReport) {
        // SAFETY: the caller's promise.
        if let Err(broken) = unsafe { self.core().check() } {
            let flaw = bookkeeping(broken);
            if report.findings.iter().all(|finding| finding.flaw != flaw) {
                let offset = |unit: usize| self.core().layout.segments.offset + (unit * UNIT) as u64;
                report.add(unit_of(broken).map(offset), flaw);
            }
        }
    }
}

fn unit_of(broken: Broken) -> Option<usize> {
    match broken {
        Broken::SlabHead { unit }
        | Broken::LargeHead { unit }
        | Broken::Tail { unit }
        | Broken::UsedUnitIsFree { unit }
        | Broken::Lost { unit }
        | Broken::SlabBits { unit }
        | Broken::StrayBits { unit }
        | Broken::RemoteCount { unit }
        | Broken::Listing { unit } => Some(unit),
        _ => None,
    }
}

fn bookkeeping(broken: Broken) -> Flaw {
    let what = match broken {
        Broken::UnitMap => "the unit map counts its bits wrongly".into(),
        Broken::UsedUnits => "another number of units is in use than is counted".into(),
        Broken::SlabHead { unit } => format!("unit {unit} cannot begin a slab"),
        Broken::LargeHead { unit } => format!("unit {unit} cannot begin a large object"),
        Broken::Tail { unit } => format!("unit {unit} does not lead to its head"),
        Broken::UsedUnitIsFree { unit } => format!("unit {unit} is in use and free"),
        Broken::Lost { unit } => format!("unit {unit} is in use and belongs to nothing"),
        Broken::Lease { thread } => format!("thread {thread} has units that it has not"),
        Broken::SlabBits { unit } => format!("the slab at unit {unit} counts its free blocks wrongly"),
        Broken::StrayBits { unit } => format!("unit {unit} has free blocks that it cannot have"),
        Broken::RemoteCount { unit } => format!("the slab at unit {unit} counts its returning blocks wrongly"),
        Broken::Listing { unit } => format!("the slab at unit {unit} is listed wrongly"),
        Broken::List { class } => format!("the list of slabs of class {class} is broken"),
        Broken::Pending => "a list of slabs with returning blocks is broken".into(),
        Broken::ClassCounters { class } => format!("class {class} is counted wrongly"),
        Broken::LargeCounters => "large objects are counted wrongly".into(),
    };
    Flaw::Bookkeeping { what }
}
