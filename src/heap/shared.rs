//! Heap files that are mapped shared.
//!
//! # The order of writes
//! A header with the state *in use* is durable before the first store to the mapping; everything stored is durable
//! before the header with the state *clean*. What a heap goes back to that was not closed, [`commit`] says.

mod commit;
mod copy;

pub(super) use commit::SharedCommits;

use super::collect::{count_pointers, default_workers};
use super::create::{reserve_always_read, write_header};
use super::former;
use super::lifecycle::{
    PUNCH_AT_CLOSE, Reserved, check_soft_state, check_use, copy_used, limit_capacity, make_core, prepare_counts,
    publish, read_slots,
};
use super::options::{HeapOptions, Mode};
use super::owner::{Heap, HeapInner};
use super::recovery::recover_eagerly;
use super::relocated::move_pointers;
use super::seal::SealPolicy;
use super::withheld;
use crate::alloc::backing::Backing;
use crate::alloc::count_table;
use crate::alloc::heap_core::Core;
use crate::alloc::rebuild::rebuild_shorter;
use crate::error::{CloseError, CollectError, OpenError, SyncError};
use crate::format::header::{
    CLEAN, COUNTED, DURABLE, HOLDER_OFFSET, Header, Holder, IN_USE, RootsCopyAt, SEALED, newest_with_copy,
};
use crate::format::soft::SoftHeader;
use crate::format::{PAGE, UNIT, WINDOW};
use crate::gc::former::{NotLedBack, lead_back};
use crate::gc::image::Image;
use crate::gc::runs::Runs;
use crate::os::file::File;
use crate::os::mapping::{self, Access, Source};
use crate::os::{CallError, errno, process};
use std::path::PathBuf;
use std::ptr::NonNull;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use zerocopy::IntoBytes;

/// Opens a heap whose file is locked.
pub(super) fn open(
    file: File,
    mut header: Header,
    path: Option<PathBuf>,
    read_only: bool,
    options: &HeapOptions,
) -> Result<Heap, OpenError> {
    let is_unclean = header.state != CLEAN;
    let has_counted = header.incompatible & COUNTED != 0;
    let goes_back = is_unclean && !options.accept_unclean;
    let inode = file.metadata()?.inode;
    let mut kept = header.generation;
    if goes_back {
        let found = if read_only { None } else { find_copy(&file, inode)? };
        let (back, not_written_over) = found.ok_or(OpenError::Unclean)?;
        header = Header { generation: header.generation, ..back };
        kept = not_written_over;
    }
    let seals = !read_only && SealPolicy::of(options.seal_policy, Mode::Shared) != SealPolicy::Off;
    limit_capacity(&mut header, options)?;
    let home = header.window;
    let place = Reserved::for_heap_or_copy(&mut header, options)?;
    let is_moved = header.window != home;
    let (core, moved) = place.keep(|| {
        let units = if is_unclean { clear_state(&header, &file)? } else { 0 };
        map_file(&header, &file, read_only, is_moved)?;
        let mut run = 0;
        if goes_back {
            // Before anything changes that the last commit leads to: it, and all else that is in the file by now, is on the disk.
            file.sync_data()?;
            if header.copy.kind == SEALED {
                header.copy.kind = DURABLE;
                header.advance_beside(kept);
                write_header(&file, &header)?;
                kept = header.generation;
            }
            run = copy::go_back(&header, &file, options.drop_plain_roots)?;
            // From here on the roots in their place count, and the copy is not needed any more.
            file.sync_data()?;
            header.copy = commit::unchanged(inode, run);
            header.advance_beside(kept);
            write_header(&file, &header)?;
        }
        if !is_unclean {
            check_state(&header)?;
        }
        let backing = match read_only {
            // It is memory of this process, also in a child, which maps the file anew otherwise.
            true if is_moved => Backing::ReadOnly(None),
            true => Backing::ReadOnly(Some(file)),
            false => Backing::of_file(file),
        };
        let core = make_core(&header, Mode::Shared, backing, options)?;
        if is_unclean || has_counted {
            prepare_counts(core, &header)?;
        }
        if is_unclean {
            recover(core, &header, units, (run, goes_back)).inspect_err(|_| {
                // SAFETY: nobody knows of it.
                unsafe { Core::destroy(core.as_ptr()) }
            })?;
        }
        if !read_only {
            // Of a heap that somebody vouches for nothing else does.
            let may_go_back = seals && (goes_back || !is_unclean);
            // What entries say of former places may be on the disk still.
            header.copy = if may_go_back { commit::unchanged(inode, run) } else { RootsCopyAt::default() };
            mark_in_use(core, &mut header)?;
        }
        // SAFETY: if it is moved the mapping is private, and nobody else knows of the heap.
        let moved = unsafe { move_pointers(core, home) }.inspect_err(|_| {
            // SAFETY: nobody knows of it.
            unsafe { Core::destroy(core.as_ptr()) }
        })?;
        if is_moved {
            let base = header.window as usize * WINDOW;
            // SAFETY: addresses of this heap alone; from here on it is only read.
            unsafe { mapping::protect(base, header.layout.end() as usize, Access::Read)? };
        }
        Ok((core, moved))
    })?;
    let heap = publish(core, header, Mode::Shared, path, None, moved, options);
    if has_counted && !is_unclean && !is_moved {
        // Until it is known that there are none: if this fails, the file must go on saying that there may be some.
        count_table::set_used(header.window, header.windows, true);
        let has_any = count_pointers(heap.inner()).map_err(|error| match error {
            CollectError::Os { call, source, .. } => OpenError::os(call, source),
            _ => OpenError::os("mmap", errno::NO_MEMORY),
        })?;
        count_table::set_used(header.window, header.windows, has_any);
    }
    if seals {
        begin_commits(heap.inner(), &header, inode)?;
    }
    Ok(heap)
}

/// The header to whose copy of the roots a heap goes back that was not closed, and the generation of the one that stays until there
/// is another durable one.
fn find_copy(file: &File, inode: u64) -> Result<Option<(Header, u64)>, CallError> {
    let [first, second] = read_slots(file)?;
    Ok(newest_with_copy([&first, &second], inode, commit::run_of(file)))
}

/// From now on a crash leads back to the last sync: the first one of which is made here, before anybody has the heap.
fn begin_commits(heap: &HeapInner, header: &Header, inode: u64) -> Result<(), OpenError> {
    let Some(file) = heap.core().backing.file() else { return Ok(()) };
    // Before anything can fail: closing asks it.
    let commits = heap.shared.get_or_init(|| SharedCommits::new(header, inode));
    withheld::begin(heap.alloc());
    former::begin(heap.alloc(), former::run_of(header.generation));
    match commits.begin(heap, file) {
        Ok(_) => Ok(()),
        // A heap that is full to the brim can be used all the same; a crash leads nowhere, then.
        Err(SyncError::Os { call, .. }) if call == commit::NO_ROOM.call => {
            withheld::end(heap.alloc());
            former::end(heap.alloc());
            Ok(commits.give_up(heap, file)?)
        }
        Err(SyncError::Os { call, source, .. }) => Err(OpenError::os(call, source)),
        Err(_) => Err(OpenError::Unclean),
    }
}

/// How a heap is to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// As it is.
    Now,
    /// As of its last sync: there is something wrong with what came since.
    AtLastSync,
}

/// Makes the last sync of a heap that is being closed, so that blocks that were withheld can be given back before the header says so.
pub(super) fn commit_at_close(heap: &HeapInner) -> Result<Ending, CloseError> {
    let Some((commits, file)) = heap.shared_commits() else { return Ok(Ending::Now) };
    match commits.commit_at_close(heap, file) {
        Ok(_) => Ok(Ending::Now),
        Err(SyncError::Os { call, source, .. }) => Err(CloseError::os(call, source)),
        Err(_) => Ok(Ending::AtLastSync),
    }
}

/// Leaves the file as a crash would, of which the next opening makes what the last sync left.
pub(super) fn leave(core: &Core, keep_copy: bool) -> Result<(), CloseError> {
    let Some(file) = core.backing.file() else { return Ok(()) };
    if keep_copy {
        make_private(core, file)?;
        file.try_lock_length(false);
        // SAFETY: nobody else is inside.
        copy_used(core, unsafe { (*core.space.get()).committed_units() });
    }
    Ok(())
}

/// Forgets the allocator's state of a heap that was not closed; returns how many units its file reaches to.
fn clear_state(header: &Header, file: &File) -> Result<usize, OpenError> {
    let layout = &header.layout;
    let end = layout.remote_bits.offset + layout.remote_bits.len;
    file.clear(layout.soft.offset, end - layout.soft.offset)?;
    let len = file.metadata()?.len.min(layout.end());
    let units = len.saturating_sub(layout.segments.offset) / UNIT as u64;
    // The table may be newer than the file's length: what it says of units behind the end would come to light when there are some.
    let table = &layout.slab_table;
    let used = (units * size_of::<u64>() as u64).next_multiple_of(PAGE as u64).min(table.len);
    file.clear(table.offset + used, table.len - used)?;
    reserve_always_read(file, layout)?;
    Ok(units as usize)
}

/// Makes the allocator's state of a heap that was not closed, leads entries back to where their values were before they were led elsewhere in
/// a run, and gives back what nothing reaches. A heap that does not go back, because somebody vouches for it, may lead to anything.
fn recover(core: NonNull<Core>, header: &Header, units: usize, (run, goes_back): (u32, bool)) -> Result<(), OpenError> {
    // SAFETY: made by the caller over cleared state, and nobody else has it.
    let core = unsafe { core.as_ref() };
    // SAFETY: as above.
    unsafe { rebuild_shorter(core, units) }?;
    // SAFETY: the heap's own memory, in which nobody stores meanwhile.
    let image = unsafe { Image::new(std::ptr::with_exposed_provenance(core.base), core.window, core.layout, units) };
    // SAFETY: as above, and nobody else is in the heap.
    let led_back = unsafe { lead_back(image, &Runs::of(core, units)?, run) };
    match led_back {
        Err(NotLedBack::Os(error)) => return Err(error.into()),
        // In no other run was anything led elsewhere.
        Err(NotLedBack::Contents) if goes_back && run != 0 => {
            return Err(OpenError::Inconsistent { field: "what a root with handles leads to" });
        }
        _ => {}
    }
    // SAFETY: rebuilt just now, and nobody else has it.
    unsafe { recover_eagerly(core, image, default_workers()) }?;
    // Not sooner: until then what the last commit does not lead to is in use, too.
    // SAFETY: as above. Relaxed: nobody else is there.
    let used = unsafe { (*core.soft()).locked.used_units.load(Ordering::Relaxed) };
    check_use(header, used)
}

/// Makes it durable that the file is in use, before the first store to the mapping. On failure the core is gone.
fn mark_in_use(core: NonNull<Core>, header: &mut Header) -> Result<(), OpenError> {
    // SAFETY: made by the caller, and nobody else knows of it.
    let Some(file) = (unsafe { core.as_ref() }).backing.file() else { return Ok(()) };
    let was_clean = header.state == CLEAN;
    let mut clean = *header;
    header.generation += 1;
    header.state = IN_USE;
    // Of a file that is in use it says nothing, and closing cuts it.
    header.file_len = header.layout.segments.offset;
    let holder = Holder { process: process::id(), unused: 0 };
    let marked = file.write_at(holder.as_bytes(), HOLDER_OFFSET).and_then(|()| write_header(file, header));
    clean.generation = header.generation + 1;
    marked.map_err(|error| {
        // Nothing has been stored: the heap is as clean as it was, if the file can still be told.
        if was_clean {
            let _ = write_header(file, &clean);
        }
        // SAFETY: nobody knows of it.
        unsafe { Core::destroy(core.as_ptr()) };
        error.into()
    })
}

/// Maps the file over its reserved windows; privately if its pointers are to be moved.
fn map_file(header: &Header, file: &File, read_only: bool, is_moved: bool) -> Result<(), OpenError> {
    let access = if read_only && !is_moved { Access::Read } else { Access::ReadWrite };
    let source = if is_moved { Source::PrivateFile(file.fd()) } else { Source::SharedFile(file.fd()) };
    let layout = &header.layout;
    let base = header.window as usize * WINDOW;
    // SAFETY: the windows are reserved for this heap, and nothing is in them yet.
    unsafe { mapping::replace(base, layout.end() as usize, access, source)? };
    if header.file_len < layout.segments.offset {
        return Err(OpenError::Inconsistent { field: "file length" });
    }
    Ok(())
}

/// Whether the allocator's state in a mapped heap is what the header says.
fn check_state(header: &Header) -> Result<(), OpenError> {
    let base = header.window as usize * WINDOW;
    let soft: *const SoftHeader = std::ptr::with_exposed_provenance(base + header.layout.soft.offset as usize);
    // SAFETY: mapped just now and within the file; these fields are plain numbers, which nobody else changes.
    let (epoch, committed, used) = unsafe {
        (
            (*soft).epoch,
            (*soft).committed_units.load(Ordering::Relaxed),
            (*soft).locked.used_units.load(Ordering::Relaxed),
        )
    };
    if epoch != header.epoch {
        return Err(OpenError::Unclean);
    }
    check_soft_state(header, committed, used)
}

/// Writes the file's last bytes and its clean header.
pub(super) fn finish(heap: &HeapInner, core: &Core, keep_copy: bool) -> Result<(), CloseError> {
    let Some(file) = core.backing.file() else { return Ok(()) };
    let mut header = heap.header.lock().unwrap_or_else(PoisonError::into_inner);
    core.purge(PUNCH_AT_CLOSE);
    // SAFETY: nobody else is inside.
    let space = unsafe { &mut *core.space.get() };
    let units = space.trim();
    header.epoch += 1;
    if count_table::is_used(core.window, core.layout.windows()) {
        header.incompatible |= COUNTED;
    } else {
        header.incompatible &= !COUNTED;
    }
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
    match heap.shared.get() {
        Some(commits) => commits.last_generation(&mut header),
        None => header.generation += 1,
    }
    header.copy = RootsCopyAt::default();
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
