//! How long single calls take while a heap grows. Beside each heap, and in turn with it, two others do the same: one writes as many bytes
//! into a mapping of its own, one behind the other, and one does nothing. What these take at most is what the kernel needs for fresh memory,
//! and what the machine does to any program. A heap that has grown before, and has its memory still, is shown as well.
#![allow(unsafe_code)]

use crate::times::Times;
use sal::{HeapOptions, MaintenanceOptions, SalMovable};
use std::time::{Duration, Instant};

const CALLS: u64 = 2_000_000;
const ROUNDS: usize = 5;
/// What no call should take, in nanoseconds.
const STALL: u64 = 50_000;

pub(crate) fn run() {
    let prefault = || Some(MaintenanceOptions::new().prefault(64 << 20));
    growth("huge pages", true, &|| None);
    growth("huge pages, maintained", true, &prefault);
    growth("small pages", false, &|| None);
    growth("small pages, maintained", false, &prefault);
}

fn growth(name: &str, huge_pages: bool, maintenance: &dyn Fn() -> Option<MaintenanceOptions>) {
    let (mut calls, mut first) = ([const { Vec::new() }; 4], Vec::new());
    for _ in 0..ROUNDS {
        let heap = HeapOptions::new().huge_pages(huge_pages).volatile().expect("there is memory");
        let maintenance = maintenance().map(|options| heap.start_maintenance(options).expect("it can be started"));
        // What is made ready first is there before the program begins.
        std::thread::sleep(Duration::from_millis(if maintenance.is_some() { 200 } else { 0 }));
        // The thread has not used the heap before, nor the heap counts and handles: that is set up once.
        let began = Instant::now();
        let first_value = heap.handle([0; 4]);
        first.push(began.elapsed());
        for made in &mut calls[..2] {
            made.push(timed(|n| heap.handle([n; 4])));
        }
        drop(first_value);
        drop(maintenance);
        drop(heap);
        let mut fresh = Fresh::new(huge_pages);
        calls[2].push(timed(|n| fresh.write(n)));
        calls[3].push(timed(|n| n));
    }
    first.sort_unstable();
    println!(
        "growth/32B/{name}: {CALLS} calls in each of {ROUNDS} rounds, nanoseconds; the first of all takes {first:.0?}"
    );
    for (name, calls) in ["made", "made again", "written", "nothing"].iter().zip(&mut calls) {
        show(name, calls);
    }
}

/// Memory that nobody has written to yet.
struct Fresh {
    start: *mut u8,
    used: usize,
}

impl Fresh {
    /// Of an object, its entry and its count.
    const STEP: usize = 48 + 16 + 4;
    const LEN: usize = (CALLS as usize * Self::STEP).next_multiple_of(2 << 20) + (2 << 20);

    fn new(huge_pages: bool) -> Self {
        let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        let advice = if huge_pages { libc::MADV_HUGEPAGE } else { libc::MADV_NOHUGEPAGE };
        // SAFETY: a new mapping, and advice for it.
        unsafe {
            let start = libc::mmap(std::ptr::null_mut(), Self::LEN, access, flags, -1, 0);
            assert_ne!(start, libc::MAP_FAILED);
            libc::madvise(start, Self::LEN, advice);
            Self { start: start.cast(), used: 0 }
        }
    }

    fn write(&mut self, n: u64) {
        // SAFETY: within the mapping, in which there is room for all calls.
        unsafe { self.start.add(self.used).cast::<[u64; 8]>().write_unaligned([n; 8]) };
        self.used += Self::STEP;
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and nobody uses it any more.
        unsafe { libc::munmap(self.start.cast(), Self::LEN) };
    }
}

/// The round in the middle by its longest call, and how many calls were longer than they should be in each round, and in every round.
fn show(name: &str, rounds: &mut [Calls]) {
    rounds.sort_unstable_by_key(|calls| calls.times.longest());
    let Calls { times, faults, .. } = &rounds[rounds.len() / 2];
    // What happens in each round is not the machine's doing.
    let least: Vec<u32> = (0..CALLS as usize)
        .map(|n| rounds.iter().map(|calls| calls.each[n]).min().expect("there are rounds"))
        .collect();
    println!(
        "  {name:<10} mean {:.1}, median {}, p99.99 {}, longest {} ({} to {}); above {} us: {:?}, in all rounds at the same call: {}, longest {}; \
         {faults} page faults",
        times.mean(),
        times.at(0.5),
        times.at(0.9999),
        times.longest(),
        rounds[0].times.longest(),
        rounds[rounds.len() - 1].times.longest(),
        STALL / 1000,
        rounds.iter().map(|calls| calls.times.above(STALL)).collect::<Vec<_>>(),
        least.iter().filter(|&&took| u64::from(took) >= STALL).count(),
        least.iter().max().expect("there are calls"),
    );
}

struct Calls {
    times: Times,
    /// What each of them took, one behind the other.
    each: Vec<u32>,
    faults: i64,
}

/// What calls of `make` take, of which each result is kept until the end.
fn timed<T>(mut make: impl FnMut(u64) -> T) -> Calls {
    let mut kept: Vec<T> = Vec::with_capacity(CALLS as usize);
    // SAFETY: there is room for so many, of which none is there yet.
    unsafe { kept.as_mut_ptr().write_bytes(1, CALLS as usize) };
    let mut times = Times::new();
    let mut each = vec![1; CALLS as usize];
    let faults = faults();
    for (n, each) in (0..CALLS).zip(&mut each) {
        // It does something besides.
        let pause = Instant::now();
        while pause.elapsed() < Duration::from_nanos(500) {}
        let began = Instant::now();
        let new = make(n);
        let took = began.elapsed().as_nanos() as u64;
        kept.push(new);
        times.note(took);
        *each = took as u32;
    }
    Calls { times, each, faults: self::faults() - faults }
}

/// Page faults of the calling thread so far.
fn faults() -> i64 {
    // SAFETY: zeros are such a structure, which the call fills.
    unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage);
        usage.ru_minflt + usage.ru_majflt
    }
}
