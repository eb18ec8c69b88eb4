//! The workloads under the allocator of the C library.
#![allow(unsafe_code)]

use compare::worker::{self, Peer};
use std::alloc::System;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: System = System;

fn version() -> Result<String, String> {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: glibc returns a pointer to a string that is never freed.
        let version = unsafe { std::ffi::CStr::from_ptr(libc::gnu_get_libc_version()) };
        Ok(format!("glibc {}", version.to_string_lossy()))
    }
    #[cfg(not(target_env = "gnu"))]
    Ok("C library".to_owned())
}

fn main() -> ExitCode {
    worker::main(Peer { name: "system", version })
}
