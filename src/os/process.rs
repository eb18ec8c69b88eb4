//! The process: its number, its standard error, its end.

/// This process's number.
pub(crate) fn id() -> u32 {
    // SAFETY: the call cannot fail.
    unsafe { libc::getpid() as u32 }
}

/// Writes to standard error, unbuffered and without allocating; what cannot be written is lost.
#[cfg(any(feature = "checked", feature = "preload"))]
pub(crate) fn write_stderr(bytes: &[u8]) {
    write_to(2, bytes);
}

/// As [`write_stderr`], to another descriptor.
#[cfg(any(feature = "checked", feature = "preload"))]
pub(super) fn write_to(descriptor: i32, bytes: &[u8]) {
    // SAFETY: `bytes` is readable for its length.
    unsafe { libc::write(descriptor, bytes.as_ptr().cast(), bytes.len()) };
}

/// Ends the process at once, by a signal that a debugger or a core dump can show.
pub(crate) fn abort() -> ! {
    // SAFETY: always allowed.
    unsafe { libc::abort() }
}
