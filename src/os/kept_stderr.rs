//! Standard error under a second number: many programs close their own before they end.

use super::process::write_to;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicI32, AtomicU64, Ordering};

/// Numbers below this one are left to the program.
const LEAST: i32 = 100;

static DESCRIPTOR: AtomicI32 = AtomicI32::new(-1);
/// What file it is: a program that closes everything may open another under the number.
static FILE: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];

fn file_of(descriptor: i32) -> Option<[u64; 2]> {
    let mut stat = MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: the call fills a structure of this type, unless it fails.
    unsafe {
        (libc::fstat(descriptor, stat.as_mut_ptr()) == 0).then(|| {
            let stat = stat.assume_init();
            [stat.st_dev, stat.st_ino]
        })
    }
}

/// Keeps what is standard error now; called once.
pub(crate) fn keep() {
    // SAFETY: the call makes a descriptor of our own, which no other program inherits.
    let descriptor = unsafe { libc::fcntl(2, libc::F_DUPFD_CLOEXEC, LEAST) };
    if let Some(file) = file_of(descriptor) {
        // Relaxed: read by whoever ends the process; nothing else is published.
        FILE[0].store(file[0], Ordering::Relaxed);
        FILE[1].store(file[1], Ordering::Relaxed);
        DESCRIPTOR.store(descriptor, Ordering::Relaxed);
    }
}

/// Writes to what was kept, if it is still there.
pub(crate) fn write(bytes: &[u8]) {
    let descriptor = DESCRIPTOR.load(Ordering::Relaxed);
    let kept = [&FILE[0], &FILE[1]].map(|part| part.load(Ordering::Relaxed));
    if descriptor >= 0 && file_of(descriptor) == Some(kept) {
        write_to(descriptor, bytes);
    }
}
