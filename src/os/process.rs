//! The process: its number, which copy of itself it is, its standard error, its end.
//!
//! A process's number does not tell it from the process it was forked from: both may be the first of a namespace. So there is
//! a page that the kernel clears in every child (Linux 4.14), however that is made. Who finds it empty puts a new number
//! there. On older kernels, the C library's handlers and a look at the process's number have to do.
//!
//! # Invariants
//! - **N1** The number that [`incarnation`] gives stays the same as long as the process runs. In a child with memory of its
//!   own it is greater than all that were given before the fork, by any of its ancestors.

use super::file::File;
use super::mapping::{self, Access, PAGE, Source};
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::sync::OnceLock;

/// Where the number is: in the page, or in [`OLD_KERNEL`]. Null before it is first asked for.
static WORD: AtomicPtr<AtomicU64> = AtomicPtr::new(ptr::null_mut());

/// The last number that this process or an ancestor took. A child has its parent's as of the fork.
static LAST: AtomicU64 = AtomicU64::new(0);

/// What serves where no page is cleared: the number, and above it the process whose it is. Zero if nobody's.
static OLD_KERNEL: AtomicU64 = AtomicU64::new(0);

/// Where the process stands in it: its numbers have 22 bits.
const PROCESS_SHIFT: u32 = 40;

/// This process's number in its namespace.
pub(crate) fn id() -> u32 {
    // SAFETY: the call cannot fail.
    unsafe { libc::getpid() as u32 }
}

/// The calling thread's number in its namespace.
pub(crate) fn thread_id() -> u32 {
    // SAFETY: the call cannot fail.
    unsafe { libc::syscall(libc::SYS_gettid) as u32 }
}

/// Which run of the system this is: a number that is another one after each start; zeros if the system does not say.
pub(crate) fn boot() -> [u8; 16] {
    static BOOT: OnceLock<[u8; 16]> = OnceLock::new();
    *BOOT.get_or_init(|| {
        let mut text = [0; 36];
        let file = File::open(c"/proc/sys/kernel/random/boot_id", false);
        match file.and_then(|file| file.read_at(&mut text, 0)) {
            Ok(36) => boot_of(&text),
            _ => [0; 16],
        }
    })
}

/// The digits of a number with hyphens in it.
fn boot_of(text: &[u8]) -> [u8; 16] {
    let mut number = [0; 16];
    let digits = text.iter().filter_map(|&byte| char::from(byte).to_digit(16));
    for (at, digit) in digits.take(32).enumerate() {
        number[at / 2] = number[at / 2] << 4 | digit as u8;
    }
    number
}

/// The kernel's version; zeros if it does not say.
pub(super) fn kernel() -> [u32; 3] {
    // SAFETY: `utsname` is plain data, for which zeros are a value.
    let mut name: libc::utsname = unsafe { core::mem::zeroed() };
    // SAFETY: `name` is ours and of the right type.
    unsafe { libc::uname(&raw mut name) };
    version(name.release.iter().map(|&byte| byte as u8))
}

/// The first three numbers of a version; what is missing counts as zero.
fn version(text: impl Iterator<Item = u8>) -> [u32; 3] {
    let mut numbers = [0_u32; 3];
    let mut at = 0;
    for byte in text {
        match byte {
            b'0'..=b'9' => numbers[at] = numbers[at].saturating_mul(10).saturating_add(u32::from(byte - b'0')),
            b'.' if at < 2 => at += 1,
            _ => break,
        }
    }
    numbers
}

/// A number that no process has that this one was forked from (N1); never zero. No system call but the first time, nor an
/// allocation.
#[inline]
pub(crate) fn incarnation() -> u64 {
    // Acquire: whoever put it there has prepared the page (Release, in `find_slow`).
    let mut word = WORD.load(Ordering::Acquire);
    if word.is_null() {
        word = find_slow();
    }
    if ptr::eq(word, &raw const OLD_KERNEL) {
        return number_of_process(&OLD_KERNEL);
    }
    // SAFETY: a static, or a page that is never unmapped.
    number_in(unsafe { &*word })
}

/// The number that a word holds; a new one if it holds none.
#[inline]
fn number_in(word: &AtomicU64) -> u64 {
    // Relaxed, all: the numbers alone matter. One that is in `word` at a fork, or in anybody's hands, was taken from
    // `LAST` before, so the child's copy of `LAST` is no less.
    match word.load(Ordering::Relaxed) {
        0 => {
            let number = LAST.fetch_add(1, Ordering::Relaxed) + 1;
            word.compare_exchange(0, number, Ordering::Relaxed, Ordering::Relaxed)
                .map_or_else(|other| other, |_| number)
        }
        number => number,
    }
}

#[cold]
fn find_slow() -> *mut AtomicU64 {
    let found = cleared_page().unwrap_or_else(|| {
        super::fork::register(unchanged, unchanged, in_child);
        (&raw const OLD_KERNEL).cast_mut()
    });
    // Release: see `incarnation`; Acquire: whoever was faster has prepared its page.
    match WORD.compare_exchange(ptr::null_mut(), found, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => found,
        Err(first) => {
            if !ptr::eq(found, &raw const OLD_KERNEL) {
                // SAFETY: mapped by `cleared_page`, and only this call knows of it.
                let _ = unsafe { mapping::unmap(found.addr(), PAGE) };
            }
            first
        }
    }
}

/// A page of zeros that reads as zeros again in each child.
fn cleared_page() -> Option<*mut AtomicU64> {
    let at = mapping::map_anywhere(PAGE, Access::ReadWrite, Source::Anonymous).ok()?;
    let page: *mut AtomicU64 = ptr::with_exposed_provenance_mut(at);
    // SAFETY: plain advice about a page of our own, which changes nothing in this process.
    if unsafe { libc::madvise(page.cast(), PAGE, libc::MADV_WIPEONFORK) } == 0 {
        return Some(page);
    }
    // SAFETY: mapped above, and nobody knows of it.
    let _ = unsafe { mapping::unmap(at, PAGE) };
    None
}

/// The number in `held`, if that is this process's; a new one if not.
fn number_of_process(held: &AtomicU64) -> u64 {
    let process = u64::from(id()) << PROCESS_SHIFT;
    let number = |held: u64| held & ((1 << PROCESS_SHIFT) - 1);
    // Relaxed, all: see `number_in`.
    let before = held.load(Ordering::Relaxed);
    if before != 0 && before - number(before) == process {
        return number(before);
    }
    let next = process | (LAST.fetch_add(1, Ordering::Relaxed) + 1);
    // If it fails, another thread of this process was faster.
    number(
        held.compare_exchange(before, next, Ordering::Relaxed, Ordering::Relaxed).map_or_else(|other| other, |_| next),
    )
}

unsafe extern "C" fn unchanged() {}

unsafe extern "C" fn in_child() {
    // Relaxed: the child has one thread.
    OLD_KERNEL.store(0, Ordering::Relaxed);
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

/// Children that the C library knows nothing of.
#[cfg(test)]
pub(crate) mod clone {
    /// Runs `work` in a child, in a namespace of processes of its own if `flags` say so, and returns whether it said yes;
    /// none if there could be no child. `work` makes system calls and reads memory only.
    pub(crate) fn says(flags: i32, work: impl FnOnce() -> bool) -> Option<bool> {
        // SAFETY: a fork, past the C library's handlers; the child does what such a child may, and leaves at once.
        unsafe {
            let child = libc::syscall(libc::SYS_clone, i64::from(flags | libc::SIGCHLD), 0_i64, 0_i64, 0_i64, 0_i64);
            if child == 0 {
                libc::_exit(if work() { 0 } else { 1 });
            }
            if child < 0 {
                return None;
            }
            let mut status = 0;
            while libc::waitpid(child as i32, &raw mut status, 0) == -1 {
                assert_eq!(super::super::Errno::last().0, libc::EINTR);
            }
            Some(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_far_as_they_are_numbers() {
        let read = |text: &str| version(text.bytes());
        assert_eq!(read("6.18.44-fc-v669"), [6, 18, 44]);
        assert_eq!(read("6.9-rc1"), [6, 9, 0]);
        assert_eq!(read("5.10.0.7"), [5, 10, 0]);
        assert_eq!(read(""), [0; 3]);
        assert!(kernel()[0] >= 2);
    }

    #[test]
    fn a_child_has_a_number_of_its_own_and_so_has_its_child() {
        let own = incarnation();
        assert_eq!(own, incarnation());
        let is_new = clone::says(0, || {
            let child = incarnation();
            child > own && child == incarnation() && clone::says(0, || incarnation() > child) == Some(true)
        });
        assert_eq!(is_new, Some(true));
        assert_eq!(own, incarnation(), "a child changes nothing here");
    }

    #[test]
    fn the_first_process_of_a_namespace_is_told_from_the_first_of_the_one_around_it() {
        let own = incarnation();
        let told = clone::says(libc::CLONE_NEWPID, || {
            let outer = incarnation();
            let inner = || id() == 1 && incarnation() > outer;
            id() == 1 && outer > own && clone::says(libc::CLONE_NEWPID, inner) == Some(true)
        });
        match told {
            Some(told) => assert!(told),
            None => println!("no namespace of processes can be made here"),
        }
    }

    #[test]
    fn where_no_page_is_cleared_the_processs_number_tells() {
        let held = AtomicU64::new(0);
        let number = || number_of_process(&held);
        let own = number();
        assert_eq!(own, number());
        assert_eq!(clone::says(0, || number() > own && number() == number()), Some(true));
        assert_eq!(own, number());
    }
}
