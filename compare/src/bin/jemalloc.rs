//! The workloads under jemalloc.
#![allow(unsafe_code)]

use compare::worker::{self, Peer};
use std::ffi::{CStr, c_char};
use std::process::ExitCode;
use std::ptr;
use tikv_jemalloc_sys::mallctl;
use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// Reads the value that jemalloc keeps under `name`.
///
/// # Safety
/// jemalloc documents that value to be a `T`.
unsafe fn read<T: Copy>(name: &CStr, mut value: T) -> Result<T, String> {
    let mut size = size_of::<T>();
    // SAFETY: the name ends in a zero byte, `value` and `size` are live and by the caller's promise of the right type, and
    // nothing is written to jemalloc.
    let result = unsafe { mallctl(name.as_ptr(), (&raw mut value).cast(), &mut size, ptr::null_mut(), 0) };
    if result == 0 { Ok(value) } else { Err(format!("mallctl {name:?} failed with {result}")) }
}

fn version() -> Result<String, String> {
    // SAFETY: the manual page gives this type for it.
    if unsafe { read(c"config.debug", false) }? {
        return Err("it is a debug build, its numbers would be false".to_owned());
    }
    // SAFETY: as above.
    let text: *const c_char = unsafe { read(c"version", ptr::null()) }?;
    if text.is_null() {
        return Err("it does not tell its version".to_owned());
    }
    // SAFETY: it is jemalloc's constant version string.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
    Ok(format!("jemalloc {}", text.split('-').next().unwrap_or_default()))
}

fn main() -> ExitCode {
    worker::main(Peer { name: "jemalloc", version })
}
