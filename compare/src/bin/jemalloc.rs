//! The workloads under jemalloc.
#![allow(unsafe_code)]

use compare::worker::{self, Peer};
use std::ffi::{CStr, c_char};
use std::process::ExitCode;
use std::ptr;
use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn version() -> Result<String, String> {
    let mut text: *const c_char = ptr::null();
    let mut size = size_of::<*const c_char>();
    // SAFETY: the name ends in a zero byte, `text` and `size` are live and of the type that "version" has, nothing is written.
    let result = unsafe {
        tikv_jemalloc_sys::mallctl(
            c"version".as_ptr(),
            (&raw mut text).cast(),
            &mut size,
            ptr::null_mut(),
            0,
        )
    };
    if result != 0 || text.is_null() {
        return Err(format!("mallctl failed with {result}"));
    }
    // SAFETY: the call succeeded, so `text` is jemalloc's constant version string.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
    Ok(format!(
        "jemalloc {}",
        text.split('-').next().unwrap_or_default()
    ))
}

fn main() -> ExitCode {
    worker::main(Peer {
        name: "jemalloc",
        version,
    })
}
