//! One error enum for each operation, and [`Error`], which any of them turns into.

use std::fmt;
use std::io;
use std::ops::Range;
use std::panic::Location;
use std::path::PathBuf;
use std::time::Duration;

macro_rules! from_os {
    ($($name:ident)*) => {
        $(impl $name {
            /// A failed system call.
            pub(crate) fn os(call: &'static str, errno: impl Into<io::Error>) -> Self {
                Self::Os { call, source: errno.into() }
            }
        })*
    };
}

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

/// Why a heap could not be closed well.
#[derive(Debug)]
#[non_exhaustive]
pub enum CloseError {
    /// Sessions that were begun through a [`SalAlloc`](crate::SalAlloc) are still open; the heap is closed when the last of them ends.
    SessionsOpen {
        /// How many.
        count: usize,
    },
    /// In a debug or checked build: a root holds a block or a handle of another heap. The file is closed, and the root
    /// must not be used.
    ForeignBlock {
        /// The root.
        root: String,
        /// Where the block lies.
        address: usize,
    },
    /// The heap belongs to the process that this one was forked from.
    Forked,
    /// In a debug or checked build: the allocator's state, which the file held, contradicts itself. The file of an atomic heap
    /// is closed, and the next opening makes that state anew; one of another mode is not marked as closed well.
    DamagedState,
    /// The last sync of an atomic heap failed: the file is at the commit before, and opening it recovers that.
    Sync(SyncError),
    /// A system call failed. The file is not marked as closed well.
    #[non_exhaustive]
    Os {
        /// As in its manual page.
        call: &'static str,
        /// What it reported.
        source: io::Error,
    },
}

/// Why a session could not begin.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionError {
    /// The heap is closed.
    Closed,
    /// The heap is open for reading only.
    ReadOnly,
    /// The heap belongs to the process that this one was forked from.
    Forked,
    /// The handle names a default heap, which has no roots.
    NoRoots,
}

/// Why a value could not be put in the place of another one.
#[derive(Debug)]
#[non_exhaustive]
pub enum UpdateError {
    /// The heap cannot be changed.
    Session(SessionError),
    /// The heap has no room for the new value.
    OutOfMemory,
}

/// Why a heap has no hot set.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HotSetError {
    /// The heap cannot be changed.
    Session(SessionError),
    /// The budget is smaller than the grain in which it is used.
    BudgetTooSmall {
        /// Bytes it must have.
        least: u64,
    },
    /// There is none: it was never asked for, or has been ended.
    None,
    /// The system refuses the addresses that counting needs.
    OutOfMemory,
}

/// Why memory could not be locked.
#[derive(Debug)]
#[non_exhaustive]
pub enum LockError {
    /// Not all of the range belongs to the heap, or the heap is closed.
    OutsideHeap {
        /// The range of addresses.
        range: Range<usize>,
    },
    /// The root could not be read.
    Root(RootError),
    /// The system does not let this process lock so much. The pages are being read in all the same.
    #[non_exhaustive]
    Refused {
        /// Bytes that were to be locked.
        bytes: u64,
        /// Bytes that the process may lock altogether (`RLIMIT_MEMLOCK`); none without a limit.
        limit: Option<u64>,
        /// What the system reported.
        source: io::Error,
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

/// Why a sync failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum SyncError {
    /// The calling thread has a session of its own open, for which the sync would wait for ever.
    SessionHeld,
    /// The heap is volatile: there is nothing that could be made durable.
    Volatile,
    /// The heap is open for reading only.
    ReadOnly,
    /// The heap is closed.
    Closed,
    /// The heap belongs to the process that this one was forked from.
    Forked,
    /// A thread panicked in a write session, so the heap may hold something half done. See
    /// [`Heap::clear_poison`](crate::Heap::clear_poison).
    Poisoned,
    /// An earlier sync failed to write, and what reached the disk is not known. The heap can be used on, but nothing more
    /// becomes durable; opening it again gives the last good commit.
    Broken,
    /// Write sessions stayed open for longer than the sync was to wait.
    GateTimeout {
        /// Who had them open.
        holders: Vec<SessionHolder>,
    },
    /// The commit log is as long as it may be, and a snapshot, a scrub or a recovery in the background keeps it from being
    /// folded. Nothing was committed; when that has ended, the next sync works. See
    /// [`HeapOptions::log_limit`](crate::HeapOptions::log_limit).
    LogFull {
        /// Bytes of the log that are in use.
        bytes: u64,
    },
    /// In a debug or checked build: a root holds a block or a handle of another heap.
    ForeignBlock {
        /// The root.
        root: String,
        /// Where the block lies.
        address: usize,
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

impl SyncError {
    /// The same error once more, for each of those who shared a sync.
    pub(crate) fn duplicate(&self) -> Self {
        match self {
            Self::SessionHeld => Self::SessionHeld,
            Self::Volatile => Self::Volatile,
            Self::ReadOnly => Self::ReadOnly,
            Self::Closed => Self::Closed,
            Self::Forked => Self::Forked,
            Self::Poisoned => Self::Poisoned,
            Self::Broken => Self::Broken,
            Self::GateTimeout { holders } => Self::GateTimeout { holders: holders.clone() },
            Self::LogFull { bytes } => Self::LogFull { bytes: *bytes },
            Self::ForeignBlock { root, address } => Self::ForeignBlock { root: root.clone(), address: *address },
            Self::Os { call, source } => Self::Os {
                call,
                source: source
                    .raw_os_error()
                    .map_or_else(|| io::Error::new(source.kind(), source.to_string()), io::Error::from_raw_os_error),
            },
        }
    }
}

/// Somebody who has a write session open.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionHolder {
    /// The thread's name, or its number if it has none.
    pub thread: String,
    /// How long the session had been open.
    pub open_for: Duration,
    /// Where in the program it was begun.
    pub begun_at: &'static Location<'static>,
}

/// Why a root could not be had or changed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RootError {
    /// No root has this key.
    NotFound {
        /// The key, as it is shown to people.
        root: String,
    },
    /// Another session has the root, or this one has handed it out already.
    RootBusy {
        /// The key.
        root: String,
        /// Whether it is this very session.
        by_this_session: bool,
    },
    /// The root was stored as another type, or as the same type with another layout.
    OtherType {
        /// The key.
        root: String,
        /// The path to the first field that differs, empty for the type itself.
        field: String,
        /// What is stored.
        stored: String,
        /// What was asked for.
        asked: String,
    },
    /// The value holds a block or a handle of another heap.
    ForeignBlock {
        /// The key.
        root: String,
        /// Where the block lies.
        address: usize,
    },
    /// The heap has no room for the root.
    OutOfMemory {
        /// The key.
        root: String,
    },
    /// The root directory or the type table is full.
    DirectoryFull,
    /// The name of the root is too long to be stored.
    NameTooLong {
        /// Its bytes.
        len: usize,
        /// The most that are possible.
        longest: usize,
    },
    /// What the file says of the root makes no sense.
    Damaged {
        /// The key, as far as it is known.
        root: String,
        /// Which part.
        part: &'static str,
    },
    /// The heap lies at other addresses than its own, and what the root leads to could not be rewritten for them as a whole. See
    /// [`Heap::open_relocated`](crate::Heap::open_relocated).
    NotMoved {
        /// The key.
        root: String,
        /// Why not.
        reason: &'static str,
    },
    /// The session could not begin.
    Session(SessionError),
}

/// Why a heap could not be maintained, or what went wrong while it was.
#[derive(Debug)]
#[non_exhaustive]
pub enum MaintenanceError {
    /// The options make no sense.
    InvalidOptions {
        /// Why.
        reason: &'static str,
    },
    /// The heap has such a thread already.
    AlreadyRunning,
    /// The heap is only read.
    ReadOnly,
    /// The heap is another process's.
    Forked,
    /// An earlier failure keeps anything more from becoming durable.
    Broken,
    /// The thread panicked, and has ended.
    Panicked,
    /// A system call failed.
    #[non_exhaustive]
    Os {
        /// As in its manual page.
        call: &'static str,
        /// What it reported.
        source: io::Error,
    },
}

/// Why a [`Region`](crate::Region) has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegionError {
    /// So many elements have more bytes than there are addresses.
    TooLarge {
        /// Elements that were asked for.
        len: usize,
    },
    /// The heap has no run of pages as long as that, has reached a limit, or is closed.
    NoRoom {
        /// Bytes that were asked for.
        bytes: usize,
    },
    /// The region has to grow, and what lies behind it is in use: it would have to move.
    CannotGrow {
        /// Bytes that it would have to have.
        bytes: usize,
    },
}

/// Any error of this crate.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A heap could not be opened.
    Open(OpenError),
    /// A heap could not be closed.
    Close(CloseError),
    /// A session could not begin.
    Session(SessionError),
    /// A root could not be had or changed.
    Root(RootError),
    /// A sync failed.
    Sync(SyncError),
    /// A heap could not be looked through.
    Collect(CollectError),
    /// A heap could not be maintained.
    Maintenance(MaintenanceError),
    /// A region could not be made or grown.
    Region(RegionError),
    /// A value could not be put in the place of another one.
    Update(UpdateError),
    /// A heap has no hot set.
    HotSet(HotSetError),
    /// Memory could not be locked.
    Lock(LockError),
}

/// Why a heap could not be looked through.
#[derive(Debug)]
#[non_exhaustive]
pub enum CollectError {
    /// The heap is open for reading only, and nothing in it can be given back.
    ReadOnly,
    /// The heap belongs to the process that this one was forked from.
    Forked,
    /// The heap was not closed well the last time, and is still being recovered from that.
    Recovering,
    /// Not everything was looked at, so nothing was given back.
    Incomplete,
    /// A system call failed: there was no memory for the tables.
    #[non_exhaustive]
    Os {
        /// As in its manual page.
        call: &'static str,
        /// What it reported.
        source: io::Error,
    },
}

from_os!(OpenError CloseError SyncError CollectError MaintenanceError LockError);

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

impl fmt::Display for CloseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SessionsOpen { count } => {
                write!(f, "{count} sessions are still open, and the heap is closed when the last of them ends")
            }
            Self::ForeignBlock { root, address } => {
                write!(f, "root {root} holds a block of another heap, at {address:#x}")
            }
            Self::Forked => f.write_str("the heap belongs to the process that this one was forked from"),
            Self::DamagedState => f.write_str("the allocator's state that the file held contradicts itself"),
            Self::Sync(error) => write!(f, "the last sync failed: {error}"),
            Self::Os { call, .. } => write!(f, "{call} failed while the heap was closed"),
        }
    }
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "the heap is closed",
            Self::ReadOnly => "the heap is open for reading only",
            Self::Forked => "the heap belongs to the process that this one was forked from",
            Self::NoRoots => "the default heaps have no roots",
        })
    }
}

impl fmt::Display for UpdateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session(error) => error.fmt(f),
            Self::OutOfMemory => f.write_str("the heap has no room for the new value"),
        }
    }
}

impl fmt::Display for HotSetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session(error) => error.fmt(f),
            Self::BudgetTooSmall { least } => write!(f, "a hot set takes {least} bytes at least"),
            Self::None => f.write_str("the heap has no hot set"),
            Self::OutOfMemory => f.write_str("there are no addresses for counting reads"),
        }
    }
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutsideHeap { range } => {
                write!(f, "the range {:#x}..{:#x} does not lie in the heap", range.start, range.end)
            }
            Self::Root(error) => error.fmt(f),
            Self::Refused { bytes, limit: Some(limit), source } => {
                write!(f, "{bytes} bytes cannot be locked, of {limit} that this process may lock: {source}")
            }
            Self::Refused { bytes, limit: None, source } => write!(f, "{bytes} bytes cannot be locked: {source}"),
            Self::Os { call, source } => write!(f, "{call} failed: {source}"),
        }
    }
}

impl fmt::Display for SyncError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SessionHeld => f.write_str("the calling thread has a session open, for which the sync would wait"),
            Self::Volatile => f.write_str("a volatile heap cannot be made durable"),
            Self::ReadOnly => f.write_str("the heap is open for reading only"),
            Self::Closed => f.write_str("the heap is closed"),
            Self::Forked => f.write_str("the heap belongs to the process that this one was forked from"),
            Self::Poisoned => f.write_str("a thread panicked in a write session of the heap"),
            Self::Broken => f.write_str("an earlier sync failed, and nothing more can be made durable"),
            Self::GateTimeout { holders } => {
                f.write_str("write sessions stayed open")?;
                holders.iter().try_for_each(|holder| write!(f, "; {holder}"))
            }
            Self::LogFull { bytes } => {
                write!(
                    f,
                    "the commit log has {bytes} bytes, and a snapshot, scrub or recovery keeps it from being folded"
                )
            }
            Self::ForeignBlock { root, address } => {
                write!(f, "root {root} holds a block of another heap, at {address:#x}")
            }
            Self::Os { call, .. } => write!(f, "{call} failed while the heap was synced"),
        }
    }
}

impl fmt::Display for CollectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReadOnly => f.write_str("the heap is open for reading only"),
            Self::Forked => f.write_str("the heap belongs to the process that this one was forked from"),
            Self::Recovering => f.write_str("the heap is still being recovered"),
            Self::Incomplete => f.write_str("not everything in the heap was looked at"),
            Self::Os { call, .. } => write!(f, "{call} failed while a heap was looked through"),
        }
    }
}

impl fmt::Display for SessionHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "thread {} for {:?}, begun at {}", self.thread, self.open_for, self.begun_at)
    }
}

impl fmt::Display for RootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound { root } => write!(f, "there is no root {root}"),
            Self::RootBusy { root, by_this_session: true } => {
                write!(f, "root {root} is borrowed already by this session")
            }
            Self::RootBusy { root, .. } => write!(f, "root {root} is held by another session"),
            Self::OtherType { root, field, stored, asked } if field.is_empty() => {
                write!(f, "root {root} is stored as {stored}, and {asked} was asked for")
            }
            Self::OtherType { root, field, stored, asked } => {
                write!(f, "root {root} differs in `{field}`: stored as {stored}, asked for as {asked}")
            }
            Self::ForeignBlock { root, address } => {
                write!(f, "the value for root {root} holds a block of another heap, at {address:#x}")
            }
            Self::OutOfMemory { root } => write!(f, "the heap has no room for root {root}"),
            Self::NameTooLong { len, longest } => {
                write!(f, "the name of a root has {len} bytes, and at most {longest} are possible")
            }
            Self::DirectoryFull => f.write_str("the heap's directory of roots is full"),
            Self::Damaged { root, part } => write!(f, "root {root} is damaged: {part}"),
            Self::NotMoved { root, reason } => {
                write!(
                    f,
                    "the heap lies at other addresses than its own, and root {root} cannot be read there: {reason}"
                )
            }
            Self::Session(error) => error.fmt(f),
        }
    }
}

impl fmt::Display for RegionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { len } => write!(f, "{len} elements are more than there are addresses for"),
            Self::NoRoom { bytes } => write!(f, "the heap has no room for a region of {bytes} bytes"),
            Self::CannotGrow { bytes } => {
                write!(f, "the region cannot grow to {bytes} bytes, as what lies behind it is in use")
            }
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(error) => error.fmt(f),
            Self::Close(error) => error.fmt(f),
            Self::Session(error) => error.fmt(f),
            Self::Root(error) => error.fmt(f),
            Self::Sync(error) => error.fmt(f),
            Self::Collect(error) => error.fmt(f),
            Self::Maintenance(error) => error.fmt(f),
            Self::Region(error) => error.fmt(f),
            Self::Update(error) => error.fmt(f),
            Self::HotSet(error) => error.fmt(f),
            Self::Lock(error) => error.fmt(f),
        }
    }
}

impl fmt::Display for MaintenanceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidOptions { reason } => write!(f, "the options make no sense: {reason}"),
            Self::AlreadyRunning => f.write_str("the heap is being maintained already"),
            Self::ReadOnly => f.write_str("the heap is only read"),
            Self::Forked => f.write_str("the heap belongs to the process that this one was forked from"),
            Self::Broken => f.write_str("an earlier failure keeps anything more from becoming durable"),
            Self::Panicked => f.write_str("the thread that maintained the heap panicked"),
            Self::Os { call, source } => write!(f, "{call} failed: {source}"),
        }
    }
}

macro_rules! source_of_os {
    ($($name:ident)*) => {
        $(impl std::error::Error for $name {
            fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
                match self {
                    Self::Os { source, .. } => Some(source),
                    _ => None,
                }
            }
        })*
    };
}

source_of_os!(OpenError CloseError SyncError CollectError MaintenanceError);
impl std::error::Error for SessionError {}
impl std::error::Error for RootError {}
impl std::error::Error for RegionError {}
impl std::error::Error for UpdateError {}
impl std::error::Error for HotSetError {}

impl std::error::Error for LockError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Refused { source, .. } | Self::Os { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Open(error) => error.source(),
            Self::Close(error) => error.source(),
            Self::Session(error) => error.source(),
            Self::Root(error) => error.source(),
            Self::Sync(error) => error.source(),
            Self::Collect(error) => error.source(),
            Self::Maintenance(error) => error.source(),
            Self::Region(error) => error.source(),
            Self::Update(error) => error.source(),
            Self::HotSet(error) => error.source(),
            Self::Lock(error) => error.source(),
        }
    }
}

macro_rules! into_error {
    ($($variant:ident $name:ident)*) => {
        $(impl From<$name> for Error {
            fn from(error: $name) -> Self {
                Self::$variant(error)
            }
        })*
    };
}

into_error!(Open OpenError Close CloseError Session SessionError Root RootError Sync SyncError Collect CollectError);
into_error!(Maintenance MaintenanceError);
into_error!(Region RegionError Update UpdateError HotSet HotSetError Lock LockError);

impl From<SessionError> for UpdateError {
    fn from(error: SessionError) -> Self {
        Self::Session(error)
    }
}

impl From<SessionError> for HotSetError {
    fn from(error: SessionError) -> Self {
        Self::Session(error)
    }
}

impl From<RootError> for LockError {
    fn from(error: RootError) -> Self {
        Self::Root(error)
    }
}

impl From<SessionError> for RootError {
    fn from(error: SessionError) -> Self {
        Self::Session(error)
    }
}
