//! What the kernel says of the machine, the disk and this process.
#![allow(unsafe_code)]

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::thread;

/// The machine, its kernel, the file system of `directory`, and how huge pages are given.
pub(crate) fn line(directory: &Path) -> String {
    let cpu = field("/proc/cpuinfo", "model name");
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    let huge = read("/sys/kernel/mm/transparent_hugepage/enabled");
    let huge = huge.split(['[', ']']).nth(1).unwrap_or("unknown").to_owned();
    let load = read("/proc/loadavg").split_whitespace().take(3).collect::<Vec<_>>().join(" ");
    let file_system = file_system(directory);
    let warning = if file_system.starts_with("tmpfs") { " (NOT A DISK: name one with --directory)" } else { "" };
    format!(
        "machine: {cpu}, {cores} cores, Linux {}, transparent huge pages: {huge}, load {load}\n\
         file system: {file_system}{warning}",
        kernel.trim()
    )
}

/// Type and device of the file system that a directory lies on: of the longest mount point above it.
fn file_system(directory: &Path) -> String {
    let directory = directory.canonicalize().unwrap_or_default();
    let mounts = read("/proc/self/mountinfo");
    let above = mounts.lines().filter_map(|line| {
        let (mount, system) = line.split_once(" - ")?;
        let point = mount.split(' ').nth(4)?;
        let mut words = system.split(' ');
        let found = format!("{} on {}", words.next()?, words.next()?);
        directory.starts_with(point).then_some((point.len(), found))
    });
    // Of equal ones the last, which hides those before it.
    above.max_by_key(|found| found.0).map_or_else(|| "unknown".to_owned(), |found| found.1)
}

/// Bytes that the process has caused to be written to the disk, as far as the kernel tells.
pub(crate) fn written_bytes() -> u64 {
    field("/proc/self/io", "write_bytes").parse().unwrap_or(0)
}

/// The share of the resident memory in a range of addresses that is mapped by huge pages.
pub(crate) fn huge_share(range: &Range<usize>) -> f64 {
    let (mut is_inside, mut resident, mut huge) = (false, 0, 0);
    for line in read("/proc/self/smaps").lines() {
        let Some((key, rest)) = line.split_once(':') else { continue };
        let kib = || rest.split_whitespace().next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0);
        // The line that begins a mapping has a colon too, in its device, but nothing like `Rss` before it.
        match key {
            "Rss" if is_inside => resident += kib(),
            "AnonHugePages" | "FilePmdMapped" if is_inside => huge += kib(),
            _ => {
                let start = key.split_once('-').and_then(|(start, _)| usize::from_str_radix(start, 16).ok());
                is_inside = start.map_or(is_inside, |start| range.contains(&start));
            }
        }
    }
    if resident == 0 { 0.0 } else { huge as f64 / resident as f64 }
}

/// Nanoseconds of CPU time that the calling thread has used.
pub(crate) fn thread_cpu_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a live timespec that the call may write to.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(result, 0, "clock_gettime failed");
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The value of the first `key : value` line.
fn field(path: &str, key: &str) -> String {
    let text = read(path);
    let line = text.lines().find(|line| line.starts_with(key));
    line.and_then(|line| line.split_once(':')).map_or("unknown", |line| line.1.trim()).to_owned()
}
