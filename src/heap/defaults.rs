//! The two heaps that every process has: one in memory, one over a temporary file. Each is made when first used.

use super::temporary;
use crate::alloc::backing::Backing;
use crate::alloc::current::Default;
use crate::alloc::growers::{DEFAULT_PLACE, GROWERS};
use crate::alloc::heap_core::Core;
use crate::alloc::size_class::Ladder;
use crate::alloc::windows;
use crate::format::layout::Layout;
use crate::os::env::secure_variable;
use crate::os::file::File;
use crate::os::lock::Lock;
use crate::os::mapping;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

/// Under a limit on addresses, a default heap has room for half of so many bytes at least.
const LEAST_BYTES: u64 = 64 << 20;

static CORES: [AtomicPtr<Core>; 2] = [const { AtomicPtr::new(ptr::null_mut()) }; 2];
static WINDOWS: [AtomicU32; 2] = [const { AtomicU32::new(0) }; 2];
/// Held while one is made, and over `fork`.
pub(super) static MAKING: Lock = Lock::new();

/// Which default heap has that first window, if one does.
#[inline]
pub(super) fn which(window: u32) -> Option<Default> {
    // Relaxed: whoever asks about an address of the heap got it after the heap was made.
    if window == WINDOWS[0].load(Ordering::Relaxed) {
        Some(Default::Anonymous)
    } else if window == WINDOWS[1].load(Ordering::Relaxed) {
        Some(Default::File)
    } else {
        None
    }
}

/// A default heap, if it has been made.
pub(super) fn made(which: Default) -> Option<&'static Core> {
    let core = CORES[which as usize].load(Ordering::Acquire);
    // SAFETY: default heaps are never destroyed. Acquire pairs with the Release in `make`.
    (!core.is_null()).then(|| unsafe { &*core })
}

/// A default heap, made if need be; none if the process has no room for it.
pub(super) fn get(which: Default) -> Option<&'static Core> {
    made(which).or_else(|| make(which))
}

#[cold]
fn make(which: Default) -> Option<&'static Core> {
    super::fork::register();
    let _guard = MAKING.lock();
    if let Some(core) = made(which) {
        return Some(core);
    }
    // Address space is free, but a limit on it may be set: try less until it fits.
    let generous = (4 * mapping::physical_memory()).div_ceil(crate::format::WINDOW).clamp(4, 64) as u32;
    let mut layout = Layout::filling_windows(generous, false);
    let mut len = layout.windows() as usize * crate::format::WINDOW;
    let window = loop {
        match windows::reserve_part(None, layout.windows(), len) {
            Ok(window) => break window,
            Err(_) if layout.windows() > 1 => {
                layout = Layout::filling_windows(layout.windows() / 2, false);
                len = layout.windows() as usize * crate::format::WINDOW;
            }
            Err(_) if layout.segments.len > LEAST_BYTES => {
                layout = Layout::for_capacity(layout.segments.len / 2, false);
                len = layout.end() as usize;
            }
            Err(_) => return None,
        }
    };
    let huge_pages = secure_variable(c"SAL_HUGE_PAGES").is_none_or(|value| value.to_bytes() != b"0");
    let backing = match which {
        Default::Anonymous => Some(Backing::anonymous(huge_pages)),
        Default::File => temporary_file(window, &layout).map(|file| Backing::of_temporary_file(file, huge_pages)),
    };
    let core = backing.and_then(|backing| make_core(window, layout, backing));
    // SAFETY: nobody else knows of it yet.
    #[cfg(feature = "preload")]
    let core = core.filter(|&core| unsafe { super::untyped::cover(which, &*core) }.is_ok());
    let Some(core) = core else {
        // SAFETY: reserved above, and nobody knows of it.
        unsafe { windows::release(window, layout.windows()) };
        return None;
    };
    // The checked build's blocks move when they grow, so that who keeps an old address is found out.
    if which == Default::Anonymous && !cfg!(feature = "checked") {
        // SAFETY: nobody else knows of it yet. There is one such heap, and it stays.
        unsafe { Core::begin_growers(core, &GROWERS, DEFAULT_PLACE) };
    }
    WINDOWS[which as usize].store(window, Ordering::Relaxed);
    CORES[which as usize].store(core, Ordering::Release);
    made(which)
}

fn make_core(window: u32, layout: Layout, backing: Backing) -> Option<*mut Core> {
    // SAFETY: the window has just been reserved, and a new mapping is all zeros.
    unsafe { Core::new(window, layout, Ladder::Usual, layout.units as usize, backing) }.ok()
}

/// A temporary file, mapped over the window.
fn temporary_file(window: u32, layout: &Layout) -> Option<File> {
    if let Some(path) = secure_variable(c"SAL_FILE") {
        let file = File::create_new(path, 0o600).ok()?;
        crate::os::file::unlink(path).ok()?;
        return temporary::map(&file, window, layout).ok().map(|()| file);
    }
    let directories = [c"SAL_TMPDIR", c"TMPDIR"].into_iter().filter_map(secure_variable);
    directories.chain([c"/var/tmp", c"/tmp"]).find_map(|directory| {
        let file = temporary::create_in(directory).ok()?;
        temporary::map(&file, window, layout).ok()?;
        Some(file)
    })
}
