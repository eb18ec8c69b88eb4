//! Opening and closing, as far as it is the same in all modes: locks, headers, the place in the address space.
//!
//! A header with the state *clean* means that nothing was lost. If the allocator's state in the file has the header's
//! epoch, too, whoever opens the heap may take it as it is: then opening reads the two header slots and next to nothing
//! else. What else there is to do, [`super::shared`] and [`super::atomic`] say.
//!
//! # What a closed heap leaves behind
//! Memory that somebody may still refer to becomes a private copy of the file's pages. Such copies vanish when the file
//! is cut shorter than they reach, by whoever has it open next. So each closed heap keeps a lock on the file's length as
//! long as its memory is mapped, and who cannot have that lock punches a hole where it would cut.

use super::atomic::{self, Atomic};
use super::create::{check_capacity, create_in, is_unfinished, layout_for, random_id, to_c_string};
use super::fork;
use super::former;
use super::movable;
use super::options::{HeapOptions, Mode};
use super::owner::{Heap, HeapInner};
use super::seal::{SealPolicy, protect};
use super::shared;
use super::table::HEAPS;
use super::temporary;
use super::unknown_counts;
use super::withheld;
use crate::alloc::backing::Backing;
use crate::alloc::count_table;
use crate::alloc::heap_core::{Core, state};
use crate::alloc::rebuild::RebuildError;
use crate::alloc::windows;
use crate::alloc::young;
use crate::error::{CloseError, OpenError};
use crate::format::header::{self, ATOMIC, HEADER_LEN, HOLDER_OFFSET, Header, Holder, IN_USE, SlotError};
use crate::format::{PAGE, SEGMENT_UNITS, UNIT, WINDOW};
use crate::gc::relocate::Moved;
use crate::os::file::{File, resolve, unlink};
use crate::os::mapping::{self, Access, Source};
use crate::os::{CallError, errno};
use std::cell::Cell;
use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::atomic::Ordering;
use zerocopy::FromBytes;

/// What to do with a file that exists, or does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Existing {
    Refuse,
    Require,
    Accept,
}

/// Free runs of at least this many units are punched out of the file when it is closed.
pub(super) const PUNCH_AT_CLOSE: usize = SEGMENT_UNITS;

impl From<CallError> for OpenError {
    fn from(error: CallError) -> Self {
        Self::os(error.call, error.errno)
    }
}

impl From<RebuildError> for OpenError {
    fn from(error: RebuildError) -> Self {
        match error {
            RebuildError::Damaged { offset, .. } => Self::DamagedTables { offset },
            RebuildError::Os(error) => error.into(),
        }
    }
}

impl From<CallError> for CloseError {
    fn from(error: CallError) -> Self {
        Self::os(error.call, error.errno)
    }
}

/// Makes a heap without a name.
pub(super) fn volatile(options: &HeapOptions) -> Result<Heap, OpenError> {
    if options.read_only {
        return Err(OpenError::InvalidOptions { reason: "a volatile heap that is only read" });
    }
    let layout = layout_for(options.capacity_or_default(), Mode::Volatile)?;
    let window = windows::reserve(None, layout.windows())?;
    let made = match &options.temporary {
        None => Ok(Backing::anonymous(options.huge_pages)),
        Some(directory) => to_c_string(directory).and_then(|directory| {
            let file = temporary::create_in(&directory)?;
            temporary::map(&file, window, &layout)?;
            Ok(Backing::of_temporary_file(file, options.huge_pages))
        }),
    };
    let mut header = Header::new(random_id(), window, 0, options.capacity_or_default(), layout)
        .with_ladder(options.size_classes.ladder());
    header.state = IN_USE;
    let started = made.and_then(|backing| make_core(&header, Mode::Volatile, backing, options));
    started.map(|core| publish(core, header, Mode::Volatile, None, None, None, options)).inspect_err(|_| {
        // SAFETY: reserved above, and nothing has been made in it.
        unsafe { windows::release(window, layout.windows()) };
    })
}

/// Opens or creates a heap file.
///
/// # Safety
/// As for [`Heap::open`].
pub(super) unsafe fn open(path: &Path, options: &HeapOptions, existing: Existing) -> Result<Heap, OpenError> {
    if options.mode == Some(Mode::Volatile) {
        return Err(OpenError::InvalidOptions { reason: "a volatile heap has no path" });
    }
    if options.temporary.is_some() {
        return Err(OpenError::InvalidOptions { reason: "only a volatile heap lies in a temporary file" });
    }
    if mapping::page_size() != PAGE {
        return Err(OpenError::OtherMachine);
    }
    if existing == Existing::Refuse && options.read_only {
        return Err(OpenError::InvalidOptions { reason: "a heap that is created and only read" });
    }
    check_capacity(options.capacity_or_default())?;
    let _chosen = Chosen;
    let name = to_c_string(path)?;
    let (lock, created) = lock_file(&name, options, existing)?;
    // A description of its own: the mapping pins this one, and the lock must go when it is given back.
    let data = File::open(&name, !options.read_only)?;
    let (locked, opened) = (lock.metadata()?, data.metadata()?);
    if (locked.device, locked.inode) != (opened.device, opened.inode) {
        return Err(OpenError::os("open", std::io::Error::from(std::io::ErrorKind::StaleNetworkFileHandle)));
    }
    // Also a file that was just created: somebody else may have locked, filled and left it in between.
    if existing != Existing::Require && !options.read_only && is_unfinished(&data)? {
        create_in(&data, path, options).inspect_err(|_| {
            if created {
                let _ = unlink(&name);
            }
        })?;
    } else if existing == Existing::Refuse {
        return Err(OpenError::os("open", errno::EXISTS));
    }
    // The program may go to another directory before the first commit, and the log belongs beside the file.
    let path = resolve(&name)?;
    open_locked(data, lock, &path, options)
}

/// Opens the path, creates the file if that is wanted, and locks its inode.
fn lock_file(name: &CString, options: &HeapOptions, existing: Existing) -> Result<(File, bool), OpenError> {
    let may_create = !options.read_only && existing != Existing::Require;
    let mut tries = 100;
    let (file, created) = loop {
        if existing != Existing::Refuse {
            match File::open(name, !options.read_only) {
                Ok(file) => break (file, false),
                Err(CallError { errno: errno::NOT_FOUND, .. }) if may_create => {}
                Err(CallError { errno: errno::IS_DIRECTORY, .. }) => return Err(OpenError::NotAFile),
                Err(error) => return Err(error.into()),
            }
        }
        match File::create_new(name, options.permissions) {
            Ok(file) => break (file, true),
            // Somebody was quicker. More than a few times it is a link that leads nowhere.
            Err(CallError { errno: errno::EXISTS, .. }) if existing == Existing::Accept && tries > 0 => tries -= 1,
            Err(error) => return Err(error.into()),
        }
    };
    if !file.metadata()?.is_regular {
        return Err(OpenError::NotAFile);
    }
    if !file.try_lock(!options.read_only)? {
        return Err(OpenError::Locked { holder: read_holder(&file) });
    }
    Ok((file, created))
}

/// The process that noted itself in the file.
pub(crate) fn read_holder(file: &File) -> Option<u32> {
    let mut bytes = [0; size_of::<Holder>()];
    let read = file.read_at(&mut bytes, HOLDER_OFFSET).ok()?;
    let holder = Holder::read_from_bytes(bytes.get(..read)?).ok()?;
    (holder.process != 0).then_some(holder.process)
}

/// Opens a heap in a file whose lock is held.
fn open_locked(file: File, lock: File, path: &Path, options: &HeapOptions) -> Result<Heap, OpenError> {
    let header = read_header(&file)?;
    let mode = mode_of(&header);
    if options.mode.is_some_and(|wanted| wanted != mode) {
        return Err(OpenError::OtherMode { found: mode.name() });
    }
    let found = file.metadata()?.len;
    if found < header.file_len {
        return Err(OpenError::Truncated { expected: header.file_len, found });
    }
    // It would be mapped over what lies behind the heap's addresses.
    if header.file_len > header.layout.end() {
        return Err(OpenError::Inconsistent { field: "file length" });
    }
    let read_only = options.read_only || header.read_only_compatible & !header::KNOWN_READ_ONLY_COMPATIBLE != 0;
    let heap = match mode {
        Mode::Atomic => atomic::open_file(file, header, path, read_only, options),
        _ => shared::open(file, header, Some(path.to_path_buf()), read_only, options),
    }?;
    heap.inner().core().keep_file_lock(lock);
    Ok(heap)
}

pub(crate) fn mode_of(header: &Header) -> Mode {
    if header.mode == ATOMIC { Mode::Atomic } else { Mode::Shared }
}

/// Puts the limit that the options name into the header.
pub(super) fn limit_capacity(header: &mut Header, options: &HeapOptions) -> Result<(), OpenError> {
    if let Some(capacity) = options.capacity {
        check_capacity(capacity)?;
        if capacity > header.layout.segments.len {
            return Err(OpenError::CapacityTooLarge { asked: capacity, largest: header.layout.segments.len });
        }
        header.capacity = capacity;
    }
    Ok(())
}

/// Reserves the addresses of a heap and runs `work`, which maps it there; gives them back if that fails.
pub(super) fn at_its_place<R>(header: &Header, work: impl FnOnce() -> Result<R, OpenError>) -> Result<R, OpenError> {
    Reserved::for_heap(header)?.keep(work)
}

/// Addresses that are reserved for a heap. They are given back unless they are kept.
pub(super) struct Reserved {
    window: u32,
    windows: u32,
}

std::thread_local! {
    /// What was chosen for a heap whose file the thread lays out: nobody else comes there before it is opened.
    static CHOSEN: Cell<Option<Reserved>> = const { Cell::new(None) };
}

/// What was [chosen](Reserved::choose) and not used is given back when this is dropped.
pub(super) struct Chosen;

impl Drop for Chosen {
    fn drop(&mut self) {
        drop(CHOSEN.take());
    }
}

impl Reserved {
    /// Keeps windows for the heap that the thread creates and opens next.
    ///
    /// # Safety
    /// They are reserved, nothing is in them, and they are nobody else's.
    pub(super) unsafe fn choose(window: u32, windows: u32) {
        CHOSEN.set(Some(Self { window, windows }));
    }

    fn for_heap(header: &Header) -> Result<Self, OpenError> {
        let (window, windows) = (header.window, header.windows);
        if let Some(chosen) = CHOSEN.take().filter(|chosen| (chosen.window, chosen.windows) == (window, windows)) {
            return Ok(chosen);
        }
        match windows::reserve(Some(window), windows) {
            Ok(_) => Ok(Self { window, windows }),
            Err(CallError { errno: errno::EXISTS, .. }) => {
                let start = window as usize * WINDOW;
                let by = HEAPS.path_of(&(window..window + windows));
                Err(OpenError::AddressTaken { range: start..start + windows as usize * WINDOW, by })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// A heap's own addresses, or if these are taken and the options allow it, others; of which the header speaks then.
    pub(super) fn for_heap_or_copy(header: &mut Header, options: &HeapOptions) -> Result<Self, OpenError> {
        let taken = match Self::for_heap(header) {
            Err(taken @ OpenError::AddressTaken { .. }) if options.relocates => taken,
            other => return other,
        };
        match windows::reserve(None, header.windows) {
            Ok(window) => {
                header.window = window;
                Ok(Self { window, windows: header.windows })
            }
            Err(CallError { errno: errno::EXISTS, .. }) => Err(taken),
            Err(error) => Err(error.into()),
        }
    }

    /// Runs `work`, which maps a heap there, and keeps the addresses if that goes well.
    pub(super) fn keep<R>(self, work: impl FnOnce() -> Result<R, OpenError>) -> Result<R, OpenError> {
        let done = work()?;
        std::mem::forget(self);
        Ok(done)
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        // Also if the work panics.
        // SAFETY: reserved by the creator, and whatever was made in it is gone or used by nobody.
        unsafe { windows::release(self.window, self.windows) };
    }
}

/// Whether what the allocator's state says of itself can be true.
pub(super) fn check_soft_state(header: &Header, committed: u64, used: u64) -> Result<(), OpenError> {
    let layout = &header.layout;
    if committed > layout.units
        || used > committed
        || layout.segments.offset + committed * UNIT as u64 > header.file_len
    {
        return Err(OpenError::Inconsistent { field: "allocator state" });
    }
    check_use(header, used)
}

/// Whether what is in use fits the heap's capacity.
pub(super) fn check_use(header: &Header, used_units: u64) -> Result<(), OpenError> {
    let used = used_units * UNIT as u64;
    if header.capacity / (UNIT as u64) * (UNIT as u64) < used {
        return Err(OpenError::CapacityBelowUse { asked: header.capacity, used });
    }
    Ok(())
}

/// The header that counts.
pub(crate) fn read_header(file: &File) -> Result<Header, OpenError> {
    newest_header(&read_slots(file)?)
}

/// Both header slots; zeros where the file has ended.
pub(crate) fn read_slots(file: &File) -> Result<[[u8; HEADER_LEN]; 2], CallError> {
    let mut slots = [[0; HEADER_LEN]; 2];
    for (index, slot) in slots.iter_mut().enumerate() {
        file.read_at(slot, (index * PAGE) as u64)?;
    }
    Ok(slots)
}

/// The header that counts among the two slots.
pub(crate) fn newest_header(slots: &[[u8; HEADER_LEN]; 2]) -> Result<Header, OpenError> {
    let header = header::newest([&slots[0], &slots[1]]).map_err(|error| match error {
        SlotError::NotAHeap => OpenError::NotAHeap,
        SlotError::OtherMachine => OpenError::OtherMachine,
        SlotError::NewerVersion(found) => OpenError::NewerVersion { found, known: header::VERSION },
        SlotError::Damaged => OpenError::Damaged,
        SlotError::Nonsense(field) => OpenError::Inconsistent { field },
    })?;
    if header.file_len < header.layout.segments.offset {
        return Err(OpenError::Inconsistent { field: "file length" });
    }
    match header.incompatible & !header::KNOWN_INCOMPATIBLE {
        0 => Ok(header),
        mask => Err(OpenError::UnknownFeatures { mask }),
    }
}

/// Puts the process's side of a heap on top of its mapping.
pub(super) fn make_core(
    header: &Header,
    mode: Mode,
    backing: Backing,
    options: &HeapOptions,
) -> Result<NonNull<Core>, OpenError> {
    fork::register();
    let capacity_units = (header.capacity / UNIT as u64) as usize;
    // SAFETY: the window holds a clean heap, or zeros, and the caller owns it.
    let core = unsafe { Core::new(header.window, header.layout, header.ladder(), capacity_units, backing)? };
    let core = NonNull::new(core).ok_or(OpenError::Inconsistent { field: "address" })?;
    // SAFETY: just made.
    let held = unsafe { core.as_ref() };
    held.scrub_freed.store(options.scrub_freed, Ordering::Relaxed);
    options.tuning.apply(held);
    options.watermarks.set_in(held).inspect_err(|_| {
        // SAFETY: just made, and nobody knows of it.
        unsafe { Core::destroy(core.as_ptr()) };
    })?;
    if matches!(held.backing, Backing::ReadOnly(_)) {
        held.state.store(state::READ_ONLY, Ordering::Release);
        return Ok(core);
    }
    let policy = SealPolicy::of(options.seal_policy, mode);
    let protects = policy == SealPolicy::Mprotect;
    if policy != SealPolicy::Off {
        young::begin(header.window, header.windows, protects).inspect_err(|_| {
            // SAFETY: as above.
            unsafe { Core::destroy(core.as_ptr()) };
        })?;
    }
    // Relaxed: nobody else knows of it.
    held.protection.is_wanted.store(protects, Ordering::Relaxed);
    Ok(core)
}

/// Makes room for the counts of a heap that may have counted blocks. On failure the core is gone.
pub(super) fn prepare_counts(core: NonNull<Core>, header: &Header) -> Result<(), CallError> {
    count_table::prepare(header.window, header.windows).inspect_err(|_| {
        // SAFETY: made by the caller, and nobody else knows of it.
        unsafe { Core::destroy(core.as_ptr()) }
    })
}

/// Makes a heap known.
pub(super) fn publish(
    core: NonNull<Core>,
    header: Header,
    mode: Mode,
    path: Option<PathBuf>,
    atomic: Option<Atomic>,
    moved: Option<Moved>,
    options: &HeapOptions,
) -> Heap {
    windows::note_ladder(header.window, header.layout.windows(), header.ladder());
    windows::publish(core.as_ptr(), header.window);
    Heap::from_inner(HeapInner::new(core, header, mode, path, atomic, moved, options))
}

/// Closes a heap in which no session is open: threads that allocate are waited for, everything is durable, then the file says
/// that it is clean, then its lock is given back.
pub(super) fn shut(heap: &HeapInner, unmap: bool) -> Result<(), CloseError> {
    heap.gate.close();
    heap.maintenance.end();
    unknown_counts::forget(heap.alloc());
    // From here on nothing is sealed. What waits is freed while that can be.
    protect::open_all(heap.core());
    if let Some(atomic) = &heap.atomic {
        // It works in the heap as any thread does, and needs it open.
        atomic.give_up_recovery();
    }
    let committed = shared::commit_at_close(heap);
    let _closing = fork::CLOSING.lock();
    let core = heap.core();
    windows::withdraw(core.window);
    core.state.store(state::RETIRED, Ordering::SeqCst);
    core.wait_until_idle();
    // Until then its blocks must not be used again.
    withheld::end(heap.alloc());
    former::end(heap.alloc());
    // Not sooner: until then a thread may come that was not there before, and get a block.
    // A shared value is handed out by a mere clone.
    let has_shared = count_table::is_mapped(core.window, core.layout.windows());
    let was_used = core.has_been_used() || heap.written.load(Ordering::Relaxed) || has_shared;
    let (mut outcome, mut checked) = (Ok(()), Ok(()));
    if !heap.read_only {
        // SAFETY: nobody is inside, and nobody comes.
        unsafe { core.retire_all_threads() };
        if cfg!(debug_assertions) || cfg!(feature = "checked") || cfg!(feature = "testing") {
            // SAFETY: as above.
            checked = unsafe { core.check() };
            assert!(
                checked.is_ok() || core.has_adopted_state,
                "the heap's bookkeeping contradicts itself: {checked:?}"
            );
        }
        outcome = match heap.mode {
            Mode::Volatile => {
                core.purge(1);
                Ok(())
            }
            Mode::Shared => match committed {
                Ok(_) if checked.is_err() => Err(CloseError::DamagedState),
                Ok(shared::Ending::Now) => shared::finish(heap, core, was_used && !unmap),
                Ok(shared::Ending::AtLastSync) => shared::leave(core, was_used && !unmap),
                Err(error) => Err(error),
            },
            Mode::Atomic => atomic::finish(heap, core, was_used && !unmap, checked.is_ok()),
        };
    }
    if let Some(lock) = core.take_file_lock() {
        match &outcome {
            // Memory that others may refer to is still the file's, in part at least, and must not change under them.
            Err(_) if was_used && !unmap => std::mem::forget(lock),
            // The same of a heap that is only read, which cannot be copied: nobody writes to it as long as this process lives.
            _ if heap.read_only && has_shared && !unmap => std::mem::forget(lock),
            // A mapping or a child may pin the file; the lock goes all the same.
            _ => drop(lock.unlock()),
        }
    }
    if let Some(atomic) = &heap.atomic {
        atomic.close();
    }
    if let Some(file) = core.backing.file() {
        // Threads that have not noticed yet keep the rest.
        file.close();
    }
    if unmap {
        HEAPS.remove(core.window);
        movable::forget(&core.address_range());
        // SAFETY: the caller of `close_and_unmap` vouches that nothing in the heap is used again.
        unsafe { windows::release(core.window, core.layout.windows()) };
    } else if !was_used && heap.mode != Mode::Volatile {
        // No block was handed out and no root changed hands, so nothing outside refers to the heap.
        // SAFETY: as just said; the windows stay taken.
        let _ = unsafe { mapping::replace(core.base, core.layout.end() as usize, Access::None, Source::Anonymous) };
    }
    outcome.and(checked.map_err(|_| CloseError::DamagedState))
}

/// Makes every page in use a copy of our own, so that nothing written to the file is seen any more.
pub(super) fn copy_used(core: &Core, units: usize) {
    // SAFETY: nobody else is inside the allocator; threads that write to their blocks go on.
    let map = unsafe { &(*core.space.get()).map };
    let mut at = 0;
    while let Some((start, len)) = map.next_used_run(at, units) {
        mapping::copy_private_pages(core.address_of(start), len * UNIT);
        at = start + len;
    }
}
