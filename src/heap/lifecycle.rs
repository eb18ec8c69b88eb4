//! Creating, opening and closing.
//!
//! # The order of writes
//! A header with the state *in use* is durable before the first store to the mapping; everything stored is durable
//! before the header with the state *clean*. So a clean header means that nothing was lost, and whoever opens the heap
//! next may take the allocator's state as it is: opening reads the two header slots and nothing else.
//!
//! A new file is laid out in full, and made durable with its name, before its first header is written; a file without
//! any header that is all zeros was never finished, and is begun again.
//!
//! # What a closed heap leaves behind
//! Memory that somebody may still refer to becomes a private copy of the file's pages. Such copies vanish when the file
//! is cut shorter than they reach, by whoever has it open next. So each closed heap keeps a lock on the file's length as
//! long as its memory is mapped, and who cannot have that lock punches a hole where it would cut.

use super::fork;
use super::options::{HeapOptions, Mode};
use super::owner::{Heap, HeapInner};
use super::table::HEAPS;
use super::temporary;
use crate::alloc::backing::Backing;
use crate::alloc::heap_core::{Core, state};
use crate::alloc::windows;
use crate::error::{CloseError, OpenError};
use crate::format::header::{self, CLEAN, HEADER_LEN, HOLDER_OFFSET, Header, Holder, IN_USE, SHARED, SlotError};
use crate::format::layout::Layout;
use crate::format::soft::SoftHeader;
use crate::format::{END_WINDOW, FIRST_WINDOW, PAGE, SEGMENT_UNITS, UNIT, WINDOW};
use crate::os::env::random_bytes;
use crate::os::file::{File, unlink};
use crate::os::mapping::{self, Access, Source};
use crate::os::{CallError, barrier, errno, process};
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use zerocopy::{FromBytes, IntoBytes};

/// What to do with a file that exists, or does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Existing {
    Refuse,
    Require,
    Accept,
}

/// Random windows that are tried before the lowest free one is taken.
const RANDOM_TRIES: usize = 16;

/// Windows below this one are for heaps without a file, which can lie anywhere: so that they seldom lie where a file
/// wants to be.
const FIRST_FILE_WINDOW: u32 = FIRST_WINDOW + 128;
const _: () = assert!(FIRST_FILE_WINDOW < END_WINDOW);

/// Free runs of at least this many units are punched out of the file when it is closed.
const PUNCH_AT_CLOSE: usize = SEGMENT_UNITS;

impl From<CallError> for OpenError {
    fn from(error: CallError) -> Self {
        Self::os(error.call, error.errno)
    }
}

impl From<CallError> for CloseError {
    fn from(error: CallError) -> Self {
        Self::os(error.call, error.errno)
    }
}

fn to_c_string(path: &Path) -> Result<CString, OpenError> {
    CString::new(path.as_os_str().as_bytes()).map_err(|error| OpenError::os("open", error))
}

/// Makes a heap without a name.
pub(super) fn volatile(options: &HeapOptions) -> Result<Heap, OpenError> {
    if options.read_only {
        return Err(OpenError::InvalidOptions { reason: "a volatile heap that is only read" });
    }
    let layout = layout_for(options.capacity_or_default())?;
    let window = windows::reserve(None, layout.windows())?;
    let made = match &options.temporary {
        None => Ok(Backing::Anonymous { huge_pages: options.huge_pages }),
        Some(directory) => to_c_string(directory).and_then(|directory| {
            let file = temporary::create_in(&directory)?;
            temporary::map(&file, window, &layout)?;
            Ok(Backing::of_file(file))
        }),
    };
    let mut header = Header::new(random_id(), window, 0, options.capacity_or_default(), layout);
    header.state = IN_USE;
    made.and_then(|backing| start(header, backing, Mode::Volatile, None, options)).inspect_err(|_| {
        // SAFETY: reserved above, and nothing has been made in it.
        unsafe { windows::release(window, layout.windows()) };
    })
}

/// Opens or creates a heap file.
///
/// # Safety
/// As for [`Heap::open`].
pub(super) unsafe fn open(path: &Path, options: &HeapOptions, existing: Existing) -> Result<Heap, OpenError> {
    if options.mode == Mode::Volatile {
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
    open_locked(data, lock, path, options)
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
fn read_holder(file: &File) -> Option<u32> {
    let mut bytes = [0; size_of::<Holder>()];
    let read = file.read_at(&mut bytes, HOLDER_OFFSET).ok()?;
    let holder = Holder::read_from_bytes(bytes.get(..read)?).ok()?;
    (holder.process != 0).then_some(holder.process)
}

/// Whether a file was begun and never got its first header. Anything else in it is somebody's data.
fn is_unfinished(file: &File) -> Result<bool, OpenError> {
    let mut bytes = [0; 2 * PAGE];
    let read = file.read_at(&mut bytes, 0)?;
    Ok(bytes[..read].iter().all(|&byte| byte == 0) && file.is_zero()?)
}

/// Makes a heap in an empty, locked file.
fn create_in(file: &File, path: &Path, options: &HeapOptions) -> Result<(), OpenError> {
    let layout = layout_for(options.laid_out_capacity())?;
    let window = choose_window(&layout)?;
    // SAFETY: reserved just now; it is reserved again when the heap is opened.
    unsafe { windows::release(window, layout.windows()) };
    file.set_len(layout.segments.offset)?;
    file.reserve(0, 4 * PAGE as u64)?;
    for area in [layout.roots, layout.types, layout.soft] {
        file.reserve(area.offset, PAGE as u64)?;
    }
    let mut header = Header::new(random_id(), window, SHARED, options.capacity_or_default(), layout);
    header.file_len = layout.segments.offset;
    file.sync_all()?;
    sync_directory(path)?;
    write_header(file, &header)?;
    Ok(())
}

/// Makes the directory entry of `path` durable.
fn sync_directory(path: &Path) -> Result<(), OpenError> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    Ok(File::open_directory(&to_c_string(parent)?)?.sync_all()?)
}

fn write_header(file: &File, header: &Header) -> Result<(), CallError> {
    file.write_at(&header.encode(), header.slot_offset())?;
    file.sync_data()
}

fn random_id() -> [u8; 16] {
    let mut id = [0; 16];
    random_bytes(&mut id);
    id
}

fn check_capacity(capacity: u64) -> Result<(), OpenError> {
    let largest = Layout::filling_windows(END_WINDOW - FIRST_WINDOW, true).segments.len;
    match capacity {
        0 => Err(OpenError::ZeroCapacity),
        asked if asked > largest => Err(OpenError::CapacityTooLarge { asked, largest }),
        _ => Ok(()),
    }
}

fn layout_for(capacity: u64) -> Result<Layout, OpenError> {
    check_capacity(capacity)?;
    Ok(Layout::for_capacity(capacity, false))
}

/// Reserves windows for a new file: random ones, so that two heaps seldom want the same, or the lowest that are free.
fn choose_window(layout: &Layout) -> Result<u32, OpenError> {
    let windows = layout.windows();
    // None for a heap that takes nearly all windows there are.
    let candidates = u64::from((END_WINDOW + 1 - FIRST_FILE_WINDOW).saturating_sub(windows));
    for _ in 0..RANDOM_TRIES {
        let mut random = [0; 8];
        random_bytes(&mut random);
        let Some(chosen) = u64::from_le_bytes(random).checked_rem(candidates) else { break };
        let window = FIRST_FILE_WINDOW + chosen as u32;
        if let Ok(window) = windows::reserve(Some(window), windows) {
            return Ok(window);
        }
    }
    Ok(windows::reserve(None, windows)?)
}

/// Opens a heap in a file whose lock is held.
fn open_locked(file: File, lock: File, path: &Path, options: &HeapOptions) -> Result<Heap, OpenError> {
    let mut header = read_header(&file)?;
    if header.state != CLEAN {
        return Err(OpenError::Unclean);
    }
    let found = file.metadata()?.len;
    if found < header.file_len {
        return Err(OpenError::Truncated { expected: header.file_len, found });
    }
    if let Some(capacity) = options.capacity {
        check_capacity(capacity)?;
        if capacity > header.layout.segments.len {
            return Err(OpenError::CapacityTooLarge { asked: capacity, largest: header.layout.segments.len });
        }
        header.capacity = capacity;
    }
    let read_only = options.read_only || header.read_only_compatible & !header::KNOWN_READ_ONLY_COMPATIBLE != 0;
    let (window, windows) = (header.window, header.windows);
    match windows::reserve(Some(window), windows) {
        Ok(_) => {}
        Err(CallError { errno: errno::EXISTS, .. }) => {
            let start = window as usize * WINDOW;
            let by = HEAPS.path_of(&(window..window + windows));
            return Err(OpenError::AddressTaken { range: start..start + windows as usize * WINDOW, by });
        }
        Err(error) => return Err(error.into()),
    }
    map_file(&header, &file, read_only)
        .map(|()| if read_only { Backing::ReadOnly(file) } else { Backing::of_file(file) })
        .and_then(|backing| start(header, backing, Mode::Shared, Some(path.to_path_buf()), options))
        .inspect(|heap| heap.inner().core().keep_file_lock(lock))
        .inspect_err(|_| {
            // SAFETY: reserved above, and nothing has been made in it.
            unsafe { windows::release(window, windows) };
        })
}

fn read_header(file: &File) -> Result<Header, OpenError> {
    let mut slots = [[0; HEADER_LEN]; 2];
    for (index, slot) in slots.iter_mut().enumerate() {
        file.read_at(slot, (index * PAGE) as u64)?;
    }
    let header = header::newest([&slots[0], &slots[1]]).map_err(|error| match error {
        SlotError::NotAHeap => OpenError::NotAHeap,
        SlotError::OtherMachine => OpenError::OtherMachine,
        SlotError::NewerVersion(found) => OpenError::NewerVersion { found, known: header::VERSION },
        SlotError::Damaged => OpenError::Damaged,
        SlotError::Nonsense(field) => OpenError::Inconsistent { field },
    })?;
    match header.incompatible & !header::KNOWN_INCOMPATIBLE {
        _ if header.mode != SHARED => Err(OpenError::Inconsistent { field: "mode" }),
        0 => Ok(header),
        mask => Err(OpenError::UnknownFeatures { mask }),
    }
}

/// Maps the file over its reserved windows and looks whether the allocator's state is what the header says.
fn map_file(header: &Header, file: &File, read_only: bool) -> Result<(), OpenError> {
    let access = if read_only { Access::Read } else { Access::ReadWrite };
    let layout = &header.layout;
    let base = header.window as usize * WINDOW;
    // SAFETY: the windows are reserved for this heap, and nothing is in them yet.
    unsafe { mapping::replace(base, layout.end() as usize, access, Source::SharedFile(file.fd()))? };
    if header.file_len < layout.segments.offset {
        return Err(OpenError::Inconsistent { field: "file length" });
    }
    let soft: *const SoftHeader = std::ptr::with_exposed_provenance(base + layout.soft.offset as usize);
    // SAFETY: mapped just now and within the file; these fields are plain numbers, which nobody else changes.
    let (epoch, committed, used) =
        unsafe { ((*soft).epoch, (*soft).committed_units.load(Ordering::Relaxed), (*soft).locked.used_units) };
    if epoch != header.epoch {
        return Err(OpenError::Unclean);
    }
    if committed > layout.units
        || used > committed
        || layout.segments.offset + committed * UNIT as u64 > header.file_len
    {
        return Err(OpenError::Inconsistent { field: "allocator state" });
    }
    let used = used * UNIT as u64;
    if header.capacity / (UNIT as u64) * (UNIT as u64) < used {
        return Err(OpenError::CapacityBelowUse { asked: header.capacity, used });
    }
    Ok(())
}

/// Puts the process's side of a heap on top of its mapping and makes it known.
fn start(
    mut header: Header,
    backing: Backing,
    mode: Mode,
    path: Option<PathBuf>,
    options: &HeapOptions,
) -> Result<Heap, OpenError> {
    fork::register();
    barrier::register();
    let capacity_units = (header.capacity / UNIT as u64) as usize;
    // SAFETY: the window holds a clean heap, or zeros, and the caller owns it.
    let core = unsafe { Core::new(header.window, header.layout, capacity_units, backing)? };
    // SAFETY: just made.
    let held = unsafe { &*core };
    let read_only = matches!(held.backing, Backing::ReadOnly(_));
    held.scrub_freed.store(options.scrub_freed, Ordering::Relaxed);
    if read_only {
        held.state.store(state::READ_ONLY, Ordering::Release);
    }
    if let (Mode::Shared, Some(file), false) = (mode, held.backing.file(), read_only) {
        // Durable before the first store to the mapping.
        header.generation += 1;
        header.state = IN_USE;
        let holder = Holder { process: process::id(), unused: 0 };
        let marked = file.write_at(holder.as_bytes(), HOLDER_OFFSET).and_then(|()| write_header(file, &header));
        if let Err(error) = marked {
            // Nothing has been stored: the heap is as clean as it was, if the file can still be told.
            header.generation += 1;
            header.state = CLEAN;
            let _ = write_header(file, &header);
            // SAFETY: nobody knows of it.
            unsafe { Core::destroy(core) };
            return Err(error.into());
        }
    }
    let Some(pointer) = NonNull::new(core) else { return Err(OpenError::Inconsistent { field: "address" }) };
    windows::publish(core, header.window);
    let inner = HeapInner::new(pointer, header, mode, path, read_only);
    let _ = inner.sync_timeout.set(options.sync_timeout);
    Ok(Heap::from_inner(inner))
}

/// Closes a heap in which no session is open: threads that allocate are waited for, everything is durable, then the file says
/// that it is clean, then its lock is given back.
pub(super) fn shut(heap: &HeapInner, unmap: bool) -> Result<(), CloseError> {
    heap.gate.close();
    let _closing = fork::CLOSING.lock();
    let core = heap.core();
    windows::withdraw(core.window);
    let was_used = core.has_been_used() || heap.written.load(Ordering::Relaxed);
    core.state.store(state::RETIRED, Ordering::SeqCst);
    core.wait_until_idle();
    let mut outcome = Ok(());
    if !heap.read_only {
        // SAFETY: nobody is inside, and nobody comes.
        unsafe { core.retire_all_threads() };
        if cfg!(debug_assertions) || cfg!(feature = "checked") {
            // SAFETY: as above.
            assert_eq!(unsafe { core.check() }, Ok(()), "the heap's bookkeeping contradicts itself");
        }
        outcome = match heap.mode {
            Mode::Volatile => {
                core.purge(1);
                Ok(())
            }
            Mode::Shared => finish_file(heap, core, was_used && !unmap),
        };
    }
    if let Some(lock) = core.take_file_lock() {
        match &outcome {
            // Memory that others may refer to is still the file's, in part at least, and must not change under them.
            Err(_) if was_used && !unmap => std::mem::forget(lock),
            // A mapping or a child may pin the file; the lock goes all the same.
            _ => drop(lock.unlock()),
        }
    }
    if let Some(file) = core.backing.file() {
        // Threads that have not noticed yet keep the rest.
        file.close();
    }
    if unmap {
        HEAPS.remove(core.window);
        // SAFETY: the caller of `close_and_unmap` vouches that nothing in the heap is used again.
        unsafe { windows::release(core.window, core.layout.windows()) };
    } else if !was_used && heap.mode == Mode::Shared {
        // No block was handed out and no root changed hands, so nothing outside refers to the heap.
        // SAFETY: as just said; the windows stay taken.
        let _ = unsafe { mapping::replace(core.base, core.layout.end() as usize, Access::None, Source::Anonymous) };
    }
    outcome
}

/// Writes the file's last bytes and its clean header.
fn finish_file(heap: &HeapInner, core: &Core, keep_copy: bool) -> Result<(), CloseError> {
    let Some(file) = core.backing.file() else { return Ok(()) };
    let mut header = heap.header.lock().unwrap_or_else(PoisonError::into_inner);
    core.purge(PUNCH_AT_CLOSE);
    // SAFETY: nobody else is inside.
    let space = unsafe { &mut *core.space.get() };
    let units = space.trim();
    header.epoch += 1;
    // SAFETY: mapped and ours.
    unsafe { (*core.soft()).epoch = header.epoch };
    header.file_len = core.layout.segments.offset + (units * UNIT) as u64;
    let cut_off = if keep_copy { make_private(core, file) } else { Ok(()) };
    if file.try_lock_length(true) {
        file.set_len(header.file_len)?;
    } else if let Some(excess) = file.metadata()?.len.checked_sub(header.file_len).filter(|&excess| excess > 0) {
        file.clear(header.file_len, excess)?;
    }
    if keep_copy {
        file.try_lock_length(false);
    }
    file.write_at(Holder::default().as_bytes(), HOLDER_OFFSET)?;
    file.sync_data()?;
    header.generation += 1;
    header.state = CLEAN;
    write_header(file, &header)?;
    cut_off?;
    if keep_copy {
        // Last, because it takes memory: whatever becomes of the process, the file is good.
        copy_used(core, units);
    }
    Ok(())
}

/// Makes the mapping private, so that nothing written from now on reaches the file. Threads see no change.
fn make_private(core: &Core, file: &File) -> Result<(), CallError> {
    let end = core.layout.end() as usize;
    // SAFETY: all that was stored is in the file's pages, so the private mapping holds the same.
    unsafe { mapping::replace(core.base, end, Access::ReadWrite, Source::PrivateFile(file.fd())) }
}

/// Makes every page in use a copy of our own, so that nothing written to the file is seen any more.
fn copy_used(core: &Core, units: usize) {
    // SAFETY: nobody else is inside the allocator; threads that write to their blocks go on.
    let map = unsafe { &(*core.space.get()).map };
    let mut at = 0;
    while let Some((start, len)) = map.next_used_run(at, units) {
        mapping::copy_private_pages(core.address_of(start), len * UNIT);
        at = start + len;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heap_that_needs_nearly_all_windows_is_no_panic() {
        let layout = Layout::filling_windows(END_WINDOW - FIRST_WINDOW - 1, false);
        // Another test of this process may hold a window.
        if let Ok(window) = choose_window(&layout) {
            // SAFETY: reserved just now, and nothing is in it.
            unsafe { windows::release(window, layout.windows()) };
        }
    }
}
