//! A fence on one side only.
//!
//! A thread announces that it works on a heap by a plain store followed by a check, and whoever closes the heap
//! sets the flag that is checked and then looks for announcements; so it is where a thread looks whether it is alone with
//! what it keeps. That is right only with a full fence between store and load on both sides. `membarrier` makes every
//! thread of the process pass one on behalf of the rare side, so the frequent side needs none; where the kernel has no
//! such call, the frequent side fences itself.

use super::mapping::{self, Access, Source};
use core::sync::atomic::{AtomicU32, Ordering, compiler_fence, fence};

/// Commands of `membarrier(2)`, which the C library's headers do not name.
const PRIVATE_EXPEDITED: libc::c_int = 1 << 3;
const REGISTER_PRIVATE_EXPEDITED: libc::c_int = 1 << 4;

const UNKNOWN: u32 = 0;
const FENCES_NEEDED: u32 = 1;
const MEMBARRIER: u32 = 2;

static KIND: AtomicU32 = AtomicU32::new(UNKNOWN);

fn membarrier(command: libc::c_int) -> bool {
    // SAFETY: the call touches no memory of ours.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
}

/// Chooses the kind of barrier; called before the first heap is made, and harmless again. With several threads the kernel
/// waits until each processor has been seen to pass from one to another, for 10 to 20 milliseconds.
pub(crate) fn register() {
    // Relaxed: the value guards no other memory; heaps are published to other threads after this with Release.
    if KIND.load(Ordering::Relaxed) == UNKNOWN {
        let registered = membarrier(REGISTER_PRIVATE_EXPEDITED);
        KIND.store(if registered { MEMBARRIER } else { FENCES_NEEDED }, Ordering::Relaxed);
    }
}

/// The frequent side: between its own store and the load that must not pass it.
#[inline(always)]
pub(crate) fn light() {
    // Relaxed: written once, before any heap that is worked on was published.
    if KIND.load(Ordering::Relaxed) == MEMBARRIER {
        compiler_fence(Ordering::SeqCst);
    } else {
        fence(Ordering::SeqCst);
    }
}

/// Whether the frequent side needs no fence.
pub(crate) fn is_one_sided() -> bool {
    // Relaxed: as in `light`.
    KIND.load(Ordering::Relaxed) == MEMBARRIER
}

/// As [`light`], if [`is_one_sided`].
#[inline(always)]
pub(crate) fn light_when_one_sided() {
    compiler_fence(Ordering::SeqCst);
}

/// The rare side: between its own store and the load that must not pass it.
pub(crate) fn heavy() {
    fence(Ordering::SeqCst);
    if KIND.load(Ordering::Relaxed) == MEMBARRIER && !membarrier(PRIVATE_EXPEDITED) {
        // A child after fork may find itself unregistered, and a process that has given up the right to the call.
        let again = membarrier(REGISTER_PRIVATE_EXPEDITED) && membarrier(PRIVATE_EXPEDITED);
        if !again {
            interrupt_all_threads();
        }
    }
}

/// Takes rights away from a page that is in use: the kernel interrupts every processor that runs a thread of this process,
/// which is a full barrier there.
fn interrupt_all_threads() {
    let Ok(page) = mapping::map_anywhere(mapping::PAGE, Access::ReadWrite, Source::Anonymous) else { return };
    // SAFETY: the page is ours alone.
    unsafe {
        core::ptr::with_exposed_provenance_mut::<u8>(page).write_volatile(1);
        let _ = mapping::protect(page, mapping::PAGE, Access::Read);
        let _ = mapping::unmap(page, mapping::PAGE);
    }
}
