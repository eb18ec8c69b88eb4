//! What the kernel says about this process: clocks, times, memory.
#![allow(unsafe_code)]

use std::fs;
use std::mem::MaybeUninit;

/// Nanoseconds of CPU time, user and system, that all threads of the process have used.
pub fn cpu_ns() -> u64 {
    clock_ns(libc::CLOCK_PROCESS_CPUTIME_ID)
}

/// Nanoseconds of a clock that never goes back.
pub fn wall_ns() -> u64 {
    clock_ns(libc::CLOCK_MONOTONIC)
}

fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a live timespec that the call may write to.
    let result = unsafe { libc::clock_gettime(clock, &mut time) };
    assert_eq!(result, 0, "clock_gettime failed");
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Nanoseconds of user and of system time since the process began.
pub fn user_and_system_ns() -> (u64, u64) {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: `usage` is a live rusage that the call may write to.
    let result = unsafe { libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) };
    assert_eq!(result, 0, "getrusage failed");
    // SAFETY: it was zeroed, which is a valid rusage of integers, before the call filled it.
    let usage = unsafe { usage.assume_init() };
    let ns = |time: libc::timeval| time.tv_sec as u64 * 1_000_000_000 + time.tv_usec as u64 * 1_000;
    (ns(usage.ru_utime), ns(usage.ru_stime))
}

/// Resident memory of the process in KiB: now, at its peak, and the part of now that lies in huge pages.
#[derive(Clone, Copy, Debug)]
pub struct Resident {
    /// VmRSS.
    pub now_kib: u64,
    /// VmHWM.
    pub peak_kib: u64,
    /// AnonHugePages.
    pub huge_kib: u64,
}

/// Reads [`Resident`] from /proc; a field the kernel does not give is zero.
pub fn resident() -> Resident {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let rollup = fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    Resident {
        now_kib: kib_of(&status, "VmRSS:"),
        peak_kib: kib_of(&status, "VmHWM:"),
        huge_kib: kib_of(&rollup, "AnonHugePages:"),
    }
}

/// The number after `key` in text of /proc such as `VmHWM:     2104 kB`.
fn kib_of(text: &str, key: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(key))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

/// Has the kernel kill the process after `seconds`, so that one that hangs does not stop the comparison.
pub fn end_after_seconds(seconds: u32) {
    // SAFETY: alarm has no precondition; its signal, not handled here, ends the process.
    unsafe { libc::alarm(seconds) };
}

/// Forbids huge pages to this process and to those it starts, whatever their allocators ask for; says whether the kernel
/// agreed. A process that is started has them forbidden before its allocator exists: the setting outlives `exec`.
pub fn forbid_huge_pages() -> bool {
    // SAFETY: this prctl takes three numbers and touches no memory of ours.
    unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0 }
}

/// Whether huge pages are forbidden to this process.
pub fn huge_pages_are_forbidden() -> bool {
    // SAFETY: this prctl takes numbers only and touches no memory of ours.
    unsafe { libc::prctl(libc::PR_GET_THP_DISABLE, 0, 0, 0, 0) == 1 }
}

#[cfg(test)]
mod tests {
    use super::{cpu_ns, kib_of, resident};

    #[test]
    fn proc_lines_are_found_by_their_key() {
        let text = "VmPeak:\t  9000 kB\nVmHWM:\t    2104 kB\nVmRSS:\t 2000 kB\n";
        assert_eq!(kib_of(text, "VmHWM:"), 2104);
        assert_eq!(kib_of(text, "VmSwap:"), 0);
    }

    #[test]
    fn the_peak_is_at_least_what_is_resident() {
        let resident = resident();
        assert!(resident.now_kib > 0 && resident.peak_kib >= resident.now_kib);
    }

    #[test]
    fn work_advances_the_cpu_clock() {
        let start = cpu_ns();
        while cpu_ns() < start + 100_000 {}
    }
}
