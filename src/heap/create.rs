//! Making heap files: where a heap will be mapped, how its file is laid out.
//!
//! A new file is laid out in full, and made durable with its name, before its first header is written; a file without
//! any header that is all zeros was never finished, and is begun again.

use super::lifecycle::Reserved;
use super::options::{HeapOptions, Mode};
use crate::alloc::windows;
use crate::error::OpenError;
use crate::format::header::{ATOMIC, Header, SHARED};
use crate::format::layout::Layout;
use crate::format::{END_WINDOW, FIRST_WINDOW, PAGE};
use crate::os::CallError;
use crate::os::env::random_bytes;
use crate::os::file::File;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Random windows that are tried before the lowest free one is taken.
const RANDOM_TRIES: usize = 16;

/// Windows below this one are for heaps without a file, which can lie anywhere: so that they seldom lie where a file
/// wants to be.
const FIRST_FILE_WINDOW: u32 = FIRST_WINDOW + 128;
const _: () = assert!(FIRST_FILE_WINDOW < END_WINDOW);

/// Whether a file was begun and never got its first header. Anything else in it is somebody's data.
pub(super) fn is_unfinished(file: &File) -> Result<bool, OpenError> {
    let mut bytes = [0; 2 * PAGE];
    let read = file.read_at(&mut bytes, 0)?;
    Ok(bytes[..read].iter().all(|&byte| byte == 0) && file.is_zero()?)
}

/// Makes a heap in an empty, locked file.
pub(super) fn create_in(file: &File, path: &Path, options: &HeapOptions) -> Result<(), OpenError> {
    let mode = options.mode.unwrap_or(Mode::Atomic);
    let header = new_header(options, mode)?;
    let layout = &header.layout;
    file.set_len(layout.segments.offset)?;
    file.reserve(0, 4 * PAGE as u64)?;
    if mode == Mode::Shared {
        reserve_always_read(file, layout)?;
    }
    file.sync_all()?;
    sync_directory(path)?;
    write_header(file, &header)?;
    Ok(())
}

/// Reserves the space of what is read of every heap.
pub(super) fn reserve_always_read(file: &File, layout: &Layout) -> Result<(), CallError> {
    layout.always_read().into_iter().try_for_each(|area| file.reserve(area.offset, area.len))
}

/// The header of a new heap file, at a place that the thread has [until it opens the heap](super::lifecycle::Chosen).
pub(super) fn new_header(options: &HeapOptions, mode: Mode) -> Result<Header, OpenError> {
    let layout = layout_for(options.laid_out_capacity(), mode)?;
    let window = choose_window(&layout)?;
    // SAFETY: reserved just now, and nothing is in it.
    unsafe { Reserved::choose(window, layout.windows()) };
    let number = if mode == Mode::Atomic { ATOMIC } else { SHARED };
    let mut header = Header::new(random_id(), window, number, options.capacity_or_default(), layout)
        .with_ladder(options.size_classes.ladder());
    header.file_len = layout.segments.offset;
    Ok(header)
}

/// Makes the directory entry of `path` durable.
fn sync_directory(path: &Path) -> Result<(), OpenError> {
    Ok(File::open_directory(&to_c_string(&directory_of(path))?)?.sync_all()?)
}

/// The directory that a file lies in.
pub(crate) fn directory_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// The name of a heap's commit log.
pub(crate) fn log_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-log");
    PathBuf::from(name)
}

pub(crate) fn to_c_string(path: &Path) -> Result<CString, OpenError> {
    CString::new(path.as_os_str().as_bytes()).map_err(|error| OpenError::os("open", error))
}

/// Writes a header and makes it durable.
pub(super) fn write_header(file: &File, header: &Header) -> Result<(), CallError> {
    write_header_to(file, header)?;
    file.sync_data()
}

/// Writes a header.
pub(super) fn write_header_to(file: &File, header: &Header) -> Result<(), CallError> {
    file.write_at(&header.encode(), header.slot_offset())
}

pub(super) fn random_id() -> [u8; 16] {
    let mut id = [0; 16];
    random_bytes(&mut id);
    id
}

pub(super) fn check_capacity(capacity: u64) -> Result<(), OpenError> {
    let largest = Layout::filling_windows(END_WINDOW - FIRST_WINDOW, true).segments.len;
    match capacity {
        0 => Err(OpenError::ZeroCapacity),
        asked if asked > largest => Err(OpenError::CapacityTooLarge { asked, largest }),
        _ => Ok(()),
    }
}

/// The layout of a new heap that is to hold `capacity` bytes.
pub(super) fn layout_for(capacity: u64, mode: Mode) -> Result<Layout, OpenError> {
    check_capacity(capacity)?;
    Ok(Layout::for_capacity(capacity, mode == Mode::Atomic))
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
