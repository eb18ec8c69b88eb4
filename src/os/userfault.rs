//! Write protection that the kernel lifts by itself, and remembers that it did.
//!
//! A range registered with a userfaultfd in its asynchronous write-protect mode can be armed page by page. The first
//! write to an armed page, by any thread or by the kernel on behalf of a call, takes the protection away and goes on;
//! nobody is asked. Which pages are armed is part of the page tables, and [`super::pagemap`] reads it. Since nobody
//! is asked, no privilege is needed either: the descriptor is opened for faults of user mode only.
//!
//! # Invariants
//! - **U1** Ranges stay registered for as long as the descriptor is open somewhere, unless they are unmapped, moved, or
//!   replaced. What is not registered is not armed.

use super::descriptor::Descriptor;
use super::{CallError, check, errno, process};
use core::ffi::c_ulong;

/// Only faults of user mode may be handed to a handler; there is none here. Free for everybody.
const USER_MODE_ONLY: i32 = 1;

/// The version of the interface.
const API: u64 = 0xAA;

/// Writes lift the protection without asking. Implies that pages which do not exist yet can be protected, too.
const FEATURE_WP_ASYNC: u64 = 1 << 15;

/// Registers for write protection.
const REGISTER_MODE_WP: u64 = 1 << 1;

/// The requests: `_IOWR(0xAA, 0x3F, Handshake)`, `_IOWR(0xAA, 0x00, Registration)`, `_IOR(0xAA, 0x01, Span)`.
const REQUEST_API: c_ulong = 0xC018_AA3F;
const REQUEST_REGISTER: c_ulong = 0xC020_AA00;
const REQUEST_UNREGISTER: c_ulong = 0x8010_AA01;

#[repr(C)]
struct Handshake {
    api: u64,
    features: u64,
    requests: u64,
}

#[repr(C)]
struct Span {
    start: u64,
    len: u64,
}

#[repr(C)]
struct Registration {
    span: Span,
    mode: u64,
    requests: u64,
}

const _: () = assert!(size_of::<Handshake>() == 24 && size_of::<Span>() == 16 && size_of::<Registration>() == 32);

/// Whether a kernel tells what was written to pages in swap. From Linux 6.7, the first that has it, to 6.8.9 some of these
/// count as armed, and reading which pages are armed can make a page lose what was written to it.
fn is_right_in(kernel: [u32; 3]) -> bool {
    kernel >= [6, 8, 10]
}

/// A userfaultfd in asynchronous write-protect mode; closing it disarms and forgets all its ranges.
#[derive(Debug)]
pub(super) struct Userfault {
    descriptor: Descriptor,
}

impl Userfault {
    /// Fails on kernels that do not have it, or not right, and where the call is forbidden.
    pub(super) fn open() -> Result<Self, CallError> {
        if !is_right_in(process::kernel()) {
            return Err(CallError { call: "userfaultfd", errno: errno::NOT_SUPPORTED });
        }
        let flags = libc::O_CLOEXEC | libc::O_NONBLOCK | USER_MODE_ONLY;
        // SAFETY: the call takes flags only.
        let returned = unsafe { libc::syscall(libc::SYS_userfaultfd, flags) };
        let descriptor = Descriptor::new("userfaultfd", returned)?;
        let mut handshake = Handshake { api: API, features: FEATURE_WP_ASYNC, requests: 0 };
        // SAFETY: the request reads and writes one `Handshake`.
        let returned = unsafe { libc::ioctl(descriptor.fd(), REQUEST_API, &raw mut handshake) };
        check("ioctl", i64::from(returned))?;
        Ok(Self { descriptor })
    }

    /// Whether the descriptor is still open.
    pub(super) fn is_intact(&self) -> bool {
        self.descriptor.is_intact()
    }

    /// Registers what is mapped in a range of whole pages; what is registered already stays so, armed pages included.
    pub(super) fn register(&self, start: usize, len: usize) -> Result<(), CallError> {
        let span = Span { start: start as u64, len: len as u64 };
        let mut registration = Registration { span, mode: REGISTER_MODE_WP, requests: 0 };
        // SAFETY: the request reads and writes one `Registration`. Registering changes no contents, and since writes
        // lift the protection by themselves, nobody who uses the range can tell.
        let returned = unsafe { libc::ioctl(self.descriptor.fd(), REQUEST_REGISTER, &raw mut registration) };
        check("ioctl", i64::from(returned)).map(drop)
    }

    /// Forgets a range; its pages are no longer armed.
    pub(super) fn unregister(&self, start: usize, len: usize) -> Result<(), CallError> {
        let mut span = Span { start: start as u64, len: len as u64 };
        // SAFETY: the request reads one `Span`, and changes no contents.
        let returned = unsafe { libc::ioctl(self.descriptor.fd(), REQUEST_UNREGISTER, &raw mut span) };
        check("ioctl", i64::from(returned)).map(drop)
    }

    #[cfg(test)]
    pub(super) fn fd(&self) -> i32 {
        self.descriptor.fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_that_lose_writes_to_swapped_pages_are_not_trusted() {
        for kernel in [[0, 0, 0], [5, 15, 200], [6, 7, 12], [6, 8, 9]] {
            assert!(!is_right_in(kernel), "{kernel:?}");
        }
        for kernel in [[6, 8, 10], [6, 9, 0], [6, 18, 44], [7, 0, 0]] {
            assert!(is_right_in(kernel), "{kernel:?}");
        }
    }
}
