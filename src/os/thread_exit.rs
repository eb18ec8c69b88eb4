//! A call when a thread ends, after the destructors of Rust's thread locals.
//!
//! A `pthread` key is used, because its destructor runs late and may be armed again from inside: the memory that
//! other destructors free afterwards is then handed over in a further round (the C library makes four).

use core::ptr;
use core::sync::atomic::{AtomicU64, Ordering};

const NO_KEY: u64 = u64::MAX;
static KEY: AtomicU64 = AtomicU64::new(NO_KEY);

/// Has `at_exit` called when the calling thread ends. All calls must name the same function.
pub(crate) fn arm(at_exit: unsafe extern "C" fn(*mut libc::c_void)) {
    // Acquire pairs with the exchange below: the key is usable once its number is seen.
    let mut key = KEY.load(Ordering::Acquire);
    if key == NO_KEY {
        let mut created: libc::pthread_key_t = 0;
        // SAFETY: `created` is ours; the destructor has the right type.
        if unsafe { libc::pthread_key_create(&raw mut created, Some(at_exit)) } != 0 {
            return;
        }
        match KEY.compare_exchange(NO_KEY, u64::from(created), Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => key = u64::from(created),
            Err(first) => {
                // SAFETY: nobody has seen the key that came second.
                unsafe { libc::pthread_key_delete(created) };
                key = first;
            }
        }
    }
    // SAFETY: the key exists. Any value but null makes the destructor run.
    unsafe { libc::pthread_setspecific(key as libc::pthread_key_t, ptr::without_provenance(1)) };
}
