//! The dynamic linker: where this code lies, and what other libraries call the same.

use core::ffi::{CStr, c_void};
use core::mem::MaybeUninit;
use core::ptr::{self, NonNull};

/// The next definition of a symbol behind the library that this code is part of.
pub(crate) fn next_symbol(name: &CStr) -> Option<NonNull<c_void>> {
    // SAFETY: `name` is terminated.
    NonNull::new(unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) })
}

fn locate(address: *const c_void) -> Option<libc::Dl_info> {
    let mut info = MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: the call only compares the address, and fills the structure unless it returns 0.
    unsafe { (libc::dladdr(address, info.as_mut_ptr()) != 0).then(|| info.assume_init()) }
}

/// Whether the code at `address` lies in a library, and not in the program itself.
pub(crate) fn is_in_library(address: *const c_void) -> bool {
    // SAFETY: the call only reads.
    let entry = unsafe { libc::getauxval(libc::AT_ENTRY) };
    let program = locate(ptr::without_provenance(entry as usize));
    match (locate(address), program) {
        (Some(here), Some(program)) => here.dli_fbase != program.dli_fbase,
        _ => false,
    }
}

/// Keeps the library around `address` loaded until the process ends, whoever closes it.
pub(crate) fn keep_loaded(address: *const c_void) {
    let Some(here) = locate(address) else { return };
    // SAFETY: the name is terminated and belongs to the linker; the library is there already, so no code of it runs.
    unsafe { libc::dlopen(here.dli_fname, libc::RTLD_NOLOAD | libc::RTLD_NODELETE | libc::RTLD_LAZY) };
}
