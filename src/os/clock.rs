//! The time, as far as it is needed where nothing may allocate.

/// Nanoseconds since some moment before the process began; a few milliseconds late, and cheap.
pub(crate) fn coarse_now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes the structure. It cannot fail with this clock; zero would only be a moment long past.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
