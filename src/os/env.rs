//! Environment variables and random bytes, read without allocating.

use core::ffi::{CStr, c_char};

unsafe extern "C" {
    /// The C library's: null before it has started, else pointers to `NAME=value`, the last one null.
    static environ: *const *const c_char;
}

/// The value of an environment variable; none in a program that runs with raised privileges.
///
/// Looked up here, because programs may bring a `getenv` of their own (shells do), which may allocate.
pub(crate) fn secure_variable(name: &CStr) -> Option<&'static CStr> {
    // SAFETY: the call only reads. The environment is a terminated list of terminated strings, which Rust programs only
    // change under `unsafe`.
    unsafe {
        let mut entry = environ;
        if entry.is_null() || libc::getauxval(libc::AT_SECURE) != 0 {
            return None;
        }
        while !(*entry).is_null() {
            let text = CStr::from_ptr(*entry);
            if let Some([b'=', ..]) = text.to_bytes().strip_prefix(name.to_bytes()) {
                return Some(CStr::from_ptr((*entry).add(name.count_bytes() + 1)));
            }
            entry = entry.add(1);
        }
        None
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_found_by_their_whole_name() {
        let path = secure_variable(c"PATH").map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(path, std::env::var("PATH").ok());
        assert_eq!(secure_variable(c"PAT"), None);
        assert_eq!(secure_variable(c"SAL_NO_SUCH_VARIABLE"), None);
    }
}
