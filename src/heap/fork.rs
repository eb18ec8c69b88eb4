//! What becomes of heaps when the process forks.
//!
//! All locks are held over the fork, so the child finds every structure whole, but for the thread heaps of threads
//! that it does not have; these stay untouched. The default heap in memory is copied by the kernel. A file heap stays
//! the parent's: in the child it is *foreign* (allocations fail, frees do nothing, it is never marked clean), its
//! mapping becomes private, so that nothing the child writes reaches the file, and its lock is let go. The default heap
//! over a temporary file must go on working, so the child copies it, and the parent waits for that.

use super::compact;
use super::defaults::{self, MAKING};
use super::former;
use super::table::HEAPS;
use crate::alloc::current::Default;
use crate::alloc::growers::GROWERS;
use crate::alloc::heap_core::{Core, state};
#[cfg(feature = "preload")]
use crate::alloc::stray;
use crate::alloc::tracts;
use crate::alloc::windows::{self, REGISTRY};
use crate::format::PAGE;
use crate::handle::moving::MOVING;
use crate::handle::{limbo, pin};
use crate::os::fork::Handshake;
use crate::os::lock::Lock;
use crate::os::mapping::{self, Access, Source};
use crate::os::process;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU32, Ordering};

/// Held while a heap is closed: no fork may see it half done.
pub(super) static CLOSING: Lock = Lock::new();

static REGISTERED: AtomicU32 = AtomicU32::new(0);

struct Pending(UnsafeCell<Option<Handshake>>);
// SAFETY: touched only between `prepare` and the handlers behind the fork, under `MAKING`.
unsafe impl Sync for Pending {}
static HANDSHAKE: Pending = Pending(UnsafeCell::new(None));

/// Registers the handlers, once; called before the first heap is made.
pub(super) fn register() {
    // Relaxed: nothing else is published by it.
    if REGISTERED.swap(1, Ordering::Relaxed) == 0 {
        crate::os::fork::register(before, in_parent, in_child);
    }
}

fn for_each_core(mut visit: impl FnMut(&Core, bool)) {
    for which in [Default::Anonymous, Default::File] {
        if let Some(core) = defaults::made(which) {
            visit(core, which == Default::Anonymous);
        }
    }
    // SAFETY: the registry is locked from `before` to the end of the handlers.
    unsafe { windows::for_each_open(|core| visit(core, false)) };
}

unsafe extern "C" fn before() {
    // Before all that is waited for under it.
    MOVING.lock.acquire();
    #[cfg(feature = "preload")]
    stray::LOCK.acquire();
    CLOSING.acquire();
    HEAPS.acquire();
    MAKING.acquire();
    REGISTRY.acquire();
    for_each_core(|core, _| core.lock.acquire());
    // SAFETY: the registry is locked.
    unsafe { tracts::for_each_lock(Lock::acquire) };
    let handshake = defaults::made(Default::File).and_then(|_| Handshake::new());
    // SAFETY: under `MAKING`.
    unsafe { *HANDSHAKE.0.get() = handshake };
}

fn release_locks() {
    // SAFETY: all were taken by `before`, in this process or in the one it was copied from.
    unsafe {
        tracts::for_each_lock(|lock| lock.release());
        for_each_core(|core, _| core.lock.release());
        REGISTRY.release();
        MAKING.release();
        HEAPS.release();
        CLOSING.release();
        #[cfg(feature = "preload")]
        stray::LOCK.release();
        MOVING.lock.release();
    }
}

unsafe extern "C" fn in_parent() {
    // SAFETY: under `MAKING`.
    let handshake = unsafe { (*HANDSHAKE.0.get()).take() };
    // Before the locks: other threads must not write what the child copies.
    if let Some(handshake) = handshake {
        handshake.wait();
    }
    release_locks();
}

unsafe extern "C" fn in_child() {
    // SAFETY: under `MAKING`, which the child holds too.
    let handshake = unsafe { (*HANDSHAKE.0.get()).take() };
    GROWERS.begin_child();
    pin::begin_child();
    limbo::begin_child();
    compact::begin_child();
    former::begin_child();
    for_each_core(|core, is_anonymous| {
        // SAFETY: the child has one thread, which holds the lock.
        unsafe { core.begin_child_runs() };
        if is_anonymous {
            return;
        }
        let is_default = defaults::made(Default::File).is_some_and(|default| core::ptr::eq(default, core));
        if !is_default {
            core.state.store(state::FOREIGN, Ordering::SeqCst);
            core.forget_file_lock();
            // What waits there is the parent's, and may change at any moment.
            limbo::forget(&core.address_range());
        }
        make_private(core, is_default);
    });
    if let Some(handshake) = handshake {
        handshake.done();
    }
    release_locks();
}

/// Turns a shared mapping into a private one, which is cut off from the file if the heap goes on.
fn make_private(core: &Core, goes_on: bool) {
    // None in a child of such a child: its memory is private already.
    let Some(file) = core.backing.file() else { return };
    let (base, end) = (core.base, core.layout.end() as usize);
    // SAFETY: the child has one thread; it finds the same contents in the private mapping.
    let replaced = unsafe { mapping::replace(base, end, Access::ReadWrite, Source::PrivateFile(file.fd())) };
    if replaced.is_err() {
        if goes_on {
            // Parent and child would take the same blocks.
            process::abort();
        }
        // SAFETY: as above, but that the child finds nothing: better a fault than a store to the parent's file.
        let _ = unsafe { mapping::replace(base, end, Access::None, Source::Anonymous) };
    }
    core.backing.detach();
    if !goes_on {
        return;
    }
    // SAFETY: under the heap's lock, which is held over the fork (K1).
    let committed = unsafe { (*core.space.get()).committed_units() };
    let layout = &core.layout;
    mapping::copy_private_pages(base + layout.soft.offset as usize, layout.soft.len as usize);
    for area in [layout.slab_table, layout.slab_states, layout.free_bits, layout.remote_bits, layout.segments] {
        let used = committed * (area.len / layout.units) as usize;
        mapping::copy_private_pages(base + area.offset as usize, used);
        // What the parent takes into use later must not show here, where it counts as zeros.
        let rest = (area.offset as usize + used).next_multiple_of(PAGE);
        let len = (area.offset + area.len) as usize - rest;
        if len > 0 {
            // SAFETY: the child has one thread, and nothing has been stored behind what is committed.
            if unsafe { mapping::replace(base + rest, len, Access::ReadWrite, Source::Anonymous) }.is_err() {
                process::abort();
            }
        }
    }
}
