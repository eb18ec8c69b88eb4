//! Thread-local storage at a fixed distance from the thread pointer, for a shared library that is everybody's `malloc`.
//!
//! In a shared library, `thread_local!` calls `__tls_get_addr` at each access. That is a call in each allocation; and in
//! a library that is loaded at run time it may itself allocate. The *initial-exec* model, which needs an unstable option
//! of the compiler, reads the variable's distance to the thread pointer from the global offset table instead, where the
//! dynamic linker put it once. So the variable is defined in assembly here, and two instructions read it. The price: the
//! library's thread-locals count against the few hundred bytes that the C library keeps for such libraries when they are
//! loaded by `dlopen`. Other processors than x86-64 keep `thread_local!`.
//!
//! # Invariants
//! - **I1** The variable is a [`Current`] from a thread's first instruction on: its initial image holds, in the order of
//!   `repr(C)`, three pointers to the empty thread heap, and zeros.

use super::{Current, EMPTY, ThreadHeap};
use core::mem::offset_of;

const EMPTIES: usize = 3 * size_of::<*mut ThreadHeap>();
const _: () = assert!(offset_of!(Current, untyped) == 0 && offset_of!(Current, defaults) == 8);
const _: () = assert!(offset_of!(Current, names) == EMPTIES && align_of::<Current>() <= 64);

#[cfg(target_arch = "x86_64")]
mod storage {
    use super::{Current, EMPTIES, EMPTY, ThreadHeap};
    use core::arch::{asm, global_asm};

    // One line of the processor's cache; local to the library.
    global_asm!(
        ".pushsection .tdata.sal_current, \"awT\", @progbits",
        ".p2align 6",
        ".globl sal_current",
        ".hidden sal_current",
        ".type sal_current, @object",
        ".size sal_current, {size}",
        "sal_current:",
        ".quad {empty}",
        ".quad {empty}",
        ".quad {empty}",
        ".zero {rest}",
        ".popsection",
        size = const size_of::<Current>(),
        rest = const size_of::<Current>() - EMPTIES,
        empty = sym EMPTY,
    );

    #[inline(always)]
    pub(in crate::alloc::current) fn with_current<R>(work: impl FnOnce(&Current) -> R) -> R {
        let place: *const Current;
        // SAFETY: reads the thread pointer and the variable's distance to it, which do not change in a thread.
        unsafe {
            asm!(
                "mov {place}, qword ptr fs:[0]",
                "add {place}, qword ptr [rip + sal_current@GOTTPOFF]",
                place = out(reg) place,
                options(pure, nomem, nostack)
            );
        }
        // SAFETY: a variable of this thread (I1), which lives as long as the thread; nobody has `&mut` to it.
        work(unsafe { &*place })
    }

    #[inline(always)]
    pub(in crate::alloc::current) fn of_untyped() -> *mut ThreadHeap {
        let heap: *mut ThreadHeap;
        // SAFETY: reads the first field of this thread's variable (I1).
        unsafe {
            asm!(
                "mov {heap}, qword ptr [rip + sal_current@GOTTPOFF]",
                "mov {heap}, qword ptr fs:[{heap}]",
                heap = out(reg) heap,
                options(pure, readonly, nostack, preserves_flags)
            );
        }
        heap
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod storage {
    use super::{Current, ThreadHeap};
    use core::cell::Cell;
    use core::ptr;

    const NOBODY: *mut ThreadHeap = (&raw const super::EMPTY).cast_mut();

    std::thread_local! {
        static CURRENT: Current = const {
            Current {
                untyped: Cell::new(NOBODY),
                defaults: [const { Cell::new(NOBODY) }; 2],
                names: [const { Cell::new(0) }; super::super::CACHED],
                entered: [const { Cell::new(0) }; super::super::CACHED],
                cached: [const { Cell::new(ptr::null_mut()) }; super::super::CACHED],
                chain: Cell::new(ptr::null_mut()),
                has_ended: Cell::new(false),
            }
        };
    }

    #[inline(always)]
    pub(in crate::alloc::current) fn with_current<R>(work: impl FnOnce(&Current) -> R) -> R {
        CURRENT.with(work)
    }

    #[inline(always)]
    pub(in crate::alloc::current) fn of_untyped() -> *mut ThreadHeap {
        CURRENT.with(|current| current.untyped.get())
    }
}

pub(super) use storage::{of_untyped, with_current};
