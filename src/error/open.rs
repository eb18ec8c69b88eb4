//! Opening or creating a heap.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::PathBuf;

/// Why a heap could not be opened or created.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// The file does not begin with the magic number of a heap.
    NotAHeap,
    /// The path names something that is not a regular file.
    NotAFile,
    /// Neither header slot has a valid checksum.
    Damaged,
    /// The header contradicts itself or the file.
    Inconsistent {
        /// Which of its fields.
        field: &'static str,
    },
    /// A later version of this crate wrote the file.
    NewerVersion {
        /// The file's format version.
        found: u32,
        /// The newest version that this crate reads.
        known: u32,
    },
    /// The file uses features that this version does not know.
    UnknownFeatures {
        /// A bit for each.
        mask: u64,
    },
    /// The file was written on a machine with another byte order, pointer size or page size.
    OtherMachine,
    /// Somebody else has the heap open.
    Locked {
        /// The process that has it, or whose child has it; none if it could not be told.
        holder: Option<u32>,
    },
    /// The heap is a `Shared` one that was not closed when its last user stopped.
    Unclean,
    /// The heap is a `Shared` one that was not closed, and has roots that are not copy-on-write: what they lead to may be of
    /// different moments.
    PlainRoots {
        /// Their names.
        roots: Vec<String>,
    },
    /// The heap was created in another mode than the one asked for.
    OtherMode {
        /// The mode it has.
        found: &'static str,
    },
    /// The heap was not closed when its last user stopped, and its commit log is missing.
    LogMissing,
    /// The file beside the heap that bears its log's name is not the log of this heap.
    ForeignLog,
    /// The commit log holds less than what the heap file says was committed, or a record in its midst is damaged.
    DamagedLog {
        /// Where, in bytes from the start of the log.
        offset: u64,
    },
    /// The header that counts and the log lead to an older commit than there was: the newest header is damaged, or one of
    /// the two files has been replaced by an older copy, or they were copied one after the other while the heap was in
    /// use.
    CommitsMissing {
        /// The commit that they lead to.
        found: u64,
        /// A later one that there was.
        expected: u64,
    },
    /// A page of the heap file is not as a commit that is not finished with says: it is damaged, or the heap file and the log
    /// are copies that were made at different moments.
    DamagedPage {
        /// Where, in bytes from the start of the heap file.
        offset: u64,
    },
    /// The tables of the heap contradict each other, so what it holds cannot be found.
    DamagedTables {
        /// Where, in bytes from the start of the heap file.
        offset: u64,
    },
    /// The file is shorter than it was when it was closed.
    Truncated {
        /// Bytes it had.
        expected: u64,
        /// Bytes it has.
        found: u64,
    },
    /// The address range that the heap must be mapped at is taken in this process.
    /// [`Heap::open_relocated`](crate::Heap::open_relocated) opens it elsewhere, to be read.
    AddressTaken {
        /// The range.
        range: Range<usize>,
        /// The heap that has it, if it is one: an open one, such as the original of a copied file, or one that was
        /// closed and whose memory is still readable.
        by: Option<PathBuf>,
    },
    /// A capacity of zero.
    ZeroCapacity,
    /// More capacity than the heap's file was laid out for, or than there is address space.
    CapacityTooLarge {
        /// Bytes asked for.
        asked: u64,
        /// The most that is possible.
        largest: u64,
    },
    /// Less capacity than the heap already uses.
    CapacityBelowUse {
        /// Bytes asked for.
        asked: u64,
        /// Bytes in use.
        used: u64,
    },
    /// The options contradict each other.
    InvalidOptions {
        /// How.
        reason: &'static str,
    },
    /// A system call failed.
    #[non_exhaustive]
    Os {
        /// As in its manual page.
        call: &'static str,
        /// What it reported.
        source: io::Error,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAHeap => f.write_str("the file is not a heap"),
            Self::NotAFile => f.write_str("the path names something that is not a regular file"),
            Self::Damaged => f.write_str("both headers of the heap file are damaged"),
            Self::Inconsistent { field } => write!(f, "the heap's header makes no sense: {field}"),
            Self::NewerVersion { found, known } => {
                write!(f, "the heap has format version {found}, and this program knows versions up to {known}")
            }
            Self::UnknownFeatures { mask } => {
                write!(f, "the heap uses features that this program does not know (mask {mask:#x})")
            }
            Self::OtherMachine => {
                f.write_str("the heap was written on a machine with another byte order, pointer size or page size")
            }
            Self::Locked { holder: Some(holder) } => {
                write!(f, "the heap is in use by process {holder} or a child of it")
            }
            Self::Locked { holder: None } => f.write_str("the heap is in use by another process"),
            Self::Unclean => f.write_str("the heap was not closed when its last user stopped"),
            Self::PlainRoots { roots } => write!(
                f,
                "the heap was not closed when its last user stopped, and not copy-on-write are its roots {}",
                roots.join(", ")
            ),
            Self::OtherMode { found } => write!(f, "the heap was created in {found} mode"),
            Self::LogMissing => {
                f.write_str("the heap was not closed when its last user stopped, and its commit log is missing")
            }
            Self::ForeignLog => {
                f.write_str("the file that bears the name of the heap's commit log belongs to another heap")
            }
            Self::DamagedLog { offset } => write!(f, "the heap's commit log is damaged at byte {offset}"),
            Self::CommitsMissing { found, expected } => {
                write!(f, "the heap's files lead to commit {found}, but there was a commit {expected}")
            }
            Self::DamagedPage { offset } => write!(f, "the heap is not as it was committed, at byte {offset}"),
            Self::DamagedTables { offset } => write!(f, "the heap's tables are damaged at byte {offset}"),
            Self::Truncated { expected, found } => {
                write!(f, "the heap file has {found} bytes where it had {expected}")
            }
            Self::AddressTaken { range, by } => {
                write!(f, "the heap must be mapped at {:#x}..{:#x}, which is taken", range.start, range.end)?;
                if let Some(path) = by {
                    write!(
                        f,
                        " by the heap {} (a copy has its original's addresses; a closed heap keeps them until it is \
                         unmapped)",
                        path.display()
                    )?;
                }
                f.write_str("; to be read it can be opened elsewhere (open_relocated)")
            }
            Self::ZeroCapacity => f.write_str("a heap cannot have a capacity of zero"),
            Self::CapacityTooLarge { asked, largest } => {
                write!(f, "a capacity of {asked} bytes was asked for, and at most {largest} are possible")
            }
            Self::CapacityBelowUse { asked, used } => {
                write!(f, "a capacity of {asked} bytes was asked for, and the heap uses {used}")
            }
            Self::InvalidOptions { reason } => write!(f, "these options do not go together: {reason}"),
            Self::Os { call: "mmap", source } if source.kind() == io::ErrorKind::OutOfMemory => f.write_str(
                "the system does not give the heap its addresses, as many as its capacity; a limit on the address space \
                 (ulimit -v), or the setting vm.overcommit_memory=2, may be the reason",
            ),
            Self::Os { call, .. } => write!(f, "{call} failed while the heap was opened"),
        }
    }
}

from_os!(OpenError);
source_of_os!(OpenError);
