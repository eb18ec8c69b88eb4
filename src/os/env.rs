//! Environment variables and random bytes, read without allocating.

use core::ffi::CStr;

/// The value of an environment variable; none in a program that runs with raised privileges.
pub(crate) fn secure_variable(name: &CStr) -> Option<&'static CStr> {
    // SAFETY: `name` is terminated; the result is null or a terminated string of the environment, which Rust programs
    // only change under `unsafe`.
    unsafe {
        if libc::getauxval(libc::AT_SECURE) != 0 {
            return None;
        }
        let value = libc::getenv(name.as_ptr());
        if value.is_null() { None } else { Some(CStr::from_ptr(value)) }
    }
}

/// Fills `bytes` from the kernel's generator.
pub(crate) fn random_bytes(bytes: &mut [u8]) {
    let mut done = 0;
    while done < bytes.len() {
        let rest = &mut bytes[done..];
        // SAFETY: `rest` is ours and writable for its length.
        let got = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        match usize::try_from(got) {
            Ok(got) if got > 0 => done += got,
            _ => {
                // A kernel without the call: the clock and an address must do; identity needs no secrecy.
                for (position, byte) in bytes[done..].iter_mut().enumerate() {
                    *byte = (weak_random() >> (position % 8 * 8)) as u8;
                }
                return;
            }
        }
    }
}

fn weak_random() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is ours.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    let mixed = (now.tv_nsec as u64 ^ ((now.tv_sec as u64) << 32)) ^ ((&raw const now).addr() as u64);
    mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(31)
}
